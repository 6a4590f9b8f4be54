package session_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

// eachTimed runs a test with a server store and with one in the cookie.
func eachTimed(t *testing.T, cfg session.Config, test func(*testing.T, *visitor, *countingStore)) {
	for name, store := range valueStores(t) {
		t.Run(name, func(t *testing.T) {
			counting := &countingStore{Store: store}
			test(t, newSite(t, counting, cfg).visitor(), counting)
		})
	}
}

// reads makes a request that reads only.
func (v *visitor) reads() *http.Response { return v.must(func(s *session.Session) { s.User() }) }

func TestGuarantee09_IdleLimit(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: 20 * time.Minute}, func(t *testing.T, v *visitor, _ *countingStore) {
		v.signIn("ada")
		for range 3 { // each use is a new beginning
			v.site.clock.move(20*time.Minute - time.Microsecond)
			require.Equal(t, "ada", v.view().user)
		}
		v.site.happened()
		v.site.clock.move(20 * time.Minute)
		require.True(t, v.signedOut())
		require.Equal(t, []string{"expired: idle"}, v.site.happened())
	})
}

func TestAdvisory_ExpiryNotEnforced_ATouchLoopDiesAtTheDeadline(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: 20 * time.Minute, Lifetime: 4 * time.Hour}, func(t *testing.T, v *visitor, _ *countingStore) {
		v.signIn("ada")
		first := v.view()
		for elapsed := time.Duration(0); elapsed < 4*time.Hour; elapsed += 7 * time.Minute {
			seen := v.view()
			require.Equal(t, first.created, seen.created)
			require.False(t, seen.expiresAt.After(first.created.Add(4*time.Hour)), "a touch passes the deadline")
			require.Equal(t, "ada", seen.user)
			v.site.clock.move(7 * time.Minute)
		}
		v.site.happened()
		require.True(t, v.signedOut())
		require.Equal(t, []string{"expired: absolute"}, v.site.happened())
	})
}

func TestGuarantee09_WritesAndSavesPassNoDeadline(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: -1, Lifetime: time.Hour}, func(t *testing.T, v *visitor, _ *countingStore) {
		v.signIn("ada")
		for range 6 {
			v.must(func(s *session.Session) {
				session.Key[int]("n").Update(s, func(n int) int { return n + 1 })
				s.SetNote("x")
				s.SetPersistent(true)
			})
			v.site.clock.move(10 * time.Minute)
		}
		require.True(t, v.signedOut())
	})
}

func TestGuarantee09_TouchIsThrottledAndTouchesNothingElse(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: time.Hour}, func(t *testing.T, v *visitor, store *countingStore) {
		v.must(func(s *session.Session) { s.Set("k", 1) })
		store.saves.Store(0)
		cookies := 0
		for range 60 { // an hour of a request a minute
			v.site.clock.move(time.Minute)
			cookies += len(v.reads().Cookies())
		}
		require.EqualValues(t, 20, store.saves.Load(), "every twentieth of the idle timeout")
		if _, sealed := store.Store.(*session.CookieStore); sealed {
			require.Equal(t, 20, cookies)
		} else {
			require.Zero(t, cookies)
		}
		c := store.change
		require.Empty(t, c.Set)
		require.Empty(t, c.Deleted)
		require.Empty(t, c.FlashesAdded)
		require.False(t, c.Attributes || c.Cleared || c.Create)
		v.site.clock.move(3*time.Minute - time.Microsecond)
		v.reads()
		require.EqualValues(t, 20, store.saves.Load())
		v.site.clock.move(time.Microsecond)
		v.reads()
		require.EqualValues(t, 21, store.saves.Load())
	})
}

func TestGuarantee09_NoIdleLimitNoTouch(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: -1}, func(t *testing.T, v *visitor, store *countingStore) {
		v.signIn("ada")
		for range 23 {
			v.site.clock.move(time.Hour)
			require.Empty(t, v.reads().Cookies())
		}
		require.EqualValues(t, 1, store.saves.Load())
		require.False(t, v.signedOut())
	})
}

