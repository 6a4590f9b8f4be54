// Package adopt_test shows what becomes of the sessions of the library that was used before (Config.Adopt).
package adopt_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// oldCookie is the name of the old library's cookie.
const oldCookie = "legacy"

// A library is the one that was used before: a store of its own, and a cookie with its token.
type library struct {
	mu        sync.Mutex
	sessions  map[string]session.Adopted
	down      error // the store can't be reached
	asked     int
	forgotten []string // in the order of the calls that did it
	forgets   int      // all calls
}

// put keeps a session under its token.
func (l *library) put(s session.Adopted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		l.sessions = map[string]session.Adopted{}
	}
	l.sessions[s.Token] = s
}

func (l *library) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = err
}

// state returns the error of a store that can't be reached.
func (l *library) state() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// adopt is for Config.Adopt. It names the token, whether the store knows it or not, as what a cookie holds.
func (l *library) adopt(r *http.Request) (*session.Adopted, error) {
	c, err := r.Cookie(oldCookie)
	if err != nil {
		return nil, nil
	}
	l.mu.Lock()
	l.asked++
	l.mu.Unlock()
	named := &session.Adopted{Token: c.Value, Cookies: []*http.Cookie{{Name: oldCookie, Path: "/", Secure: true, HttpOnly: true}}}
	if err := l.state(); err != nil {
		return named, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.sessions[c.Value]
	if !ok {
		return named, fmt.Errorf("legacy: %w", session.ErrNotFound)
	}
	s.Cookies = named.Cookies
	s.Values = maps.Clone(s.Values)
	s.Forget = func(context.Context) error { return l.forget(c.Value) }
	return &s, nil
}

func (l *library) forget(token string) error {
	l.mu.Lock()
	l.forgets++
	l.mu.Unlock()
	if err := l.state(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, token)
	l.forgotten = append(l.forgotten, token)
	return nil
}

// knows reports whether the old store still has the session.
func (l *library) knows(token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.sessions[token]
	return ok
}

// done returns the tokens that were forgotten, in turn.
func (l *library) done() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.forgotten)
}

func (l *library) forgetCalls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forgets
}

// ada is a session of the old library.
func ada(token string) session.Adopted {
	return session.Adopted{Token: token, User: "ada", Values: map[string]any{"cart": "tea"}}
}

// world is an application that has moved from the old library.
type world struct {
	*kit.App
	old *library
}

// each runs a test on every kind of store, each with a session of ada's in the old library, under "t1".
func each(t *testing.T, cfg session.Config, test func(t *testing.T, w *world)) {
	for _, b := range kit.Backings(t) {
		if b.Sealed && cfg.MaxPerUser > 0 {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			w := &world{old: &library{}}
			own := cfg
			own.Adopt = w.old.adopt
			w.App = b.New(t, own)
			w.old.put(ada("t1"))
			test(t, w)
		})
	}
}

// onMemory is each for what does not depend on the store.
func onMemory(t *testing.T, cfg session.Config) *world {
	t.Helper()
	w := &world{old: &library{}}
	cfg.Adopt = w.old.adopt
	w.App = kit.New(t, cfg, session.NewMemoryStore())
	w.old.put(ada("t1"))
	return w
}

// A browser keeps cookies as a real one does.
type browser struct {
	w    *world
	node int
	jar  *sessiontest.Jar
}

// browser returns a browser with the old library's cookie, or none for "".
func (w *world) browser(token string) *browser {
	b := &browser{w: w, jar: sessiontest.NewJar()}
	if token != "" {
		b.give(oldCookie, token)
	}
	return b
}

func (b *browser) give(name, value string) {
	r := httptest.NewRequest("GET", "https://example.com/", nil)
	b.jar.SetCookies(r.URL, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
}

// cookie returns the value of a cookie that the browser holds, or "".
func (b *browser) cookie(name string) string {
	r := httptest.NewRequest("GET", "https://example.com/", nil)
	for _, c := range b.jar.Cookies(r.URL) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// ours returns the session's cookie.
func (b *browser) ours() string { return b.cookie(b.w.Name) }

// at has the next requests go to another process.
func (b *browser) at(node int) *browser {
	b.node = node
	return b
}

func (b *browser) request() *http.Request {
	r := httptest.NewRequest("POST", "https://example.com/", nil)
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	return r
}

// receive applies the cookies of an answer.
func (b *browser) receive(resp *http.Response) {
	b.jar.SetCookies(httptest.NewRequest("GET", "https://example.com/", nil).URL, resp.Cookies())
}

// do makes a request, and keeps the cookies of the answer.
func (b *browser) do(what func(*session.Session)) *http.Response {
	resp := b.lost(what)
	b.receive(resp)
	return resp
}

// lost is do where the answer does not arrive.
func (b *browser) lost(what func(*session.Session)) *http.Response { return b.serve(b.request(), what) }

func (b *browser) serve(r *http.Request, what func(*session.Session)) *http.Response {
	rec := httptest.NewRecorder()
	b.w.Nodes[b.node].HandlerOf(kit.Act(what)).ServeHTTP(rec, r)
	return rec.Result()
}

// must is do for a request that has to be answered well.
func (b *browser) must(what func(*session.Session)) *http.Response {
	b.w.T.Helper()
	resp := b.do(what)
	require.Equal(b.w.T, http.StatusOK, resp.StatusCode, b.w.Log())
	return resp
}

// look is what a session looks like.
type look struct {
	ID, User, Cart   string
	Authenticated    time.Time
	ExpiresAt        time.Time
	Expired, Visitor bool
}

func (b *browser) look() (l look) {
	b.w.T.Helper()
	b.must(func(s *session.Session) { l = lookAt(s) })
	return l
}

// peek is look where the answer does not arrive.
func (b *browser) peek() (l look) {
	b.w.T.Helper()
	require.Equal(b.w.T, http.StatusOK, b.lost(func(s *session.Session) { l = lookAt(s) }).StatusCode, b.w.Log())
	return l
}

func lookAt(s *session.Session) look {
	l := look{ID: s.ID(), User: s.User(), Authenticated: s.AuthenticatedAt(), ExpiresAt: s.ExpiresAt(), Expired: s.Expired()}
	l.Cart, _ = session.Key[string]("cart").Get(s)
	l.Visitor = l.ID == "" && l.User == "" && len(s.Keys()) == 0
	return l
}

// user returns whom the browser's cookies sign in. The answer does not arrive.
func (b *browser) user() string {
	b.w.T.Helper()
	return b.peek().User
}

// copy returns another browser with the same cookies.
func (b *browser) copy() *browser {
	other := b.w.browser("")
	for _, c := range b.request().Cookies() {
		other.give(c.Name, c.Value)
	}
	return other.at(b.node)
}

// last returns the last process's number.
func (w *world) last() int { return len(w.Nodes) - 1 }

func reads(s *session.Session) { s.User() }

var errOldDown = errors.New("the old store is down")
