package kit

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/doorman-go/session"
)

// A Browser keeps one cookie: it applies Set-Cookie in the order in which answers arrive.
type Browser struct {
	App    *App
	Cookie string // the session cookie's value; "" for none

	handler http.Handler // nil: the application's
}

// Browser returns a browser without a cookie.
func (a *App) Browser() *Browser { return &Browser{App: a} }

// BrowserWith returns a browser that has a cookie, whoever issued it.
func (a *App) BrowserWith(cookie string) *Browser { return &Browser{App: a, Cookie: cookie} }

// BrowserOf returns a browser whose requests go to h.
func (a *App) BrowserOf(h http.Handler) *Browser { return &Browser{App: a, handler: h} }

// Copy returns another browser, of somebody who got hold of the cookie.
func (b *Browser) Copy() *Browser {
	other := *b
	return &other
}

// On returns the browser as it meets the program after it was started again, with this store.
func (b *Browser) On(store session.Store) *Browser {
	b.App.T.Helper()
	return NewAt(b.App.T, b.App.Clock, session.Config{Name: b.App.Name}, store).BrowserWith(b.Cookie)
}

// Receive applies the cookies of answers.
func (b *Browser) Receive(responses ...*http.Response) {
	for _, resp := range responses {
		for _, c := range resp.Cookies() {
			switch {
			case c.Name != b.App.Name:
			case c.MaxAge < 0:
				b.Cookie = ""
			default:
				b.Cookie = c.Value
			}
		}
	}
}

// Do makes a request whose handler does this to the session and writes "done".
func (b *Browser) Do(what func(*session.Session)) *http.Response {
	b.App.T.Helper()
	return b.Visit(func(w http.ResponseWriter, r *http.Request) {
		what(session.FromContext(r.Context()))
		_, _ = w.Write([]byte("done"))
	})
}

// Must is Do for a request that has to be answered well.
func (b *Browser) Must(what func(*session.Session)) *http.Response {
	b.App.T.Helper()
	resp := b.Do(what)
	if resp.StatusCode != http.StatusOK {
		b.App.T.Fatalf("the request was answered with %s; the log: %s", resp.Status, b.App.Log())
	}
	return resp
}

// Visit makes a request to h, within the middleware.
func (b *Browser) Visit(h http.HandlerFunc) *http.Response {
	b.App.T.Helper()
	var lines []string
	if b.Cookie != "" {
		lines = []string{b.App.Name + "=" + b.Cookie}
	}
	resp := b.App.Serve(h, lines...)
	b.Receive(resp)
	return resp
}

// Get asks for a path, of the handler given to BrowserOf.
func (b *Browser) Get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.Serve(w, Fresh(path))
	return w
}

// Serve sends the request with the cookie to the handler given to BrowserOf.
func (b *Browser) Serve(w http.ResponseWriter, r *http.Request) {
	if b.Cookie != "" {
		r.AddCookie(&http.Cookie{Name: b.App.Name, Value: b.Cookie})
	}
	b.handler.ServeHTTP(w, r)
	b.Receive(&http.Response{Header: w.Header()})
}

// Fresh returns a request without a cookie.
func Fresh(path string) *http.Request {
	return httptest.NewRequest("GET", "https://localhost"+path, nil)
}

// SignIn begins a session of user.
func (b *Browser) SignIn(user string) {
	b.App.T.Helper()
	b.Must(func(s *session.Session) {
		if err := s.Login(user); err != nil {
			b.App.T.Fatal(err)
		}
	})
}

// SignedOut reports whether the cookie opens nothing.
func (b *Browser) SignedOut() (out bool) {
	b.App.T.Helper()
	b.Copy().Must(func(s *session.Session) { out = s.ID() == "" && s.User() == "" && len(s.Keys()) == 0 })
	return out
}

// Reads makes a request that reads only.
func (b *Browser) Reads() *http.Response {
	b.App.T.Helper()
	return b.Must(func(s *session.Session) { s.User() })
}

// A View is what a session tells of itself.
type View struct {
	ID, User                          string
	Created, Authenticated, ExpiresAt time.Time
}

// View makes a request that reads what the session tells of itself.
func (b *Browser) View() (seen View) {
	b.App.T.Helper()
	b.Must(func(s *session.Session) {
		seen = View{s.ID(), s.User(), s.CreatedAt().UTC(), s.AuthenticatedAt().UTC(), s.ExpiresAt().UTC()}
	})
	return seen
}

// Keys are the keys as a request sees them.
func (b *Browser) Keys() (keys []string) {
	b.App.T.Helper()
	b.Must(func(s *session.Session) { keys = s.Keys() })
	return keys
}

// Read returns the value of a key, or T's zero value.
func Read[T any](b *Browser, key string) (value T) {
	b.App.T.Helper()
	b.Must(func(s *session.Session) { value, _ = session.Key[T](key).Get(s) })
	return value
}

// Pages puts a handler behind the first process's middleware, beside /seed, which begins a session, and /read, which
// shows it.
func (a *App) Pages(h http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/seed", func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("seed", 1) })
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		_, _ = fmt.Fprint(w, s.User(), s.Keys())
	})
	mux.HandleFunc("/", h)
	return a.Manager().Middleware(mux)
}
