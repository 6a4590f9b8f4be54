package storetest

import (
	"errors"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about time. All of it is by session.Now, and moved there.

// almostAMinute is how long a record is kept after its end, less a second.
const almostAMinute = 59 * time.Second

func expiredKept(x *trial) {
	for what, edit := range map[string]edit{
		"its idle time": func(r *session.Record) { r.IdleTimeout = 20 * time.Minute },
		"its deadline":  func(r *session.Record) { r.IdleTimeout = 0 },
	} {
		r := x.record("", "a", "1")
		edit(r)
		h := x.create(r)
		x.advance(r.ExpiresAt().Sub(x.now) + almostAMinute)
		x.stays(h.token, r, "a session that is nearly a minute past "+what)
		x.advance(1000 * time.Hour)
		x.keptOrForgotten(h, "a session that is long past "+what)
	}
}

// keptOrForgotten fails the clause if there is something else than what was stored long ago.
func (x *trial) keptOrForgotten(h held, what string) {
	x.Helper()
	r, err := x.store.Load(x.ctx, h.token)
	if err == nil {
		x.same(r, h.record, what)
	} else if !errors.Is(err, session.ErrNotFound) {
		x.Errorf("%s: the error of Load is %v, and must wrap ErrNotFound", what, err)
	}
}

func usedKept(x *trial) {
	r := x.record("", "a", "1")
	r.IdleTimeout = 20 * time.Minute
	h := x.create(r)
	for range 4 {
		x.advance(19 * time.Minute)
		h = x.swap(x.load(h.token), x.change(h))
	}
	longer := x.change(h, func(r *session.Record) {
		r.IdleTimeout, r.Deadline = 30*24*time.Hour, x.now.Add(90*24*time.Hour)
	})
	h = x.swap(h, longer)
	x.advance(29 * 24 * time.Hour)
	x.stays(h.token, longer, "a session whose limits were made longer, before the new ones")
}

func tombstoneKept(x *trial) {
	for _, life := range []time.Duration{time.Minute, 90 * 24 * time.Hour} { // the second as one that stands for sealed cookies
		r := x.record("", "a", "1")
		r.IdleTimeout, r.Deadline = 0, x.now.Add(max(life, 24*time.Hour))
		h := x.create(r)
		tombstone := x.tombstoneOf(h.record)
		tombstone.Deadline = x.now.Add(life)
		x.mustSwap(h.token, session.Swap{Old: h.record, New: tombstone})
		if !x.assumeEnded(h.token) {
			return
		}
		x.advance(life - time.Second)
		if r, err := x.store.Load(x.ctx, h.token); err != nil || !r.Ended {
			x.Errorf("a second before the deadline of a tombstone that stands for %v, Load returned %v, %v", life, r, err)
		}
	}
}

// staysEnded is about stores that can't take back what they gave out: they must not forget before it is over.
func staysEnded(x *trial) {
	r := x.record("", "a", "1")
	r.IdleTimeout = 0 // so that nothing but the end keeps it shut
	h := x.create(r)
	x.end(h)
	if !x.assumeEnded(h.token) {
		return
	}
	x.advance(r.Deadline.Sub(x.now) - time.Millisecond)
	x.closed(h.token, "a session that has ended, just before its own deadline")
	if x.can(shares) { // a cookie opens for ever, and is past its deadline
		x.advance(1000 * time.Hour)
		x.closed(h.token, "a session that has ended, long after its deadline")
	}
}
