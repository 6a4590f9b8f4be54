package session_test

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/require"
)

// begun makes a handler whose response has started before it changes the session.
func begun(do func(*session.Session)) handler {
	return func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
		_, _ = io.WriteString(rw, "begun")
		do(s)
	}
}

func TestGuarantee07_NothingLostSilently_SavedLate(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		cookie := w.login("ada")
		w.takeEvents()
		w.request(0, cookie, begun(func(s *session.Session) { s.Set("late", 1) }))
		if _, sealed := w.nodes[0].store.store().(unlisted); sealed { // which needs a cookie for that
			requireLate(w, "after the response had started")
			return
		}
		require.Contains(w.t, w.look(cookie).keys, "late")
		require.Empty(w.t, w.takeEvents())
		require.Empty(w.t, w.log())
	})
}

// requireLate checks that a late change was told of by an event and by a line in the log.
func requireLate(w *world, line string) {
	events := w.takeEvents()
	require.Len(w.t, events, 1)
	require.Equal(w.t, session.EventLateWrite, events[0].Kind)
	require.ErrorIs(w.t, events[0].Err, session.ErrResponseStarted)
	require.Contains(w.t, w.log(), line)
}

func TestGuarantee07_NothingLostSilently_Reported(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*session.Session)
	}{
		{"Set", func(s *session.Session) { s.Set("late", 1) }},
		{"Update", func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }},
		{"Flash", func(s *session.Session) { s.Flash("info", "late") }},
	} {
		eachStore(t, session.Config{}, func(w *world) {
			w.request(0, "", begun(c.do)) // a new session, which needs a cookie
			requireLate(w, "after the response had started")
			require.Empty(w.t, w.live())
		})
	}
}

func TestGuarantee07_NothingLostSilently_Returned(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*session.Session) error
	}{
		{"Regenerate", (*session.Session).Regenerate},
		{"Login", func(s *session.Session) error { return s.Login("grace") }},
		{"Destroy", (*session.Session).Destroy},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, session.Config{}, session.NewMemoryStore())
			w.request(0, w.login("ada"), begun(func(s *session.Session) { require.ErrorIs(t, c.do(s), session.ErrResponseStarted) }))
		})
	}
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	w.request(0, "", begun(func(s *session.Session) {
		s.Set("late", 1)
		require.ErrorIs(t, s.Save(context.Background()), session.ErrResponseStarted)
	}))
}

func TestGuarantee07_NothingLostSilently_AfterTheHandler(t *testing.T) {
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	cookie := w.login("ada")
	w.takeEvents()
	var kept *session.Session
	w.do(cookie, func(s *session.Session) { kept = s })
	kept.Set("late", 1)
	requireLate(w, "after the handler returned")
	for _, err := range []error{kept.Regenerate(), kept.Login("grace"), kept.Destroy()} {
		require.ErrorIs(t, err, session.ErrResponseStarted)
	}
	require.Equal(t, look{w.look(cookie).id, "ada", []string{"cart"}}, w.look(cookie))
}

func TestGuarantee10_Cookies_OneASession(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		resp := w.request(0, "", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
			http.SetCookie(rw, &http.Cookie{Name: "other", Value: "1"})
			s.Set("cart", "tea")
			require.NoError(w.t, s.Save(context.Background()))
			require.NoError(w.t, s.Regenerate())
			require.NoError(w.t, s.Save(context.Background()))
			require.NoError(w.t, s.Login("ada", "cart"))
		})
		require.Len(w.t, resp.Cookies(), 2)
		b := browser{name: w.name}
		b.receive(resp)
		require.Equal(w.t, look{w.look(b.cookie).id, "ada", []string{"cart"}}, w.look(b.cookie))
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
		w := newWorld(t, cfg, session.NewMemoryStore())
		set := w.do("", func(s *session.Session) { s.Set("cart", "tea") }).Cookies()[0]
		gone := w.do(set.Value, logout).Cookies()[0]
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
		w := newWorld(t, session.Config{}, session.NewMemoryStore())
		resp := w.request(0, "", func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
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
	eachStore(t, session.Config{}, func(w *world) {
		cookie := w.login("ada")
		for _, do := range []func(*session.Session){
			func(*session.Session) {},
			func(s *session.Session) { s.Get("cart", new(string)); s.User(); s.Keys() },
			func(s *session.Session) { _ = s.Err(); _ = s.Save(context.Background()) },
		} {
			resp := w.do(cookie, do)
			require.NotContains(w.t, resp.Header, "Set-Cookie")
			require.NotContains(w.t, resp.Header, "Cache-Control")
			require.NotContains(w.t, w.do("", do).Header, "Set-Cookie")
		}
	})
}

