package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

// openStore returns the store that the flags ask for, and what closes it. Users is the database of the users.
func openStore(ctx context.Context, o options, users *sql.DB, log *slog.Logger, output io.Writer) (session.Store, func() error, error) {
	nothing := func() error { return nil }
	switch o.store {
	case "cookie":
		secrets, err := secretsOrRandom(output)
		if err != nil {
			return nil, nil, err
		}
		store, err := session.NewCookieStore(secrets...)
		if err != nil {
			return nil, nil, err
		}
		return store.WithRevocations(session.NewMemoryStore()), nothing, nil
	case "memory":
		return session.NewMemoryStore(), nothing, nil
	case "redis":
		ctx, cancel := context.WithTimeout(ctx, patience) // it may still be starting
		defer cancel()
		store, err := session.OpenRedisStore(ctx, o.redis, session.RedisOptions{})
		if err != nil {
			return nil, nil, err
		}
		return store, store.Close, nil
	case "sql":
		store, stop, err := openTable(ctx, users, sqlstore.SQLite, log)
		if err != nil {
			return nil, nil, err
		}
		return store, func() error { stop(); return nil }, nil
	case "postgres":
		return openPostgres(ctx, o.dsn, log)
	}
	return nil, nil, fmt.Errorf("unknown store %q: it is cookie, memory, redis, sql or postgres", o.store)
}

func openPostgres(ctx context.Context, dsn string, log *slog.Logger) (session.Store, func() error, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, nil, err
	}
	store, stop, err := openTable(ctx, db, sqlstore.Postgres, log)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return store, func() error { stop(); return db.Close() }, nil
}

// openTable returns a store on a table that is there, and what ends the sweeping of it.
func openTable(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect, log *slog.Logger) (*sqlstore.Store, func(), error) {
	store, err := sqlstore.New(db, dialect, sqlstore.Options{})
	if err != nil {
		return nil, nil, err
	}
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := store.CreateTable(starting); err != nil {
		return nil, nil, err
	}
	sweeping, end := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() { sweepSessions(sweeping, store, log) })
	return store, func() { end(); group.Wait() }, nil
}

const (
	sweepEvery = 10 * time.Minute
	sweepBatch = 1000
)

// sweepSessions deletes what has expired, now and then until the context ends.
func sweepSessions(ctx context.Context, store *sqlstore.Store, log *slog.Logger) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for {
			n, err := store.Sweep(ctx, sweepBatch)
			if err != nil && ctx.Err() == nil {
				log.Error("sweeping the sessions", "error", err)
			}
			if err != nil || n < sweepBatch {
				break
			}
		}
	}
}

// secretsOrRandom reads SECRET_KEY, and makes one up if it is unset.
func secretsOrRandom(output io.Writer) ([][]byte, error) {
	const name = "SECRET_KEY"
	if _, set := os.LookupEnv(name); set {
		return session.SecretsFromEnv(name)
	}
	_, _ = fmt.Fprintf(output, "%s is not set: using a random key, so sessions end with this process\n", name)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return [][]byte{secret}, nil
}
