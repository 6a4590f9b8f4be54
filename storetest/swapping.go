package storetest

import (
	"errors"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about compare-and-swap.

func staleSwap(x *trial) {
	first := x.create(x.record("", "a", "1"))
	next := x.change(first, set("a", "2"))
	second := x.swap(first, next)
	for what, late := range map[string]*session.Record{
		"a change": x.change(first, set("a", "3")), "a touch": x.change(first), "a tombstone": x.tombstoneOf(first.record),
	} {
		x.conflicts(x.trySwap(first.token, first.record, late), late.ID, "a swap for "+what+" whose Old has been replaced")
		x.stays(second.token, next, "the record, after a swap for "+what+" whose Old had been replaced")
	}
	last := x.change(second, set("a", "4")) // by one that knows what it has put there, and has not loaded it
	x.mustSwap(second.token, session.Swap{Old: next, New: last})
	x.stays(second.token, last, "the record, after a swap whose Old was the New of the one before")
}

func swapOfNothing(x *trial) {
	r := x.record("", "a", "1")
	never := held{tokenFor(r), r}
	for what, next := range map[string]*session.Record{
		"a change": x.change(never, set("a", "2")), "a tombstone": x.tombstoneOf(r),
	} {
		x.conflicts(x.trySwap(never.token, r, next), r.ID, "a swap for "+what+" whose Old is not there")
		x.missing(never.token, "what never was, after a swap for "+what)
	}
}

func idInUse(x *trial) {
	r := x.record("", "mine", "1")
	h := x.create(r)
	for what, other := range map[string]*session.Record{
		"a new session": x.record("", "theirs", "1"), "a session of another user": x.record("user " + text()),
		"a tombstone": x.tombstoneOf(r),
	} {
		other.ID = r.ID
		x.conflicts(x.trySwap(tokenFor(other), nil, other), r.ID, what+" where a session is, with no Old")
		x.stays(h.token, r, "the session that was there, after "+what+" with no Old")
	}
}

func idOfEnded(x *trial) {
	h := x.create(x.record("", "a", "1"))
	x.end(h)
	if !x.assumeEnded(h.token) {
		return
	}
	for what, other := range map[string]*session.Record{"a new session": x.record("", "b", "1"), "a tombstone": x.tombstoneOf(h.record)} {
		other.ID = h.record.ID
		token, err := x.store.Swap(x.ctx, tokenFor(other), session.Swap{New: other})
		x.conflicts(err, other.ID, what+" where a tombstone is, with no Old")
		x.closed(h.token, "an ID that has ended, after "+what+" with no Old")
		x.closed(token, "the token that Swap returned for "+what+" under an ID that has ended")
	}
}

func idOfExpired(x *trial) {
	for what, idle := range map[string]time.Duration{"its idle time": time.Hour, "its deadline": 0} {
		r := x.record("", "a", "1")
		r.IdleTimeout = idle
		h := x.create(r)
		x.advance(r.ExpiresAt().Sub(x.now))
		if _, err := x.store.Load(x.ctx, h.token); !x.assume(err == nil, "an expired session is not kept") {
			return
		}
		again := x.record("", "b", "1")
		again.ID = r.ID
		x.conflicts(x.trySwap(tokenFor(again), nil, again), r.ID, "a new session where one is kept that is past "+what)
		x.stays(h.token, r, "the session that is past "+what+", after a new one was to take its ID")
	}
}

func notBroughtBack(x *trial) {
	h := x.create(x.record("", "a", "1"))
	x.end(h)
	if !x.assumeEnded(h.token) {
		return
	}
	for what, late := range map[string]*session.Record{
		"a change": x.change(h, set("a", "2")), "a touch": x.change(h), "another tombstone": x.tombstoneOf(h.record),
	} {
		token, err := x.store.Swap(x.ctx, h.token, session.Swap{Old: h.record, New: late})
		x.conflicts(err, late.ID, what+" of a session that has ended meanwhile")
		x.closed(h.token, "a session that has ended, after "+what)
		x.closed(token, "the token that Swap returned for "+what+" of a session that has ended")
	}
}

// tombstoneReplaced is about a login that takes the place of an end from outside.
func tombstoneReplaced(x *trial) {
	h := x.create(x.record("user "+text(), "a", "1"))
	revoked := x.tombstoneOf(h.record)
	revoked.Revoked = true
	x.mustSwap(h.token, session.Swap{Old: h.record, New: revoked})
	if !x.assumeEnded(h.token) {
		return
	}
	own, next := x.tombstoneOf(h.record), x.record(h.record.User)
	x.mustSwap(tokenFor(next), session.Swap{Old: x.load(h.token).record, New: own}, session.Swap{New: next})
	x.stays(h.token, own, "a tombstone that took the place of another")
	x.stays(tokenFor(next), next, "the session that was stored with it")
}

// expiredSwapped is about the end of a session that has expired: whether it may still be used is not the store's matter.
func expiredSwapped(x *trial) {
	h := x.create(x.record("", "a", "1"))
	x.advance(time.Hour + time.Second)
	if _, err := x.store.Load(x.ctx, h.token); !x.assume(err == nil, "an expired session is not kept") {
		return
	}
	x.conflicts(x.trySwap(h.token, x.change(h), x.tombstoneOf(h.record)), h.record.ID, "a stale swap of an expired session")
	tombstone := x.end(h)
	if x.assumeEnded(h.token) {
		x.stays(h.token, tombstone, "the tombstone of an expired session")
	}
}

func conflictSaysWhat(x *trial) {
	live, other := x.create(x.record("", "a", "1")), x.create(x.record("", "b", "1"))
	ended := x.create(x.record("", "a", "1"))
	x.end(ended)
	never := x.record("")
	for what, s := range map[string]session.Swap{
		"a live session":     {Old: x.change(live), New: x.change(live)},
		"an ID in use":       {New: x.change(live)},
		"a tombstone":        {Old: ended.record, New: x.change(ended)},
		"what was not there": {Old: never, New: x.change(held{record: never})},
	} {
		stored, err := x.store.Load(x.ctx, session.NewToken(s.New.ID, ""))
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			x.Fatalf("Load of %s: %v", what, err)
		}
		x.saysWhat(x.trySwap(tokenFor(s.New), s.Old, s.New), s.New.ID, stored, what)
		_, err = x.store.Swap(x.ctx, tokenFor(s.New), session.Swap{Old: other.record, New: x.change(other)}, s)
		x.saysWhat(err, s.New.ID, stored, what+" as the second of two swaps")
		other = x.load(other.token)
	}
}

