//go:build !noservers

package guarantees_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// Redis would keep a key without a time to live for ever.
func TestGuarantee09_NoTTLIsForever(t *testing.T) {
	b := kit.RedisBackings(t)[0]
	over := func(s *session.Session) { s.SetLifetime(0, 30*time.Minute) }
	for name, do := range map[string]func(*kit.App, string){
		"a lifetime that is over": func(app *kit.App, cookie string) { app.Clock.Advance(30 * time.Minute); app.Do(cookie, over) },
		"a write past the deadline": func(app *kit.App, cookie string) {
			f := app.Launch(0, cookie, "swap", kit.Act(func(s *session.Session) { s.Set("new", 1) }))
			app.Clock.Advance(25 * time.Hour)
			f.Land()
		},
		"a touch past the idle limit": func(app *kit.App, cookie string) {
			app.Clock.Advance(10 * time.Minute)
			f := app.Launch(0, cookie, "swap", kit.Act(func(*session.Session) {}))
			app.Clock.Advance(time.Hour)
			f.Land()
		},
		"a regeneration past the deadline": func(app *kit.App, cookie string) {
			f := app.Launch(0, cookie, "swap", kit.Act(kit.Regenerate))
			app.Clock.Advance(25 * time.Hour)
			f.Land()
		},
		"a use at the last moment": func(app *kit.App, cookie string) {
			app.Clock.Advance(59 * time.Minute)
			app.Do(cookie, func(s *session.Session) { s.SetLifetime(0, 59*time.Minute+time.Microsecond) })
		},
	} {
		app := b.New(t, session.Config{})
		do(app, app.Login("ada"))
		keys, err := b.Client.Keys(context.Background(), "*").Result()
		require.NoError(t, err)
		for _, key := range keys {
			require.NotEqual(t, time.Duration(-1), b.Client.TTL(context.Background(), key).Val(), "%s leaves %s for ever", name, key)
		}
	}
}

func TestGuarantee09_IdleLimit(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: 20 * time.Minute}, func(t *testing.T, v *kit.Browser) {
		v.SignIn("ada")
		for range 3 { // each use is a new beginning
			v.App.Clock.Advance(20*time.Minute - time.Microsecond)
			require.Equal(t, "ada", v.View().User)
		}
		v.App.Happened()
		v.App.Clock.Advance(20 * time.Minute)
		require.True(t, v.SignedOut())
		require.Equal(t, []string{"expired: idle"}, v.App.Happened())
	})
}

func TestGuarantee09_WritesAndSavesPassNoDeadline(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: -1, Lifetime: time.Hour}, func(t *testing.T, v *kit.Browser) {
		v.SignIn("ada")
		for range 6 {
			v.Must(func(s *session.Session) {
				session.Key[int]("n").Update(s, func(n int) int { return n + 1 })
				s.SetNote("x")
				s.SetPersistent(true)
			})
			v.App.Clock.Advance(10 * time.Minute)
		}
		require.True(t, v.SignedOut())
	})
}

func TestGuarantee09_TouchIsThrottledAndTouchesNothingElse(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: time.Hour}, func(t *testing.T, v *kit.Browser) {
		store := v.App.Store()
		v.Must(func(s *session.Session) { s.Set("k", 1) })
		store.ForgetCalls()
		cookies := 0
		for range 60 { // an hour of a request a minute
			v.App.Clock.Advance(time.Minute)
			cookies += len(v.Reads().Cookies())
		}
		require.Equal(t, 20, store.Count(sessiontest.Swap), "every twentieth of the idle timeout")
		if _, sealed := store.Inner().(*session.CookieStore); sealed {
			require.Equal(t, 20, cookies)
		} else {
			require.Zero(t, cookies)
		}
		swap := store.LastSwaps()[0]
		touched := *swap.Old
		touched.LastUsedAt, touched.Revision, touched.Latest = swap.New.LastUsedAt, swap.New.Revision, swap.New.Latest
		require.JSONEq(t, jsonOf(t, &touched), jsonOf(t, swap.New), "nothing but the use is noted")
		v.App.Clock.Advance(3*time.Minute - time.Microsecond)
		v.Reads()
		require.Equal(t, 20, store.Count(sessiontest.Swap))
		v.App.Clock.Advance(time.Microsecond)
		v.Reads()
		require.Equal(t, 21, store.Count(sessiontest.Swap))
	})
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func TestGuarantee09_NoIdleLimitNoTouch(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: -1}, func(t *testing.T, v *kit.Browser) {
		store := v.App.Store()
		v.SignIn("ada")
		for range 23 {
			v.App.Clock.Advance(time.Hour)
			require.Empty(t, v.Reads().Cookies())
		}
		require.Equal(t, 1, store.Count(sessiontest.Swap))
		require.False(t, v.SignedOut())
	})
}

func TestGuarantee09_RegenerateKeepsTheLifetime(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: -1, Lifetime: 24 * time.Hour}, func(t *testing.T, v *kit.Browser) {
		v.SignIn("ada")
		before := v.View()
		v.App.Clock.Advance(20 * time.Hour)
		v.Must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		after := v.View()
		require.NotEqual(t, before.ID, after.ID)
		before.ID = after.ID
		require.Equal(t, before, after)
		v.App.Clock.Advance(4 * time.Hour)
		require.True(t, v.SignedOut())
	})
}

