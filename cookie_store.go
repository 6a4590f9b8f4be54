package session

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"

	"github.com/doorman-go/session/internal/xaes"
)

// CookieStore keeps the session in the cookie, and nothing on the server. It can't do all that a server store can:
//
//   - If several requests change a session at the same time, the last response wins, and the other changes are lost.
//   - An older copy of a live session's cookie is accepted, with its older values: counters go back, and deleted
//     values return. Keep counters and step-up flags in a server store.
//   - Without WithRevocations a session can't be ended. A copied cookie works until its deadline, also after Destroy,
//     Login and Regenerate, and a late response can put it back. Revoke and RevokeUser return errors.ErrUnsupported.
//   - With WithRevocations a session that has ended is refused at the load and again at the commit. If several requests
//     regenerate one session at the same time, one of the new sessions goes on.
//   - Sessions can't be listed: Manager.Sessions returns errors.ErrUnsupported, and New refuses Config.MaxPerUser.
//     RevokeUser can't count, and Revoke can't tell whether there is such a session.
//   - There is room for about 2.9 KB of values.
//
// Cookies are bound to Config.Realm. The cookie's name binds them only because it is the default of Realm.
type CookieStore struct {
	keys  *realmCodecs
	ended Store // the list of ended sessions; nil for none
	fault error // WithRevocations got a store that can't be used
}

var _ UserEnder = (*CookieStore)(nil)

// NewCookieStore returns a store whose cookies are encrypted and authenticated (XAES-256-GCM). A secret has 32 bytes or
// more. The first secret encrypts, and all decrypt. A cookie of an older secret is encrypted again with the first one.
// To replace a secret on several servers, add the new one behind the old one everywhere, then put it first everywhere,
// then remove the old one when its sessions have ended.
//
// Services that share a secret, or a list of ended sessions, accept each other's cookies unless their Config.Realm
// differs. Set it in each.
//
// Each secret works alone. Gorilla's NewCookieStore takes pairs of a hash key and a block key; secrets that look like
// such a pair are refused. The error wraps ErrWeakSecret.
func NewCookieStore(secrets ...[]byte) (*CookieStore, error) {
	return newCookieStore(secrets, newSealingCodec)
}

// NewSignedCookieStore returns a store whose cookies the client can read but not forge (HMAC-SHA-256, by securecookie).
// The secrets are those of NewCookieStore.
func NewSignedCookieStore(secrets ...[]byte) (*CookieStore, error) {
	store, err := newCookieStore(secrets, newSigningCodec)
	if err == nil {
		store.keys.readable = true
	}
	return store, err
}

func newCookieStore(secrets [][]byte, newCodec newCodecFunc) (*CookieStore, error) {
	if err := checkSecrets(secrets); err != nil {
		return nil, err
	}
	kept := make([][]byte, len(secrets))
	for i, secret := range secrets {
		kept[i] = bytes.Clone(secret)
	}
	return &CookieStore{keys: &realmCodecs{secrets: kept, newCodec: newCodec}}, nil
}

// WithRevocations returns a store like c that keeps a list of ended sessions in ended, which can be any server store.
// Destroy, Regenerate, Login, Revoke and RevokeUser then end sessions in cookies too. Servers that share the secrets
// must share ended. If it can't be reached, loads and commits fail. New refuses nil and a CookieStore.
//
// An ended session stays on the list until the latest deadline that the ending request's cookie states. If another
// request has extended the session since, by SetLifetime, its cookie opens again after that deadline. So extend a
// session at a Login, which gives it a new ID.
func (c *CookieStore) WithRevocations(ended Store) *CookieStore {
	next := &CookieStore{keys: c.keys, ended: ended}
	if _, inCookie := ended.(*CookieStore); inCookie || isNil(ended) {
		next.ended, next.fault = nil, errors.New("session: WithRevocations needs a server store, which can keep what has ended")
	}
	return next
}

// Revocations returns the store that WithRevocations was given, or nil. The Manager keeps there too what finds sessions by
// their tags.
func (c *CookieStore) Revocations() Store { return c.ended }

