package faults_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee06_ScriptFlush(t *testing.T) {
	s := newFaultSite(t)
	b, leaver := s.seeded(), s.seeded()
	for _, path := range []string{"/count", "/write", "/login"} {
		s.command("SCRIPT", "FLUSH")
		s.ask(b, path, 200)
	}
	require.Equal(t, "ada[seed]", s.ask(b, "/read", 200))
	s.command("SCRIPT", "FLUSH")
	s.ask(leaver, "/logout", 200)
	s.hook = func() { s.command("SCRIPT", "FLUSH") }
	s.ask(b, "/hooked", 200)
	s.command("SCRIPT", "FLUSH")
	require.Equal(t, 1, s.app.RevokeUser("ada"))
	require.Equal(t, "[]", s.ask(b, "/read", 200))
	s.requireNoLeak()
}

func TestGuarantee02_FlushAll(t *testing.T) {
	s := newFaultSite(t)
	b := s.seeded()
	s.hook = func() { s.command("FLUSHALL") }
	require.Equal(t, 409, b.Get("/hooked").Code, "the session that was read is gone, and does not come back")
	require.Empty(t, s.stored())
	s.ask(b, "/plain", 200)
	require.Equal(t, "[]", s.ask(b, "/read", 200))
	s.ask(b, "/write", 200)
	require.Equal(t, "[written]", s.ask(b, "/read", 200))
	s.requireNoLeak()
}

// What stands in a session's place without being one opens nothing, and is left alone.
func TestGuarantee06_ForeignRecords(t *testing.T) {
	for name, spoil := range map[string]func(s *faultSite, key string){
		"a string":  func(s *faultSite, key string) { s.command("SET", key, "text") },
		"nothing":   func(s *faultSite, key string) { s.command("SET", key, "") },
		"a list":    func(s *faultSite, key string) { s.command("DEL", key); s.command("RPUSH", key, "a", "b") },
		"a hash":    func(s *faultSite, key string) { s.command("DEL", key); s.command("HSET", key, "i", "x") },
		"cut short": func(s *faultSite, key string) { s.set(key, s.get(key)[:60]) },
		"overwritten": func(s *faultSite, key string) {
			whole := s.get(key)
			s.set(key, whole[:40]+strings.Repeat("\xff", len(whole)-40))
		},
		"another's": func(s *faultSite, key string) { s.set(key, s.get(s.key(s.seeded()))) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			key := s.key(b)
			spoil(s, key)
			before := s.admin.Dump(t.Context(), key).Val()
			require.NotEmpty(t, before)
			require.Equal(t, "[]", s.ask(b, "/read", 200))
			require.Positive(t, s.app.Count(session.EventRejected))
			s.ask(b, "/plain", 200)
			s.ask(b, "/write", 200)
			require.Equal(t, "[written]", s.ask(b, "/read", 200), "under an ID of its own")
			require.Equal(t, before, s.admin.Dump(t.Context(), key).Val())
			s.requireNoLeak()
		})
	}
}

// The same between the load and the commit: the session is over, and the foreign thing is left alone.
func TestGuarantee06_ForeignRecordsBeforeTheCommit(t *testing.T) {
	for name, do := range map[string]struct {
		f      func(*session.Session)
		status int
	}{
		"read":       {func(*session.Session) {}, 200},
		"write":      {func(s *session.Session) { s.Set("new", 1) }, 409},
		"update":     {kit.CountUp, 409},
		"regenerate": {kit.Regenerate, 409},
		"touch":      {func(s *session.Session) { s.Delete("none") }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			key := s.key(b)
			s.hook = func() { s.command("DEL", key); s.command("SET", key, "text") }
			resp := b.Do(func(current *session.Session) {
				current.Keys()
				s.hook()
				do.f(current)
			})
			require.Equal(t, do.status, resp.StatusCode)
			require.Empty(t, resp.Cookies())
			require.Equal(t, "text", s.admin.Get(t.Context(), key).Val())
		})
	}
}

// What stands in the place of a user's index is no session's fault. A login that can't be listed is told to try again,
// with nothing done by halves, and a logout is done.
func TestGuarantee06_ForeignIndex(t *testing.T) {
	s := newFaultSite(t)
	b, other := s.seeded(), s.seeded()
	s.ask(other, "/login", 200)
	indexes := s.admin.Keys(t.Context(), "session:user:*").Val()
	require.Len(t, indexes, 1)
	index := indexes[0]
	before := s.app.Count(session.EventLoggedIn)
	s.command("SET", index, "text")
	s.ask(b, "/login", 503)
	require.Equal(t, "[seed]", s.ask(b, "/read", 200))
	s.ask(other, "/login", 503)
	s.ask(other, "/regenerate", 503)
	require.Equal(t, "ada[seed]", s.ask(other, "/read", 200))
	require.Equal(t, before, s.app.Count(session.EventLoggedIn))
	s.ask(other, "/write", 200) // which does not concern the index
	s.ask(other, "/logout", 200)
	require.Equal(t, "[]", s.ask(other, "/read", 200))
	require.Equal(t, "text", s.admin.Get(t.Context(), index).Val())
	s.command("DEL", index)
	s.ask(b, "/login", 200)
	require.Equal(t, "ada[seed]", s.ask(b, "/read", 200))
}

// A value that can't be read costs itself only, and is left alone.
func TestGuarantee12_ForeignFields(t *testing.T) {
	s := newFaultSite(t)
	b := s.seeded()
	s.app.Rewrite(b.Cookie, func(r *session.Record) {
		r.Values = session.NewValues(map[string]json.RawMessage{"seed": []byte("1"), "cut": []byte(`{"a":`)})
	})
	s.hook = func() {}
	s.ask(b, "/hooked", 200)
	b.Must(func(current *session.Session) {
		var read []bool
		for _, key := range []string{"seed", "hooked", "cut"} {
			read = append(read, current.Get(key, new(any)))
		}
		require.Equal(t, []bool{true, true, false}, read)
		require.Error(t, current.Err())
	})
	r, err := s.store.Load(s.app.Context(), session.NewToken(b.View().ID, ""))
	require.NoError(t, err)
	require.Equal(t, `{"a":`, string(r.Values.Get("cut")))
}

// get and set go round the store.
func (s *faultSite) get(key string) string { return s.admin.Get(s.Context(), key).Val() }

func (s *faultSite) set(key, value string) {
	s.Helper()
	require.NoError(s, s.admin.Set(s.Context(), key, value, time.Hour).Err())
}
