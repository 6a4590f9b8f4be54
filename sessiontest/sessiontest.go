// Package sessiontest tests what uses sessions. It comes in two parts.
//
// A handler by itself: [NewRequest] makes a request that carries a session as the test wants it, and returns the
// session too, in which the test reads what the handler left. There is no server, cookie or store.
//
//	r, s := sessiontest.NewRequest("POST", "/logout", nil, sessiontest.Seed{User: "ada"})
//	logout(httptest.NewRecorder(), r)
//	sessiontest.Anonymous(t, s)
//
// A handler behind its middleware: [NewJar] is a cookie jar that works with httptest.Server, [Jar.Serve] does without a
// server, and [Transaction] opens the session whose cookie a jar or a recorder holds, for the test to read and change.
// [Store] is a store with faults on demand, and [Clock] a clock to move.
//
// It needs the standard library only, and any testing.TB.
package sessiontest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/doorman-go/session"
)

// Values are a session's values by key. They are encoded as JSON, as Session.Set does, without a look at their size.
type Values map[string]any

// Seed is a session as it is when the request comes in. The zero Seed is a visitor without one.
type Seed struct {
	User    string // logged in, if not empty
	Values  Values
	Flashes []session.Flash

	Authenticated time.Time // the login; zero for a minute ago, if there is a user
}

// Session is the session of a handler under test: what is set in it is what the handler left there.
type Session struct {
	*session.Session
	before string // the ID
}

// NewRequest returns a request with a session like seed in its context, and that session. It panics if a value can't be
// encoded, as httptest.NewRequest does on a bad target.
func NewRequest(method, target string, body io.Reader, seed Seed) (*http.Request, *Session) {
	r := httptest.NewRequest(method, target, body)
	ctx, s := Context(r.Context(), seed)
	return r.WithContext(ctx), s
}

// Context is NewRequest for what takes a context.
func Context(ctx context.Context, seed Seed) (context.Context, *Session) {
	s := &Session{Session: seed.session()}
	s.before = s.ID()
	return session.NewContext(ctx, s.Session), s
}

// session returns a Session that nobody keeps, as if loaded.
func (seed Seed) session() *session.Session {
	if seed.User == "" && len(seed.Values)+len(seed.Flashes) == 0 {
		return &session.Session{}
	}
	now := time.Now()
	began := now.Add(-time.Minute)
	r := &session.Record{
		ID: "sessiontest-" + rand.Text()[:20], User: seed.User, CreatedAt: began, IssuedAt: began, LastUsedAt: began,
		IdleTimeout: time.Hour, Deadline: began.Add(24 * time.Hour), Values: seed.values(),
	}
	if seed.User != "" {
		r.AuthenticatedAt = began
		if !seed.Authenticated.IsZero() {
			r.CreatedAt, r.AuthenticatedAt = seed.Authenticated, seed.Authenticated
		}
	}
	for i, flash := range seed.Flashes {
		r.Flashes = append(r.Flashes, session.StoredFlash{ID: strconv.Itoa(i), Category: flash.Category, Message: flash.Message})
	}
	return session.Detached(r)
}

func (seed Seed) values() session.Values {
	values := make(map[string]json.RawMessage)
	for key, value := range seed.Values {
		values[key] = encode(key, value)
	}
	return session.NewValues(values)
}

func encode(key string, value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("sessiontest: the value of key %q: %v", key, err))
	}
	return raw
}

// Regenerated reports whether the session goes on under a new ID.
func (s *Session) Regenerated() bool { return s.before != "" && !s.IsNew() && s.ID() != s.before }

// LoggedIn reports whether the handler logged a user in, as against finding one logged in.
func (s *Session) LoggedIn() bool { return s.IsNew() && s.User() != "" }

// Destroyed reports whether the handler logged out. It may have set values since, which begin a new session.
func (s *Session) Destroyed() bool { return s.before != "" && s.IsNew() && s.User() == "" }
