package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// The workload is the same for all: a user id, a text of 32 characters, a locale and a counter; big adds a kilobyte.
const (
	userID   = int64(9007199254740993) // over 2^53, so that a detour by float64 would show
	nonce    = "6f1d3c5e8a7b42909d0e1f2a3b4c5d6e"
	locale   = "de-AT"
	idleTime = 20 * time.Minute
	appName  = "session"
)

var kilobyte = strings.Repeat("0123456789abcdef", 64)

// The operations of the workload, as columns of the tables.
type operation string

const (
	opNone      operation = "no cookie, untouched"
	opUntouched operation = "cookie, untouched"
	opRead      operation = "read"
	opWrite     operation = "read + write"
	opLogin     operation = "login"
)

// variant is what a subject is built for.
type variant struct {
	idle bool // with an idle timeout
	big  bool // with another kilobyte of values
	more int  // with so many more values of 32 characters
	full int  // with so many more values of a kilobyte
}

// heavy is a session of nearly 64 KiB, in which one small value is changed.
var heavy = variant{full: 60}

func (v variant) String() string {
	text := "no idle timeout"
	if v.idle {
		text = "idle timeout"
	}
	if v.big {
		text += ", 1 KB"
	}
	if v.full > 0 {
		text += fmt.Sprintf(", %d KB", v.full)
	}
	if v.more > 0 {
		text += fmt.Sprintf(", %d more values", v.more)
	}
	return text
}

// app is one library doing the workload: an http.Handler for each operation, nil where it has no such thing.
type app struct {
	seed, untouched, read, write, login http.Handler
}

func (a app) handler(op operation) http.Handler {
	return map[operation]http.Handler{
		opNone: a.untouched, opUntouched: a.untouched, opRead: a.read, opWrite: a.write, opLogin: a.login,
	}[op]
}

// around puts a library's middleware around the handlers of an app.
func (a app) around(middleware func(http.Handler) http.Handler) app {
	for _, h := range []*http.Handler{&a.seed, &a.untouched, &a.read, &a.write, &a.login} {
		if *h != nil {
			*h = middleware(*h)
		}
	}
	return a
}

// subject is something to measure.
type subject struct {
	name  string
	ours  bool
	build func(variant) (app, error) // an app whose handlers are all nil: not for this variant
}

func answer(w http.ResponseWriter) { _, _ = io.WriteString(w, "ok") }

func bare(w http.ResponseWriter, _ *http.Request) { answer(w) }

// client is a browser with a single cookie. It sends requests to a handler without a network.
type client struct {
	handler http.Handler
	request http.Request
	follow  bool
}

func newClient(h http.Handler) *client {
	r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
	r.Header.Set("User-Agent", "benchmark")
	return &client{handler: h, request: *r, follow: true}
}

// visit makes a request. The request is a fresh copy each time, since some libraries write to it.
func (c *client) visit() *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), c.request
	c.handler.ServeHTTP(w, &r)
	if set := w.Header()["Set-Cookie"]; len(set) > 0 && c.follow {
		c.keep(set[0])
	}
	return w
}

// keep stores a cookie as a browser does, in a header of its own: earlier requests may still hold the old one.
func (c *client) keep(setCookie string) {
	pair, _, _ := strings.Cut(setCookie, ";")
	header := http.Header{"User-Agent": c.request.Header["User-Agent"]}
	header["Cookie"] = []string{pair}
	c.request.Header = header
}

// cookie returns the Cookie header that the client sends.
func (c *client) cookie() string { return c.request.Header.Get("Cookie") }

// visitor returns a client of the app that has a session with the workload's values, and does op.
func (a app) visitor(op operation) *client {
	c := newClient(a.seed)
	if op == opNone {
		c.handler, c.follow = a.handler(op), false
		return c
	}
	if a.seed != nil {
		c.visit()
	}
	c.handler = a.handler(op)
	return c
}
