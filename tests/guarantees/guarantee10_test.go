package guarantees_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee10_Cookies_OneASession(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		resp := app.Request(0, "", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			http.SetCookie(rw, &http.Cookie{Name: "other", Value: "1"})
			s.Set("cart", "tea")
			require.NoError(app.T, s.Save(context.Background()))
			require.NoError(app.T, s.Regenerate())
			require.NoError(app.T, s.Save(context.Background()))
			require.NoError(app.T, s.Login("ada", "cart"))
		})
		require.Len(app.T, resp.Cookies(), 2)
		b := app.Browser()
		b.Receive(resp)
		require.Equal(app.T, kit.Look{ID: app.Look(b.Cookie).ID, User: "ada", Keys: []string{"cart"}}, app.Look(b.Cookie))
	})
}

func TestGuarantee10_Cookies_DeletedWithTheSameAttributes(t *testing.T) {
	for _, cfg := range []session.Config{
		{}, {Path: "/app"}, {Domain: "example.test"}, {SameSite: http.SameSiteNoneMode, Partitioned: true},
		{Secure: session.Off, HttpOnly: session.Off, Name: "s"}, {Persistent: true, SameSite: http.SameSiteStrictMode},
	} {
		cfg.Name = "__Secure-x"
		if cfg.Secure == session.Off {
			cfg.Name = "x"
		}
		app := kit.New(t, cfg, session.NewMemoryStore())
		set := app.Do("", func(s *session.Session) { s.Set("cart", "tea") }).Cookies()[0]
		gone := app.Do(set.Value, kit.Logout).Cookies()[0]
		require.Negative(t, gone.MaxAge)
		require.Empty(t, gone.Value)
		for _, c := range []*http.Cookie{set, gone} {
			c.Value, c.MaxAge, c.Expires, c.RawExpires, c.Raw = "", 0, time.Time{}, "", ""
		}
		require.Equal(t, set, gone)
	}
}

func TestGuarantee10_Cookies_CachingHeaders(t *testing.T) {
	set := func(s *session.Session) { s.Set("cart", "tea") }
	for _, c := range []struct {
		name, own, want string
		do              func(*session.Session)
	}{
		{"set", "", "no-store", set},
		{"set, public", "public, max-age=60", "no-store", set},
		{"set, stricter", "private, no-store, max-age=0", "private, no-store, max-age=0", set},
		{"read", "public, max-age=60", "public, max-age=60", func(s *session.Session) { s.Has("cart") }},
	} {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		resp := app.Request(0, "", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			if c.own != "" {
				rw.Header().Set("Cache-Control", c.own)
			}
			rw.Header().Set("Vary", "Accept")
			c.do(s)
		})
		require.Equal(t, []string{c.want}, resp.Header["Cache-Control"], c.name)
		require.Equal(t, []string{"Accept", "Cookie"}, resp.Header["Vary"], c.name)
	}
}

func TestGuarantee10_Cookies_NoneWhenNothingChanged(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		cookie := app.Login("ada")
		for _, do := range []func(*session.Session){
			func(*session.Session) {},
			func(s *session.Session) { s.Get("cart", new(string)); s.User(); s.Keys() },
			func(s *session.Session) { _ = s.Err(); _ = s.Save(context.Background()) },
		} {
			resp := app.Do(cookie, do)
			require.NotContains(app.T, resp.Header, "Set-Cookie")
			require.NotContains(app.T, resp.Header, "Cache-Control")
			require.NotContains(app.T, app.Do("", do).Header, "Set-Cookie")
		}
	})
}

func TestGuarantee10_Cookies_AtMost4096Bytes(t *testing.T) {
	sealed := kit.Sealed(t, kit.SecretOne)
	text := almostFull(t)
	size := func(name string) (int, *http.Response) {
		app := kit.New(t, session.Config{Name: name, Realm: "one"}, sealed) // the realm is sealed too
		resp := app.Do("", func(s *session.Session) { s.Set("cart", text) })
		for _, c := range resp.Cookies() {
			return len(c.Name) + len(c.Value), resp
		}
		return 0, resp
	}
	n, _ := size("n")
	require.Less(t, n, 4096)
	fits := strings.Repeat("n", 1+4096-n)
	n, _ = size(fits)
	require.Equal(t, 4096, n)
	n, resp := size(fits + "n")
	require.Zero(t, n)
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, "Internal Server Error\n", kit.Body(resp))
}

// almostFull returns a text with which a cookie of the shortest name almost fills what a browser takes.
func almostFull(t *testing.T) string {
	t.Helper()
	for n := 4096; n > 2000; n -= 100 {
		text := strings.Repeat("x", n)
		resp := kit.New(t, session.Config{Name: "n", Realm: "one"}, kit.Sealed(t, kit.SecretOne)).Browser().
			Do(func(s *session.Session) { s.Set("cart", text) })
		if resp.StatusCode == http.StatusOK {
			return text
		}
	}
	t.Fatal("there is no room for 2000 bytes")
	return ""
}

