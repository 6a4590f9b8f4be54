package migrate_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/migrate"
	"github.com/doorman-go/session/sessiontest"
)

// old is an application on one of the old libraries: /sign-in signs ada in, and any other page says who is signed in.
type old struct {
	handler http.Handler
	adopt   adopter
	cookie  string        // its name
	end     time.Duration // from the sign-in
	stored  bool          // in a server store, where a session can be ended
}

// signedInAt is when ada signed in, which the old applications kept: some time before the switch.
var signedInAt = time.Now().Add(-20 * time.Minute).Truncate(time.Second).UTC()

// The line that a page has for ada, and for a visitor.
var (
	adasPage     = fmt.Sprintf("ada has [tea], since %s", signedInAt.Format(time.RFC3339))
	visitorsPage = "nobody"
)

// oldSites makes each of the old applications of the switch.
var oldSites = map[string]func(t *testing.T) old{
	"scs on Redis":   func(t *testing.T) old { return scsSite(scsStores["goredisstore"](t)) },
	"scs on redigo":  func(t *testing.T) old { return scsSite(scsStores["redisstore"](t)) },
	"scs in memory":  func(t *testing.T) old { return scsSite(scsStores["memory"](t)) },
	"gorilla cookie": func(t *testing.T) old { return gorillaSite(gorillaStores["sealed cookie"](t)) },
	"gorilla files":  func(t *testing.T) old { return gorillaSite(gorillaStores["files"](t)) },
	"redistore":      func(t *testing.T) old { return gorillaSite(gorillaStores["redistore"](t)) },
}

func scsSite(store scs.Store) old {
	manager := newSCS(store)
	manager.HashTokenInStore = true
	manager.Lifetime = 3 * time.Hour
	mux := http.NewServeMux()
	mux.HandleFunc("/sign-in", func(_ http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "user", "ada")
		manager.Put(r.Context(), "since", signedInAt)
		manager.Put(r.Context(), "cart", []string{"tea"})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		writePage(w, manager.GetString(ctx, "user"), manager.Get(ctx, "cart"), manager.GetTime(ctx, "since"))
	})
	return old{manager.LoadAndSave(mux), migrate.FromSCS(manager, keepAll), "session", 3 * time.Hour, true}
}

func gorillaSite(store sessions.Store) old {
	const age = 2 * time.Hour
	setMaxAge(store, int(age.Seconds()))
	mux := http.NewServeMux()
	mux.HandleFunc("/sign-in", func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, gorillaName)
		s.Values["user"], s.Values["since"], s.Values["cart"] = "ada", signedInAt, []string{"tea"}
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, gorillaName)
		user, _ := s.Values["user"].(string)
		since, _ := s.Values["since"].(time.Time)
		writePage(w, user, s.Values["cart"], since)
	})
	return old{mux, migrate.FromGorilla(store, gorillaName, keepAll), gorillaName, age, !inMemory(store)}
}

func writePage(w io.Writer, user string, cart any, since time.Time) {
	if user == "" {
		fmt.Fprint(w, visitorsPage)
		return
	}
	fmt.Fprintf(w, "%s has %v, since %s", user, cart, since.UTC().Format(time.RFC3339))
}

// site is an application whose handler is the old one until the switch, and then the new one.
type site struct {
	old
	t        *testing.T
	server   *redistest.Server // of the new sessions
	store    session.Store
	clock    *sessiontest.Clock
	manager  *session.Manager
	switched atomic.Bool

	mu     sync.Mutex
	events []session.Event
}

// newSite makes the application with its new sessions in Redis. The new Manager's clock shows the real time until it is
// moved: the old libraries know no other.
func newSite(t *testing.T, old old) *site {
	s := &site{old: old, t: t, server: redistest.Start(t), clock: sessiontest.NewClock()}
	store, err := session.OpenRedisStore(t.Context(), "redis://"+s.server.Addr, session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s.store = store
	s.manager, err = session.New(store, session.Config{
		Lifetime: 24 * time.Hour, Adopt: old.adopt, OnEvent: s.note, Clock: s.clock.Now, StoreTimeout: 30 * time.Second,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	return s
}

func eachSite(t *testing.T, test func(t *testing.T, s *site)) {
	for name, old := range oldSites {
		t.Run(name, func(t *testing.T) { test(t, newSite(t, old(t))) })
	}
}

func (s *site) note(_ context.Context, e session.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// count returns how many events of a kind there were.
func (s *site) count(kind session.EventKind) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// ServeHTTP is the application: what the load balancer sends to the old program before the switch, and then to the new
// one.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.switched.Load() {
		s.handler.ServeHTTP(w, r)
		return
	}
	s.manager.Middleware(http.HandlerFunc(servePage)).ServeHTTP(w, r)
}

func servePage(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	switch r.URL.Path {
	case "/sign-out":
		if err := s.Destroy(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	case "/add":
		session.Key[[]string]("cart").Update(s, func(cart []string) []string { return append(cart, "milk") })
	case "/end":
		fmt.Fprint(w, s.ExpiresAt().UTC().Format(time.RFC3339))
	default:
		cart, _ := session.Key[[]string]("cart").Get(s)
		writePage(w, s.User(), cart, s.AuthenticatedAt())
	}
}

// get asks the application for a page as a browser with this jar, which must be answered.
func (s *site) get(jar *sessiontest.Jar, path string) string {
	s.t.Helper()
	w := jar.Serve(s, httptest.NewRequest(http.MethodGet, path, nil))
	require.Equal(s.t, http.StatusOK, w.Code, w.Body)
	return w.Body.String()
}

// signIn signs a browser in with the old library.
func (s *site) signIn() *sessiontest.Jar {
	s.t.Helper()
	jar := sessiontest.NewJar()
	s.get(jar, "/sign-in")
	require.Equal(s.t, adasPage, s.get(jar, "/"))
	return jar
}

// oldPage asks the old application for a page with a cookie.
func (s *site) oldPage(cookies ...*http.Cookie) string {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, requestWith(cookies...))
	return w.Body.String()
}

// newPage asks the new application for a page with cookies, which no jar has.
func (s *site) newPage(cookies ...*http.Cookie) string {
	w := httptest.NewRecorder()
	s.manager.Middleware(http.HandlerFunc(servePage)).ServeHTTP(w, requestWith(cookies...))
	return w.Body.String()
}

const newName = "__Host-session"

// cookieIn returns the cookie that a jar has, or nil.
func cookieIn(jar *sessiontest.Jar, name string) *http.Cookie {
	for _, c := range jar.Cookies(requestWith().URL) {
		if c.Name == name {
			return c
		}
	}
	return nil
}
