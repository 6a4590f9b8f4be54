package session_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

// The guarantees, by their numbers. 2 and 3 are in races_*_test.go.

// eachStore runs a test on every kind of store that keeps guarantees 1, 2 and 4.
func eachStore(t *testing.T, cfg session.Config, test func(*world)) {
	for _, b := range append(memoryBackings(t), redisBackings(t)...) {
		t.Run(b.name, func(t *testing.T) { test(b.world(t, cfg)) })
	}
}

func TestGuarantee01_Fixation_DeadBeforeTheResponseLeaves(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		for _, do := range []func(*session.Session){regenerate, login, logout} {
			old := w.login("ada")
			probe := &leaving{ResponseWriter: httptest.NewRecorder(), check: func() { require.True(w.t, w.dead(old)) }}
			w.serve(probe, old, act(do))
			require.True(w.t, probe.left)
		}
	})
}

// leaving is a ResponseWriter that makes a check at the moment the header leaves.
type leaving struct {
	http.ResponseWriter
	check func()
	left  bool
}

func (l *leaving) WriteHeader(status int) {
	if !l.left {
		l.left = true
		l.check()
	}
	l.ResponseWriter.WriteHeader(status)
}

func (l *leaving) Write(p []byte) (int, error) {
	l.WriteHeader(http.StatusOK)
	return l.ResponseWriter.Write(p)
}

// serve makes a request with a ResponseWriter of the test's.
func (w *world) serve(rw http.ResponseWriter, cookie string, h handler) {
	r := httptest.NewRequestWithContext(context.WithValue(context.Background(), actionKey{}, h), "POST", "https://example.test/", nil)
	r.Header.Set("Cookie", w.name+"="+cookie)
	w.nodes[0].handler.ServeHTTP(rw, r)
}

func TestGuarantee01_Fixation_NeverAdopted(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		for _, foreign := range foreignCookies(w) {
			require.Empty(w.t, w.look(foreign).id, "%q", foreign)
			b := browser{w.name, foreign}
			b.receive(w.do(foreign, func(s *session.Session) { s.Set("cart", "tea") }))
			require.NotEqual(w.t, foreign, b.cookie)
			require.Equal(w.t, []string{"cart"}, w.look(b.cookie).keys)
			require.Empty(w.t, w.look(foreign).id, "nothing is stored under %q", foreign)
		}
		require.Len(w.t, w.live(), len(foreignCookies(w)))
	})
}

// foreignCookies are values that this server did not issue: of good shape, of bad, or empty.
func foreignCookies(w *world) []string {
	elsewhere := newWorld(w.t, session.Config{}, session.NewMemoryStore())
	secret := []byte("7GqzW1nXb5RkC0vTt8MfEj6LyPa2HuSd")
	sealed, err := session.NewCookieStore(secret)
	require.NoError(w.t, err)
	return []string{
		elsewhere.login("ada"), newWorld(w.t, session.Config{}, sealed).login("ada"),
		strings.Repeat("A", 48), strings.Repeat("A", 64) + ".AAAA", "x", `""`,
	}
}

func TestGuarantee01_Fixation_NoUserWithoutANewID(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		b := browser{w.name, w.start()}
		for _, user := range []string{"ada", "grace", "grace"} {
			before, old := w.look(b.cookie), b.cookie
			b.receive(w.do(old, func(s *session.Session) { require.NoError(w.t, s.Login(user)) }))
			require.NotEqual(w.t, before.id, w.look(b.cookie).id)
			require.Equal(w.t, user, w.user(b.cookie))
			require.True(w.t, w.dead(old))
		}
	})
}

func TestGuarantee04_NoLogOutByAccident(t *testing.T) {
	for _, e := range []string{"regenerate", "login", "logout", "revocation", "revocation of the user"} {
		t.Run(e, func(t *testing.T) {
			eachStore(t, session.Config{}, func(w *world) { lateRequests(w, e) })
		})
	}
}

