package dbsc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var at = time.Date(2031, 5, 6, 7, 8, 9, 123456000, time.UTC)

func TestStamp_ComesBack(t *testing.T) {
	secret := NewSecret()
	for _, carried := range [][]byte{nil, []byte("a"), []byte("key"), make([]byte, maxCarried)} {
		for _, when := range []time.Time{at, time.UnixMicro(0), time.UnixMicro(-1)} {
			text := Stamp(secret, Renewal, when, carried)
			got, brought, ok := ReadStamp(secret, Renewal, text)
			require.True(t, ok)
			require.True(t, when.Equal(got))
			require.Equal(t, len(carried), len(brought))
			require.Equal(t, string(carried), string(brought))
		}
	}
	require.Len(t, Stamp(secret, Proof, at, nil), 32)
}

func TestStamp_IsForOnePurposeAndOneSecret(t *testing.T) {
	secret := NewSecret()
	purposes := []Purpose{Proof, Registration, Renewal}
	for _, made := range purposes {
		text := Stamp(secret, made, at, nil)
		for _, asked := range purposes {
			_, _, ok := ReadStamp(secret, asked, text)
			require.Equal(t, made == asked, ok)
		}
		for _, other := range [][]byte{NewSecret(), nil, {}, secret[:31], append(append([]byte{}, secret...), 0)} {
			_, _, ok := ReadStamp(other, made, text)
			require.False(t, ok)
		}
	}
}

func TestStamp_HasOneSpelling(t *testing.T) {
	secret := NewSecret()
	for _, carried := range []string{"", "k", "ke"} {
		text := Stamp(secret, Proof, at, []byte(carried))
		spellings := []string{"", text + "=", text + "\n", text[:5] + "\r\n" + text[5:], text + "A", text[1:], " " + text, strings.ToUpper(text)}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for i := range text {
			for _, c := range alphabet {
				if changed := text[:i] + string(c) + text[i+1:]; changed != text {
					spellings = append(spellings, changed)
				}
			}
		}
		for _, changed := range spellings {
			if changed == text {
				continue
			}
			_, _, ok := ReadStamp(secret, Proof, changed)
			require.False(t, ok, changed)
		}
	}
}

