package session

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// state is one request's view of a session: what was loaded, and the changes made to it since. It knows no HTTP, no
// store and no lock.
type state struct {
	config *Config
	base   *Record // as the store has it; nil if there is no session yet
	token  Token   // opens base
	lapsed bool    // the session of this request ended a moment ago: there is nothing to change any more
	spent  bool    // a touch failed: the next request tries again
	unsure *plan   // what an earlier commit asked of the store, without learning whether it was done
	pending
	version int // counts changes, so that Update can work without holding a lock

	loadErr   error // nothing can be changed, and the response is the error handler's
	encodeErr error // of a value that was set: there is no commit
	decodeErr error // of a value that was read
}

// pending is what one request changes. Its zero value is no change.
type pending struct {
	issued     Token     // the new id, once one is needed
	fresh      bool      // Login or Destroy: a new session from here on
	destroy    bool      // Destroy: base must end, whatever comes after
	regenerate bool      // a new id for base
	user       string    // of a fresh session
	since      time.Time // when a new session began

	renewed int      // the version in which Login or Destroy began it
	cleared bool     // base's values are gone, but for keep
	emptied int      // the version in which they went
	keep    []string // keys
	edits   map[string]edit
	added   map[string]json.RawMessage // flashes by id
	taken   []string                   // ids of base's flashes that were read

	note       *string
	persistent *bool
	limits     *limits
	attributes int // the version in which they were last set

	operation string // marks these changes: the same until one is added, so that a commit tried again is made once
	marked    int    // the version that operation was made for
}

// edit is the change of one value.
type edit struct {
	raw     json.RawMessage // nil: deleted
	updates []updateFunc    // raw is what these make of base's value, and have to make again if that changes
	sent    int             // so many of them the store was told, and may have made
	version int             // of the state that it made
}

type updateFunc func(json.RawMessage) (json.RawMessage, error)

// limits are a session's own, as SetLifetime takes them.
type limits struct{ idle, lifetime time.Duration }

// get returns the value as the request sees it, or nil.
func (st *state) get(key string) json.RawMessage {
	if e, ok := st.edits[key]; ok {
		return e.raw
	}
	return st.stored(key)
}

// stored returns base's value if it has not been cleared.
func (st *state) stored(key string) json.RawMessage {
	if st.base == nil || st.cleared && !slices.Contains(st.keep, key) {
		return nil
	}
	return st.base.Values[key]
}

func (st *state) values() map[string]json.RawMessage {
	var all map[string]json.RawMessage
	if st.base != nil && !st.cleared {
		all = maps.Clone(st.base.Values)
	}
	for _, key := range st.keep {
		if raw := st.stored(key); raw != nil {
			put(&all, key, raw)
		}
	}
	for key, e := range st.edits {
		if e.raw == nil {
			delete(all, key)
		} else {
			put(&all, key, e.raw)
		}
	}
	return all
}

func (st *state) keys() []string {
	return slices.Sorted(maps.Keys(st.values()))
}

func (st *state) edit(key string, e edit) {
	if st.edits == nil {
		st.edits = make(map[string]edit)
	}
	st.version++
	e.version = st.version
	st.edits[key] = e
}

func (st *state) set(key string, raw json.RawMessage, now time.Time) {
	st.begin(now)
	st.edit(key, edit{raw: raw})
}

// update notes that f made raw of the value as the request sees it.
func (st *state) update(key string, raw json.RawMessage, f updateFunc, now time.Time) {
	st.begin(now)
	fromBase := st.base != nil && (!st.fresh && !st.cleared || slices.Contains(st.keep, key))
	e, edited := st.edits[key]
	if edited {
		fromBase = len(e.updates) > 0 // also where a Login has kept it since
	}
	e.raw = raw
	if fromBase {
		e.updates = append(slices.Clip(e.updates), f)
	}
	st.edit(key, e)
}

// delete notes a deletion even if the request sees no value: another request may just have set one.
func (st *state) delete(keys ...string) {
	for _, key := range keys {
		if !st.mayBeStored() {
			delete(st.edits, key)
			continue
		}
		st.edit(key, edit{})
	}
	st.version++
}

// mayBeStored tells whether there is a session already, as far as the request knows.
func (st *state) mayBeStored() bool { return st.base != nil || st.unsure != nil }

func (st *state) clear() {
	st.version++
	st.cleared, st.emptied = true, st.version
	st.keep, st.edits, st.added, st.taken = nil, nil, nil, nil
}

// attribute notes that the note, the persistence or the limits were set.
func (st *state) attribute() {
	st.version++
	st.attributes = st.version
}

// begin notes when a session that does not exist yet began.
func (st *state) begin(now time.Time) {
	if (st.base == nil || st.fresh) && st.since.IsZero() {
		st.since = now
	}
}

// flash adds a message under an id that sorts by time and is unique among all requests.
func (st *state) flash(raw json.RawMessage, now time.Time) {
	st.begin(now)
	id := fmt.Sprintf("%016x%04x%s", now.UnixNano(), len(st.added), randomText(4))
	put(&st.added, id, raw)
	st.version++
}

