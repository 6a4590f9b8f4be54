package session_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/adler32"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// checked appends the checksum that lets a forged value come as far as the seal.
func checked(name, sealed string) string {
	sum := adler32.Checksum([]byte(name)) ^ adler32.Checksum([]byte(sealed))
	return sealed + "." + base64.RawURLEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum)})
}

// unchecked takes it away.
func unchecked(t testing.TB, name, value string) string {
	t.Helper()
	sealed := value[:len(value)-5]
	require.Equal(t, value, checked(name, sealed))
	return sealed
}

// on moves a visitor to a site with these secrets: the program was started again.
func (v *visitor) on(store session.Store) *visitor {
	return &visitor{newSiteAt(v.site.t, v.site.clock, store, session.Config{}), v.cookie}
}

// kinds of cookie stores.
var kinds = map[string]func(...[]byte) (*session.CookieStore, error){
	"sealed": session.NewCookieStore, "signed": session.NewSignedCookieStore,
}

func TestAdvisory_StaleFallbackKey_Rotation(t *testing.T) {
	for kind, construct := range kinds {
		t.Run(kind, func(t *testing.T) {
			stores := func(secrets ...[]byte) session.Store { s, _ := construct(secrets...); return s }
			old := newSite(t, stores(secretOne), session.Config{}).visitor()
			old.signIn("ada")
			require.Empty(t, old.must(func(s *session.Session) { s.User() }).Cookies(), "nothing to re-seal")

			both := old.on(stores(secretTwo, secretOne))
			both.site.clock.move(time.Second)
			resp := both.must(func(s *session.Session) { require.Equal(t, "ada", s.User()) })
			require.Len(t, resp.Cookies(), 1, "re-sealed by a request that only reads")
			require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
			require.NotEqual(t, old.cookie, both.cookie)
			require.Empty(t, both.must(func(s *session.Session) { s.User() }).Cookies(), "once")

			require.False(t, both.on(stores(secretTwo)).signedOut(), "it is sealed by the new secret")
			require.True(t, both.on(stores(secretOne)).signedOut(), "and by it only")
			require.True(t, both.on(stores(secretThree, secretOne)).signedOut())
			require.False(t, both.on(stores(secretThree, secretOne, secretTwo)).signedOut(), "all open")
			require.False(t, old.on(stores(secretTwo, secretOne)).signedOut())

			dropped := old.on(stores(secretTwo))
			require.True(t, dropped.signedOut())
			require.Equal(t, []string{"rejected: bad seal"}, dropped.site.happened())
			require.Empty(t, dropped.must(func(s *session.Session) { s.User() }).Cookies())
		})
	}
}

// A view is what a session tells of itself.
type view struct {
	id, user                          string
	created, authenticated, expiresAt time.Time
}

func (v *visitor) view() (seen view) {
	v.must(func(s *session.Session) {
		seen = view{s.ID(), s.User(), s.CreatedAt().UTC(), s.AuthenticatedAt().UTC(), s.ExpiresAt().UTC()}
	})
	return seen
}

func TestGuarantee13_SealedAndSignedAreNotInterchangeable(t *testing.T) {
	for from, construct := range kinds {
		for to, other := range kinds {
			issuing, _ := construct(secretOne)
			reading, _ := other(secretOne)
			v := newSite(t, issuing, session.Config{}).visitor()
			v.signIn("ada")
			moved := v.on(reading)
			require.Equal(t, from != to, moved.signedOut(), "a %s cookie, a %s store", from, to)
			if from != to {
				require.Equal(t, []string{"rejected: bad seal"}, moved.site.happened(), "not even the signature is the other's")
			}
		}
	}
}