func TestReadText(t *testing.T) {
	for line, want := range map[string]string{
		`abc`: "abc", ` abc `: "abc", `"abc"`: "abc", `"abc";a=1`: "abc", `"abc" ; a`: "abc", `"a\"b\\c"`: `a"b\c`, `"a;b"`: "a;b",
	} {
		text, ok := ReadText([]string{line})
		require.True(t, ok, line)
		require.Equal(t, want, text, line)
	}
	for _, line := range []string{``, ` `, `"`, `""`, `"abc`, `"abc"d`, `"abc" "d"`, `"abc", "d"`, `"a\bc"`, `"a\`, "\"a\tb\"", `"ä"`} {
		_, ok := ReadText([]string{line})
		require.False(t, ok, line)
	}
	for _, lines := range [][]string{nil, {}, {"a", "b"}, {"a", "a"}} {
		_, ok := ReadText(lines)
		require.False(t, ok)
	}
}

// What is written can be read again, whatever is in a cookie's name.
func TestHeaders_AreQuoted(t *testing.T) {
	require.Equal(t, `(ES256 RS256);path="/a/b";challenge="c"`, Offer("/a/b", "c"))
	require.Equal(t, `"c";id="a\"b\\c"`, Challenge("c", `a"b\c`))
	text, ok := ReadText([]string{quote(`a"b\c`)})
	require.True(t, ok)
	require.Equal(t, `a"b\c`, text)
	require.JSONEq(t, `{"session_identifier":"s","refresh_url":"/r","scope":{"include_site":false},
		"credentials":[{"type":"cookie","name":"s-bound","attributes":"Path=/; Secure"}]}`, string(NewInstructions("s", "/r", "s-bound", "Path=/; Secure")))
}

// device is a key that signs.
type device struct {
	algorithm, jwk string
	sign           func(signed string) []byte
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func newEC(t testing.TB) device {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := key.PublicKey.Bytes()
	require.NoError(t, err)
	return device{"ES256", `{"kty":"EC","crv":"P-256","x":"` + encode(point[1:33]) + `","y":"` + encode(point[33:]) + `"}`, func(signed string) []byte {
		digest := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		require.NoError(t, err)
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}}
}

func newRSA(t testing.TB, bits int) device {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return device{"RS256", `{"kty":"RSA","n":"` + encode(key.N.Bytes()) + `","e":"AQAB"}`, func(signed string) []byte {
		digest := sha256.Sum256([]byte(signed))
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		require.NoError(t, err)
		return signature
	}}
}

func (d device) token(header, payload string) string {
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(d.sign(signed))
}

func (d device) registration(challenge string) string {
	return d.token(`{"typ":"dbsc+jwt","alg":"`+d.algorithm+`","jwk":`+d.jwk+`}`, `{"jti":"`+challenge+`"}`)
}

func (d device) proof(challenge string) string {
	return d.token(`{"typ":"dbsc+jwt","alg":"`+d.algorithm+`"}`, `{"jti":"`+challenge+`"}`)
}

func TestTokens_OfBothAlgorithms(t *testing.T) {
	other := newEC(t)
	for name, d := range map[string]device{"ES256": newEC(t), "RS256": newRSA(t, 2048), "RS256 of 4096 bits": newRSA(t, 4096)} {
		registration := d.registration("c")
		require.Less(t, len(registration), MaxToken, name)
		challenge, key, err := ReadRegistration(registration)
		require.NoError(t, err, name)
		require.Equal(t, "c", challenge)

		der, err := key.Marshal()
		require.NoError(t, err)
		require.Less(t, len(der), maxCarried)
		stored, err := ParseKey(der)
		require.NoError(t, err)
		keyOf := func(challenge string) (*Key, error) {
			require.Equal(t, "c2", challenge)
			return stored, nil
		}
		require.NoError(t, ReadProof(d.proof("c2"), keyOf), name)
		require.Error(t, ReadProof(other.proof("c2"), keyOf), name)
		require.Error(t, ReadProof(d.registration("c2"), keyOf), "a key has no place there")
		refused := errors.New("refused")
		require.ErrorIs(t, ReadProof(d.proof("c2"), func(string) (*Key, error) { return nil, refused }), refused)
		_, _, err = ReadRegistration(d.proof("c"))
		require.Error(t, err)
	}
}

// A token has one spelling. Line ends, which the decoder passes over, can't come in a header.
func TestTokens_HaveOneSpelling(t *testing.T) {
	d := newEC(t)
	good := d.registration("c")
	for _, changed := range []string{good + "\n", "\r\n" + good, good[:9] + "\n" + good[9:], good + "=", good + ".", " " + good} {
		_, _, err := ReadRegistration(changed)
		require.Error(t, err, changed)
	}
}

func TestTokens_KeysOfOtherSizesAreRefused(t *testing.T) {
	_, _, err := ReadRegistration(newRSA(t, 1024).registration("c"))
	require.Error(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	der, err := (&Key{&p384.PublicKey}).Marshal()
	require.NoError(t, err)
	_, err = ParseKey(der)
	require.Error(t, err)
	for _, garbage := range [][]byte{nil, {}, []byte("x"), make([]byte, 91)} {
		_, err = ParseKey(garbage)
		require.Error(t, err)
	}
}

func TestReadObject(t *testing.T) {
	for _, good := range []string{`{}`, `{"a":1}`, ` { "a" : {"b":[{}]} , "c":null } `} {
		_, err := readObject([]byte(good))
		require.NoError(t, err, good)
	}
	for _, bad := range []string{``, `x`, `null`, `[]`, `"a"`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1}x`, `{"a":1}{}`, `{"a":1,"a":1}`,
		"{\"a\xff\":1}", `{a:1}`, `{"a":01}`, `{"a":1 "b":2}`, strings.Repeat(`{"a":`, 20000)} {
		_, err := readObject([]byte(bad))
		require.Error(t, err, bad[:min(len(bad), 30)])
	}
	o, err := readObject([]byte(`{"a":"x","A":"y","n":null,"o":{}}`))
	require.NoError(t, err)
	text, err := o.text("a")
	require.NoError(t, err)
	require.Equal(t, "x", text)
	for _, name := range []string{"n", "o", "missing"} {
		_, err = o.text(name)
		require.Error(t, err, name)
	}
}

// FuzzToken looks for a token that panics, and for one that is taken although the device did not make it: of an ES256 key
// there are signatures that nobody made, so what was signed has to be the same.
func FuzzToken(f *testing.F) {
	d := newEC(f)
	registration := d.registration("challenge")
	_, key, err := ReadRegistration(registration)
	require.NoError(f, err)
	proof := d.proof("challenge")
	for _, seed := range []string{registration, proof, newRSA(f, 2048).registration("challenge"), "..", "", "e30.e30.AA", proof + "=", strings.Repeat("A", MaxToken+1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, brought, err := ReadRegistration(text); err == nil {
			der, err := brought.Marshal()
			require.NoError(t, err)
			_, err = ParseKey(der)
			require.NoError(t, err, "what is taken can be stored")
			requireCanonical(t, text)
		}
		if ReadProof(text, func(string) (*Key, error) { return key, nil }) == nil {
			require.Equal(t, proof[:strings.LastIndexByte(proof, '.')], text[:strings.LastIndexByte(text, '.')])
			requireCanonical(t, text)
		}
	})
}

// requireCanonical asserts that the token is in its only spelling.
func requireCanonical(t *testing.T, text string) {
	require.LessOrEqual(t, len(text), MaxToken)
	for _, part := range strings.Split(text, ".") {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		require.NoError(t, err)
		require.Equal(t, part, encode(raw))
	}
}

// FuzzStamp looks for a stamp that is taken although it was not made.
func FuzzStamp(f *testing.F) {
	secret := make([]byte, secretSize)
	made := Stamp(secret, Renewal, at, []byte("key"))
	f.Add(made)
	f.Add(Stamp(secret, Proof, at, nil))
	f.Fuzz(func(t *testing.T, text string) {
		for _, purpose := range []Purpose{Proof, Registration, Renewal} {
			if when, carried, ok := ReadStamp(secret, purpose, text); ok {
				require.Equal(t, text, Stamp(secret, purpose, when, carried))
			}
		}
	})
}

func FuzzReadText(f *testing.F) {
	for _, seed := range []string{`"a\"b"`, `abc`, `"a";b="c"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		text, ok := ReadText([]string{line})
		if ok && strings.HasPrefix(strings.Trim(line, " "), `"`) {
			again, ok := ReadText([]string{quote(text)})
			require.True(t, ok)
			require.Equal(t, text, again)
		}
	})
}
