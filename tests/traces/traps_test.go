package traces_test

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// A touch that is due and comes late must not cut short what another request's SetLifetime has just lengthened.
func TestTrap_ADueTouchDoesNotCutALifetimeShort(t *testing.T) {
	for _, stop := range []string{"handler", "swap"} {
		t.Run(stop, func(t *testing.T) {
			each(t, withRedis(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
				cookie := app.Login("ada")
				app.Clock.Advance(30 * time.Minute)
				touch := app.Launch(0, cookie, stop, kit.Act(func(s *session.Session) { s.User() }))
				resp := app.Request(1, cookie, kit.Act(func(s *session.Session) { s.SetLifetime(20*time.Hour, 2*kit.Day) }))
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, http.StatusOK, touch.Land().StatusCode)
				require.Equal(t, app.Clock.Now().Add(20*time.Hour).UTC(), app.Listed("ada")[0].ExpiresAt)
				app.Clock.Advance(19 * time.Hour)
				require.Equal(t, "ada", app.User(cookie))
			})
		})
	}
}

// Nor must it take back the time to live of the key, or that of the user's list: where these are written apart the list
// comes first.
func TestTrap_ADueTouchDoesNotCutTheTimeToLiveShort(t *testing.T) {
	client := kit.RedisClient(t, redistest.Start(t))
	for name, universal := range map[string]redis.UniversalClient{"one server": client, "several slots": kit.Across{UniversalClient: client}} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			require.NoError(t, client.FlushAll(ctx).Err())
			store := kit.RedisOn(t, universal, session.RedisOptions{})
			app := kit.New(t, session.Config{}, store, store)
			cookie := app.Login("ada")
			id := app.Look(cookie).ID
			app.Clock.Advance(30 * time.Minute)
			touch := app.Launch(0, cookie, "swap", kit.Act(func(s *session.Session) { s.User() }))
			app.Request(1, cookie, kit.Act(func(s *session.Session) { s.SetLifetime(20*time.Hour, 2*kit.Day) }))
			require.Equal(t, http.StatusOK, touch.Land().StatusCode)

			lists := client.Keys(ctx, "session:user:*").Val()
			require.Len(t, lists, 1)
			until := time.UnixMilli(int64(client.ZScore(ctx, lists[0], id).Val()))
			require.Greater(t, time.Until(until), 19*time.Hour)
			require.Greater(t, client.PTTL(ctx, lists[0]).Val(), 19*time.Hour)
			require.Greater(t, client.PTTL(ctx, "session:"+id).Val(), 19*time.Hour)
		})
	}
}

// Limits go by the caller's clock, wherever it stands, and not only by the time to live in Redis.
func TestTrap_LimitsGoByTheCallersClock(t *testing.T) {
	for _, year := range []int{1999, 2026, 2150} {
		t.Run(strconv.Itoa(year), func(t *testing.T) {
			each(t, withSealed(), session.Config{Lifetime: 3 * time.Hour}, func(t *testing.T, app *kit.App, b backing) {
				app.Clock.Set(time.Date(year, 1, 1, 12, 0, 0, 0, time.UTC))
				keeper, idler := app.BrowserWith(app.Login("ada")), app.Login("ada")
				for range 5 {
					app.Clock.Advance(30 * time.Minute)
					keeper.Receive(app.Do(keeper.Cookie, kit.CountUp))
					require.Equal(t, "ada", app.User(keeper.Cookie))
				}
				require.True(t, app.Dead(idler), "its idle limit is over")
				if b.name != "sealed with a list" {
					require.Len(t, app.Listed("ada"), 1)
				}
				app.Clock.Advance(30*time.Minute + time.Second)
				require.True(t, app.Dead(keeper.Cookie), "its absolute limit is over")
				expired := false
				app.Do(keeper.Cookie, func(s *session.Session) { expired = s.Expired() })
				require.True(t, expired)
			})
		})
	}
}

var stat = regexp.MustCompile(`(cmdstat|errorstat)_(\w+):(?:calls|count)=(\d+)`)

// scriptCalls returns how often scripts were called by their text, by their hash, and by a hash that the server did not
// know.
func scriptCalls(server *redistest.Server) (eval, evalsha, unknown int) {
	counts := map[string]int{}
	for _, part := range []string{"commandstats", "errorstats"} {
		for _, m := range stat.FindAllStringSubmatch(server.MustDo("INFO", part), -1) {
			counts[m[2]], _ = strconv.Atoi(m[3])
		}
	}
	return counts["eval"], counts["evalsha"], counts["NOSCRIPT"]
}

// useAllScripts makes requests that change, list and end sessions.
func useAllScripts(t *testing.T, app *kit.App) {
	b := app.BrowserWith(app.Login("ada"))
	for _, do := range []func(*session.Session){kit.CountUp, kit.Regenerate, kit.LoginAda, kit.CountUp, kit.Logout} {
		resp := app.Do(b.Cookie, do)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		b.Receive(resp)
	}
	app.Login("ada")
	require.Len(t, app.Listed("ada"), 1)
	require.Equal(t, 1, app.RevokeUser("ada"))
}

// The first use of a script costs no round trip for NOSCRIPT: OpenRedisStore loads them.
func TestTrap_OpenRedisStoreLoadsTheScripts(t *testing.T) {
	server := redistest.Start(t)
	app := kit.New(t, session.Config{}, kit.OpenRedis(t, server, session.RedisOptions{}))
	server.MustDo("CONFIG", "RESETSTAT")
	useAllScripts(t, app)
	eval, evalsha, unknown := scriptCalls(server)
	require.Zero(t, eval)
	require.Greater(t, evalsha, 8)
	require.Zero(t, unknown)
}

// With NewRedisStore the first use sends the text, and each later one the hash.
func TestTrap_NewRedisStoreSendsEachScriptOnce(t *testing.T) {
	for name, across := range map[string]bool{"one server": false, "several slots": true} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			var client redis.UniversalClient = kit.RedisClient(t, server)
			if across {
				client = kit.Across{UniversalClient: client}
			}
			app := kit.New(t, session.Config{}, kit.RedisOn(t, client, session.RedisOptions{}))
			useAllScripts(t, app)
			first, _, unknown := scriptCalls(server)
			require.Positive(t, first)
			require.LessOrEqual(t, first, 5)
			require.Zero(t, unknown)
			useAllScripts(t, app)
			eval, evalsha, unknown := scriptCalls(server)
			require.Equal(t, first, eval)
			require.Greater(t, evalsha, 8)
			require.Zero(t, unknown)
		})
	}
}
