package session

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// Secrets that nobody uses.
const (
	goodSecret    = "9c41f7e02b6d8a53c7e1f09a4d2b68357bfe1c90"
	anotherSecret = "K7m2Zq9xWv4Tn8Lb3Rf6Yc1Hs5Jd0PgEuAoNiVtX"
	thirdSecret   = "f31d0c77ae58b2946e0f5a8cd17b3924e6a05cf8817d42b3"
)

func TestGuarantee13_SecretsFromEnv(t *testing.T) {
	one, two, three := goodSecret, anotherSecret, thirdSecret
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
		"hex is not decoded":      {hex.EncodeToString([]byte(two)), []string{hex.EncodeToString([]byte(two))}},
		"base64 is not decoded":   {"q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=", []string{"q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="}},
		"escapes are not decoded": {`%41\x41` + one, []string{`%41\x41` + one}},
		"quotes are kept":         {`"` + one + `"`, []string{`"` + one + `"`}},
		"32 bytes":                {one[:32], []string{one[:32]}},
		"binary":                  {"\xff\xfe" + one, []string{"\xff\xfe" + one}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SESSION_SECRETS", c.text)
			secrets, err := SecretsFromEnv("SESSION_SECRETS")
			require.NoError(t, err)
			got := make([]string, len(secrets))
			for i, secret := range secrets {
				got[i] = string(secret)
			}
			require.Equal(t, c.want, got)
		})
	}
}

const (
	isExample = "is, or looks like, an example"
	isTyped   = "looks like typed by a person"
)

// weakSecrets are refused, with what the error says of them.
var weakSecrets = map[string]string{
	strings.Repeat("x", 31):            "has 31 bytes, and needs 32",
	goodSecret[:31]:                    "has 31 bytes, and needs 32",
	"short":                            "has 5 bytes, and needs 32",
	strings.Repeat("x", 64):            "has only 1 different bytes",
	strings.Repeat("abcdefg", 8):       "has only 7 different bytes",
	strings.Repeat("\x00", 32):         "has only 1 different bytes",
	"iloveyouiloveyouiloveyouiloveyou": "has only 7 different bytes",

	"0123456789abcdef0123456789abcdef":                                 isExample,
	"0123456789ABCDEF0123456789ABCDEF":                                 isExample,
	"12345678901234567890123456789012":                                 isExample,
	"the-key-has-to-be-32-bytes-long!":                                 isExample,
	"passphrasewhichneedstobe32bytes!":                                 isExample,
	"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf": isExample,
	"your-secret-goes-here-0123456789-abcdef":                          isExample,
	"CHANGEME-CHANGEME-CHANGEME-CHANGEME":                              isExample,
	"django-insecure-&8qy4l%hz0lkm!w9d#r7tzv^2k1":                      isExample,
	"please-replace_me-with-something-random-42":                       isExample,
	"my-super-secret-key-that-is-long-enough-1":                        isExample,
	"MySuperSecretPassword1234567890!":                                 isExample,
	"zaq12wsxcde34rfvbgt56yhnmju78ik,":                                 isExample,
	"the quick brown fox jumps over the lazy dog":                      isExample,
	"3.14159265358979323846264338327950288":                            isExample,

	"12345678123456781234567812345678":        "is 8 bytes repeated",
	"Passw0rd!Passw0rd!Passw0rd!Passw0rd!":    "is 9 bytes repeated",
	"Tr0ub4dor&3Tr0ub4dor&3Tr0ub4dor&3":       "is 11 bytes repeated",
	"x9f3k2qp7vb5n1wzx9f3k2qp7vb5n1wzx9f3":    "is 16 bytes repeated",
	goodSecret[:31] + goodSecret[:31]:         "is 31 bytes repeated",
	"PaSsWoRd12pAsSwOrD12password12PASSWORD1": "is 10 bytes repeated",

	"qwertyuiopasdfghjklzxcvbnm123456":             isTyped,
	"1q2w3e4r5t6y7u8i9o0p[-]=asdfghjk":             isTyped,
	"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,":             isTyped,
	"!QAZ@WSX#EDC$RFV%TGB^YHN&UJM*IK<":             isTyped,
	"qazwsxedcrfvtgbyhnujmikolp1234567890":         isTyped,
	"!@#$%^&*()qwertyuiop!@#$%^&*()QWERTY":         isTyped,
	"azertyuiopqsdfghjklmwxcvbn123456":             isTyped,
	"qwertzuiopasdfghjklyxcvbnm123456":             isTyped,
	"asdfasdfasdfjklöjklöjklöasdfjklö":             isTyped,
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJ":         isTyped,
	"0123456789ABCDEFFEDCBA9876543210":             isTyped,
	"9876543210zyxwvutsrqponmlkjihgfed":            isTyped,
	"aaaabbbbccccddddeeeeffffgggghhhh":             isTyped,
	"0000111122223333444455556666777788889999":     isTyped,
	"a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6":             isTyped,
	"1a2b3c4d5e6f7g8h9i0j1k2l3m4n5o6p":             isTyped,
	"letmein123letmein456letmein789letmein":        isTyped,
	"Passw0rd!Passw1rd!Passw2rd!Passw3rd!":         isTyped,
	"$ecretKey$ecretKey$ecretKey!1234":             isTyped,
	"mysecretmysecretmysecretmysecret1":            isTyped,
	"ThisIsMyVerySecretSessionKey2024":             isTyped,
	"JWT_SECRET_KEY_FOR_DEVELOPMENT_ONLY_1":        isTyped,
	"my-app-session-secret-key-for-prod":           isTyped,
	"company-name-production-secret-2024!":         isTyped,
	"some-random-string-that-is-long-enough":       isTyped,
	"This is a long passphrase for my web site!":   isTyped,
	"correct horse battery staple correct horse":   isTyped,
	"correct horse battery staple again and again": isTyped,
	"loremipsumdolorsitametconsectetur":            isTyped,
	"unsereganzgeheimesitzungsschluessel1":         isTyped,
}

