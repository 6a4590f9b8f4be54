package adopt_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

func TestForget_AfterTwoMinutesByTheClock(t *testing.T) {
	w := onMemory(t, session.Config{})
	w.browser("t1").peek()
	w.Clock.Advance(2*time.Minute - time.Microsecond)
	w.browser("").look()
	require.Zero(t, w.old.forgetCalls())
	w.Clock.Advance(time.Microsecond)
	w.browser("").look()
	require.Equal(t, []string{"t1"}, w.old.done())
	w.Clock.Advance(2 * time.Minute)
	w.browser("").look()
	require.Equal(t, 1, w.old.forgetCalls())
}

// A server that nobody asks any more forgets as well.
func TestForget_WithoutAnyRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := &library{}
		old.put(ada("t1"))
		old.put(ada("t2"))
		manager, err := session.New(session.NewMemoryStore(), session.Config{Adopt: old.adopt, Logger: kit.QuietSlog()})
		require.NoError(t, err)
		handler := manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			require.Equal(t, "ada", session.FromContext(r.Context()).User())
		}))
		adopt := func(token string) {
			r := httptest.NewRequest("GET", "https://example.com/", nil)
			r.AddCookie(&http.Cookie{Name: oldCookie, Value: token})
			handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		adopt("t1")
		time.Sleep(time.Minute)
		adopt("t2")
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		require.Empty(t, old.done())
		time.Sleep(time.Nanosecond + time.Microsecond)
		synctest.Wait()
		require.Equal(t, []string{"t1"}, old.done())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"t1", "t2"}, old.done())
	})
}

func TestForget_AFailureIsToldAndFailsNoRequest(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		id := b.look().ID
		w.old.fail(errOldDown)
		w.Events()
		require.Equal(t, id, b.look().ID)
		var told []session.Event
		for _, e := range w.Events() {
			if e.Kind == session.EventStoreError {
				told = append(told, e)
			}
		}
		require.Len(t, told, 1)
		require.Equal(t, []any{session.Reason(session.OpAdopt), id, "ada"}, []any{told[0].Reason, told[0].ID, told[0].User})
		require.ErrorIs(t, told[0].Err, errOldDown)
		require.Contains(t, w.Log(), "the old store is down")

		b.look()
		require.Equal(t, 1, w.old.forgetCalls(), "no further request waits for it")
		w.old.fail(nil)
		w.Clock.Advance(2 * time.Minute)
		b.look()
		require.Equal(t, []string{"t1"}, w.old.done(), "it is tried once more")
	})
}

// After the second try nobody waits for it any more, and no request asks for its claim.
func TestForget_AFailureIsOverAfterTwoMinutes(t *testing.T) {
	w := onMemory(t, session.Config{})
	b := w.browser("t1")
	b.look()
	w.old.fail(errOldDown)
	b.look()
	w.Clock.Advance(2 * time.Minute)
	b.look()
	w.Store().ForgetCalls()
	b.look()
	require.Equal(t, 1, w.Store().Count())
	require.Equal(t, 2, w.old.forgetCalls())
	require.Equal(t, 2, w.Count(session.EventStoreError))
}

func TestForget_AFailureAfterTwoMinutesIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan session.Event, 10)
		old := &library{}
		old.put(ada("t1"))
		manager, err := session.New(session.NewMemoryStore(), session.Config{
			Adopt: old.adopt, Logger: kit.QuietSlog(),
			OnEvent: func(_ context.Context, e session.Event) { told <- e },
		})
		require.NoError(t, err)
		r := httptest.NewRequest("GET", "https://example.com/", nil)
		r.AddCookie(&http.Cookie{Name: oldCookie, Value: "t1"})
		manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_ = session.FromContext(r.Context()).User()
		})).ServeHTTP(httptest.NewRecorder(), r)
		require.Equal(t, session.EventAdopted, (<-told).Kind)
		old.fail(errOldDown)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		e := <-told
		require.Equal(t, session.EventStoreError, e.Kind)
		require.ErrorIs(t, e.Err, errOldDown)
	})
}

// Where no request is, a panic of OnEvent would end the process.
func TestForget_APanicOfOnEventIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		old := &library{}
		for _, token := range []string{"t1", "t2"} {
			old.put(ada(token))
		}
		manager, err := session.New(session.NewMemoryStore(), session.Config{
			Adopt: old.adopt, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			OnEvent: func(_ context.Context, e session.Event) {
				if e.Kind == session.EventStoreError {
					panic("the application's")
				}
			},
		})
		require.NoError(t, err)
		for _, token := range []string{"t1", "t2"} {
			r := httptest.NewRequest("GET", "https://example.com/", nil)
			r.AddCookie(&http.Cookie{Name: oldCookie, Value: token})
			manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_ = session.FromContext(r.Context()).User()
			})).ServeHTTP(httptest.NewRecorder(), r)
		}
		old.fail(errOldDown)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		require.Equal(t, 2, strings.Count(log.String(), "OnEvent panicked"))
	})
}

func TestForget_APanicIsAFailure(t *testing.T) {
	w := forgetting(t, func(context.Context) error { panic("the old store's") })
	b := w.browser("t1")
	b.look()
	b.look()
	require.Equal(t, 1, w.Count(session.EventStoreError))
	require.Equal(t, http.StatusServiceUnavailable, b.do(kit.Logout).StatusCode)
}