func TestGuarantee09_RegenerateKeepsTheLifetime(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: -1, Lifetime: 24 * time.Hour}, func(t *testing.T, v *visitor, _ *countingStore) {
		v.signIn("ada")
		before := v.view()
		v.site.clock.move(20 * time.Hour)
		v.must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		after := v.view()
		require.NotEqual(t, before.id, after.id)
		before.id = after.id
		require.Equal(t, before, after)
		v.site.clock.move(4 * time.Hour)
		require.True(t, v.signedOut())
	})
}

func TestGuarantee09_LoginStartsANewLifetime(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: -1, Lifetime: 24 * time.Hour}, func(t *testing.T, v *visitor, _ *countingStore) {
		v.must(func(s *session.Session) {
			s.Set("k", 1)
			s.SetLifetime(time.Hour, 2*time.Hour)
			s.SetPersistent(true)
			s.SetNote("laptop")
		})
		before := v.view()
		require.Zero(t, before.authenticated)
		v.site.clock.move(50 * time.Minute)
		resp := v.must(func(s *session.Session) { require.NoError(t, s.Login("ada", "k")) })
		require.Zero(t, resp.Cookies()[0].MaxAge, "persistence was the old session's")
		after := v.view()
		require.Equal(t, before.created.Add(50*time.Minute), after.created)
		require.Equal(t, after.created, after.authenticated)
		require.Equal(t, after.created.Add(24*time.Hour), after.expiresAt, "and so was its lifetime")
		v.site.clock.move(24*time.Hour - time.Microsecond)
		require.Equal(t, 1, read[int](v, "k"))
		v.site.clock.move(time.Microsecond)
		require.True(t, v.signedOut())
	})
}

func TestGuarantee09_AuthenticatedWithin(t *testing.T) {
	eachTimed(t, session.Config{}, func(t *testing.T, v *visitor, _ *countingStore) {
		within := func(d time.Duration) (is bool) {
			v.must(func(s *session.Session) { is = s.AuthenticatedWithin(d) })
			return is
		}
		require.False(t, within(time.Hour), "nobody")
		v.must(func(s *session.Session) { s.Set("k", 1) })
		require.False(t, within(time.Hour), "no login")
		v.signIn("ada")
		v.site.clock.move(10 * time.Minute)
		require.True(t, within(10*time.Minute))
		require.False(t, within(10*time.Minute-time.Microsecond))
		v.must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		require.False(t, within(9*time.Minute), "a new id is no login")
	})
}

func TestGuarantee09_ClockJumps(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: time.Hour, Persistent: true}, func(t *testing.T, v *visitor, store *countingStore) {
		v.signIn("ada")
		jump := func(d time.Duration, out bool) {
			v.site.clock.move(d)
			require.Equal(t, out, v.copied().signedOut(), "jumped by %v", d)
		}
		jump(-time.Minute, false)
		jump(-day, false)
		jump(-3000*day, false)
		saves := store.saves.Load()
		resp := v.must(func(s *session.Session) { s.SetNote("x"); s.SetPersistent(false); s.SetPersistent(true); s.Set("k", 1) })
		require.Equal(t, saves+1, store.saves.Load())
		for _, c := range resp.Cookies() {
			require.Equal(t, 400*24*60*60, c.MaxAge, "never more than browsers take")
		}
		jump(3001*day+time.Minute, false) // right again
		jump(day, true)
		jump(1000*day, true)

		// What is set while the clock is wrong begins a session of its own, which survives the clock's being put right.
		again := v.copied()
		again.must(func(s *session.Session) { require.True(t, s.IsNew()); s.Set("k", 2) })
		require.NotEqual(t, v.cookie, again.cookie)
		v.site.clock.move(-1000 * day)
		require.Equal(t, 2, read[int](again, "k"))
		again.must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		require.Equal(t, 2, read[int](again, "k"))
	})
}

func TestGuarantee09_ATouchDoesNotTurnBackTheClock(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{IdleTimeout: time.Hour}).visitor()
	v.signIn("ada")
	expires := v.view().expiresAt
	v.site.clock.move(-30 * time.Minute)
	v.must(func(s *session.Session) { s.Set("k", 1) })
	require.Equal(t, expires, v.view().expiresAt)
}

