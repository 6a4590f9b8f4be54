package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// This file commits one request. It cuts the request's log into steps, and runs each step in the store. Changes that
// were committed leave the log.

// errUpdate is wrapped by the error of an Update whose function failed. Such an error is the application's fault, not a
// failure of the store.
var errUpdate = errors.New("session: an Update could not be made")

// maxRounds is how often commitTo commits, at most, when something is changed during each commit. After that the
// response goes on without the last changes.
const maxRounds = 3

// commitTo commits all changes, moves the response to the next stage, and tells the events. One lock covers the check
// that nothing is left to commit and the start of the stage, so that no change gets lost between them. After an error
// it leaves the events of that commit to the caller.
func (q *request) commitTo(next stage) error {
	h := q.response.Below().Header() // may run the application's code: not under the lock
	for round := 1; ; round++ {
		if entered, untold := q.tryEnter(next, h, round > maxRounds); entered {
			if untold {
				q.tellAll()
			}
			return nil
		}
		if err := q.commit(q.parent); err != nil {
			q.fail(next, err)
			return err
		}
		if next == finished {
			q.tellAll() // what OnEvent changes is committed too
		}
	}
}

// fail starts a stage after a failed commit. The client gets the error instead of the handler's response. A hijacked
// connection stays the handler's, because the error can't be sent on it.
func (q *request) fail(next stage, err error) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if next != hijacked {
		q.failure = cmp.Or(q.failure, err)
		q.stage = max(q.stage, next)
	}
}

// tryEnter starts a stage, unless there is something to commit first. If anyway is true, it starts the stage in any
// case. It reports whether it did, and whether there are events to tell.
func (q *request) tryEnter(next stage, h http.Header, anyway bool) (entered, untold bool) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if !anyway && q.pending() {
		return false, false
	}
	if next == started && q.stage == open {
		q.completeHeader(h)
		q.response.MarkStarted()
	}
	if next == finished && q.unsaved() {
		q.reportNotKept(ErrResponseStarted)
	}
	q.stage = max(q.stage, next)
	return true, len(q.untold) > 0
}

// unsaved reports whether there are changes that were not committed and that no error has reported yet.
func (q *request) unsaved() bool {
	st := q.session.state
	return st != nil && q.failure == nil && cmp.Or(st.loadErr, st.adoptErr, st.encodeErr) == nil && q.hasChanges()
}

// pending reports whether a commit has something to do. The caller holds the session's lock.
func (q *request) pending() bool {
	st := q.session.state
	failed := st != nil && cmp.Or(st.loadErr, st.adoptErr, st.encodeErr) != nil
	return st != nil && (failed || q.hasChanges() || st.doubt != nil || q.touchDue())
}

// hasChanges reports whether the log has a change that a response at this stage can still commit, or must report as
// lost. The caller holds the session's lock.
func (q *request) hasChanges() bool {
	log := q.session.state.log
	return len(log) > 0 && (q.stage == open || !adoptsOnly(log))
}

// touchDue reports whether a touch is due. A sealed session is touched by the response's cookie, so only before the
// header is sent.
func (q *request) touchDue() bool {
	st := q.session.state
	if st.touchAt.IsZero() || q.session.passive.Load() || st.sealed && q.stage != open {
		return false
	}
	return !q.manager.config.Clock().Before(st.touchAt)
}

// call returns the context for a commit's calls of the store. The caller must release it. It is not cancelled with ctx,
// so that a client that hangs up does not stop a commit.
func (q *request) call(ctx context.Context) *storeContext {
	return q.manager.storeContext(context.WithoutCancel(ctx), q.manager.config.StoreTimeout)
}

// commits is what the commits of a request share. Only one commit runs at a time.
type commits struct {
	lock           chan struct{} // holds a value while a commit is under way; only that commit uses the fields below
	logoutRevision string        // the revision of the tombstones that this request puts for its Destroy and Login
	loginEnds      *Record       // the session that a Login was about to end
	tagged         string        // what indexTag did last
}

