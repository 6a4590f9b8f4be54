//go:build !noservers

package guarantees_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee09_SetLifetime(t *testing.T) {
	for _, c := range []struct{ idle, lifetime, wantIdle, wantLifetime time.Duration }{
		{0, 0, time.Hour, kit.Day},
		{0, 30 * kit.Day, time.Hour, 30 * kit.Day},
		{-1, 30 * kit.Day, 30 * kit.Day, 30 * kit.Day}, // no idle limit: the absolute one is met first
		{7 * kit.Day, 30 * kit.Day, 7 * kit.Day, 30 * kit.Day},
		{0, 10 * time.Minute, 10 * time.Minute, 10 * time.Minute},
		{30 * time.Minute, 0, 30 * time.Minute, kit.Day},
		{-1, 400 * kit.Day, 400 * kit.Day, 400 * kit.Day},
		{400 * kit.Day, 400 * kit.Day, 400 * kit.Day, 400 * kit.Day},
	} {
		kit.EachTimed(t, session.Config{}, func(t *testing.T, v *kit.Browser) {
			store := v.App.Store()
			v.Must(func(s *session.Session) {
				require.NoError(t, s.Login("ada"))
				s.SetLifetime(c.idle, c.lifetime)
				require.Equal(t, s.CreatedAt().Add(c.wantIdle), s.ExpiresAt(), "%+v", c)
			})
			r := store.LastRecord()
			require.Equal(t, c.wantLifetime, r.Deadline.Sub(r.CreatedAt), "%+v", c)
			require.Equal(t, r.CreatedAt.Add(c.wantIdle), r.ExpiresAt(), "%+v", c)
			unused := v.App.Browser()
			unused.Must(func(s *session.Session) { s.Set("k", 1); s.SetLifetime(c.idle, c.lifetime) })
			v.App.Clock.Advance(c.wantIdle - time.Microsecond)
			require.False(t, v.SignedOut(), "%+v", c)
			v.App.Clock.Advance(time.Microsecond)
			require.True(t, unused.SignedOut(), "%+v", c)
		})
	}
}

func TestGuarantee09_SetLifetimeOfAnOlderSession(t *testing.T) {
	kit.EachTimed(t, session.Config{}, func(t *testing.T, v *kit.Browser) {
		v.SignIn("ada")
		created := v.View().Created
		v.App.Clock.Advance(50 * time.Minute)
		v.Must(func(s *session.Session) { s.SetLifetime(-1, 48*time.Hour) })
		require.Equal(t, created.Add(48*time.Hour), v.View().ExpiresAt, "from its start")
		v.Must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		require.Equal(t, created.Add(48*time.Hour), v.View().ExpiresAt, "kept under a new id")
		v.SignIn("ada")
		require.Equal(t, created.Add(50*time.Minute+time.Hour), v.View().ExpiresAt, "and not by a login")
	})
}

func TestGuarantee09_SetLifetimeRefused(t *testing.T) {
	for _, c := range []struct {
		idle, lifetime time.Duration
		why            string
	}{
		{0, -1, "Lifetime is negative"},
		{0, 400*kit.Day + 1, "Lifetime is over 400 days"},
		{2 * time.Hour, time.Hour, "IdleTimeout 2h0m0s is longer than Lifetime 1h0m0s"},
		{25 * time.Hour, 0, "IdleTimeout 25h0m0s is longer than Lifetime 24h0m0s"},
	} {
		err := failure(t, func(s *session.Session) {
			s.Set("k", 1)
			s.SetLifetime(c.idle, c.lifetime)
			require.ErrorContains(t, s.Err(), "SetLifetime: "+c.why)
		})
		require.ErrorContains(t, err, "SetLifetime: "+c.why)
	}
}

// A lifetime that is over already ends the session, and is no "forever".
func TestGuarantee09_SetLifetimeThatIsOver(t *testing.T) {
	kit.EachTimed(t, session.Config{Persistent: true}, func(t *testing.T, v *kit.Browser) {
		store := v.App.Store()
		v.SignIn("ada")
		v.App.Clock.Advance(30 * time.Minute)
		thief := v.Copy()
		resp := v.Must(func(s *session.Session) { s.SetLifetime(0, 30*time.Minute) })
		for _, c := range resp.Cookies() {
			require.NotZero(t, c.MaxAge)
			require.LessOrEqual(t, c.MaxAge, 1)
		}
		require.True(t, v.SignedOut())
		if _, sealed := store.Inner().(*session.CookieStore); !sealed {
			require.True(t, thief.SignedOut())
		}
	})
}

