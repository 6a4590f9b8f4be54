package guarantees_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// A client that sends several cookies gets no more of the server's time than one that sends one.
func TestGuarantee06_OneBoundForAllCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemoryStore()
		app := kit.New(t, session.Config{StoreTimeout: time.Second}, store)
		app.Store().Delay(700*time.Millisecond, sessiontest.Load)
		quick := kit.New(t, session.Config{}, store)
		lines := []string{}
		for range 4 {
			v := quick.Browser()
			v.Must(func(s *session.Session) { s.Set("n", 1) })
			cookie := v.Cookie
			v.Must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
			lines = append(lines, app.Name+"="+cookie)
		}
		begun := time.Now()
		resp := app.Serve(func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Has("n") }, lines...)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// A commit that takes two calls of the store has no more time than one that takes one.
func TestGuarantee06_OneBoundForACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemoryStore()
		v := kit.New(t, session.Config{}, store).Browser()
		v.SignIn("ada")
		thief := v.Copy()
		begun := time.Now()
		app := kit.New(t, session.Config{StoreTimeout: time.Second}, store)
		app.Store().Delay(700*time.Millisecond, sessiontest.Swap, sessiontest.End)
		resp := app.BrowserWith(v.Cookie).Do(func(s *session.Session) {
			require.NoError(t, s.Destroy())
			s.Flash("info", "signed out")
		})
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, time.Second, time.Since(begun))
		require.True(t, thief.SignedOut())
	})
}

// On the bubble's clock, so that a machine with other things to do makes no difference.
func TestGuarantee06_EachCallEndsInTime(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after func(*session.Session) // the store gets stuck
	}{
		{"load", nil, func(s *session.Session) { s.Keys() }},
		{"Set", func(s *session.Session) { s.Keys() }, func(s *session.Session) { s.Set("new", 1) }},
		{"Update", func(s *session.Session) { s.Keys() }, kit.CountUp},
		{"Regenerate", func(s *session.Session) { s.Keys() }, kit.Regenerate},
		{"Login", func(s *session.Session) { s.Keys() }, kit.LoginAda},
		{"Destroy", func(s *session.Session) { s.Keys() }, kit.Logout},
		{"Save", func(s *session.Session) { s.Keys() }, func(s *session.Session) { s.Set("new", 1); _ = s.Save(context.Background()) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			app := kit.New(t, session.Config{StoreTimeout: time.Second}, session.NewMemoryStore())
			store := app.Store()
			cookie := app.Login("ada")
			begun, calls := time.Now(), time.Duration(1)
			if c.name == "Save" {
				calls = 2 // the handler's own, and the one before the first byte
			}
			resp := app.Request(0, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				if c.before != nil {
					c.before(s)
				}
				store.Hang()
				c.after(s)
			})
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, c.name)
			require.Equal(t, calls*time.Second, time.Since(begun), c.name)
			store.Mend()
			require.Equal(t, []string{"cart"}, app.Look(cookie).Keys, "%s: nothing was harmed", c.name)
		})
	}
}

// A session that is larger than MaxSize already, since that was lowered, can be read, used, made smaller and ended.
func TestGuarantee06_TooLargeAlready(t *testing.T) {
	store := session.NewMemoryStore()
	was := kit.New(t, session.Config{}, store)
	cookie := was.Login("ada")
	was.Do(cookie, func(s *session.Session) {
		s.Set("one", strings.Repeat("x", 2000))
		s.Set("two", strings.Repeat("x", 2000))
	})
	app := kit.NewAt(t, was.Clock, session.Config{MaxSize: 1000}, store)
	status := func(do func(*session.Session)) int { return app.Do(cookie, do).StatusCode }
	app.Clock.Advance(10 * time.Minute)
	require.Equal(t, http.StatusOK, status(func(s *session.Session) { require.True(t, s.Has("two")) }))
	require.Equal(t, http.StatusInternalServerError, status(func(s *session.Session) { s.Set("three", 1) }))
	require.Equal(t, http.StatusOK, status(func(s *session.Session) { s.Delete("one") }))
	require.Equal(t, http.StatusOK, status(kit.Logout))
	require.True(t, app.Dead(cookie))
}

// How often a session was written of late takes nothing of its size.
func TestGuarantee06_WrittenOften(t *testing.T) {
	app := kit.New(t, session.Config{MaxSize: 400}, session.NewMemoryStore())
	cookie := app.Login("ada")
	for i := range 60 {
		resp := app.Do(cookie, func(s *session.Session) { s.Set("grows", strings.Repeat("x", i)) })
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
}
