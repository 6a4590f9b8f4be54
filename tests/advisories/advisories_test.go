// Package advisories_test has what went wrong in other session libraries, and does not here.
package advisories_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// rack-session CVE-2025-46336, rack CVE-2025-32441, boj/redistore#2, expressjs/session#632, django#21608: a save after a
// concurrent delete brought the session back. TestGuarantee02_NoResurrection has all ends and all kinds of requests.
func TestAdvisory_SaveAfterConcurrentDelete(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		for _, end := range []func(*session.Session){kit.Logout, kit.Regenerate} {
			for _, save := range []func(*session.Session){func(s *session.Session) { s.Set("new", 1) }, func(*session.Session) {}} {
				cookie := app.Login("ada")
				app.Clock.Advance(10 * time.Minute) // so that the second one touches
				before := len(app.Live())
				f := app.Launch(0, cookie, "swap", kit.Act(save))
				kept := app.BrowserWith(cookie)
				kept.Receive(app.Request(len(app.Nodes)-1, cookie, kit.Act(end)))
				require.Empty(app.T, f.Land().Cookies())
				require.True(app.T, app.Dead(cookie))
				if kept.Cookie == "" {
					require.Len(app.T, app.Live(), before-1)
				}
			}
		}
	})
}

// Fiber CVE-2024-38513, aiohttp-session PYSEC-2018-80, Pow CVE-2020-5205: the client's ID was adopted.
func TestAdvisory_ClientsIDAdopted(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		for _, foreign := range append(kit.ForeignCookies(app), "", " ", "../../etc/passwd", strings.Repeat("A", 47), "user:ada") {
			before := len(app.Live())
			require.Empty(app.T, app.Look(foreign).ID)
			require.Len(app.T, app.Live(), before, "a request with %q stores nothing", foreign)
			for _, do := range []func(*session.Session){func(s *session.Session) { s.Set("cart", "tea") }, kit.LoginAda} {
				b := app.BrowserWith(foreign)
				b.Receive(app.Do(foreign, do))
				require.NotEqual(app.T, foreign, b.Cookie)
				require.NotEmpty(app.T, app.Look(b.Cookie).ID)
				require.Empty(app.T, app.Look(foreign).ID)
			}
		}
	})
}

// Passport CVE-2022-25896, Symfony CVE-2023-46733: no new ID at login, or the old one kept working.
func TestAdvisory_NoProperRegenerate(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		for _, do := range []func(*session.Session){kit.Regenerate, kit.LoginAda} {
			old := app.Start()
			before := app.Look(old).ID
			var during string
			b := app.BrowserWith(old)
			b.Receive(app.Do(old, func(s *session.Session) { do(s); during = s.ID() }))
			require.True(app.T, app.Dead(old))
			require.NotEqual(app.T, old, b.Cookie)
			require.NotEqual(app.T, before, during)
			require.Equal(app.T, during, app.Look(b.Cookie).ID)
		}
	})
}

// Symfony CVE-2022-24895, Devise: what was there before the login survived it.
func TestAdvisory_PreLoginDataSurvives(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := app.Browser()
		b.Receive(app.Do("", func(s *session.Session) {
			s.Set("csrf", "attacker's")
			s.Set("cart", "tea")
			s.Flash("info", "attacker's")
			s.SetNote("attacker's")
		}))
		for _, user := range []string{"ada", "grace"} { // signing in, and switching users
			b.Receive(app.Do(b.Cookie, func(s *session.Session) { require.NoError(app.T, s.Login(user, "cart")) }))
			require.Equal(app.T, kit.Look{ID: app.Look(b.Cookie).ID, User: user, Keys: []string{"cart"}}, app.Look(b.Cookie))
			app.Do(b.Cookie, func(s *session.Session) { require.Empty(app.T, s.Flashes()) })
			for _, r := range app.Live() {
				require.Empty(app.T, r.Note)
			}
		}
		b.Receive(app.Do(b.Cookie, func(s *session.Session) { require.NoError(app.T, s.Login("ada")) }))
		require.Empty(app.T, app.Look(b.Cookie).Keys)
	})
}

// @fastify/secure-session CVE-2024-31999, gorilla/sessions#282: a destroyed cookie could be sent again.
func TestAdvisory_DestroyedCookieReplayed(t *testing.T) {
	app := kit.New(t, session.Config{}, kit.SealedWithList(t))
	cookie := app.Login("ada")
	app.Do(cookie, kit.Logout)
	require.True(t, app.Dead(cookie))
	app.Clock.Advance(30 * time.Minute)
	require.True(t, app.Dead(cookie), "for good, not for a tombstone's minute only")
	require.Equal(t, http.StatusOK, app.Do(cookie, func(s *session.Session) { s.Set("new", 1) }).StatusCode)
	require.Empty(t, app.User(cookie))

	without, err := session.NewCookieStore(kit.SecretOne)
	require.NoError(t, err)
	app = kit.New(t, session.Config{IdleTimeout: -1}, without)
	cookie = app.Login("ada")
	app.Do(cookie, kit.Logout)
	require.False(t, app.Dead(cookie), "documented: without a list, a copy works")
	app.Clock.Advance(24 * time.Hour)
	require.True(t, app.Dead(cookie), "until the deadline inside it")
}

