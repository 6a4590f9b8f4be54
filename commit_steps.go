package session

import (
	"errors"
	"log/slog"
	"slices"
	"time"
)

// This file has the steps of a commit that leave the session its ID, or end it: each makes its part of the log in the store.

// commitTouch notes the use. If another request was faster, that was use too. If it fails the request itself has lost
// nothing, so it is answered; that the session may end early is told.
func (q *request) commitTouch(call *storeContext, s *step) error {
	if again, err := q.reloadIfOver(call, s); again {
		return err
	}
	now := q.manager.config.Clock()
	next := touched(s.base, now)
	stamp(next, s.base, now)
	token, err := q.manager.store.Swap(call, s.token, Swap{s.base, next})
	if err == nil {
		err = q.manager.config.cookieValueFault(token.cookieValue())
	}
	var conflict *ConflictError
	switch {
	case err == nil:
		return q.settle(call, s, next, token)
	case !errors.As(err, &conflict):
		_ = q.storeError(OpSwap, s.base, err)
	case conflict.Current != nil && conflict.Current.condition(now) != live:
		return q.lose(s, conflict.Current)
	}
	q.spareTouch()
	return nil
}

func (q *request) spareTouch() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.session.state.touchAt = time.Time{}
}

// commitChanges makes changes that leave the session its ID, together with those of other requests. Where a cookie can't
// be sent any more, it makes those that need none.
func (q *request) commitChanges(call *storeContext, s *step) error {
	if again, err := q.reloadIfOver(call, s); again {
		return err
	}
	if err := q.indexTag(call, s, s.next); err != nil {
		return q.swapError(s, err)
	}
	if changesCookie(s) && !q.canSendCookie() {
		if err := q.withoutCookie(s); err != nil {
			return err
		}
		if err := q.commitPlain(call, s); err != nil || q.inDoubt() {
			return err
		}
		return ErrResponseStarted
	}
	return q.commitPlain(call, s)
}

// inDoubt reports whether it is not known yet what became of the last commit.
func (q *request) inDoubt() bool {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.session.state.doubt != nil
}

// withoutCookie takes off the step's log what the cookie would have to say.
func (q *request) withoutCookie(s *step) error {
	s.log = slices.DeleteFunc(slices.Clone(s.log), func(c change) bool { return changesCookie(&step{base: s.base, log: []change{c}}) })
	next, err := q.replayOn(s, s.base)
	s.next = next
	return err
}

// replayOn returns what the step's log makes of a record.
func (q *request) replayOn(s *step, old *Record) (*Record, error) {
	c := &q.manager.config
	d := s.draft(c, old)
	if err := d.replay(s.log); err != nil {
		return nil, err
	}
	next := d.next(old, q.useTime())
	return next, c.checkSize(next, old)
}

func (q *request) commitPlain(call *storeContext, s *step) error {
	if s.sealed {
		return q.commitSealed(call, s)
	}
	w := &waiter{call: call, token: s.token, base: s.base, replay: func(old *Record) (*Record, error) { return q.replayOn(s, old) }}
	out := q.manager.queue.commit(w, s.next)
	if out.verdict == leftOut {
		out = q.manager.queue.commitAlone(w)
	}
	return q.conclude(call, s, w, out)
}

// changesCookie reports whether the cookie's own lifetime may change with the session's: an earlier answer that said so
// need not have arrived.
func changesCookie(s *step) bool {
	for _, c := range s.log {
		if set, ok := c.(setting); ok && (set.persistent != nil || set.limits != nil && s.base.Persistent) {
			return true
		}
	}
	return false
}

// commitSealed is commitChanges where the session is in the cookie: there the last response wins.
func (q *request) commitSealed(call *storeContext, s *step) error {
	stamp(s.next, s.base, q.manager.config.Clock())
	token, err := q.manager.store.Swap(call, s.token, Swap{s.base, s.next})
	var conflict *ConflictError
	switch {
	case err == nil:
		return q.settle(call, s, s.next, token)
	case errors.As(err, &conflict):
		return q.lose(s, conflict.Current)
	}
	return q.swapError(s, err)
}

// conclude goes on after a commit of plain changes.
func (q *request) conclude(call *storeContext, s *step, w *waiter, out outcome) error {
	if out.conflicts > 0 && out.verdict == made {
		q.noteEvent(EventConflict, s.base, "", nil)
	}
	switch {
	case out.verdict == over:
		return q.lose(s, out.record)
	case out.verdict == made:
		return q.settle(call, s, out.record, s.token)
	case out.sent == nil:
		return q.swapError(s, out.err)
	}
	q.setDoubt(out.sent, s)
	if leader := out.sent.leader; leader != nil && leader != w && call.Err() == nil {
		return nil // it was the leader's time that was over: what is in doubt is resolved next
	}
	return q.swapError(s, out.err)
}

func (q *request) setDoubt(sent *attempt, s *step) {
	own := *sent
	own.log = s.n
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.session.state.doubt = &own
}

// swapError returns the error of a commit for the error handler: the store's is one, the application's fault is not.
func (q *request) swapError(s *step, err error) error {
	for _, own := range []error{ErrCookieTooLarge, ErrTooLarge, errUpdate, errProofUsed, errTag, errors.ErrUnsupported} {
		if errors.Is(err, own) {
			return err
		}
	}
	return q.storeError(OpSwap, s.base, err)
}

