package session_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// Two processes share a server: the first reads through a near cache, and the second ends sessions.

const staleness = 400 * time.Millisecond // RedisOptions.NearCache.MaxStaleness, where it is to be what bounds a read

// nearWorld is a process with a near cache, on the first node, and one without.
func nearWorld(t *testing.T, cfg session.Config, stale time.Duration) (*world, *redistest.Server) {
	server := redistest.Start(t)
	return nearWorldAt(t, server, server.URL(), cfg, stale), server
}

// nearWorldAt is nearWorld with the near cache's server at an address of its own.
func nearWorldAt(t *testing.T, server *redistest.Server, url string, cfg session.Config, stale time.Duration) *world {
	near, err := session.OpenRedisStore(t.Context(), url, session.RedisOptions{NearCache: session.NearCache{MaxEntries: 100, MaxStaleness: stale}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, near.Close()) })
	return newWorld(t, cfg, near, redisStore(t, server, session.RedisOptions{}))
}

// near tells whether the process with the near cache takes the cookie for ada's. It asks at once, as often as it can.
func (w *world) near(cookie string) bool {
	user := ""
	w.request(0, cookie, act(func(s *session.Session) { user = s.User() }))
	return user == "ada"
}

// cached signs ada in and reads the session until the near cache answers for the server.
func cached(w *world, server *redistest.Server) string {
	cookie := w.login("ada")
	require.Eventually(w.t, func() bool {
		before := hgetalls(server)
		return w.near(cookie) && hgetalls(server) == before
	}, 5*time.Second, time.Millisecond)
	return cookie
}

// hgetalls returns what the server counted of the command that reads a session.
func hgetalls(server *redistest.Server) string {
	_, line, _ := strings.Cut(server.MustDo("INFO", "commandstats"), "cmdstat_hgetall:")
	calls, _, _ := strings.Cut(line, ",")
	return calls
}

// revokers end ada's sessions in the other process.
var revokers = map[string]func(w *world, id string) error{
	"one": func(w *world, id string) error { return w.last().manager.Revoke(context.Background(), "ada", id) },
	"all": func(w *world, _ string) error {
		_, err := w.last().manager.RevokeUser(context.Background(), "ada")
		return err
	},
	"by logout": func(w *world, id string) error {
		return w.last().store.Delete(w.seen.ctx, id, w.clock.Now().Add(time.Hour))
	},
}

// While the connection stands, the server's invalidation is what ends it: long before MaxStaleness.
func TestNearCache_RevokedElsewhere(t *testing.T) {
	for name, revoke := range revokers {
		t.Run(name, func(t *testing.T) {
			w, server := nearWorld(t, session.Config{}, time.Hour)
			cookie := cached(w, server)
			require.NoError(t, revoke(w, w.look(cookie).id))
			require.Eventually(t, func() bool { return !w.near(cookie) }, 2*time.Second, time.Millisecond)
			require.False(t, w.near(cookie), "and it stays that way")
		})
	}
}

// Without the invalidations, because nothing carries them any more, MaxStaleness is what bounds it.
func TestNearCache_RevokedElsewhereUnheard(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server, *redistest.Proxy){
		"the connection is cut":       func(s *redistest.Server, _ *redistest.Proxy) { s.MustDo("CLIENT", "KILL", "TYPE", "normal") },
		"the notice is lost":          func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Unheard) },
		"the connection is dead":      func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Mute) },
		"the server is started again": func(s *redistest.Server, _ *redistest.Proxy) { s.MustDo("SAVE"); s.Restart() },
		"the server is not reached":   func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Refuse) },
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server)
			w := nearWorldAt(t, server, proxy.URL(), session.Config{StoreTimeout: 2 * staleness}, staleness)
			cookie := cached(w, server)
			id := w.look(cookie).id
			lose(server, proxy)
			require.NoError(t, revokers["one"](w, id))
			requireUnreadAfter(t, w, cookie, time.Now())
			proxy.Set(redistest.Pass)
			require.False(t, w.near(cookie), "nor when the server is heard again")
		})
	}
}

// requireUnreadAfter reads all the time, and lets no read that began later than MaxStaleness after the revocation see the
// session. It goes on for three times as long.
func requireUnreadAfter(t *testing.T, w *world, cookie string, revoked time.Time) {
	for {
		began := time.Now()
		open := w.near(cookie)
		since := began.Sub(revoked)
		require.False(t, open && since > staleness, "read %v after the revocation", since)
		if since > 3*staleness {
			return
		}
	}
}

// What was revoked can be read for a moment, and neither changed nor brought back.
func TestNearCache_ARevokedSessionCannotBeChanged(t *testing.T) {
	w, server := nearWorld(t, session.Config{}, time.Hour)
	cookie := cached(w, server)
	id := w.look(cookie).id
	f := w.launch(0, cookie, "handler", act(func(s *session.Session) { s.Set("new", 1) }))
	require.NoError(t, revokers["one"](w, id))
	late := f.land()
	require.Equal(t, http.StatusConflict, late.StatusCode)
	require.Empty(t, late.Cookies())
	require.True(t, w.dead(cookie))
	require.False(t, w.near(cookie), "the process that was told so by its own write does not ask its cache again")
}

// What the process ends by itself is not read from its cache any more, though it never hears that it is invalid.
func TestNearCache_EndedHere(t *testing.T) {
	for name, end := range map[string]func(w *world, cookie string){
		"logout":     func(w *world, cookie string) { w.do(cookie, logout) },
		"regenerate": func(w *world, cookie string) { w.do(cookie, regenerate) },
		"login":      func(w *world, cookie string) { w.do(cookie, login) },
		"revocation": func(w *world, cookie string) {
			require.NoError(w.t, w.nodes[0].manager.Revoke(context.Background(), "ada", w.look(cookie).id))
		},
		"revocation of the user": func(w *world, _ string) {
			_, err := w.nodes[0].manager.RevokeUser(context.Background(), "ada")
			require.NoError(w.t, err)
		},
		"too many logins": func(w *world, _ string) {
			for range 2 {
				w.clock.advance(time.Second)
				w.login("ada")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server)
			w := nearWorldAt(t, server, proxy.URL(), session.Config{MaxPerUser: 2}, time.Hour)
			proxy.Set(redistest.Unheard)
			cookie := cached(w, server)
			end(w, cookie)
			require.False(t, w.near(cookie))
		})
	}
}

// A session that ends because its user signed in too often elsewhere.
func TestNearCache_MaxPerUserElsewhere(t *testing.T) {
	w, server := nearWorld(t, session.Config{MaxPerUser: 2}, time.Hour)
	oldest := cached(w, server)
	for range 2 {
		w.clock.advance(time.Second)
		require.Equal(t, http.StatusOK, w.request(1, "", act(login)).StatusCode)
	}
	require.Eventually(t, func() bool { return !w.near(oldest) }, 2*time.Second, time.Millisecond)
}
