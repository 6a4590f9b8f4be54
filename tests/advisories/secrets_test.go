package advisories_test

import (
	"strings"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// weakSecrets are refused.
var weakSecrets = []string{
	strings.Repeat("x", 31), string(kit.SecretOne[:31]), "short", strings.Repeat("x", 64), strings.Repeat("abcdefg", 8),
	strings.Repeat("\x00", 32), "0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF",
	"12345678901234567890123456789012", "the-key-has-to-be-32-bytes-long!", "passphrasewhichneedstobe32bytes!",
	"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", "your-secret-goes-here-0123456789-abcdef",
	"CHANGEME-CHANGEME-CHANGEME-CHANGEME", "django-insecure-&8qy4l%hz0lkm!w9d#r7tzv^2k1",
	"please-replace_me-with-something-random-42", "my-super-secret-key-that-is-long-enough-1",
}

func TestAdvisory_StaticSecret_RefusedByConstructors(t *testing.T) {
	for kind, construct := range kit.CookieStores {
		for _, weak := range weakSecrets {
			_, err := construct([]byte(weak))
			requireWeak(t, err, "secret 1 of 1 ", weak)
			_, err = construct(kit.SecretOne, []byte(weak))
			requireWeak(t, err, "secret 2 of 2 ", weak)
		}
		for _, none := range [][][]byte{nil, {}, {nil}, {{}}, {kit.SecretOne, nil}} {
			_, err := construct(none...)
			require.ErrorIs(t, err, session.ErrWeakSecret, "%s, %d secrets", kind, len(none))
			require.ErrorContains(t, err, "openssl rand -hex 32")
		}
	}
}

// requireWeak looks for an error that says which secret and how to do better, without saying the secret.
func requireWeak(t *testing.T, err error, which, secret string) {
	t.Helper()
	require.ErrorIs(t, err, session.ErrWeakSecret, "%q", secret)
	require.ErrorContains(t, err, which, "%q", secret)
	require.ErrorContains(t, err, "make one with: openssl rand -hex 32")
	require.NotContains(t, err.Error(), secret)
}