func TestGuarantee10_Cookies_AtMost4096Bytes(t *testing.T) {
	sealed, err := session.NewCookieStore(worldSecret)
	require.NoError(t, err)
	size := func(name string) (int, *http.Response) {
		w := newWorld(t, session.Config{Name: name}, sealed)
		resp := w.do("", func(s *session.Session) { s.Set("cart", strings.Repeat("x", 2130)) })
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
	require.Equal(t, "Internal Server Error\n", bodyOf(resp))
}

func TestGuarantee10_Cookies_TheValidOneIsFound(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		good := w.login("ada")
		others := foreignCookies(w)[:3]
		for at := range 4 {
			values := append(append(append([]string{"tossed"}, others[:at]...), good), others[at:]...)
			for _, join := range []string{"; ", "\r"} { // in one header, and in several
				require.Equal(w.t, "ada", w.userOf(strings.Split(strings.Join(named(w.name, values), join), "\r")))
			}
		}
		require.Empty(w.t, w.userOf(named(w.name, append(foreignWellFormed(w), good))), "no more than four are tried")
	})
}

func named(name string, values []string) []string {
	lines := make([]string, len(values))
	for i, v := range values {
		lines[i] = name + "=" + v
	}
	return lines
}

// foreignWellFormed are four cookies that could be this server's.
func foreignWellFormed(w *world) []string {
	elsewhere := newWorld(w.t, session.Config{}, session.NewMemoryStore())
	return []string{elsewhere.start(), elsewhere.start(), elsewhere.start(), elsewhere.start()}
}

// userOf returns whom a request with these Cookie headers is signed in as.
func (w *world) userOf(cookieHeaders []string) (user string) {
	h := act(func(s *session.Session) { user = s.User() })
	r := httptest.NewRequestWithContext(context.WithValue(context.Background(), actionKey{}, h), "GET", "https://example.test/", nil)
	r.Header["Cookie"] = cookieHeaders
	w.nodes[0].handler.ServeHTTP(httptest.NewRecorder(), r)
	return user
}

var newerSecret = []byte("7GqzW1nXb5RkC0vTt8MfEj6LyPa2HuSd")

func TestGuarantee13_Secrets_Rotation(t *testing.T) {
	for _, open := range []func(...[]byte) (*session.CookieStore, error){session.NewCookieStore, session.NewSignedCookieStore} {
		world := func(secrets ...[]byte) *world {
			store, err := open(secrets...)
			require.NoError(t, err)
			return newWorld(t, session.Config{}, store)
		}
		old, both, newer := world(worldSecret), world(newerSecret, worldSecret), world(newerSecret)
		cookie := old.login("ada")
		require.True(t, newer.dead(cookie))
		b := browser{both.name, cookie}
		b.receive(both.do(cookie, func(s *session.Session) { require.Equal(t, "ada", s.User()) }))
		require.NotEqual(t, cookie, b.cookie, "sealed again, with the new secret")
		require.Equal(t, "ada", newer.user(b.cookie))
		require.True(t, old.dead(b.cookie))
		require.Empty(t, both.do(b.cookie, func(s *session.Session) { s.User() }).Cookies(), "and once only")
	}
}

func TestGuarantee13_Secrets_WeakOnesAreRefused(t *testing.T) {
	for _, secrets := range [][][]byte{
		nil, {nil}, {[]byte("")}, {worldSecret[:31]}, {worldSecret, worldSecret[:31]}, {[]byte(strings.Repeat("x", 64))},
		{[]byte("0123456789abcdef0123456789abcdef")}, {[]byte("please-changeme-please-changeme-please")},
	} {
		for _, open := range []func(...[]byte) (*session.CookieStore, error){session.NewCookieStore, session.NewSignedCookieStore} {
			_, err := open(secrets...)
			require.ErrorIs(t, err, session.ErrWeakSecret, "%q", secrets)
		}
	}
}

