package session

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

// CookieStore keeps the session in the cookie itself, so that the server keeps nothing. What that means: the last
// response wins where two requests change the session at once, there is room for about 2.2 KB of values, sessions can't
// be listed, and without a RevocationList a copied cookie works until its deadline, logout or not.
type CookieStore struct {
	codecs      []*securecookie.SecureCookie // the first seals, all open
	revocations RevocationList               // nil: none
}

var _ Revoker = (*CookieStore)(nil)

// errBadSeal is how Load refuses what none of the secrets opens.
var errBadSeal = fmt.Errorf("%w: no secret opens the cookie", ErrNotFound)

// NewCookieStore returns a store whose cookies are signed and encrypted (AES-256 in counter mode, then HMAC-SHA-256, by
// securecookie). Secrets are 32 bytes or more, the newest first: the first seals and all open, and a cookie that an
// older one opened is sealed again with the first. The error wraps ErrWeakSecret.
func NewCookieStore(secrets ...[]byte) (*CookieStore, error) {
	return newCookieStore("session sealed v1", true, secrets)
}

// NewSignedCookieStore returns a store whose cookies the client can read, and not forge. See NewCookieStore.
func NewSignedCookieStore(secrets ...[]byte) (*CookieStore, error) {
	return newCookieStore("session signed v1", false, secrets)
}

func newCookieStore(purpose string, encrypt bool, secrets [][]byte) (*CookieStore, error) {
	if err := checkSecrets(secrets); err != nil {
		return nil, err
	}
	c := &CookieStore{}
	for _, secret := range secrets {
		hashKey, err := deriveKey(secret, purpose+" hash")
		if err != nil {
			return nil, err
		}
		var blockKey []byte
		if encrypt {
			if blockKey, err = deriveKey(secret, purpose+" block"); err != nil {
				return nil, err
			}
		}
		codec := securecookie.New(hashKey, blockKey).SetSerializer(securecookie.NopEncoder{})
		codec.MaxAge(0).MaxLength(0) // the deadlines are inside, and the size is checked with the cookie's name
		c.codecs = append(c.codecs, codec)
	}
	return c, nil
}

// deriveKey makes a key for one purpose out of a secret (HKDF-SHA-256, RFC 5869), so that none is used for two things.
func deriveKey(secret []byte, purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, purpose, 32)
}

// WithRevocations returns a store like c that asks list whether a session has ended, when it is loaded and again when it
// is saved: Destroy, Regenerate, Login, Revoke and RevokeUser then hold for sealed cookies too. An id stays on the list
// until the latest deadline that this request knows of: where SetLifetime lengthens a session while it is logged out, the
// longer cookie opens again after the shorter deadline, so lengthen with a Login. If the list's reply to a new id is lost,
// a Save that is tried again may find the session ended.
func (c *CookieStore) WithRevocations(list RevocationList) *CookieStore {
	return &CookieStore{codecs: c.codecs, revocations: list}
}

// Load implements Store.
func (c *CookieStore) Load(ctx context.Context, token Token) (*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := c.unseal(token)
	if err != nil {
		return nil, err
	}
	if _, err := c.check(ctx, r, Now(ctx)); err != nil {
		return nil, err
	}
	return r, nil
}

// Save implements Store.
func (c *CookieStore) Save(ctx context.Context, token Token, change *Change) (Token, error) {
	now := Now(ctx)
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	r, revokedAt, err := c.resolve(ctx, change, now)
	if err != nil {
		return Token{}, err
	}
	r.latest = time.Time{}
	if change.Create {
		r.Issued = laterThan(revokedAt, r.Issued)
		*change.Record = *r // what a further commit of the same request starts from
	} else if change.Base != nil {
		r.latest = change.Base.lastDeadline()
	}
	sealed, err := c.seal(token.cookie, r)
	if err != nil {
		return Token{}, err
	}
	if change.Replaces() != "" {
		err = c.Delete(ctx, change.Base.ID, change.Base.lastDeadline())
	}
	return Token{id: r.ID, cookie: token.cookie, value: &sealed}, err
}