// Check returns an error if the store that WithRevocations was given can't keep the list. New calls it.
func (c *CookieStore) Check() error { return c.fault }

// openedRecord is a record that was opened, and what the seal has beside it: one piece of memory for both. A pointer to
// until is the record's Version.
type openedRecord struct {
	Record
	until time.Time // the latest deadline that was ever sealed for this ID; SetLifetime may have shortened the session since
}

// Load implements Store.
func (c *CookieStore) Load(ctx context.Context, token Token) (*Record, error) {
	if err := errors.Join(c.fault, ctx.Err()); err != nil {
		return nil, err
	}
	if token.Value() == "" {
		return c.loadTombstone(ctx, token)
	}
	r, err := c.open(token)
	if err != nil {
		return nil, err
	}
	if c.ended == nil || !Now(ctx).Before(r.KeepUntil()) {
		return r, nil
	}
	known, err := c.loadEndings(ctx, r)
	if err != nil {
		return nil, err
	}
	ended, err := known.endOf(r)
	if ended != nil || err != nil {
		return ended, err
	}
	return r, nil
}

// Swap implements Store. Without WithRevocations it compares nothing, and a tombstone has no effect.
func (c *CookieStore) Swap(ctx context.Context, token Token, swaps ...Swap) (Token, error) {
	if err := errors.Join(c.fault, ctx.Err()); err != nil {
		return Token{}, err
	}
	if c.ended == nil || len(swaps) == 0 {
		return c.sealLast(token, swaps, Now(ctx))
	}
	ctx = context.WithValue(ctx, pastCacheKey{}, true)
	known, err := c.checkSwaps(ctx, swaps)
	if err != nil {
		return Token{}, err
	}
	next, err := c.sealLast(token, swaps, Now(ctx)) // before any tombstone: if a record does not fit, nothing ends
	if err != nil {
		return Token{}, err
	}
	if err := c.putTombstones(ctx, token, swaps, known); err != nil {
		return Token{}, err
	}
	if beginsAfterEnd(swaps) {
		// Another request may have ended the old session meanwhile, or may have followed its tombstone to the new
		// session. This second look finds out. A request that comes later finds the tombstone.
		if _, err := c.checkSwaps(ctx, swaps); err != nil {
			return Token{}, err
		}
	}
	return next, nil
}

// beginsAfterEnd reports whether one session ends and another begins.
func beginsAfterEnd(swaps []Swap) bool {
	var ends, begins bool
	for _, s := range swaps {
		ends = ends || s.New.Ended
		begins = begins || !s.New.Ended
	}
	return ends && begins
}

// sealLast seals the live records. It returns the token of the last one, or the given token if there is none.
func (c *CookieStore) sealLast(token Token, swaps []Swap, now time.Time) (Token, error) {
	next := token
	for _, s := range swaps {
		if s.New.Ended {
			continue
		}
		if s.New.Realm != token.Realm() {
			return Token{}, fmt.Errorf("session: a session of the realm %q can't be sealed for %q", s.New.Realm, token.Realm())
		}
		until := s.New.Deadline
		if s.Old != nil {
			until = c.sealedUntil(token, s, now)
		}
		var err error
		if next, err = c.seal(s.New, until, cmp.Or(token.room, maxCookie)); err != nil {
			return Token{}, err
		}
	}
	return next, nil
}

// sealedUntil returns the latest deadline that may have been sealed before for the ID of s. If this request has saved
// the old record itself, that record has a revision, and its Version is missing or out of date. Then the token of that
// save tells.
func (c *CookieStore) sealedUntil(token Token, s Swap, now time.Time) time.Time {
	unknown := now.Add(maxLifetime)
	if s.Old == nil {
		return unknown
	}
	if until, ok := s.Old.Version.(*time.Time); ok && s.Old.Revision == "" {
		return *until
	}
	r, err := c.open(token)
	if err != nil || r.ID != s.Old.ID {
		return unknown
	}
	return *r.Version.(*time.Time)
}

