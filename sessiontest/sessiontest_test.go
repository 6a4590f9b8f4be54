//go:build !noservers

package sessiontest_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/storetest"
)

func TestStore_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return sessiontest.NewStore() })
}

func TestSession_TellsWhatTheHandlerDid(t *testing.T) {
	ada := sessiontest.Seed{User: "ada", Values: sessiontest.Values{"n": 1}}
	visitor := sessiontest.Seed{Values: sessiontest.Values{"n": 1}}
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, test := range []struct {
		name                             string
		seed                             sessiontest.Seed
		do                               func(*session.Session)
		regenerated, loggedIn, destroyed bool
		user                             string
	}{
		{"nothing", ada, func(*session.Session) {}, false, false, false, "ada"},
		{"nothing, nobody", sessiontest.Seed{}, func(*session.Session) {}, false, false, false, ""},
		{"set", ada, func(s *session.Session) { s.Set("n", 2) }, false, false, false, "ada"},
		{"set, nobody", sessiontest.Seed{}, func(s *session.Session) { s.Set("n", 2) }, false, false, false, ""},
		{"regenerate", ada, func(s *session.Session) { must(s.Regenerate()) }, true, false, false, "ada"},
		{"regenerate, visitor", visitor, func(s *session.Session) { must(s.Regenerate()) }, true, false, false, ""},
		{"log in", visitor, func(s *session.Session) { must(s.Login("ada")) }, false, true, false, "ada"},
		{"log in, nobody", sessiontest.Seed{}, func(s *session.Session) { must(s.Login("ada")) }, false, true, false, "ada"},
		{"log in as another", ada, func(s *session.Session) { must(s.Login("grace")) }, false, true, false, "grace"},
		{"log in again", ada, func(s *session.Session) { must(s.Login("ada")) }, false, true, false, "ada"},
		{"log out", ada, func(s *session.Session) { must(s.Destroy()) }, false, false, true, ""},
		{"log out, nobody", sessiontest.Seed{}, func(s *session.Session) { must(s.Destroy()) }, false, false, false, ""},
		{"log out and go on", ada, func(s *session.Session) { must(s.Destroy()); s.Set("n", 2) }, false, false, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, s := sessiontest.NewRequest("GET", "/", nil, test.seed)
			test.do(session.FromContext(r.Context()))
			got := [3]bool{s.Regenerated(), s.LoggedIn(), s.Destroyed()}
			if want := [3]bool{test.regenerated, test.loggedIn, test.destroyed}; got != want {
				t.Errorf("regenerated, logged in, destroyed: %v, want %v", got, want)
			}
			sessiontest.LoggedInAs(t, s, test.user)
		})
	}
}

func TestSeed_ReadsLikeALoadedSession(t *testing.T) {
	ago := time.Now().Add(-2 * time.Hour)
	flash := session.Flash{Category: "info", Message: "hello"}
	ctx, s := sessiontest.Context(t.Context(), sessiontest.Seed{
		User: "ada", Authenticated: ago, Values: sessiontest.Values{"id": int64(1<<62 + 1)}, Flashes: []session.Flash{flash},
	})
	in := session.FromContext(ctx)
	sessiontest.Value(t, in, "id", int64(1<<62+1))
	if in.IsNew() || in.ID() == "" || !in.AuthenticatedAt().Equal(ago) || in.AuthenticatedWithin(time.Hour) || !in.AuthenticatedWithin(3*time.Hour) {
		t.Errorf("new %v, ID %q, authenticated at %v", in.IsNew(), in.ID(), in.AuthenticatedAt())
	}
	if flashes := s.Flashes(); len(flashes) != 1 || flashes[0] != flash || len(s.Flashes()) != 0 {
		t.Errorf("flashes: %v", flashes)
	}
	s.Set("bad", func() {})
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("Err after a value that can't be encoded: %v", err)
	}
}

// stores are all kinds of stores.
func stores(t *testing.T) map[string]session.Store {
	secret := []byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu")
	sealed, err := session.NewCookieStore(secret)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := session.NewSignedCookieStore(secret)
	if err != nil {
		t.Fatal(err)
	}
	redis, err := session.OpenRedisStore(t.Context(), redistest.Start(t).URL(), session.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Close() })
	return map[string]session.Store{
		"memory": session.NewMemoryStore(), "fake": sessiontest.NewStore(), "redis": redis, "sealed": sealed, "signed": signed,
		"sealed with revocations": sealed.WithRevocations(session.NewMemoryStore()),
	}
}