func (x *trial) saysWhat(err error, id string, stored *session.Record, what string) {
	x.Helper()
	var conflict *session.ConflictError
	if !errors.As(err, &conflict) {
		x.assume(false, "it is no conflict")
		return
	}
	if conflict.ID != id {
		x.Errorf("a conflict with %s: its ID is %q, and must be %q", what, conflict.ID, id)
	}
	switch {
	case conflict.Current == nil: // the store may not know
	case stored == nil:
		x.Errorf("a conflict with %s: Current is %+v", what, conflict.Current)
	default:
		x.same(conflict.Current, stored, "a conflict with "+what+": Current is not what is stored")
	}
}

// loadAfterConflict is about caches: those of two processes, where newStore returns two stores with one database, or one
// that its own store's swaps go past.
func loadAfterConflict(x *trial) {
	other := x.another()
	h := x.create(x.record("", "a", "1"))
	if r, err := other.Load(x.ctx, h.token); err != nil || r.Revision != h.record.Revision {
		other = x.store // they share no database
	}
	for range 10 {
		x.load(h.token)
		next, late := x.change(h, set("a", "2")), x.change(h, set("a", "3"))
		if _, err := other.Swap(x.ctx, h.token, session.Swap{Old: h.record, New: next}); err != nil {
			x.Fatalf("Swap of another store: %v", err)
		}
		if !x.assume(isConflict(x.trySwap(h.token, h.record, late)), "a stale swap is no conflict") {
			return
		}
		x.stays(h.token, next, "the record that is loaded after a conflict")
		h = x.load(h.token)
	}
}