func TestGuarantee09_SetPersistent(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: time.Hour, Lifetime: kit.Day}, func(t *testing.T, v *kit.Browser) {
		maxAge := func(what func(*session.Session)) int {
			cookies := v.Must(what).Cookies()
			require.Len(t, cookies, 1)
			return cookies[0].MaxAge
		}
		require.Zero(t, maxAge(func(s *session.Session) { require.NoError(t, s.Login("ada")) }))
		v.App.Clock.Advance(2 * time.Minute)
		require.Equal(t, 24*60*60-2*60, maxAge(func(s *session.Session) { s.SetPersistent(true) }), "to the deadline")
		v.App.Clock.Advance(2 * time.Minute)
		require.Equal(t, 24*60*60-4*60, maxAge(func(s *session.Session) { require.NoError(t, s.Regenerate()) }))
		require.Equal(t, 2*24*60*60-4*60, maxAge(func(s *session.Session) { s.SetLifetime(0, 2*kit.Day) }))
		require.Zero(t, maxAge(func(s *session.Session) { s.SetPersistent(false) }))
		require.Equal(t, 24*60*60, maxAge(func(s *session.Session) { require.NoError(t, s.Login("ada")); s.SetPersistent(true) }))
	})
}

func TestGuarantee09_SetLifetimeThatIsOver_Redis(t *testing.T) {
	server := redistest.Start(t)
	app := kit.New(t, session.Config{}, kit.OpenRedis(t, server, session.RedisOptions{}))
	for name, end := range map[string]func(*session.Session){
		"alone":         func(s *session.Session) { s.SetLifetime(0, 30*time.Minute) },
		"with a new ID": func(s *session.Session) { s.SetLifetime(0, 30*time.Minute); require.NoError(t, s.Regenerate()) },
	} {
		t.Run(name, func(t *testing.T) {
			v := app.Browser()
			v.SignIn("ada")
			app.Clock.Advance(40 * time.Minute)
			v.Must(end)
			require.True(t, v.SignedOut())
			require.Empty(t, app.Listed("ada"))
			for _, key := range strings.Fields(server.MustDo("KEYS", "*")) {
				require.NotEqual(t, "-1", server.MustDo("PTTL", key), "%s stays for ever", key)
			}
		})
	}
}

// Redis drops what has ended by itself, and nothing before: the time to live follows the limits.
func TestGuarantee09_TimeToLiveFollowsTheLimits(t *testing.T) {
	server := redistest.Start(t)
	v := kit.New(t, kit.CostConfig, kit.OpenRedis(t, server, session.RedisOptions{})).Browser()
	v.SignIn("ada")
	key := "session:" + v.View().ID
	left := func() time.Duration {
		ms, err := strconv.Atoi(server.MustDo("PTTL", key))
		require.NoError(t, err)
		return time.Duration(ms) * time.Millisecond
	}
	server.MustDo("PEXPIRE", key, "60000") // as if most of the idle time had passed
	v.App.Clock.Advance(time.Minute)
	v.Must(func(s *session.Session) { s.Has("touched") })
	require.Greater(t, left(), 19*time.Minute)
	v.Must(func(s *session.Session) { s.SetLifetime(2*time.Hour, 0) })
	require.Greater(t, left(), 119*time.Minute)
	v.Must(func(s *session.Session) { s.SetLifetime(5*time.Minute, 0) })
	require.LessOrEqual(t, left(), 6*time.Minute, "a minute longer, so that expired can be told from never there")
}

// New limits count from the use that sets them, also where the old ones did not note it.
func TestGuarantee09_NewIdleLimit(t *testing.T) {
	server := redistest.Start(t)
	for name, store := range map[string]session.Store{
		"memory": session.NewMemoryStore(), "sealed": kit.Sealed(t, kit.SecretOne),
		"redis":                kit.OpenRedis(t, server, session.RedisOptions{}),
		"redis, several slots": kit.RedisOn(t, kit.Across{UniversalClient: kit.RedisClient(t, server)}, session.RedisOptions{Prefix: "across:"}),
	} {
		for was, limit := range map[time.Duration]time.Duration{-1: time.Hour, time.Hour: time.Minute} {
			t.Run(fmt.Sprint(name, ", idle ", was), func(t *testing.T) {
				v := kit.New(t, session.Config{IdleTimeout: was}, store).Browser()
				v.SignIn("ada")
				v.App.Clock.Advance(limit*2 - time.Second)
				v.Must(func(s *session.Session) { s.SetLifetime(limit, 0) })
				require.False(t, v.SignedOut())
			})
		}
	}
}

// An answer that made the cookie persistent may not have arrived: who asks again gets it again.
func TestGuarantee09_PersistentAgain(t *testing.T) {
	for name, remember := range map[string]func(*session.Session){
		"SetPersistent": func(s *session.Session) { s.SetPersistent(true) },
		"SetLifetime":   func(s *session.Session) { s.SetLifetime(0, 30*kit.Day) },
	} {
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
			store := v.App.Store()
			v.Must(func(s *session.Session) { require.NoError(t, s.Login("ada")); s.SetPersistent(name == "SetLifetime") })
			store.Lose()
			require.Empty(t, v.Do(remember).Cookies())
			again := v.Must(remember).Cookies()
			require.Len(t, again, 1)
			require.Positive(t, again[0].MaxAge)
		})
	}
}
