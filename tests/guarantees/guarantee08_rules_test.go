package guarantees_test

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

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A sealed cookie carries the values, so that a connection can't be taken over with a value still to be sent.
func TestGuarantee08_HijackWithASealedValueToSend(t *testing.T) {
	app := kit.New(t, session.Config{Logger: kit.QuietSlog()}, kit.Sealed(t, kit.SecretOne))
	site := newStreamSite(t, app.Pages(setting(func(w http.ResponseWriter, _ *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		require.ErrorContains(t, err, "cookie still to be sent")
		kit.WriteOK(w, nil)
	})), 1)
	site.get("/seed")
	response, body := site.get("/")
	require.Equal(t, "ok", body)
	requireSessionCookie(t, response.Header)
	_, kept := site.get("/read")
	require.Equal(t, "[cart seed]", kept)
}

// A Flush that can't be done is no first byte: what needs a cookie can still be had.
func TestGuarantee08_FlushWhereTheServerCannot_SpendsNothing(t *testing.T) {
	w := plain{httptest.NewRecorder()}
	newPages(t).Pages(setting(func(w http.ResponseWriter, r *http.Request) {
		require.ErrorIs(t, http.NewResponseController(w).Flush(), http.ErrNotSupported)
		require.NoError(t, session.FromContext(r.Context()).Login("ada", "cart"))
	})).ServeHTTP(w, kit.Fresh("/"))
	requireSessionCookie(t, w.Header())
}

func TestGuarantee08_Panics(t *testing.T) {
	early := func(_ http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("cart", "tea")
		panic("early")
	}
	late := func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		s.Set("before", 1)
		kit.WriteOK(w, r)
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
				site := serve(recovering(newPages(t).Pages(c.h)))
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
			site := serve(newPages(t).Pages(setting(func(http.ResponseWriter, *http.Request) { panic(value) })))
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

func TestGuarantee08_TimeoutHandlerInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newPages(t)
		returned := make(chan struct{})
		b := app.BrowserOf(app.Pages(http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		answer := b.Get("/")
		require.Equal(t, 503, answer.Code)
		require.Equal(t, "too slow", answer.Body.String())
		requireSessionCookie(t, answer.Header())
		<-returned
		synctest.Wait()
		require.Equal(t, "[before]", b.Get("/read").Body.String(), "what was set by the timeout is kept")
		require.Equal(t, 1, app.Count(session.EventLateWrite), "what was set later is reported")
	})
}

func TestGuarantee08_TimeoutHandlerInsideInTime(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		site := serve(newPages(t).Pages(http.TimeoutHandler(setting(kit.WriteOK), time.Minute, "").ServeHTTP))
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
		app := newPages(t)
		slow := app.Pages(func(w http.ResponseWriter, r *http.Request) {
			s := session.FromContext(r.Context())
			s.Set("before", 1)
			time.Sleep(2 * time.Second) // past the time-out
			s.Set("after", 1)
			_, err := w.Write([]byte("late"))
			assert.ErrorIs(t, err, http.ErrHandlerTimeout)
		})
		b := app.BrowserOf(http.TimeoutHandler(slow, time.Second, "too slow"))
		b.Get("/seed")
		answer := b.Get("/")
		require.Equal(t, 503, answer.Code)
		require.Equal(t, "too slow", answer.Body.String())
		require.Empty(t, answer.Header().Values("Set-Cookie"))
		time.Sleep(2 * time.Second) // on the bubble's clock: the handler is through
		require.Equal(t, "[after before seed]", b.Get("/read").Body.String())
	})
}

func TestGuarantee08_TimeoutHandlerOutsideInTime(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		site := serve(http.TimeoutHandler(newPages(t).Pages(setting(kit.WriteOK)), time.Minute, ""))
		response, body := site.get("/")
		require.Equal(t, "ok", body)
		requireSessionCookie(t, response.Header)
	})
}

