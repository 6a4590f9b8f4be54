// Package sessiontest helps to test code that uses sessions. It has two parts.
//
// To test a handler by itself, [NewRequest] makes a request with a session, and returns both. After the handler has run, the
// test looks at the session. There is no server, cookie or store.
//
//	r, s := sessiontest.NewRequest("POST", "/logout", nil, sessiontest.Seed{User: "ada"})
//	logout(httptest.NewRecorder(), r)
//	sessiontest.Anonymous(t, s)
//
// To test a handler with its middleware, [NewJar] makes a cookie jar that works with httptest.Server. [Jar.Serve] works without
// a server. [Transaction] opens the session whose cookie is in a jar or a recorder, so that the test can read and change it.
// [Store] is a store that fails on demand, and [Clock] is a clock that the test moves.
//
// It needs only the standard library, and any testing.TB.
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

// Values are a session's values by key. They are encoded as JSON, as by Session.Set. Their size is not checked.
type Values map[string]any

// Seed describes the session at the start of the request. The zero Seed is a visitor without a session.
type Seed struct {
	User    string // logged in, if not empty
	Values  Values
	Flashes []session.Flash

	Authenticated time.Time // the login; zero for a minute ago, if there is a user
}

// Session is the session of a handler under test. The test reads from it what the handler has set.
type Session struct {
	*session.Session
	before string // the ID
}

// NewRequest returns a request whose context has a session like seed, and that session. It panics if a value can't be
// encoded, as httptest.NewRequest does for a bad target.
func NewRequest(method, target string, body io.Reader, seed Seed) (*http.Request, *Session) {
	r := httptest.NewRequest(method, target, body)
	ctx, s := Context(r.Context(), seed)
	return r.WithContext(ctx), s
}

// Context does what NewRequest does, for code that takes a context.
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

// Regenerated reports whether the session got a new ID.
func (s *Session) Regenerated() bool { return s.before != "" && !s.IsNew() && s.ID() != s.before }

// LoggedIn reports whether the handler signed a user in. It is false for a user who was signed in before.
func (s *Session) LoggedIn() bool { return s.IsNew() && s.User() != "" }

// Destroyed reports whether the handler signed out. It may have set values afterwards, which start a new session.
func (s *Session) Destroyed() bool { return s.before != "" && s.IsNew() && s.User() == "" }
