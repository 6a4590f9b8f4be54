package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/boj/redistore"
	"github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

// The facts that the README names beside other libraries. Each library is set up as its documentation says, and each
// test states what it does today: if a peer changes, the test fails, and the README is to be corrected.

// The README says what the tests below find.
func TestBeside_Readme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{fmt.Sprintf("| %d | 1 | 1 |", writers), fmt.Sprintf("| 0 | %d | %[1]d |", logouts)} {
		if !strings.Contains(string(text), row) {
			t.Errorf("the README has no row that ends with %s", row)
		}
	}
}

// A contender is one library, with one session in one browser.
type contender struct {
	name    string
	has     func(r *http.Request, key string) bool
	set     func(w http.ResponseWriter, r *http.Request, key string)
	logout  func(w http.ResponseWriter, r *http.Request)
	around  func(http.Handler) http.Handler
	kept    int // of 200 changes made at the same time
	returns int // of 20 sessions that were logged out while a request was under way
}

const writers, logouts = 200, 20

func contenders(t *testing.T) []contender {
	t.Helper()
	server, err := startRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	client := redis.NewClient(&redis.Options{Addr: server.addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	redisStore, err := session.NewRedisStore(client, session.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	boj, err := redistore.NewRediStore(20, "tcp", server.addr, "", "", hashKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = boj.Close() })
	return []contender{
		ownContender(t, "session, memory", session.NewMemoryStore()),
		ownContender(t, "session, Redis", redisStore),
		scsContender("scs, memstore", memstore.NewWithCleanupInterval(0)),
		scsContender("scs, goredisstore", goredisstore.New(client)),
		gorillaContender("gorilla/sessions, CookieStore", sessions.NewCookieStore(hashKey, blockKey)),
		gorillaContender("gorilla/sessions, redistore", boj),
	}
}

func ownContender(t *testing.T, name string, store session.Store) contender {
	t.Helper()
	m, err := session.New(store, session.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return contender{
		name: name, kept: writers, returns: 0, around: m.Middleware,
		has: func(r *http.Request, key string) bool { return session.FromContext(r.Context()).Has(key) },
		set: func(_ http.ResponseWriter, r *http.Request, key string) {
			session.FromContext(r.Context()).Set(key, true)
		},
		logout: func(_ http.ResponseWriter, r *http.Request) {
			if err := session.FromContext(r.Context()).Destroy(); err != nil {
				panic(err)
			}
		},
	}
}

func scsContender(name string, store scs.Store) contender {
	m := scs.New()
	m.Store = store
	return contender{
		name: name, kept: 1, returns: logouts, around: m.LoadAndSave,
		has: func(r *http.Request, key string) bool { return m.Exists(r.Context(), key) },
		set: func(_ http.ResponseWriter, r *http.Request, key string) { m.Put(r.Context(), key, true) },
		logout: func(_ http.ResponseWriter, r *http.Request) {
			if err := m.Destroy(r.Context()); err != nil {
				panic(err)
			}
		},
	}
}

func gorillaContender(name string, store sessions.Store) contender {
	save := func(w http.ResponseWriter, r *http.Request, change func(*sessions.Session)) {
		s, err := store.Get(r, appName)
		if err != nil {
			panic(err)
		}
		change(s)
		if err := s.Save(r, w); err != nil {
			panic(err)
		}
	}
	return contender{
		name: name, kept: 1, returns: logouts, around: func(h http.Handler) http.Handler { return h },
		has: func(r *http.Request, key string) bool {
			s, err := store.Get(r, appName)
			return err == nil && s.Values[key] != nil
		},
		set: func(w http.ResponseWriter, r *http.Request, key string) {
			save(w, r, func(s *sessions.Session) { s.Values[key] = true })
		},
		logout: func(w http.ResponseWriter, r *http.Request) {
			save(w, r, func(s *sessions.Session) { s.Options.MaxAge = -1 })
		},
	}
}

// handler signs in, sets a key once gate opens, and logs out. A request that sets a key has read the session before it waits.
func (c contender) handler(arrived *sync.WaitGroup, gate <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) { c.set(w, r, "user") })
	mux.HandleFunc("/logout", c.logout)
	mux.HandleFunc("/set", func(w http.ResponseWriter, r *http.Request) {
		if !c.has(r, "user") {
			panic("the request has no session")
		}
		arrived.Done()
		<-gate
		c.set(w, r, r.FormValue("key"))
	})
	mux.HandleFunc("/has", func(w http.ResponseWriter, r *http.Request) {
		if !c.has(r, r.FormValue("key")) {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	return c.around(mux)
}

// send sends one request with one cookie, whatever other answers have set.
func send(h http.Handler, target, cookie string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "https://localhost"+target, nil)
	r.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// sent returns the jar's cookies, as the browser sends them.
func sent(jar *sessiontest.Jar) string {
	var pairs []string
	for _, c := range jar.Cookies(&url.URL{Scheme: "https", Host: "localhost", Path: "/"}) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// 200 requests of one session are under way at the same time, and each sets a key of its own. All have read the session before
// the first of them writes. The browser stores the answers as they come.
func TestBeside_ParallelChanges(t *testing.T) {
	for _, c := range contenders(t) {
		var arrived, answered sync.WaitGroup
		gate := make(chan struct{})
		h, jar := c.handler(&arrived, gate), sessiontest.NewJar()
		jar.Serve(h, httptest.NewRequest(http.MethodGet, "https://localhost/login", nil))
		arrived.Add(writers)
		for i := range writers {
			answered.Go(func() {
				jar.Serve(h, httptest.NewRequest(http.MethodGet, fmt.Sprintf("https://localhost/set?key=k%d", i), nil))
			})
		}
		arrived.Wait()
		close(gate)
		answered.Wait()
		kept := 0
		for i := range writers {
			if send(h, fmt.Sprintf("/has?key=k%d", i), sent(jar)).Code == http.StatusOK {
				kept++
			}
		}
		t.Logf("%s: %d of %d changes kept", c.name, kept, writers)
		if kept != c.kept {
			t.Errorf("%s kept %d of %d changes, and was known to keep %d", c.name, kept, writers, c.kept)
		}
	}
}

// A request of a session is under way, and sets a value, while another request logs out. Afterwards somebody sends the cookie
// that the logout was to end.
func TestBeside_LogoutDuringARequest(t *testing.T) {
	for _, c := range contenders(t) {
		returned := 0
		for range logouts {
			var arrived sync.WaitGroup
			gate, answered := make(chan struct{}), make(chan struct{})
			h, jar := c.handler(&arrived, gate), sessiontest.NewJar()
			jar.Serve(h, httptest.NewRequest(http.MethodGet, "https://localhost/login", nil))
			cookie := sent(jar)
			arrived.Add(1)
			go func() {
				defer close(answered)
				send(h, "/set?key=late", cookie)
			}()
			arrived.Wait()
			send(h, "/logout", cookie)
			close(gate)
			<-answered
			if send(h, "/has?key=user", cookie).Code == http.StatusOK {
				returned++
			}
		}
		t.Logf("%s: %d of %d sessions open after logout", c.name, returned, logouts)
		if returned != c.returns {
			t.Errorf("with %s %d of %d sessions are open after logout, and %d were known to be", c.name, returned, logouts, c.returns)
		}
	}
}
