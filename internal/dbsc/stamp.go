package dbsc

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// A Purpose says what a stamp is for. A stamp for one purpose is not valid for another.
type Purpose byte

// The purposes, and what the time of a stamp means.
const (
	Proof        Purpose = 1 + iota // the bound cookie's value: when it expires
	Registration                    // a challenge to register a key: when the user signed in
	Renewal                         // a challenge to prove the key: when it was made
)

const (
	secretSize = 32
	timeSize   = 8
	macSize    = 16 // bytes of the MAC that a stamp has; with the time they make 32 characters without unused bits
	frontSize  = timeSize + macSize
	maxCarried = 1 << 10
	label      = "doorman session device binding\x00" // no other use of HMAC-SHA-256 begins with these bytes
)

var base64url = base64.RawURLEncoding.Strict()

// NewSecret returns a new key for stamps.
func NewSecret() []byte {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// Stamp returns a text in base64url with a time, to the microsecond, the bytes carried, and a MAC that also covers the
// purpose. If carried is empty, it has 32 characters.
func Stamp(secret []byte, purpose Purpose, at time.Time, carried []byte) string {
	raw := make([]byte, frontSize, frontSize+len(carried))
	binary.BigEndian.PutUint64(raw, uint64(at.UnixMicro()))
	copy(raw[timeSize:], mac(secret, purpose, raw[:timeSize], carried))
	return base64url.EncodeToString(append(raw, carried...))
}

// ReadStamp returns the time of a stamp for this purpose under this secret, and the bytes that it carries. A stamp has
// only one spelling.
func ReadStamp(secret []byte, purpose Purpose, text string) (at time.Time, carried []byte, ok bool) {
	var buf [2 * frontSize]byte // enough for a stamp that carries nothing
	if len(secret) != secretSize || len(text) > base64url.EncodedLen(frontSize+maxCarried) {
		return time.Time{}, nil, false
	}
	raw, err := base64url.AppendDecode(buf[:0], []byte(text))
	hasLineEnds := base64url.EncodedLen(len(raw)) != len(text) // the decoder skips them
	if err != nil || hasLineEnds || len(raw) < frontSize {
		return time.Time{}, nil, false
	}
	if !hmac.Equal(raw[timeSize:frontSize], mac(secret, purpose, raw[:timeSize], raw[frontSize:])) {
		return time.Time{}, nil, false
	}
	at = time.UnixMicro(int64(binary.BigEndian.Uint64(raw))).UTC()
	if len(raw) > frontSize {
		carried = bytes.Clone(raw[frontSize:]) // so that buf is on the heap only here
	}
	return at, carried, true
}

func mac(secret []byte, purpose Purpose, at, carried []byte) []byte {
	var buf [len(label) + 1 + timeSize]byte
	message := append(append(append(buf[:0], label...), byte(purpose)), at...)
	h := hmac.New(sha256.New, secret)
	h.Write(message)
	h.Write(carried)
	return h.Sum(nil)[:macSize]
}
