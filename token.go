package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/adler32"
	"io"
	"log/slog"
)

// Token is the content of the session's cookie. When it is printed, logged or marshalled, only its ID appears.
type Token struct {
	id     string
	realm  string
	room   int     // how many bytes its value may have in a cookie; zero for maxCookie
	value  *string // behind a pointer, so that fmt does not print it from a struct that holds a Token either
	cookie *string // the value as the cookie has it; nil if that was not made yet
}

// NewToken returns a token. It is for tests, and for stores that keep the session in the cookie. The Manager makes all
// other tokens.
func NewToken(id, value string) Token { return Token{id: id, value: &value} }

// idToken returns the token for calls that know a record only by its ID.
func idToken(id, realm string) Token { return NewToken(id, "").WithRealm(realm) }

// keptToken returns a token whose cookie is known.
func keptToken(id, realm, value, cookie string) Token {
	kept := struct{ value, cookie string }{value, cookie} // one piece of memory
	return Token{id: id, realm: realm, value: &kept.value, cookie: &kept.cookie}
}

// ID returns the ID under which a server store keeps the session, which Session.ID returns too. It is the hash of the
// secret, or the ID inside an encrypted cookie. It is public. It is empty for an encrypted cookie that has not been
// opened.
func (t Token) ID() string { return t.id }

// Value returns the secret. Only a store that keeps the session in the cookie needs it.
func (t Token) Value() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// Realm returns Config.Realm, for stores that bind encrypted cookies to it.
func (t Token) Realm() string { return t.realm }

// WithRealm returns a copy of t with this realm.
func (t Token) WithRealm(realm string) Token {
	if realm != t.realm {
		t.cookie = nil // its checksum depends on the realm
	}
	t.realm = realm
	return t
}

// opened returns a copy of t for the session that it has opened, with the room that the response's cookie has.
func (t Token) opened(id string, room int) Token {
	t.id, t.room = id, room
	return t
}

// String returns the ID.
func (t Token) String() string { return t.id }

// Format writes the ID, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.id) }

// LogValue returns the ID.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.id) }

// MarshalText returns the ID.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.id), nil }

const (
	secretSize = 32 // bytes of randomness in a server token: 256 bits, ASVS 5.0 7.2.3 asks for 128
	checkSize  = 4  // bytes of a checksum, by which garbage is refused without asking a store
	idSize     = 24 // bytes of the hash that make up the ID
	tokenSize  = (secretSize + checkSize) / 3 * 4
)

var base64url = base64.RawURLEncoding.Strict()

// newToken makes a server token of the realm.
func newToken(realm string) Token {
	var raw [secretSize + checkSize]byte
	_, _ = rand.Read(raw[:secretSize]) // never fails
	sum := tokenSum(realm, raw[:secretSize])
	copy(raw[secretSize:], sum[idSize:])
	value := base64url.EncodeToString(raw[:])
	return keptToken(base64url.EncodeToString(sum[:idSize]), realm, value, value)
}

// newToken makes a server token. A store that keeps the session in the cookie replaces its value.
func (c *Config) newToken() Token {
	t := newToken(c.Realm)
	t.room = c.room()
	return t
}

// room returns how many bytes a token's value may have in the cookie.
func (c *Config) room() int { return maxCookie - len(c.Name) }

// tokenSum hashes a token's secret. The first idSize bytes are the ID, and the next checkSize bytes the checksum. The
// realm is hashed too, so that Managers of different realms with one store do not accept each other's tokens.
func tokenSum(realm string, secret []byte) [sha256.Size]byte {
	var buf [128]byte
	b := append(buf[:0], "doorman session token\x00"...)
	b = append(b, realm...)
	b = append(b, 0)
	b = append(b, secret...)
	return sha256.Sum256(b)
}

// parseToken reads a cookie's value. The value has one of two forms: a server token of 48 characters, or a sealed
// value, a dot and a checksum. Both have a checksum, so that garbage is refused without asking a store. The form says
// which kind of token it is, so parseToken does not need to know the kind of the store.
func parseToken(realm, value string) (Token, bool) {
	if t, ok := parseServerToken(realm, value); ok {
		return t, true
	}
	dot := len(value) - 5
	if dot < 1 || value[dot] != '.' || len(value) > maxCookie {
		return Token{}, false
	}
	sealed := value[:dot]
	if sum := checksum(realm, sealed); value[dot+1:] != string(sum[:]) {
		return Token{}, false
	}
	return keptToken("", realm, sealed, value), true
}

func parseServerToken(realm, value string) (Token, bool) {
	var raw [secretSize + checkSize]byte
	if len(value) != tokenSize {
		return Token{}, false
	}
	if n, err := base64url.Decode(raw[:], []byte(value)); err != nil || n != len(raw) { // Decode skips line ends
		return Token{}, false
	}
	sum := tokenSum(realm, raw[:secretSize])
	if string(raw[secretSize:]) != string(sum[idSize:idSize+checkSize]) {
		return Token{}, false
	}
	return keptToken(base64url.EncodeToString(sum[:idSize]), realm, value, value), true
}

// sealedToken returns the token of a session that is sealed in text. If text has room, the checksum goes there.
func sealedToken(id, realm string, text []byte) Token {
	sum := checksum(realm, text)
	cookie := string(append(append(text, '.'), sum[:]...))
	return keptToken(id, realm, cookie[:len(text)], cookie)
}

// cookieValue returns the cookie's value for t. It is the reverse of parseToken.
func (t Token) cookieValue() string {
	if t.cookie != nil {
		return *t.cookie
	}
	value := t.Value()
	if _, ok := parseServerToken(t.realm, value); ok {
		return value
	}
	sum := checksum(t.realm, value)
	return value + "." + string(sum[:])
}

// checksumSize is what cookieValue adds to a sealed value.
const checksumSize = len(".1234")

// checksum returns four characters for the sealed value. It only keeps garbage away from the store. Anybody can compute
// it, but nobody can forge the seal. Adler-32 allocates nothing here, unlike the faster CRCs. Of its 32 bits it leaves
// out the 8 that hardly differ between texts of the same length.
func checksum[T ~string | ~[]byte](realm string, sealed T) (text [4]byte) {
	sum := adler32.Checksum([]byte(realm)) ^ adler32.Checksum([]byte(sealed))
	base64url.Encode(text[:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum)})
	return text
}

// sealed reports whether the session is in the cookie itself. Otherwise a store keeps it under the token's ID.
func (t Token) sealed() bool { return t.value != nil && len(*t.value) != tokenSize }
