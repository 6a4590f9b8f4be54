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

// Token is what the session's cookie carries. It prints, logs and marshals as its ID.
type Token struct {
	id     string
	cookie string  // the cookie's name
	value  *string // behind a pointer, so that fmt does not print it from a struct that holds a Token either
}

// NewToken returns a token. It is for stores that keep the session in the cookie itself, and for tests; the Manager
// makes all others.
func NewToken(id, value string) Token { return Token{id: id, value: &value} }

// ID returns the public handle: what a server store keys by, and what Session.ID returns. It is the hash of the value,
// or the id inside a sealed cookie; it is empty for a sealed cookie that has not been opened.
func (t Token) ID() string { return t.id }

// Value returns the secret. Only a store that keeps the session in the cookie itself needs it.
func (t Token) Value() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// Cookie returns the name of the cookie that carries the token, for stores that bind what they seal to it.
func (t Token) Cookie() string { return t.cookie }

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
	checkSize  = 4  // bytes that tell garbage before a store is asked
	idSize     = 24 // bytes of the hash that are the public handle
	tokenSize  = (secretSize + checkSize) / 3 * 4
)

var base64url = base64.RawURLEncoding.Strict()

// newToken makes a server token for the cookie named.
func newToken(cookie string) Token {
	var raw [secretSize + checkSize]byte
	_, _ = rand.Read(raw[:secretSize]) // never fails
	sum := tokenSum(cookie, raw[:secretSize])
	copy(raw[secretSize:], sum[idSize:])
	value := base64url.EncodeToString(raw[:])
	return Token{id: base64url.EncodeToString(sum[:idSize]), cookie: cookie, value: &value}
}

// tokenSum hashes a token's secret: the first idSize bytes are the handle, the next ones the check. The cookie's name is
// part of it, so that two managers with one store do not accept each other's tokens.
func tokenSum(cookie string, secret []byte) [sha256.Size]byte {
	var buf [128]byte
	b := append(buf[:0], "doorman session token\x00"...)
	b = append(b, cookie...)
	b = append(b, 0)
	b = append(b, secret...)
	return sha256.Sum256(b)
}

// parseToken reads a cookie's value. It has one of two shapes: a server token of 48 characters, or what a store sealed,
// a dot and a checksum. In both, garbage is told from what could be a token without asking a store; and as the shape
// says which it is, nobody has to know the kind of the store.
func parseToken(cookie, value string) (Token, bool) {
	if t, ok := parseServerToken(cookie, value); ok {
		return t, true
	}
	dot := len(value) - 5
	if dot < 1 || value[dot] != '.' || len(cookie)+len(value) > maxCookie {
		return Token{}, false
	}
	sealed := value[:dot]
	if sum := checksum(cookie, sealed); value[dot+1:] != string(sum[:]) {
		return Token{}, false
	}
	return Token{cookie: cookie, value: &sealed}, true
}

func parseServerToken(cookie, value string) (Token, bool) {
	var raw [secretSize + checkSize]byte
	if len(value) != tokenSize {
		return Token{}, false
	}
	if n, err := base64url.Decode(raw[:], []byte(value)); err != nil || n != len(raw) { // it passes over line ends, and then there are too few
		return Token{}, false
	}
	sum := tokenSum(cookie, raw[:secretSize])
	if string(raw[secretSize:]) != string(sum[idSize:idSize+checkSize]) {
		return Token{}, false
	}
	kept := value // a copy, so that it is on the heap only here
	return Token{id: base64url.EncodeToString(sum[:idSize]), cookie: cookie, value: &kept}, true
}

// cookieValue returns what the cookie carries for t: the reverse of parseToken.
func (t Token) cookieValue() string {
	value := t.Value()
	if _, ok := parseServerToken(t.cookie, value); ok {
		return value
	}
	sum := checksum(t.cookie, value)
	return value + "." + string(sum[:])
}

// checksum returns four characters for the sealed value. It only keeps garbage from the store: whoever wants to can
// compute it, and then meets the seal. Adler-32 reads the text where it stands, which the faster CRCs do not; of its 32
// bits those are left out that texts of one length have in common.
func checksum(cookie, sealed string) (text [4]byte) {
	sum := adler32.Checksum([]byte(cookie)) ^ adler32.Checksum([]byte(sealed))
	base64url.Encode(text[:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum)})
	return text
}
