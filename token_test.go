package session

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// leaks returns in which form the text holds the secret, or "".
func leaks(text, secret string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(secret)
	for form, s := range map[string]string{
		"itself":                   secret,
		"hexadecimal":              hex.EncodeToString([]byte(secret)),
		"decimal":                  strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		"Go bytes":                 strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}"),
		"base64":                   base64.StdEncoding.EncodeToString([]byte(secret)),
		"its bytes":                string(raw),
		"its bytes in hexadecimal": hex.EncodeToString(raw),
	} {
		if s != "" && strings.Contains(strings.ToLower(text), strings.ToLower(s)) {
			return form
		}
	}
	return ""
}

// inLogs returns v in every way that a program might put it into a log.
func inLogs(v any) map[string]string {
	all := map[string]string{}
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%p", "%T", "%10.3v", "%!",
	} {
		all[verb] = fmt.Sprintf(verb, v)
	}
	raw, err := json.Marshal(v)
	all["JSON"] = fmt.Sprint(string(raw), err)
	var text, object bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	slog.New(slog.NewJSONHandler(&object, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	all["slog text"], all["slog JSON"] = text.String(), object.String()
	all["error"] = fmt.Errorf("it failed: %w: %v", errors.New("x"), v).Error()
	return all
}

type tokenHolder struct {
	Public  Token
	private Token
	pointer *Token
	list    []Token
	byName  map[string]Token
	anyhow  any
}

func TestGuarantee14_TokensDoNotPrint(t *testing.T) {
	server := newToken("shop")
	sealed, ok := parseToken("shop", NewToken("", "a-sealed-value-that-is-private").WithRealm("shop").cookieValue())
	require.True(t, ok)
	for name, token := range map[string]Token{"server": server, "sealed": sealed, "custom": NewToken("the-id", "the-secret-value")} {
		require.NotEmpty(t, token.Value())
		h := tokenHolder{token, token, &token, []Token{token}, map[string]Token{"k": token}, token}
		for what, v := range map[string]any{
			"token": token, "pointer": &token, "holder": h, "pointer to a holder": &h, "slice": []any{token, h}, "map": map[string]any{"t": token},
		} {
			for how, text := range inLogs(v) {
				require.Empty(t, leaks(text, token.Value()), "%s, %s by %s: %s", name, what, how, text)
			}
		}
	}
}

func TestGuarantee14_PrintsAsItsID(t *testing.T) {
	token := NewToken("the-id", "the-secret-value")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, "the-id", fmt.Sprintf(verb, token), verb)
	}
	raw, err := json.Marshal(map[string]any{"t": token})
	require.NoError(t, err)
	require.JSONEq(t, `{"t":"the-id"}`, string(raw))
	require.Equal(t, "the-id", token.LogValue().String())
	require.Equal(t, "the-id", token.String())
	require.Equal(t, "the-secret-value", token.Value())
	require.Empty(t, Token{}.Value())
}

func TestToken_WithRealm(t *testing.T) {
	token := NewToken("the-id", "v")
	require.Empty(t, token.Realm())
	shop := token.WithRealm("shop")
	require.Equal(t, []string{"shop", "the-id", "v"}, []string{shop.Realm(), shop.ID(), shop.Value()})
	require.Empty(t, token.Realm(), "the other is not changed")
}

func TestParseToken_ReadsWhatCookieValueReturns(t *testing.T) {
	for range 100 {
		token := newToken("shop")
		require.Regexp(t, `^[A-Za-z0-9_-]{48}$`, token.cookieValue())
		require.Regexp(t, `^[A-Za-z0-9_-]{32}$`, token.ID())
		back, ok := parseToken("shop", token.cookieValue())
		require.True(t, ok)
		require.Equal(t, token, back)
	}
	for _, value := range []string{"v", "a.b", "..", strings.Repeat("x", tokenSize), strings.Repeat("v", maxCookie-checksumSize)} {
		back, ok := parseToken("shop", NewToken("the-id", value).WithRealm("shop").cookieValue())
		require.True(t, ok, value)
		require.Equal(t, value, back.Value())
		require.Equal(t, "shop", back.Realm())
		require.Empty(t, back.ID(), "only the store can tell")
	}
}

