package session_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

// The client resends a write whose reply was lost; it must count once.
func TestGuarantee03_LostReply(t *testing.T) {
	for _, path := range []string{"/count", "/write", "/login", "/regenerate", "/logout"} {
		t.Run(path, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			for _, warm := range []string{"/count", "/login", "/regenerate", "/logout"} { // so that Redis knows the scripts
				s.ask(s.seeded(), warm, 200)
			}
			old := *b
			s.ask(b, "/count", 200)
			connections := s.proxy.Accepted()
			s.proxy.Once(redistest.LoseReply, "evalsha")
			s.ask(b, path, 200)
			require.Greater(t, s.proxy.Accepted(), connections, "a reply was lost, and the connection with it")
			switch path {
			case "/count":
				require.Equal(t, "2", s.value(b, "count"))
			case "/write":
				require.Equal(t, "[count seed written]", s.ask(b, "/read", 200))
			case "/login":
				require.Equal(t, "ada[seed]", s.ask(b, "/read", 200))
				require.Equal(t, "[]", s.ask(&old, "/read", 200))
			case "/regenerate":
				require.Equal(t, "[count seed]", s.ask(b, "/read", 200))
				require.Equal(t, "[]", s.ask(&old, "/read", 200))
				require.NotEqual(t, old.cookie, b.cookie)
			case "/logout":
				require.Equal(t, "[]", s.ask(&old, "/read", 200))
			}
		})
	}
}

// The reply to the creation of a session is lost: one session comes of it, and the browser has its cookie.
func TestGuarantee03_LostReply_NewSession(t *testing.T) {
	s := newFaultSite(t)
	s.seeded()
	before := len(s.stored())
	s.proxy.Once(redistest.LoseReply, "evalsha")
	b := newSurfer(s.h)
	s.ask(b, "/write", 200)
	require.Equal(t, "[written]", s.ask(b, "/read", 200))
	require.Len(t, s.stored(), before+1)
}

// value returns what Redis holds for a key of the browser's session.
func (s *faultSite) value(b *surfer, key string) (value string) {
	s.Helper()
	s.ask(b, "/read", 200)
	value, err := s.admin.HGet(s.Context(), s.key(b), ":"+key).Result()
	require.NoError(s, err)
	return value
}

// key returns the key of the browser's session in Redis.
func (s *faultSite) key(b *surfer) string {
	var id string
	probe := surfer{cookie: b.cookie, h: s.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id = session.FromContext(r.Context()).ID()
	}))}
	probe.serve(httptest.NewRecorder(), fresh("/"))
	return "session:" + id
}

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
	n, err := s.RevokeUser(context.Background(), "ada")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "[]", s.ask(b, "/read", 200))
	s.requireNoLeak()
}

