package guarantees_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// The client was told that nothing was saved, and nothing is, though the store is back before the handler returns.
func TestGuarantee05_AFailedCommitStaysFailed(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	cookie := app.Login("ada")
	resp := app.Request(0, cookie, func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("new", 1)
		store.Break(kit.ErrDown, sessiontest.Swap)
		_, err := io.WriteString(rw, "the handler's")
		require.ErrorIs(t, err, kit.ErrDown)
		store.Mend()
		require.ErrorIs(t, s.Save(context.Background()), kit.ErrDown)
	})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, []string{"cart"}, app.Look(cookie).Keys)
}

// whole is a handler that uses all that a response has.
func whole(do func(*session.Session)) kit.Handler {
	return func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
		h := rw.Header()
		h.Set("Trailer", "X-Sum")
		h.Set("X-Handler", "its")
		h.Set("ETag", `"1"`)
		http.SetCookie(rw, &http.Cookie{Name: "other", Value: "its"})
		do(s)
		rw.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(rw, "the handler's")
		h.Set("X-Sum", "its")
		h.Set(http.TrailerPrefix+"X-Late", "its")
		_ = http.NewResponseController(rw).Flush()
	}
}

func TestGuarantee05_FailedSaveFailedResponse(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(*session.Session)
		status int
	}{
		{"Set", func(s *session.Session) { s.Set("new", 1) }, 503},
		{"Login", kit.LoginAda, 503},
		{"Destroy", kit.Logout, 503},
		{"not encodable", func(s *session.Session) { s.Set("new", func() {}) }, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, session.NewMemoryStore())
			store := app.Store()
			cookie := app.Login("ada")
			store.Break(kit.ErrDown, sessiontest.Swap, sessiontest.End)
			server := httptest.NewServer(app.Nodes[0].HandlerOf(whole(c.do)))
			defer server.Close()
			resp := get(t, server.URL, app.Name+"="+cookie)
			require.Equal(t, c.status, resp.StatusCode)
			require.Equal(t, http.StatusText(c.status)+"\n", kit.Body(resp))
			require.Empty(t, resp.Cookies())
			require.Empty(t, resp.Trailer)
			for _, name := range []string{"Trailer", "X-Handler", "Etag", "X-Sum", "X-Late"} {
				require.NotContains(t, resp.Header, name)
			}
			store.Mend()
			require.Equal(t, kit.Look{ID: app.Look(cookie).ID, User: "ada", Keys: []string{"cart"}}, app.Look(cookie), "for another try")
		})
	}
}

// An error handler that flushes makes a chunked response, which could have the trailers that the handler sets later.
func TestGuarantee05_FailedSaveFailedResponse_Trailers(t *testing.T) {
	cfg := session.Config{ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) {
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(rw, "sorry")
		_ = http.NewResponseController(rw).Flush()
	}}
	app := kit.New(t, cfg, session.NewMemoryStore())
	store := app.Store()
	store.Break(kit.ErrDown, sessiontest.Swap)
	server := httptest.NewServer(app.Nodes[0].HandlerOf(whole(kit.LoginAda)))
	defer server.Close()
	resp := get(t, server.URL, "")
	require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
	require.Equal(t, "sorry", kit.Body(resp))
	require.Empty(t, resp.Trailer)
}

func get(t testing.TB, url, cookies string) *http.Response {
	r, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	require.NoError(t, err)
	r.Header.Set("Cookie", cookies)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestGuarantee05_AClientThatHangsUpCutsNothing(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		cookie := app.Login("ada")
		for _, do := range []func(*session.Session){func(s *session.Session) { s.Set("new", 1) }, kit.Regenerate, kit.Logout} {
			ctx, hangUp := context.WithCancel(context.Background())
			b := app.BrowserWith(cookie)
			b.Receive(app.RequestWith(ctx, 0, cookie, kit.Act(func(s *session.Session) { do(s); hangUp() })))
			if cookie = b.Cookie; cookie != "" {
				require.Contains(app.T, app.Look(cookie).Keys, "new")
			}
		}
		require.Empty(app.T, cookie)
		require.Empty(app.T, app.Live())
	})
}

func TestGuarantee05_DestroyIsDone(t *testing.T) {
	for _, c := range []struct {
		name string
		h    kit.Handler
	}{
		{"after a panic", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			kit.Logout(s)
			panic(http.ErrAbortHandler)
		}},
		{"after a panic in a stream", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			panic(http.ErrAbortHandler)
		}},
		{"after the response started", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
		}},
		{"after the response started, with a value set then", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			s.Flash("info", "signed out")
		}},
		{"after the response started, with a value that fails the commit", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			s.Set("new", func() {})
		}},
		{"by Save, after the response started, with a value set then", func(rw http.ResponseWriter, r *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			s.Flash("info", "signed out")
			require.ErrorIs(t, s.Save(r.Context()), session.ErrResponseStarted)
			panic(http.ErrAbortHandler)
		}},
		{"with a value that fails the commit", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			kit.Logout(s)
			s.Set("new", func() {})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kit.EachStore(t, session.Config{}, func(app *kit.App) {
				cookie := app.Login("ada")
				func() {
					defer func() { _ = recover() }()
					app.Request(0, cookie, c.h)
				}()
				require.True(app.T, app.Dead(cookie))
				require.Empty(app.T, app.Live())
			})
		})
	}
}

// Destroy is done, so the answer removes the cookie, also where a value that is set after it fails the commit.
func TestGuarantee05_DestroyBeforeABadValue(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		cookie := app.Login("ada")
		resp := app.Do(cookie, func(s *session.Session) {
			require.NoError(app.T, s.Destroy())
			s.Set("new", func() {})
		})
		require.Equal(app.T, http.StatusInternalServerError, resp.StatusCode)
		require.Len(app.T, resp.Cookies(), 1)
		require.Negative(app.T, resp.Cookies()[0].MaxAge)
		require.True(app.T, app.Dead(cookie))
	})
}