// A sealed value that looks like a server token would be taken for one. None does: its bytes would have to hash to its end.
func TestParseToken_ASealedValueOfAServerTokensLength(t *testing.T) {
	value := strings.Repeat("A", tokenSize)
	back, ok := parseToken("shop", NewToken("", value).WithRealm("shop").cookieValue())
	require.True(t, ok)
	require.Equal(t, value, back.Value())
	require.Empty(t, back.ID())
}

func TestGuarantee11_ServerTokensHaveOneSpelling(t *testing.T) {
	value := newToken("shop").cookieValue()
	for _, spelling := range []string{
		"", value + "=", value + "==", value + "====", value + "A", value[:47], "\r" + value, value[:20] + "\n" + value[20:],
		strings.ToUpper(value), strings.ToLower(value), " " + value, value + ".", value + ".AAAA", `"` + value + `"`, value + value,
		strings.NewReplacer("-", "+", "_", "/").Replace(value) + "+", "%" + hex.EncodeToString([]byte(value[:1])) + value[1:],
		value[:47] + "\x00", value[:46] + "é",
	} {
		_, ok := parseToken("shop", spelling)
		require.False(t, ok, "%q", spelling)
	}
}

// Where the last byte is zero, a token with a line end in it and without its last character reads the same except for its length.
func TestGuarantee11_ATokenOneCharacterShort(t *testing.T) {
	for range 100_000 {
		value := newToken("shop").cookieValue()
		raw, err := base64.RawURLEncoding.DecodeString(value)
		require.NoError(t, err)
		if raw[35] != 0 {
			continue
		}
		_, ok := parseToken("shop", value[:20]+"\n"+value[20:47])
		require.False(t, ok)
		return
	}
	t.Fatal("no token ends so")
}

func TestGuarantee11_CheckBytes(t *testing.T) {
	raw, err := base64.RawURLEncoding.DecodeString(newToken("shop").cookieValue())
	require.NoError(t, err)
	require.Len(t, raw, 36)
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		_, ok := parseToken("shop", base64.RawURLEncoding.EncodeToString(raw))
		require.False(t, ok, "bit %d", bit)
		raw[bit/8] ^= 1 << (bit % 8)
	}
}

func TestGuarantee11_SealedValuesHaveOneSpelling(t *testing.T) {
	value := NewToken("", "a-sealed-value").WithRealm("shop").cookieValue()
	require.Len(t, value, len("a-sealed-value")+checksumSize)
	for _, spelling := range []string{
		"", ".", "." + value, value + "=", value + ".", " " + value, value[1:], value[:len(value)-1], strings.ToUpper(value), `"` + value + `"`,
		value[:len(value)-checksumSize], "x" + value[1:], ".AAAA", "AAAA",
	} {
		_, ok := parseToken("shop", spelling)
		require.False(t, ok, "%q", spelling)
	}
	long := NewToken("", strings.Repeat("v", maxCookie)).WithRealm("shop").cookieValue()
	_, ok := parseToken("shop", long)
	require.False(t, ok, "no browser keeps it")
}

func TestAdvisory_SharedNamespace_RealmIsPartOfTheToken(t *testing.T) {
	for _, token := range []Token{newToken("shop"), NewToken("", "sealed").WithRealm("shop")} {
		for _, realm := range []string{"", "admin", "sho", "shop\x00"} {
			_, ok := parseToken(realm, token.cookieValue())
			require.False(t, ok, realm)
		}
	}
}

func TestGuarantee01_TokensAreRandom(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		token := newToken("shop")
		seen[token.ID()] = true
		seen[token.Value()] = true
	}
	require.Len(t, seen, 1000, "IDs and tokens, all different")
}

// The checksum in the cookie depends on the realm.
func TestToken_AnotherRealmHasAnotherCookie(t *testing.T) {
	for name, token := range map[string]Token{"server": newToken("shop"), "sealed": sealedToken("the-id", "shop", []byte("a-sealed-value"))} {
		fresh := NewToken(token.ID(), token.Value())
		require.Equal(t, fresh.WithRealm("shop").cookieValue(), token.cookieValue(), name)
		require.Equal(t, token.cookieValue(), token.WithRealm("shop").cookieValue(), name)
		require.Equal(t, fresh.WithRealm("admin").cookieValue(), token.WithRealm("admin").cookieValue(), name)
	}
}
