package session

import (
	"errors"
	"slices"
	"time"
)

// This file has the step of a commit that adopts an old session, and the part of a logout that ends an old session.

// adopt is the change that adopts an old session: it becomes a session of this package. It is always the first of its
// log.
type adopt struct {
	token Token
	of    *adoption
}

func (c adopt) apply(d *draft) error {
	if d.exists() || d.late != nil {
		return nil
	}
	r := c.of.sessionOf(c.token)
	d.token, d.begun, d.adopted = c.token, true, true
	d.stored, d.record, d.shared = r.Values, r, true
	return nil
}

// adopts reports whether the step adopts an old session, or ends one by a Login.
func (s *step) adopts() bool { return s.base == nil && startsWithAdopt(s.log) }

func startsWithAdopt(log []change) bool {
	if len(log) == 0 {
		return false
	}
	_, ok := log[0].(adopt)
	return ok
}

// adoptsOnly reports whether the log has only an adoption. If a response can't send a cookie, it makes no such commit:
// the next request adopts.
func adoptsOnly(log []change) bool { return len(log) == 1 && startsWithAdopt(log) }

// commitAdoption stores the session and its claim. If several requests have the same old token, only one can put the
// claim. The others go on from the session of that one.
func (q *request) commitAdoption(call *storeContext, s *step) error {
	if !q.canSendCookie() {
		return ErrResponseStarted
	}
	for {
		sent, err := q.planAdoption(call, s)
		if err == nil {
			err = q.sendAdoption(call, s, sent)
		}
		conflict := conflictOf(err)
		if conflict == nil {
			return err
		}
		if call.Err() != nil || conflict.NotBefore.IsZero() {
			return q.swapError(s, err)
		}
		s.next = conflict.postpone(s.next)
	}
}

// planAdoption returns the swaps to send. A session in the cookie is sealed first, because the claim needs its token.
// That stores nothing. For any other store, one call stores the claim and then the session.
func (q *request) planAdoption(call *storeContext, s *step) (*attempt, error) {
	c := &q.manager.config
	a := s.log[0].(adopt).of
	next := *s.next
	next.Revision = ""
	stamp(&next, nil, c.Clock())
	s.next = &next
	sent := &attempt{token: s.newToken, adopted: s.next}
	if a.inCookie {
		sealed, err := q.manager.store.Swap(call, sent.token, Swap{nil, s.next})
		switch {
		case conflictOf(err) != nil:
			return nil, err
		case err != nil:
			return nil, q.swapError(s, err)
		}
		sent.token = sealed
	}
	named := sent.token
	if s.logsIn() { // the old cookie does not stand for the new session
		named = Token{realm: c.Realm}
	}
	claim, err := a.newClaim(c, named)
	if err != nil {
		return nil, q.swapError(s, err)
	}
	sent.swaps = []Swap{{nil, claim}}
	if !a.inCookie {
		sent.swaps = append(sent.swaps, Swap{nil, s.next})
	}
	sent.since = time.Now()
	return sent, nil
}

// sendAdoption sends the swaps, for the first time or again. It returns a *ConflictError if the session has to begin later.
func (q *request) sendAdoption(call *storeContext, s *step, sent *attempt) error {
	_, err := q.manager.store.Swap(call, sent.token, sent.swaps...)
	conflict := conflictOf(err)
	switch {
	case err == nil:
		return q.settleAdoption(call, s, sent.adopted, sent.token)
	case conflict == nil:
		q.setDoubt(sent, s)
		return q.swapError(s, err)
	case !conflict.NotBefore.IsZero():
		return err
	}
	return q.joinAdoption(call, s, sent)
}

// settleAdoption goes on from the record that was stored, and notes that the old session must be forgotten.
func (q *request) settleAdoption(call *storeContext, s *step, stored *Record, token Token) error {
	a := s.log[0].(adopt).of
	q.removeOld(a)
	if s.logsIn() {
		q.forgetOld(call, a)
	} else {
		q.manager.forgetLater(a, stored)
	}
	return q.settle(call, s, stored, token)
}

// joinAdoption goes on from an adoption that was stored before: by another request, or by this one, whose answer was
// lost.
func (q *request) joinAdoption(call *storeContext, s *step, sent *attempt) error {
	a := s.log[0].(adopt).of
	claim, err := q.findClaim(call, a)
	if err == nil && claim == nil {
		err = errUnknownOutcome
	}
	if err != nil {
		return q.swapError(s, err)
	}
	own := claim.First == sent.swaps[0].New.Revision
	record, token, err := q.loadJoined(call, a, claim, sent, own)
	switch {
	case err != nil:
		return q.swapError(s, err)
	case record.condition(q.manager.config.Clock()) != live:
		return q.joinEnded(s, record)
	case own && (token.sealed() || record.knows(sent.adopted.Revision)):
		return q.settleAdoption(call, s, record, token)
	case own && record.Latest.Len() >= maxLatest: // its first revision may have been pushed out
		return q.swapError(s, errUnknownOutcome)
	case own: // another request has stored the session that this request's claim names
		q.manager.forgetLater(a, record)
		q.noteEvent(EventAdopted, record, "", nil)
	}
	q.removeOld(a)
	if err := q.sendCookie(record, token.cookieValue()); err != nil {
		return err
	}
	return q.rebase(record, token, 1)
}

// loadJoined returns the session to go on from. If the claim is this request's own, it is that session even if other
// requests have closed the claim since.
func (q *request) loadJoined(call *storeContext, a *adoption, claim *claim, sent *attempt, own bool) (*Record, Token, error) {
	if !own {
		return q.loadStanding(call, a, claim)
	}
	record, err := q.loadByToken(call, sent.token)
	return record, sent.token, err
}

// joinEnded goes on if the old session was adopted and has ended since. A Login still begins a session.
func (q *request) joinEnded(s *step, met *Record) error {
	if !s.logsIn() {
		return q.lose(s, met)
	}
	return q.rebase(met, Token{}, 1)
}

// endOld ends the old session at a logout, and the session that it has become. It does so even if the request has the
// cookies of both. It is an error if the old store can't be reached.
func (q *request) endOld(call *storeContext, s *step) error {
	if q.manager.config.Adopt == nil {
		return nil
	}
	a, err := q.askOld(call)
	if a != nil {
		if err := q.endClaim(call, a); err != nil {
			return q.storeError(OpEnd, &Record{ID: a.claimID}, err)
		}
		if err = a.err; err == nil {
			err = q.manager.forgetNow(call, a)
		}
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		err = q.manager.forgetPending(call, s.base)
	}
	if err != nil {
		if a == nil || a.err != nil {
			q.old = nil // another commit asks again
		}
		return q.storeError(OpAdopt, s.base, err)
	}
	if a != nil {
		q.removeOld(a)
	}
	return nil
}

// takeProbe takes over the changes that Revalidate made to an old session that will be adopted.
func (st *state) takeProbe(config *Config, log []change) {
	st.log = append(slices.Clip(st.log), log...)
	d := newDraft(config, nil, settings{})
	if err := d.replay(st.log); err != nil {
		st.encodeErr = err
		return
	}
	st.view = d
}