func resentSwap(x *trial) {
	r := x.record("", "a", "1")
	token := tokenFor(r)
	resend := func(what string, swaps ...session.Swap) {
		x.Helper()
		for range 2 { // the first is the one whose answer was lost
			if _, err := x.store.Swap(x.ctx, token, swaps...); err != nil {
				x.Fatalf("%s that is sent twice: %v", what, err)
			}
			for _, s := range swaps {
				x.stays(tokenFor(s.New), s.New, "the record, after "+what)
			}
		}
	}
	resend("a new session", session.Swap{New: r})
	h := x.load(token)
	next := x.change(h, set("a", "2"))
	resend("a change", session.Swap{Old: h.record, New: next})
	h = x.load(token)
	moved, swaps := x.moved(h)
	resend("a tombstone and a new session", swaps...)

	// One of two was made, as a store does it that makes them one by one.
	h = x.load(moved)
	moved, swaps = x.moved(h)
	x.mustSwap(h.token, swaps[0])
	resend("the second of two swaps, where the first was made before", swaps...)

	h = x.load(moved)
	first, second := x.change(h, set("a", "3")), x.change(h, set("a", "4"))
	x.mustSwap(h.token, session.Swap{Old: h.record, New: first})
	x.mustSwap(h.token, session.Swap{Old: first, New: second})
	err := x.trySwap(h.token, h.record, first)
	if x.assume(isConflict(err), "a stale swap is no conflict") {
		x.stays(h.token, second, "the record, after a swap sent again that another has followed")
	}
}

func moveSession(x *trial) {
	h := x.create(x.full())
	x.advance(time.Minute)
	for range 2 { // the second by an ID that was moved to
		token, swaps := x.moved(h, set("new", "1"))
		next := x.load(x.mustSwap(token, swaps...))
		x.same(next.record, swaps[1].New, "the session under its new ID")
		if next.token.ID() != swaps[1].New.ID {
			x.Errorf("the token that Swap returned has the ID %q, and the session %q", next.token.ID(), swaps[1].New.ID)
		}
		if x.can(ends) && x.assumeEnded(h.token) {
			x.closed(h.token, "the ID that the session had before")
		}
		h = next
	}
}

func nothingAfterConflict(x *trial) {
	h, other := x.create(x.record("", "a", "1")), x.create(x.record("", "a", "1"))
	h = x.swap(h, x.change(h, set("a", "2")))
	created := x.record("")
	_, err := x.store.Swap(x.ctx, tokenFor(created),
		session.Swap{Old: x.change(h), New: x.tombstoneOf(h.record)},
		session.Swap{Old: other.record, New: x.change(other, set("a", "2"))},
		session.Swap{New: created},
	)
	x.conflicts(err, h.record.ID, "the first of three swaps")
	x.stays(h.token, h.record, "the record that met the conflict")
	x.stays(other.token, other.record, "a record whose swap came after the conflict")
	x.missing(tokenFor(created), "a session that was to be stored after the conflict")
}

func allOrNoneBeforeConflict(x *trial) {
	first, second := x.create(x.record("", "a", "1")), x.create(x.record("", "a", "1"))
	third, fourth := x.create(x.record("", "a", "1")), x.create(x.record("", "a", "1"))
	_, err := x.store.Swap(x.ctx, fourth.token,
		session.Swap{Old: first.record, New: x.change(first, set("a", "2"))},
		session.Swap{Old: second.record, New: x.tombstoneOf(second.record)},
		session.Swap{Old: x.change(third), New: x.change(third, set("a", "2"))},
		session.Swap{Old: fourth.record, New: x.change(fourth, set("a", "2"))},
	)
	x.conflicts(err, third.record.ID, "the third of four swaps")
	made := func(h held) bool {
		r, err := x.store.Load(x.ctx, h.token)
		return err != nil || r.Revision != h.record.Revision
	}
	if made(first) != made(second) {
		x.Errorf("before the conflict the first swap was made: %v, the second: %v", made(first), made(second))
	}
	if made(third) || made(fourth) {
		x.Errorf("the swap that met the conflict was made: %v, the one after it: %v", made(third), made(fourth))
	}
}
