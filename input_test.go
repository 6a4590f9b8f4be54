package session_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

const (
	cookieBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	anyBytes    = cookieBytes + "=.+/%\"\\!#$&'()*<>?@[]^`{|}~ \t,\x00\x01\x7f\x80\xa0\xc3\xff"
)

// spoiled are mutations of the value alone.
var spoiled = map[string]func(*rand.Rand, string) string{
	"one character": func(r *rand.Rand, v string) string { return replaceAt(v, r.IntN(len(v)), cookieBytes[r.IntN(64)]) },
	"one byte": func(r *rand.Rand, v string) string {
		return replaceAt(v, r.IntN(len(v)), anyBytes[r.IntN(len(anyBytes))])
	},
	"two characters": func(r *rand.Rand, v string) string {
		return replaceAt(replaceAt(v, r.IntN(len(v)), cookieBytes[r.IntN(64)]), r.IntN(len(v)), cookieBytes[r.IntN(64)])
	},
	"the last":       func(r *rand.Rand, v string) string { return replaceAt(v, len(v)-1, cookieBytes[r.IntN(64)]) },
	"before the dot": func(r *rand.Rand, v string) string { return replaceAt(v, len(v)-6, cookieBytes[r.IntN(64)]) },
	"the first":      func(r *rand.Rand, v string) string { return replaceAt(v, 0, cookieBytes[r.IntN(64)]) },
	"truncated":      func(r *rand.Rand, v string) string { return v[:r.IntN(len(v))] },
	"beheaded":       func(r *rand.Rand, v string) string { return v[1+r.IntN(len(v)-1):] },
	"a part missing": func(r *rand.Rand, v string) string { i := r.IntN(len(v)); return v[:i] + v[i+1+r.IntN(len(v)-i):] },
	"a part twice":   func(r *rand.Rand, v string) string { i := r.IntN(len(v)); return v[:i] + v[r.IntN(i+1):] },
	"inserted": func(r *rand.Rand, v string) string {
		i := r.IntN(len(v))
		return v[:i] + randomFrom(r, anyBytes, 5) + v[i:]
	},
	"longer":          func(r *rand.Rand, v string) string { return v + randomFrom(r, cookieBytes, 200) },
	"over-long":       func(r *rand.Rand, v string) string { return v + strings.Repeat(v, 4096/len(v)+r.IntN(9)) },
	"turned round":    func(r *rand.Rand, v string) string { i := 1 + r.IntN(len(v)-1); return v[i:] + v[:i] },
	"upper case":      func(r *rand.Rand, v string) string { return recase(r, v) },
	"padding":         func(r *rand.Rand, v string) string { return v + strings.Repeat("=", 1+r.IntN(4)) },
	"standard base64": func(_ *rand.Rand, v string) string { return strings.NewReplacer("-", "+", "_", "/").Replace(v) },
	"percent encoding": func(r *rand.Rand, v string) string {
		i := r.IntN(len(v))
		return fmt.Sprintf("%s%%%02X%s", v[:i], v[i], v[i+1:])
	},
	"quotes":        func(_ *rand.Rand, v string) string { return `"` + v + `"` },
	"a line break":  func(r *rand.Rand, v string) string { i := 1 + r.IntN(len(v)-1); return v[:i] + "\n" + v[i:] },
	"random text":   func(r *rand.Rand, v string) string { return randomFrom(r, cookieBytes, 2*len(v)) },
	"of the length": func(r *rand.Rand, v string) string { return exactly(r, cookieBytes, len(v)) },
	"random bytes":  func(r *rand.Rand, v string) string { return randomFrom(r, anyBytes, 2*len(v)) },
	"a seal's shape": func(r *rand.Rand, _ string) string {
		return randomFrom(r, cookieBytes, 500) + "." + exactly(r, cookieBytes, 4)
	},
	"a token's shape": func(r *rand.Rand, _ string) string { return exactly(r, cookieBytes, 48) },
}

func replaceAt(v string, i int, b byte) string { return v[:i] + string([]byte{b}) + v[i+1:] }

