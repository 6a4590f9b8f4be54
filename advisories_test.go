package session_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

// What went wrong in other session libraries, and does not here.

// rack-session CVE-2025-46336, rack CVE-2025-32441, boj/redistore#2, expressjs/session#632, django#21608: a save after a
// concurrent delete brought the session back. TestGuarantee02_NoResurrection has all ends and all kinds of requests.
func TestAdvisory_SaveAfterConcurrentDelete(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		for _, end := range []func(*session.Session){logout, regenerate} {
			for _, save := range []func(*session.Session){func(s *session.Session) { s.Set("new", 1) }, func(*session.Session) {}} {
				cookie := w.login("ada")
				w.clock.advance(10 * time.Minute) // so that the second one touches
				before := len(w.live())
				f := w.launch(0, cookie, "save", act(save))
				kept := browser{w.name, cookie}
				kept.receive(w.request(len(w.nodes)-1, cookie, act(end)))
				require.Empty(w.t, f.land().Cookies())
				require.True(w.t, w.dead(cookie))
				if kept.cookie == "" {
					require.Len(w.t, w.live(), before-1)
				}
			}
		}
	})
}

// Fiber CVE-2024-38513, aiohttp-session PYSEC-2018-80, Pow CVE-2020-5205: the client's id was adopted.
func TestAdvisory_ClientsIDAdopted(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		for _, foreign := range append(foreignCookies(w), "", " ", "../../etc/passwd", strings.Repeat("A", 47), "user:ada") {
			before := len(w.live())
			require.Empty(w.t, w.look(foreign).id)
			require.Len(w.t, w.live(), before, "a request with %q stores nothing", foreign)
			for _, do := range []func(*session.Session){func(s *session.Session) { s.Set("cart", "tea") }, login} {
				b := browser{w.name, foreign}
				b.receive(w.do(foreign, do))
				require.NotEqual(w.t, foreign, b.cookie)
				require.NotEmpty(w.t, w.look(b.cookie).id)
				require.Empty(w.t, w.look(foreign).id)
			}
		}
	})
}

// Passport CVE-2022-25896, Symfony CVE-2023-46733: no new id at login, or the old one kept working.
func TestAdvisory_NoProperRegenerate(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		for _, do := range []func(*session.Session){regenerate, login} {
			old := w.start()
			before := w.look(old).id
			var during string
			b := browser{w.name, old}
			b.receive(w.do(old, func(s *session.Session) { do(s); during = s.ID() }))
			require.True(w.t, w.dead(old))
			require.NotEqual(w.t, old, b.cookie)
			require.NotEqual(w.t, before, during)
			require.Equal(w.t, during, w.look(b.cookie).id)
		}
	})
}

// Symfony CVE-2022-24895, Devise: what was there before the login survived it.
func TestAdvisory_PreLoginDataSurvives(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		b := browser{name: w.name}
		b.receive(w.do("", func(s *session.Session) {
			s.Set("csrf", "attacker's")
			s.Set("cart", "tea")
			s.Flash("info", "attacker's")
			s.SetNote("attacker's")
		}))
		for _, user := range []string{"ada", "grace"} { // signing in, and switching users
			b.receive(w.do(b.cookie, func(s *session.Session) { require.NoError(w.t, s.Login(user, "cart")) }))
			require.Equal(w.t, look{w.look(b.cookie).id, user, []string{"cart"}}, w.look(b.cookie))
			w.do(b.cookie, func(s *session.Session) { require.Empty(w.t, s.Flashes()) })
			for _, r := range w.live() {
				require.Empty(w.t, r.Note)
			}
		}
		b.receive(w.do(b.cookie, func(s *session.Session) { require.NoError(w.t, s.Login("ada")) }))
		require.Empty(w.t, w.look(b.cookie).keys)
	})
}

