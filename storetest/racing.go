package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about contexts that end, and about many goroutines.

func endedContext(x *trial) {
	cancelled, cancel := context.WithCancel(x.ctx)
	cancel()
	late, cancelLate := context.WithDeadline(x.ctx, time.Unix(0, 0))
	defer cancelLate()
	for name, ctx := range map[string]context.Context{"cancelled": cancelled, "past its deadline": late} {
		h := x.create(x.record("user "+text(), "a", "1"))
		created := x.record("", "b", "1")
		for method, call := range x.calls(h, created) {
			x.cutShort(call(ctx), method+" with a context that is "+name)
		}
		x.stays(h.token, h.record, "the session after calls with a context that is "+name)
		if x.can(shares) {
			x.missing(tokenFor(created), "a session that was created with a context that is "+name)
		}
	}
}

// cutShort fails the clause unless a call says that its context ended, and nothing of the session.
func (x *trial) cutShort(err error, what string) {
	x.Helper()
	switch {
	case err == nil:
		x.Errorf("%s did not return an error", what)
	case errors.Is(err, session.ErrNotFound):
		x.Errorf("%s says ErrNotFound, which logs the user out: %v", what, err)
	case isConflict(err):
		x.Errorf("%s says that it met a conflict: %v", what, err)
	}
}

// calls are all that can be done with a session, by name.
func (x *trial) calls(h held, created *session.Record) map[string]func(context.Context) error {
	swap := func(token session.Token, swaps ...session.Swap) func(context.Context) error {
		return func(ctx context.Context) error { _, err := x.store.Swap(ctx, token, swaps...); return err }
	}
	token, moved := x.moved(h)
	calls := map[string]func(context.Context) error{
		"Load":                         func(ctx context.Context) error { _, err := x.store.Load(ctx, h.token); return err },
		"Swap for a change":            swap(h.token, session.Swap{Old: h.record, New: x.change(h, set("a", "2"))}),
		"Swap for a tombstone":         swap(h.token, session.Swap{Old: h.record, New: x.tombstoneOf(h.record)}),
		"Swap for a new session":       swap(tokenFor(created), session.Swap{New: created}),
		"Swap for a session that goes": swap(token, moved...),
	}
	if x.can(endsAtOnce) {
		calls["End"] = func(ctx context.Context) error { _, err := x.ender().End(ctx, x.tombstoneOf(h.record)); return err }
	}
	if x.can(lists) {
		calls["UserSessions"] = func(ctx context.Context) error {
			_, err := x.userStore().UserSessions(ctx, realm, h.record.User)
			return err
		}
	}
	if x.can(endsUsers) {
		calls["EndUser"] = func(ctx context.Context) error { return x.userEnder().EndUser(ctx, realm, h.record.User, nil) }
		calls["EndUserSession"] = func(ctx context.Context) error {
			return x.userEnder().EndUserSession(ctx, realm, h.record.User, h.record.ID)
		}
	}
	return calls
}

// mostQuestions is how often a call may look at its context before the rest is taken to be alike.
const mostQuestions = 100

// endingContext has a session of its own for each question: a database may make a swap that nobody waits for any more later.
func endingContext(x *trial) {
	for n := 1; n <= mostQuestions; n++ {
		h, ctx := x.create(x.record("", "a", "0", "b", "0")), x.trippingContext(n)
		want, next := h.record, x.change(h, set("a", "1", "b", "1"))
		_, err := x.store.Swap(ctx, h.token, session.Swap{Old: h.record, New: next})
		if err != nil {
			x.cutShort(err, "Swap with a context that ends")
		}
		if h = x.load(h.token); h.record.Revision == next.Revision || err == nil {
			want = next
		}
		x.same(h.record, want, fmt.Sprintf("the record, after a swap whose context ended at question %d", n))
		if !ctx.tripped() {
			break
		}
	}
	x.endingMove()
}

// endingMove never leaves the old session open beside the new one.
func (x *trial) endingMove() {
	for n := 1; n <= mostQuestions; n++ {
		h, ctx := x.create(x.record("", "a", "0")), x.trippingContext(n)
		token, swaps := x.moved(h)
		_, err := x.store.Swap(ctx, token, swaps...)
		if err != nil {
			x.cutShort(err, "Swap with a context that ends")
		}
		before, after := x.opens(h.token), x.opens(token)
		if before && after || err == nil && (before || !after) {
			x.Fatalf("two swaps, whose context ended at question %d, returned %v; the old ID opens: %v, the new: %v", n, err, before, after)
		}
		if after {
			x.stays(token, swaps[1].New, "the session under its new ID")
		}
		if !ctx.tripped() {
			return
		}
	}
}