// commitDestroy ends the session, and what it goes on as.
func (q *request) commitDestroy(call *storeContext, s *step) error {
	ended, err := q.endKnown(call, s)
	if err == nil && s.doubt != nil {
		err = q.endDoubtful(call, s)
	}
	if err != nil {
		return q.storeError(OpEnd, s.base, err)
	}
	if r := ended.replaced; r != nil {
		q.noteEvent(EventDestroyed, r, "", nil)
	}
	if err := q.endOld(call, s); err != nil {
		return err
	}
	if met := ended.tombstone; met != nil && !ended.put && !s.doubt.puts(met) && (s.base != nil || !met.Revoked) {
		// Another request has ended the session, and has given the browser another cookie or none.
		return q.rebase(ended.tombstone, Token{}, s.n)
	}
	q.removeCookie()
	return q.rebase(nil, Token{}, s.n)
}

// endKnown ends the session that the request loaded.
func (q *request) endKnown(call *storeContext, s *step) (ending, error) {
	switch {
	case s.base != nil:
		return q.manager.endLoaded(call, s.token, s.base, q.logout())
	case s.revoked != nil: // which a Login may have taken over since
		return q.manager.putTombstone(call, NewToken(s.revoked.ID, "").WithRealm(s.revoked.Realm), s.revoked, q.logout().tombstone(s.revoked, q.manager.config.Clock()))
	}
	return ending{}, nil
}

// logout is how this request's Destroy and Login end sessions: by one revision, so that a tombstone whose answer was lost is
// known for its own.
func (q *request) logout() endAs {
	if q.commits.logoutRevision == "" {
		q.commits.logoutRevision = newRevision()
	}
	return endAs{reason: ReasonLogout, revision: q.commits.logoutRevision}
}

// endDoubtful ends the session that a commit in doubt may have begun, or may begin yet.
func (q *request) endDoubtful(call *storeContext, s *step) error {
	last := s.doubt.swaps[len(s.doubt.swaps)-1]
	if last.Old != nil {
		return nil
	}
	ended, err := q.manager.endSession(call, s.doubt.token, last.New, q.logout())
	if err == nil && ended.replaced != nil { // it had been begun
		q.reportBegin(&step{base: s.base, log: s.log[:s.doubt.log]}, ended.replaced)
		q.noteEvent(EventDestroyed, ended.replaced, "", nil)
	}
	return err
}

// endDestroyed ends the session that Destroy was called for, if the commit, which failed for this reason, did not.
func (q *request) endDestroyed(failure error) {
	q.session.mu.Lock()
	st := q.session.state
	destroyed := 0
	if st != nil && st.loadErr == nil {
		destroyed = lastDestroy(st.log)
	}
	q.session.mu.Unlock()
	var failed *StoreError
	if destroyed == 0 || errors.As(failure, &failed) && (failed.Op == OpEnd || failed.Op == OpAdopt) { // the store has just been asked
		return
	}
	call := q.call(q.context.Context)
	defer call.Release()
	if err := q.lockCommits(call); err != nil {
		return
	}
	defer q.unlockCommits()
	q.session.mu.Lock()
	destroyed = lastDestroy(st.log) // a Save may have made it meanwhile
	s := q.newStep(destroyed, nil)
	q.session.mu.Unlock()
	if destroyed == 0 {
		return
	}
	if err := q.commitDestroy(call, s); err != nil {
		q.log(slog.LevelError, "session: a logout could not be done", err)
	}
}

// settle takes over what the store has done: the changes leave the log, and the cookie goes into the header if it is
// another one.
func (q *request) settle(call *storeContext, s *step, stored *Record, token Token) error {
	moved := token.Value() != s.token.Value()
	open := q.canSendCookie()
	switch {
	case moved && !open && s.n == 0:
		q.spareTouch() // nobody will know of it
		return nil
	case moved && !open:
		return ErrResponseStarted
	case open && (moved || s.base != nil && changesCookie(s)):
		if err := q.sendCookie(stored, token.cookieValue()); err != nil {
			return err
		}
	}
	if open && s.logsIn() {
		q.offerBinding(stored)
	}
	if s.base != nil && s.base.ID != stored.ID {
		q.manager.watches.mayHaveEnded(s.base.ID)
	}
	q.reportBegin(s, stored)
	err := q.rebase(stored, token, s.n)
	if s.logsIn() || s.adopts() && stored.User != "" {
		q.enforceMaxPerUser(call, stored)
	}
	return err
}

// reportBegin tells of a new ID.
func (q *request) reportBegin(s *step, stored *Record) {
	if s.base != nil && s.base.ID == stored.ID {
		return
	}
	kind := EventCreated
	switch {
	case s.logsIn():
		kind = EventLoggedIn
	case s.adopts():
		kind = EventAdopted
	case s.reauthenticates():
		kind = EventReauthenticated
	case s.base != nil && !s.base.Ended:
		kind = EventRegenerated
	}
	q.noteEvent(kind, stored, "", nil)
}

// logsIn reports whether there is a Login among the step's changes.
func (s *step) logsIn() bool { return hasChange[login](s) }

// reauthenticates reports whether there is a Reauthenticate among them.
func (s *step) reauthenticates() bool { return hasChange[reauthenticate](s) }

func hasChange[C change](s *step) bool {
	for _, c := range s.log {
		if _, ok := c.(C); ok {
			return true
		}
	}
	return false
}
