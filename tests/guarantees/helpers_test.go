package guarantees_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// waysToRespond is one call of each way to begin a response, where the writer has it.
var waysToRespond = []struct {
	name string
	call func(http.ResponseWriter) error
}{
	{"Write", func(w http.ResponseWriter) error { _, err := w.Write([]byte("leak")); return err }},
	{"WriteHeader", func(w http.ResponseWriter) error { w.WriteHeader(201); return nil }},
	{"Flush", flush},
	{"FlushError", func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }},
	{"ReadFrom", readFrom},
	{"Copy", func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader("leak")); return err }},
	{"WriteString", func(w http.ResponseWriter) error { _, err := io.WriteString(w, "leak"); return err }},
	{"return", func(http.ResponseWriter) error { return nil }},
}

func flush(w http.ResponseWriter) error {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}

func readFrom(w http.ResponseWriter) error {
	f, ok := w.(io.ReaderFrom)
	if !ok {
		return nil
	}
	_, err := f.ReadFrom(strings.NewReader("leak"))
	return err
}

// recovering answers a panic as recoverers do, with 500.
func recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "panic", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// overHTTP runs a test over HTTP/1.1 and HTTP/2.
func overHTTP(t *testing.T, test func(t *testing.T, serve serveFunc)) {
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP%d", major), func(t *testing.T) {
			test(t, func(h http.Handler) *streamSite { return newStreamSite(t, h, major) })
		})
	}
}

type serveFunc func(http.Handler) *streamSite

// streamSite is a handler on a real listener with TLS, and a browser: it keeps cookies and does not follow redirects.
type streamSite struct {
	*testing.T
	*http.Client
	base  string
	major int
}

func newStreamSite(t *testing.T, h http.Handler, major int) *streamSite {
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = major == 2
	server.Config.ErrorLog = kit.Quiet()
	server.StartTLS()
	t.Cleanup(server.Close)
	client := server.Client()
	client.Jar, _ = cookiejar.New(nil)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &streamSite{t, client, server.URL, major}
}

// do sends a request and reads the whole answer.
func (s *streamSite) do(ctx context.Context, method, path string, header ...string) (*http.Response, string) {
	s.Helper()
	response := s.begin(ctx, method, path, header...)
	body, err := io.ReadAll(response.Body)
	require.NoError(s, err)
	require.NoError(s, response.Body.Close())
	require.Equal(s, s.major, response.ProtoMajor)
	return response, string(body)
}

// begin sends a request and returns when the answer's header is there.
func (s *streamSite) begin(ctx context.Context, method, path string, header ...string) *http.Response {
	s.Helper()
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, nil)
	require.NoError(s, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.Do(request)
	require.NoError(s, err)
	s.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func (s *streamSite) get(path string) (*http.Response, string) { return s.do(s.Context(), "GET", path) }

// setting makes a handler that sets a value before it goes on.
func setting(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("cart", "tea")
		h(w, r)
	}
}

// newPages returns an application for App.Pages.
func newPages(t *testing.T) *kit.App {
	return kit.New(t, session.Config{Logger: kit.QuietSlog()}, session.NewMemoryStore())
}

// breakStore has the application's store refuse what would change it.
func breakStore(app *kit.App) { app.Store().Break(kit.ErrDown, sessiontest.Swap, sessiontest.End) }

// requireSessionCookie checks what comes with a session's cookie: there is one, and no cache may keep it.
func requireSessionCookie(t *testing.T, h http.Header) {
	t.Helper()
	require.Len(t, h.Values("Set-Cookie"), 1)
	require.True(t, strings.HasPrefix(h.Get("Set-Cookie"), "__Host-session="), h.Get("Set-Cookie"))
	require.Equal(t, "Cookie", h.Get("Vary"))
	require.Equal(t, "no-store", h.Get("Cache-Control"))
}

// failure returns the error that a request's commit ended in, and checks that the handler's answer did not leave and that
// the store was not asked to change anything.
func failure(t *testing.T, what func(*session.Session)) error {
	t.Helper()
	var failed error
	v := kit.New(t, session.Config{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		failed = err
		http.Error(w, "the error page", http.StatusInternalServerError)
	}}, session.NewMemoryStore()).Browser()
	resp := v.Visit(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Handler", "was here")
		what(session.FromContext(r.Context()))
		_, _ = w.Write([]byte("done"))
	})
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, "the error page\n", kit.Body(resp))
	require.Empty(t, resp.Header["X-Handler"])
	require.Empty(t, resp.Header["Set-Cookie"])
	require.Zero(t, v.App.Store().Count(sessiontest.Swap))
	return failed
}
