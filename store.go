package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// A Store keeps sessions. It knows nothing of HTTP, and must be safe for use by several goroutines at once.
//
// The whole contract is executable: package storetest runs it against any Store. In short, Save applies a [Change] to
// what is stored now, not to what the caller once loaded; [Change.Apply] does that for a store that can hold a lock or
// a transaction around reading and writing, and is all that most stores need. Every method honours the context's
// deadline. A store measures time with [Now], so that a Manager with its own clock and its store agree.
type Store interface {
	// Load returns the session that token opens, or an error that wraps ErrNotFound. The record and all it refers to
	// belong to the store and are not modified by the caller. For a session that has ended or expired, Load returns
	// what Record.Live returns.
	Load(ctx context.Context, token Token) (*Record, error)

	// Save makes change and returns the token for the cookie: the one it was given, unless the session is kept in the
	// cookie itself. The error wraps ErrNotFound if the session was to exist and does not, and is a *ConflictError if a
	// value was expected and another is there. When an error is returned nothing is changed, or, where old and new id
	// can't be changed in one step, the old session has ended.
	Save(ctx context.Context, token Token, change *Change) (Token, error)

	// Delete ends the session with this id and leaves a tombstone ([Tombstone]) in its place. Deleting a session that
	// is not there is no error. If there is a tombstone with a Successor, the session goes on under that id, and that is
	// what ends. Until is when the session would have ended anyway: a store that cannot take a session back must refuse
	// it until then.
	Delete(ctx context.Context, id string, until time.Time) error
}

// A Revoker is a Store that can end the sessions of a user. It is found by type assertion, like UserStore: a Store
// without these methods works, and the Manager's methods that need them return errors.ErrUnsupported.
type Revoker interface {
	Store

	// EndUserSession ends the session id if it is user's, and otherwise returns an error that wraps ErrNotFound and
	// does not tell whether the session exists; or nil, where that can't be known either. An id that was just
	// regenerated stands for the session it goes on as, as it does in Delete.
	EndUserSession(ctx context.Context, user, id string) error

	// EndUserSessions ends all sessions of user but those named, and returns how many it ended, as far as it can know.
	// A login that races it is either ended or happened after.
	EndUserSessions(ctx context.Context, user string, except []string) (int, error)
}

// A UserStore is a Revoker that can list the sessions of a user.
type UserStore interface {
	Revoker

	// UserSessions returns the live sessions of user, in any order.
	UserSessions(ctx context.Context, user string) ([]*Record, error)
}

var (
	// ErrNotFound is what a Store returns for a session that does not exist, has expired or has ended.
	ErrNotFound = errors.New("session: not found")

	// ErrSessionEnded means that the session ended, by logout, regeneration or revocation, while it was in use. It is
	// also what Config.Revalidate returns, or wraps, to end a session.
	ErrSessionEnded = errors.New("session: ended")

	// ErrResponseStarted means that a change needs a cookie and the response's header has already been sent, or that the
	// handler has returned.
	ErrResponseStarted = errors.New("session: the response has started, the cookie can't be sent any more")

	// ErrCookieTooLarge means that the cookie's name and value together exceed 4096 bytes, which browsers ignore (RFC
	// 6265bis, section 5.6). Keep less in the session, or use a server store.
	ErrCookieTooLarge = errors.New("session: the cookie's name and value exceed 4096 bytes")

	// errEnded is a tombstone's answer: not there, and known to have ended a moment ago.
	errEnded = fmt.Errorf("%w (%w)", ErrSessionEnded, ErrNotFound)

	// errUnreadable is the answer to a record that this build can't make sense of.
	errUnreadable = fmt.Errorf("%w: the record can't be read", ErrNotFound)
)

// expiredError is ErrNotFound with what is known of the session.
type expiredError struct {
	record *Record
	limit  string // "idle" or "absolute"
}

func (e *expiredError) Error() string {
	return ErrNotFound.Error() + ": past its " + e.limit + " limit"
}
func (e *expiredError) Unwrap() error { return ErrNotFound }

// A ConflictError is what Save returns if a value that Change.Expect names is not what is stored.
type ConflictError struct {
	Current *Record // the session as it is stored now
}

func (e *ConflictError) Error() string { return "session: a value was changed by another request" }

// A StoreError is a failure of a store, or of Config.Revalidate, to answer; Config.ErrorHandler answers it with 503 by
// default.
type StoreError struct {
	Op  string // "load", "save", "delete", "revalidate" or the like
	Err error
}

func (e *StoreError) Error() string { return "session: " + e.Op + ": " + e.Err.Error() }
func (e *StoreError) Unwrap() error { return e.Err }

