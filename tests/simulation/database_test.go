package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// database is records by their IDs and IDs by their users. All of it is guarded by the world's lock.
type database struct {
	world  *world
	offset time.Duration // of its clock
	rows   map[string]*session.Record
	lists  map[string]map[string]time.Time // of each user: the IDs, and until when they stay
	log    []written
}

// written is a write that a failover may lose.
type written struct {
	at         time.Time
	id         string
	before     *session.Record
	replicated bool
}

func newDatabase(w *world) *database {
	return &database{
		world: w, offset: w.drawOffset("database"), rows: map[string]*session.Record{}, lists: map[string]map[string]time.Time{},
	}
}

func (d *database) now() time.Time { return time.Now().Add(d.offset) }

// get returns what is stored, or nil. What is past its time is gone, unless this is a database in which it stays.
func (d *database) get(id string) *session.Record {
	r := d.rows[id]
	if r == nil || d.world.params.lingers || d.now().Before(r.KeepUntil()) {
		return r
	}
	return nil
}

// check returns what a swap meets, or nil if it can be made.
func (d *database) check(s session.Swap) *session.ConflictError {
	current := d.get(s.New.ID)
	switch {
	case current == nil && s.Old == nil:
		return nil
	case current != nil && (current.Revision == s.New.Revision || s.Old != nil && current.Revision == s.Old.Revision):
		return nil
	}
	return &session.ConflictError{ID: s.New.ID, Current: copyOf(current)}
}

// put stores a record.
func (d *database) put(r *session.Record, by string, arrival *delivery) {
	before := d.get(r.ID)
	if before != nil && before.Revision == r.Revision {
		arrival.said = append(arrival.said, d.world.describe(r)+" is there already")
		return
	}
	next := copyOf(r)
	arrival.said = append(arrival.said, fmt.Sprintf("%s in place of %s", d.world.describe(next), d.world.describe(before)))
	d.rows[r.ID] = next
	d.world.calls["revisions of "+r.ID]++
	d.world.calls["revision "+r.Revision] = d.world.calls["revisions of "+r.ID]
	d.log = append(d.log, written{time.Now(), r.ID, before, false})
	d.world.counts.writes++
	d.world.truth.stored(before, next, by, arrival.visit)
}

// replicate notes that all that was written so far is on a replica.
func (d *database) replicate() {
	for i := range d.log {
		d.log[i].replicated = true
	}
}

// enlist puts an ID into its user's list.
func (d *database) enlist(r *session.Record) {
	if r.User == "" {
		return
	}
	list := d.lists[r.User]
	if list == nil {
		list = map[string]time.Time{}
		d.lists[r.User] = list
	}
	list[r.ID] = r.KeepUntil()
}

// list returns the IDs of a user.
func (d *database) list(user string) (ids []string) {
	for id, until := range d.lists[user] {
		if !d.now().Before(until) {
			if r := d.rows[id]; r == nil || !d.now().Before(r.KeepUntil()) {
				delete(d.lists[user], id)
				continue
			}
		}
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { // random IDs must not decide what happens first
		return strings.Compare(d.world.short(a, "list"), d.world.short(b, "list"))
	})
	return ids
}

// mostLost is how far back a failover may go.
const mostLost = 1500 * time.Millisecond

// failOver makes a replica the database. What it has not got is lost.
func (d *database) failOver(dice *rand.Rand) {
	w := d.world
	w.mu.Lock()
	defer w.mu.Unlock()
	since := time.Now().Add(-time.Duration(dice.Int64N(int64(mostLost))))
	lost := map[string]bool{}
	for i := len(d.log) - 1; i >= 0; i-- {
		one := d.log[i]
		if w.params.replicated && one.replicated || !w.params.replicated && one.at.Before(since) {
			break
		}
		if one.before == nil {
			delete(d.rows, one.id)
		} else {
			d.rows[one.id] = one.before
		}
		lost[one.id] = true
		since = one.at
		d.log = d.log[:i]
	}
	w.counts.faults++
	w.noteLocked("failover: %d sessions lose their last writes", len(lost))
	w.restored = time.Now()
	if !w.params.replicated {
		w.failovers = append(w.failovers, time.Now())
	}
	w.truth.restored(lost, since)
}

// lostSince reports whether a failover has lost writes that were answered. It is called with the lock held.
func (w *world) lostSince(begun time.Time) bool {
	return slices.ContainsFunc(w.failovers, func(at time.Time) bool { return !at.Before(begun) })
}

// describe tells what a record is. It is called with the lock held.
func (w *world) describe(r *session.Record) string {
	if r == nil {
		return "nothing"
	}
	name := w.short(r.ID, "list")
	switch {
	case r.Ended && r.Successor != "":
		return "tombstone of " + name + " that goes on as " + w.short(r.Successor, name)
	case r.Ended && r.Revoked:
		return "revoked tombstone of " + name
	case r.Ended:
		return "tombstone of " + name
	}
	return fmt.Sprintf("%s of %q with %s", name, r.User, contentOf(r))
}