// seal returns the token that holds r. The plaintext is a number and the record. The number is the time
// from the record's deadline to until, in microseconds, or zero if until is not later. A sealed record has no
// revisions, because no store could look them up after an answer was lost.
func (c *CookieStore) seal(r *Record, until time.Time, room int) (Token, error) {
	codec, err := c.keys.of(r.Realm)
	if err != nil {
		return Token{}, err
	}
	bare := *r
	bare.Latest, bare.Revision = Revisions{}, ""
	front := codec.front()
	buf := make([]byte, front, front+binary.MaxVarintLen64+bare.size()+xaes.Overhead)
	buf = binary.AppendUvarint(buf, uint64(max(0, until.UnixMicro()-r.Deadline.UnixMicro())))
	if buf, err = bare.AppendBinary(buf); err != nil {
		return Token{}, fmt.Errorf("session: sealing the cookie: %w", err)
	}
	text, err := codec.seal(buf)
	if err != nil {
		return Token{}, fmt.Errorf("session: sealing the cookie: %w", err)
	}
	if over := len(text) + checksumSize - room; over > 0 {
		return Token{}, fmt.Errorf("%w by %d; %s; keep less in the session, or use a server store", ErrCookieTooLarge, over, largest(r))
	}
	return sealedToken(r.ID, r.Realm, text), nil
}

// open returns the record that token's value holds.
func (c *CookieStore) open(token Token) (*Record, error) {
	codec, err := c.keys.of(token.Realm())
	if err != nil {
		return nil, err
	}
	plain, stale, err := codec.open(token.Value())
	if err != nil {
		return nil, err
	}
	longer, n := binary.Uvarint(plain)
	if n <= 0 {
		return nil, errUnreadable
	}
	opened := new(openedRecord)
	r := &opened.Record
	if err := parseInto(r, plain[n:]); err != nil {
		return nil, err
	}
	if r.Realm != token.Realm() || r.Ended {
		return nil, errBadSeal
	}
	r.Stale = stale
	opened.until = time.UnixMicro(r.Deadline.UnixMicro() + int64(longer))
	r.Version = &opened.until
	return r, nil
}

// A cookieCodec seals and opens with the keys of one realm. It seals with the key of the first secret, and opens with
// all.
type cookieCodec interface {
	// front returns how many bytes seal needs in front of the plaintext.
	front() int

	// seal seals what comes after the front of buf, which it may overwrite. The text has room for a checksum.
	seal(buf []byte) (text []byte, err error)

	// open reports with stale that the first secret did not open the value.
	open(value string) (plain []byte, stale bool, err error)
}

type newCodecFunc func(secrets [][]byte, realm string) (cookieCodec, error)

// realmCodecs are the codecs by realm, each made when its realm is first used.
type realmCodecs struct {
	secrets  [][]byte
	newCodec newCodecFunc
	readable bool     // the client can read the cookies
	byRealm  sync.Map // string to cookieCodec; there are only a few realms
}

func (k *realmCodecs) of(realm string) (cookieCodec, error) {
	if made, ok := k.byRealm.Load(realm); ok {
		return made.(cookieCodec), nil
	}
	made, err := k.newCodec(k.secrets, realm)
	if err != nil {
		return nil, fmt.Errorf("session: deriving keys: %w", err)
	}
	k.byRealm.Store(realm, made)
	return made, nil
}

// deriveKey derives a key for one purpose and one realm from a secret (HKDF-SHA-256, RFC 5869), so that no key is used
// for two purposes.
func deriveKey(secret []byte, purpose, realm string, size int) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, purpose+"\x00"+realm, size)
}

// A sealed value has these parts, in base64url: the version of this format, the identifier of the key, the nonce, and
// the ciphertext of XAES-256-GCM.
const (
	sealVersion   = 1
	keyIDSize     = 4
	headerSize    = 1 + keyIDSize
	plainAt       = headerSize + xaes.NonceSize
	sealPurpose   = "doorman session sealed cookie"
	signPurpose   = "doorman session signed cookie"
	shortestValue = plainAt + xaes.Overhead
)

// sealingCodec encrypts and authenticates.
type sealingCodec []sealingKey

type sealingKey struct {
	aead   *xaes.AEAD
	header [headerSize]byte // values that this key has sealed begin with it
	data   []byte           // the additional data to authenticate: the purpose, the header and the realm
}