func manager(t *testing.T, store session.Store, cfg session.Config) *session.Manager {
	t.Helper()
	sessions, err := session.New(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sessions
}

func signIn(t *testing.T) func(*session.Session) {
	return func(s *session.Session) {
		if err := s.Login("ada"); err != nil {
			t.Error(err)
		}
	}
}

func TestTransaction_OnAnyStore(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			sessions, jar := manager(t, store, session.Config{}), sessiontest.NewJar()
			do := func(f func(*session.Session)) { sessiontest.Transaction(t, sessions, jar, "/", f) }
			do(func(s *session.Session) { sessiontest.Anonymous(t, s) })
			do(signIn(t))
			do(func(s *session.Session) { sessiontest.LoggedInAs(t, s, "ada"); cart.Set(s, []string{"tea"}) })
			do(func(s *session.Session) {
				sessiontest.Value(t, s, cart, []string{"tea"})
				if err := s.Destroy(); err != nil {
					t.Error(err)
				}
			})
			do(func(s *session.Session) { sessiontest.Anonymous(t, s); sessiontest.NoValue(t, s, cart) })
		})
	}
}

func TestTransaction_OnAnyJar(t *testing.T) {
	sessions := manager(t, session.NewMemoryStore(), session.Config{})
	t.Run("net/http/cookiejar and TLS", func(t *testing.T) {
		server := httptest.NewTLSServer(app(sessions))
		defer server.Close()
		client := server.Client()
		client.Jar, _ = cookiejar.New(nil)
		sessiontest.Transaction(t, sessions, client.Jar, server.URL, signIn(t))
		response, err := client.Get(server.URL + "/account")
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", response, err)
		}
		response.Body.Close()
	})
	t.Run("a recorder", func(t *testing.T) {
		w := httptest.NewRecorder()
		app(sessions).ServeHTTP(w, httptest.NewRequest("POST", "https://example.com/cart?item=tea", nil))
		jar := sessiontest.RecorderJar(w)
		sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) {
			sessiontest.Value(t, s, cart, []string{"tea"})
			signIn(t)(s)
		})
		r := httptest.NewRequest("GET", "https://example.com/account", nil)
		sessiontest.AddCookies(r, w)
		after := httptest.NewRecorder()
		app(sessions).ServeHTTP(after, r)
		if after.Code != http.StatusOK || len(r.Cookies()) != 1 {
			t.Errorf("status %d with %d cookies", after.Code, len(r.Cookies()))
		}
		sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) {
			if err := s.Destroy(); err != nil {
				t.Error(err)
			}
		})
		if len(jar.Cookies(nil)) != 0 {
			t.Error("the recorder holds the cookie of a session that was destroyed")
		}
	})
}

func TestTransaction_OnAJarOfOnesOwn(t *testing.T) {
	sessions := manager(t, session.NewMemoryStore(), session.Config{})
	server := httptest.NewServer(app(sessions))
	defer server.Close()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	defer transport.CloseIdleConnections()
	own, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	const target = "http://shop.example" // is no loopback address, which Go's jar takes for safe
	sessiontest.Transaction(t, sessions, own, target, signIn(t))
	for status, jar := range map[int]http.CookieJar{http.StatusSeeOther: own, http.StatusOK: &sessiontest.Jar{CookieJar: own}} {
		client := http.Client{Jar: jar, Transport: transport}
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		response, err := client.Get(target + "/account")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("with %T the status is %d, and should be %d", jar, response.StatusCode, status)
		}
	}
}

