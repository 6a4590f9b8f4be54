// Login is a small web application in which people sign in and out, see where they are signed in, and end it. It keeps
// sessions in sealed cookies, in memory, in Redis, in the SQLite file of its users or in PostgreSQL: run it with -h for the
// flags.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/doorman-go/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:], os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "login:", err)
		os.Exit(1)
	}
}

type options struct {
	addr, store, redis, db, dsn string
	metrics                     string
	maxPerUser                  int
	insecure, tls, bind         bool
}

func parseFlags(args []string, output io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&o.addr, "addr", "localhost:8080", "address to serve on")
	flags.StringVar(&o.store, "store", "cookie", "where sessions are kept: cookie, memory, redis, sql (in the file of -db) or postgres")
	flags.StringVar(&o.redis, "redis", "redis://localhost:6379/0", "URL of the Redis server, with -store redis")
	flags.StringVar(&o.db, "db", "", "SQLite file to keep users in, and sessions with -store sql (default: in memory)")
	flags.StringVar(&o.dsn, "dsn", "postgres://localhost:5432/postgres", "data source name of PostgreSQL, with -store postgres")
	flags.IntVar(&o.maxPerUser, "max-per-user", 0, "sessions that a user may have at once (default: no limit; not with -store cookie)")
	flags.BoolVar(&o.insecure, "insecure", false, "send the cookie over plain HTTP also to other hosts than localhost")
	flags.BoolVar(&o.tls, "tls", false, "serve HTTPS with a certificate for localhost that is made at the start")
	flags.BoolVar(&o.bind, "bind", false, "bind sessions to the device in browsers that can; over HTTPS only: with -tls, or behind a proxy")
	flags.StringVar(&o.metrics, "metrics", "", "address to serve metrics for Prometheus on, such as localhost:9090 (default: none)")
	err := flags.Parse(args)
	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.insecure && (o.tls || o.bind):
		err = errors.New("-insecure is for plain HTTP, and -tls and -bind are for HTTPS")
	}
	return o, err
}

// run serves until the context ends, and then until the requests under way are answered.
func run(ctx context.Context, args []string, output io.Writer) (err error) {
	o, err := parseFlags(args, output)
	if err != nil {
		return err
	}
	users, err := openUsers(ctx, o.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, users.close()) }()
	log := slog.New(slog.NewTextHandler(output, nil))
	store, closeStore, err := openStore(ctx, o, users.db, log, output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()

	config := session.Config{MaxPerUser: o.maxPerUser}
	if o.insecure {
		config.Secure = session.Off
	}
	if o.bind {
		config.BindDevice = proofLife
	}
	stopMetrics, err := startMetrics(ctx, o.metrics, store, &config, output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopMetrics()) }()
	a, err := newApp(store, config, users, log)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return err
	}
	scheme := "http"
	if o.tls {
		scheme = "https"
		if listener, err = secure(listener, output); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintln(output, "serving", address(scheme, o.addr, listener))
	if o.db == "" {
		for _, seed := range seeds {
			_, _ = fmt.Fprintf(output, "sign in as %s with the password %s\n", seed.username, seed.password)
		}
	}
	return serve(ctx, listener, a)
}

// proofLife is how long a browser's proof of its device lasts, with -bind.
const proofLife = 10 * time.Minute

// secure puts TLS on the listener.
func secure(listener net.Listener, output io.Writer) (net.Listener, error) {
	certificate, fingerprint, err := makeCertificate()
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	_, _ = fmt.Fprintln(output, "browsers warn of the certificate, which nobody has signed; the SHA-256 of its key is", fingerprint)
	return tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}), nil
}

// address returns the URL to type: localhost where that will do, the name from which browsers take a Secure cookie over
// plain HTTP.
func address(scheme, asked string, listener net.Listener) string {
	host, _, err := net.SplitHostPort(asked)
	if ip := net.ParseIP(host); err != nil || host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return listener.Addr().String()
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// patience is how long a server has to answer at the start, and how long requests under way have to finish at shutdown.
const patience = 10 * time.Second

func serve(ctx context.Context, listener net.Listener, a *app) error {
	server := &http.Server{
		Handler:           a.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	server.RegisterOnShutdown(a.closeStreams)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := server.Shutdown(finish); err != nil {
		return errors.Join(fmt.Errorf("shutting down: %w", err), server.Close())
	}
	return nil
}
