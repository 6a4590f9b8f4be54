package session_test

import (
	"net/http"
	"slices"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

// What the model makes of a request: its changes, and when they are made to what is stored.

// batch is what one call of Save asks for.
type batch struct {
	changes      []func(*content)
	newID, fresh bool
	idle         int // of the changes: messages that the request added and read itself
	done         bool
}

// asks tells whether there is something to ask the store for.
func (b batch) asks() bool { return len(b.changes) > b.idle }

// sets tells whether something is lost if it can't be done.
func (b batch) sets() bool {
	var alone content
	for _, change := range b.changes {
		change(&alone)
	}
	return b.newID || !alone.empty()
}

// draft is a request.
type draft struct {
	*model
	w http.ResponseWriter
	s *session.Session

	seen    content  // as the request sees its session, until another request is in between
	begun   bool     // it knows of a session that is stored
	unsaved batch    // what it changed
	doubt   *batch   // what the store was told, and has not answered
	since   batch    // and what was changed since
	changed bool     // if anything was
	emptied bool     // Clear was called
	own     []string // messages that it added and no commit has met
	ends    bool     // Destroy was called for what is stored

	disturbed bool     // another request was in between
	gone      bool     // and ended the session, or took it on under a new id
	heir      *visitor // who has that
	lapsed    bool     // and the request has met it
	adopt     bool     // what a login over such a session keeps depends on when it went

	started  bool // the header has been sent
	status   int  // with this status
	dead     bool // which is that of an error
	late     bool // the request went on after it
	cookie   int  // the id in the header; 0: a deletion; -1: none
	failed   bool // the last commit
	onDelete bool // when it asked the store to delete
}

// tookBack notes that these messages were read. With the request's own, unless they are in doubt, nothing is left to do, and
// if there are no others, the reading asks for nothing either.
func (d *draft) tookBack(texts []string) {
	own := 0
	for _, text := range texts {
		if slices.Contains(d.own, text) && d.doubt == nil {
			own++
		}
	}
	if own == len(texts) {
		own++
	}
	d.unsaved.idle += own
}

// change notes a change.
func (d *draft) change(newID bool, f func(*content)) {
	f(&d.seen)
	d.unsaved.changes = append(d.unsaved.changes, f)
	d.since.changes = append(d.since.changes, f)
	d.unsaved.newID, d.since.newID = d.unsaved.newID || newID, d.since.newID || newID
	d.changed = true
}

// begin notes that what comes is another session.
func (d *draft) begin() { d.unsaved.fresh, d.since.fresh = true, true }

// start is what the model makes of the start of the response.
func (d *draft) start() {
	d.status = http.StatusServiceUnavailable
	if d.gone {
		d.status = http.StatusConflict
	}
	if d.commit(); !d.failed {
		d.status = http.StatusOK
	}
	d.started, d.dead = true, d.failed
}

// commitGone is what the model makes of a commit after the session has gone.
func (d *draft) commitGone() {
	d.failed, d.onDelete, d.own = false, false, nil
	if d.ends && !d.lapsed {
		d.end()
		require.True(d.t, d.heir == nil || d.heir.signedOut(), "%v: the logout ends the session that went on, too", d)
		d.begun, d.ends = false, false
	}
	switch {
	case d.unsaved.fresh && d.seen.empty():
		if !d.started {
			d.cookie = 0
		}
		d.gone, d.doubt = d.lapsed, nil
		d.unsaved, d.since, d.changed = batch{}, batch{}, false
	case d.unsaved.fresh && d.started:
		d.failed = true // its cookie can't be sent
	case d.unsaved.fresh:
		d.gone, d.lapsed, d.adopt, d.begun, d.doubt = false, false, true, true, nil
		d.ids++
		d.latest, d.cookie, d.stored = d.ids, d.ids, d.seen.clone()
		d.unsaved, d.since, d.changed = batch{}, batch{}, false
	case d.lapsed:
		d.failed = d.unsaved.sets()
	case d.unsaved.asks():
		d.failed, d.lapsed, d.ends, d.doubt = d.unsaved.sets(), true, false, nil
		d.unsaved, d.since, d.changed = batch{}, batch{}, false
	}
}

// commit is what the model makes of a commit that has met its fate.
func (d *draft) commit() {
	if d.gone {
		d.store.face(done)
		d.commitGone()
		return
	}
	met, conflict := d.store.met, d.store.conflict
	d.store.face(done)
	d.failed, d.onDelete, d.own = false, false, nil
	if d.doubt != nil && d.changed && conflict { // it was not done, and all is made anew
		d.doubt = nil
	}
	if d.doubt != nil && d.changed { // first of all that is made sure of
		if d.save(met); d.failed {
			return
		}
		d.unsaved, met = d.since, done
	}
	if d.ends && d.begun {
		if met != refused {
			d.end()
		}
		if d.failed, d.onDelete = met != done, met != done; d.failed {
			return
		}
		d.begun, d.ends = false, false
	}
	switch {
	case (!d.begun || d.unsaved.fresh) && d.seen.empty():
		if d.unsaved.fresh && !d.started {
			d.cookie = 0
		}
		d.unsaved, d.since, d.changed = batch{}, batch{}, false
	case d.started && (!d.begun || d.unsaved.fresh):
		d.failed = true // its cookie can't be sent
	case len(d.unsaved.changes) > 0:
		if d.doubt == nil {
			b := d.unsaved
			b.newID = b.newID || b.fresh || !d.begun
			d.doubt = &b
		}
		d.save(met)
		d.since, d.changed = batch{}, false
		if !d.failed {
			d.unsaved = batch{}
		}
	}
}

// save is what the model makes of a call of Save for what is in doubt.
func (d *draft) save(met fate) {
	d.failed = met != done
	if met != refused && !d.doubt.done {
		d.doubt.done = true
		for _, change := range d.doubt.changes {
			change(&d.stored)
		}
		if d.doubt.newID {
			d.ids++
			d.latest = d.ids
		}
	}
	if d.failed {
		return
	}
	if d.doubt.newID {
		d.cookie = d.latest
	}
	d.begun, d.doubt = true, nil
}

func (m *model) end() { m.stored, m.latest = content{}, 0 }

// answered is what the model makes of the end of a request.
func (d *draft) answered(resp *http.Response) {
	switch {
	case !d.started:
		d.start()
	case !d.dead:
		d.commit()
	}
	require.Equal(d.t, d.status, resp.StatusCode, d)
	if d.failed && !d.onDelete {
		d.endNow()
	}
	if d.cookie >= 0 {
		d.browser = d.cookie
	}
}

// abandoned is what it makes of a panic: only a logout is done. The browser has no answer, or one without an end.
func (d *draft) abandoned() {
	d.store.face(done)
	d.endNow()
	d.failed = true
}

// endNow does the logout that the commit did not come to.
func (d *draft) endNow() {
	if d.ends && d.begun {
		d.end()
	}
}
