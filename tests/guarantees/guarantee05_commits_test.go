package guarantees_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// panics returns what the request panics with.
func panics(v *kit.Browser, h http.HandlerFunc) (with any) {
	defer func() { with = recover() }()
	v.Visit(h)
	return nil
}

// An Update runs again at the commit, where the value may be gone: if it can't bear that, the request panics, and no more.
func TestGuarantee05_AnUpdateThatPanicsAtTheCommit(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	visits := session.Key[map[string]int]("visits")
	v.Must(func(s *session.Session) { visits.Set(s, map[string]int{"x": 1}) })
	require.NotNil(t, panics(v, func(_ http.ResponseWriter, r *http.Request) {
		visits.Update(session.FromContext(r.Context()), func(m map[string]int) map[string]int { m["x"]++; return m })
		v.Copy().Must(func(s *session.Session) { visits.Delete(s) })
	}))
	v.Must(func(s *session.Session) { require.False(t, s.Has("visits")) })
}

// A panic while the session is loaded goes on to the server, and a handler that has a recoverer of its own gets an error.
func TestGuarantee05_RevalidateThatPanics(t *testing.T) {
	broken := false
	v := kit.New(t, session.Config{Revalidate: func(context.Context, *session.Session) error {
		if broken {
			panic("the application's fault")
		}
		return nil
	}}, session.NewMemoryStore()).Browser()
	v.SignIn("ada")
	broken = true
	require.Equal(t, "the application's fault", panics(v, func(_ http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).User()
	}))
	resp := v.Visit(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		func() {
			defer func() { _ = recover() }()
			s.User()
		}()
		require.Error(t, s.Err())
		require.Empty(t, s.User())
		_, _ = w.Write([]byte("the handler's page"))
	})
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	broken = false
	require.Equal(t, "ada", v.View().User)
}

// While an Update runs again another goroutine of the request may log out: what is done then is that.
func TestGuarantee05_DestroyWhileAnUpdateRunsAgain(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	n := session.Key[int]("n")
	v.Must(func(s *session.Session) { n.Set(s, 0) })
	stale := v.Copy()
	calls := 0
	v.Must(func(s *session.Session) {
		n.Update(s, func(before int) int {
			if calls++; calls == 2 {
				require.NoError(t, s.Destroy())
			}
			return before + 1
		})
		v.Copy().Must(func(s *session.Session) { n.Set(s, 10) })
	})
	require.True(t, stale.SignedOut())
}

// A status that is none panics below, before anything is saved.
func TestGuarantee05_NoStatus(t *testing.T) {
	store := session.NewMemoryStore()
	v := kit.New(t, session.Config{}, store).Browser()
	for _, status := range []int{0, 99, 1000} {
		require.NotNil(t, panics(v, func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, session.FromContext(r.Context()).Login("ada"))
			w.WriteHeader(status)
		}))
		require.Zero(t, store.Len())
	}
}

// The list is asked about a new session too: it must be issued after its user's sessions were ended.
func TestGuarantee05_ALoginWithAListThatCannotBeReached(t *testing.T) {
	list := sessiontest.NewStore()
	list.Down(kit.ErrDown)
	app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne).WithRevocations(list))
	resp := app.Do("", kit.LoginAda)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Cookies())
}

func TestGuarantee05_AListThatCannotBeReachedFailsClosed(t *testing.T) {
	v := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne)).Browser()
	v.SignIn("ada")
	list := sessiontest.NewStore()
	list.Down(kit.ErrDown)
	broken := v.On(kit.Sealed(t, kit.SecretOne).WithRevocations(list))
	for _, what := range []func(*session.Session){
		func(s *session.Session) { require.Empty(t, s.User()) },
		func(s *session.Session) { s.Set("k", 1) },
		func(s *session.Session) { require.Error(t, s.Destroy()) },
	} {
		resp := broken.Do(what)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Empty(t, resp.Cookies(), "the cookie stays for another try")
	}
}