func TestForget_ALogoutTriesOnce(t *testing.T) {
	calls := 0
	w := forgetting(t, func(context.Context) error { calls++; return errOldDown })
	require.Equal(t, http.StatusServiceUnavailable, w.browser("t1").do(kit.Logout).StatusCode)
	require.Equal(t, 1, calls)
}

// Some stores ignore contexts.
func TestForget_OneThatHangsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		deadline := make(chan time.Duration, 1)
		w := forgetting(t, func(ctx context.Context) error {
			at, _ := ctx.Deadline()
			deadline <- time.Until(at)
			<-hangs
			return nil
		})
		b := w.browser("t1")
		b.look()
		start := time.Now()
		b.look()
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, time.Second, <-deadline)
		close(hangs)
		synctest.Wait()
	})
}

// forgetting is an application whose Forget is this one.
func forgetting(t *testing.T, forget func(context.Context) error) *world {
	t.Helper()
	w := &world{old: &library{}}
	w.App = kit.New(t, session.Config{StoreTimeout: time.Second, Adopt: func(r *http.Request) (*session.Adopted, error) {
		a, err := w.old.adopt(r)
		if a != nil {
			a.Forget = forget
		}
		return a, err
	}}, session.NewMemoryStore())
	w.old.put(ada("t1"))
	return w
}

func TestForget_MayBeNil(t *testing.T) {
	w := forgetting(t, nil)
	b := w.browser("t1")
	b.look()
	b.look()
	b.logout()
	require.Zero(t, w.Count(session.EventStoreError))
}

// What does not arrive at the browser does not end the old session.
func TestForget_NothingWasAdopted(t *testing.T) {
	failing := map[string]func(*world, *browser){
		"a late first use": func(w *world, b *browser) {
			rec := b.handle(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = rw.Write([]byte("first byte"))
				rw.(http.Flusher).Flush()
				s := session.FromContext(r.Context())
				require.Equal(w.T, "ada", s.User(), "it can be read")
				require.NoError(w.T, s.Save(r.Context()))
			})
			require.Empty(w.T, rec.Result().Cookies())
			require.Zero(w.T, w.Count(session.EventLateWrite), "nothing is lost by it")
		},
		"a late change": func(w *world, b *browser) {
			b.handle(func(rw http.ResponseWriter, r *http.Request) {
				rw.(http.Flusher).Flush()
				s := session.FromContext(r.Context())
				s.Set("a", 1)
				require.ErrorIs(w.T, s.Save(r.Context()), session.ErrResponseStarted)
			})
			require.Equal(w.T, 1, w.Count(session.EventLateWrite))
		},
		"a panic": func(w *world, b *browser) {
			require.Panics(w.T, func() {
				b.do(func(s *session.Session) { s.Set("a", 1); panic("the handler's") })
			})
		},
		"a failed commit": func(w *world, b *browser) {
			resp := b.do(func(s *session.Session) { s.Set("a", make(chan int)) })
			require.Equal(w.T, http.StatusInternalServerError, resp.StatusCode)
		},
		"a session that grows too large": func(w *world, b *browser) {
			resp := b.do(func(s *session.Session) { s.Set("a", make([]byte, 100<<10)) })
			require.Equal(w.T, http.StatusInternalServerError, resp.StatusCode)
		},
		"a store that is down at the commit": func(w *world, b *browser) {
			resp := b.do(func(*session.Session) { w.Store().Break(kit.ErrDown, "swap") })
			require.Equal(w.T, http.StatusServiceUnavailable, resp.StatusCode)
			w.Store().Mend()
		},
		"a store that is down at the load": func(w *world, b *browser) {
			w.Store().Break(kit.ErrDown, "load")
			require.Equal(w.T, http.StatusServiceUnavailable, b.do(reads).StatusCode)
			w.Store().Mend()
		},
	}
	for name, fail := range failing {
		t.Run(name, func(t *testing.T) {
			each(t, session.Config{}, func(t *testing.T, w *world) {
				b := w.browser("t1")
				fail(w, b)
				require.Equal(t, "t1", b.cookie(oldCookie))
				require.Empty(t, b.ours())
				w.Clock.Advance(5 * time.Minute)
				w.browser("").look()
				require.Zero(t, w.old.forgetCalls())
				require.Zero(t, w.Count(session.EventAdopted))
				require.Equal(t, "ada", b.look().User)
			})
		})
	}
}

// A connection that is taken over, for a WebSocket, needs no cookie for what it reads.
func TestForget_AHijackAdoptsNothing(t *testing.T) {
	w := onMemory(t, session.Config{})
	server := httptest.NewServer(w.Nodes[0].HandlerOf(func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
		user := s.User()
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			http.Error(rw, err.Error(), http.StatusTeapot)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nX-User: " + user + "\r\nContent-Length: 0\r\n\r\n"))
	}))
	defer server.Close()
	for _, stands := range []bool{false, true} {
		if stands {
			w.browser("t1").peek()
		}
		r, err := http.NewRequest("GET", server.URL, nil)
		require.NoError(t, err)
		r.Header.Set("Cookie", oldCookie+"=t1")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, "ada", resp.Header.Get("X-User"))
	}
	require.Equal(t, 1, w.Count(session.EventAdopted))
	require.Zero(t, w.old.forgetCalls())
}