// lateRequests makes requests with the id of a session that ended a moment ago.
func lateRequests(w *world, name string) {
	old := w.login("ada")
	for _, e := range enders(backing{}) {
		if e.name == name {
			e.run(w, old)
		}
	}
	left := len(w.live())
	for _, r := range racers() {
		resp := w.do(old, r.do)
		if r.name == "Login" {
			b := browser{name: w.name}
			b.receive(resp)
			require.Equal(w.t, "ada", w.user(b.cookie), "Login always starts a session")
			left++
			continue
		}
		status := http.StatusOK
		if r.sets && r.name != "Regenerate" { // which told the handler
			status = http.StatusConflict
		}
		require.Equal(w.t, status, resp.StatusCode, r.name)
		require.Empty(w.t, resp.Cookies(), r.name)
	}
	require.Len(w.t, w.live(), left)
	w.do(old, func(s *session.Session) { require.ErrorIs(w.t, s.Regenerate(), session.ErrSessionEnded) })
}

func TestGuarantee04_TombstoneIsForAMinute(t *testing.T) {
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	old := w.login("ada")
	w.do(old, logout)
	set := func(s *session.Session) { s.Set("cart", "tea") }
	w.clock.advance(time.Minute - time.Microsecond)
	require.Equal(t, http.StatusConflict, w.do(old, set).StatusCode)
	w.clock.advance(time.Microsecond)
	resp := w.do(old, set)
	require.Equal(t, http.StatusOK, resp.StatusCode, "then it is an unknown cookie like any other")
	require.Len(t, resp.Cookies(), 1)
}

var errDown = errors.New("the store is down")

// brokenStore refuses what it is told to.
type brokenStore struct {
	*session.MemoryStore
	load, save, delete error
}

func (b *brokenStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if b.load != nil {
		return nil, b.load
	}
	return b.MemoryStore.Load(ctx, token)
}

func (b *brokenStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if b.save != nil {
		return session.Token{}, b.save
	}
	return b.MemoryStore.Save(ctx, token, c)
}

func (b *brokenStore) Delete(ctx context.Context, id string, until time.Time) error {
	if b.delete != nil {
		return b.delete
	}
	return b.MemoryStore.Delete(ctx, id, until)
}

func brokenWorld(t *testing.T, cfg session.Config) (*world, *brokenStore) {
	store := &brokenStore{MemoryStore: session.NewMemoryStore()}
	return newWorld(t, cfg, store), store
}

// whole is a handler that uses all that a response has.
func whole(do func(*session.Session)) handler {
	return func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
		h := rw.Header()
		h.Set("Trailer", "X-Sum")
		h.Set("X-Handler", "its")
		h.Set("ETag", `"1"`)
		http.SetCookie(rw, &http.Cookie{Name: "other", Value: "its"})
		do(s)
		rw.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(rw, "the handler's")
		h.Set("X-Sum", "its")
		h.Set(http.TrailerPrefix+"X-Late", "its")
		_ = http.NewResponseController(rw).Flush()
	}
}

func TestGuarantee05_FailedSaveFailedResponse(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(*session.Session)
		status int
	}{
		{"Set", func(s *session.Session) { s.Set("new", 1) }, 503},
		{"Login", login, 503},
		{"Destroy", logout, 503},
		{"not encodable", func(s *session.Session) { s.Set("new", func() {}) }, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, store := brokenWorld(t, session.Config{})
			cookie := w.login("ada")
			store.save, store.delete = errDown, errDown
			server := httptest.NewServer(w.nodes[0].handlerOf(whole(c.do)))
			defer server.Close()
			resp := get(t, server.URL, w.name+"="+cookie)
			require.Equal(t, c.status, resp.StatusCode)
			require.Equal(t, http.StatusText(c.status)+"\n", bodyOf(resp))
			require.Empty(t, resp.Cookies())
			require.Empty(t, resp.Trailer)
			for _, name := range []string{"Trailer", "X-Handler", "Etag", "X-Sum", "X-Late"} {
				require.NotContains(t, resp.Header, name)
			}
			store.save, store.delete = nil, nil
			require.Equal(t, look{w.look(cookie).id, "ada", []string{"cart"}}, w.look(cookie), "for another try")
		})
	}
}