func TestAdvisory_StaticSecret_Refused(t *testing.T) {
	for weak, why := range weakSecrets {
		requireWeak(t, weak, "secret 1 of 1 "+why, checkSecrets([][]byte{[]byte(weak)}))
		requireWeak(t, weak, "secret 2 of 2 "+why, checkSecrets([][]byte{[]byte(goodSecret), []byte(weak)}))
	}
	for _, none := range [][][]byte{nil, {}, {nil}, {{}}, {[]byte(goodSecret), nil}} {
		err := checkSecrets(none)
		require.ErrorIs(t, err, ErrWeakSecret, "%d secrets", len(none))
		require.ErrorContains(t, err, howToSecret)
	}
}

func TestAdvisory_StaticSecret_RefusedFromEnv(t *testing.T) {
	fromEnv := func(text string) error {
		t.Setenv("SESSION_SECRETS", text)
		_, err := SecretsFromEnv("SESSION_SECRETS")
		return err
	}
	for weak, why := range weakSecrets {
		if strings.ContainsAny(weak, "\x00 ,") {
			continue // no environment variable can hold the one, and the others are several secrets
		}
		requireWeak(t, weak, "secret 1 of 1 "+why, fromEnv(weak))
		requireWeak(t, weak, "secret 2 of 2 "+why, fromEnv(goodSecret+","+weak))
	}
	for _, empty := range []string{"", " ", ",", " ,\n\t, "} {
		err := fromEnv(empty)
		require.ErrorIs(t, err, ErrWeakSecret)
		require.ErrorContains(t, err, "there is none; make one with: openssl rand -hex 32")
		require.ErrorContains(t, err, "SESSION_SECRETS")
	}
	_, err := SecretsFromEnv("SESSION_SECRETS_THAT_NOBODY_SET")
	require.ErrorIs(t, err, ErrWeakSecret)
	require.ErrorContains(t, err, "SESSION_SECRETS_THAT_NOBODY_SET is not set; make one with: openssl rand -hex 32")
}

// requireWeak looks for an error that says why and how to do better, without saying the secret.
func requireWeak(t *testing.T, secret, why string, err error) {
	t.Helper()
	require.ErrorIs(t, err, ErrWeakSecret, "%q", secret)
	require.ErrorContains(t, err, why, "%q", secret)
	require.ErrorContains(t, err, "make one with: openssl rand -hex 32")
	require.NotContains(t, err.Error(), secret)
}

