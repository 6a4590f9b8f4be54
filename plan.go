package session

import (
	"encoding/json"
	"time"
)

// step is the kind of thing that a commit asks of the store.
type step uint8

const (
	nothing step = iota
	refuse       // values were set in a session that has ended
	touch        // note the use
	write        // change the values of the session
	create       // store a new session, or the same under a new id
	end          // delete the session
)

// plan is what a commit has to do.
type plan struct {
	step   step
	change *Change
	sets   bool // values are lost if it can't be done
	cookie bool // the response must carry the cookie; a store that keeps the session in the cookie needs that always

	version int   // of the state that this was planned for
	token   Token // that the store was told with it
}

// plan decides what has to be done for the changes made so far. It changes nothing but the id for a new session and the
// changes' mark.
func (st *state) plan() plan {
	p := st.next()
	p.version, p.token = st.version, st.token
	if p.step == create {
		p.token = st.issued
	}
	return p
}

func (st *state) next() plan {
	switch {
	case st.fresh && !st.holds():
		return plan{step: end, cookie: true}
	case st.lapsed && !st.fresh:
		if st.sets() {
			return plan{step: refuse, sets: true}
		}
		return plan{}
	case st.base == nil && !st.holds():
		return plan{}
	case st.base == nil || st.fresh || st.regenerate:
		return plan{step: create, sets: true, cookie: true, change: st.creation(st.config.now())}
	case st.changed():
		return plan{step: write, sets: st.sets(), cookie: st.cookieChanges(), change: st.change(st.config.now())}
	case st.mayTouch():
		if now := st.config.now(); st.touchDue(now) {
			return plan{step: touch, change: st.change(now)}
		}
	}
	return plan{}
}

// cookieChanges tells whether the cookie's own lifetime may change with the session's: an earlier answer that said so need
// not have arrived.
func (st *state) cookieChanges() bool {
	return st.persistent != nil || st.limits != nil && st.base.Persistent
}

// change returns the changes as the store takes them.
func (st *state) change(now time.Time) *Change {
	r := st.record()
	if now.After(r.Used) { // or the clock was put back
		r.Used = now
	}
	r.Values, r.Flashes = st.values(), st.flashes()
	c := &Change{
		Operation: st.mark(), Record: &r, Cleared: st.cleared, Keep: st.keep, Attributes: st.attributed(),
		FlashesTaken: st.taken, Base: st.base,
	}
	for id := range st.added {
		c.FlashesAdded = append(c.FlashesAdded, id)
	}
	for key, e := range st.edits {
		if e.raw == nil {
			c.Deleted = append(c.Deleted, key)
			continue
		}
		c.Set = append(c.Set, key)
		if len(e.updates) > 0 && st.base != nil {
			expect(c, key, st.base.Values[key])
		}
	}
	return c
}

// creation returns the change that stores the session under a new id.
func (st *state) creation(now time.Time) *Change {
	id := st.id() // makes one if there is none
	c := st.change(now)
	c.Create, c.Fresh = true, st.fresh
	c.Record.ID, c.Record.Issued = id, now
	if st.fresh && st.user != "" {
		c.MaxPerUser = st.config.MaxPerUser
	}
	return c
}

func expect(c *Change, key string, raw json.RawMessage) {
	if c.Expect == nil {
		c.Expect = make(map[string]json.RawMessage)
	}
	c.Expect[key] = raw
}

// rebase puts the changes on a newer record, and makes the updates again.
func (st *state) rebase(current *Record, remade map[string]edit) {
	st.base = current
	for key, e := range remade {
		st.edits[key] = e
	}
}

// remake makes the updates again on a newer record. It does not change st, and is called without a lock.
func remake(edits map[string]edit, current *Record) (map[string]edit, error) {
	remade := make(map[string]edit)
	for key, e := range edits {
		if len(e.updates) == 0 {
			continue
		}
		raw := current.Values[key]
		for _, f := range e.updates {
			var err error
			if raw, err = f(raw); err != nil {
				return nil, err
			}
		}
		remade[key] = edit{raw: raw, updates: e.updates}
	}
	return remade, nil
}

// done makes the committed changes the new base.
func (st *state) done(p plan, token Token) {
	st.base, st.token, st.lapsed, st.unsure = p.change.Record, token, false, nil
	if p.version == st.version {
		st.pending = pending{}
		return
	}
	st.strike(p)
}

// strike takes what was committed off the changes, to which others have been added since.
func (st *state) strike(p plan) {
	if st.renewed <= p.version {
		renewed := st.fresh || st.regenerate
		st.fresh, st.destroy, st.user = false, false, ""
		st.regenerate = renewed && st.issued.ID() != st.base.ID // a newer id was asked for
	}
	if st.emptied <= p.version {
		st.cleared, st.keep = false, nil
	}
	if st.attributes <= p.version {
		st.note, st.persistent, st.limits = nil, nil, nil
	}
	for _, id := range p.change.FlashesAdded {
		delete(st.added, id)
	}
	for key, e := range st.edits {
		if e.version <= p.version {
			delete(st.edits, key)
			if st.cleared && e.raw != nil {
				st.keep = append(st.keep, key) // by a Login, from base now
			}
			continue
		}
		e.updates, e.sent = e.updates[e.sent:], 0
		st.edits[key] = e
	}
}

// tried notes what the store may have done, though it said that it failed.
func (st *state) tried(p plan) {
	st.unsure = &p
	for key, e := range st.edits {
		e.sent = len(e.updates)
		st.edits[key] = e
	}
}

// inDoubt tells whether something was changed since. If nothing was, the next commit asks for the same.
func (st *state) inDoubt() bool { return st.unsure != nil && st.unsure.version != st.version }

// over makes the session one that has ended.
func (st *state) over() {
	st.base, st.token, st.lapsed, st.unsure = nil, Token{}, true, nil
	st.pending = pending{}
}
