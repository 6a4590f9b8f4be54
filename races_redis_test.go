package session_test

import (
	"context"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// redisStore returns a store on a client of its own, as each process has one.
func redisStore(t testing.TB, server *redistest.Server, opts session.RedisOptions) *session.RedisStore {
	store, err := session.OpenRedisStore(context.Background(), server.URL(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// redisClient returns a client for a look at what is stored.
func redisClient(t testing.TB, server *redistest.Server) *redis.Client {
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// redisBackings are a RedisStore under one Manager, and two processes that share a server. The stores are opened once.
func redisBackings(t testing.TB) []backing {
	server := redistest.Start(t)
	client := redisClient(t, server)
	a, b := redisStore(t, server, session.RedisOptions{}), redisStore(t, server, session.RedisOptions{})
	flush := func(w *world) { require.NoError(w.t, client.FlushAll(context.Background()).Err()) }
	return []backing{
		{"redis", false, func() []session.Store { return []session.Store{a} }, flush, client},
		{"redis, two processes", false, func() []session.Store { return []session.Store{a, b} }, flush, client},
	}
}

func TestGuarantee02_NoResurrection_Redis(t *testing.T) {
	for _, b := range redisBackings(t) {
		raceAll(t, b)
	}
}

// A client that is no *redis.Client takes the way of a cluster: the old and the new id are written one after the other.
func TestGuarantee02_NoResurrection_RedisAcross(t *testing.T) {
	server := redistest.Start(t)
	client := across{redisClient(t, server)}
	stores := func() []session.Store {
		return []session.Store{session.NewRedisStore(client, session.RedisOptions{})}
	}
	raceAll(t, backing{name: "redis, several slots", stores: stores, flush: func(w *world) {
		require.NoError(w.t, client.FlushAll(context.Background()).Err())
	}})
}

// across is a client of a type that the store does not know, so that it expects each key in another slot.
type across struct{ redis.UniversalClient }

func TestGuarantee03_NoLostUpdates_Redis(t *testing.T) {
	for _, b := range redisBackings(t) {
		keepAll(t, b)
	}
}

// dumpRedis returns all keys, fields and values.
func dumpRedis(t testing.TB, client *redis.Client) (all []string) {
	ctx := context.Background()
	keys, err := client.Keys(ctx, "*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		all = append(all, key)
		if client.Type(ctx, key).Val() == "zset" {
			all = append(all, client.ZRange(ctx, key, 0, -1).Val()...)
			continue
		}
		for field, value := range client.HGetAll(ctx, key).Val() {
			all = append(all, field, value)
		}
	}
	return all
}