// An error handler that flushes makes a chunked response, which could have the trailers that the handler sets later.
func TestGuarantee05_FailedSaveFailedResponse_Trailers(t *testing.T) {
	cfg := session.Config{ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) {
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(rw, "sorry")
		_ = http.NewResponseController(rw).Flush()
	}}
	w, store := brokenWorld(t, cfg)
	store.save = errDown
	server := httptest.NewServer(w.nodes[0].handlerOf(whole(login)))
	defer server.Close()
	resp := get(t, server.URL, "")
	require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
	require.Equal(t, "sorry", bodyOf(resp))
	require.Empty(t, resp.Trailer)
}

// handlerOf is the process's middleware around one handler, for a real server.
func (n *node) handlerOf(h handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n.handler.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), actionKey{}, h)))
	})
}

func get(t testing.TB, url, cookies string) *http.Response {
	r, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	require.NoError(t, err)
	r.Header.Set("Cookie", cookies)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestGuarantee05_AClientThatHangsUpCutsNothing(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		cookie := w.login("ada")
		for _, do := range []func(*session.Session){func(s *session.Session) { s.Set("new", 1) }, regenerate, logout} {
			ctx, hangUp := context.WithCancel(context.Background())
			b := browser{w.name, cookie}
			b.receive(w.requestWith(ctx, 0, cookie, act(func(s *session.Session) { do(s); hangUp() })))
			if cookie = b.cookie; cookie != "" {
				require.Contains(w.t, w.look(cookie).keys, "new")
			}
		}
		require.Empty(w.t, cookie)
		require.Empty(w.t, w.live())
	})
}

func TestGuarantee05_DestroyIsDone(t *testing.T) {
	for _, c := range []struct {
		name string
		h    handler
	}{
		{"after a panic", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			logout(s)
			panic(http.ErrAbortHandler)
		}},
		{"after a panic in a stream", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			panic(http.ErrAbortHandler)
		}},
		{"after the response started", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
		}},
		{"after the response started, with a value set then", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			s.Flash("info", "signed out")
		}},
		{"after the response started, with a value that fails the commit", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			s.Set("new", func() {})
		}},
		{"by Save, after the response started, with a value set then", func(rw http.ResponseWriter, r *http.Request, s *session.Session) {
			_, _ = io.WriteString(rw, "begun")
			require.ErrorIs(t, s.Destroy(), session.ErrResponseStarted)
			s.Flash("info", "signed out")
			require.ErrorIs(t, s.Save(r.Context()), session.ErrResponseStarted)
			panic(http.ErrAbortHandler)
		}},
		{"with a value that fails the commit", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			logout(s)
			s.Set("new", func() {})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachStore(t, session.Config{}, func(w *world) {
				cookie := w.login("ada")
				func() {
					defer func() { _ = recover() }()
					w.request(0, cookie, c.h)
				}()
				require.True(w.t, w.dead(cookie))
				require.Empty(w.t, w.live())
			})
		})
	}
}

func TestGuarantee15_ConcurrencyInOneRequest(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		b := browser{w.name, w.login("ada")}
		b.receive(w.do(b.cookie, func(s *session.Session) {
			var all sync.WaitGroup
			for range 50 {
				for _, use := range uses() {
					all.Go(func() { use(s) })
				}
				all.Go(func() { counter.Update(s, func(i int) int { return i + 1 }) })
			}
			all.Wait()
		}))
		require.Equal(w.t, 50, value[int](w, b.cookie, "counter"))
	})
}

// uses are all methods of a Session that leave the counter alone.
func uses() []func(*session.Session) {
	return []func(*session.Session){
		func(s *session.Session) { s.Get("cart", new(string)) },
		func(s *session.Session) { s.Set("cart", "coffee") },
		func(s *session.Session) { s.Has("cart"); s.Keys(); s.Delete("cart") },
		func(s *session.Session) { s.Flash("info", "now"); s.Flashes() },
		func(s *session.Session) { _ = s.ID(); s.IsNew(); s.User(); s.SetNote("phone") },
		func(s *session.Session) { s.CreatedAt(); s.AuthenticatedAt(); s.AuthenticatedWithin(1); s.ExpiresAt() },
		func(s *session.Session) { s.SetPersistent(true); s.SetLifetime(0, 0) },
		func(s *session.Session) { _ = s.Err(); _ = s.Save(context.Background()) },
		func(s *session.Session) { _ = s.Regenerate() },
	}
}