func TestTransaction_FailsTheTestWithTheReason(t *testing.T) {
	store, reason := sessiontest.NewStore(), errors.New("disk full")
	sessions := manager(t, store, session.Config{})
	for name, step := range map[string]struct {
		fail func()
		f    func(*session.Session)
	}{
		"a save":                {func() { store.Fail(sessiontest.Swap, 1, reason) }, func(s *session.Session) { s.Set("n", 1) }},
		"a load":                {func() { store.Fail(sessiontest.Load, 1, reason) }, func(s *session.Session) { s.Set("n", 1) }},
		"a load, only to read":  {func() { store.Fail(sessiontest.Load, 1, reason) }, func(s *session.Session) { s.User() }},
		"a value, not encoded":  {func() {}, func(s *session.Session) { s.Set("disk full", func() {}) }},
		"a login, not possible": {func() { store.Fail(sessiontest.Swap, 1, reason) }, signIn(t)},
	} {
		jar := sessiontest.NewJar()
		sessiontest.Transaction(t, sessions, jar, "/", signIn(t))
		step.fail()
		said := judge(t, func(tb testing.TB) { sessiontest.Transaction(tb, sessions, jar, "/", step.f) })
		if len(said) != 1 || !strings.Contains(said[0], "disk full") {
			t.Errorf("%s: it said %q", name, said)
		}
	}
	said := judge(t, func(tb testing.TB) {
		sessiontest.Transaction(tb, sessions, sessiontest.NewJar(), "http://[", signIn(t))
	})
	if len(said) != 1 {
		t.Errorf("a target that is no URL: it said %q", said)
	}
}

func TestTransaction_LetsTheTestGiveUp(t *testing.T) {
	sessions, jar := manager(t, sessiontest.NewStore(), session.Config{}), sessiontest.NewJar()
	said := judge(t, func(tb testing.TB) {
		sessiontest.Transaction(tb, sessions, jar, "/", func(s *session.Session) {
			s.Set("n", 1)
			tb.Fatalf("enough")
		})
	})
	if len(said) != 1 || said[0] != "enough" {
		t.Errorf("it said %q", said)
	}
	sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) { sessiontest.NoValue(t, s, "n") })
}

func TestStore_Faults(t *testing.T) {
	store, first, second := sessiontest.NewStore(), errors.New("first"), errors.New("second")
	store.Fail(sessiontest.Load, 2, second)
	store.Fail(sessiontest.Load, 1, first)
	store.Fail(sessiontest.Swap, 1, first)
	store.Fail(sessiontest.End, 2, second)
	store.Fail(sessiontest.List, 1, first)
	token := session.NewToken("id", "value")
	load := func() error { _, err := store.Load(t.Context(), token); return err }
	swap := func() error {
		_, err := store.Swap(t.Context(), token, session.Swap{New: record("id", "one")})
		return err
	}
	end := func() error { _, err := store.End(t.Context(), tombstone("other")); return err }
	list := func() error { _, err := store.UserSessions(t.Context(), "realm", "ada"); return err }
	steps := []struct {
		do   func() error
		want error
	}{
		{load, first}, {load, second}, {load, session.ErrNotFound}, {swap, first}, {load, session.ErrNotFound}, {swap, nil}, {load, nil},
		{end, nil}, {end, second}, {list, first}, {list, nil},
	}
	for i, step := range steps {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Errorf("call %d: %v, want %v", i+1, err, step.want)
		}
	}
	calls := store.Calls()
	want := sessiontest.Call{Op: sessiontest.Swap, ID: "id", Err: first, Swaps: 1, Made: true}
	if len(calls) != len(steps) || calls[3] != want {
		t.Errorf("the log: %+v", calls)
	}
	store.Reset()
	store.Down(second)
	if err := load(); !errors.Is(err, second) || len(store.Calls()) != 1 {
		t.Errorf("a store that is down: %v, %v", err, store.Calls())
	}
}

// record returns a live session, and tombstone an ended one.
func record(id, revision string) *session.Record {
	now := time.Now()
	return &session.Record{
		ID: id, Revision: revision, Realm: "realm", User: "ada", CreatedAt: now, IssuedAt: now, LastUsedAt: now,
		Deadline: now.Add(time.Hour),
	}
}

func tombstone(id string) *session.Record {
	r := record(id, "ended")
	r.Ended = true
	return r
}

