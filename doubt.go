package session

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// This file deals with a lost answer of the store. Before anything else, the next commit finds out whether the swap was made.

// attempt is what was sent to the store.
type attempt struct {
	token  Token
	swaps  []Swap
	since  time.Time // when it was sent first, if it begins a session
	log    int       // how many changes of the request's log it commits
	leader *waiter   // the commit whose deadline it had, if it was made for several commits

	adopted *Record // the session that it adopts, or nil
}

// puts reports whether the attempt, which may be nil, is the one that put this tombstone.
func (a *attempt) puts(tombstone *Record) bool {
	return a != nil && slices.ContainsFunc(a.swaps, func(s Swap) bool { return s.New.Revision == tombstone.Revision })
}

// resolveDoubt sends the attempt again, unchanged, because nobody knows whether it was made.
func (q *request) resolveDoubt(call *storeContext, s *step) error {
	sent := s.doubt
	s.log, s.n = s.log[:sent.log], sent.log
	last := sent.swaps[len(sent.swaps)-1]
	if last.Old == nil && time.Since(sent.since) > tombstoneLife/2 {
		return q.swapError(s, errTooLateToResend)
	}
	if sent.adopted != nil {
		return q.sendAdoption(call, s, sent)
	}
	token, err := q.manager.store.Swap(call, sent.token, sent.swaps...)
	if err == nil {
		return q.settle(call, s, last.New, token)
	}
	conflict := conflictOf(err)
	if conflict == nil {
		return q.swapError(s, err)
	}
	if last.New.ID == conflict.ID && !conflict.NotBefore.IsZero() {
		again := *sent
		again.swaps = append(slices.Clone(sent.swaps[:len(sent.swaps)-1]), Swap{nil, conflict.postpone(last.New)})
		q.setDoubt(&again, s)
		return call.Err()
	}
	current, err := q.manager.met(call, sent.token, conflict.ID, conflict)
	if err != nil {
		return q.swapError(s, err)
	}
	return q.judge(call, s, sent, conflict.ID, current)
}

var (
	errTooLateToResend = errors.New("it is not known whether the session was stored, and it is too late to try again")
	errUnknownOutcome  = errors.New("it is not known whether the change was made")
)

// dropDoubt forgets the attempt, because it was not made. The log is replayed.
func (q *request) dropDoubt() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.session.state.doubt = nil
}

// judge decides by the stored record whether a swap in doubt was made. It was made if its own revision is among the
// latest ones. It was not made if only the revision from which it started is. If neither is, nobody knows, and the
// commit fails, so that nothing is made twice.
func (q *request) judge(call *storeContext, s *step, sent *attempt, id string, current *Record) error {
	last := sent.swaps[len(sent.swaps)-1]
	swap := sent.swaps[0]
	if id == last.New.ID {
		swap = last
	}
	switch {
	case current == nil:
		return q.swapError(s, errUnknownOutcome)
	case current.knows(swap.New.Revision), swap.Old == nil && !current.Ended:
		return q.wasMade(call, s, sent, current)
	case swap.Old != nil && (current.knows(swap.Old.Revision) || swap.New.Ended):
		q.dropDoubt() // it was not made: nothing could have replaced its tombstone
		return nil
	}
	return q.swapError(s, errUnknownOutcome)
}

// wasMade continues after a swap that was made. Others may have been made since.
func (q *request) wasMade(call *storeContext, s *step, sent *attempt, current *Record) error {
	last := sent.swaps[len(sent.swaps)-1]
	if current.ID != last.New.ID { // the swap has ended the old session, and the new one is not stored yet
		return q.swapError(s, fmt.Errorf("the store returned record %s for a conflict of %s", current.ID, last.New.ID))
	}
	if current.Ended {
		if err := q.rebase(current, Token{}, s.n); err != nil {
			return err
		}
		if last.Old == nil {
			return fmt.Errorf("%w by a revocation before it was answered", ErrSessionEnded)
		}
		return nil
	}
	return q.settle(call, s, current, sent.token)
}
