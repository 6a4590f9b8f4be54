package guarantees_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// The characters that share their used bits with the last one are other spellings of the same cookie.
func TestGuarantee11_SealedCookiesHaveOneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne))
	spare := 0
	for n := range 12 { // lengths with all kinds of tails
		v := app.Browser()
		v.Must(func(s *session.Session) { s.Set("k", strings.Repeat("x", n)) })
		sealed := kit.Unchecked(t, app.Name, v.Cookie)
		raw := kit.Must(base64.RawURLEncoding.DecodeString(sealed))
		for _, last := range alphabet {
			spelling := sealed[:len(sealed)-1] + string(last)
			same := string(kit.Must(base64.RawURLEncoding.DecodeString(spelling))) == string(raw)
			if same && spelling != sealed {
				spare++
			}
			require.Equal(t, spelling != sealed, app.BrowserWith(kit.Checked(app.Name, spelling)).SignedOut(), "%s, last %c", sealed, last)
		}
	}
	require.Positive(t, spare)
}

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
	stores := kit.ValueStores(t)
	stores["signed"] = kit.Must(session.NewSignedCookieStore(kit.SecretOne))
	for kind, store := range stores {
		t.Run(kind, func(t *testing.T) {
			app := kit.New(t, session.Config{}, store)
			counting := app.Store()
			good := app.Browser()
			good.Must(func(s *session.Session) { require.NoError(t, s.Login("ada")); s.Set("k", "v") })
			made := counting.Count()
			random := rand.New(rand.NewPCG(1, 2))
			for range 10_000 {
				lines := header(random, names, app.Name, good.Cookie)
				resp := app.Serve(func(_ http.ResponseWriter, r *http.Request) {
					s := session.FromContext(r.Context())
					if s.ID() != "" || s.User() != "" || len(s.Keys()) > 0 || s.Err() != nil || !s.IsNew() {
						t.Errorf("%q is accepted: %v, %v", lines, s, s.Err())
					}
				}, lines...)
				if resp.StatusCode != http.StatusOK || resp.Header["Set-Cookie"] != nil {
					t.Fatalf("%q is answered with %s and %q", lines, resp.Status, resp.Header["Set-Cookie"])
				}
			}
			require.Less(t, counting.Count()-made, 100)
			require.False(t, good.SignedOut())
			require.Less(t, len(app.Log()), 1000, "garbage does not fill the log")
		})
	}
}

// The checksum keeps garbage from the seal, and is no secret: here it is right each time, and the seal has to hold alone.
func TestGuarantee11_TenThousandBadSeals(t *testing.T) {
	names := slices.Sorted(maps.Keys(spoiled))
	for kind, construct := range kit.CookieStores {
		t.Run(kind, func(t *testing.T) {
			app := kit.New(t, session.Config{}, kit.Must(construct(kit.SecretOne)))
			good := app.Browser()
			good.SignIn("ada")
			sealed := kit.Unchecked(t, app.Name, good.Cookie)
			random := rand.New(rand.NewPCG(3, 4))
			for range 10_000 {
				forged := spoiled[names[random.IntN(len(names))]](random, sealed)
				if forged == sealed {
					continue
				}
				v := app.BrowserWith(kit.Checked(app.Name, forged))
				resp := v.Must(func(s *session.Session) {
					if s.ID() != "" || s.User() != "" || s.Err() != nil {
						t.Errorf("%q is accepted: %v", forged, s.Err())
					}
				})
				require.Empty(t, resp.Cookies())
			}
			require.False(t, good.SignedOut())
		})
	}
}

// What a client sends is never made the session's.
func TestGuarantee11_NothingForeignIsAdopted_GarbageIncluded(t *testing.T) {
	for kind, store := range map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": kit.Sealed(t, kit.SecretOne)} {
		app := kit.New(t, session.Config{}, store)
		foreign := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
		foreign.SignIn("mallory") // well formed, and of another program's
		strange := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretTwo)).Browser()
		strange.SignIn("mallory")
		for _, value := range []string{foreign.Cookie, strange.Cookie, "", "x", strings.Repeat("A", 48), foreign.View().ID, "."} {
			for how, begin := range map[string]func(*session.Session){
				"Set":   func(s *session.Session) { s.Set("k", 1) },
				"Login": func(s *session.Session) { require.NoError(t, s.Login("ada")) },
			} {
				v := app.BrowserWith(value)
				v.Must(func(s *session.Session) {
					require.True(t, s.IsNew())
					begin(s)
					require.NotEqual(t, foreign.View().ID, s.ID())
				})
				require.NotEqual(t, value, v.Cookie, "%s: %s with %q", kind, how, value)
				require.False(t, v.SignedOut())
				require.True(t, value == "" || app.BrowserWith(value).SignedOut(), "nothing is stored under theirs")
			}
		}
	}
}

func TestGuarantee11_ServerTokensHaveOneSpelling(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	v := app.Browser()
	v.SignIn("ada")
	require.Regexp(t, `^[A-Za-z0-9_-]{48}$`, v.Cookie)
	store.ForgetCalls()
	for _, spelling := range []string{
		v.Cookie + "=", v.Cookie + "==", v.Cookie + "====", v.Cookie + "A", v.Cookie[:47], "\r" + v.Cookie, v.Cookie[:20] + "\n" + v.Cookie[20:],
		strings.ToUpper(v.Cookie), strings.ToLower(v.Cookie), " " + v.Cookie, v.Cookie + ".", v.Cookie + ".AAAA", `"` + v.Cookie + `"`,
		strings.NewReplacer("-", "+", "_", "/").Replace(v.Cookie) + "+", v.Cookie + v.Cookie, "%" + hex.EncodeToString([]byte(v.Cookie[:1])) + v.Cookie[1:],
		v.Cookie[:47] + "\x00", v.Cookie[:46] + "é",
	} {
		require.True(t, app.BrowserWith(spelling).SignedOut(), "%q", spelling)
	}
	require.Zero(t, store.Count(sessiontest.Load), "garbage is told before the store is asked")
	require.False(t, v.SignedOut())
}

// Where the last byte is zero, a token with a line end in it and without its last character reads the same except for its length.
func TestGuarantee11_ATokenOneCharacterShort(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	for range 10_000 {
		v.SignIn("ada")
		if raw := kit.Must(base64.RawURLEncoding.DecodeString(v.Cookie)); raw[35] == 0 {
			short := v.Copy()
			short.Cookie = v.Cookie[:20] + "\n" + v.Cookie[20:47]
			require.True(t, short.SignedOut())
			require.False(t, v.SignedOut())
			return
		}
	}
	t.Fatal("no token ends so")
}

func TestGuarantee11_CheckBytes(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	v := app.Browser()
	v.SignIn("ada")
	raw, err := base64.RawURLEncoding.DecodeString(v.Cookie)
	require.NoError(t, err)
	require.Len(t, raw, 36)
	store.ForgetCalls()
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		require.True(t, app.BrowserWith(base64.RawURLEncoding.EncodeToString(raw)).SignedOut(), "bit %d", bit)
		raw[bit/8] ^= 1 << (bit % 8)
	}
	require.Zero(t, store.Count(sessiontest.Load))
}