func TestGuarantee10_Cookies_TheValidOneIsFound(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		good := app.Login("ada")
		others := kit.ForeignCookies(app)[:3]
		for at := range 4 {
			values := append(append(append([]string{"tossed"}, others[:at]...), good), others[at:]...)
			for _, join := range []string{"; ", "\r"} { // in one header, and in several
				require.Equal(app.T, "ada", app.UserOf(strings.Split(strings.Join(named(app.Name, values), join), "\r")))
			}
		}
		require.Empty(app.T, app.UserOf(named(app.Name, append(kit.ForeignWellFormed(app), good))), "no more than four are tried")
	})
}

func named(name string, values []string) []string {
	lines := make([]string, len(values))
	for i, v := range values {
		lines[i] = name + "=" + v
	}
	return lines
}

// What Save has put into the header, the response leaves with, whatever the handler does to the header afterwards.
func TestGuarantee10_WhatSaveSetStays(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a cacheable page": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "public, max-age=60") },
		"another cookie":   func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Set-Cookie", "theme=dark") },
		"no headers":       func(w http.ResponseWriter, _ *http.Request) { clear(w.Header()) },
	} {
		for where, wrap := range map[string]func(http.Handler) http.Handler{
			"": func(h http.Handler) http.Handler { return h },
			", within TimeoutHandler": func(h http.Handler) http.Handler {
				return http.TimeoutHandler(h, time.Minute, "too slow")
			},
		} {
			t.Run(name+where, func(t *testing.T) {
				app := kit.New(t, session.Config{}, session.NewMemoryStore())
				resp := app.Serve(wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s := session.FromContext(r.Context())
					require.NoError(t, s.Login("ada"))
					require.NoError(t, s.Save(r.Context()))
					h(w, r)
				})).ServeHTTP)
				require.Equal(t, []string{"no-store"}, resp.Header["Cache-Control"])
				require.Equal(t, []string{"Cookie"}, resp.Header["Vary"])
				own := 0
				for _, c := range resp.Cookies() {
					if c.Name == app.Name {
						own++
					}
				}
				require.Equal(t, 1, own)
			})
		}
	}
}

// Caches may keep a response for everybody if its handler has returned without using the session.
func TestGuarantee10_NoVaryWhereTheSessionWasNotUsed(t *testing.T) {
	m, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	for name, h := range map[string]http.HandlerFunc{
		"not used": func(http.ResponseWriter, *http.Request) {},
		"read":     func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Has("k") },
		"written":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, // it may still be used
	} {
		w := httptest.NewRecorder()
		m.Middleware(h).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, name != "not used", w.Result().Header.Get("Vary") == "Cookie", name)
	}
}

// The answer that a handler outside gives for a panic has one cookie of the name at most, the Manager's.
func TestGuarantee10_AfterAPanic(t *testing.T) {
	app := newPages(t)
	rec, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "https://example.test/", nil)
	r.Header.Set("Cookie", app.Name+"="+app.Login("ada"))
	recovering(app.Nodes[0].HandlerOf(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		require.Equal(t, "ada", s.User())
		http.SetCookie(w, &http.Cookie{Name: app.Name, Value: "foreign"})
		panic("the handler's")
	})).ServeHTTP(rec, r)
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	require.Empty(t, rec.Header()["Set-Cookie"])
	require.Equal(t, "Cookie", rec.Header().Get("Vary"))
}

// Clear-Site-Data comes with each answer that removes the cookie after a Destroy, whatever came after that.
func TestGuarantee10_ClearSiteDataAfterAFailure(t *testing.T) {
	for name, then := range map[string]func(*session.Session){
		"panic":               func(*session.Session) { panic("the handler's") },
		"panic after a Save":  func(s *session.Session) { _ = s.Save(context.Background()); panic("the handler's") },
		"a value that is big": func(s *session.Session) { s.Set("big", strings.Repeat("x", 100<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{ClearSiteData: true, Logger: kit.QuietSlog()}, session.NewMemoryStore())
			rec, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "https://example.test/", nil)
			r.Header.Set("Cookie", app.Name+"="+app.Login("ada"))
			recovering(app.Nodes[0].HandlerOf(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				require.NoError(t, s.Destroy())
				then(s)
			})).ServeHTTP(rec, r)
			require.Equal(t, http.StatusInternalServerError, rec.Code)
			require.Len(t, rec.Header()["Set-Cookie"], 1)
			require.Equal(t, `"cache", "cookies", "storage"`, rec.Header().Get("Clear-Site-Data"))
		})
	}
}
