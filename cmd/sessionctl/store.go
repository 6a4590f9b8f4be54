package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/doorman-go/session"
)

// opened is an open store, on which commands work.
type opened struct {
	store   session.Store
	manager *session.Manager
	realm   string
	name    string // without a password
	close   func()
}

// open opens the store, and a Manager of the realm on it.
func (c *command) open(ctx context.Context) (*opened, error) {
	call, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	store, done, err := c.openStore(call)
	if err != nil {
		return nil, err
	}
	s := &opened{store: store, realm: cmp.Or(c.realm, "__Host-session"), name: redacted(c.url), close: done}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil)) // errors are returned
	if s.manager, err = session.New(store, session.Config{Realm: s.realm, Logger: quiet}); err != nil {
		done()
		return nil, err
	}
	return s, nil
}

func (c *command) openStore(ctx context.Context) (store session.Store, done func(), err error) {
	switch scheme(c.url) {
	case "redis", "rediss", "unix":
		redis, err := session.OpenRedisStore(ctx, c.url, session.RedisOptions{Prefix: c.prefix})
		if err != nil {
			return nil, nil, err
		}
		return redis, func() { _ = redis.Close() }, nil
	case "postgres", "postgresql", "mysql", "sqlite":
		return c.openSQL(ctx)
	}
	return nil, nil, c.wrongURL()
}

// wrongURL returns the error for a URL whose store the program does not know.
func (c *command) wrongURL() error {
	if c.url == "" {
		return usageError{"say which store: -store URL, or the environment variable SESSION_STORE"}
	}
	return usageError{fmt.Sprintf("no store has URLs like %s; sessionctl help shows which there are", redacted(c.url))}
}

func scheme(text string) string {
	name, _, _ := strings.Cut(text, ":")
	return strings.ToLower(name)
}

// redacted returns a URL without its password.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return scheme(text) + ":..."
	}
	return u.Redacted()
}

// sorted returns a map's entries, sorted by key.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}
