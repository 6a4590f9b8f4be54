package migrate_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/migrate"
)

// scsStores makes each of these stores of scs: in memory, and both for Redis, of which one takes contexts only.
var scsStores = map[string]func(t *testing.T) scs.Store{
	"memory": func(t *testing.T) scs.Store { return memstore.NewWithCleanupInterval(0) },
	"goredisstore": func(t *testing.T) scs.Store {
		client := goredis.NewClient(&goredis.Options{Addr: redistest.Start(t).Addr})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		return goredisstore.New(client)
	},
	"redisstore": func(t *testing.T) scs.Store { return redisstore.New(pool(t, redistest.Start(t))) },
}

func pool(t *testing.T, server *redistest.Server) *redis.Pool {
	p := &redis.Pool{MaxIdle: 10, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", server.Addr) }}
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func newSCS(store scs.Store) *scs.SessionManager {
	manager := scs.New()
	manager.Store = store
	return manager
}

func eachSCS(t *testing.T, test func(t *testing.T, manager *scs.SessionManager)) {
	for name, store := range scsStores {
		t.Run(name, func(t *testing.T) { test(t, newSCS(store(t))) })
	}
}

func TestFromSCS_TakesOverWhatTheLibraryWrote(t *testing.T) {
	since := time.Now().Add(-time.Hour).Truncate(time.Second)
	end := time.Now().Add(90 * time.Minute).UTC()
	eachSCS(t, func(t *testing.T, manager *scs.SessionManager) {
		for _, hashed := range []bool{false, true} {
			manager.HashTokenInStore = hashed
			cookie := writeSCS(t, manager, func(r *http.Request) {
				manager.Put(r.Context(), "user", "ada")
				manager.Put(r.Context(), "since", since)
				manager.Put(r.Context(), "cart", []byte("tea"))
				manager.SetDeadline(r.Context(), end)
			})
			adopt := migrate.FromSCS(manager, keepAll)
			a := requireAdopted(t, adopt, cookie)
			assert.Equal(t, "ada", a.User)
			assert.True(t, a.AuthenticatedAt.Equal(since))
			assert.Equal(t, map[string]any{"cart": []byte("tea")}, a.Values)
			assert.True(t, a.Deadline.Equal(end), "%v is not %v", a.Deadline, end)
			assert.Equal(t, a.Token, requireAdopted(t, adopt, cookie).Token)

			require.NoError(t, a.Forget(t.Context()))
			assert.Nil(t, readSCS(manager, cookie, "user"), "the old library still has it")
			gone, _ := requireRefused(t, adopt, cookie)
			requireNamed(t, a, gone)
			require.NoError(t, gone.Forget(t.Context()), "a second time is no error")
		}
	})
}

func TestFromSCS_LeavesTheOldSessionUntilForget(t *testing.T) {
	eachSCS(t, func(t *testing.T, manager *scs.SessionManager) {
		cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "user", "ada") })
		requireAdopted(t, migrate.FromSCS(manager, keepAll), cookie)
		assert.Equal(t, "ada", readSCS(manager, cookie, "user"))
	})
}

func TestFromSCS_NothingToTakeOver(t *testing.T) {
	eachSCS(t, func(t *testing.T, manager *scs.SessionManager) {
		adopt := migrate.FromSCS(manager, keepAll)
		requireNothing(t, adopt)
		requireNothing(t, adopt, &http.Cookie{Name: "session"})
		requireRefused(t, adopt, &http.Cookie{Name: "session", Value: "unknown"})
		requireNothing(t, adopt, &http.Cookie{Name: "other", Value: "unknown"})

		manager.IdleTimeout = time.Nanosecond // of scs: over when it is asked for
		if _, contexts := manager.Store.(*goredisstore.RedisStore); contexts {
			manager.IdleTimeout = 2 * time.Millisecond // it refuses less than one
		}
		cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "user", "ada") })
		require.Eventually(t, func() bool {
			_, err := adopt(requestWith(cookie))
			return errors.Is(err, session.ErrNotFound)
		}, time.Minute, time.Millisecond)
	})
}

func TestFromSCS_Persistent(t *testing.T) {
	for _, c := range []struct{ persist, remember, want bool }{
		{true, false, true}, {false, true, true}, {false, false, false},
	} {
		manager := newSCS(memstore.NewWithCleanupInterval(0))
		manager.Cookie.Persist = c.persist
		cookie := writeSCS(t, manager, func(r *http.Request) { manager.RememberMe(r.Context(), c.remember) })
		a := requireAdopted(t, migrate.FromSCS(manager, keepAll), cookie)
		assert.Equal(t, c.want, a.Persistent, "%+v", c)
		assert.Empty(t, a.Values, "the key of scs is no value of the application")
	}
}

func TestFromSCS_RemovesTheCookieAsItWasSet(t *testing.T) {
	manager := newSCS(memstore.NewWithCleanupInterval(0))
	manager.Cookie = scs.SessionCookie{
		Name: "sid", Domain: "example.com", Path: "/app", HttpOnly: true, Secure: true, Partitioned: true,
		SameSite: http.SameSiteStrictMode,
	}
	cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "user", "ada") })
	a := requireAdopted(t, migrate.FromSCS(manager, keepAll), cookie)
	require.Len(t, a.Cookies, 1)
	assert.Equal(t, "sid=; Path=/app; Domain=example.com; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0; HttpOnly; "+
		"Secure; SameSite=Strict; Partitioned", a.Cookies[0].String())
}

// account is a type that an application keeps in its sessions, and forgets to register in another program.
type account struct{ Name string }