// A Record is a session as it is stored. It marshals to JSON and back without loss.
type Record struct {
	ID   string `json:"id"`             // public handle, as in Token.ID
	User string `json:"user,omitempty"` // empty until Login
	Note string `json:"note,omitempty"` // what the application noted for Manager.Sessions

	Created       time.Time `json:"created"`       // start of the session, from which its lifetime is counted
	Authenticated time.Time `json:"authenticated"` // the last Login; zero if there was none
	Issued        time.Time `json:"issued"`        // when this id was made
	Used          time.Time `json:"used"`          // last use, to the precision of a touch
	Deadline      time.Time `json:"deadline"`      // absolute end; never extended

	Idle       time.Duration `json:"idle,omitempty"`       // how long the session may be unused; zero for any time
	Persistent bool          `json:"persistent,omitempty"` // the cookie survives closing the browser

	Values  map[string]json.RawMessage `json:"values,omitempty"`  // one JSON text a key
	Flashes map[string]json.RawMessage `json:"flashes,omitempty"` // by ids whose order is the order of display

	// Ended marks a tombstone: nothing but the id and the deadline are of interest then.
	Ended bool `json:"ended,omitempty"`
	// Successor is the id that a tombstone's session goes on under, if it ended by regeneration. A store whose Delete
	// meets such a tombstone ends the successor too, so that a logout that races a regeneration still logs out.
	Successor string `json:"successor,omitempty"`

	// Stale is set by a store's Load to ask for the record to be saved again, for instance because it was sealed with
	// an old secret.
	Stale bool `json:"-"`

	// latest is the latest deadline that a cookie of this id was sealed with, if that is not Deadline: SetLifetime may have
	// brought it forward. Only a CookieStore knows it.
	latest time.Time

	// Operations are the latest changes made, so that a change sent twice is made once. Apply keeps it.
	Operations []Operation `json:"operations,omitempty"`
}

// An Operation is the mark that a Change leaves in the Record it was made to.
type Operation struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

const (
	tombstoneAge  = time.Minute      // how long an ended id is told from an unknown one
	operationAge  = 10 * time.Second // how long a change sent twice is recognised; longer than any client resends
	operationSize = 6                // bytes of randomness in a change's mark, which has to differ from those of the same session's latest ones
	operationMax  = 32               // and among how many later ones: Updates of a session queue, so there are few
)

// Tombstone returns what takes the place of the session id when it ends: for a minute it tells a late request from one
// with an unknown id.
func Tombstone(id string, now time.Time) *Record {
	return &Record{ID: id, Ended: true, Issued: now, Deadline: now.Add(tombstoneAge)}
}

// lastDeadline returns until when a cookie of this id may be good.
func (r *Record) lastDeadline() time.Time {
	if r.latest.After(r.Deadline) {
		return r.latest
	}
	return r.Deadline
}

// Expires returns the end of the session if it is not used again: the idle limit or the absolute one, whichever comes
// first.
func (r *Record) Expires() time.Time {
	if idle := r.Used.Add(r.Idle); r.Idle > 0 && idle.Before(r.Deadline) {
		return idle
	}
	return r.Deadline
}

// Live returns nil if the record is a session that may be used at the time given. Otherwise the error wraps
// ErrNotFound, and for a tombstone also ErrSessionEnded. R may be nil, for a record that is not there.
func (r *Record) Live(now time.Time) error {
	switch {
	case r == nil, r.Ended && !now.Before(r.Deadline):
		return ErrNotFound
	case r.Ended:
		return errEnded
	case !now.Before(r.Deadline):
		return &expiredError{r, "absolute"}
	case !now.Before(r.Expires()):
		return &expiredError{r, "idle"}
	}
	return nil
}

// A Change is what one request does to a session: the session as the request sees it, and what the request changed. A
// store that writes whole records calls [Change.Apply]; one that can write single values uses the rest.
type Change struct {
	// Operation identifies this change. A store that meets it again, because a reply was lost and the change resent,
	// reports success and changes nothing.
	Operation string

	// Record is the whole session as the request sees it; Record.ID is the id to store it under.
	Record *Record

	// Create says that Record.ID must not exist yet. Otherwise it must, and ErrNotFound is the answer if it does not.
	Create bool

	// Base is the session as it was loaded, or nil. If Create is set, the new session takes over from it: Regenerate
	// and Login. Then, in one step or in an order that never leaves both open, Base ends with a tombstone.
	Base *Record

	// Fresh says that this is a new session and not a new id for the one it replaces: nothing is carried over but
	// Keep, and it is no error if the replaced session is gone.
	Fresh bool

	// Cleared says that values and flashes which the change does not set go, but for the values named in Keep.
	Cleared bool
	Keep    []string

	Set          []string                   // keys whose values in Record were set
	Deleted      []string                   // keys that were deleted
	Expect       map[string]json.RawMessage // for keys of Set: the value that must be stored still; nil for none
	FlashesAdded []string                   // ids in Record.Flashes
	FlashesTaken []string                   // ids that were read
	Attributes   bool                       // Note, Persistent, Idle or Deadline were set
	MaxPerUser   int                        // at a Login: a UserStore ends the user's oldest over it; zero for any number
}

