package session_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

func TestGuarantee13_SecretsFromEnv(t *testing.T) {
	one, two, three := string(secretOne), string(secretTwo), string(secretThree)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"one":                     {one, []string{one}},
		"commas":                  {one + "," + two, []string{one, two}},
		"comma and space":         {one + ", " + two, []string{one, two}},
		"spaces":                  {one + " " + two, []string{one, two}},
		"lines of a file":         {one + "\n" + two + "\r\n" + three + "\n", []string{one, two, three}},
		"tabs":                    {"\t" + one + "\t" + two, []string{one, two}},
		"no-break space":          {one + "\u00a0" + two, []string{one, two}},
		"empty elements":          {",," + one + ",\t," + two + ",", []string{one, two}},
		"newest first":            {two + "," + one, []string{two, one}},
		"hex is not decoded":      {hex.EncodeToString(secretOne), []string{hex.EncodeToString(secretOne)}},
		"base64 is not decoded":   {"q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=", []string{"q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="}},
		"escapes are not decoded": {`%41\x41` + one, []string{`%41\x41` + one}},
		"quotes are kept":         {`"` + one + `"`, []string{`"` + one + `"`}},
		"32 bytes":                {one[:32], []string{one[:32]}},
		"binary":                  {"\xff\xfe" + one, []string{"\xff\xfe" + one}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SESSION_SECRETS", c.text)
			secrets, err := session.SecretsFromEnv("SESSION_SECRETS")
			require.NoError(t, err)
			got := make([]string, len(secrets))
			for i, secret := range secrets {
				got[i] = string(secret)
			}
			require.Equal(t, c.want, got)
			_, err = session.NewCookieStore(secrets...)
			require.NoError(t, err)
		})
	}
}

// weakSecrets are refused, with what the error says of them.
var weakSecrets = map[string]string{
	strings.Repeat("x", 31):            "has 31 bytes, and needs 32",
	string(secretOne[:31]):             "has 31 bytes, and needs 32",
	"short":                            "has 5 bytes, and needs 32",
	strings.Repeat("x", 64):            "has only 1 different bytes",
	strings.Repeat("abcdefg", 8):       "has only 7 different bytes",
	strings.Repeat("\x00", 32):         "has only 1 different bytes",
	"0123456789abcdef0123456789abcdef": "is, or looks like, an example",
	"0123456789ABCDEF0123456789ABCDEF": "is, or looks like, an example",
	"12345678901234567890123456789012": "is, or looks like, an example",
	"the-key-has-to-be-32-bytes-long!": "is, or looks like, an example",
	"passphrasewhichneedstobe32bytes!": "is, or looks like, an example",
	"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf": "is, or looks like, an example",
	"your-secret-goes-here-0123456789-abcdef":                          "is, or looks like, an example",
	"CHANGEME-CHANGEME-CHANGEME-CHANGEME":                              "is, or looks like, an example",
	"django-insecure-&8qy4l%hz0lkm!w9d#r7tzv^2k1":                      "is, or looks like, an example",
	"please-replace_me-with-something-random-42":                       "is, or looks like, an example",
	"my-super-secret-key-that-is-long-enough-1":                        "is, or looks like, an example",
}

func TestAdvisory_StaticSecret_RefusedByConstructors(t *testing.T) {
	constructors := map[string]func(...[]byte) (*session.CookieStore, error){
		"sealed": session.NewCookieStore, "signed": session.NewSignedCookieStore,
	}
	for kind, construct := range constructors {
		for weak, why := range weakSecrets {
			checkWeak(t, weak, "secret 1 of 1 "+why, func() error { _, err := construct([]byte(weak)); return err })
			checkWeak(t, weak, "secret 2 of 2 "+why, func() error { _, err := construct(secretOne, []byte(weak)); return err })
		}
		for _, none := range [][][]byte{nil, {}, {nil}, {{}}, {secretOne, nil}} {
			_, err := construct(none...)
			require.ErrorIs(t, err, session.ErrWeakSecret, "%s, %d secrets", kind, len(none))
			require.ErrorContains(t, err, "openssl rand -hex 32")
		}
	}
}

func TestAdvisory_StaticSecret_RefusedFromEnv(t *testing.T) {
	fromEnv := func() error { _, err := session.SecretsFromEnv("SESSION_SECRETS"); return err }
	for weak, why := range weakSecrets {
		if strings.ContainsAny(weak, "\x00 ,") {
			continue // no environment variable can hold the one, and the others are several secrets
		}
		t.Setenv("SESSION_SECRETS", weak)
		checkWeak(t, weak, "secret 1 of 1 "+why, fromEnv)
		t.Setenv("SESSION_SECRETS", string(secretOne)+","+weak)
		checkWeak(t, weak, "secret 2 of 2 "+why, fromEnv)
	}
	for _, empty := range []string{"", " ", ",", " ,\n\t, "} {
		t.Setenv("SESSION_SECRETS", empty)
		err := fromEnv()
		require.ErrorIs(t, err, session.ErrWeakSecret)
		require.ErrorContains(t, err, "there is none; make one with: openssl rand -hex 32")
		require.ErrorContains(t, err, "SESSION_SECRETS")
	}
	_, err := session.SecretsFromEnv("SESSION_SECRETS_THAT_NOBODY_SET")
	require.ErrorIs(t, err, session.ErrWeakSecret)
	require.ErrorContains(t, err, "SESSION_SECRETS_THAT_NOBODY_SET is not set; make one with: openssl rand -hex 32")
}

// checkWeak looks for an error that says why and how to do better, without saying the secret.
func checkWeak(t *testing.T, secret, why string, f func() error) {
	t.Helper()
	err := f()
	require.ErrorIs(t, err, session.ErrWeakSecret, "%q", secret)
	require.ErrorContains(t, err, why, "%q", secret)
	require.ErrorContains(t, err, "make one with: openssl rand -hex 32")
	require.NotContains(t, err.Error(), secret)
}

func TestSecrets_AreCopied(t *testing.T) {
	secret := bytes.Clone(secretOne)
	s := newSite(t, cookieStore(t, secret), session.Config{})
	clear(secret)
	v := s.visitor()
	v.signIn("ada")
	again := newSite(t, cookieStore(t, secretOne), session.Config{}).visitor()
	again.cookie = v.cookie
	require.False(t, again.signedOut())
}
