package session_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/storetest"
	"github.com/stretchr/testify/require"
)

// Every store here keeps the contract; what a sealed cookie can't keep, storetest finds and says.

func TestStores_MemoryKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return session.NewMemoryStore() })
}

func TestStores_CookieKeepsTheContract(t *testing.T) {
	secret := []byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu")
	sealed, err := session.NewCookieStore(secret)
	require.NoError(t, err)
	signed, err := session.NewSignedCookieStore(secret)
	require.NoError(t, err)
	for name, store := range map[string]*session.CookieStore{
		"sealed": sealed, "signed": signed,
		"sealed with revocations": sealed.WithRevocations(session.NewMemoryRevocations()),
		"signed with revocations": signed.WithRevocations(session.NewMemoryRevocations()),
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) session.Store { return store })
		})
	}
}

func TestStores_RedisKeepsTheContract(t *testing.T) {
	server := redistest.Start(t)
	for name, opts := range map[string]session.RedisOptions{
		"plain":      {},
		"prefix":     {Prefix: "{app}:sessions/"},
		"near cache": {NearCache: session.NearCache{MaxEntries: 1000, MaxStaleness: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) { redisKeepsTheContract(t, server.URL(), opts) })
	}
}

func TestStores_RedisClusterKeepsTheContract(t *testing.T) {
	nodes := redistest.Cluster(t, 3, 0)
	addresses := url.Values{}
	for _, node := range nodes[1:] {
		addresses.Add("addr", node.Addr)
	}
	redisKeepsTheContract(t, "redis://"+nodes[0].Addr+"?"+addresses.Encode(), session.RedisOptions{})
}

// redisKeepsTheContract runs the contract on one server, as a store that has been in use for a while.
func redisKeepsTheContract(t *testing.T, address string, opts session.RedisOptions) {
	store, err := session.OpenRedisStore(t.Context(), address, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	storetest.Run(t, func(*testing.T) session.Store { return store })
}
