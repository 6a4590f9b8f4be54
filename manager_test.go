package session_test

import (
	"github.com/doorman-go/session/sessiontest"

	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestMiddleware_ManagersStacked(t *testing.T) {
	outer, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	inner, err := session.New(session.NewMemoryStore(), session.Config{Name: "__Host-admin"})
	require.NoError(t, err)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Same(t, session.FromContext(r.Context()), inner.Session(r.Context()))
		require.NotSame(t, outer.Session(r.Context()), inner.Session(r.Context()))
		outer.Session(r.Context()).Set("k", 1)
		inner.Session(r.Context()).Set("k", 2)
	})
	rec := httptest.NewRecorder()
	// The third one is the first again, and steps aside.
	outer.Middleware(inner.Middleware(outer.Middleware(h))).ServeHTTP(rec, kit.Fresh("/"))
	var names []string
	for _, c := range rec.Result().Cookies() {
		names = append(names, c.Name)
	}
	require.ElementsMatch(t, []string{"__Host-session", "__Host-admin"}, names)
}

func TestMiddleware_MissingIsSaid(t *testing.T) {
	m, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	ctx := context.Background()
	require.PanicsWithValue(t, "session: no session in the context; wrap the handler in Manager.Middleware, or use session.NewContext in a test", func() { session.FromContext(ctx) })
	require.PanicsWithValue(t, "session: no session of this Manager in the context; wrap the handler in Manager.Middleware", func() { m.Session(ctx) })
	_, ok := session.Lookup(ctx)
	require.False(t, ok)
	var zero session.Session
	require.Same(t, &zero, m.Session(session.NewContext(ctx, &zero)), "a test's session does for any Manager")
}

func TestMiddleware_WarnsOnceOfACookieThatBrowsersDrop(t *testing.T) {
	for _, c := range []struct {
		url, header string
		tls, warned bool
	}{
		{"http://example.test/", "", false, true}, {"http://example.test:8080/", "", false, true}, {"http://192.0.2.1/", "", false, true},
		{"http://localhost/", "", false, false}, {"http://app.localhost:8080/", "", false, false}, {"http://127.0.0.1:8080/", "", false, false},
		{"http://[::1]/", "", false, false}, {"http://[::1]:8080/", "", false, false},
		{"http://example.test/", "X-Forwarded-Proto", false, false}, {"http://example.test/", "Forwarded", false, false}, {"https://example.test/", "", true, false},
	} {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		for range 2 {
			r := httptest.NewRequest("GET", c.url, nil)
			if r.TLS = nil; c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if c.header != "" {
				r.Header.Set(c.header, "https")
			}
			set := func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Set("k", 1) }
			app.Nodes[0].HandlerOf(set).ServeHTTP(httptest.NewRecorder(), r)
		}
		require.Equal(t, map[bool]int{true: 1}[c.warned], strings.Count(app.Log(), "browsers will drop it"), "%+v", c)
	}
}

// A client that hangs up during the load is no store error: nobody is told, and nothing is committed.
func TestLoad_AClientThatHangsUp(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	cookie := app.Login("ada")
	app.Events()
	store.Hang()
	ctx, hangUp := context.WithCancel(context.Background())
	hangUp()
	resp := app.RequestWith(ctx, 0, cookie, kit.Act(func(s *session.Session) { require.Error(t, s.Err()); s.Set("new", 1) }))
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, kit.Body(resp))
	require.Empty(t, app.Events())
	require.Empty(t, app.Log())
}

// A request's own deadline, if it is the earlier one, bounds the load.
func TestLoad_ARequestsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		store := app.Store()
		cookie := app.Login("ada")
		store.Hang()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := time.Now()
		require.Equal(t, http.StatusServiceUnavailable, app.RequestWith(ctx, 0, cookie, kit.Act(func(*session.Session) {})).StatusCode)
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// The session is not good any more and could not be ended: the request fails, and the next one asks again.
func TestRevalidate_AnEndThatCannotBeDone(t *testing.T) {
	var verdict error
	app := kit.New(t, session.Config{Revalidate: func(context.Context, *session.Session) error { return verdict }}, session.NewMemoryStore())
	store := app.Store()
	cookie := app.Login("ada")
	verdict = session.ErrSessionEnded
	store.Break(kit.ErrDown, sessiontest.Swap, sessiontest.End)
	resp := app.Do(cookie, func(s *session.Session) {
		require.Empty(t, s.User())
		require.ErrorIs(t, s.Login("grace"), kit.ErrDown)
	})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Cookies())
	store.Mend()
	require.True(t, app.Dead(cookie))
	verdict = nil
	require.True(t, app.Dead(cookie))
}

// The errors say in words what happened, for a log.
func TestErrors_InWords(t *testing.T) {
	require.EqualError(t, &session.ConflictError{ID: "x"}, "session: x was changed by another request")
	require.EqualError(t, &session.ConflictError{ID: "x", NotBefore: time.Now()}, "session: the sessions of the user of x were ended up to a later time")
	require.EqualError(t, &session.StoreError{Op: session.OpSwap, Err: kit.ErrDown}, "session: swap: the store is down")
}
