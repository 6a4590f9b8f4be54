package stores_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

const staleness = 400 * time.Millisecond // RedisOptions.NearCache.MaxStaleness, where it is to be what bounds a read

// nearApp is a process with a near cache, on the first node, and one without.
func nearApp(t *testing.T, cfg session.Config, stale time.Duration) (*kit.App, *redistest.Server) {
	server := redistest.Start(t)
	return nearAppAt(t, server, server.URL(), cfg, stale), server
}

// nearAppAt is nearApp with the near cache's server at an address of its own.
func nearAppAt(t *testing.T, server *redistest.Server, url string, cfg session.Config, stale time.Duration) *kit.App {
	cache := session.NearCache{MaxEntries: 100, MaxStaleness: stale}
	return kit.New(t, cfg, kit.OpenRedisAt(t, url, session.RedisOptions{NearCache: cache}), kit.OpenRedis(t, server, session.RedisOptions{}))
}

// near reports whether the process with the near cache takes the cookie for ada's. It asks at once, as often as it can.
func near(app *kit.App, cookie string) bool {
	user := ""
	app.Request(0, cookie, kit.Act(func(s *session.Session) { user = s.User() }))
	return user == "ada"
}

// cached signs ada in and reads the session until the near cache answers for the server.
func cached(app *kit.App, server *redistest.Server) string {
	cookie := app.Login("ada")
	require.Eventually(app.T, func() bool {
		before := gets(server)
		return near(app, cookie) && gets(server) == before
	}, 5*time.Second, time.Millisecond)
	return cookie
}

// gets returns what the server counted of the command that reads a session.
func gets(server *redistest.Server) string {
	_, line, _ := strings.Cut(server.MustDo("INFO", "commandstats"), "cmdstat_get:")
	calls, _, _ := strings.Cut(line, ",")
	return calls
}

// revokers end ada's sessions in the other process.
var revokers = map[string]func(app *kit.App, id string) error{
	"one": func(app *kit.App, id string) error { return app.Last().Manager.Revoke(context.Background(), "ada", id) },
	"all": func(app *kit.App, _ string) error {
		_, err := app.Last().Manager.RevokeUser(context.Background(), "ada")
		return err
	},
	"by logout": func(app *kit.App, id string) error {
		_, err := app.Last().Store.Inner().(session.Ender).End(app.Context(), app.Tombstone(id, "ada"))
		return err
	},
}

// While the connection stands, the server's invalidation is what ends it: long before MaxStaleness.
func TestNearCache_RevokedElsewhere(t *testing.T) {
	for name, revoke := range revokers {
		t.Run(name, func(t *testing.T) {
			app, server := nearApp(t, session.Config{}, time.Hour)
			cookie := cached(app, server)
			require.NoError(t, revoke(app, app.Look(cookie).ID))
			require.Eventually(t, func() bool { return !near(app, cookie) }, 2*time.Second, time.Millisecond)
			require.False(t, near(app, cookie), "and it stays that way")
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
			app := nearAppAt(t, server, proxy.URL(), session.Config{StoreTimeout: 2 * staleness}, staleness)
			cookie := cached(app, server)
			id := app.Look(cookie).ID
			lose(server, proxy)
			require.NoError(t, revokers["one"](app, id))
			requireUnreadAfter(t, app, cookie, time.Now())
			proxy.Set(redistest.Pass)
			require.False(t, near(app, cookie), "nor when the server is heard again")
		})
	}
}

// requireUnreadAfter reads all the time, and lets no read that began later than MaxStaleness after the revocation see the
// session. It goes on for three times as long.
func requireUnreadAfter(t *testing.T, app *kit.App, cookie string, revoked time.Time) {
	for {
		began := time.Now()
		open := near(app, cookie)
		since := began.Sub(revoked)
		require.False(t, open && since > staleness, "read %v after the revocation", since)
		if since > 3*staleness {
			return
		}
	}
}

// What was revoked can be read for a moment, and neither changed nor brought back.
func TestNearCache_ARevokedSessionCannotBeChanged(t *testing.T) {
	app, server := nearApp(t, session.Config{}, time.Hour)
	cookie := cached(app, server)
	id := app.Look(cookie).ID
	f := app.Launch(0, cookie, "handler", kit.Act(func(s *session.Session) { s.Set("new", 1) }))
	require.NoError(t, revokers["one"](app, id))
	late := f.Land()
	require.Equal(t, http.StatusConflict, late.StatusCode)
	require.Empty(t, late.Cookies())
	require.True(t, app.Dead(cookie))
	require.False(t, near(app, cookie), "the process that was told so by its own write does not ask its cache again")
}

// What the process ends by itself is not read from its cache any more, though it never hears that it is invalid.
func TestNearCache_EndedHere(t *testing.T) {
	for name, end := range map[string]func(app *kit.App, cookie string){
		"logout":     func(app *kit.App, cookie string) { app.Do(cookie, kit.Logout) },
		"regenerate": func(app *kit.App, cookie string) { app.Do(cookie, kit.Regenerate) },
		"login":      func(app *kit.App, cookie string) { app.Do(cookie, kit.LoginAda) },
		"revocation": func(app *kit.App, cookie string) {
			require.NoError(app.T, app.Manager().Revoke(context.Background(), "ada", app.Look(cookie).ID))
		},
		"revocation of the user": func(app *kit.App, _ string) {
			_, err := app.Manager().RevokeUser(context.Background(), "ada")
			require.NoError(app.T, err)
		},
		"too many logins": func(app *kit.App, _ string) {
			for range 2 {
				app.Clock.Advance(time.Second)
				app.Login("ada")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server)
			app := nearAppAt(t, server, proxy.URL(), session.Config{MaxPerUser: 2}, time.Hour)
			proxy.Set(redistest.Unheard)
			cookie := cached(app, server)
			end(app, cookie)
			require.False(t, near(app, cookie))
		})
	}
}

// A session that ends because its user signed in too often elsewhere.
func TestNearCache_MaxPerUserElsewhere(t *testing.T) {
	app, server := nearApp(t, session.Config{MaxPerUser: 2}, time.Hour)
	oldest := cached(app, server)
	for range 2 {
		app.Clock.Advance(time.Second)
		require.Equal(t, http.StatusOK, app.Request(1, "", kit.Act(kit.LoginAda)).StatusCode)
	}
	require.Eventually(t, func() bool { return !near(app, oldest) }, 2*time.Second, time.Millisecond)
}

// Save asks the server, whatever the cache holds: a stream learns of an end that this process has not heard of.
func TestNearCache_SaveGoesPastIt(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	app := nearAppAt(t, server, proxy.URL(), session.Config{}, time.Hour)
	cookie := cached(app, server)
	id := app.Look(cookie).ID
	proxy.Set(redistest.Unheard)
	require.NoError(t, revokers["one"](app, id))
	app.Request(0, cookie, kit.Act(func(s *session.Session) {
		require.Equal(t, "ada", s.User(), "the cache has it still")
		require.ErrorIs(t, s.Save(t.Context()), session.ErrSessionEnded)
	}))
}
