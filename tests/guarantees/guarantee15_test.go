package guarantees_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// While an Update runs again other goroutines of the request may set values.
func TestGuarantee15_SetWhileUpdatesRunAgain(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	keys := []session.Key[int]{"first", "second", "third"}
	v.Must(func(s *session.Session) { keys[0].Set(s, 0) })
	v.Must(func(s *session.Session) {
		again, others := make(chan struct{}), sync.WaitGroup{}
		others.Go(func() {
			<-again
			for n := range 2000 {
				s.Set(fmt.Sprint("other ", n%100), n)
			}
		})
		calls := 0
		for _, key := range keys {
			key.Update(s, func(n int) int {
				if calls++; calls == len(keys)+1 { // at the commit
					close(again)
				}
				runtime.Gosched()
				return n + 1
			})
		}
		v.Copy().Must(func(s *session.Session) { keys[0].Set(s, 10) })
		require.NoError(t, s.Save(t.Context()))
		others.Wait()
	})
	require.Equal(t, 11, kit.Read[int](v, "first"))
	require.Equal(t, 1, kit.Read[int](v, "third"))
	require.Equal(t, 1999, kit.Read[int](v, "other 99"))
}

func TestGuarantee15_ConcurrencyInOneRequest(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		b.Receive(app.Do(b.Cookie, func(s *session.Session) {
			var all sync.WaitGroup
			for range 50 {
				for _, use := range uses() {
					all.Go(func() { use(s) })
				}
				all.Go(func() { kit.Counter.Update(s, func(i int) int { return i + 1 }) })
			}
			all.Wait()
		}))
		require.Equal(app.T, 50, kit.Value[int](app, b.Cookie, "counter"))
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

// An Update whose value another goroutine has changed while its function ran starts again from the newer one.
func TestGuarantee15_AnUpdateWhileAnotherRuns(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) {
		calls := 0
		kit.Counter.Update(s, func(n int) int {
			if calls++; calls == 1 {
				var other sync.WaitGroup
				other.Go(func() { kit.CountUp(s) })
				other.Wait()
			}
			return n + 1
		})
	})
	require.Equal(t, 2, kit.Read[int](v, string(kit.Counter)))
}

// What is set while a commit makes an Update again is seen at once, and committed.
func TestGuarantee15_SetWhileAnUpdateRunsAgain(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Do(cookie, func(s *session.Session) {
		s.Set("first", 1)
		inSwap, goOn := make(chan struct{}), make(chan struct{})
		app.Store().Intercept(func(_ context.Context, _ sessiontest.Op, call func() error) error {
			close(inSwap)
			<-goOn
			return call()
		})
		var saved sync.WaitGroup
		saved.Go(func() { require.NoError(t, s.Save(t.Context())) })
		<-inSwap
		app.Store().Mend()
		calls := 0
		kit.Counter.Update(s, func(n int) int {
			if calls++; calls == 2 { // on what the Save has stored
				s.Set("other", 1)
			}
			return n + 1
		})
		close(goOn)
		saved.Wait()
		require.True(t, s.Has("other"))
	})
	require.Equal(t, []string{"cart", string(kit.Counter), "first", "other"}, app.Look(cookie).Keys)
}

// headerReader is a writer of the application's, outside the middleware: its Header looks at the session.
type headerReader struct {
	http.ResponseWriter
	used *session.Session
}

func (w *headerReader) Header() http.Header {
	if w.used != nil {
		w.used.User()
	}
	return w.ResponseWriter.Header()
}

func TestGuarantee15_TheWriterBelowMayUseTheSession(t *testing.T) {
	for name, end := range map[string]func(){"answered": func() {}, "panicked": func() { panic("the handler's") }} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, session.NewMemoryStore())
			rec := httptest.NewRecorder()
			w := &headerReader{ResponseWriter: rec}
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				app.Nodes[0].HandlerOf(kit.Act(func(s *session.Session) {
					w.used = s
					s.Set("a", 1)
					_ = s.Save(t.Context())
					end()
				})).ServeHTTP(w, httptest.NewRequest("GET", "https://example.com/", nil))
			}()
			select {
			case <-done:
				require.Len(t, rec.Header()["Set-Cookie"], 1)
			case <-time.After(10 * time.Second):
				t.Fatal("it waits for itself")
			}
		})
	}
}

// A clock is the application's too. Where it panics, the request does, and holds no lock afterwards.
func TestGuarantee15_AClockThatPanics(t *testing.T) {
	sealed, err := session.NewCookieStore(kit.SecretOne)
	require.NoError(t, err)
	for name, use := range clockUses() {
		for _, store := range []session.Store{session.NewMemoryStore(), sealed} {
			t.Run(fmt.Sprintf("%s, %T", name, store), func(t *testing.T) {
				for healthy := 0; panicsAfter(t, store, use, healthy); healthy++ {
				}
			})
		}
	}
}

func clockUses() map[string]http.HandlerFunc {
	of := func(use func(w http.ResponseWriter, s *session.Session)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { use(w, session.FromContext(r.Context())) }
	}
	return map[string]http.HandlerFunc{
		"read":    of(func(_ http.ResponseWriter, s *session.Session) { s.Has("cart") }),
		"set":     of(func(_ http.ResponseWriter, s *session.Session) { s.Set("cart", 2) }),
		"save":    of(func(_ http.ResponseWriter, s *session.Session) { _ = s.Save(context.Background()) }),
		"login":   of(func(_ http.ResponseWriter, s *session.Session) { _ = s.Login("bob") }),
		"destroy": of(func(_ http.ResponseWriter, s *session.Session) { _ = s.Destroy() }),
		"set late": of(func(w http.ResponseWriter, s *session.Session) {
			kit.WriteOK(w, nil)
			s.Set("cart", 2)
			s.SetPersistent(true) // needs a cookie, so that it is reported as lost
		}),
	}
}

// panicsAfter makes a request whose clock panics after some healthy readings, and reports whether it came to that.
func panicsAfter(t *testing.T, store session.Store, use http.HandlerFunc, healthy int) (panicked bool) {
	var ahead time.Duration
	left := 1 << 30
	app, err := session.New(store, session.Config{Secure: session.Off, Persistent: true, Logger: kit.QuietSlog(),
		OnEvent: func(context.Context, session.Event) {},
		Clock: func() time.Time {
			if left--; left < 0 {
				panicked = true
				panic("clock")
			}
			return time.Now().Add(ahead)
		},
	})
	require.NoError(t, err)
	var cookie *http.Cookie
	seed := httptest.NewRecorder()
	app.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, session.FromContext(r.Context()).Login("ada"))
	})).ServeHTTP(seed, kit.Fresh("/"))
	cookie = seed.Result().Cookies()[0]
	ahead, left = 10*time.Minute, healthy // a touch is due
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var s *session.Session
		defer func() {
			_ = recover()
			left = 1 << 30
			s.Keys()
		}()
		request := kit.Fresh("/")
		request.AddCookie(cookie)
		app.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s = session.FromContext(r.Context())
			use(w, r)
		})).ServeHTTP(httptest.NewRecorder(), request)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the request hangs", "after %d readings of the clock", healthy)
	}
	return panicked
}