func TestGuarantee02_FlushAll(t *testing.T) {
	s := newFaultSite(t)
	b := s.seeded()
	s.hook = func() { s.command("FLUSHALL") }
	require.Equal(t, 409, b.get("/hooked").Code, "the session that was read is gone, and does not come back")
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
		"a string":       func(s *faultSite, key string) { s.command("DEL", key); s.command("SET", key, "text") },
		"a list":         func(s *faultSite, key string) { s.command("DEL", key); s.command("RPUSH", key, "a", "b") },
		"no id":          func(s *faultSite, key string) { s.command("HDEL", key, "i") },
		"another's id":   func(s *faultSite, key string) { s.command("HSET", key, "i", "somebody") },
		"no limits":      func(s *faultSite, key string) { s.command("HDEL", key, "m") },
		"short limits":   func(s *faultSite, key string) { s.command("HSET", key, "m", "1 2 3") },
		"foreign limits": func(s *faultSite, key string) { s.command("HSET", key, "m", "\x00\xff") },
		"no use":         func(s *faultSite, key string) { s.command("HDEL", key, "t") },
		"foreign use":    func(s *faultSite, key string) { s.command("HSET", key, "t", "yesterday") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			key := s.key(b)
			spoil(s, key)
			before := s.admin.Dump(t.Context(), key).Val()
			require.NotEmpty(t, before)
			require.Equal(t, "[]", s.ask(b, "/read", 200))
			require.Positive(t, s.count(session.EventRejected))
			s.ask(b, "/plain", 200)
			s.ask(b, "/write", 200)
			require.Equal(t, "[written]", s.ask(b, "/read", 200), "under an id of its own")
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
		"update":     {func(s *session.Session) { counter.Update(s, func(n int) int { return n + 1 }) }, 409},
		"regenerate": {regenerate, 409},
		"touch":      {func(s *session.Session) { s.Delete("none") }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			key := s.key(b)
			s.hook = func() { s.command("DEL", key); s.command("SET", key, "text") }
			s.h = s.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				current := session.FromContext(r.Context())
				current.Keys()
				s.hook()
				do.f(current)
				write(w, r)
			}))
			w := (&surfer{h: s.h, cookie: b.cookie}).get("/")
			require.Equal(t, do.status, w.Code)
			require.Empty(t, w.Header().Values("Set-Cookie"))
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
	const index = "session:user:ada"
	before := s.count(session.EventLoggedIn)
	s.command("SET", index, "text")
	s.ask(b, "/login", 503)
	require.Equal(t, "[seed]", s.ask(b, "/read", 200))
	s.ask(other, "/login", 503)
	s.ask(other, "/regenerate", 503)
	require.Equal(t, "ada[seed]", s.ask(other, "/read", 200))
	require.Equal(t, before, s.count(session.EventLoggedIn))
	s.ask(other, "/write", 200) // which does not concern the index
	s.ask(other, "/logout", 200)
	require.Equal(t, "[]", s.ask(other, "/read", 200))
	require.Equal(t, "text", s.admin.Get(t.Context(), index).Val())
	s.command("DEL", index)
	s.ask(b, "/login", 200)
	require.Equal(t, "ada[seed]", s.ask(b, "/read", 200))
}

// Login starts a session whatever has come into the place of the old one, in one slot and in several.
func TestGuarantee04_LoginOverAForeignRecord(t *testing.T) {
	server := redistest.Start(t)
	client := redisClient(t, server)
	for name, store := range map[string]session.Store{
		"one slot":      session.NewRedisStore(client, session.RedisOptions{}),
		"several slots": session.NewRedisStore(across{client}, session.RedisOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, session.Config{}, store)
			old := w.login("ada")
			key := "session:" + w.look(old).id
			f := w.launch(0, old, "save", act(func(s *session.Session) { _ = s.Login("grace", "cart") }))
			require.NoError(t, client.Del(t.Context(), key).Err())
			require.NoError(t, client.Set(t.Context(), key, "text", 0).Err())
			b := browser{w.name, old}
			resp := f.land()
			require.Equal(t, http.StatusOK, resp.StatusCode)
			b.receive(resp)
			require.Equal(t, look{w.look(b.cookie).id, "grace", nil}, w.look(b.cookie))
			require.Equal(t, "text", client.Get(t.Context(), key).Val())
		})
	}
}

// A field that can't be read costs itself only.
func TestGuarantee12_ForeignFields(t *testing.T) {
	s := newFaultSite(t)
	b := s.seeded()
	key := s.key(b)
	s.command("HSET", key, ":cut", `{"a":`, ":foreign", "\x00\xff", "zz", "not ours", ":", "1", "!x", "no flash", "!", "")
	s.hook = func() {}
	s.ask(b, "/hooked", 200)
	var read []string
	probe := &surfer{cookie: b.cookie, h: s.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		current := session.FromContext(r.Context())
		for _, key := range []string{"seed", "hooked", "cut", "foreign"} {
			var n any
			read = append(read, fmt.Sprint(current.Get(key, &n)))
		}
		require.Empty(t, current.Flashes())
		require.Error(t, current.Err())
	}))}
	require.Equal(t, 200, probe.get("/").Code)
	require.Equal(t, []string{"true", "true", "false", "false"}, read)
	fields := s.admin.HGetAll(t.Context(), key).Val()
	require.Equal(t, "not ours", fields["zz"])
	require.Equal(t, `{"a":`, fields[":cut"])
}
