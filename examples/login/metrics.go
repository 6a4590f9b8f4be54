package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/promsession"
)

// newMetrics has the sessions of config counted, and returns what shows the counts.
func newMetrics(store session.Store, config *session.Config) http.Handler {
	collector := promsession.New(promsession.Options{})
	if redis, ok := store.(*session.RedisStore); ok {
		collector.WatchRedis("", redis)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	collector.Instrument(config)
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return routes
}

// startMetrics serves the counts on an address of their own, which the world need not reach. Without an address it does
// nothing.
func startMetrics(ctx context.Context, addr string, store session.Store, config *session.Config, output io.Writer) (stop func() error, err error) {
	if addr == "" {
		return func() error { return nil }, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: newMetrics(store, config), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	_, _ = fmt.Fprintf(output, "metrics on %s/metrics\n", address("http", addr, listener))
	return func() error {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
