package session_test

import (
	"context"
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
	"github.com/stretchr/testify/require"
)

// worldSecret is a secret that no document has as its example.
var worldSecret = []byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu")

// A world is one or more processes, each with a Manager, that share what they store and a clock.
type world struct {
	t     testing.TB
	clock *worldClock
	nodes []*node
	seen  *seenTokens
	name  string // of the cookie

	mu     sync.Mutex
	events []session.Event
	logged strings.Builder
}

// node is one process.
type node struct {
	manager *session.Manager
	store   *gatedStore
	handler http.Handler
}

// worldClock stands still unless it is moved.
type worldClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *worldClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *worldClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newWorld makes a process for each store given. The store's timeout is long, since what a gate holds is not slow.
func newWorld(t testing.TB, cfg session.Config, stores ...session.Store) *world {
	w := &world{t: t, clock: &worldClock{now: time.Now().Truncate(time.Microsecond)}, seen: &seenTokens{}, name: cfg.Name}
	if w.name == "" {
		w.name = "__Host-session"
	}
	cfg.Clock, cfg.OnEvent = w.clock.Now, w.note
	cfg.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = 30 * time.Second
	}
	for _, store := range stores {
		w.nodes = append(w.nodes, w.newNode(cfg, store))
	}
	return w
}

func (w *world) newNode(cfg session.Config, store session.Store) *node {
	n := &node{store: &gatedStore{inner: listing(store), seen: w.seen}}
	var err error
	n.manager, err = session.New(n.store, cfg)
	require.NoError(w.t, err)
	n.handler = n.manager.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Context().Value(actionKey{}).(handler)(rw, r, session.FromContext(r.Context()))
	}))
	return n
}

func (w *world) note(_ context.Context, e session.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// Write takes the log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.Write(line)
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

// takeEvents returns what happened since it was last called.
func (w *world) takeEvents() []session.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	w.events = nil
	return events
}

// handler is what one request does.
type handler func(http.ResponseWriter, *http.Request, *session.Session)

type actionKey struct{}

// act makes a handler of what is done to the session; what it writes tells whose response the client got.
func act(do func(*session.Session)) handler {
	return func(rw http.ResponseWriter, r *http.Request, s *session.Session) {
		s.Has("loads it")
		pauseAt(r.Context(), "handler")
		do(s)
		_, _ = io.WriteString(rw, "the handler's")
	}
}

// request makes one request with the cookie's value, or without a cookie for "".
func (w *world) request(node int, cookie string, h handler) *http.Response {
	return w.requestWith(context.Background(), node, cookie, h)
}

func (w *world) requestWith(ctx context.Context, node int, cookie string, h handler) *http.Response {
	r := httptest.NewRequestWithContext(context.WithValue(ctx, actionKey{}, h), "POST", "https://example.test/", nil)
	if cookie != "" {
		r.Header.Set("Cookie", w.name+"="+cookie)
	}
	rec := httptest.NewRecorder()
	w.nodes[node].handler.ServeHTTP(rec, r)
	return rec.Result()
}

// do is request on the first node, with what is done to the session only.
func (w *world) do(cookie string, do func(*session.Session)) *http.Response {
	return w.request(0, cookie, act(do))
}

// login signs in on a new session, sets a value and a flash, and returns the cookie's value.
func (w *world) login(user string) string {
	b := browser{name: w.name}
	b.receive(w.do("", func(s *session.Session) {
		require.NoError(w.t, s.Login(user))
		s.Set("cart", "tea")
		s.Flash("info", "welcome")
	}))
	require.NotEmpty(w.t, b.cookie)
	return b.cookie
}

// start makes an anonymous session with a value, and returns the cookie's value.
func (w *world) start() string {
	b := browser{name: w.name}
	b.receive(w.do("", func(s *session.Session) { s.Set("cart", "tea") }))
	require.NotEmpty(w.t, b.cookie)
	return b.cookie
}

// seen is what a session looks like to a request with its cookie.
type look struct {
	id, user string
	keys     []string
}

func (w *world) look(cookie string) look {
	var l look
	resp := w.request(len(w.nodes)-1, cookie, act(func(s *session.Session) { l = look{s.ID(), s.User(), s.Keys()} }))
	require.Equal(w.t, http.StatusOK, resp.StatusCode)
	return l
}

func (w *world) user(cookie string) string { return w.look(cookie).user }

// dead tells whether the cookie opens nothing.
func (w *world) dead(cookie string) bool {
	l := w.look(cookie)
	return l.id == "" && l.user == "" && len(l.keys) == 0
}

// value reads one value with the cookie.
func value[T any](w *world, cookie, key string) (v T) {
	w.request(0, cookie, act(func(s *session.Session) { s.Get(key, &v) }))
	return v
}

// A browser applies Set-Cookie in the order in which responses arrive.
type browser struct{ name, cookie string }

