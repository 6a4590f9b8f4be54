package field_test

import (
	"net/http"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// D. A name that is bound into one place only.

// sharedStores are what two services may share: a store, or a secret and a list of what has ended.
func sharedStores(t *testing.T) map[string]session.Store {
	return map[string]session.Store{
		"memory": session.NewMemoryStore(), "redis": kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{}),
		"sealed": kit.SealedWithList(t),
	}
}

// requireApart looks whether two services that share a store know nothing of each other's sessions and users.
func requireApart(t *testing.T, one, two *kit.App) {
	t.Helper()
	ones, twos := one.Login("1"), two.Login("1")
	require.True(t, two.Dead(ones) && one.Dead(twos), "a cookie of the other's opens nothing")
	if _, sealed := one.Store().Inner().(*session.CookieStore); !sealed {
		require.Len(t, one.Listed("1"), 1)
		require.Equal(t, one.Look(ones).ID, one.Listed("1")[0].ID)
		require.ErrorIs(t, one.Manager().Revoke(t.Context(), "1", two.Look(twos).ID), session.ErrNotFound)
	}
	one.RevokeUser("1", two.Look(twos).ID)
	require.True(t, one.Dead(ones))
	require.Equal(t, "1", two.User(twos))
	require.NoError(t, ignoreNotFound(one.Manager().Revoke(t.Context(), "1", two.Look(twos).ID)))
	require.Equal(t, "1", two.User(twos))
	requireStatus(t, http.StatusOK, two.Do(twos, kit.Logout), two)
	require.True(t, two.Dead(twos))
}

func ignoreNotFound(err error) error {
	if err == session.ErrNotFound { //nolint:errorlint // as it is returned
		return nil
	}
	return err
}

func TestField11_TwoNamesShareNoUsers(t *testing.T) {
	for name, store := range sharedStores(t) {
		t.Run(name, func(t *testing.T) {
			shop := kit.New(t, session.Config{Name: "__Host-shop"}, store)
			admin := kit.New(t, session.Config{Name: "__Host-admin"}, store)
			requireApart(t, shop, admin)
		})
	}
}

func TestField12_TwoRealmsAcceptNothingOfEachOther(t *testing.T) {
	for name, store := range sharedStores(t) {
		t.Run(name, func(t *testing.T) {
			one := kit.New(t, session.Config{Realm: "orders"}, store)
			two := kit.New(t, session.Config{Realm: "billing"}, store)
			requireApart(t, one, two)
		})
	}
	t.Run("a secret each its own store", func(t *testing.T) {
		one := kit.New(t, session.Config{Realm: "orders"}, kit.Sealed(t, kit.SecretOne))
		two := kit.New(t, session.Config{Realm: "billing"}, kit.Sealed(t, kit.SecretOne))
		require.True(t, two.Dead(one.Login("1")))
	})
}

// Realms that could be read as another one with the user's name behind it are apart too.
func TestField12_RealmsDoNotReachIntoUsers(t *testing.T) {
	for name, store := range sharedStores(t) {
		t.Run(name, func(t *testing.T) {
			one := kit.New(t, session.Config{Realm: "a"}, store)
			two := kit.New(t, session.Config{Realm: "a1"}, store)
			ones, twos := one.Login("11"), two.Login("1")
			two.RevokeUser("1")
			require.True(t, two.Dead(twos))
			require.Equal(t, "11", one.User(ones))
		})
	}
}
