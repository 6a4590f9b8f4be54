package stores_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/storetest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestMemoryStore_LenCountsTombstonesUntilTheyAreSwept(t *testing.T) {
	store := session.NewMemoryStore()
	v := kit.New(t, session.Config{}, store).Browser()
	v.SignIn("ada")
	require.Equal(t, 1, store.Len())
	v.Must(kit.Regenerate)
	require.Equal(t, 2, store.Len())
	v.App.Clock.Advance(2 * time.Minute)
	for range 3 {
		v.Must(func(s *session.Session) { s.Set("k", 1) })
	}
	require.Equal(t, 1, store.Len())
}

// A wrapper that embeds the interface hides what more a store can do, and the rest works.
func TestStores_AWrapperHidesAbilitiesAndWorks(t *testing.T) {
	for kind, store := range map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": kit.SealedWithList(t)} {
		app := kit.New(t, session.Config{}, struct{ session.Store }{store})
		v := app.Browser()
		v.SignIn("ada")
		v.Must(func(s *session.Session) { s.Set("k", 7) })
		require.Equal(t, 7, kit.Read[int](v, "k"), kind)
		thief := v.Copy()
		v.Must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		require.True(t, thief.SignedOut(), kind)
		v.Must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
		require.Empty(t, v.Cookie, kind)
		_, err := app.Manager().Sessions(t.Context(), "ada")
		require.ErrorIs(t, err, errors.ErrUnsupported, kind)
		_, err = app.Manager().RevokeUser(t.Context(), "ada")
		require.ErrorIs(t, err, errors.ErrUnsupported, kind)
	}
}

func TestStores_MemoryKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return session.NewMemoryStore() })
}

func TestStores_CookieKeepsTheContract(t *testing.T) {
	sealed, signed := kit.Sealed(t, kit.SecretOne), kit.Must(session.NewSignedCookieStore(kit.SecretOne))
	for name, store := range map[string]*session.CookieStore{
		"sealed": sealed, "signed": signed,
		"sealed with revocations": sealed.WithRevocations(session.NewMemoryStore()),
		"signed with revocations": signed.WithRevocations(session.NewMemoryStore()),
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
	store := kit.OpenRedisAt(t, address, opts)
	storetest.Run(t, func(*testing.T) session.Store { return store })
}