// @fastify/session CVE-2024-35220, aiohttp-session PYSEC-2018-35: the expiry was not enforced, or moved with each use.
func TestAdvisory_ExpiryNotEnforced(t *testing.T) {
	for name, again := range map[string]func(*session.Session){"touch": func(*session.Session) {}, "write": func(s *session.Session) { s.Set("n", 1) }, "regenerate": kit.Regenerate} {
		kit.EachStore(t, session.Config{IdleTimeout: time.Hour, Lifetime: 8 * time.Hour}, func(app *kit.App) {
			b := app.BrowserWith(app.Login("ada"))
			created := app.Clock.Now()
			uses := 0
			for ; app.User(b.Cookie) != "" && uses < 100; uses++ {
				app.Clock.Advance(10 * time.Minute)
				b.Receive(app.Do(b.Cookie, func(s *session.Session) {
					if s.User() == "" {
						return
					}
					require.True(app.T, s.CreatedAt().Equal(created))
					require.False(app.T, s.ExpiresAt().After(created.Add(8*time.Hour)))
					again(s)
				}))
			}
			require.Equal(app.T, 6*8, uses, "%s: used all the time, it ends at its absolute limit", name)
			idle := app.Login("ada")
			app.Clock.Advance(time.Hour)
			require.True(app.T, app.Dead(idle))
		})
	}
}

// Flask CVE-2025-47278: signed with a stale fallback key. TestGuarantee13_Secrets_Rotation has the stores; here the keys
// come in as a program gets them.
func TestAdvisory_StaleKeySigns(t *testing.T) {
	open := func(env string) *kit.App {
		t.Setenv("SESSION_SECRETS", env)
		secrets, err := session.SecretsFromEnv("SESSION_SECRETS")
		require.NoError(t, err)
		store, err := session.NewCookieStore(secrets...)
		require.NoError(t, err)
		return kit.New(t, session.Config{}, store)
	}
	older, newer := string(kit.SecretOne), string(kit.SecretTwo)
	before, during, after := open(older), open(newer+","+older), open(newer)
	require.Equal(t, "ada", during.User(before.Login("ada")))
	require.Equal(t, "ada", after.User(during.Login("ada")), "sealed with the first")
	require.True(t, after.Dead(before.Login("ada")), "a dropped key opens nothing")
	require.True(t, before.Dead(during.Login("ada")))
}

// Flask CVE-2023-30861, CVE-2026-27205, Hono CVE-2026-24472: Vary was missing on some paths.
func TestAdvisory_VaryMissing(t *testing.T) {
	for name, use := range accessors() {
		kit.EachStore(t, session.Config{}, func(app *kit.App) {
			for _, cookie := range []string{"", app.Login("ada"), "bad"} {
				resp := app.Request(0, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { use(s) })
				require.Equal(app.T, []string{"Cookie"}, resp.Header["Vary"], name)
				require.Equal(app.T, len(resp.Cookies()) > 0, resp.Header.Get("Cache-Control") == "no-store", name)
			}
		})
	}
	app := kit.New(t, session.Config{}, kit.SealedWithList(t)) // a response that only seals the cookie again
	cookie := app.Login("ada")
	app.Clock.Advance(10 * time.Minute)
	resp := app.Do(cookie, func(*session.Session) {})
	require.Len(t, resp.Cookies(), 1)
	require.Equal(t, "Cookie", resp.Header.Get("Vary"))
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))

	resp = app.Request(0, cookie, func(http.ResponseWriter, *http.Request, *session.Session) {})
	require.NotContains(t, resp.Header, "Vary", "a response that has nothing to do with the session")
}

// rack CVE-2019-16782, activerecord CVE-2019-25025: the raw ID was the key of the look-up, and could be timed. The store
// is asked for the hash; TestGuarantee14_AtRest_RedisHoldsNoToken scans Redis for the raw token.
func TestAdvisory_RawIDIsTheKey(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	for id := range app.Live() {
		require.NotContains(t, cookie, id)
		require.NotContains(t, id, cookie[:8])
		require.Equal(t, app.Look(cookie).ID, id)
		require.True(t, app.Dead(id), "the ID opens nothing")
	}
}

// FrankenPHP CVE-2026-24894: state leaked from one request to the next.
func TestAdvisory_StateLeaksBetweenRequests(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		users := []string{"ada", "grace", ""}
		cookies := []string{app.Login("ada"), app.Login("grace"), ""}
		var all sync.WaitGroup
		for i := range 90 {
			all.Go(func() {
				defer func() { _ = recover() }()
				var l kit.Look
				app.Request(0, cookies[i%3], func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
					if i%9 > 5 {
						panic("in a handler")
					}
					l = kit.Look{ID: s.ID(), User: s.User(), Keys: s.Keys()}
					s.Clear()
					s.Set("cart", "tea")
				})
				if l.User != users[i%3] {
					app.T.Errorf("%q was taken for %q", users[i%3], l.User)
				}
			})
		}
		all.Wait()
	})
}