// @fastify/secure-session CVE-2024-31999, gorilla/sessions#282: a destroyed cookie could be sent again.
func TestAdvisory_DestroyedCookieReplayed(t *testing.T) {
	w := sealedWorld(t, session.Config{})
	cookie := w.login("ada")
	w.do(cookie, logout)
	require.True(t, w.dead(cookie))
	w.clock.advance(30 * time.Minute)
	require.True(t, w.dead(cookie), "for good, not for a tombstone's minute only")
	require.Equal(t, http.StatusOK, w.do(cookie, func(s *session.Session) { s.Set("new", 1) }).StatusCode)
	require.Empty(t, w.user(cookie))

	without, err := session.NewCookieStore(worldSecret)
	require.NoError(t, err)
	w = newWorld(t, session.Config{IdleTimeout: -1}, without)
	cookie = w.login("ada")
	w.do(cookie, logout)
	require.False(t, w.dead(cookie), "documented: without a list, a copy works")
	w.clock.advance(24 * time.Hour)
	require.True(t, w.dead(cookie), "until the deadline inside it")
}

func sealedWorld(t testing.TB, cfg session.Config) *world {
	sealed, err := session.NewCookieStore(worldSecret)
	require.NoError(t, err)
	return newWorld(t, cfg, sealed.WithRevocations(session.NewMemoryRevocations()))
}

// @fastify/session CVE-2024-35220, aiohttp-session PYSEC-2018-35: the expiry was not enforced, or moved with each use.
func TestAdvisory_ExpiryNotEnforced(t *testing.T) {
	for name, again := range map[string]func(*session.Session){"touch": func(*session.Session) {}, "write": func(s *session.Session) { s.Set("n", 1) }, "regenerate": regenerate} {
		eachStore(t, session.Config{IdleTimeout: time.Hour, Lifetime: 8 * time.Hour}, func(w *world) {
			b := browser{w.name, w.login("ada")}
			created := w.clock.Now()
			uses := 0
			for ; w.user(b.cookie) != "" && uses < 100; uses++ {
				w.clock.advance(10 * time.Minute)
				b.receive(w.do(b.cookie, func(s *session.Session) {
					if s.User() == "" {
						return
					}
					require.True(w.t, s.CreatedAt().Equal(created))
					require.False(w.t, s.ExpiresAt().After(created.Add(8*time.Hour)))
					again(s)
				}))
			}
			require.Equal(w.t, 6*8, uses, "%s: used all the time, it ends at its absolute limit", name)
			idle := w.login("ada")
			w.clock.advance(time.Hour)
			require.True(w.t, w.dead(idle))
		})
	}
}

// Flask CVE-2025-47278: signed with a stale fallback key. TestGuarantee13_Secrets_Rotation has the stores; here the keys
// come in as a program gets them.
func TestAdvisory_StaleKeySigns(t *testing.T) {
	open := func(env string) *world {
		t.Setenv("SESSION_SECRETS", env)
		secrets, err := session.SecretsFromEnv("SESSION_SECRETS")
		require.NoError(t, err)
		store, err := session.NewCookieStore(secrets...)
		require.NoError(t, err)
		return newWorld(t, session.Config{}, store)
	}
	older, newer := string(worldSecret), string(newerSecret)
	before, during, after := open(older), open(newer+","+older), open(newer)
	require.Equal(t, "ada", during.user(before.login("ada")))
	require.Equal(t, "ada", after.user(during.login("ada")), "sealed with the first")
	require.True(t, after.dead(before.login("ada")), "a dropped key opens nothing")
	require.True(t, before.dead(during.login("ada")))
}

