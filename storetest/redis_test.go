package storetest_test

import (
	"net/url"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/storetest"
)

// Where Redis has a part besides the standalone server and the cluster, on which the root package's tests run this.

func TestRedisStore_BehindSentinels(t *testing.T) {
	_, _, sentinels := redistest.Sentinel(t)
	parameters := url.Values{"master_name": {redistest.SentinelMaster}}
	for _, sentinel := range sentinels[1:] {
		parameters.Add("addr", sentinel.Addr)
	}
	store, err := session.OpenRedisStore(t.Context(), sentinels[0].URL()+"?"+parameters.Encode(), session.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	storetest.Run(t, func(*testing.T) session.Store { return store })
}

func TestCookieStore_WithRevocationsInRedis(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: redistest.Start(t).Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	list := session.NewRedisRevocations(client, session.RedisOptions{})
	storetest.Run(t, func(t *testing.T) session.Store { return sealedStore(t).WithRevocations(list) })
}