// underWay reports whether there is a commit at this moment.
func (c *commits) underWay() bool { return c != nil && len(c.lock) > 0 }

// lockCommits waits until no other commit of this request is under way. Those that wait go in their order, so that a
// goroutine that saves again and again does not keep the others waiting.
func (q *request) lockCommits(call *storeContext) error {
	q.session.mu.Lock()
	if q.commits == nil {
		q.commits = &commits{lock: make(chan struct{}, 1)}
	}
	lock := q.commits.lock
	q.session.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return nil
	default:
	}
	select {
	case lock <- struct{}{}:
		return nil
	case <-call.Done():
		return q.storeError(OpSwap, nil, fmt.Errorf("another commit of this request is under way: %w", call.Err()))
	}
}

func (q *request) unlockCommits() { <-q.commits.lock }

// commit commits the pending changes, step by step. It leaves changes that are made meanwhile to the next commit.
func (q *request) commit(ctx context.Context) error {
	call := q.call(ctx)
	defer call.Release()
	if err := q.lockCommits(call); err != nil {
		return err
	}
	defer q.unlockCommits()
	return q.commitObserved(call)
}

// commitSteps runs the steps. If asking is not nil, it is called before each step that asks the store.
func (q *request) commitSteps(call *storeContext, asking func()) error {
	goal := -1
	var late error
	for {
		s, err := q.nextStep(&goal)
		if err != nil || s == nil {
			return cmp.Or(err, late)
		}
		if asking != nil && !s.local {
			asking()
		}
		switch err := s.run(q, call, s); {
		case errors.Is(err, errCookieNotSent):
			late = ErrResponseStarted // the other steps may need no cookie
		case err != nil:
			return err
		}
	}
}

// errCookieNotSent is the error of a step that was made, except that the cookie should have another lifetime, and can't
// be sent any more.
var errCookieNotSent = errors.New("session: the cookie's lifetime can't be changed any more")

// A step is what a commit does next. It commits the first part of the log at once. The fields say which part, and from
// which state the step starts.
type step struct {
	run      func(*request, *storeContext, *step) error
	local    bool    // it does not ask the store
	base     *Record // as in state, like the next five fields
	token    Token
	sealed   bool
	revoked  *Record
	settings settings
	doubt    *attempt
	log      []change
	n        int       // how many changes of the state's log it commits
	begun    bool      // one of these changes begins the session
	newToken Token     // the token of the new ID, if these changes give the session one
	now      time.Time // when it was planned
	next     *Record   // the record to store
}

// planNothing returns a step that commits no changes, and the error if its session has ended.
func (q *request) planNothing() (s *step, ended error) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.newStep(0, nil), q.session.state.endedError()
}

// newStep returns the step that commits the first n changes of the log. The caller holds the session's lock.
func (q *request) newStep(n int, run func(*request, *storeContext, *step) error) *step {
	st := q.session.state
	return &step{
		run: run, now: q.manager.config.Clock(),
		base: st.base, token: st.token, sealed: st.sealed, revoked: st.revoked, settings: st.settings, doubt: st.doubt, log: slices.Clip(st.log[:n]), n: n,
		begun: st.view.begun, newToken: st.view.token,
	}
}

// nextStep returns the next step, or nil if there is none. The goal is how many changes the request has committed when
// this commit is done. The first step of a commit sets it, so that later changes are left to the next commit.
func (q *request) nextStep(goal *int) (*step, error) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	if err := cmp.Or(q.failure, st.loadErr, st.adoptErr); err != nil {
		return nil, err
	}
	destroyed := lastDestroy(st.log)
	if destroyed == 0 && st.encodeErr != nil { // else the value was set after the Destroy, which is made first
		return nil, st.encodeErr
	}
	first := *goal < 0
	if first {
		*goal = st.made + len(st.log)
	}
	_, ends := q.manager.store.(Ender)
	switch {
	case st.doubt != nil && (destroyed == 0 || !ends):
		return q.newStep(len(st.log), (*request).resolveDoubt), nil
	case st.made < *goal && destroyed > 0:
		return q.newStep(destroyed, (*request).commitDestroy), nil
	case st.made < *goal:
		return q.planChanges()
	case q.touchDue():
		return q.newStep(0, (*request).commitTouch), nil // what was noted since the commit began is left to the next one
	}
	return nil, nil
}