func TestGuarantee08_HijackWithACookieToSend(t *testing.T) {
	app := newPages(t)
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
		"another lifetime": setting(func(w http.ResponseWriter, r *http.Request) {
			session.FromContext(r.Context()).SetPersistent(true)
			refused(w, r)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			site := newStreamSite(t, app.Pages(func(w http.ResponseWriter, r *http.Request) { h(w, r); w.WriteHeader(500) }), 1)
			if name == "logout" || name == "another lifetime" {
				site.get("/seed")
			}
			before := app.Store().Count(sessiontest.Swap)
			response, _ := site.get("/")
			require.Equal(t, 500, response.StatusCode, "the response is still the handler's")
			if name != "logout" {
				requireSessionCookie(t, response.Header)
				require.Equal(t, before+1, app.Store().Count(sessiontest.Swap))
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
	app := newPages(t)
	done := make(chan struct{})
	site := newStreamSite(t, app.Pages(setting(hijacked(t, 0, func(_ net.Conn, buf *bufio.ReadWriter, s *session.Session) {
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
	require.Zero(t, app.Count(session.EventLateWrite))
}

func TestGuarantee08_HijackAfterTheHeaderSendsTheCookie(t *testing.T) {
	app := newPages(t)
	site := newStreamSite(t, app.Pages(setting(func(w http.ResponseWriter, r *http.Request) {
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
	app := newPages(t)
	site := newStreamSite(t, app.Pages(setting(func(w http.ResponseWriter, _ *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		assert.ErrorIs(t, err, kit.ErrDown, "the store failed before the connection was taken over")
		w.WriteHeader(101)
		_, _, err = http.NewResponseController(w).Hijack()
		assert.ErrorIs(t, err, kit.ErrDown)
	})), 1)
	site.get("/seed")
	breakStore(app)
	response, body := site.get("/")
	require.Equal(t, 503, response.StatusCode)
	require.Equal(t, "Service Unavailable\n", body)
}

// That a value can't be encoded is what the handler has to hear, before that its cookie could not be sent.
func TestGuarantee08_HijackWithABadValue(t *testing.T) {
	app := newPages(t)
	site := newStreamSite(t, app.Pages(setting(func(w http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("bad", make(chan int))
		_, _, err := http.NewResponseController(w).Hijack()
		assert.ErrorContains(t, err, `"bad"`)
	})), 1)
	response, _ := site.get("/")
	require.Equal(t, 500, response.StatusCode)
}

// unhijackable is a writer whose connection can't be taken over.
type unhijackable struct{ *httptest.ResponseRecorder }

func (unhijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, io.ErrClosedPipe }

// Where the connection could not be taken over, the response is an ordinary one, whose header has the cookie.
func TestGuarantee08_HijackThatFailsLeavesTheCookie(t *testing.T) {
	app := newPages(t)
	rec := httptest.NewRecorder()
	app.ServeTo(unhijackable{rec}, "", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		_, _, err := http.NewResponseController(w).Hijack()
		require.ErrorIs(t, err, io.ErrClosedPipe)
		s.Set("cart", 1)
		kit.WriteOK(w, r)
	})
	require.Equal(t, http.StatusOK, rec.Code)
	requireSessionCookie(t, rec.Header())
}

// All that needs a cookie works again after that.
func TestGuarantee08_HijackThatFailsLeavesTheSession(t *testing.T) {
	for name, do := range map[string]func(*session.Session) error{
		"Login":      func(s *session.Session) error { return s.Login("ada") },
		"Regenerate": (*session.Session).Regenerate,
		"Destroy":    (*session.Session).Destroy,
		"Save":       func(s *session.Session) error { s.SetPersistent(true); return s.Save(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			app := newPages(t)
			rec := httptest.NewRecorder()
			app.ServeTo(unhijackable{rec}, app.Start(), func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				_, _, err := http.NewResponseController(w).Hijack()
				require.ErrorIs(t, err, io.ErrClosedPipe)
				require.NoError(t, do(s))
				kit.WriteOK(w, r)
			})
			require.Equal(t, http.StatusOK, rec.Code)
			requireSessionCookie(t, rec.Header())
		})
	}
}

// hijackable is a writer whose connection can be taken over.
type hijackable struct{ *httptest.ResponseRecorder }

func (hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }

// A connection that was taken over stays so, whatever becomes of another Hijack.
func TestGuarantee08_AnotherHijackThatFails(t *testing.T) {
	app := newPages(t)
	cookie := app.Start()
	app.ServeTo(hijackable{httptest.NewRecorder()}, cookie, func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		_, _, err := http.NewResponseController(w).Hijack()
		require.NoError(t, err)
		breakStore(app)
		s.Set("late", 1)
		_, _, err = http.NewResponseController(w).Hijack()
		require.ErrorIs(t, err, kit.ErrDown)
		app.Store().Mend()
		require.ErrorIs(t, s.Login("ada"), session.ErrResponseStarted)
	})
	require.Equal(t, []string{"cart", "late"}, app.Look(cookie).Keys)
}
