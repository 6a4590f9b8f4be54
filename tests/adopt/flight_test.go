package adopt_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// A flight is a browser's request that was stopped on its way.
type flight struct {
	resume func()
	done   chan *http.Response
	resp   *http.Response
}

// launch begins a request and returns when it has come to the point (kit.PauseAt).
func (b *browser) launch(at string, what func(*session.Session)) *flight {
	ctx, reached, resume := kit.WithPause(context.Background(), at)
	f := &flight{resume: resume, done: make(chan *http.Response, 1)}
	r := b.request().WithContext(ctx)
	go func() { f.done <- b.serve(r, what) }()
	select {
	case <-reached:
	case f.resp = <-f.done:
		b.w.T.Fatalf("the request was answered (%s) before it came to its %s", f.resp.Status, at)
	}
	return f
}

// land lets it go on.
func (f *flight) land() *http.Response {
	f.resume()
	f.resp = <-f.done
	return f.resp
}

// landAll lets all go on at once.
func landAll(t *testing.T, flights []*flight) {
	t.Helper()
	for _, f := range flights {
		f.resume()
	}
	for _, f := range flights {
		f.resp = <-f.done
	}
}

// sealed reports whether sessions are in the cookie.
func (w *world) sealed() bool {
	_, ok := w.Store().Inner().(*session.CookieStore)
	return ok
}

// live returns the user's sessions.
func (w *world) live(user string) []session.Info {
	w.T.Helper()
	infos, err := w.Manager().Sessions(w.Context(), user)
	require.NoError(w.T, err)
	return infos
}

// claim returns what is stored of a claim now that a Swap has put or replaced.
func (w *world) claim(put *session.Record) *session.Record {
	w.T.Helper()
	r, err := w.Store().Inner().Load(w.Context(), session.NewToken(put.ID, "").WithRealm(w.Name))
	require.NoError(w.T, err)
	return r
}

// restarted is the program after it was started again with these stores. The old library is the same.
func (w *world) restarted(stores ...session.Store) *world {
	w.T.Helper()
	return &world{kit.NewAt(w.T, w.Clock, session.Config{Name: w.Name, Adopt: w.old.adopt}, stores...), w.old}
}

// setCookie returns the line that sets the session's cookie.
func (w *world) setCookie(resp *http.Response) string {
	for _, line := range resp.Header["Set-Cookie"] {
		if strings.HasPrefix(line, w.Name+"=") {
			return line
		}
	}
	return ""
}

// handle makes a request that a handler of its own answers.
func (b *browser) handle(h http.HandlerFunc) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	b.w.Nodes[b.node].HandlerOf(func(w http.ResponseWriter, r *http.Request, _ *session.Session) { h(w, r) }).ServeHTTP(rec, b.request())
	b.receive(rec.Result())
	return rec
}

// loseClaim has the store put the next claim and lose its answer.
func (w *world) loseClaim() {
	var once sync.Once
	store := w.Store()
	store.Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
		err := call()
		if err == nil && op == sessiontest.Swap && store.LastSwaps()[0].New.Ended {
			once.Do(func() { err = errors.New("the reply was lost") })
		}
		return err
	})
}

// A handler may return while another goroutine uses the session for the first time: the race detector looks on.
func TestFlight_TheHandlerReturnsMeanwhile(t *testing.T) {
	w := onMemory(t, session.Config{})
	var all sync.WaitGroup
	for range 300 {
		r := httptest.NewRequest("POST", "https://example.test/", strings.NewReader("a=b"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.AddCookie(&http.Cookie{Name: oldCookie, Value: "t1"})
		w.Nodes[0].HandlerOf(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			require.NoError(t, r.ParseForm())
			all.Go(func() { s.User() })
		}).ServeHTTP(httptest.NewRecorder(), r)
	}
	all.Wait()
}