// resolve returns the record to seal, and when its user's sessions were last revoked: the whole session as the request
// sees it, if the one that it starts from stands. A login goes on without.
func (c *CookieStore) resolve(ctx context.Context, change *Change, now time.Time) (r *Record, revokedAt time.Time, err error) {
	r = change.Record
	if change.Base != nil {
		revokedAt, err = c.check(ctx, change.Base, now)
		switch {
		case err == nil && !change.Fresh:
			return r, revokedAt, nil // and is not asked again: a revocation that comes now means the new id too
		case err == nil:
		case change.Fresh && errors.Is(err, ErrNotFound):
			if r, err = change.Apply(nil, nil, now); err != nil {
				return nil, time.Time{}, err
			}
		default:
			return nil, time.Time{}, err
		}
	}
	if revokedAt, err = c.check(ctx, r, now); errors.Is(err, ErrNotFound) {
		err = nil // what begins has not ended
	}
	return r, revokedAt, err
}

// laterThan returns the time at which a session is issued: later than its user's sessions were last revoked, by whatever
// clock.
func laterThan(revokedAt, issued time.Time) time.Time {
	if issued.After(revokedAt) {
		return issued
	}
	return revokedAt.Add(time.Microsecond)
}

// Delete implements Store. Without a RevocationList there is nothing it can do: a copy of the cookie stays good.
func (c *CookieStore) Delete(ctx context.Context, id string, until time.Time) error {
	if c.revocations == nil {
		return nil
	}
	return c.revocations.EndSession(ctx, "", id, until)
}

var errNoRevocations = fmt.Errorf("session: a CookieStore can't revoke without a RevocationList: %w", errors.ErrUnsupported)

// EndUserSession implements Revoker. It can't know whether there is such a session, and returns nil if not; but what
// can't be a handle, it does not put on the list.
func (c *CookieStore) EndUserSession(ctx context.Context, user, id string) error {
	if c.revocations == nil {
		return errNoRevocations
	}
	if raw, err := base64url.DecodeString(id); err != nil || len(raw) != idSize {
		return ErrNotFound
	}
	return c.revocations.EndSession(ctx, user, id, Now(ctx).Add(maxLifetime))
}

// EndUserSessions implements Revoker. It can't know how many sessions there are, and returns zero.
func (c *CookieStore) EndUserSessions(ctx context.Context, user string, except []string) (int, error) {
	if c.revocations == nil {
		return 0, errNoRevocations
	}
	now := Now(ctx)
	return 0, c.revocations.EndUser(ctx, user, now, except, now.Add(maxLifetime))
}

// check tells whether a session stands, which the list is asked about, and returns when its user's sessions were last
// revoked.
func (c *CookieStore) check(ctx context.Context, r *Record, now time.Time) (userRevokedAt time.Time, err error) {
	if err := r.Live(now); err != nil || c.revocations == nil {
		return time.Time{}, err
	}
	status, err := c.revocations.Status(ctx, r.User, r.ID, r.Issued)
	switch {
	case err != nil:
		return time.Time{}, err
	case status.EndedAt.IsZero():
		return status.UserRevokedAt, nil
	case now.Sub(status.EndedAt) < tombstoneAge:
		return status.UserRevokedAt, errEnded
	}
	return status.UserRevokedAt, ErrNotFound
}

// seal returns the cookie's value for r.
func (c *CookieStore) seal(cookie string, r *Record) (string, error) {
	sealed, err := c.codecs[0].Encode(cookie, packRecord(r))
	if err != nil {
		return "", fmt.Errorf("session: sealing the cookie: %w", err)
	}
	if len(cookie)+len(sealed)+len(".1234") > maxCookie {
		return "", ErrCookieTooLarge
	}
	return sealed, nil
}

func (c *CookieStore) unseal(token Token) (*Record, error) {
	value := token.Value()
	if !canonical(value) {
		return nil, errBadSeal
	}
	opened := &struct { // in one piece: the record's values are parts of what was packed
		packed []byte
		record Record
	}{}
	for i, codec := range c.codecs {
		if codec.Decode(token.cookie, value, &opened.packed) != nil {
			continue
		}
		if err := unpackRecord(opened.packed, &opened.record); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		opened.record.Stale = i > 0
		return &opened.record, nil
	}
	return nil, errBadSeal
}

// canonical tells whether value, if the decoder takes it, is in the only spelling that seal writes: the decoder passes
// over line ends and takes any spare bits, and a session should have one cookie. What is no base64url at all it refuses.
func canonical(value string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if strings.IndexByte(value, '\r') >= 0 || strings.IndexByte(value, '\n') >= 0 {
		return false
	}
	text := strings.TrimRight(value, "=")
	spare := [4]int{0, -1, 0x0f, 0x03}[len(text)%4] // unused bits of the last character; no text has such a length
	return text != "" && spare >= 0 && strings.IndexByte(alphabet, text[len(text)-1])&spare == 0
}
