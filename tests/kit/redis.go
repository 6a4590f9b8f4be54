//go:build !noservers

package kit

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

func redisBackings(tb testing.TB) []Backing { return RedisBackings(tb) }

// RedisBackings are a RedisStore under one Manager, and two processes that share a server. The stores are opened once.
func RedisBackings(tb testing.TB) []Backing {
	server := redistest.Start(tb)
	client := RedisClient(tb, server)
	a, b := OpenRedis(tb, server, session.RedisOptions{}), OpenRedis(tb, server, session.RedisOptions{})
	flush := func(app *App) {
		if err := client.FlushAll(context.Background()).Err(); err != nil {
			app.T.Fatal(err)
		}
	}
	return []Backing{
		{"redis", false, func() []session.Store { return []session.Store{a} }, flush, true, client},
		{"redis, two processes", false, func() []session.Store { return []session.Store{a, b} }, flush, true, client},
	}
}

// ServerBackings are those on a server: RedisBackings, or what is to be tested in their place (RemoteStores).
func ServerBackings(tb testing.TB) []Backing {
	if remote := remoteBackings(tb); remote != nil {
		return remote
	}
	return RedisBackings(tb)
}

// addRedis adds a RedisStore to the stores of ValueStores.
func addRedis(tb testing.TB, stores map[string]session.Store) {
	stores["redis"] = OpenRedis(tb, redistest.Start(tb), session.RedisOptions{})
}

// OpenRedis returns a store on a client of its own, as each process has one.
func OpenRedis(tb testing.TB, server *redistest.Server, opts session.RedisOptions) *session.RedisStore {
	tb.Helper()
	return OpenRedisAt(tb, server.URL(), opts)
}

// OpenRedisAt is OpenRedis with a URL.
func OpenRedisAt(tb testing.TB, url string, opts session.RedisOptions) *session.RedisStore {
	tb.Helper()
	store, err := session.OpenRedisStore(context.Background(), url, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() })
	return store
}

// RedisOn returns a store on a client of the test's.
func RedisOn(tb testing.TB, client redis.UniversalClient, opts session.RedisOptions) *session.RedisStore {
	tb.Helper()
	store, err := session.NewRedisStore(client, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// RedisClient returns a client that honours deadlines.
func RedisClient(tb testing.TB, server *redistest.Server) *redis.Client {
	tb.Helper()
	opts, err := redis.ParseURL(server.URL())
	if err != nil {
		tb.Fatal(err)
	}
	opts.ContextTimeoutEnabled = true
	client := redis.NewClient(opts)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Across is a client of a type that the store does not know, so that it expects each key in another slot, as in a cluster.
type Across struct{ redis.UniversalClient }

// DumpRedis returns all keys with all that is in them.
func DumpRedis(tb testing.TB, client *redis.Client) (all []string) {
	tb.Helper()
	ctx := context.Background()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		tb.Fatal(err)
	}
	for _, key := range keys {
		all = append(all, key)
		if client.Type(ctx, key).Val() == "zset" {
			all = append(all, client.ZRange(ctx, key, 0, -1).Val()...)
			continue
		}
		all = append(all, client.Get(ctx, key).Val())
	}
	return all
}

// PatientStore is a RedisStore whose client waits for a Redis that stands still.
func PatientStore(tb testing.TB, server *redistest.Server) *session.RedisStore {
	tb.Helper()
	return OpenRedisAt(tb, server.URL()+"?read_timeout=1m", session.RedisOptions{})
}

// Together makes requests of one session at once, all of which have begun when a Redis that stood still goes on.
func Together(t *testing.T, server *redistest.Server, b *Browser, requests int, do func(*session.Session)) {
	t.Helper()
	server.Pause()
	var began, ended sync.WaitGroup
	began.Add(requests)
	for range requests {
		ended.Go(func() {
			resp := b.Copy().Do(func(s *session.Session) { began.Done(); do(s) })
			if resp.StatusCode != http.StatusOK {
				t.Errorf("a request was answered with %s", resp.Status)
			}
		})
	}
	began.Wait()
	server.Resume()
	ended.Wait()
}
