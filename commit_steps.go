package session

import (
	"errors"
	"log/slog"
	"slices"
	"time"
)

// This file has the steps of a commit that keep the session's ID, or end the session. Each step commits its part of the
// log.

// commitTouch stores that the session was used. If another request was faster, its write counts as the use. If the
// touch fails, the request has lost nothing, so the handler's response goes out. The failure is still reported, because
// the session may end too early.
func (q *request) commitTouch(call *storeContext, s *step) error {
	if again, err := q.reloadIfOver(call, s); again {
		return err
	}
	next := touched(s.base, s.now)
	stamp(next, s.base, s.now)
	token, err := q.manager.store.Swap(call, s.token, Swap{s.base, next})
	if err == nil {
		err = q.manager.config.cookieValueFault(token.cookieValue())
	}
	conflict := conflictOf(err)
	switch {
	case err == nil:
		return q.settle(call, s, next, token)
	case conflict == nil:
		_ = q.storeError(OpSwap, s.base, err)
	case conflict.Current != nil && conflict.Current.condition(s.now) != live:
		return q.lose(s, conflict.Current)
	}
	q.spareTouch()
	return nil
}

// spareTouch drops the touch that is due. This request does not try again.
func (q *request) spareTouch() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.session.state.touchAt = time.Time{}
}

// commitChanges commits changes that keep the session's ID, together with those of other requests. If the cookie can't
// be sent any more, it commits only the changes that do not need it.
func (q *request) commitChanges(call *storeContext, s *step) error {
	if again, err := q.reloadIfOver(call, s); again {
		return err
	}
	if err := q.indexTag(call, s); err != nil {
		return q.swapError(s, err)
	}
	if changesCookie(s.base, s.log...) && !q.canSendCookie() {
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

// inDoubt reports whether it is not known yet if the last commit was made.
func (q *request) inDoubt() bool {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.session.state.doubt != nil
}

// withoutCookie takes the changes that need a new cookie off the step's log.
func (q *request) withoutCookie(s *step) error {
	s.log = slices.DeleteFunc(slices.Clone(s.log), func(c change) bool { return changesCookie(s.base, c) })
	var err error
	s.next, err = q.replayOn(s, s.base)
	return err
}

// replayOn replays the step's log on old, and returns the record to store.
func (q *request) replayOn(s *step, old *Record) (*Record, error) {
	d := newDraft(&q.manager.config, old, s.settings)
	if err := d.replay(s.log); err != nil {
		return nil, err
	}
	return q.recordOf(&d, old, q.manager.config.Clock())
}

// commitPlain commits changes that need no other ID and no new cookie. They go through the queue of the session, or
// alone if the queue leaves them out.
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

// changesCookie reports whether the log may change the lifetime of the cookie of the session base. It does not compare
// with the old lifetime, because the browser may not have received the earlier response that set it.
func changesCookie(base *Record, log ...change) bool {
	for _, c := range log {
		if set, ok := c.(setting); ok && (set.persistent != nil || set.limits != nil && base.Persistent) {
			return true
		}
	}
	return false
}

// commitSealed is commitPlain for a session that is in the cookie. There the last response wins.
func (q *request) commitSealed(call *storeContext, s *step) error {
	stamp(s.next, s.base, s.now)
	token, err := q.manager.store.Swap(call, s.token, Swap{s.base, s.next})
	conflict := conflictOf(err)
	switch {
	case err == nil:
		return q.settle(call, s, s.next, token)
	case conflict != nil:
		return q.lose(s, conflict.Current)
	}
	return q.swapError(s, err)
}

// conclude handles the outcome of a commit of plain changes.
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
		return nil // only the leader's time is over: the next step resolves the doubt
	}
	return q.swapError(s, out.err)
}

// setDoubt keeps an attempt whose answer was lost, so that the next step resolves it.
func (q *request) setDoubt(sent *attempt, s *step) {
	own := *sent
	own.log = s.n
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.session.state.doubt = &own
}

// swapError returns the error of a commit for the error handler. A failure of the store becomes a *StoreError. An error
// that is not the store's fault stays as it is.
func (q *request) swapError(s *step, err error) error {
	for _, own := range []error{ErrCookieTooLarge, ErrTooLarge, errUpdate, errProofUsed, errTag, errors.ErrUnsupported} {
		if errors.Is(err, own) {
			return err
		}
	}
	return q.storeError(OpSwap, s.base, err)
}