func TestFromSCS_ASessionThatCannotBeDecoded(t *testing.T) {
	manager := newSCS(memstore.NewWithCleanupInterval(0))
	gob.RegisterName("account", account{})
	cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "account", account{"Ada"}) })
	b, found, err := manager.Store.Find(cookie.Value)
	require.NoError(t, err)
	require.True(t, found)
	b = bytes.Replace(b, []byte("account"), []byte("another"), 2) // the name of the key, and of the type
	require.NoError(t, manager.Store.Commit(cookie.Value, b, time.Now().Add(time.Hour)))
	_, err = requireRefused(t, migrate.FromSCS(manager, keepAll), cookie)
	assert.ErrorContains(t, err, "gob: name not registered")
}

// jsonCodec is a Codec of an application's own.
type jsonCodec struct{}

func (jsonCodec) Encode(_ time.Time, values map[string]any) ([]byte, error) {
	return json.Marshal(values)
}

func (jsonCodec) Decode(b []byte) (_ time.Time, values map[string]any, err error) {
	return time.Time{}, values, json.Unmarshal(b, &values)
}

func TestFromSCS_ACodecOfOnesOwn(t *testing.T) {
	manager := newSCS(memstore.NewWithCleanupInterval(0))
	manager.Codec = jsonCodec{}
	cookie := writeSCS(t, manager, func(r *http.Request) {
		manager.Put(r.Context(), "user", "ada")
		manager.Put(r.Context(), "n", 7)
		manager.RememberMe(r.Context(), true)
	})
	a := requireAdopted(t, migrate.FromSCS(manager, keepAll), cookie)
	assert.Equal(t, "ada", a.User)
	assert.Equal(t, map[string]any{"n": 7.0}, a.Values)
	assert.True(t, a.Persistent)
	assert.True(t, a.Deadline.IsZero(), "a codec that keeps no deadline knows none")
}

// lateStore is a store that fails, and one whose methods with a context tell that they were called with it.
type lateStore struct{ scs.Store }

var errDown = errors.New("the store is down")

func (lateStore) FindCtx(ctx context.Context, _ string) ([]byte, bool, error) {
	return nil, false, errors.Join(errDown, ctx.Err())
}

func (lateStore) DeleteCtx(ctx context.Context, _ string) error {
	return errors.Join(errDown, ctx.Err())
}

func TestFromSCS_AStoreThatFails(t *testing.T) {
	manager := newSCS(memstore.NewWithCleanupInterval(0))
	cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "user", "ada") })
	adopt := migrate.FromSCS(manager, keepAll)
	before := requireAdopted(t, adopt, cookie)
	manager.Store = lateStore{manager.Store}
	a, err := requireFailure(t, adopt, cookie)
	require.ErrorIs(t, err, errDown)
	requireNamed(t, before, a)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = adopt(requestWith(cookie).WithContext(ctx))
	require.ErrorIs(t, err, context.Canceled, "the request's context bounds it")
	err = before.Forget(ctx)
	require.ErrorIs(t, err, errDown)
	require.ErrorIs(t, err, context.Canceled)
}

func TestFromSCS_IsToldAtTheStart(t *testing.T) {
	for name, build := range map[string]func(){
		"no manager":            func() { migrate.FromSCS(nil, keepAll) },
		"no convert":            func() { migrate.FromSCS(scs.New(), nil) },
		"not made by scs.New":   func() { migrate.FromSCS(&scs.SessionManager{}, keepAll) },
		"a cookie with no name": func() { m := scs.New(); m.Cookie.Name = ""; migrate.FromSCS(m, keepAll) },
	} {
		assert.Panics(t, build, name)
	}
}

func TestConvert_KeepsToTheEnd(t *testing.T) {
	manager := newSCS(memstore.NewWithCleanupInterval(0))
	cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "user", "ada") })
	end := requireAdopted(t, migrate.FromSCS(manager, keepAll), cookie).Deadline
	for name, c := range map[string]struct{ set, want time.Time }{
		"forward":  {end.Add(-time.Hour), end.Add(-time.Hour)},
		"back":     {end.Add(time.Hour), end},
		"to never": {time.Time{}, end},
	} {
		a := requireAdopted(t, migrate.FromSCS(manager, func(_ map[string]any, a *session.Adopted) error {
			a.Deadline = c.set
			return nil
		}), cookie)
		assert.Equal(t, c.want, a.Deadline, name)
	}
}

func TestConvert_ADeadlineWhereNoneIsKnown(t *testing.T) {
	manager := newSCS(memstore.NewWithCleanupInterval(0))
	manager.Codec = jsonCodec{}
	cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "user", "ada") })
	end := time.Now().Add(time.Hour)
	a := requireAdopted(t, migrate.FromSCS(manager, func(_ map[string]any, a *session.Adopted) error {
		a.Deadline = end
		a.Values["n"] = 1 // there is a map to fill
		return nil
	}), cookie)
	assert.Equal(t, end, a.Deadline)
	assert.Equal(t, map[string]any{"n": 1}, a.Values)
}

func TestConvert_Errors(t *testing.T) {
	manager := newSCS(memstore.NewWithCleanupInterval(0))
	cookie := writeSCS(t, manager, func(r *http.Request) { manager.Put(r.Context(), "user", "ada") })
	errOdd := errors.New("an odd session")
	fails := func(err error) adopter {
		return migrate.FromSCS(manager, func(map[string]any, *session.Adopted) error { return err })
	}
	a, err := requireFailure(t, fails(errOdd), cookie)
	require.ErrorIs(t, err, errOdd)
	requireNamed(t, requireAdopted(t, fails(nil), cookie), a)
	requireRefused(t, fails(session.ErrNotFound), cookie)
}
