// Package integration_test holds the session library to its guarantees together with packages and servers that its own
// module does without.
package integration_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// socket is what the libraries have in common: text messages.
type socket interface {
	send(text string) error
	receive() (string, error)
	close() error
}

type upgradeFunc func(http.ResponseWriter, *http.Request) (socket, error)

var upgraders = map[string]upgradeFunc{
	"gorilla": func(w http.ResponseWriter, r *http.Request) (socket, error) {
		conn, err := (&gorilla.Upgrader{}).Upgrade(w, r, nil)
		return gorillaSocket{conn}, err
	},
	"coder": func(w http.ResponseWriter, r *http.Request) (socket, error) {
		conn, err := coder.Accept(w, r, nil)
		return coderSocket{conn}, err
	},
}

type gorillaSocket struct{ *gorilla.Conn }

func (s gorillaSocket) send(text string) error {
	return s.WriteMessage(gorilla.TextMessage, []byte(text))
}
func (s gorillaSocket) close() error { return s.Close() }
func (s gorillaSocket) receive() (string, error) {
	_, text, err := s.ReadMessage()
	return string(text), err
}

type coderSocket struct{ *coder.Conn }

func (s coderSocket) send(text string) error {
	return s.Write(context.Background(), coder.MessageText, []byte(text))
}
func (s coderSocket) close() error { return s.CloseNow() }
func (s coderSocket) receive() (string, error) {
	_, text, err := s.Read(context.Background())
	return string(text), err
}

// room is a server with a WebSocket at /, whose handler obeys the client: each message is a command for its session,
// and is answered with what came of it.
type room struct {
	*testing.T
	*httptest.Server
	client *http.Client
	down   atomic.Bool // the store
	mu     sync.Mutex
	late   []session.Event
}

type flakyStore struct {
	*session.MemoryStore
	down *atomic.Bool
}

func (f flakyStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	if f.down.Load() {
		return session.Token{}, io.ErrUnexpectedEOF
	}
	return f.MemoryStore.Swap(ctx, token, swaps...)
}

func (f flakyStore) End(ctx context.Context, tombstone *session.Record) (*session.Record, error) {
	if f.down.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	return f.MemoryStore.End(ctx, tombstone)
}

func newRoom(t *testing.T, upgrade upgradeFunc, wrap func(http.Handler) http.Handler) *room {
	room := &room{T: t}
	manager, err := session.New(flakyStore{session.NewMemoryStore(), &room.down}, session.Config{
		Logger: slog.New(slog.DiscardHandler), OnEvent: room.note,
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/", wrap(room.handler(upgrade)))
	mux.HandleFunc("/{command}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, obey(r.Context(), r.PathValue("command")))
	})
	room.Server = httptest.NewUnstartedServer(manager.Middleware(mux))
	room.Config.ErrorLog = log.New(io.Discard, "", 0)
	room.StartTLS()
	t.Cleanup(room.Server.Close)
	room.client = room.Server.Client()
	room.client.Jar, _ = cookiejar.New(nil)
	return room
}

func direct(h http.Handler) http.Handler { return h }

func (o *room) note(_ context.Context, e session.Event) {
	if e.Kind == session.EventLateWrite {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.late = append(o.late, e)
	}
}

func (o *room) reported() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.late)
}

func (o *room) handler(upgrade upgradeFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if key := r.URL.Query().Get("set"); key != "" {
			session.FromContext(r.Context()).Set(key, 1)
		}
		ws, err := upgrade(w, r)
		if err != nil {
			return
		}
		defer func() { _ = ws.close() }()
		for {
			command, err := ws.receive()
			if err != nil {
				return
			}
			if !assert.NoError(o, ws.send(obey(r.Context(), command))) {
				return
			}
		}
	}
}

// obey does something to the session.
func obey(ctx context.Context, command string) string {
	s := session.FromContext(ctx)
	switch command {
	case "keys":
		return fmt.Sprint(s.User(), s.Keys())
	case "save":
		return fmt.Sprint(s.Save(ctx))
	case "login":
		return fmt.Sprint(s.Login("ada"))
	case "logout":
		return fmt.Sprint(s.Destroy())
	}
	s.Set(command, 1)
	return "set"
}

