package session_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// recovering answers a panic as recoverers do, with 500.
func recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "panic", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func TestGuarantee08_Panics(t *testing.T) {
	early := func(_ http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("cart", "tea")
		panic("early")
	}
	late := func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		s.Set("before", 1)
		write(w, r)
		s.Set("after", 1)
		panic("late")
	}
	inside := func(h http.HandlerFunc) http.HandlerFunc { return recovering(h).ServeHTTP }
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		status int
		cookie bool
		kept   string
	}{
		{"before the first byte, recovered outside", early, 500, false, "[]"},
		{"before the first byte, recovered inside", inside(early), 500, true, "[cart]"},
		{"after the first byte, recovered outside", late, 200, true, "[before]"},
		{"after the first byte, recovered inside", inside(late), 200, true, "[after before]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			overHTTP(t, func(t *testing.T, serve serveFunc) {
				site := serve(recovering(newStreamApp(t).handle(c.h)))
				response, _ := site.get("/")
				require.Equal(t, c.status, response.StatusCode)
				require.Equal(t, c.cookie, response.Header.Get("Set-Cookie") != "")
				_, kept := site.get("/read")
				require.Equal(t, c.kept, kept)
			})
		})
	}
}

// A panic that nobody recovers aborts the response, as net/http has it.
func TestGuarantee08_PanicWithoutRecoverer(t *testing.T) {
	for _, value := range []any{"bug", http.ErrAbortHandler} {
		overHTTP(t, func(t *testing.T, serve serveFunc) {
			site := serve(newStreamApp(t).handle(setting(func(http.ResponseWriter, *http.Request) { panic(value) })))
			request, err := http.NewRequestWithContext(t.Context(), "GET", site.base+"/", nil)
			require.NoError(t, err)
			response, err := site.Do(request)
			if err == nil {
				_ = response.Body.Close()
			}
			require.Error(t, err)
			_, kept := site.get("/read")
			require.Equal(t, "[]", kept)
		})
	}
}

func TestGuarantee05_DestroyAndPanic(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"before the first byte": func(_ http.ResponseWriter, r *http.Request) {
			assert.NoError(t, session.FromContext(r.Context()).Destroy())
			panic("after logout")
		},
		"after the first byte": func(w http.ResponseWriter, r *http.Request) {
			write(w, r)
			assert.ErrorIs(t, session.FromContext(r.Context()).Destroy(), session.ErrResponseStarted)
			panic("after logout")
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := newStreamApp(t)
			b := newSurfer(recovering(app.handle(h)))
			b.get("/seed")
			copied := *b
			b.get("/")
			require.Equal(t, "[]", copied.get("/read").Body.String())
			require.Equal(t, name != "before the first byte", b.cookie != "")
			require.Equal(t, 1, app.count(session.EventDestroyed), "a logout belongs into the audit log")
		})
	}
}

// A logout that the store could not do must not look like one: the cookie stays for another try.
func TestGuarantee05_DestroyAndPanicWithoutStore(t *testing.T) {
	app := newStreamApp(t)
	b := newSurfer(recovering(app.handle(func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, session.FromContext(r.Context()).Destroy())
		app.store.down.Store(true)
		panic("after logout")
	})))
	b.get("/seed")
	require.Empty(t, b.get("/").Header().Values("Set-Cookie"))
	app.store.down.Store(false)
	require.Equal(t, "[seed]", b.get("/read").Body.String())
}

// surfer keeps one cookie and needs no network.
type surfer struct {
	h      http.Handler
	cookie string
}

func newSurfer(h http.Handler) *surfer { return &surfer{h: h} }

func (b *surfer) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.serve(w, fresh(path))
	return w
}

// serve sends the request with the cookie and keeps what comes back.
func (b *surfer) serve(w http.ResponseWriter, r *http.Request) {
	if b.cookie != "" {
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: b.cookie})
	}
	b.h.ServeHTTP(w, r)
	response := http.Response{Header: w.Header()}
	for _, c := range response.Cookies() {
		if c.Name == "__Host-session" {
			b.cookie = c.Value
		}
	}
}

// What Save has done is done: a later failure answers with its error, and the browser still gets the session's cookie.
func TestGuarantee04_FailureAfterSave(t *testing.T) {
	app := newStreamApp(t)
	b := newSurfer(app.handle(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		require.NoError(t, s.Login("ada"))
		require.NoError(t, s.Save(r.Context()))
		w.Header().Set("X-Leak", "1")
		s.Set("broken", func() {})
	}))
	b.get("/seed")
	answer := b.get("/")
	require.Equal(t, 500, answer.Code)
	require.Empty(t, answer.Header().Get("X-Leak"))
	require.Equal(t, "ada[]", b.get("/read").Body.String(), "the login was saved, so it must reach the browser")
}

