package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/doorman-go/session/internal/xaes"
)

// A claim says what an old session has become. It is a record whose ID is a hash of the old token. It has the form of a
// tombstone: the old session has ended, and its successor is the adopted session. So only one of several requests can
// put it, and an ending by the old cookie follows it. Its values have the token of the adopted session, encrypted with
// a key made of the old token. Somebody who reads the store does not have that key.
type claim struct {
	record *Record
	claimContent
}

// claimContent is the content of a claim, in the values of its record.
type claimContent struct {
	User   string `json:"user,omitempty"`   // of the adopted session; the record has no User, so that no list shows it
	Token  []byte `json:"token,omitempty"`  // of the adopted session, encrypted; a closed claim has none
	Closed micros `json:"closed,omitempty"` // when it was closed; zero while it is open
	First  string `json:"first,omitempty"`  // its first revision, by which the request that put it recognizes it
}

const (
	claimKey     = "claim" // the key of the claim's content among the record's values
	claimPurpose = "doorman session claim"
	claimOpenFor = 2 * time.Minute   // how long the old cookie opens the adopted session, at most
	claimLateFor = tombstoneLife     // after that, how long a request with the old cookie is a late one
	claimGrowsIn = tombstoneLife / 2 // how long any request may store the session that the claim names, if it is missing
)

// claimPhase says what an old cookie means.
type claimPhase uint8

const (
	claimOpen claimPhase = iota // it opens the adopted session
	claimLate                   // a request with it is a late one
	claimOver                   // a request with it is a visitor's
)

// phase returns what the old cookie means at the time given.
func (c *claim) phase(now time.Time) claimPhase {
	end := c.record.IssuedAt.Add(claimOpenFor)
	if closed := c.Closed.time(); c.isClosed() && closed.Before(end) {
		end = closed
	}
	switch {
	case now.Before(end) && !c.isClosed():
		return claimOpen
	case now.Before(end.Add(claimLateFor)):
		return claimLate
	}
	return claimOver
}

func (c *claim) isClosed() bool { return c.Closed != 0 }

// tombstone returns a tombstone of the old session, for a request that is late. No store has this tombstone.
func (c *claim) tombstone(now time.Time) *Record {
	return &Record{
		ID: c.record.ID, Realm: c.record.Realm, User: c.User, Ended: true, Successor: c.record.Successor,
		IssuedAt: c.record.IssuedAt, Deadline: now.Add(claimLateFor),
	}
}

// closed returns the record of the claim, closed at this time.
func (c *claim) closed(now time.Time) *Record {
	next := *c.record
	next.Revision, next.Version = "", nil
	next.Values = claimContent{User: c.User, Closed: micros(now.UnixMicro()), First: c.First}.values()
	stamp(&next, c.record, now)
	return &next
}

// isClaim reports whether a tombstone is a claim.
func isClaim(r *Record) bool { return r.Values.Get(claimKey) != nil }

func (c claimContent) values() Values { return listedValues(map[string]any{claimKey: c}) }

// newClaim returns the record of a claim for a session that is adopted with this token. Without a token, the claim is
// closed.
func (a *adoption) newClaim(c *Config, token Token) (*Record, error) {
	now := c.Clock()
	r := &Record{
		ID: a.claimID, Realm: c.Realm, Ended: true, IssuedAt: now, Deadline: now.Add(maxLifetime), Successor: token.ID(),
	}
	if !a.Deadline.IsZero() {
		r.Deadline = earlier(a.Deadline, time.UnixMicro(maxMicro))
	}
	stamp(r, nil, now)
	content := claimContent{User: a.User, Closed: micros(now.UnixMicro()), First: r.Revision}
	if token.ID() != "" {
		sealed, err := sealToken(a.Token, token)
		if err != nil {
			return nil, err
		}
		content.Token, content.Closed = sealed, 0
	}
	r.Values = content.values()
	return r, nil
}

// sealToken encrypts a token with a key made of the old token.
func sealToken(oldToken string, token Token) ([]byte, error) {
	aead, err := claimKeyOf(oldToken, token.realm)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, xaes.NonceSize)
	_, _ = rand.Read(nonce) // never fails
	return aead.Seal(nonce, nonce, []byte(token.cookieValue()), []byte(claimPurpose)), nil
}