func newSealingCodec(secrets [][]byte, realm string) (cookieCodec, error) {
	keys := make(sealingCodec, len(secrets))
	for i, secret := range secrets {
		key, err := deriveKey(secret, sealPurpose+" key", realm, xaes.KeySize)
		if err != nil {
			return nil, err
		}
		id, err := deriveKey(secret, sealPurpose+" key identifier", realm, keyIDSize)
		if err != nil {
			return nil, err
		}
		if keys[i].aead, err = xaes.New(key); err != nil {
			return nil, err
		}
		keys[i].header[0] = sealVersion
		copy(keys[i].header[1:], id)
		keys[i].data = append(append([]byte(sealPurpose+"\x00"), keys[i].header[:]...), realm...)
	}
	return keys, nil
}

func (c sealingCodec) front() int { return plainAt }

func (c sealingCodec) seal(buf []byte) ([]byte, error) {
	key := &c[0]
	copy(buf, key.header[:])
	nonce := buf[headerSize:plainAt]
	_, _ = rand.Read(nonce) // never fails
	sealed := key.aead.Seal(buf[:plainAt], nonce, buf[plainAt:], key.data)
	room := make([]byte, 0, base64url.EncodedLen(len(sealed))+checksumSize)
	return base64url.AppendEncode(room, sealed), nil
}

func (c sealingCodec) open(value string) (plain []byte, stale bool, err error) {
	sealed, err := base64url.DecodeString(value)
	hasLineEnds := base64url.EncodedLen(len(sealed)) != len(value) // the decoder skips them
	if err != nil || hasLineEnds || len(sealed) < shortestValue {
		return nil, false, errBadSeal
	}
	for i := range c {
		key := &c[i]
		if string(sealed[:headerSize]) != string(key.header[:]) {
			continue
		}
		dst := sealed[plainAt:plainAt]
		if i+1 < len(c) { // another key may have the same identifier, and then needs the ciphertext unchanged
			dst = nil
		}
		plain, err := key.aead.Open(dst, sealed[headerSize:plainAt], sealed[plainAt:], key.data)
		if err == nil {
			return plain, i > 0, nil
		}
	}
	return nil, false, errBadSeal
}

// signingCodec authenticates.
type signingCodec []*securecookie.SecureCookie

func newSigningCodec(secrets [][]byte, realm string) (cookieCodec, error) {
	keys := make(signingCodec, len(secrets))
	for i, secret := range secrets {
		key, err := deriveKey(secret, signPurpose+" key", realm, sha256.Size)
		if err != nil {
			return nil, err
		}
		keys[i] = securecookie.New(key, nil).SetSerializer(securecookie.NopEncoder{})
		keys[i].MaxAge(0).MaxLength(0) // the record has the deadlines, and the caller checks the size
	}
	return keys, nil
}

func (c signingCodec) front() int { return 0 }

func (c signingCodec) seal(buf []byte) ([]byte, error) {
	value, err := c[0].Encode(signPurpose, buf)
	return append(make([]byte, 0, len(value)+checksumSize), value...), err
}

func (c signingCodec) open(value string) (plain []byte, stale bool, err error) {
	if !canonical(value) {
		return nil, false, errBadSeal
	}
	for i, key := range c {
		if key.Decode(signPurpose, value, &plain) == nil {
			return plain, i > 0, nil
		}
	}
	return nil, false, errBadSeal
}

// canonical reports whether value is spelled as securecookie would write it. Its decoder skips line ends and accepts
// any unused bits, but a session should have only one cookie. canonical does not check the rest of the base64url:
// securecookie does.
func canonical(value string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if strings.IndexByte(value, '\r') >= 0 || strings.IndexByte(value, '\n') >= 0 {
		return false
	}
	text := strings.TrimRight(value, "=")
	spare := [4]int{0, -1, 0x0f, 0x03}[len(text)%4] // unused bits of the last character; -1: no text has this length
	return text != "" && spare >= 0 && strings.IndexByte(alphabet, text[len(text)-1])&spare == 0
}
