package session

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"time"
)

// A Record is a session as it is stored, or the tombstone of one. It can be converted to JSON and to a compact binary
// form (docs/record-format.md), and back without loss. A store may keep either. Times have the precision of a
// microsecond.
type Record struct {
	ID       string `json:"id"`       // as in Token.ID
	Revision string `json:"revision"` // a new random one with each write

	Realm string `json:"realm,omitempty"` // Config.Realm
	User  string `json:"user,omitempty"`  // empty until Login; never changes under one ID
	Note  string `json:"note,omitempty"`  // by Session.SetNote; of a tombstone the reason of the end
	Tag   string `json:"tag,omitempty"`   // by Session.SetTag

	CreatedAt       time.Time `json:"createdAt"`                // start of the session, from which its lifetime is counted
	AuthenticatedAt time.Time `json:"authenticatedAt,omitzero"` // the last Login; zero if there was none
	IssuedAt        time.Time `json:"issuedAt"`                 // what a revocation of all of a user's sessions goes by; Regenerate keeps it. Of a tombstone: when it was put
	RegeneratedAt   time.Time `json:"regeneratedAt,omitzero"`   // when this ID took the place of another; zero if it is the session's first
	LastUsedAt      time.Time `json:"lastUsedAt"`               // last use, to the precision of a touch
	Deadline        time.Time `json:"deadline"`                 // absolute end, of a tombstone too; never extended by use

	IdleTimeout time.Duration `json:"idleTimeout,omitempty"` // how long the session may be unused; zero for any time
	Persistent  bool          `json:"persistent,omitempty"`  // the cookie survives closing the browser

	Binding Binding `json:"binding,omitzero"` // to a device; a tombstone has none

	Values  Values        `json:"values,omitzero"`
	Flashes []StoredFlash `json:"flashes,omitempty"` // in their order

	Ended     bool   `json:"ended,omitempty"`     // a tombstone: realm and user stay
	Revoked   bool   `json:"revoked,omitempty"`   // ended from outside: the browser was given nothing in its place
	Successor string `json:"successor,omitempty"` // the ID that a regenerated session goes on under
	Claim     string `json:"claim,omitempty"`     // the ID of the claim by which an adopted session began, until its cookie has arrived

	// Latest are the revisions of the last 30 s, at most 32, with the record's own as the last. They tell whether a
	// change was made whose answer was lost.
	Latest Revisions `json:"latest,omitzero"`

	// Version belongs to the store: a database's row version, for example. Load sets it, and Swap finds it in Old. It
	// is not part of the JSON or the binary form.
	Version any `json:"-"`

	// Stale asks for the record to be written again, for example because it was encrypted with an old secret. A store's
	// Load sets it. It is not part of the JSON or the binary form.
	Stale bool `json:"-"`
}

// StoredFlash is a flash message as it is stored. Its ID is unique in the session, and tells which messages were taken.
type StoredFlash struct {
	ID       string `json:"id"`
	Category string `json:"category,omitempty"`
	Message  string `json:"message"`
}

// Binding holds what binds a session to a device (Config.BindDevice). It is zero if the browser was never offered to
// bind. Login gives a session a new one, and Regenerate keeps it.
type Binding struct {
	Secret   []byte    `json:"secret,omitempty"`  // 32 random bytes, the key that authenticates the bound cookie and the challenges
	Key      []byte    `json:"key,omitempty"`     // the browser's public key as PKIX; empty until it is registered, and then never another
	ProvedAt time.Time `json:"provedAt,omitzero"` // of the challenge that was answered last: an older one is not accepted any more
}

// bound reports whether a browser has registered a key.
func (b *Binding) bound() bool { return len(b.Key) > 0 }

// offered reports whether the browser was offered to register a key.
func (b *Binding) offered() bool { return len(b.Secret) > 0 }

// prove notes that the browser has answered a challenge with its key.
func (b *Binding) prove(key []byte, challenge time.Time) { b.Key, b.ProvedAt = key, challenge }

// Format writes only whether there is a key, whatever the verb, because the secret must not appear in logs.
func (b Binding) Format(f fmt.State, _ rune) {
	text := "unbound"
	if b.bound() {
		text = "bound"
	}
	_, _ = io.WriteString(f, text)
}

const (
	tombstoneLife = time.Minute      // how long an ended session can be told from one that never existed
	clockSkew     = 5 * time.Second  // how much the clocks of two servers may differ
	believedAhead = 2 * clockSkew    // how far in the future a time may be and still be believed
	doubtWindow   = 30 * time.Second // how long a record remembers its revisions
	maxLatest     = 32               // how many revisions a record remembers
)