// Flask CVE-2023-30861, CVE-2026-27205, Hono CVE-2026-24472: Vary was missing on some paths.
func TestAdvisory_VaryMissing(t *testing.T) {
	for name, use := range accessors() {
		eachStore(t, session.Config{}, func(w *world) {
			for _, cookie := range []string{"", w.login("ada"), "bad"} {
				resp := w.request(0, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { use(s) })
				require.Equal(w.t, []string{"Cookie"}, resp.Header["Vary"], name)
				require.Equal(w.t, len(resp.Cookies()) > 0, resp.Header.Get("Cache-Control") == "no-store", name)
			}
		})
	}
	w := sealedWorld(t, session.Config{}) // a response that only seals the cookie again
	cookie := w.login("ada")
	w.clock.advance(10 * time.Minute)
	resp := w.do(cookie, func(*session.Session) {})
	require.Len(t, resp.Cookies(), 1)
	require.Equal(t, "Cookie", resp.Header.Get("Vary"))
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))

	resp = w.request(0, cookie, func(http.ResponseWriter, *http.Request, *session.Session) {})
	require.NotContains(t, resp.Header, "Vary", "a response that has nothing to do with the session")
}

// accessors are all methods of a Session that look at it or change it.
func accessors() map[string]func(*session.Session) {
	return map[string]func(*session.Session){
		"Get": func(s *session.Session) { s.Get("cart", new(string)) }, "Set": func(s *session.Session) { s.Set("cart", 1) },
		"Has": func(s *session.Session) { s.Has("cart") }, "Keys": func(s *session.Session) { s.Keys() },
		"Delete": func(s *session.Session) { s.Delete("cart") }, "Clear": func(s *session.Session) { s.Clear() },
		"Flash": func(s *session.Session) { s.Flash("a", "b") }, "Flashes": func(s *session.Session) { s.Flashes() },
		"Regenerate": regenerate, "Login": login, "Destroy": logout,
		"Save": func(s *session.Session) { _ = s.Save(context.Background()) }, "Err": func(s *session.Session) { _ = s.Err() },
		"SetPersistent": func(s *session.Session) { s.SetPersistent(true) }, "SetNote": func(s *session.Session) { s.SetNote("n") },
		"SetLifetime": func(s *session.Session) { s.SetLifetime(0, 0) }, "ID": func(s *session.Session) { s.ID() },
		"IsNew": func(s *session.Session) { s.IsNew() }, "User": func(s *session.Session) { s.User() },
		"CreatedAt": func(s *session.Session) { s.CreatedAt() }, "AuthenticatedAt": func(s *session.Session) { s.AuthenticatedAt() },
		"AuthenticatedWithin": func(s *session.Session) { s.AuthenticatedWithin(1) }, "ExpiresAt": func(s *session.Session) { s.ExpiresAt() },
		"Key.Update": func(s *session.Session) { counter.Update(s, func(i int) int { return i }) },
		"Key.Pop":    func(s *session.Session) { counter.Pop(s) }, "Key.Get": func(s *session.Session) { counter.Get(s) },
	}
}

// rack CVE-2019-16782, activerecord CVE-2019-25025: the raw id was the key of the look-up, and could be timed. The store
// is asked for the hash; TestGuarantee14_AtRest_RedisHoldsNoToken scans Redis for the raw token.
func TestAdvisory_RawIDIsTheKey(t *testing.T) {
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	cookie := w.login("ada")
	for id := range w.live() {
		require.NotContains(t, cookie, id)
		require.NotContains(t, id, cookie[:8])
		require.Equal(t, w.look(cookie).id, id)
		require.True(t, w.dead(id), "the handle opens nothing")
	}
}

// FrankenPHP CVE-2026-24894: state leaked from one request to the next.
func TestAdvisory_StateLeaksBetweenRequests(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		users := []string{"ada", "grace", ""}
		cookies := []string{w.login("ada"), w.login("grace"), ""}
		var all sync.WaitGroup
		for i := range 90 {
			all.Go(func() {
				defer func() { _ = recover() }()
				var l look
				w.request(0, cookies[i%3], func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
					if i%9 > 5 {
						panic("in a handler")
					}
					l = look{s.ID(), s.User(), s.Keys()}
					s.Clear()
					s.Set("cart", "tea")
				})
				if l.user != users[i%3] {
					w.t.Errorf("%q was taken for %q", users[i%3], l.user)
				}
			})
		}
		all.Wait()
	})
}