func TestGuarantee09_ATouchThatComesLateTurnsNothingBack(t *testing.T) {
	for _, b := range append(memoryBackings(t), redisBackings(t)...) {
		if b.sealed { // of which the last response wins
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			w := b.world(t, session.Config{IdleTimeout: time.Hour})
			cookie := w.login("ada")
			w.clock.advance(10 * time.Minute)
			late := w.launch(0, cookie, "save", act(func(*session.Session) {}))
			w.clock.advance(time.Minute)            // and no touch of its own is due at the handler's return
			w.do(cookie, func(*session.Session) {}) // a use that is noted first
			used := w.clock.Now()
			require.Equal(t, http.StatusOK, late.land().StatusCode)
			for _, r := range w.live() {
				require.True(t, r.Used.Equal(used), "%v, and was used at %v", r.Used, used)
			}
		})
	}
}

func TestGuarantee09_SetLifetime(t *testing.T) {
	for _, c := range []struct{ idle, lifetime, wantIdle, wantLifetime time.Duration }{
		{0, 0, time.Hour, day},
		{0, 30 * day, time.Hour, 30 * day},
		{-1, 30 * day, 30 * day, 30 * day}, // no idle limit: the absolute one is met first
		{7 * day, 30 * day, 7 * day, 30 * day},
		{0, 10 * time.Minute, 10 * time.Minute, 10 * time.Minute},
		{30 * time.Minute, 0, 30 * time.Minute, day},
		{-1, 400 * day, 400 * day, 400 * day},
		{400 * day, 400 * day, 400 * day, 400 * day},
	} {
		eachTimed(t, session.Config{}, func(t *testing.T, v *visitor, store *countingStore) {
			v.must(func(s *session.Session) {
				require.NoError(t, s.Login("ada"))
				s.SetLifetime(c.idle, c.lifetime)
				require.Equal(t, s.CreatedAt().Add(c.wantIdle), s.ExpiresAt(), "%+v", c)
			})
			r := store.change.Record
			require.Equal(t, c.wantLifetime, r.Deadline.Sub(r.Created), "%+v", c)
			require.Equal(t, r.Created.Add(c.wantIdle), r.Expires(), "%+v", c)
			unused := v.site.visitor()
			unused.must(func(s *session.Session) { s.Set("k", 1); s.SetLifetime(c.idle, c.lifetime) })
			v.site.clock.move(c.wantIdle - time.Microsecond)
			require.False(t, v.signedOut(), "%+v", c)
			v.site.clock.move(time.Microsecond)
			require.True(t, unused.signedOut(), "%+v", c)
		})
	}
}

func TestGuarantee09_SetLifetimeOfAnOlderSession(t *testing.T) {
	eachTimed(t, session.Config{}, func(t *testing.T, v *visitor, _ *countingStore) {
		v.signIn("ada")
		created := v.view().created
		v.site.clock.move(50 * time.Minute)
		v.must(func(s *session.Session) { s.SetLifetime(-1, 48*time.Hour) })
		require.Equal(t, created.Add(48*time.Hour), v.view().expiresAt, "from its start")
		v.must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		require.Equal(t, created.Add(48*time.Hour), v.view().expiresAt, "kept under a new id")
		v.signIn("ada")
		require.Equal(t, created.Add(50*time.Minute+time.Hour), v.view().expiresAt, "and not by a login")
	})
}

func TestGuarantee09_SetLifetimeRefused(t *testing.T) {
	for _, c := range []struct {
		idle, lifetime time.Duration
		why            string
	}{
		{0, -1, "Lifetime is negative"},
		{0, 400*day + 1, "Lifetime is over 400 days"},
		{2 * time.Hour, time.Hour, "IdleTimeout 2h0m0s is longer than Lifetime 1h0m0s"},
		{25 * time.Hour, 0, "IdleTimeout 25h0m0s is longer than Lifetime 24h0m0s"},
	} {
		store := &countingStore{Store: session.NewMemoryStore()}
		err := failure(t, store, func(s *session.Session) {
			s.Set("k", 1)
			s.SetLifetime(c.idle, c.lifetime)
			require.ErrorContains(t, s.Err(), "SetLifetime: "+c.why)
		})
		require.ErrorContains(t, err, "SetLifetime: "+c.why)
		require.Zero(t, store.saves.Load())
	}
}

