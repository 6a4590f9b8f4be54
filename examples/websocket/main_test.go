package main

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
)

// person is a browser that is signed in at one of the servers.
type person struct {
	t      *testing.T
	server *httptest.Server
	client *http.Client
}

func serve(t *testing.T, store session.Store, clock *sessiontest.Clock) *httptest.Server {
	a, err := newApp(store, session.Config{Secure: session.Off, Clock: clock.Now})
	require.NoError(t, err)
	server := httptest.NewServer(a.routes())
	t.Cleanup(server.Close)
	return server
}

func signIn(t *testing.T, server *httptest.Server, user string) *person {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	p := &person{t, server, &http.Client{Jar: jar}}
	p.post("/login", "user", user)
	return p
}

func (p *person) post(path string, fields ...string) {
	p.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	response, err := p.client.PostForm(p.server.URL+path, form)
	require.NoError(p.t, err)
	require.NoError(p.t, response.Body.Close())
	require.Equal(p.t, http.StatusOK, response.StatusCode)
}

func (p *person) connect() *websocket.Conn {
	p.t.Helper()
	socket, response, err := websocket.Dial(p.t.Context(), p.server.URL+"/chat", &websocket.DialOptions{HTTPClient: p.client})
	require.NoError(p.t, err)
	require.Empty(p.t, response.Header.Values("Set-Cookie"))
	p.t.Cleanup(func() { _ = socket.CloseNow() })
	return socket
}

func receive(t *testing.T, socket *websocket.Conn) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, text, err := socket.Read(ctx)
	return string(text), err
}

// The sockets of a session close with it, at whichever server it ends, and all others stay open.
func TestSocketsCloseWithTheirSession(t *testing.T) {
	redis := redistest.Start(t)
	open := func() session.Store {
		store, err := session.OpenRedisStore(t.Context(), redis.URL(), session.RedisOptions{})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, store.Close()) })
		return store
	}
	memory := session.NewMemoryStore()
	for name, stores := range map[string][2]session.Store{"memory": {memory, memory}, "redis": {open(), open()}} {
		for path, reason := range map[string]string{"/logout": "signed out", "/logout-everywhere": "signed out elsewhere"} {
			t.Run(name+path, func(t *testing.T) {
				clock := sessiontest.NewClock()
				here, there := serve(t, stores[0], clock), serve(t, stores[1], clock)
				ada, grace := signIn(t, here, "ada"), signIn(t, here, "grace")
				first, second, other := ada.connect(), ada.connect(), grace.connect()
				require.NoError(t, first.Write(t.Context(), websocket.MessageText, []byte("hello")))
				for _, socket := range []*websocket.Conn{first, second, other} {
					text, err := receive(t, socket)
					require.NoError(t, err)
					require.Equal(t, "ada: hello", text)
				}

				elsewhere := &person{t, there, &http.Client{Jar: sameHost{ada.client.Jar, here.URL}}}
				elsewhere.post(path)
				for _, socket := range []*websocket.Conn{first, second} {
					_, err := receive(t, socket)
					var closed websocket.CloseError
					require.ErrorAs(t, err, &closed)
					assert.Equal(t, closeSignedOut, closed.Code)
					assert.Equal(t, reason, closed.Reason)
				}
				require.NoError(t, other.Write(t.Context(), websocket.MessageText, []byte("alone?")))
				text, err := receive(t, other)
				require.NoError(t, err)
				assert.Equal(t, "grace: alone?", text)
			})
		}
	}
}

// An open socket is no use: the idle limit closes it.
func TestSocketsCloseAtTheIdleLimit(t *testing.T) {
	clock := sessiontest.NewClock()
	socket := signIn(t, serve(t, session.NewMemoryStore(), clock), "ada").connect()
	clock.Advance(time.Hour)
	_, err := receive(t, socket)
	assert.Equal(t, closeSignedOut, websocket.CloseStatus(err))
}

func TestVisitorsGetNoSocket(t *testing.T) {
	server := serve(t, session.NewMemoryStore(), sessiontest.NewClock())
	_, response, err := websocket.Dial(t.Context(), server.URL+"/chat", nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
}

// sameHost is the jar of one server for another one, as if a balancer stood in front of both.
type sameHost struct {
	http.CookieJar
	url string
}

func (j sameHost) Cookies(*url.URL) []*http.Cookie {
	u, _ := url.Parse(j.url)
	return j.CookieJar.Cookies(u)
}

func (j sameHost) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	u, _ := url.Parse(j.url)
	j.CookieJar.SetCookies(u, cookies)
}