func TestGuarantee13_WhatTheClientCanRead(t *testing.T) {
	const private = "rosebud-rosebud-rosebud"
	readable := map[string]bool{}
	for kind, construct := range kinds {
		store, _ := construct(secretOne)
		v := newSite(t, store, session.Config{}).visitor()
		v.must(func(s *session.Session) { s.Set("k", private) })
		outer, err := base64.URLEncoding.DecodeString(unchecked(t, v.site.name, v.cookie))
		require.NoError(t, err)
		parts := strings.SplitN(string(outer), "|", 3)
		require.Len(t, parts, 3)
		inner, err := base64.URLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		readable[kind] = strings.Contains(string(inner), private)
	}
	require.Equal(t, map[string]bool{"sealed": false, "signed": true}, readable)
}

func TestAdvisory_SharedNamespace_NameIsBoundIntoTheSeal(t *testing.T) {
	for kind, construct := range kinds {
		store, _ := construct(secretOne)
		one, two := newSite(t, store, session.Config{Name: "one"}), newSite(t, store, session.Config{Name: "two"})
		v := one.visitor()
		v.signIn("ada")
		moved := &visitor{two, checked("two", unchecked(t, "one", v.cookie))}
		require.True(t, moved.signedOut(), kind)
		require.Equal(t, []string{"rejected: bad seal"}, two.happened(), "it came as far as the seal")
	}
}