// ExpiresAt returns when the session ends if it is not used again: at the idle limit or the absolute limit, whichever
// is earlier.
func (r *Record) ExpiresAt() time.Time {
	if idle := r.LastUsedAt.Add(r.IdleTimeout); r.IdleTimeout > 0 && idle.Before(r.Deadline) {
		return idle
	}
	return r.Deadline
}

// KeepUntil returns when a store may forget the record. For a session this is a minute after its end, so that the
// Manager can tell an expired session from an unknown one. For a tombstone it is its Deadline.
func (r *Record) KeepUntil() time.Time {
	if r.Ended {
		return r.Deadline
	}
	return r.ExpiresAt().Add(tombstoneLife)
}

// condition is what a record means for a request that meets it.
type condition uint8

const (
	absent   condition = iota // there is no record, or a tombstone whose minute is over
	live                      // a session that may be used
	late                      // ended, and the browser got another cookie or none: this request must not send it one
	revoked                   // ended from outside: the browser may begin another session
	idle                      // past its idle limit
	absolute                  // past its absolute limit
)

// condition returns what r, which may be nil, means at the time given.
func (r *Record) condition(now time.Time) condition {
	switch {
	case r == nil, r.Ended && !now.Before(r.Deadline):
		return absent
	case r.Ended && r.Revoked && r.Successor == "":
		return revoked
	case r.Ended:
		return late
	case !now.Before(r.Deadline), r.CreatedAt.After(now.Add(believedAhead)):
		return absolute
	case r.IdleTimeout > 0 && !now.Before(lastUse(r, now).Add(r.IdleTimeout)):
		return idle
	}
	return live
}

// endsAt is ExpiresAt, except that it uses lastUse.
func (r *Record) endsAt(now time.Time) time.Time {
	believed := *r
	believed.LastUsedAt = lastUse(r, now)
	return believed.ExpiresAt()
}

// lastUse returns the time of the last use. A time that is too far in the future to be believed counts as the start of
// the session.
func lastUse(r *Record, now time.Time) time.Time {
	if r.LastUsedAt.After(now.Add(believedAhead)) {
		return r.CreatedAt
	}
	return r.LastUsedAt
}

// touchFraction is how often a session is touched, at most, within one idle timeout.
const touchFraction = 20

// minTouch is the shortest time between two touches, for very short idle timeouts.
const minTouch = time.Millisecond

// touchAt returns when a touch of r is due, or zero for never. If the store wants the record to be written again, a
// touch is due at once.
func (r *Record) touchAt(now time.Time) time.Time {
	switch {
	case r.Stale:
		return r.CreatedAt
	case r.IdleTimeout <= 0:
		return time.Time{}
	}
	return lastUse(r, now).Add(max(r.IdleTimeout/touchFraction, minTouch))
}

// useDue reports whether a touch of r is due now.
func useDue(r *Record, now time.Time) bool {
	at := r.touchAt(now)
	return !at.IsZero() && !now.Before(at)
}

// noteUse moves the last use to now. It never moves it back, except from a time that is too far in the future to be
// believed.
func noteUse(r *Record, now time.Time) {
	if now.After(lastUse(r, now)) {
		r.LastUsedAt = now
	}
}

// touched returns a copy of r whose last use is now.
func touched(r *Record, now time.Time) *Record {
	next := *r
	next.Revision, next.Version, next.Stale = "", nil, false
	noteUse(&next, now)
	return &next
}

// stamp gives r, which will replace old, a new revision, unless r has one already. It sets r's latest revisions: those
// of old, and r's own.
func stamp(r, old *Record, now time.Time) {
	r.Revision = cmp.Or(r.Revision, newRevision())
	r.Latest = Revisions{}
	if old != nil && old.ID == r.ID {
		r.Latest = old.Latest.latest(now, maxLatest-1)
	}
	r.Latest = r.Latest.add(PastRevision{r.Revision, now})
}

// knows reports whether revision is among r's latest ones.
func (r *Record) knows(revision string) bool { return r.Revision == revision || r.Latest.has(revision) }

// newTombstone returns the tombstone that replaces r when its session ends. Only r's ID, realm and user need to be
// known.
func newTombstone(r *Record, now time.Time) *Record {
	return &Record{
		ID: r.ID, Revision: newRevision(), Realm: r.Realm, User: r.User, Ended: true, IssuedAt: now, Deadline: now.Add(tombstoneLife),
	}
}

const revisionSize = 9 // random bytes: enough to tell a write from all other writes of its session

func newRevision() string { return randomText(revisionSize) }

func randomText(bytes int) string {
	raw := make([]byte, bytes)
	_, _ = rand.Read(raw) // never fails
	return base64url.EncodeToString(raw)
}
