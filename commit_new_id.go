package session

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file has the step of a commit that stores a session under a new ID: a session that begins, or one that replaces
// another by Regenerate, Reauthenticate, RenameUser or Login.

// regenerateGap is the shortest time between two Regenerates of one session. Without it, a thief who regenerates again
// and again could keep ahead of an ending that follows successors.
const regenerateGap = 200 * time.Millisecond

// waitForGap waits until the session may have a new ID again. If it never got one, that time is zero, and long over.
func (q *request) waitForGap(call context.Context, base *Record) error {
	left := base.RegeneratedAt.Add(regenerateGap).Sub(q.manager.config.Clock())
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(min(left, regenerateGap, q.manager.config.StoreTimeout/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-call.Done():
		return call.Err()
	}
}

// commitNewID stores the session under a new ID. If it replaces another session, it ends that one first.
func (q *request) commitNewID(call *storeContext, s *step) error {
	if !q.canSendCookie() {
		return ErrResponseStarted
	}
	if s.base != nil && !s.begun {
		if again, err := q.reloadIfOver(call, s); again {
			return err
		}
	}
	if err := q.takeSeat(call, s); err != nil {
		return err
	}
	swaps, err := q.planNewID(call, s)
	if err != nil || swaps == nil {
		return err
	}
	for {
		if err := q.indexTag(call, s); err != nil {
			return q.swapError(s, err)
		}
		sent := &attempt{token: s.newToken, swaps: swaps, since: time.Now()}
		token, err := q.manager.store.Swap(call, sent.token, swaps...)
		if err == nil {
			return q.settle(call, s, s.next, token)
		}
		conflict := conflictOf(err)
		switch {
		case conflict == nil:
			return q.failNewID(s, sent, err)
		case call.Err() != nil:
			return q.swapError(s, call.Err())
		case !conflict.NotBefore.IsZero():
			s.next = conflict.postpone(s.next)
			swaps[len(swaps)-1].New = s.next
		case conflict.ID == s.next.ID:
			return q.meetOwnEnd(call, s, conflict)
		default:
			if swaps, err = q.takeOver(call, s, conflict); err != nil || swaps == nil {
				return err
			}
		}
	}
}

// failNewID notes that the attempt is in doubt, except after an error which means that nothing was stored.
func (q *request) failNewID(s *step, sent *attempt, err error) error {
	if !errors.Is(err, ErrCookieTooLarge) && !errors.Is(err, errors.ErrUnsupported) {
		q.setDoubt(sent, s)
	}
	return q.swapError(s, err)
}

// planNewID returns the swaps to try first.
func (q *request) planNewID(call *storeContext, s *step) ([]Swap, error) {
	switch {
	case s.base == nil && s.revoked != nil && s.logsIn():
		return q.swapsFrom(s, s.revoked), nil
	case s.base == nil: // it replaces nothing
	case !s.begun:
		if err := q.waitForGap(call, s.base); err != nil {
			return nil, q.swapError(s, err)
		}
	case s.base.condition(q.manager.config.Clock()) != live: // a Login on a session that has ended
		return q.loginOver(call, s, s.base)
	}
	return q.swapsFrom(s, s.base), nil
}

// swapsFrom returns the swaps that end old, if there is one, and begin the new session.
func (q *request) swapsFrom(s *step, old *Record) []Swap {
	now := q.manager.config.Clock()
	swaps := make([]Swap, 0, 2)
	if old != nil {
		tombstone := newTombstone(old, now)
		tombstone.Note = string(ReasonLogin)
		if !s.begun {
			tombstone.Successor, tombstone.Note = s.next.ID, string(ReasonRegenerated)
		}
		stamp(tombstone, old, now)
		swaps = append(swaps, Swap{old, tombstone})
	}
	s.next.Revision = "" // until now, only this commit has it
	if !s.begun {
		s.next.RegeneratedAt = now
	}
	stamp(s.next, nil, now)
	return append(swaps, Swap{nil, s.next})
}

// takeOver ends the old session after a conflict, whatever its revision is. It returns the swaps that begin the new
// session from the last record of the old one.
func (q *request) takeOver(call *storeContext, s *step, conflict *ConflictError) ([]Swap, error) {
	m := q.manager
	current, err := m.met(call, s.token, conflict.ID, conflict)
	switch {
	case err != nil:
		return nil, q.swapError(s, err)
	case s.begun && current == nil:
		return q.replayNewID(s, nil)
	case s.begun:
		return q.loginOver(call, s, current)
	case current != nil && current.Ended && current.Successor == s.next.ID:
		return nil, q.swapError(s, errUnknownOutcome) // ended by this request, whose answer was lost
	case current == nil || current.Ended:
		return nil, q.lose(s, current)
	}
	tombstone := newTombstone(current, m.config.Clock())
	tombstone.Successor, tombstone.Note = s.next.ID, string(ReasonRegenerated)
	ended, err := m.putTombstone(call, s.token, current, tombstone)
	switch {
	case err != nil:
		return nil, q.swapError(s, err)
	case ended.put && ended.replaced == nil:
		return nil, q.swapError(s, errUnknownOutcome) // the answer with the last record was lost
	case ended.replaced.condition(m.config.Clock()) != live:
		return nil, q.lose(s, ended.tombstone)
	}
	return q.replayNewID(s, ended.replaced)
}

// loginOver ends old and its successors for a Login. If the session that it ended was still live, the values that Login
// keeps come from that session.
func (q *request) loginOver(call *storeContext, s *step, old *Record) ([]Swap, error) {
	q.noteLoginEnds(call, old)
	as, end := q.logout(), q.manager.endSession
	as.reason = ReasonLogin
	if old == s.base { // a failover may have brought back what has ended elsewhere
		end = q.manager.endLoaded
	}
	ended, err := end(call, s.token, old, as)
	now := q.manager.config.Clock()
	if old == s.base && old.Ended && ended.replaced != nil && ended.replaced.ID == old.ID {
		ended.replaced = nil // a failover has brought back what had ended before the request: nothing is kept of it
	}
	if err != nil {
		if ended.replaced.condition(now) == live { // later than what was noted
			q.commits.loginEnds = ended.replaced
		}
		return nil, q.storeError(OpEnd, old, err)
	}
	if !ended.put && ended.tombstone.condition(now) == revoked {
		if _, err := q.replayNewID(s, nil); err != nil { // no values are kept of a revoked session
			return nil, err
		}
		return q.swapsFrom(s, ended.tombstone), nil // so that later requests with the old cookie are late ones
	}
	kept := ended.replaced
	if kept == nil && ended.tombstone.Revision == q.commits.logoutRevision {
		kept = q.commits.loginEnds // the answer with the last record was lost: this is the latest one that is known
	}
	if kept.condition(now) != live {
		kept = nil
	}
	return q.replayNewID(s, kept)
}

// noteLoginEnds remembers the session that a Login is about to end: old, or its last successor. The answer that has its last
// record may be lost.
func (q *request) noteLoginEnds(call *storeContext, old *Record) {
	call.pastCache = true
	defer func() { call.pastCache = false }()
	for old.Ended && old.Successor != "" && call.Err() == nil {
		next, err := q.manager.store.Load(call, idToken(old.Successor, old.Realm))
		if err != nil {
			return // the ending fails as well, or there is nothing to end
		}
		old = next
	}
	if old.condition(q.manager.config.Clock()) == live {
		q.commits.loginEnds = old
	}
}

// replayNewID replays the log on old, and returns the swap that begins the new session. Old is the last record of the
// old session, or nil if there is none.
func (q *request) replayNewID(s *step, old *Record) ([]Swap, error) {
	d := newDraft(&q.manager.config, old, s.settings)
	err := d.replay(s.log)
	if err != nil {
		return nil, err
	}
	s.begun, s.newToken = d.begun, d.token
	if s.next, err = q.recordOf(&d, old, q.manager.config.Clock()); err != nil {
		return nil, err
	}
	return q.swapsFrom(s, nil), nil
}

// meetOwnEnd handles a conflict about the new ID. Nobody knows that ID yet. So only a revocation that followed the old
// ID can have put a tombstone there.
func (q *request) meetOwnEnd(call *storeContext, s *step, conflict *ConflictError) error {
	current, err := q.manager.met(call, s.newToken, conflict.ID, conflict)
	if err != nil {
		return q.swapError(s, err)
	}
	switch {
	case current != nil && !current.Ended && current.knows(s.next.Revision):
		return q.settle(call, s, current, s.newToken) // the store has sent the swap twice, and other writes came between
	case current == nil || !current.Ended:
		return q.swapError(s, fmt.Errorf("the new ID %s is taken", conflict.ID))
	}
	_ = q.lose(s, current)
	return fmt.Errorf("%w by a revocation before it was answered", ErrSessionEnded)
}