func TestGuarantee08_TimeoutHandlerInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newStreamApp(t)
		returned := make(chan struct{})
		b := newSurfer(app.handle(http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(returned)
			s := session.FromContext(r.Context())
			s.Set("before", 1)
			<-r.Context().Done()
			time.Sleep(time.Second)
			s.Set("after", 1)
			assert.ErrorIs(t, s.Regenerate(), session.ErrResponseStarted)
			_, err := w.Write([]byte("late"))
			assert.ErrorIs(t, err, http.ErrHandlerTimeout)
		}), time.Second, "too slow").ServeHTTP))
		answer := b.get("/")
		require.Equal(t, 503, answer.Code)
		require.Equal(t, "too slow", answer.Body.String())
		requireSessionCookie(t, answer.Header())
		<-returned
		synctest.Wait()
		require.Equal(t, "[before]", b.get("/read").Body.String(), "what was set by the timeout is kept")
		require.Equal(t, 1, app.count(session.EventLateWrite), "what was set later is reported")
	})
}

func TestGuarantee08_TimeoutHandlerInsideInTime(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		site := serve(newStreamApp(t).handle(http.TimeoutHandler(setting(write), time.Minute, "").ServeHTTP))
		response, body := site.get("/")
		require.Equal(t, "ok", body)
		requireSessionCookie(t, response.Header)
		_, kept := site.get("/read")
		require.Equal(t, "[cart]", kept)
	})
}

// Outside, the time-out is a client that hung up: the handler's changes are committed when it comes to it, and the client
// has been answered without them.
func TestGuarantee08_TimeoutHandlerOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newStreamApp(t)
		slow := app.handle(func(w http.ResponseWriter, r *http.Request) {
			s := session.FromContext(r.Context())
			s.Set("before", 1)
			time.Sleep(2 * time.Second) // past the time-out
			s.Set("after", 1)
			_, err := w.Write([]byte("late"))
			assert.ErrorIs(t, err, http.ErrHandlerTimeout)
		})
		b := newSurfer(http.TimeoutHandler(slow, time.Second, "too slow"))
		b.get("/seed")
		answer := b.get("/")
		require.Equal(t, 503, answer.Code)
		require.Equal(t, "too slow", answer.Body.String())
		require.Empty(t, answer.Header().Values("Set-Cookie"))
		time.Sleep(2 * time.Second) // on the bubble's clock: the handler is through
		require.Equal(t, "[after before seed]", b.get("/read").Body.String())
	})
}

func TestGuarantee08_TimeoutHandlerOutsideInTime(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		site := serve(http.TimeoutHandler(newStreamApp(t).handle(setting(write)), time.Minute, ""))
		response, body := site.get("/")
		require.Equal(t, "ok", body)
		requireSessionCookie(t, response.Header)
	})
}

func TestGuarantee08_HijackWithACookieToSend(t *testing.T) {
	app := newStreamApp(t)
	refused := func(w http.ResponseWriter, r *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		assert.ErrorContains(t, err, "cookie still to be sent")
	}
	for name, h := range map[string]http.HandlerFunc{
		"new session": setting(refused),
		"login": func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, session.FromContext(r.Context()).Login("ada"))
			refused(w, r)
		},
		"saved": setting(func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, session.FromContext(r.Context()).Save(r.Context()))
			refused(w, r)
		}),
		"logout": func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, session.FromContext(r.Context()).Destroy())
			refused(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			site := newStreamSite(t, app.handle(func(w http.ResponseWriter, r *http.Request) { h(w, r); w.WriteHeader(500) }), 1)
			before := app.store.saves.Load()
			response, _ := site.get("/")
			require.Equal(t, 500, response.StatusCode, "the response is still the handler's")
			if name != "logout" {
				requireSessionCookie(t, response.Header)
				require.Equal(t, before+1, app.store.saves.Load())
			}
		})
	}
}

// hijacked makes a handler that takes the connection over, greets, and goes on with it.
func hijacked(t *testing.T, status int, then func(net.Conn, *bufio.ReadWriter, *session.Session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if status != 0 {
			w.WriteHeader(status)
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = conn.Close() }()
		if status == 0 {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		}
		_, _ = io.WriteString(conn, "hello\n")
		then(conn, buf, session.FromContext(r.Context()))
	}
}

// upgrade asks for another protocol and returns the connection.
func (s *streamSite) upgrade(ctx context.Context) (*http.Response, io.ReadWriteCloser) {
	response := s.begin(ctx, "GET", "/", "Connection", "Upgrade", "Upgrade", "test")
	require.Equal(s, 101, response.StatusCode)
	conn, ok := response.Body.(io.ReadWriteCloser)
	require.True(s, ok)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(s, err)
	require.Equal(s, "hello\n", line)
	return response, conn
}