// A lifetime that is over already ends the session, and is no "forever".
func TestGuarantee09_SetLifetimeThatIsOver(t *testing.T) {
	eachTimed(t, session.Config{Persistent: true}, func(t *testing.T, v *visitor, store *countingStore) {
		v.signIn("ada")
		v.site.clock.move(30 * time.Minute)
		thief := v.copied()
		resp := v.must(func(s *session.Session) { s.SetLifetime(0, 30*time.Minute) })
		for _, c := range resp.Cookies() {
			require.NotZero(t, c.MaxAge)
			require.LessOrEqual(t, c.MaxAge, 1)
		}
		require.True(t, v.signedOut())
		if _, sealed := store.Store.(*session.CookieStore); !sealed {
			require.True(t, thief.signedOut())
		}
	})
}

func TestGuarantee09_SetPersistent(t *testing.T) {
	eachTimed(t, session.Config{IdleTimeout: time.Hour, Lifetime: day}, func(t *testing.T, v *visitor, _ *countingStore) {
		maxAge := func(what func(*session.Session)) int {
			cookies := v.must(what).Cookies()
			require.Len(t, cookies, 1)
			return cookies[0].MaxAge
		}
		require.Zero(t, maxAge(func(s *session.Session) { require.NoError(t, s.Login("ada")) }))
		v.site.clock.move(2 * time.Minute)
		require.Equal(t, 24*60*60-2*60, maxAge(func(s *session.Session) { s.SetPersistent(true) }), "to the deadline")
		v.site.clock.move(2 * time.Minute)
		require.Equal(t, 24*60*60-4*60, maxAge(func(s *session.Session) { require.NoError(t, s.Regenerate()) }))
		require.Equal(t, 2*24*60*60-4*60, maxAge(func(s *session.Session) { s.SetLifetime(0, 2*day) }))
		require.Zero(t, maxAge(func(s *session.Session) { s.SetPersistent(false) }))
		require.Equal(t, 24*60*60, maxAge(func(s *session.Session) { require.NoError(t, s.Login("ada")); s.SetPersistent(true) }))
	})
}

func TestGuarantee09_NothingOfAllThisBeginsASession(t *testing.T) {
	eachTimed(t, session.Config{}, func(t *testing.T, v *visitor, store *countingStore) {
		resp := v.must(func(s *session.Session) {
			s.SetLifetime(0, time.Hour)
			s.SetPersistent(true)
			s.SetNote("x")
			require.NoError(t, s.Regenerate())
			require.Zero(t, s.CreatedAt())
			require.Zero(t, s.ExpiresAt())
		})
		require.Empty(t, resp.Cookies())
		require.Zero(t, store.calls())
	})
}

func TestGuarantee09_SetLifetimeThatIsOver_Redis(t *testing.T) {
	server := redistest.Start(t)
	store, err := session.OpenRedisStore(t.Context(), server.URL(), session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	clock := newManualClock()
	sessions, err := session.New(store, session.Config{Clock: clock.Now})
	require.NoError(t, err)
	for name, end := range map[string]func(*session.Session){
		"alone":         func(s *session.Session) { s.SetLifetime(0, 30*time.Minute) },
		"with a new id": func(s *session.Session) { s.SetLifetime(0, 30*time.Minute); require.NoError(t, s.Regenerate()) },
	} {
		t.Run(name, func(t *testing.T) {
			visit := func(cookies []*http.Cookie, do func(*session.Session)) *http.Response {
				r := httptest.NewRequest("POST", "http://localhost/", nil)
				for _, c := range cookies {
					r.AddCookie(c)
				}
				w := httptest.NewRecorder()
				sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					do(session.FromContext(r.Context()))
				})).ServeHTTP(w, r)
				return w.Result()
			}
			signedIn := visit(nil, func(s *session.Session) { require.NoError(t, s.Login("ada")) }).Cookies()
			clock.move(40 * time.Minute)
			require.Equal(t, http.StatusOK, visit(signedIn, end).StatusCode)
			visit(signedIn, func(s *session.Session) { require.Empty(t, s.User()) })
			left, err := sessions.Sessions(t.Context(), "ada")
			require.NoError(t, err)
			require.Empty(t, left)
			for _, key := range strings.Fields(server.MustDo("KEYS", "*")) {
				require.NotEqual(t, "-1", server.MustDo("PTTL", key), "%s stays for ever", key)
			}
		})
	}
}