func exactly(r *rand.Rand, alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

func randomFrom(r *rand.Rand, alphabet string, most int) string {
	return exactly(r, alphabet, 1+r.IntN(most))
}

func recase(r *rand.Rand, v string) string {
	i := r.IntN(len(v))
	return v[:i] + strings.ToUpper(v[i:])
}

// misnamed are cookies with a good value, and a name that is not the session's.
var misnamed = []string{"%5F_Host-session", "=__Host-session", "\u00a0__Host-session", "__host-session", "__HOST-SESSION", "__Host-session ", "__Host-sessio", "__Host-sessionn", `"__Host-session"`, "session", ""}

// header returns Cookie header lines that hold no good cookie.
func header(r *rand.Rand, names []string, name, value string) []string {
	if r.IntN(20) == 0 {
		return []string{misnamed[r.IntN(len(misnamed))] + "=" + value}
	}
	one := func() string {
		for {
			v := spoiled[names[r.IntN(len(names))]](r, value)
			if !strings.Contains(name+"="+v+";", name+"="+value+";") && strings.TrimSpace(v) != value {
				return name + "=" + v
			}
		}
	}
	switch r.IntN(6) {
	case 0:
		return []string{one() + "; " + one() + "; " + one() + "; " + one() + "; " + one() + "; " + one()}
	case 1:
		return []string{one(), "other=1; " + one()}
	case 2:
		same := one()
		return []string{same + "; " + same}
	}
	return []string{one()}
}

func TestGuarantee11_TenThousandBadCookies(t *testing.T) {
	var names []string
	for name := range spoiled {
		names = append(names, name)
	}
	stores := valueStores(t)
	stores["signed"] = must(session.NewSignedCookieStore(secretOne))
	for kind, store := range stores {
		t.Run(kind, func(t *testing.T) {
			counting := &countingStore{Store: store}
			site := newSite(t, counting, session.Config{})
			good := site.visitor()
			good.must(func(s *session.Session) { require.NoError(t, s.Login("ada")); s.Set("k", "v") })
			made := counting.calls()
			random := rand.New(rand.NewPCG(1, 2))
			for range 10_000 {
				lines := header(random, names, site.name, good.cookie)
				resp := site.serve(func(_ http.ResponseWriter, r *http.Request) {
					s := session.FromContext(r.Context())
					if s.ID() != "" || s.User() != "" || len(s.Keys()) > 0 || s.Err() != nil || !s.IsNew() {
						t.Errorf("%q is accepted: %v, %v", lines, s, s.Err())
					}
				}, lines...)
				if resp.StatusCode != http.StatusOK || resp.Header["Set-Cookie"] != nil {
					t.Fatalf("%q is answered with %s and %q", lines, resp.Status, resp.Header["Set-Cookie"])
				}
			}
			require.Less(t, counting.calls()-made, int64(100))
			require.False(t, good.signedOut())
			require.Less(t, len(site.log()), 1000, "garbage does not fill the log")
		})
	}
}

// The checksum keeps garbage from the seal, and is no secret: here it is right each time, and the seal has to hold alone.
func TestGuarantee11_TenThousandBadSeals(t *testing.T) {
	names := slices.Sorted(maps.Keys(spoiled))
	for kind, construct := range kinds {
		t.Run(kind, func(t *testing.T) {
			site := newSite(t, must(construct(secretOne)), session.Config{})
			good := site.visitor()
			good.signIn("ada")
			sealed := unchecked(t, site.name, good.cookie)
			random := rand.New(rand.NewPCG(3, 4))
			for range 10_000 {
				forged := spoiled[names[random.IntN(len(names))]](random, sealed)
				if forged == sealed {
					continue
				}
				v := &visitor{site, checked(site.name, forged)}
				resp := v.must(func(s *session.Session) {
					if s.ID() != "" || s.User() != "" || s.Err() != nil {
						t.Errorf("%q is accepted: %v", forged, s.Err())
					}
				})
				require.Empty(t, resp.Cookies())
			}
			require.False(t, good.signedOut())
		})
	}
}

// What a client sends is never made the session's.
func TestGuarantee11_NothingForeignIsAdopted_GarbageIncluded(t *testing.T) {
	for kind, store := range map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": cookieStore(t, secretOne)} {
		site := newSite(t, store, session.Config{})
		foreign := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
		foreign.signIn("mallory") // well formed, and of another program's
		strange := newSite(t, cookieStore(t, secretTwo), session.Config{}).visitor()
		strange.signIn("mallory")
		for _, value := range []string{foreign.cookie, strange.cookie, "", "x", strings.Repeat("A", 48), foreign.view().id, "."} {
			for how, begin := range map[string]func(*session.Session){
				"Set":   func(s *session.Session) { s.Set("k", 1) },
				"Login": func(s *session.Session) { require.NoError(t, s.Login("ada")) },
			} {
				v := &visitor{site, value}
				v.must(func(s *session.Session) {
					require.True(t, s.IsNew())
					begin(s)
					require.NotEqual(t, foreign.view().id, s.ID())
				})
				require.NotEqual(t, value, v.cookie, "%s: %s with %q", kind, how, value)
				require.False(t, v.signedOut())
				require.True(t, value == "" || (&visitor{site, value}).signedOut(), "nothing is stored under theirs")
			}
		}
	}
}

func TestAdvisory_AnonymousTrafficWritesNothing(t *testing.T) {
	for _, store := range []session.Store{session.NewMemoryStore(), cookieStore(t, secretOne)} {
		counting := &countingStore{Store: store}
		v := newSite(t, counting, session.Config{}).visitor()
		for _, idle := range []func(*session.Session){
			func(s *session.Session) { s.User() }, func(s *session.Session) { s.Flashes() }, func(s *session.Session) { s.Delete("k") },
			func(s *session.Session) { s.Clear() }, func(s *session.Session) { require.NoError(t, s.Destroy()) },
			func(s *session.Session) { require.NoError(t, s.Regenerate()) }, func(s *session.Session) { require.NoError(t, s.Save(t.Context())) },
			func(s *session.Session) { s.Set("k", 1); s.Delete("k") }, func(s *session.Session) { s.Set("k", 1); s.Clear() },
			func(s *session.Session) { s.Flash("c", "m"); s.Flashes() },
		} {
			require.Empty(t, v.must(idle).Cookies())
		}
		require.Zero(t, counting.calls())
	}
}

// A wrapper that embeds the interface hides what more a store can do, and the rest works.
func TestStores_AWrapperHidesAbilitiesAndWorks(t *testing.T) {
	for kind, store := range map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": revocable(t)} {
		counting := &countingStore{Store: store}
		site := newSite(t, counting, session.Config{})
		v := site.visitor()
		v.signIn("ada")
		v.must(func(s *session.Session) { s.Set("k", 7) })
		require.Equal(t, 7, read[int](v, "k"), kind)
		thief := v.copied()
		v.must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
		require.True(t, thief.signedOut(), kind)
		v.must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
		require.Empty(t, v.cookie, kind)
		require.EqualValues(t, 1, counting.deletes.Load())
		_, err := site.manager.Sessions(t.Context(), "ada")
		require.ErrorIs(t, err, errors.ErrUnsupported, kind)
		_, err = site.manager.RevokeUser(t.Context(), "ada")
		require.ErrorIs(t, err, errors.ErrUnsupported, kind)
	}
}
