package guarantees_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGuarantee05_FailedCommitLetsNothingThrough(t *testing.T) {
	for _, use := range waysToRespond {
		t.Run(use.name, func(t *testing.T) {
			overHTTP(t, func(t *testing.T, serve serveFunc) {
				app := newPages(t)
				breakStore(app)
				site := serve(app.Pages(setting(func(w http.ResponseWriter, _ *http.Request) { leak(t, w, use.call) })))
				response, body := site.get("/")
				require.Equal(t, 503, response.StatusCode)
				require.Equal(t, "Service Unavailable\n", body)
				require.Empty(t, response.Trailer)
				for name := range response.Header {
					require.Contains(t, []string{"Cache-Control", "Content-Length", "Content-Type", "Date", "Vary", "X-Content-Type-Options"}, name)
				}
				require.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
			})
		})
	}
}

// leak begins a response in one way and then tries every other, with headers and trailers set at all times.
func leak(t *testing.T, w http.ResponseWriter, begin func(http.ResponseWriter) error) {
	early := w.Header()
	mark := func(h http.Header) {
		h.Set("X-Leak", "1")
		h.Add("Set-Cookie", "leak=1")
		h.Set(http.TrailerPrefix+"X-Late", "1")
		h.Set("X-Sum", "1")
		h.Set("Content-Type", "text/leak")
		h.Set("Content-Encoding", "leak")
		h.Set("Etag", `"leak"`)
	}
	early.Set("Trailer", "X-Sum")
	mark(early)
	if err := begin(w); err != nil {
		assert.ErrorIs(t, err, kit.ErrDown)
	}
	mark(early)
	mark(w.Header())
	if w.Header().Get("Trailer") != "" {
		return // the commit comes when the handler has returned
	}
	for _, use := range waysToRespond {
		if err := use.call(w); !errors.Is(err, errors.ErrUnsupported) && err != nil {
			assert.ErrorIs(t, err, kit.ErrDown)
		}
	}
	w.WriteHeader(http.StatusEarlyHints)
}

// A writer that sends its header at the end, as http.TimeoutHandler's does, would take one that a handler went on to set.
func TestGuarantee05_FailedCommitUnderABufferingWriter(t *testing.T) {
	app := newPages(t)
	breakStore(app)
	h := http.TimeoutHandler(app.Pages(setting(func(w http.ResponseWriter, _ *http.Request) {
		leak(t, w, func(w http.ResponseWriter) error { _, err := w.Write([]byte("leak")); return err })
	})), time.Minute, "")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, kit.Fresh("/"))
	require.Equal(t, 503, w.Code)
	require.Equal(t, "Service Unavailable\n", w.Body.String())
	require.Empty(t, w.Result().Cookies())
	for _, name := range []string{"X-Leak", "X-Sum", http.TrailerPrefix + "X-Late", "Content-Encoding", "Etag"} {
		require.Empty(t, w.Header().Get(name), name)
	}
}

func TestGuarantee05_AnswerByError(t *testing.T) {
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		status int
	}{
		{"encode", func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("f", func() {}) }, 500},
		{"invalid UTF-8", func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("f", "\xff") }, 500},
		{"lifetime", func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).SetLifetime(2, 1) }, 500},
	} {
		w := httptest.NewRecorder()
		newPages(t).Pages(setting(c.h)).ServeHTTP(w, kit.Fresh("/"))
		require.Equal(t, c.status, w.Code, c.name)
		require.Empty(t, w.Result().Cookies(), c.name)
	}
}

func TestGuarantee05_HeadersFromOutsideStay(t *testing.T) {
	app := newPages(t)
	breakStore(app)
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "7")
	w.Header().Add("Set-Cookie", "outer=1")
	w.Header().Set("Vary", "Accept-Encoding")
	app.Pages(setting(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "changed")
		w.Header().Add("Set-Cookie", "inner=1")
		kit.WriteOK(w, r)
	})).ServeHTTP(w, kit.Fresh("/"))
	require.Equal(t, "7", w.Header().Get("X-Request-Id"))
	require.Equal(t, []string{"outer=1"}, w.Header().Values("Set-Cookie"))
	require.Equal(t, []string{"Accept-Encoding", "Cookie"}, w.Header().Values("Vary"))
}

func TestGuarantee05_ErrorHandlerWritesTheAnswer(t *testing.T) {
	var met error
	app := kit.New(t, session.Config{Logger: kit.QuietSlog(), ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
		met = err
		w.Header().Set("Trailer", "X-Why")
		w.WriteHeader(507)
		_, _ = io.WriteString(w, "later")
		w.Header().Set("X-Why", "store")
	}}, session.NewMemoryStore())
	breakStore(app)
	w := httptest.NewRecorder()
	app.Pages(setting(kit.WriteOK)).ServeHTTP(w, kit.Fresh("/"))
	require.Equal(t, 507, w.Code)
	require.Equal(t, "later", w.Body.String())
	require.Equal(t, "store", w.Result().Trailer.Get("X-Why"))
	require.ErrorIs(t, met, kit.ErrDown)
	var failed *session.StoreError
	require.ErrorAs(t, met, &failed)
	require.Equal(t, session.OpSwap, failed.Op)
}

func TestGuarantee05_DestroyAndPanic(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"before the first byte": func(_ http.ResponseWriter, r *http.Request) {
			assert.NoError(t, session.FromContext(r.Context()).Destroy())
			panic("after logout")
		},
		"after the first byte": func(w http.ResponseWriter, r *http.Request) {
			kit.WriteOK(w, r)
			assert.ErrorIs(t, session.FromContext(r.Context()).Destroy(), session.ErrResponseStarted)
			panic("after logout")
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := newPages(t)
			b := app.BrowserOf(recovering(app.Pages(h)))
			b.Get("/seed")
			copied := *b
			b.Get("/")
			require.Equal(t, "[]", copied.Get("/read").Body.String())
			require.Equal(t, name != "before the first byte", b.Cookie != "")
			require.Equal(t, 1, app.Count(session.EventDestroyed), "a logout belongs into the audit log")
		})
	}
}

// A logout that the store could not do must not look like one: the cookie stays for another try.
func TestGuarantee05_DestroyAndPanicWithoutStore(t *testing.T) {
	app := newPages(t)
	b := app.BrowserOf(recovering(app.Pages(func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, session.FromContext(r.Context()).Destroy())
		breakStore(app)
		panic("after logout")
	})))
	b.Get("/seed")
	require.Empty(t, b.Get("/").Header().Values("Set-Cookie"))
	app.Store().Mend()
	require.Equal(t, "[seed]", b.Get("/read").Body.String())
}
