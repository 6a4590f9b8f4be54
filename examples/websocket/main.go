// Websocket shows a connection that ends with its session: a chat room for those who are signed in, whose sockets close
// when they sign out, wherever that is.
package main

import (
	"context"
	"errors"
	"flag"
	"html/template"
	"log"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/doorman-go/session"
)

// The codes that the page is told why its connection was closed by, of those that are free for applications (RFC 6455,
// section 7.4.2).
const (
	closeSignedOut websocket.StatusCode = 4001
	closeAgain     websocket.StatusCode = 4002 // the session has another ID now: connect again
)

// app is the chat room.
type app struct {
	sessions *session.Manager
	room     room
}

func newApp(store session.Store, config session.Config) (*app, error) {
	sessions, err := session.New(store, config)
	if err != nil {
		return nil, err
	}
	return &app{sessions: sessions, room: room{sockets: make(map[chan<- string]bool)}}, nil
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /logout", a.logout)
	mux.HandleFunc("POST /logout-everywhere", a.logoutEverywhere)
	mux.Handle("GET /chat", a.sessions.Passive(http.HandlerFunc(a.chat)))
	return http.NewCrossOriginProtection().Handler(a.sessions.Middleware(mux))
}

// chat is the WebSocket. An open one does not count as use of the session, and what it reads and writes ends with it.
func (a *app) chat(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	user := s.User()
	if user == "" {
		http.Error(w, "sign in first", http.StatusUnauthorized)
		return
	}
	watching := s.Watch(r.Context())
	messages := a.room.join()
	defer a.room.leave(messages)
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer func() { _ = socket.CloseNow() }()
	reading, stop := context.WithCancel(r.Context()) // so that the close message can still be sent when the session has ended
	defer stop()
	go a.readAll(reading, stop, socket, user)
	for {
		select {
		case message := <-messages:
			if err := write(reading, socket, message); err != nil {
				return
			}
		case <-reading.Done():
			return
		case <-watching.Done():
			code, reason := closeCode(context.Cause(watching))
			_ = socket.Close(code, reason)
			return
		}
	}
}

// readAll passes on what comes, until the connection ends.
func (a *app) readAll(ctx context.Context, stop func(), socket *websocket.Conn, user string) {
	defer stop()
	for {
		_, text, err := socket.Read(ctx)
		if err != nil {
			return
		}
		a.room.say(user + ": " + string(text))
	}
}

func write(ctx context.Context, socket *websocket.Conn, message string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return socket.Write(ctx, websocket.MessageText, []byte(message))
}

func closeCode(cause error) (websocket.StatusCode, string) {
	switch {
	case errors.Is(cause, session.ErrRegenerated):
		return closeAgain, "connect again"
	case errors.Is(cause, session.ErrRevoked):
		return closeSignedOut, "signed out elsewhere"
	case errors.Is(cause, session.ErrSessionEnded):
		return closeSignedOut, "signed out"
	}
	return websocket.StatusGoingAway, ""
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	if err := session.FromContext(r.Context()).Login(r.PostFormValue("user")); err != nil {
		http.Error(w, "tell a name", http.StatusUnprocessableEntity)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	if err := session.FromContext(r.Context()).Destroy(); err != nil {
		return // the Manager's error handler answers
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) logoutEverywhere(w http.ResponseWriter, r *http.Request) {
	user := session.FromContext(r.Context()).User()
	if user == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if _, err := a.sessions.RevokeUser(r.Context(), user); err != nil {
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

var page = template.Must(template.New("").Parse(`<!doctype html>
<meta charset="utf-8"><title>Chat</title>
{{- if .}}
<p>You are {{.}}. <form method="post" action="/logout"><button>Sign out</button></form>
<form method="post" action="/logout-everywhere"><button>Sign out everywhere</button></form>
<p id="state" role="status"></p><ul id="messages"></ul><form id="say"><input aria-label="Message"><button>Say</button></form>
<script>
const state = document.getElementById('state');
let socket;
function connect() {
	socket = new WebSocket(location.origin.replace('http', 'ws') + '/chat');
	socket.onopen = () => state.textContent = 'connected';
	socket.onmessage = e => document.getElementById('messages').append(Object.assign(document.createElement('li'), {textContent: e.data}));
	socket.onclose = e => {
		state.textContent = e.code === 4001 ? 'You were signed out: ' + e.reason : 'connecting again';
		if (e.code !== 4001) setTimeout(connect, 1000);
	};
}
document.getElementById('say').onsubmit = e => { e.preventDefault(); socket.send(e.target[0].value); e.target[0].value = ''; };
connect();
</script>
{{- else}}
<form method="post" action="/login"><label>Your name <input name="user" required></label><button>Sign in</button></form>
{{- end}}
`))

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = page.Execute(w, session.FromContext(r.Context()).User())
}

func main() {
	addr := flag.String("addr", "localhost:8080", "address to serve on")
	flag.Parse()
	a, err := newApp(session.NewMemoryStore(), session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *addr, Handler: a.routes(), ReadHeaderTimeout: 5 * time.Second}
	log.Println("serving", *addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