func TestAdvisory_DecryptFailure_Tampered(t *testing.T) {
	for kind, construct := range kinds {
		store, _ := construct(secretOne, secretTwo)
		v := newSite(t, store, session.Config{}).visitor()
		v.signIn("ada")
		name, sealed := v.site.name, unchecked(t, v.site.name, v.cookie)
		refused := func(what, forged string) {
			require.True(t, (&visitor{v.site, checked(name, forged)}).signedOut(), "%s: %s", kind, what)
		}
		for i := range sealed {
			other := byte('A')
			if sealed[i] == 'A' {
				other = 'B'
			}
			refused(fmt.Sprint("changed at ", i), sealed[:i]+string(other)+sealed[i+1:])
		}
		for i := range sealed {
			refused(fmt.Sprint("cut at ", i), sealed[:i])
		}
		for what, forged := range map[string]string{
			"longer": sealed + "AAAA", "twice": sealed + sealed, "padded": sealed + "=", "more padding": sealed + "==", "a newline": sealed[:9] + "\n" + sealed[9:],
			"the other alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(sealed), "not sealed": base64.URLEncoding.EncodeToString([]byte("\x01\x00\x01a")),
			"empty": "", "a dot": ".", "decoded once": string(must(base64.URLEncoding.DecodeString(sealed))), "no padding": strings.TrimRight(sealed, "="),
		} {
			if forged != sealed {
				refused(what, forged)
			}
		}
		require.False(t, v.signedOut(), kind)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The characters that share their used bits with the last one are other spellings of the same cookie.
func TestGuarantee11_SealedCookiesHaveOneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	site := newSite(t, cookieStore(t, secretOne), session.Config{})
	spare := 0
	for n := range 12 { // lengths with all kinds of tails
		v := site.visitor()
		v.must(func(s *session.Session) { s.Set("k", strings.Repeat("x", n)) })
		sealed := unchecked(t, site.name, v.cookie)
		raw := must(base64.URLEncoding.DecodeString(sealed))
		text := strings.TrimRight(sealed, "=")
		for _, last := range alphabet {
			spelling := text[:len(text)-1] + string(last) + sealed[len(text):]
			same := string(must(base64.URLEncoding.DecodeString(spelling))) == string(raw)
			if same && spelling != sealed {
				spare++
			}
			require.Equal(t, spelling != sealed, (&visitor{site, checked(site.name, spelling)}).signedOut(), "%s, last %c", sealed, last)
		}
	}
	require.Positive(t, spare)
}

func TestGuarantee10_ExactlyTheBytesABrowserTakes(t *testing.T) {
	// The name is part of the sum and not of the sealed text, so it makes up what is wanted of the length.
	text := strings.Repeat("x", 2100)
	probe := newSite(t, cookieStore(t, secretOne), session.Config{Name: "n"}).visitor()
	probe.must(func(s *session.Session) { s.Set("k", text) })
	length := len(probe.cookie)
	require.Greater(t, length, 4096-256)
	require.Less(t, length, 4096)
	for _, total := range []int{4095, 4096, 4097, 4098} {
		name := strings.Repeat("n", total-length)
		store := &countingStore{Store: cookieStore(t, secretOne)}
		v := newSite(t, store, session.Config{Name: name}).visitor()
		var saved error
		resp := v.do(func(s *session.Session) { s.Set("k", text); saved = s.Save(t.Context()) })
		if total > 4096 {
			require.ErrorIs(t, saved, session.ErrCookieTooLarge, "%d", total)
			require.ErrorIs(t, store.failed, session.ErrCookieTooLarge, "the store itself says so, before anything is revoked")
			require.Equal(t, http.StatusInternalServerError, resp.StatusCode, "%d", total)
			require.Empty(t, resp.Cookies())
			continue
		}
		require.NoError(t, saved, "%d", total)
		require.Equal(t, total, len(name)+len(v.cookie))
		require.Equal(t, text, read[string](v, "k"))
	}
}

// wide is somebody's store that keeps the session in the cookie, and has not heard of the limit.
type wide struct{ session.Store }

func (wide) Save(_ context.Context, _ session.Token, c *session.Change) (session.Token, error) {
	return session.NewToken(c.Record.ID, strings.Repeat("w", int(c.Record.Values["k"][0]-'0')+4000)), nil
}

func TestGuarantee10_TooLargeByAnotherStore(t *testing.T) {
	// With the name and the checksum it is 4096 bytes for the digit 4.
	name := strings.Repeat("n", 4096-4004-len(".1234"))
	for digit, status := range map[int]int{3: http.StatusOK, 4: http.StatusOK, 5: http.StatusInternalServerError, 6: http.StatusInternalServerError} {
		resp := newSite(t, wide{session.NewMemoryStore()}, session.Config{Name: name}).visitor().do(func(s *session.Session) { s.Set("k", digit) })
		require.Equal(t, status, resp.StatusCode, "%d", digit)
		require.Equal(t, status == http.StatusOK, len(resp.Cookies()) == 1)
	}
}

func TestGuarantee10_TooLargeLeavesNothing(t *testing.T) {
	for kind, construct := range kinds {
		store, _ := construct(secretOne)
		var told error
		site := newSite(t, store, session.Config{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			told = err
			http.Error(w, "the error page", http.StatusInternalServerError)
		}})
		v := site.visitor()
		v.signIn("ada")
		before := v.cookie
		resp := v.visit(func(w http.ResponseWriter, r *http.Request) {
			session.FromContext(r.Context()).Set("k", strings.Repeat("x", 5<<10))
			w.Header().Set("X-Handler", "was here")
			w.Header().Set("Trailer", "X-Trailer")
			http.SetCookie(w, &http.Cookie{Name: "handlers", Value: "own"})
			w.WriteHeader(http.StatusCreated)
			n, err := w.Write([]byte("the handler's page"))
			require.Zero(t, n)
			require.ErrorIs(t, err, session.ErrCookieTooLarge)
			w.Header().Set("X-Trailer", "was here")
		})
		require.ErrorIs(t, told, session.ErrCookieTooLarge, kind)
		require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		require.Equal(t, "the error page\n", text(t, resp))
		require.Empty(t, resp.Header["X-Handler"])
		require.Empty(t, resp.Trailer)
		require.Empty(t, resp.Cookies())
		require.Equal(t, before, v.cookie)
		require.False(t, v.signedOut(), "what was there is there still")
	}
}

func TestGuarantee10_RoomForValues(t *testing.T) {
	v := newSite(t, cookieStore(t, secretOne), session.Config{}).visitor()
	v.must(func(s *session.Session) { s.Set("k", strings.Repeat("x", 2150)) })
	require.Len(t, read[string](v, "k"), 2150, "about 2.2 KB, as documented")
}