// Source returns the id of the record that the change starts from, or "" if there is none.
func (c *Change) Source() string {
	if c.Base == nil {
		return ""
	}
	return c.Base.ID
}

// Replaces returns the id of the session that ends because this one takes over from it, or "" if there is none.
func (c *Change) Replaces() string {
	if c.Create {
		return c.Source()
	}
	return ""
}

// Apply returns the record to store under Change.Record.ID, given the one stored now under [Change.Source] (nil if
// there is none) and the one stored under the new id, which is looked at if Create is set. It modifies neither. The
// caller stores the result and, if [Change.Replaces] names one that was there and no tombstone, [Change.Tombstone] in
// its place, without letting another change in between. An error is Save's error as it stands: ErrNotFound, a
// *ConflictError, or that the new id is taken. A change that was made before, by its Operation, gives the record as it
// is.
func (c *Change) Apply(source, target *Record, now time.Time) (*Record, error) {
	current := source
	if c.Create {
		current = target
	}
	if current != nil && current.made(c.Operation) {
		return current, nil
	}
	if c.Create && target != nil && target.Ended {
		return target, nil // created, and ended by a revocation that saw it coming
	}
	if c.Create && target.Live(now) == nil {
		return nil, fmt.Errorf("session: the new id %s is taken", c.Record.ID)
	}
	if c.Create && c.Source() == "" {
		return c.mark(c.Record.clone(), now), nil
	}
	err := source.Live(now)
	switch {
	case err != nil && c.Fresh:
		return c.mark(c.withoutKept(), now), nil
	case err != nil:
		return nil, err
	}
	for key, want := range c.Expect {
		if have, ok := source.Values[key]; string(have) != string(want) || ok != (want != nil) {
			return nil, &ConflictError{Current: source}
		}
	}
	return c.mark(c.merge(source), now), nil
}

// Tombstone returns what takes the place of the replaced session.
func (c *Change) Tombstone(now time.Time) *Record {
	t := Tombstone(c.Replaces(), now)
	if !c.Fresh {
		t.Successor = c.Record.ID
	}
	return t
}

// merge returns source with what the change changes.
func (c *Change) merge(source *Record) *Record {
	next := c.attributes(source)
	next.Values, next.Flashes = c.carried(source)
	for _, key := range c.Deleted {
		delete(next.Values, key)
	}
	for _, key := range c.Set {
		put(&next.Values, key, c.Record.Values[key])
	}
	for _, id := range c.FlashesTaken {
		delete(next.Flashes, id)
	}
	for _, id := range c.FlashesAdded {
		put(&next.Flashes, id, c.Record.Flashes[id])
	}
	return next
}

// carried returns the values and flashes of source that stay, as maps of the caller's own.
func (c *Change) carried(source *Record) (values, flashes map[string]json.RawMessage) {
	if !c.Cleared && !c.Fresh {
		return maps.Clone(source.Values), maps.Clone(source.Flashes)
	}
	for _, key := range c.Keep {
		if raw, ok := source.Values[key]; ok {
			put(&values, key, raw)
		}
	}
	return values, nil
}

// withoutKept is the new session of a Login whose old session is gone: what this request set, and nothing else.
func (c *Change) withoutKept() *Record {
	empty := *c
	empty.Keep = nil
	return empty.merge(&Record{})
}

// attributes returns the record's own part, without values: the change's where it set them, source's elsewhere.
func (c *Change) attributes(source *Record) *Record {
	if c.Fresh {
		next := *c.Record
		return &next
	}
	next := *source
	next.ID = c.Record.ID
	next.Stale = false
	if c.Create {
		next.Issued = c.Record.Issued
	}
	if c.Record.Used.After(next.Used) {
		next.Used = c.Record.Used
	}
	if c.Attributes {
		next.Note, next.Persistent = c.Record.Note, c.Record.Persistent
		next.Idle, next.Deadline = c.Record.Idle, c.Record.Deadline
	}
	return &next
}

// mark adds the change's operation to those of r, and drops the old ones.
func (c *Change) mark(r *Record, now time.Time) *Record {
	recent := make([]Operation, 0, len(r.Operations)+1)
	for _, op := range r.Operations {
		if now.Sub(op.At) < operationAge {
			recent = append(recent, op)
		}
	}
	recent = append(recent, Operation{ID: c.Operation, At: now})
	r.Operations = recent[max(len(recent)-operationMax, 0):]
	return r
}

func (r *Record) made(operation string) bool {
	for _, op := range r.Operations {
		if op.ID == operation && operation != "" {
			return true
		}
	}
	return false
}

// clone returns a copy of r with maps of its own.
func (r *Record) clone() *Record {
	next := *r
	next.Values, next.Flashes = maps.Clone(r.Values), maps.Clone(r.Flashes)
	return &next
}

func put(m *map[string]json.RawMessage, key string, raw json.RawMessage) {
	if *m == nil {
		*m = make(map[string]json.RawMessage)
	}
	(*m)[key] = raw
}