// An answer that is lost is one of a call that was made.
func TestStore_Lose(t *testing.T) {
	store, cut := sessiontest.NewStore(), errors.New("cut")
	token := session.NewToken("id", "value")
	store.Lose(sessiontest.Swap, 1, cut)
	store.Lose(sessiontest.End, 1, cut)
	store.Lose(sessiontest.Load, 1, cut)
	stored := func() *session.Record {
		t.Helper()
		r, err := store.Load(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := store.Load(t.Context(), token); !errors.Is(err, cut) {
		t.Errorf("the load's answer: %v", err)
	}
	begin := session.Swap{New: record("id", "one")}
	if saved, err := store.Swap(t.Context(), token, begin); !errors.Is(err, cut) || saved != (session.Token{}) {
		t.Errorf("the swap's answer: %v, %v", saved, err)
	}
	if r := stored(); r.Revision != "one" {
		t.Errorf("the swap was not made: %+v", r)
	}
	if _, err := store.Swap(t.Context(), token, begin); err != nil {
		t.Errorf("the same swap, sent again: %v", err)
	}
	if replaced, err := store.End(t.Context(), tombstone("id")); !errors.Is(err, cut) || replaced != nil {
		t.Errorf("the end's answer: %v, %v", replaced, err)
	}
	if r := stored(); !r.Ended {
		t.Errorf("it has not ended: %+v", r)
	}
}

func TestStore_LogsASwapOfSeveralByTheNewRecord(t *testing.T) {
	store, token := sessiontest.NewStore(), session.NewToken("old", "value")
	old := record("old", "one")
	for _, swaps := range [][]session.Swap{{{New: old}}, {{Old: old, New: tombstone("old")}, {New: record("new", "one")}}} {
		if _, err := store.Swap(t.Context(), token, swaps...); err != nil {
			t.Fatal(err)
		}
	}
	want := sessiontest.Call{Op: sessiontest.Swap, ID: "new", Swaps: 2, Made: true}
	if calls := store.Calls(); len(calls) != 2 || calls[1] != want {
		t.Errorf("the log: %+v", calls)
	}
}

func TestStore_HoldsCallsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := sessiontest.NewStore()
		sessions, ada := manager(t, store, session.Config{StoreTimeout: time.Second}), sessiontest.NewJar()
		sessiontest.Transaction(t, sessions, ada, "/", signIn(t))
		get := func() int { return ada.Serve(app(sessions), httptest.NewRequest("GET", "/account", nil)).Code }

		gate, code := store.Hold(sessiontest.Load), make(chan int)
		go func() { code <- get() }()
		<-gate.Reached()
		gate.Open()
		gate.Open()
		if got := <-code; got != http.StatusOK {
			t.Errorf("after the gate opened: %d", got)
		}

		store.Hold(sessiontest.Load)
		began := time.Now()
		if got := get(); got != http.StatusServiceUnavailable || time.Since(began) != time.Second {
			t.Errorf("with a gate that stays shut: %d after %v", got, time.Since(began))
		}
	})
}

func TestClock_InsideSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := sessiontest.NewClock()
		sessions := manager(t, sessiontest.NewStore(), session.Config{IdleTimeout: time.Hour, Lifetime: 2 * time.Hour, Clock: clock.Now})
		jar, began := sessiontest.NewJar(), clock.Now()
		do := func(f func(*session.Session)) { sessiontest.Transaction(t, sessions, jar, "/", f) }
		do(signIn(t))
		time.Sleep(24 * time.Hour) // is not the clock's
		for range 2 {
			clock.Advance(59 * time.Minute)
			do(func(s *session.Session) { sessiontest.LoggedInAs(t, s, "ada") })
		}
		clock.Set(began.Add(2 * time.Hour))
		do(func(s *session.Session) { sessiontest.Anonymous(t, s) })
	})
}

func TestStore_EndBetween(t *testing.T) {
	store := sessiontest.NewStore()
	sessions, jar := manager(t, store, session.Config{}), sessiontest.NewJar()
	store.EndBetween() // waits for a session that there is already
	sessiontest.Transaction(t, sessions, jar, "/", signIn(t))
	said := judge(t, func(tb testing.TB) {
		sessiontest.Transaction(tb, sessions, jar, "/", func(s *session.Session) { s.Set("n", 1) })
	})
	if len(said) != 1 || !strings.Contains(said[0], session.ErrSessionEnded.Error()) {
		t.Errorf("it said %q", said)
	}
	sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) { sessiontest.Anonymous(t, s) })
}
