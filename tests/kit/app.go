// Package kit is what the tests of the public surface have in common: an application in one or more processes, the
// browsers of its users, and a store that can be held up, made to fail and looked into. The clock is sessiontest's.
package kit

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

// App is one application: one or more processes, each with a Manager of its own, that share what they store and a clock.
type App struct {
	T     testing.TB
	Clock *sessiontest.Clock
	Nodes []*Node
	Name  string // of the cookie

	seen *seenTokens

	mu     sync.Mutex
	events []session.Event
	logged strings.Builder
}

// Node is one process.
type Node struct {
	Manager *session.Manager
	Store   *Store
	Handler http.Handler
}

// A Handler is what one request does.
type Handler func(http.ResponseWriter, *http.Request, *session.Session)

type handlerKey struct{}

// NewClock returns a clock that shows the present time, as a store keeps it.
func NewClock() *sessiontest.Clock {
	clock := sessiontest.NewClock()
	clock.Set(clock.Now().Truncate(time.Microsecond))
	return clock
}

// New makes an application with a process for each of the stores. Its StoreTimeout is the longest there is, unless cfg has
// another: what a gate holds up is not slow.
func New(tb testing.TB, cfg session.Config, stores ...session.Store) *App {
	tb.Helper()
	return NewAt(tb, NewClock(), cfg, stores...)
}

// NewAt is New with a clock that several applications share.
func NewAt(tb testing.TB, clock *sessiontest.Clock, cfg session.Config, stores ...session.Store) *App {
	tb.Helper()
	a := &App{T: tb, Clock: clock, seen: &seenTokens{}, Name: cookieName(cfg)}
	told := cfg.OnEvent
	cfg.Clock = clock.Now
	cfg.OnEvent = func(ctx context.Context, e session.Event) {
		a.note(e)
		if told != nil {
			told(ctx, e)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(a, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = 30 * time.Second
	}
	for _, store := range stores {
		a.Nodes = append(a.Nodes, a.newNode(cfg, store))
	}
	return a
}

func cookieName(cfg session.Config) string {
	switch {
	case cfg.Name != "":
		return cfg.Name
	case cfg.Secure == session.Off:
		return "session"
	case cfg.Domain != "" || cfg.Path != "" && cfg.Path != "/":
		return "__Secure-session"
	}
	return "__Host-session"
}

func (a *App) newNode(cfg session.Config, store session.Store) *Node {
	a.T.Helper()
	n := &Node{Store: NewStore(store)}
	n.Store.seen = a.seen
	manager, err := session.New(n.Store.Front(), cfg)
	if err != nil {
		a.T.Fatal(err)
	}
	n.Manager = manager
	n.Handler = manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(handlerKey{}).(Handler)(w, r, session.FromContext(r.Context()))
	}))
	return n
}

// HandlerOf is the process's middleware around one handler: for a real server.
func (n *Node) HandlerOf(h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), handlerKey{}, h)))
	})
}

// Manager is the first process's.
func (a *App) Manager() *session.Manager { return a.Nodes[0].Manager }

// Store is the first process's.
func (a *App) Store() *Store { return a.Nodes[0].Store }

// Last is the process that the request in flight is not at, if there are two.
func (a *App) Last() *Node { return a.Nodes[len(a.Nodes)-1] }

// Context is one in which stores go by the application's clock.
func (a *App) Context() context.Context { return session.WithClock(context.Background(), a.Clock.Now) }

func (a *App) note(e session.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
}

// Write takes the log.
func (a *App) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.logged.Write(line)
}

// Log returns what was logged.
func (a *App) Log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.logged.String()
}

// Events returns what happened since it was last called.
func (a *App) Events() []session.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	events := a.events
	a.events = nil
	return events
}

// Happened is Events as "kind: reason".
func (a *App) Happened() []string {
	told := []string{}
	for _, e := range a.Events() {
		told = append(told, string(e.Kind)+": "+string(e.Reason))
	}
	return told
}

// Count returns how many events of a kind there were since Events was last called.
func (a *App) Count(kind session.EventKind) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// Act makes a handler of what is done to the session; what it writes tells whose response the client got. It stops a
// flight at its "handler", when the session is loaded.
func Act(do func(*session.Session)) Handler {
	return func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		s.Has("loads it")
		PauseAt(r.Context(), "handler")
		do(s)
		_, _ = io.WriteString(w, "the handler's")
	}
}

// Request makes one request with the cookie's value, or without a cookie for "".
func (a *App) Request(node int, cookie string, h Handler) *http.Response {
	return a.RequestWith(context.Background(), node, cookie, h)
}

// RequestWith is Request with a context of the caller's.
func (a *App) RequestWith(ctx context.Context, node int, cookie string, h Handler) *http.Response {
	r := httptest.NewRequestWithContext(context.WithValue(ctx, handlerKey{}, h), "POST", "https://example.test/", nil)
	if cookie != "" {
		r.Header.Set("Cookie", a.Name+"="+cookie)
	}
	rec := httptest.NewRecorder()
	a.Nodes[node].Handler.ServeHTTP(rec, r)
	return rec.Result()
}

// ServeTo makes a request with a ResponseWriter of the caller's.
func (a *App) ServeTo(w http.ResponseWriter, cookie string, h Handler) {
	r := httptest.NewRequest("POST", "https://example.test/", nil)
	r.Header.Set("Cookie", a.Name+"="+cookie)
	a.Nodes[0].HandlerOf(h).ServeHTTP(w, r)
}

// Serve sends a request with these lines of Cookie headers to h, within the middleware.
func (a *App) Serve(h http.HandlerFunc, lines ...string) *http.Response {
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	r.Header["Cookie"] = lines
	rec := httptest.NewRecorder()
	a.Nodes[0].HandlerOf(plain(h)).ServeHTTP(rec, r)
	return rec.Result()
}