// get asks over plain HTTP, with the same cookie.
func (o *room) get(command string) string {
	o.Helper()
	response, err := o.client.Get(o.URL + "/" + command)
	require.NoError(o, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(o, err)
	return string(body)
}

// dial opens the WebSocket, and returns the handshake's response.
func (o *room) dial(query string) (socket, *http.Response, error) {
	dialer := gorilla.Dialer{TLSClientConfig: o.client.Transport.(*http.Transport).TLSClientConfig.Clone(), Jar: o.client.Jar}
	dialer.TLSClientConfig.NextProtos = nil // HTTP/1.1
	conn, response, err := dialer.Dial("wss"+o.URL[len("https"):]+"/"+query, nil)
	if conn != nil {
		o.Cleanup(func() { _ = conn.Close() })
	}
	return gorillaSocket{conn}, response, err
}

// connected opens the WebSocket and returns what asks over it.
func (o *room) connected() (ask func(command string) string, hangUp func()) {
	o.Helper()
	ws, response, err := o.dial("")
	require.NoError(o, err)
	require.Equal(o, 101, response.StatusCode)
	ask = func(command string) string {
		o.Helper()
		require.NoError(o, ws.send(command))
		answer, err := ws.receive()
		require.NoError(o, err)
		return answer
	}
	return ask, func() { _ = ws.close() }
}

func forEach(t *testing.T, test func(t *testing.T, upgrade upgradeFunc)) {
	for name, upgrade := range upgraders {
		t.Run(name, func(t *testing.T) { test(t, upgrade) })
	}
}

func TestGuarantee08_WebSocketKeepsValues(t *testing.T) {
	forEach(t, func(t *testing.T, upgrade upgradeFunc) {
		o := newRoom(t, upgrade, direct)
		o.get("seed")
		ask, hangUp := o.connected()
		require.Equal(t, "[seed]", ask("keys"))
		ask("saved")
		require.Equal(t, "<nil>", ask("save"))
		require.Equal(t, "[saved seed]", o.get("keys"), "while connected")
		o.get("other") // another request's change is kept
		ask("last")
		require.Equal(t, session.ErrResponseStarted.Error(), ask("login"))
		hangUp()
		require.Eventually(t, func() bool { return o.get("keys") == "[last other saved seed]" }, 5*time.Second, 5*time.Millisecond)
		require.Zero(t, o.reported())
	})
}

func TestGuarantee08_WebSocketWithoutSession(t *testing.T) {
	forEach(t, func(t *testing.T, upgrade upgradeFunc) {
		o := newRoom(t, upgrade, direct)
		ask, hangUp := o.connected()
		require.Equal(t, "[]", ask("keys"))
		ask("lost")
		require.Equal(t, session.ErrResponseStarted.Error(), ask("save"))
		hangUp()
		require.Eventually(t, func() bool { return o.reported() == 1 }, 5*time.Second, 5*time.Millisecond)
		require.ErrorIs(t, o.late[0].Err, session.ErrResponseStarted)
	})
}

func TestGuarantee07_WebSocketAfterTheSessionEnded(t *testing.T) {
	forEach(t, func(t *testing.T, upgrade upgradeFunc) {
		o := newRoom(t, upgrade, direct)
		o.get("seed")
		ask, hangUp := o.connected()
		require.Equal(t, "[seed]", ask("keys"))
		o.get("logout")
		ask("lost")
		require.Contains(t, ask("save"), session.ErrSessionEnded.Error())
		ask("lost too")
		hangUp()
		require.Eventually(t, func() bool { return o.reported() == 1 }, 5*time.Second, 5*time.Millisecond)
		require.ErrorIs(t, o.late[0].Err, session.ErrSessionEnded)
		require.Equal(t, "[]", o.get("keys"), "it is not brought back")
	})
}

func TestGuarantee07_WebSocketLogout(t *testing.T) {
	forEach(t, func(t *testing.T, upgrade upgradeFunc) {
		o := newRoom(t, upgrade, direct)
		o.get("seed")
		ask, _ := o.connected()
		require.Equal(t, session.ErrResponseStarted.Error(), ask("logout"), "the cookie stays")
		require.Equal(t, "<nil>", ask("save"))
		require.Equal(t, "[]", o.get("keys"), "the record is gone")
	})
}

func TestGuarantee07_WebSocketSaveTriedAgain(t *testing.T) {
	forEach(t, func(t *testing.T, upgrade upgradeFunc) {
		o := newRoom(t, upgrade, direct)
		o.get("seed")
		ask, _ := o.connected()
		o.down.Store(true)
		ask("kept")
		require.Contains(t, ask("save"), "session: swap: ")
		o.down.Store(false)
		require.Equal(t, "<nil>", ask("save"))
		require.Equal(t, "[kept seed]", o.get("keys"))
	})
}

// gorilla takes the connection over before it writes a header, so a new session's cookie could not be sent and the
// handshake fails; coder writes the header first.
func TestGuarantee08_WebSocketWithACookieToSend(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		keys   string
	}{"gorilla": {500, "[first]"}, "coder": {101, "[first]"}} {
		t.Run(name, func(t *testing.T) {
			o := newRoom(t, upgraders[name], direct)
			_, response, err := o.dial("?set=first")
			require.Equal(t, c.status == 101, err == nil)
			require.Equal(t, c.status, response.StatusCode)
			require.Len(t, response.Header.Values("Set-Cookie"), 1, "a refusal by the library is a response like any other")
			require.Equal(t, c.keys, o.get("keys"))
		})
	}
}

func TestGuarantee05_WebSocketWithAFailedCommit(t *testing.T) {
	forEach(t, func(t *testing.T, upgrade upgradeFunc) {
		o := newRoom(t, upgrade, direct)
		o.get("seed")
		o.down.Store(true)
		_, response, err := o.dial("?set=first")
		require.Error(t, err)
		require.Equal(t, 503, response.StatusCode)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, "Service Unavailable\n", string(body))
		require.Empty(t, response.Header.Get("Sec-WebSocket-Accept"))
		require.Empty(t, response.Header.Get("Upgrade"))
	})
}

// The proxy stands behind the middleware, and the WebSocket in another process behind it.
func TestGuarantee08_WebSocketThroughReverseProxy(t *testing.T) {
	forEach(t, func(t *testing.T, upgrade upgradeFunc) {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := upgrade(w, r)
			if !assert.NoError(t, err) {
				return
			}
			defer func() { _ = ws.close() }()
			for text, err := ws.receive(); err == nil; text, err = ws.receive() {
				_ = ws.send("echo " + text)
			}
		}))
		defer backend.Close()
		target, err := url.Parse(backend.URL)
		require.NoError(t, err)
		o := newRoom(t, upgrade, func(http.Handler) http.Handler {
			proxy := httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				session.FromContext(r.In.Context()).Set("proxied", 1)
				r.SetURL(target)
				r.Out.Header.Set("Origin", backend.URL)
			}}
			return &proxy
		})
		o.get("seed")
		ask, _ := o.connected()
		require.Equal(t, "[proxied seed]", o.get("keys"), "saved before the connection was taken over")
		require.Equal(t, "echo one", ask("one"))
		require.Equal(t, "echo two", ask("two"))
	})
}