// takeFlashes returns the messages in the order they were added, and forgets them.
func (st *state) takeFlashes() []json.RawMessage {
	all := st.flashes()
	taken := make([]json.RawMessage, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		taken = append(taken, all[id])
		st.version++
		if _, own := st.added[id]; own {
			delete(st.added, id)
			if st.unsure == nil {
				continue
			}
		}
		st.taken = append(st.taken, id)
	}
	return taken
}

func (st *state) flashes() map[string]json.RawMessage {
	all := maps.Clone(st.added)
	if st.base == nil || st.cleared {
		return all
	}
	for id, raw := range st.base.Flashes {
		if !slices.Contains(st.taken, id) {
			put(&all, id, raw)
		}
	}
	return all
}

// renew gives the session a new id, if there is a session.
func (st *state) renew() {
	if st.id() == "" {
		return
	}
	st.issued = newToken(st.config.Name)
	st.regenerate = st.base != nil
	st.version++
}

// login begins a new session of user, with the values of keep.
func (st *state) login(user string, keep []string, now time.Time) {
	var carried []string
	edits := map[string]edit{}
	for _, key := range keep {
		if e, ok := st.edits[key]; ok {
			edits[key] = e
		} else if st.stored(key) != nil {
			carried = append(carried, key)
		}
	}
	st.clear()
	st.edits, st.keep = edits, carried
	st.fresh, st.renewed, st.regenerate, st.user, st.since = true, st.version, false, user, now
	st.issued = newToken(st.config.Name)
}

// end drops everything; what is set afterwards starts a new session.
func (st *state) end() {
	destroy := st.destroy || st.mayBeStored()
	st.version++
	st.pending = pending{fresh: true, renewed: st.version, destroy: destroy, cleared: true, emptied: st.version}
}

// holds tells whether the request set something that is worth a session.
func (st *state) holds() bool {
	if st.fresh && st.user != "" || len(st.added) > 0 {
		return true
	}
	for _, e := range st.edits {
		if e.raw != nil {
			return true
		}
	}
	return false
}

// sets tells whether something would be lost if the changes were not made, as against only removed or read.
func (st *state) sets() bool { return st.holds() || st.regenerate || st.attributed() }

func (st *state) attributed() bool { return st.note != nil || st.persistent != nil || st.limits != nil }

func (st *state) changed() bool {
	return st.cleared || len(st.edits)+len(st.added)+len(st.taken) > 0 || st.attributed()
}

// id returns the handle of the session as it will be, or "" if there is none.
func (st *state) id() string {
	switch {
	case st.regenerate || st.fresh && st.user != "":
		return st.issued.ID()
	case st.base != nil && !st.fresh:
		return st.base.ID
	case !st.holds() || st.lapsed:
		return ""
	case st.issued.ID() == "":
		st.issued = newToken(st.config.Name)
	}
	return st.issued.ID()
}

// record returns the session as the request sees it, without its values.
func (st *state) record() Record {
	var r Record
	if st.base != nil && !st.fresh {
		r = *st.base
		r.Values, r.Flashes, r.Operations, r.Stale = nil, nil, nil, false
	} else {
		r = Record{User: st.user, Created: st.since, Persistent: st.config.Persistent, Idle: st.config.IdleTimeout}
		r.Deadline = r.Created.Add(st.config.Lifetime)
		if st.user != "" {
			r.Authenticated = st.since
		}
	}
	if st.note != nil {
		r.Note = *st.note
	}
	if st.persistent != nil {
		r.Persistent = *st.persistent
	}
	if st.limits != nil {
		r.Idle, r.Deadline = st.limits.resolve(st.config, r.Created)
	}
	return r
}

// resolve returns the idle time and the deadline for a session created then. Zero stands for the configuration's.
func (l *limits) resolve(c *Config, created time.Time) (idle time.Duration, deadline time.Time) {
	lifetime := cmp.Or(l.lifetime, c.Lifetime)
	idle = max(l.idle, 0)
	if l.idle == 0 {
		idle = min(c.IdleTimeout, lifetime)
	}
	return idle, created.Add(lifetime)
}

// touchFraction is how many touches make an idle timeout: a session that is used all the time is written so often.
const touchFraction = 20

// mayTouch tells whether there is a use to note at any time.
func (st *state) mayTouch() bool { return !st.spent && (st.base.Stale || st.base.Idle > 0) }

// touchDue tells whether the use is to be noted now.
func (st *state) touchDue(now time.Time) bool {
	return st.base.Stale || now.Sub(st.base.Used) >= st.base.Idle/touchFraction
}

// mark returns the operation that stands for the changes made so far.
func (st *state) mark() string {
	if st.operation == "" || st.marked != st.version {
		st.operation, st.marked = randomText(operationSize), st.version
	}
	return st.operation
}

func randomText(bytes int) string {
	raw := make([]byte, bytes)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}
