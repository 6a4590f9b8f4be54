package advisories_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestAdvisory_StaleFallbackKey_Rotation(t *testing.T) {
	for kind, construct := range kit.CookieStores {
		t.Run(kind, func(t *testing.T) {
			stores := func(secrets ...[]byte) session.Store { s, _ := construct(secrets...); return s }
			old := kit.New(t, session.Config{}, stores(kit.SecretOne)).Browser()
			old.SignIn("ada")
			require.Empty(t, old.Must(func(s *session.Session) { s.User() }).Cookies(), "nothing to re-seal")

			both := old.On(stores(kit.SecretTwo, kit.SecretOne))
			both.App.Clock.Advance(time.Second)
			resp := both.Must(func(s *session.Session) { require.Equal(t, "ada", s.User()) })
			require.Len(t, resp.Cookies(), 1, "re-sealed by a request that only reads")
			require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
			require.NotEqual(t, old.Cookie, both.Cookie)
			require.Empty(t, both.Must(func(s *session.Session) { s.User() }).Cookies(), "once")

			require.False(t, both.On(stores(kit.SecretTwo)).SignedOut(), "it is sealed by the new secret")
			require.True(t, both.On(stores(kit.SecretOne)).SignedOut(), "and by it only")
			require.True(t, both.On(stores(kit.SecretThree, kit.SecretOne)).SignedOut())
			require.False(t, both.On(stores(kit.SecretThree, kit.SecretOne, kit.SecretTwo)).SignedOut(), "all open")
			require.False(t, old.On(stores(kit.SecretTwo, kit.SecretOne)).SignedOut())

			dropped := old.On(stores(kit.SecretTwo))
			require.True(t, dropped.SignedOut())
			require.Equal(t, []string{"rejected: bad seal"}, dropped.App.Happened())
			require.Empty(t, dropped.Must(func(s *session.Session) { s.User() }).Cookies())
		})
	}
}

func TestAdvisory_SharedNamespace_NameIsBoundIntoTheSeal(t *testing.T) {
	for kind, construct := range kit.CookieStores {
		store, _ := construct(kit.SecretOne)
		one, two := kit.New(t, session.Config{Name: "one"}, store), kit.New(t, session.Config{Name: "two"}, store)
		v := one.Browser()
		v.SignIn("ada")
		moved := two.BrowserWith(kit.Checked("two", kit.Unchecked(t, "one", v.Cookie)))
		require.True(t, moved.SignedOut(), kind)
		require.Equal(t, []string{"rejected: bad seal"}, two.Happened(), "it came as far as the seal")
	}
}

func TestAdvisory_DecryptFailure_Tampered(t *testing.T) {
	for kind, construct := range kit.CookieStores {
		store, _ := construct(kit.SecretOne, kit.SecretTwo)
		v := kit.New(t, session.Config{}, store).Browser()
		v.SignIn("ada")
		name, sealed := v.App.Name, kit.Unchecked(t, v.App.Name, v.Cookie)
		refused := func(what, forged string) {
			require.True(t, v.App.BrowserWith(kit.Checked(name, forged)).SignedOut(), "%s: %s", kind, what)
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
			"empty": "", "a dot": ".", "decoded once": string(kit.Must(base64.RawURLEncoding.DecodeString(strings.TrimRight(sealed, "=")))), "no padding": strings.TrimRight(sealed, "="),
		} {
			if forged != sealed {
				refused(what, forged)
			}
		}
		require.False(t, v.SignedOut(), kind)
	}
}