// randomSecrets are ways to make a good secret.
var randomSecrets = map[string]func(random *rand.ChaCha8) []byte{
	"raw bytes":            func(random *rand.ChaCha8) []byte { return randomBytes(random, 32) },
	"openssl rand -hex 32": func(random *rand.ChaCha8) []byte { return hex.AppendEncode(nil, randomBytes(random, 32)) },
	"openssl rand -hex 16": func(random *rand.ChaCha8) []byte { return hex.AppendEncode(nil, randomBytes(random, 16)) },
	"openssl rand -base64 32": func(random *rand.ChaCha8) []byte {
		return base64.StdEncoding.AppendEncode(nil, randomBytes(random, 32))
	},
	"base64url of 32 bytes": func(random *rand.ChaCha8) []byte {
		return base64.RawURLEncoding.AppendEncode(nil, randomBytes(random, 32))
	},
}

func randomBytes(random *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	_, _ = random.Read(b)
	return b
}

func TestGuarantee13_RandomSecretsAreNeverRefused(t *testing.T) {
	for name, secret := range randomSecrets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.NewChaCha8([32]byte([]byte("a seed, so that each run is alike")))
			for range 200_000 { // a million in all
				if made := secret(random); secretFault(made) != "" {
					t.Fatalf("%q %s", made, secretFault(made))
				}
			}
		})
	}
}

// gorilla's NewCookieStore takes a hash key and a block key where this one takes secrets, new and old.
func TestSecrets_GorillasPairOfKeys(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	hash, block := randomBytes(random, 64), randomBytes(random, 32)
	for _, keys := range [][][]byte{{hash, block}, {hash, block, randomBytes(random, 64), randomBytes(random, 32)}} {
		err := checkSecrets(keys)
		require.ErrorIs(t, err, ErrWeakSecret)
		require.ErrorContains(t, err, "hash key and block key")
		require.ErrorContains(t, err, howToSecret)
		require.NotContains(t, err.Error(), string(block))
	}
	// What a rotation of secrets looks like.
	hexOf32, hexOf16 := []byte(hex.EncodeToString(block)), []byte(hex.EncodeToString(block[:16]))
	for _, rotated := range [][][]byte{
		{hexOf32, hexOf16}, {hexOf16, hexOf32}, {hexOf32, block}, {block, hash}, {randomBytes(random, 48), block}, {hash}, {block},
		{hash, randomBytes(random, 64)}, {block, randomBytes(random, 32)}, {[]byte(goodSecret), hash, block},
	} {
		require.NoError(t, checkSecrets(rotated), "%d and %d bytes", len(rotated[0]), len(rotated[len(rotated)-1]))
	}
}

func TestFindPeriod(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "a": 1, "aa": 1, "ab": 2, "abab": 2, "ababa": 2, "abcab": 5, "abcabc": 3, "abcabca": 3, "aabaab": 3, "abcdabce": 8,
	} {
		require.Equal(t, want, findPeriod(text), text)
	}
}

func TestIsSequence(t *testing.T) {
	for text, want := range map[string]bool{
		"aaa": true, "abc": true, "cba": true, "789": true, "321": true, "\x00\x01\x02": true, "\xff\xfe\xfd": true,
		"qwe": true, "poi": true, "1qa": true, "zaq": true, "890": true, "!@#": true, "!qa": true, "nm,": true,
		"ace": false, "aab": false, "aba": false, "qwr": false, "q2w": false, "pas": false, "0a1": false, "\xff\x00\x01": false, "é1": false,
	} {
		require.Equal(t, want, isSequence(text[0], text[1], text[2]), "%q", text)
	}
}

// FuzzSecrets: what is accepted is what stands in the text, whole, and an error tells nothing of it.
func FuzzSecrets(f *testing.F) {
	for _, text := range []string{
		"", ",", goodSecret, goodSecret + ", " + goodSecret, "changeme", strings.Repeat("x", 40), "\x00\xff" + goodSecret,
		strings.Repeat("12345678", 4), strings.Repeat("\xff", 96),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fields := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		secrets, err := parseSecrets(text)
		if err != nil {
			require.ErrorIs(t, err, ErrWeakSecret)
			require.ErrorContains(t, err, howToSecret)
			for _, field := range fields {
				require.False(t, len(field) > 16 && strings.Contains(err.Error(), field), "%q tells %q", err, field)
			}
			return
		}
		require.NotEmpty(t, secrets)
		require.Equal(t, fmt.Sprintf("%q", fields), fmt.Sprintf("%q", secrets))
		for _, secret := range secrets {
			require.GreaterOrEqual(t, len(secret), minSecret)
			require.Contains(t, text, string(secret))
		}
	})
}