func TestGuarantee08_HijackKeepsWhatWasSet(t *testing.T) {
	app := newStreamApp(t)
	done := make(chan struct{})
	site := newStreamSite(t, app.handle(setting(hijacked(t, 0, func(_ net.Conn, buf *bufio.ReadWriter, s *session.Session) {
		defer close(done)
		_, _ = buf.ReadString('\n')
		s.Set("saved", 1)
		assert.NoError(t, s.Save(t.Context()))
		s.Set("last", 1)
		assert.ErrorIs(t, s.Regenerate(), session.ErrResponseStarted)
	}))), 1)
	site.get("/seed")
	_, conn := site.upgrade(t.Context())
	_, kept := site.get("/read")
	require.Equal(t, "[cart seed]", kept, "committed before the connection was taken over")
	_, err := io.WriteString(conn, "go\n")
	require.NoError(t, err)
	<-done
	_, err = io.ReadAll(conn) // until the handler has closed it
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, kept := site.get("/read"); return kept == "[cart last saved seed]" }, 5*time.Second, time.Millisecond)
	require.Zero(t, app.count(session.EventLateWrite))
}

func TestGuarantee08_HijackAfterTheHeaderSendsTheCookie(t *testing.T) {
	app := newStreamApp(t)
	site := newStreamSite(t, app.handle(setting(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "test")
		hijacked(t, 101, func(net.Conn, *bufio.ReadWriter, *session.Session) {})(w, r)
	})), 1)
	response, _ := site.upgrade(t.Context())
	requireSessionCookie(t, response.Header)
	_, kept := site.get("/read")
	require.Equal(t, "[cart]", kept)
}

func TestGuarantee08_HijackAfterAFailedCommit(t *testing.T) {
	app := newStreamApp(t)
	site := newStreamSite(t, app.handle(setting(func(w http.ResponseWriter, _ *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		assert.ErrorIs(t, err, errDown, "the store failed before the connection was taken over")
		w.WriteHeader(101)
		_, _, err = http.NewResponseController(w).Hijack()
		assert.ErrorIs(t, err, errDown)
	})), 1)
	site.get("/seed")
	app.store.down.Store(true)
	response, body := site.get("/")
	require.Equal(t, 503, response.StatusCode)
	require.Equal(t, "Service Unavailable\n", body)
}

// That a value can't be encoded is what the handler has to hear, before that its cookie could not be sent.
func TestGuarantee08_HijackWithABadValue(t *testing.T) {
	app := newStreamApp(t)
	site := newStreamSite(t, app.handle(setting(func(w http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("bad", make(chan int))
		_, _, err := http.NewResponseController(w).Hijack()
		assert.ErrorContains(t, err, `"bad"`)
	})), 1)
	response, _ := site.get("/")
	require.Equal(t, 500, response.StatusCode)
}

func TestGuarantee07_LateWrites(t *testing.T) {
	for _, c := range []struct {
		name string
		late func(*session.Session)
	}{
		{"Set", func(s *session.Session) { s.Set("late", 1) }},
		{"Flash", func(s *session.Session) { s.Flash("info", "late") }},
		{"Update", func(s *session.Session) { session.Key[int]("late").Update(s, func(n int) int { return n + 1 }) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newStreamApp(t)
			b := newSurfer(app.handle(func(w http.ResponseWriter, r *http.Request) {
				write(w, r)
				s := session.FromContext(r.Context())
				c.late(s)
				if s.IsNew() {
					require.ErrorIs(t, s.Save(r.Context()), session.ErrResponseStarted)
				}
			}))
			require.Empty(t, b.get("/").Header().Values("Set-Cookie"))
			require.Equal(t, 1, app.count(session.EventLateWrite), "there is no cookie to keep it under")
			require.ErrorIs(t, app.events[0].Err, session.ErrResponseStarted)
			b.get("/seed")
			b.get("/")
			require.Equal(t, 1, app.count(session.EventLateWrite), "the session was there, so it was kept")
		})
	}
}

func TestGuarantee07_WritesAfterTheRequest(t *testing.T) {
	app := newStreamApp(t)
	var s *session.Session
	b := newSurfer(app.handle(func(_ http.ResponseWriter, r *http.Request) { s = session.FromContext(r.Context()) }))
	b.get("/seed")
	b.get("/")
	s.Set("late", 1)
	s.Delete("seed")
	s.Clear()
	s.Flash("info", "late")
	require.Equal(t, 4, app.count(session.EventLateWrite))
	require.ErrorIs(t, s.Regenerate(), session.ErrResponseStarted)
	require.ErrorIs(t, s.Login("ada"), session.ErrResponseStarted)
	require.Equal(t, "[seed]", b.get("/read").Body.String())
}
