package migrate_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/boj/redistore"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/migrate"
	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFromGorilla_RediStoreTimeToLive(t *testing.T) {
	server := redistest.Start(t)
	store := newRediStore(t, server)
	store.SetKeyPrefix("prefix:") // which the store does not tell
	adopt := migrate.FromGorilla(store, gorillaName, keepAll)
	end := func(cookie *http.Cookie) time.Time { return requireAdopted(t, adopt, cookie).Deadline }
	ends := func(cookie *http.Cookie, want time.Duration) {
		t.Helper()
		assert.WithinDuration(t, time.Now().Add(want), end(cookie), 30*time.Second)
	}
	own := writeGorilla(t, store, func(s *sessions.Session) { writeAda(s); s.Options.MaxAge = 600 })
	ends(own, 10*time.Minute)

	key := "prefix:" + idOf(t, store, own)
	server.MustDo("PERSIST", key)
	ends(own, 30*24*time.Hour) // the codecs'
	store.SetMaxAge(0)
	assert.True(t, end(own).IsZero(), "without end in Redis and in the cookie")
	server.MustDo("PEXPIRE", key, "60000")
	ends(own, time.Minute)

	server.MustDo("SET", key, "no gob")
	refused, _ := requireRefused(t, adopt, own)
	server.MustDo("DEL", key)
	gone, _ := requireRefused(t, adopt, own)
	requireNamed(t, refused, gone)
	server.Kill()
	failed, _ := requireFailure(t, adopt, own)
	requireNamed(t, gone, failed)
	require.Error(t, failed.Forget(t.Context()))
}

// idOf returns what the store knows a session by.
func idOf(t *testing.T, store sessions.Store, cookie *http.Cookie) string {
	old, err := store.New(requestWith(cookie), gorillaName)
	require.NoError(t, err)
	return old.ID
}

// slowConn is a connection over which a session runs out before its time to live is asked for.
type slowConn struct{ redis.Conn }

func (c slowConn) Do(command string, args ...any) (any, error) {
	if command == "PTTL" {
		if _, err := c.Conn.Do("DEL", args...); err != nil {
			return nil, err
		}
	}
	return c.Conn.Do(command, args...)
}

func TestFromGorilla_RediStoreRunsOutMeanwhile(t *testing.T) {
	server := redistest.Start(t)
	store := newRediStore(t, server)
	cookie := writeGorilla(t, store, writeAda)
	store.Pool = &redis.Pool{Dial: func() (redis.Conn, error) {
		c, err := redis.Dial("tcp", server.Addr)
		return slowConn{c}, err
	}}
	a := requireAdopted(t, migrate.FromGorilla(store, gorillaName, keepAll), cookie)
	assert.WithinDuration(t, time.Now(), a.Deadline, 30*time.Second, "it ends now")
}

func TestFromGorilla_RediStoreGivesItsConnectionsBack(t *testing.T) {
	store := newRediStore(t, redistest.Start(t))
	store.Pool.MaxActive = 1 // one that is kept would be missed
	cookie := writeGorilla(t, store, writeAda)
	adopt := migrate.FromGorilla(store, gorillaName, keepAll)
	for range 20 {
		require.NoError(t, requireAdopted(t, adopt, cookie).Forget(t.Context()))
		cookie = writeGorilla(t, store, writeAda)
	}
	assert.Equal(t, 1, store.Pool.ActiveCount())
}

func TestFromGorilla_RediStoreJSON(t *testing.T) {
	store := newRediStore(t, redistest.Start(t))
	store.SetSerializer(redistore.JSONSerializer{})
	cookie := writeGorilla(t, store, func(s *sessions.Session) { writeAda(s); s.Values["n"] = 7 })
	a := requireAdopted(t, migrate.FromGorilla(store, gorillaName, keepAll), cookie)
	assert.Equal(t, "ada", a.User)
	assert.Equal(t, map[string]any{"n": 7.0}, a.Values)
}