// lastDestroy returns how many changes there are up to the last Destroy, zero if there is none.
func lastDestroy(log []change) int {
	for i := len(log); i > 0; i-- {
		if _, ok := log[i-1].(destroy); ok {
			return i
		}
	}
	return 0
}

// planChanges decides what a log without a Destroy needs. The caller holds the session's lock.
func (q *request) planChanges() (s *step, err error) {
	st := q.session.state
	v := &st.view
	s = q.newStep(len(st.log), (*request).commitNewID)
	switch {
	case v.late != nil && st.isUnproven():
		s.run, s.local = (*request).dropUnproven, true
		return s, nil
	case v.late != nil:
		s.run, s.local = (*request).refuseChanges, true
		return s, nil
	case !v.exists(), v.begun && st.base == nil && v.empty():
		s.run, s.local = (*request).dropChanges, true
		return s, nil
	case st.base == nil && startsWithAdopt(st.log):
		s.run = (*request).commitAdoption
	case st.base != nil && v.record.ID == st.base.ID:
		s.run = (*request).commitChanges
	}
	s.next, err = q.recordOf(v, st.base, s.now)
	return s, err
}

// recordOf returns the record to store for a draft in place of old, or an error if it is too large.
func (q *request) recordOf(d *draft, old *Record, now time.Time) (*Record, error) {
	if d.begun { // it replaces nothing
		old = nil
	}
	r := d.next(old, q.useTime(now))
	return r, q.manager.config.checkSize(r, old)
}

// refuseChanges handles values that were set in a session that has ended.
func (q *request) refuseChanges(_ *storeContext, s *step) error { return q.lose(s, s.base) }

// dropChanges takes changes without effect off the log: there is no session to store. If they set something but begin
// no session, they were made after a Destroy of a session that had ended elsewhere. Then what was set is lost.
func (q *request) dropChanges(_ *storeContext, s *step) error {
	if !s.begun && slices.ContainsFunc(s.log, setsContent) {
		return q.lose(s, nil)
	}
	return q.rebase(s.base, s.token, s.n)
}

// lose notes that the session has ended elsewhere. What was only read, taken or removed is over with it. What was set is
// lost, which is an error.
func (q *request) lose(s *step, met *Record) error {
	if met == nil || !met.Ended {
		met = &Record{Ended: true, Realm: q.manager.config.Realm}
		if s.base != nil {
			met.ID, met.User = s.base.ID, s.base.User
		}
	}
	if s.base != nil && !s.base.Ended {
		q.noteEvent(EventRejected, &Record{ID: s.base.ID, User: s.base.User, Ended: true, Note: met.Note}, ReasonEndedMeanwhile, nil)
	}
	if err := q.rebase(met, Token{}, s.n); err != nil {
		return err
	}
	if slices.ContainsFunc(s.log, isLoss) {
		return fmt.Errorf("%w while the request was under way; what it set is not kept", ErrSessionEnded)
	}
	return nil
}

// rebase takes the first n changes off the log, because they are committed, and goes on from base. It replays the
// changes that were noted since then on base. Updates are the application's code, so they run without the lock.
func (q *request) rebase(base *Record, token Token, n int) error {
	c := &q.manager.config
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	for _, made := range st.log[:n] {
		switch made := made.(type) {
		case setting:
			st.settings = st.settings.with(made.settings)
		case destroy:
			st.settings = settings{}
		}
	}
	st.begun = base != nil && (st.begun || st.view.isNew())
	st.log, st.made, st.doubt = st.log[n:], st.made+n, nil
	st.setBase(base, token, c.Clock())
	if base != nil {
		st.revoked = nil
	}
	if base != nil && base.Ended {
		q.cookie = "" // it would replace the cookie that the browser got from the request that ended the session
	}
	if len(st.log) == 0 {
		st.view = newDraft(c, base, st.settings)
		return nil
	}
	return q.redraft(newDraft(c, base, st.settings))
}