func TestGuarantee09_LoginStartsANewLifetime(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: -1, Lifetime: 24 * time.Hour}, func(t *testing.T, v *kit.Browser) {
		v.Must(func(s *session.Session) {
			s.Set("k", 1)
			s.SetLifetime(time.Hour, 2*time.Hour)
			s.SetPersistent(true)
			s.SetNote("laptop")
		})
		before := v.View()
		require.Zero(t, before.Authenticated)
		v.App.Clock.Advance(50 * time.Minute)
		resp := v.Must(func(s *session.Session) { require.NoError(t, s.Login("ada", "k")) })
		require.Zero(t, resp.Cookies()[0].MaxAge, "persistence was the old session's")
		after := v.View()
		require.Equal(t, before.Created.Add(50*time.Minute), after.Created)
		require.Equal(t, after.Created, after.Authenticated)
		require.Equal(t, after.Created.Add(24*time.Hour), after.ExpiresAt, "and so was its lifetime")
		v.App.Clock.Advance(24*time.Hour - time.Microsecond)
		require.Equal(t, 1, kit.Read[int](v, "k"))
		v.App.Clock.Advance(time.Microsecond)
		require.True(t, v.SignedOut())
	})
}

func TestGuarantee09_AuthenticatedWithin(t *testing.T) {
	kit.EachTimed(t, session.Config{}, func(t *testing.T, v *kit.Browser) {
		within := func(d time.Duration) (is bool) {
			v.Must(func(s *session.Session) { is = s.AuthenticatedWithin(d) })
			return is
		}
		require.False(t, within(time.Hour), "nobody")
		v.Must(func(s *session.Session) { s.Set("k", 1) })
		require.False(t, within(time.Hour), "no login")
		v.SignIn("ada")
		v.App.Clock.Advance(10 * time.Minute)
		require.True(t, within(10*time.Minute))
		require.False(t, within(10*time.Minute-time.Microsecond))
		v.Must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		require.False(t, within(9*time.Minute), "a new ID is no login")
	})
}

func TestGuarantee09_ClockJumps(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: time.Hour, Persistent: true}, func(t *testing.T, v *kit.Browser) {
		store := v.App.Store()
		v.SignIn("ada")
		jump := func(d time.Duration, out bool) {
			v.App.Clock.Advance(d)
			require.Equal(t, out, v.Copy().SignedOut(), "jumped by %v", d)
		}
		jump(-9*time.Second, false) // as far as the clocks of servers may differ
		saves := store.Count(sessiontest.Swap)
		resp := v.Must(func(s *session.Session) { s.SetNote("x"); s.SetPersistent(false); s.SetPersistent(true); s.Set("k", 1) })
		require.Equal(t, saves+1, store.Count(sessiontest.Swap))
		for _, c := range resp.Cookies() {
			require.LessOrEqual(t, c.MaxAge, 24*60*60+9)
		}
		jump(-time.Minute, true) // a session from the future is not believed
		jump(-kit.Day, true)
		jump(-3000*kit.Day, true)
		jump(3001*kit.Day+time.Minute+9*time.Second, false) // right again
		jump(kit.Day, true)
		jump(1000*kit.Day, true)

		// What is set while the clock is wrong begins a session of its own, which ends with the clock's being put right.
		again := v.Copy()
		again.Must(func(s *session.Session) { require.True(t, s.IsNew()); s.Set("k", 2) })
		require.NotEqual(t, v.Cookie, again.Cookie)
		require.Equal(t, 2, kit.Read[int](again, "k"))
		v.App.Clock.Advance(-1000 * kit.Day)
		require.True(t, again.SignedOut())
	})
}

func TestGuarantee09_ATouchDoesNotTurnBackTheClock(t *testing.T) {
	for name, do := range map[string]func(*session.Session){
		"a value": func(s *session.Session) { s.Set("k", 1) }, "a new ID": kit.Regenerate,
		"other limits": func(s *session.Session) { s.SetLifetime(time.Hour, 2*time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{IdleTimeout: time.Hour}, session.NewMemoryStore()).Browser()
			v.SignIn("ada")
			expires := v.View().ExpiresAt
			v.App.Clock.Advance(-9 * time.Second)
			v.Must(do)
			require.Equal(t, expires, v.View().ExpiresAt)
		})
	}
}

func TestGuarantee09_ATouchThatComesLateTurnsNothingBack(t *testing.T) {
	for _, b := range kit.Backings(t) {
		if b.Sealed || len(b.Stores()) < 2 { // of sealed ones the last response wins; in one process the second one would wait
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			app := b.New(t, session.Config{IdleTimeout: time.Hour})
			cookie := app.Login("ada")
			app.Clock.Advance(10 * time.Minute)
			late := app.Launch(0, cookie, "swap", kit.Act(func(*session.Session) {}))
			app.Clock.Advance(time.Minute) // and no touch of its own is due at the handler's return
			app.Look(cookie)               // a use, at the other process, that is noted first
			used := app.Clock.Now()
			require.Equal(t, http.StatusOK, late.Land().StatusCode)
			for _, r := range app.Live() {
				require.True(t, r.LastUsedAt.Equal(used), "%v, and was used at %v", r.LastUsedAt, used)
			}
		})
	}
}

func TestGuarantee09_NothingOfAllThisBeginsASession(t *testing.T) {
	kit.EachTimed(t, session.Config{}, func(t *testing.T, v *kit.Browser) {
		store := v.App.Store()
		resp := v.Must(func(s *session.Session) {
			s.SetLifetime(0, time.Hour)
			s.SetPersistent(true)
			s.SetNote("x")
			require.NoError(t, s.Regenerate())
			require.Zero(t, s.CreatedAt())
			require.Zero(t, s.ExpiresAt())
		})
		require.Empty(t, resp.Cookies())
		require.Zero(t, store.Count())
	})
}
