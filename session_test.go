package session_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// Three secrets as openssl rand would make them.
var (
	secretOne   = []byte("5f1c0e9b7a2d48c6931be07fd452a86c0f7d3b91e62a4c58")
	secretTwo   = []byte("b83e6f20d91a47c5a0f2c7e4196d3b5872c0a9ef14d68b35")
	secretThree = []byte("e07a4c9d1f5b28630c8ed7b2f4a6915d3b72c0e84f9a1d66")
)

// A site is a Manager over a store, with a clock that is moved by hand, its events and its log.
type site struct {
	t       testing.TB
	name    string // of the cookie
	clock   *manualClock
	manager *session.Manager
	handler http.Handler

	mu     sync.Mutex
	events []session.Event
	logged bytes.Buffer
}

// newSite serves whatever a visitor brings along. What it is given goes before what it sets.
func newSite(t testing.TB, store session.Store, cfg session.Config) *site {
	t.Helper()
	return newSiteAt(t, newManualClock(), store, cfg)
}

// newSiteAt is newSite with a clock that several sites share.
func newSiteAt(t testing.TB, clock *manualClock, store session.Store, cfg session.Config) *site {
	t.Helper()
	s := &site{t: t, name: "__Host-session", clock: clock}
	if cfg.Name != "" {
		s.name = cfg.Name
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = time.Minute // nothing here is about slow stores, and the machine may be
	}
	cfg.Clock, cfg.OnEvent = s.clock.Now, s.note
	manager, err := session.New(store, cfg)
	require.NoError(t, err)
	s.manager = manager
	s.handler = manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(visitKey{}).(http.HandlerFunc)(w, r)
	}))
	return s
}

func (s *site) note(_ context.Context, e session.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// Write takes the log.
func (s *site) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.Write(line)
}

func (s *site) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.String()
}

// happened returns the events since it was last called, as "kind: reason".
func (s *site) happened() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := []string{}
	for _, e := range s.events {
		told = append(told, string(e.Kind)+": "+e.Reason)
	}
	s.events = nil
	return told
}

type visitKey struct{}

// serve sends a request with these Cookie header lines to a handler within the site.
func (s *site) serve(h http.HandlerFunc, lines ...string) *http.Response {
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	r.Header["Cookie"] = lines
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), visitKey{}, h)))
	return rec.Result()
}

// A visitor is a browser's cookie jar: it applies the Set-Cookie of each answer.
type visitor struct {
	site   *site
	cookie string // the session cookie's value; "" for none
}

func (s *site) visitor() *visitor { return &visitor{site: s} }

// do makes a request whose handler does this to the session and writes "done".
func (v *visitor) do(what func(*session.Session)) *http.Response {
	v.site.t.Helper()
	return v.visit(func(w http.ResponseWriter, r *http.Request) {
		what(session.FromContext(r.Context()))
		_, _ = w.Write([]byte("done"))
	})
}

// must is do for a request that has to be answered well.
func (v *visitor) must(what func(*session.Session)) *http.Response {
	v.site.t.Helper()
	resp := v.do(what)
	require.Equal(v.site.t, http.StatusOK, resp.StatusCode, "the log: %s", v.site.log())
	return resp
}

func (v *visitor) visit(h http.HandlerFunc) *http.Response {
	v.site.t.Helper()
	var lines []string
	if v.cookie != "" {
		lines = []string{v.site.name + "=" + v.cookie}
	}
	resp := v.site.serve(h, lines...)
	for _, c := range resp.Cookies() {
		if c.Name == v.site.name {
			v.cookie = c.Value
		}
	}
	return resp
}

// copied returns another visitor who got hold of the cookie.
func (v *visitor) copied() *visitor { return &visitor{v.site, v.cookie} }

// signedOut tells whether the cookie opens nothing.
func (v *visitor) signedOut() (out bool) {
	v.site.t.Helper()
	c := v.copied()
	c.must(func(s *session.Session) { out = s.ID() == "" && s.User() == "" && len(s.Keys()) == 0 })
	return out
}

// signIn begins a session of user.
func (v *visitor) signIn(user string) {
	v.site.t.Helper()
	v.must(func(s *session.Session) { require.NoError(v.site.t, s.Login(user)) })
}

// read returns the value of a key, or T's zero value.
func read[T any](v *visitor, key string) (value T) {
	v.site.t.Helper()
	v.must(func(s *session.Session) { value, _ = session.Key[T](key).Get(s) })
	return value
}

// manualClock stands still unless it is moved.
type manualClock struct{ nanos atomic.Int64 }

func newManualClock() *manualClock {
	c := &manualClock{}
	c.nanos.Store(time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC).UnixNano())
	return c
}

func (c *manualClock) Now() time.Time       { return time.Unix(0, c.nanos.Load()) }
func (c *manualClock) move(d time.Duration) { c.nanos.Add(int64(d)) }

// countingStore counts the calls of a store, and keeps the last change. Embedding the interface hides what more the
// store can do.
type countingStore struct {
	session.Store
	loads, saves, deletes atomic.Int64
	mu                    sync.Mutex
	change                *session.Change
	timeout               time.Duration
	failed                error // of the last change
}

func (c *countingStore) calls() int64 { return c.loads.Load() + c.saves.Load() + c.deletes.Load() }

func (c *countingStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	c.loads.Add(1)
	return c.Store.Load(ctx, token)
}

func (c *countingStore) Save(ctx context.Context, token session.Token, change *session.Change) (session.Token, error) {
	c.saves.Add(1)
	deadline, _ := ctx.Deadline()
	c.mu.Lock()
	c.change, c.timeout = change, time.Until(deadline)
	c.mu.Unlock()
	saved, err := c.Store.Save(ctx, token, change)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
	return saved, err
}

func (c *countingStore) Delete(ctx context.Context, id string, until time.Time) error {
	c.deletes.Add(1)
	return c.Store.Delete(ctx, id, until)
}

// cookieStore returns a store that keeps the session in the cookie.
func cookieStore(t testing.TB, secrets ...[]byte) *session.CookieStore {
	t.Helper()
	store, err := session.NewCookieStore(secrets...)
	require.NoError(t, err)
	return store
}