func claimKeyOf(oldToken, realm string) (*xaes.AEAD, error) {
	key, err := deriveKey([]byte(oldToken), claimPurpose+" key", realm, xaes.KeySize)
	if err != nil {
		return nil, err
	}
	return xaes.New(key)
}

var errUnreadableClaim = errors.New("session: the claim of an adopted session can't be read")

// open returns the token of the adopted session.
func (c *claim) open(oldToken string) (Token, error) {
	if len(c.Token) < xaes.NonceSize {
		return Token{}, errUnreadableClaim
	}
	aead, err := claimKeyOf(oldToken, c.record.Realm)
	if err != nil {
		return Token{}, err
	}
	value, err := aead.Open(nil, c.Token[:xaes.NonceSize], c.Token[xaes.NonceSize:], []byte(claimPurpose))
	if err != nil {
		return Token{}, errUnreadableClaim
	}
	token, ok := parseToken(c.record.Realm, string(value))
	if !ok {
		return Token{}, errUnreadableClaim
	}
	return token, nil
}

// claimID returns the ID of the claim of an old session. The realm's length is hashed too, so that no other pair of
// realm and token has the same hash.
func claimID(realm, oldToken string) string {
	sum := sha256.Sum256([]byte(claimPurpose + "\x00" + strconv.Itoa(len(realm)) + ":" + realm + oldToken))
	return base64url.EncodeToString(sum[:idSize])
}

// loadClaim returns a claim, or nil if there is none. In the second case inCookie reports whether the store keeps
// sessions in the cookie. Such a store keeps its claims elsewhere, like its tombstones.
func (m *Manager) loadClaim(call *storeContext, id string) (c *claim, inCookie bool, err error) {
	call.pastCache = true
	defer func() { call.pastCache = false }()
	r, err := m.store.Load(call, idToken(id, m.config.Realm))
	switch {
	case errors.Is(err, errNoRevocations):
		return nil, false, fmt.Errorf("session: Config.Adopt needs CookieStore.WithRevocations: %w", err)
	case errors.Is(err, errors.ErrUnsupported):
		return nil, true, nil
	case errors.Is(err, ErrNotFound) && !errors.Is(err, errUnreadable):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("session: the claim of an adopted session: %v", err) //nolint:errorlint // not "not found"
	}
	c = &claim{record: r}
	if r == nil || r.ID != id || r.Realm != m.config.Realm || !r.Ended || json.Unmarshal(r.Values.Get(claimKey), &c.claimContent) != nil {
		return nil, false, errUnreadableClaim
	}
	return c, false, nil
}

// findClaim returns the claim of an old session, or nil if there is none.
func (q *request) findClaim(call *storeContext, a *adoption) (*claim, error) {
	c, inCookie, err := q.manager.loadClaim(call, a.claimID)
	a.inCookie = a.inCookie || inCookie
	return c, err
}

// loadStanding returns the record that the old cookie means, by the claim. For an open claim that is the record of the
// adopted session, with its token. For a late request it is a tombstone. Otherwise it is nil.
func (q *request) loadStanding(call *storeContext, a *adoption, c *claim) (*Record, Token, error) {
	now := q.manager.config.Clock()
	switch c.phase(now) {
	case claimLate:
		return c.tombstone(now), Token{}, nil
	case claimOver:
		return nil, Token{}, nil
	}
	token, err := c.open(a.Token)
	if err != nil {
		return nil, Token{}, err
	}
	r, err := q.loadByToken(call, token)
	if r != nil || err != nil {
		return r, token, err
	}
	r, err = q.completeAdoption(call, a, c, token)
	return r, token, err
}

// loadByToken returns the record that the token opens, or nil.
func (q *request) loadByToken(call *storeContext, token Token) (*Record, error) {
	r, err := q.manager.load(call, token)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return r, err
}