// commitDestroy ends the session and its successors.
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
	case s.revoked != nil: // a Login may have replaced this tombstone meanwhile
		return q.manager.putTombstone(call, idToken(s.revoked.ID, s.revoked.Realm), s.revoked, q.logout().tombstone(s.revoked, q.manager.config.Clock()))
	}
	return ending{}, nil
}

// logout says how this request's Destroy and Login end sessions. All their tombstones have one revision. So if the
// answer to a tombstone was lost, the request recognizes the tombstone as its own.
func (q *request) logout() endAs {
	if q.commits.logoutRevision == "" {
		q.commits.logoutRevision = newRevision()
	}
	return endAs{reason: ReasonLogout, revision: q.commits.logoutRevision}
}

// endDoubtful ends the session that a commit in doubt may have begun, or may still begin.
func (q *request) endDoubtful(call *storeContext, s *step) error {
	last := s.doubt.swaps[len(s.doubt.swaps)-1]
	if last.Old != nil {
		return nil
	}
	ended, err := q.manager.endSession(call, s.doubt.token, last.New, q.logout())
	if err == nil && ended.replaced != nil { // the commit had begun it
		q.reportBegin(&step{base: s.base, log: s.log[:s.doubt.log]}, ended.replaced)
		q.noteEvent(EventDestroyed, ended.replaced, "", nil)
	}
	return err
}

// endDestroyed ends the session that Destroy was called for, if no commit has ended it. Failure is the error of the
// commit, or nil after a panic.
func (q *request) endDestroyed(failure error) {
	q.session.mu.Lock()
	st := q.session.state
	destroyed := 0
	if st != nil && st.loadErr == nil {
		destroyed = lastDestroy(st.log)
	}
	q.session.mu.Unlock()
	var failed *StoreError
	// If the ending itself has just failed, it is no use to try again at once.
	if destroyed == 0 || errors.As(failure, &failed) && (failed.Op == OpEnd || failed.Op == OpAdopt) {
		return
	}
	call := q.call(q.parent)
	defer call.Release()
	if err := q.lockCommits(call); err != nil {
		return
	}
	defer q.unlockCommits()
	s := q.planDestroy()
	if s.n == 0 { // a Save has made it meanwhile
		return
	}
	if err := q.commitDestroy(call, s); err != nil {
		q.log(slog.LevelError, "session: a logout failed", err)
	}
}

// planDestroy returns the step that commits the log up to its last Destroy.
func (q *request) planDestroy() *step {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.newStep(lastDestroy(q.session.state.log), nil)
}

// settle goes on from the record that the store has stored now. It takes the committed changes off the log. If the
// token is a new one, or the cookie's lifetime may have changed, the response sets the cookie.
func (q *request) settle(call *storeContext, s *step, stored *Record, token Token) error {
	moved := token.Value() != s.token.Value()
	open := q.canSendCookie()
	switch {
	case moved && !open && s.n == 0:
		q.spareTouch() // the new cookie can't be sent
		return nil
	case moved && !open:
		return ErrResponseStarted
	case open && (moved || s.base != nil && changesCookie(s.base, s.log...)):
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
	if s.logsIn() {
		q.commits.loginEnds = nil // a later Login of the request ends another session
	}
	q.reportBegin(s, stored)
	err := q.rebase(stored, token, s.n)
	if s.logsIn() || s.adopts() && stored.User != "" {
		q.enforceMaxPerUser(call, stored)
	}
	if err == nil && !open && s.base != nil && changesCookie(s.base, s.log...) {
		return errCookieNotSent
	}
	return err
}

// reportBegin notes the event of a new ID, if the step has given the session one.
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
	case hasChange[reauthenticate](s):
		kind = EventReauthenticated
	case s.base != nil && !s.base.Ended:
		kind = EventRegenerated
	}
	q.noteEvent(kind, stored, "", nil)
}

// logsIn reports whether the step's changes include a Login.
func (s *step) logsIn() bool { return hasChange[login](s) }

func hasChange[C change](s *step) bool {
	for _, c := range s.log {
		if _, ok := c.(C); ok {
			return true
		}
	}
	return false
}
