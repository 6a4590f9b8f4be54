package field_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// B. A time that was taken before the fact, and the clocks of two machines.

// Each offset of the revocation's beginning against the regeneration's is tried, with a list whose writes take 25 ms.
func TestField02_RevokeUserMissesNoSessionThatIsRegenerated(t *testing.T) {
	for offset := -100 * time.Millisecond; offset <= 100*time.Millisecond; offset += 4 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			list, clock := kit.NewStore(session.NewMemoryStore()), kit.NewClock()
			wait := func(d time.Duration) { time.Sleep(d); clock.Set(time.Now()) } // on the bubble's clock
			list.Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
				if op != sessiontest.Swap {
					wait(time.Millisecond)
					return call()
				}
				wait(20 * time.Millisecond)
				defer wait(5 * time.Millisecond)
				return call()
			})
			app := kit.NewAt(t, clock, session.Config{}, kit.Sealed(t, kit.SecretOne).WithRevocations(list.Front()))
			b := app.BrowserWith(app.Login("ada"))
			old := b.Cookie
			var both sync.WaitGroup
			both.Go(func() {
				wait(max(offset, 0))
				app.RevokeUser("ada")
			})
			both.Go(func() {
				wait(max(-offset, 0))
				b.Receive(app.Do(old, kit.Regenerate))
			})
			both.Wait()
			require.True(t, app.Dead(old))
			require.True(t, b.Cookie == "" || app.Dead(b.Cookie), "missed with an offset of %v", offset)
		})
	}
}

func TestField03_RevokeUserReachesALoginOfAServerThatIsAhead(t *testing.T) {
	for _, skew := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second, -500 * time.Millisecond} {
		for name, store := range map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": kit.SealedWithList(t)} {
			here := kit.New(t, session.Config{}, store)
			there := kit.New(t, session.Config{}, store)
			there.Clock.Set(here.Clock.Now().Add(skew))
			cookie := there.Login("ada")
			here.Clock.Advance(time.Millisecond)
			here.RevokeUser("ada")
			require.True(t, here.Dead(cookie), "%s, %v", name, skew)
			require.True(t, there.Dead(cookie), "%s, %v", name, skew)
			require.Equal(t, "ada", here.User(here.Login("ada")), "a login after it stands")
			require.Equal(t, "ada", there.User(there.Login("ada")))
		}
	}
}

func TestField04_AClockADayAheadDropsNothingOfAnIndex(t *testing.T) {
	server := redistest.Start(t)
	here := kit.New(t, session.Config{}, kit.OpenRedis(t, server, session.RedisOptions{}))
	ahead := kit.New(t, session.Config{}, kit.OpenRedis(t, server, session.RedisOptions{}))
	ahead.Clock.Advance(24*time.Hour + time.Minute)
	one, two := here.Login("ada"), here.Login("ada")
	ahead.Login("ada")
	require.Len(t, here.Listed("ada"), 2)
	require.Equal(t, 2, here.RevokeUser("ada"))
	require.True(t, here.Dead(one) && here.Dead(two))
}

func TestField05_RecordsFromTheFutureAreNotBelieved(t *testing.T) {
	newApp := func(t *testing.T, change func(r *session.Record, now time.Time)) (*kit.App, string) {
		app := kit.New(t, session.Config{IdleTimeout: time.Hour}, session.NewMemoryStore())
		cookie := app.Login("ada")
		app.Rewrite(cookie, func(r *session.Record) { change(r, app.Clock.Now()) })
		return app, cookie
	}
	const skew = 3 * time.Hour
	t.Run("last use", func(t *testing.T) {
		app, cookie := newApp(t, func(r *session.Record, now time.Time) { r.LastUsedAt = now.Add(skew) })
		listed := app.Listed("ada")
		require.Equal(t, app.Clock.Now().UTC(), listed[0].LastUsedAt)
		require.Equal(t, app.Clock.Now().Add(time.Hour).UTC(), listed[0].ExpiresAt, "a list says when it ends")
		app.Clock.Advance(time.Hour)
		require.True(t, app.Dead(cookie), "the idle limit is not stretched")
	})
	t.Run("what the session tells", func(t *testing.T) {
		app, cookie := newApp(t, func(r *session.Record, now time.Time) { r.LastUsedAt = now.Add(skew) })
		var expires time.Time
		app.Do(cookie, func(s *session.Session) { expires = s.ExpiresAt() })
		require.Equal(t, app.Clock.Now().Add(time.Hour).UTC(), expires.UTC())
	})
	t.Run("it heals", func(t *testing.T) {
		app, cookie := newApp(t, func(r *session.Record, now time.Time) { r.LastUsedAt = now.Add(skew) })
		app.Clock.Advance(30 * time.Minute)
		require.Equal(t, "ada", app.User(cookie))
		app.Clock.Advance(45 * time.Minute)
		require.Equal(t, "ada", app.User(cookie), "the use that was noted half an hour after the start counts")
	})
	t.Run("login", func(t *testing.T) {
		app, cookie := newApp(t, func(r *session.Record, now time.Time) { r.AuthenticatedAt = now.Add(skew) })
		app.Do(cookie, func(s *session.Session) { require.False(t, s.AuthenticatedWithin(5*time.Minute)) })
		require.Equal(t, "ada", app.User(cookie))
	})
	t.Run("start", func(t *testing.T) {
		app, cookie := newApp(t, func(r *session.Record, now time.Time) { r.CreatedAt = now.Add(skew) })
		require.True(t, app.Dead(cookie))
		require.Empty(t, app.Listed("ada"))
	})
	t.Run("regeneration", func(t *testing.T) {
		app, cookie := newApp(t, func(r *session.Record, now time.Time) { r.RegeneratedAt = now.Add(skew) })
		begun := time.Now()
		requireStatus(t, http.StatusOK, app.Do(cookie, kit.Regenerate), app)
		require.Less(t, time.Since(begun), 10*time.Second, "the gap between two is no longer for it")
	})
	t.Run("a few seconds are believed", func(t *testing.T) {
		app, cookie := newApp(t, func(r *session.Record, now time.Time) {
			r.CreatedAt, r.LastUsedAt, r.AuthenticatedAt = now.Add(5*time.Second), now.Add(5*time.Second), now.Add(5*time.Second)
		})
		app.Do(cookie, func(s *session.Session) { require.True(t, s.AuthenticatedWithin(5*time.Minute)) })
		require.Equal(t, "ada", app.User(cookie))
	})
}
