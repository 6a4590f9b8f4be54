package storetest

import (
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about stores that can end a session whatever its revision.

func (x *trial) ender() session.Ender { return x.store.(session.Ender) }

// mustEnd ends a session, and returns what was there.
func (x *trial) mustEnd(tombstone *session.Record) *session.Record {
	x.Helper()
	replaced, err := x.ender().End(x.ctx, tombstone)
	if err != nil {
		x.Fatalf("End: %v", err)
	}
	return replaced
}

func endLive(x *trial) {
	for what, wait := range map[string]time.Duration{"a live session": time.Minute, "an expired session": time.Hour + time.Second} {
		h := x.create(x.record("user "+text(), "a", "1"))
		h = x.swap(h, x.change(h, set("a", "2")))
		x.advance(wait)
		if _, err := x.store.Load(x.ctx, h.token); !x.assume(err == nil, what+" is not kept") {
			return
		}
		tombstone := x.tombstoneOf(h.record)
		tombstone.Revoked = true
		if replaced := x.mustEnd(tombstone); replaced == nil && x.can(shares) {
			x.Errorf("End of %s did not return it", what)
		} else if replaced != nil {
			x.same(replaced, h.record, "what End of "+what+" returned")
		}
		r := x.load(h.token).record
		if x.can(shares) {
			x.same(r, tombstone, what+" after End")
		} else if !r.Ended {
			x.Errorf("%s after End is %+v", what, r)
		}
		if err := x.trySwap(h.token, h.record, x.change(h, set("a", "3"))); !isConflict(err) {
			x.Errorf("a swap of %s after End: the error is %v, and must be a *ConflictError", what, err)
		}
	}
}

// endNothing is about a session that is to be created a moment later.
func endNothing(x *trial) {
	r := x.record("user "+text(), "a", "1")
	if replaced := x.mustEnd(x.tombstoneOf(r)); replaced != nil {
		x.Errorf("End, where nothing was, returned %+v", replaced)
	}
	_, err := x.store.Swap(x.ctx, tokenFor(r), session.Swap{New: r})
	x.conflicts(err, r.ID, "a new session with an ID that was ended before")
	if x.can(shares) && !x.load(tokenFor(r)).record.Ended {
		x.Error("where End left a tombstone, a session is")
	}
}

func endTombstone(x *trial) {
	h := x.create(x.record("", "a", "1"))
	first := x.tombstoneOf(h.record)
	first.Successor = text()
	x.mustSwap(h.token, session.Swap{Old: h.record, New: first})
	if !x.assumeEnded(h.token) {
		return
	}
	second := x.tombstoneOf(h.record)
	second.Revoked = true
	_, err := x.ender().End(x.ctx, second)
	x.conflicts(err, h.record.ID, "End where a tombstone is")
	var conflict *session.ConflictError
	if errors.As(err, &conflict) && conflict.Current != nil && conflict.Current.Successor != first.Successor {
		x.Errorf("the conflict of End where a tombstone is has as Current %+v", conflict.Current)
	}
	if r := x.load(h.token).record; !r.Ended || r.Successor != first.Successor || r.Revoked {
		x.Errorf("a tombstone is %+v after End, and must stay as it was", r)
	}
}

func endUnderContention(x *trial) {
	for range 5 {
		h := x.create(x.record("", "a", "1"))
		h = x.swap(h, x.change(h)) // one alone gets through
		underWay, ended := make(chan struct{}), atomic.Bool{}
		var swaps atomic.Int64
		x.each(20, func(i int) error {
			if i == 0 {
				<-underWay
				replaced, err := x.ender().End(x.ctx, x.tombstoneOf(h.record))
				ended.Store(true)
				if err == nil && (replaced == nil || replaced.Ended) {
					err = errors.New("the session that ended was not what End returned")
				}
				return err
			}
			return x.swapUntilEnded(h.token, &ended, func() {
				if swaps.Add(1) == 20 {
					close(underWay)
				}
			})
		})
		x.closed(h.token, "a session that End ended while 19 requests changed it")
	}
}

// swapUntilEnded changes a session again and again until it has ended, and calls swapped after each change. It returns an
// error if one is accepted that began after ended was set.
func (x *trial) swapUntilEnded(token session.Token, ended *atomic.Bool, swapped func()) error {
	for x.ctx.Err() == nil {
		after := ended.Load()
		r, err := x.store.Load(x.ctx, token)
		if err != nil {
			return err
		}
		if r.Ended {
			return nil
		}
		err = x.trySwap(token, r, x.change(held{token, r}, set("by", strconv.Quote(text()))))
		switch {
		case err == nil && after:
			return errors.New("a swap that began after the session had ended was accepted")
		case err == nil:
			swapped()
		case !isConflict(err):
			return err
		case after:
			return nil // it has ended, whatever Load says
		}
	}
	return x.ctx.Err()
}