func increments(x *trial) {
	h := x.create(x.record("", "n", "-1"))
	x.swap(h, x.change(h, set("n", "0"))) // one alone gets through
	x.each(100, func(int) error {
		for x.ctx.Err() == nil {
			r, err := x.store.Load(x.ctx, h.token)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(r.Values.Get("n")))
			if err != nil {
				return err
			}
			if err = x.trySwap(h.token, r, x.change(held{h.token, r}, set("n", strconv.Itoa(n+1)))); !isConflict(err) {
				return err
			}
		}
		return x.ctx.Err()
	})
	x.holds(x.load(h.token).record, "the record after 100 increments at once", "n", "100")
}

func manySessions(x *trial) {
	x.each(100, func(i int) error {
		r := x.record("", "n", strconv.Itoa(i))
		token, err := x.store.Swap(x.ctx, tokenFor(r), session.Swap{New: r})
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		next := x.change(held{token, r}, set("m", strconv.Itoa(i)))
		if token, err = x.store.Swap(x.ctx, token, session.Swap{Old: r, New: next}); err != nil {
			return fmt.Errorf("session %d: a second swap: %w", i, err)
		}
		got, err := x.store.Load(x.ctx, token)
		if err != nil {
			return fmt.Errorf("session %d: Load: %w", i, err)
		}
		if diff := differences(got, next, x.notKept()); len(diff) > 0 {
			return fmt.Errorf("session %d is another: %v", i, diff)
		}
		return nil
	})
}

func racingCreations(x *trial) {
	for range 10 {
		records := make([]*session.Record, 10)
		for i := range records {
			records[i] = x.record("", "of", strconv.Itoa(i))
			records[i].ID = records[0].ID
		}
		winners := x.race(len(records), func(i int) error { return x.trySwap(tokenFor(records[i]), nil, records[i]) })
		if len(winners) != 1 {
			x.Fatalf("of %d new sessions at once with one ID, Swap accepted %d, and must accept one", len(records), len(winners))
		}
		x.stays(tokenFor(records[0]), records[winners[0]], "the session that was accepted")
	}
}

func racingRegenerations(x *trial) {
	probe := x.create(x.record(""))
	x.end(probe)
	if !x.assumeEnded(probe.token) {
		return
	}
	for range 10 {
		h := x.create(x.record("", "a", "1"))
		moves := make([]struct {
			token session.Token
			swaps []session.Swap
		}, 10)
		for i := range moves {
			moves[i].token, moves[i].swaps = x.moved(h)
		}
		winners := x.race(len(moves), func(i int) error {
			_, err := x.store.Swap(x.ctx, moves[i].token, moves[i].swaps...)
			return err
		})
		open := 0
		for _, m := range moves {
			if x.can(shares) && x.opens(m.token) {
				open++
			}
		}
		if len(winners) != 1 || open != 1 && x.can(shares) {
			x.Fatalf("of %d regenerations at once, Swap accepted %d, and %d IDs open; it must be one", len(moves), len(winners), open)
		}
		if r := x.load(h.token).record; r.Successor != moves[winners[0]].swaps[1].New.ID {
			x.Fatalf("the successor of the old ID is %q, and not the ID of the regeneration that was accepted", r.Successor)
		}
	}
}

// race runs n swaps at once, and returns which were accepted. The others must meet a conflict.
func (x *trial) race(n int, swap func(i int) error) (winners []int) {
	x.Helper()
	won := make([]bool, n)
	x.each(n, func(i int) error {
		err := swap(i)
		won[i] = err == nil
		if err != nil && !isConflict(err) {
			return fmt.Errorf("a swap that came second: the error is %w, and must be a *ConflictError", err)
		}
		return nil
	})
	for i := range won {
		if won[i] {
			winners = append(winners, i)
		}
	}
	return winners
}

func racingEnd(x *trial) {
	probe := x.create(x.record(""))
	probe = x.swap(probe, x.change(probe))
	x.end(probe)
	if !x.assumeEnded(probe.token) {
		return
	}
	for range 5 {
		h, ended := x.create(x.record("", "a", "1")), atomic.Bool{}
		x.each(8, func(i int) error {
			if i == 4 {
				err := x.endBySwap(h.token)
				ended.Store(true)
				return err
			}
			return x.swapUntilEnded(h.token, &ended, func() {})
		})
		x.closed(h.token, "a session that ended while 7 requests changed it")
	}
}

// endBySwap puts a tombstone in the place of a session that others change.
func (x *trial) endBySwap(token session.Token) error {
	for x.ctx.Err() == nil {
		r, err := x.store.Load(x.ctx, token)
		if err != nil {
			return err
		}
		if err = x.trySwap(token, r, x.tombstoneOf(r)); !isConflict(err) {
			return err
		}
	}
	return x.ctx.Err()
}