func plain(h http.HandlerFunc) Handler {
	return func(w http.ResponseWriter, r *http.Request, _ *session.Session) { h(w, r) }
}

// Do is Request at the first process, with what is done to the session only.
func (a *App) Do(cookie string, do func(*session.Session)) *http.Response {
	return a.Request(0, cookie, Act(do))
}

// Login signs in on a new session, sets a value and a flash, and returns the cookie's value.
func (a *App) Login(user string) string {
	a.T.Helper()
	return a.begin(func(s *session.Session) {
		if err := s.Login(user); err != nil {
			a.T.Fatal(err)
		}
		s.Set("cart", "tea")
		s.Flash("info", "welcome")
	})
}

// Start makes an anonymous session with a value, and returns the cookie's value.
func (a *App) Start() string {
	a.T.Helper()
	return a.begin(func(s *session.Session) { s.Set("cart", "tea") })
}

func (a *App) begin(do func(*session.Session)) string {
	a.T.Helper()
	b := a.Browser()
	if b.Receive(a.Do("", do)); b.Cookie == "" {
		a.T.Fatalf("no session began: %s", a.Log())
	}
	return b.Cookie
}

// Look is what a session looks like to a request with its cookie.
type Look struct {
	ID, User string
	Keys     []string
}

// Look makes a request at the last process.
func (a *App) Look(cookie string) (l Look) {
	a.T.Helper()
	resp := a.Request(len(a.Nodes)-1, cookie, Act(func(s *session.Session) { l = Look{s.ID(), s.User(), s.Keys()} }))
	if resp.StatusCode != http.StatusOK {
		a.T.Fatalf("a look at a session was answered with %s: %s", resp.Status, a.Log())
	}
	return l
}

// User returns whom the cookie signs in.
func (a *App) User(cookie string) string {
	a.T.Helper()
	return a.Look(cookie).User
}

// Dead reports whether the cookie opens nothing.
func (a *App) Dead(cookie string) bool {
	a.T.Helper()
	l := a.Look(cookie)
	return l.ID == "" && l.User == "" && len(l.Keys) == 0
}

// UserOf returns whom a request with these lines of Cookie headers is signed in as.
func (a *App) UserOf(lines []string) (user string) {
	a.Serve(func(_ http.ResponseWriter, r *http.Request) { user = session.FromContext(r.Context()).User() }, lines...)
	return user
}

// Value reads one value with the cookie.
func Value[T any](a *App, cookie, key string) (v T) {
	a.Do(cookie, func(s *session.Session) { s.Get(key, &v) })
	return v
}

// Listed returns the user's sessions as the last process lists them.
func (a *App) Listed(user string) []session.Info {
	a.T.Helper()
	infos, err := a.Last().Manager.Sessions(context.Background(), user)
	if err != nil {
		a.T.Fatal(err)
	}
	for i := range infos { // equal times are to be equal values
		for _, t := range []*time.Time{&infos[i].CreatedAt, &infos[i].AuthenticatedAt, &infos[i].LastUsedAt, &infos[i].ExpiresAt} {
			*t = t.UTC()
		}
	}
	return infos
}

// RevokeUser ends the user's sessions at the last process.
func (a *App) RevokeUser(user string, except ...string) int {
	a.T.Helper()
	n, err := a.Last().Manager.RevokeUser(context.Background(), user, except...)
	if err != nil {
		a.T.Fatal(err)
	}
	return n
}

// Live returns the sessions that any token ever seen opens, by their IDs: also those that no browser has.
func (a *App) Live() map[string]*session.Record {
	a.T.Helper()
	found := map[string]*session.Record{}
	for _, token := range a.seen.all() {
		r, err := a.Store().Inner().Load(a.Context(), token)
		switch {
		case errors.Is(err, session.ErrNotFound):
		case err != nil:
			a.T.Fatal(err)
		case !r.Ended && a.Clock.Now().Before(r.ExpiresAt()):
			found[r.ID] = r
		}
	}
	return found
}

// seenTokens are the tokens of all sessions that there ever were.
type seenTokens struct {
	mu     sync.Mutex
	tokens map[string]session.Token
}

func (s *seenTokens) add(token session.Token) {
	if s == nil || token.Value() == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil {
		s.tokens = map[string]session.Token{}
	}
	s.tokens[token.Value()] = token
}

func (s *seenTokens) all() (tokens []session.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, token := range s.tokens {
		tokens = append(tokens, token)
	}
	return tokens
}

// Body reads an answer's body.
func Body(resp *http.Response) string {
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Rewrite changes what a server store has of the cookie's session, as a program might that goes round the Manager.
func (a *App) Rewrite(cookie string, change func(*session.Record)) {
	a.T.Helper()
	token := session.NewToken(a.Look(cookie).ID, "")
	stored, err := a.Store().Inner().Load(a.Context(), token)
	if err != nil {
		a.T.Fatal(err)
	}
	next := *stored
	next.Revision, next.Version = rand.Text(), nil
	change(&next)
	if _, err := a.Store().Inner().Swap(a.Context(), token, session.Swap{Old: stored, New: &next}); err != nil {
		a.T.Fatal(err)
	}
}

// Tombstone is what Ender.End takes to end a session as another program would that shares the store.
func (a *App) Tombstone(id, user string) *session.Record {
	now := a.Clock.Now()
	return &session.Record{
		ID: id, Revision: rand.Text(), Realm: a.Name, User: user, CreatedAt: now, IssuedAt: now, LastUsedAt: now,
		Deadline: now.Add(time.Minute), Ended: true,
	}
}