// completeAdoption stores the session that a young claim names, if it is missing. If a store makes swaps one by one,
// the request that put the claim may not have stored the session yet, or may never do so. While the claim is young, a
// missing session can't have ended: its tombstone would still be there.
func (q *request) completeAdoption(call *storeContext, a *adoption, c *claim, token Token) (*Record, error) {
	config := &q.manager.config
	now := config.Clock()
	switch {
	case token.sealed(), a.isOver(now), !now.Before(c.record.IssuedAt.Add(claimGrowsIn)), errors.Is(a.err, ErrNotFound):
		return nil, nil
	case a.err != nil:
		return nil, a.err
	}
	if a.session.Claim == "" {
		if err := a.makeSession(config); err != nil {
			q.reportNotAdopted(ReasonUnreadable, err) // unlike the answer that the other request got
			return nil, nil
		}
	}
	r := a.sessionOf(token)
	stamp(r, nil, now)
	_, err := q.manager.store.Swap(call, token, Swap{nil, r})
	if conflictOf(err) != nil {
		return q.loadByToken(call, token)
	}
	return r, err
}

// closeClaim closes the claim of an adopted session when a request has the session's cookie: the cookie has arrived.
// From then on a request with the old cookie is a late one. Then it calls Forget for the old session. It reports a
// failure, and leaves the rest to the next request.
func (q *request) closeClaim(call *storeContext, st *state) {
	id := st.base.Claim
	if err := q.swapClosed(call, id); err != nil {
		_ = q.storeError(OpSwap, st.base, err)
		return
	}
	if waits := q.forgetArrived(id); waits {
		return
	}
	q.unlinkClaim(call, st)
}

// swapClosed closes a claim, if it exists and is open.
func (q *request) swapClosed(call *storeContext, id string) error {
	m := q.manager
	return swapPlanned(call, m.store, idToken(id, m.config.Realm), func() (Swap, error) {
		c, _, err := m.loadClaim(call, id)
		if err != nil || c == nil || c.isClosed() {
			return Swap{}, err
		}
		return Swap{c.record, c.closed(m.config.Clock())}, nil
	})
}

// unlinkClaim removes the claim's ID from the session, so that no further request looks the claim up.
func (q *request) unlinkClaim(call *storeContext, st *state) {
	now := q.manager.config.Clock()
	if st.sealed { // the response stores it, as in noteUseAtOnce
		next := *st.base
		next.Claim, next.Stale = "", true
		st.setBase(&next, st.token, now)
		return
	}
	next := touched(st.base, q.useTime(now))
	next.Claim = ""
	stamp(next, st.base, now)
	if _, err := q.manager.store.Swap(call, st.token, Swap{st.base, next}); err == nil {
		st.setBase(next, st.token, now)
	}
}

// endClaim ends the session that an old session has become, and closes the claim. If there is no claim, it puts a
// closed one, so that no request adopts the old session any more.
func (q *request) endClaim(call *storeContext, a *adoption) error {
	m := q.manager
	return swapPlanned(call, m.store, idToken(a.claimID, m.config.Realm), func() (Swap, error) {
		c, err := q.findClaim(call, a)
		switch {
		case err != nil, c == nil && a.isOver(m.config.Clock()):
			return Swap{}, err
		case c != nil:
			if err := q.endClaimed(call, c); err != nil || c.isClosed() {
				return Swap{}, err
			}
			return Swap{c.record, c.closed(m.config.Clock())}, nil
		}
		next, err := a.newClaim(&m.config, Token{realm: m.config.Realm})
		if err != nil {
			return Swap{}, err
		}
		// The token may be made up. A short claim is enough to stop requests that adopt now.
		if a.Deadline.IsZero() && errors.Is(a.err, ErrNotFound) {
			next.Deadline = next.IssuedAt.Add(tombstoneLife)
		}
		return Swap{nil, next}, nil
	})
}

// endClaimed ends the session that a claim names, and its successors, as long as the old cookie leads to it.
func (q *request) endClaimed(call *storeContext, c *claim) error {
	now := q.manager.config.Clock()
	if c.record.Successor == "" || c.phase(now) == claimOver {
		return nil
	}
	ended, err := q.manager.endSession(call, Token{}, c.tombstone(now), q.logout())
	if err == nil && ended.replaced != nil {
		q.noteEvent(EventDestroyed, ended.replaced, "", nil)
	}
	return err
}