func (b *browser) receive(responses ...*http.Response) {
	for _, resp := range responses {
		for _, c := range resp.Cookies() {
			switch {
			case c.Name != b.name:
			case c.MaxAge < 0:
				b.cookie = ""
			default:
				b.cookie = c.Value
			}
		}
	}
}

// A flight is a request that was stopped on its way.
type flight struct {
	pause *pause
	done  chan *http.Response
}

type pauseKey struct{}

type pause struct {
	at              string
	once            sync.Once
	reached, resume chan struct{}
}

// pauseAt stops a request whose flight is to stop there.
func pauseAt(ctx context.Context, at string) {
	if p, ok := ctx.Value(pauseKey{}).(*pause); ok && p.at == at {
		p.once.Do(func() { close(p.reached); <-p.resume })
	}
}

// launch begins a request and returns when it has come to the point: "handler", when the session is loaded and not
// changed yet, or "save" or "delete", when the store is about to be told.
func (w *world) launch(node int, cookie, at string, h handler) *flight {
	f, landed := w.send(node, cookie, at, h)
	if landed {
		w.t.Fatalf("the request was answered (%s) before it came to its %s", (<-f.done).Status, at)
	}
	return f
}

// send is launch for a request that need not come to the point, and tells whether it was answered before.
func (w *world) send(node int, cookie, at string, h handler) (f *flight, landed bool) {
	p := &pause{at: at, reached: make(chan struct{}), resume: make(chan struct{})}
	f = &flight{p, make(chan *http.Response, 1)}
	go func() {
		f.done <- w.requestWith(context.WithValue(context.Background(), pauseKey{}, p), node, cookie, h)
	}()
	select {
	case <-p.reached:
		return f, false
	case resp := <-f.done:
		f.done <- resp
		return f, true
	}
}

// land lets it go on, and returns its response.
func (f *flight) land() *http.Response {
	close(f.pause.resume)
	return <-f.done
}

// gatedStore stops flights before they change the store, and remembers all tokens it is shown.
type gatedStore struct {
	mu    sync.RWMutex
	inner session.UserStore
	seen  *seenTokens
	twice bool // send each change twice, as a client does whose reply was lost
}

func (g *gatedStore) store() session.UserStore {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.inner
}

func (g *gatedStore) swap(store session.UserStore) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inner = store
}

func (g *gatedStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	g.seen.add(ctx, token)
	return g.store().Load(ctx, token)
}

func (g *gatedStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	g.seen.add(ctx, token)
	pauseAt(ctx, "save")
	saved, err := g.store().Save(ctx, token, c)
	if g.twice && err == nil {
		saved, err = g.store().Save(ctx, token, c)
	}
	g.seen.add(ctx, saved)
	return saved, err
}

func (g *gatedStore) Delete(ctx context.Context, id string, until time.Time) error {
	pauseAt(ctx, "delete")
	return g.store().Delete(ctx, id, until)
}

func (g *gatedStore) EndUserSession(ctx context.Context, user, id string) error {
	return g.store().EndUserSession(ctx, user, id)
}

func (g *gatedStore) EndUserSessions(ctx context.Context, user string, except []string) (int, error) {
	return g.store().EndUserSessions(ctx, user, except)
}

func (g *gatedStore) UserSessions(ctx context.Context, user string) ([]*session.Record, error) {
	return g.store().UserSessions(ctx, user)
}

// listing makes a UserStore of any store, so that one gatedStore does for all.
func listing(store session.Store) session.UserStore {
	switch store := store.(type) {
	case session.UserStore:
		return store
	case session.Revoker:
		return unlisted{store}
	}
	return unlisted{unrevoked{store}}
}

type unlisted struct{ session.Revoker }

func (unlisted) UserSessions(context.Context, string) ([]*session.Record, error) {
	return nil, errors.ErrUnsupported
}

type unrevoked struct{ session.Store }

func (unrevoked) EndUserSession(context.Context, string, string) error { return errors.ErrUnsupported }
func (unrevoked) EndUserSessions(context.Context, string, []string) (int, error) {
	return 0, errors.ErrUnsupported
}

// seenTokens are the tokens of all sessions that there ever were.
type seenTokens struct {
	mu     sync.Mutex
	ctx    context.Context // of the latest call: it has the Manager's clock
	tokens map[string]session.Token
}

func (s *seenTokens) add(ctx context.Context, token session.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil {
		s.tokens = map[string]session.Token{}
	}
	s.ctx = context.WithoutCancel(ctx)
	if token.Value() != "" {
		s.tokens[token.Value()] = token
	}
}

// live returns the sessions that any token ever seen opens, by their ids: also those that no browser has.
func (w *world) live() map[string]*session.Record {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	found := map[string]*session.Record{}
	for _, token := range w.seen.tokens {
		if r, err := w.nodes[0].store.store().Load(w.seen.ctx, token); err == nil {
			found[r.ID] = r
		} else {
			require.ErrorIs(w.t, err, session.ErrNotFound)
		}
	}
	return found
}

func bodyOf(resp *http.Response) string {
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