// Redis drops what has ended by itself, and nothing before: the time to live follows the limits.
func TestGuarantee09_TimeToLiveFollowsTheLimits(t *testing.T) {
	server := redistest.Start(t)
	v := newSite(t, redisStore(t, server, session.RedisOptions{}), costConfig).visitor()
	v.signIn("ada")
	key := "session:" + v.view().id
	left := func() time.Duration {
		ms, err := strconv.Atoi(server.MustDo("PTTL", key))
		require.NoError(t, err)
		return time.Duration(ms) * time.Millisecond
	}
	server.MustDo("PEXPIRE", key, "60000") // as if most of the idle time had passed
	v.site.clock.move(time.Minute)
	v.must(func(s *session.Session) { s.Has("touched") })
	require.Greater(t, left(), 19*time.Minute)
	v.must(func(s *session.Session) { s.SetLifetime(2*time.Hour, 0) })
	require.Greater(t, left(), 119*time.Minute)
	v.must(func(s *session.Session) { s.SetLifetime(5*time.Minute, 0) })
	require.LessOrEqual(t, left(), 5*time.Minute)

	v.site.clock.move(25 * time.Hour)
	v.site.visitor().signIn("ada")
	require.Equal(t, "1", server.MustDo("ZCARD", "session:user:ada"), "the index drops what has ended")
}

// New limits count from the use that sets them, also where the old ones did not note it.
func TestGuarantee09_NewIdleLimit(t *testing.T) {
	server := redistest.Start(t)
	for name, store := range map[string]session.Store{
		"memory": session.NewMemoryStore(), "sealed": cookieStore(t, secretOne),
		"redis":                redisStore(t, server, session.RedisOptions{}),
		"redis, several slots": session.NewRedisStore(across{redisClient(t, server)}, session.RedisOptions{Prefix: "across:"}),
	} {
		for was, limit := range map[time.Duration]time.Duration{-1: time.Hour, time.Hour: time.Minute} {
			t.Run(fmt.Sprint(name, ", idle ", was), func(t *testing.T) {
				v := newSite(t, store, session.Config{IdleTimeout: was}).visitor()
				v.signIn("ada")
				v.site.clock.move(limit*2 - time.Second)
				v.must(func(s *session.Session) { s.SetLifetime(limit, 0) })
				require.False(t, v.signedOut())
			})
		}
	}
}

// An answer that made the cookie persistent may not have arrived: who asks again gets it again.
func TestGuarantee09_PersistentAgain(t *testing.T) {
	for name, remember := range map[string]func(*session.Session){
		"SetPersistent": func(s *session.Session) { s.SetPersistent(true) },
		"SetLifetime":   func(s *session.Session) { s.SetLifetime(0, 30*day) },
	} {
		t.Run(name, func(t *testing.T) {
			store := &deaf{Store: session.NewMemoryStore()}
			v := newSite(t, store, session.Config{}).visitor()
			v.must(func(s *session.Session) { require.NoError(t, s.Login("ada")); s.SetPersistent(name == "SetLifetime") })
			store.lose = true
			require.Empty(t, v.do(remember).Cookies())
			again := v.must(remember).Cookies()
			require.Len(t, again, 1)
			require.Positive(t, again[0].MaxAge)
		})
	}
}