// The keys are those of HKDF-SHA-256, different for each purpose, and never the secret itself.
func TestGuarantee13_Secrets_HKDF(t *testing.T) {
	store, err := session.NewCookieStore(worldSecret)
	require.NoError(t, err)
	cookie := newWorld(t, session.Config{}, store).login("ada")
	sealed := cookie[:len(cookie)-5]
	sealed += "==="[:-len(sealed)&3]
	key := func(purpose string) []byte {
		k, err := hkdf.Key(sha256.New, worldSecret, nil, purpose, 32)
		require.NoError(t, err)
		return k
	}
	opens := func(hash, block []byte) bool {
		var packed []byte
		codec := securecookie.New(hash, block).SetSerializer(securecookie.NopEncoder{})
		return codec.Decode("__Host-session", sealed, &packed) == nil && strings.Contains(string(packed), "ada")
	}
	require.True(t, opens(key("session sealed v1 hash"), key("session sealed v1 block")))
	require.False(t, opens(worldSecret, worldSecret))
	require.False(t, opens(key("session sealed v1 block"), key("session sealed v1 hash")))
}

func TestGuarantee14_AtRest_RedisHoldsNoToken(t *testing.T) {
	b := redisBackings(t)[0]
	w := b.world(t, session.Config{})
	tokens := []string{w.start(), w.login("ada")}
	replaced := browser{w.name, w.login("ada")}
	tokens = append(tokens, replaced.cookie)
	replaced.receive(w.do(replaced.cookie, regenerate))
	tokens = append(tokens, replaced.cookie)
	dump := dumpRedis(t, b.client)
	require.NotEmpty(t, dump)
	for _, text := range dump {
		for _, token := range tokens {
			require.NotContains(t, text, token)
			require.NotContains(t, text, token[:24], "nor a part of it")
		}
		for _, word := range append(strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ' ' || r == '@' }), text) {
			require.True(t, w.dead(strings.Map(printable, word)), "%q opens a session", word)
		}
	}
}

func printable(r rune) rune {
	if r <= ' ' || r > '~' || r == ';' {
		return -1
	}
	return r
}

func TestGuarantee14_AtRest_TokensAreNotPrinted(t *testing.T) {
	const secret = "do-not-print-me"
	token := session.NewToken("the-handle", secret)
	record := &session.Record{ID: "the-handle"}
	holder := struct {
		Token  session.Token
		Ptr    *session.Token
		Change *session.Change
		hidden session.Token
	}{token, &token, &session.Change{Record: record}, token}
	var printed strings.Builder
	for _, v := range []any{token, &token, holder, &holder, []session.Token{token}, map[string]session.Token{"t": token}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
		text, err := json.Marshal(v)
		require.NoError(t, err)
		printed.Write(text)
		for _, h := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
			slog.New(h).Info("a line", "token", v)
		}
	}
	printed.WriteString(fmt.Errorf("wrapped: %w: %v", errors.New("an error"), token).Error())
	require.Contains(t, printed.String(), "the-handle")
	require.NotContains(t, printed.String(), secret)
	require.NotContains(t, printed.String(), fmt.Sprintf("%x", secret))
}

// What the library says of a session on its own, in logs, events and errors, has no token in it either.
func TestGuarantee14_AtRest_NothingSaidHasAToken(t *testing.T) {
	w, store := brokenWorld(t, session.Config{})
	cookie := w.login("ada")
	var said strings.Builder
	say := func(s *session.Session) {
		fmt.Fprintf(&said, "%v %+v %#v %s %q\n", s, s, s, s, s.Err())
		s.Set("new", 1)
	}
	w.do(cookie, say)
	store.save = errDown
	w.do(cookie, say)
	store.save, store.load = nil, errDown
	w.do(cookie, say)
	store.load = nil
	w.do(cookie, func(s *session.Session) { say(s); logout(s) })
	w.do(cookie, say)
	w.do(strings.ToLower(cookie), say)
	for _, e := range w.takeEvents() {
		fmt.Fprintf(&said, "%+v %#v\n", e, e)
	}
	said.WriteString(w.log())
	require.Contains(t, said.String(), "store error")
	require.NotContains(t, said.String(), cookie)
	require.NotContains(t, said.String(), strings.ToLower(cookie))
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
				site := newSite(t, session.NewMemoryStore(), session.Config{})
				resp := site.serve(wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s := session.FromContext(r.Context())
					require.NoError(t, s.Login("ada"))
					require.NoError(t, s.Save(r.Context()))
					h(w, r)
				})).ServeHTTP)
				require.Equal(t, []string{"no-store"}, resp.Header["Cache-Control"])
				require.Equal(t, []string{"Cookie"}, resp.Header["Vary"])
				own := 0
				for _, c := range resp.Cookies() {
					if c.Name == site.name {
						own++
					}
				}
				require.Equal(t, 1, own)
			})
		}
	}
}