// redraft replays the rest of the log on d. After that the request sees d. The caller holds the session's lock. redraft
// releases it while it replays, so the loop also takes the changes that are noted meanwhile.
func (q *request) redraft(d draft) error {
	st := q.session.state
	for done, rounds := 0, 0; done < len(st.log); rounds++ {
		if rounds > maxUpdateTries {
			st.encodeErr = cmp.Or(st.encodeErr, errUpdateUsesSession)
			return st.encodeErr
		}
		more := slices.Clip(st.log[done:])
		done += len(more)
		if err := q.replayUnlocked(&d, more); err != nil {
			st.encodeErr = cmp.Or(st.encodeErr, err)
			return err
		}
	}
	st.view = d
	return nil
}

// replayUnlocked replays a log without the session's lock. It takes the lock again even if the application's code
// panics.
func (q *request) replayUnlocked(d *draft, log []change) error {
	q.session.mu.Unlock()
	defer q.session.mu.Lock()
	return d.replay(log)
}

// save commits now. If no commit has told whether the session is still valid, it asks the store.
func (q *request) save(ctx context.Context) error {
	defer q.tellAll()
	pending, over := q.unsent()
	if over {
		return ErrResponseStarted
	}
	if pending {
		if err := q.commit(ctx); err != nil {
			return err
		}
		if asked, err := q.asked(); asked {
			return err
		}
	}
	return q.ask(ctx)
}

// unsent reports whether there is something to commit, and whether the request is over.
func (q *request) unsent() (pending, over bool) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.pending(), q.stage == finished
}

// asked reports whether the commit has found out if the session is still valid. The error is ErrSessionEnded if it is
// not. After a touch that failed, asked is false.
func (q *request) asked() (bool, error) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	if st.view.late != nil {
		return true, st.endedError()
	}
	return !st.touchAt.IsZero(), nil
}

// ask checks whether the session is still valid, and continues with the stored record.
func (q *request) ask(ctx context.Context) error {
	call := q.call(ctx)
	defer call.Release()
	if err := q.lockCommits(call); err != nil {
		return err
	}
	defer q.unlockCommits()
	s, ended := q.planNothing()
	switch {
	case s.base == nil || s.doubt != nil: // no session, or a commit in doubt, which returns its own error
		return nil
	case s.base.Ended:
		return ended
	}
	standing := false
	err := q.manager.observed(call, CallLoad, func() (err error) { // any other reload is part of a commit
		standing, err = q.reload(call, s)
		return err
	})
	if err == nil && !standing {
		err = ErrSessionEnded
	}
	return err
}

// reload loads the session from the store, past all caches, and goes on from that record. It reports whether the
// session is still valid.
func (q *request) reload(call *storeContext, s *step) (standing bool, err error) {
	call.pastCache = true
	defer func() { call.pastCache = false }()
	record, err := q.manager.store.Load(call, s.token)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return false, q.storeError(OpLoad, s.base, err)
	case err != nil:
		return false, q.lose(s, nil)
	}
	if s.sealed && s.base.LastUsedAt.After(record.LastUsedAt) { // noted in this request, but not in its cookie
		noted := *record
		noted.LastUsedAt = s.base.LastUsedAt
		record = &noted
	}
	if record.condition(q.manager.config.Clock()) != live {
		return false, q.lose(s, record)
	}
	return true, q.rebase(record, s.token, 0)
}

// reloadIfOver loads the session again if its limits have passed since it was loaded, because another request may have
// used the session or given it longer limits. If again is true, the caller returns: the commit then plans its next
// step.
func (q *request) reloadIfOver(call *storeContext, s *step) (again bool, err error) {
	if s.base.condition(s.now) == live {
		return false, nil
	}
	_, err = q.reload(call, s)
	return true, err
}
