package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// This file forgets old sessions that were adopted: it calls Adopted.Forget. The process that adopted a session forgets
// it when the new cookie has arrived, or two minutes after the adoption.

// forgets are the old sessions that this process still has to forget.
type forgets struct {
	mu      sync.Mutex
	byClaim map[string]*oldSession
	inTurn  []*oldSession // the earliest first; a session that was forgotten stays until its turn
	timer   *time.Timer   // for the first in turn; nil if none is set
	running bool          // sessions whose time has come are being forgotten
}

// oldSession is an old session that this process has to forget.
type oldSession struct {
	claimID string
	session Record // the adopted session's ID and user, for events
	due     time.Time
	forget  func(context.Context) error

	mu    sync.Mutex // held while it is being forgotten
	tried bool
	done  bool
}

// forgetsAtOnce is how many old sessions are forgotten at the same time. One request forgets no more than that.
const forgetsAtOnce = 32

// forgetLater notes that an old session, which was adopted, has to be forgotten.
func (m *Manager) forgetLater(a *adoption, adopted *Record) {
	if a.Forget == nil {
		return
	}
	f := &m.forgets
	old := &oldSession{
		claimID: a.claimID, session: Record{ID: adopted.ID, User: adopted.User}, forget: a.Forget, due: m.config.Clock().Add(claimOpenFor),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byClaim == nil {
		f.byClaim = make(map[string]*oldSession)
	}
	f.byClaim[old.claimID] = old
	f.inTurn = append(f.inTurn, old)
	m.setForgetTimer()
}

// setForgetTimer sets the timer for the first session in turn, unless it is set. The caller holds the lock.
func (m *Manager) setForgetTimer() {
	f := &m.forgets
	if f.timer != nil || f.running || len(f.inTurn) == 0 {
		return
	}
	wait := f.inTurn[0].due.Sub(m.config.Clock())
	f.timer = time.AfterFunc(min(max(wait, 0), claimOpenFor), m.forgetInTurn)
}

// forgetInTurn runs when the timer fires. It forgets all sessions whose time has come.
func (m *Manager) forgetInTurn() {
	f := &m.forgets
	f.mu.Lock()
	f.timer = nil
	f.mu.Unlock()
	for {
		due := m.takeDue()
		if len(due) == 0 {
			break
		}
		m.forgetAll(context.Background(), due, m.tellForgetFailed)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.setForgetTimer()
}

// forgetDue forgets some sessions whose time has come. Requests call it, because a timer knows nothing of the
// application's own clock.
func (q *request) forgetDue() {
	if due := q.manager.takeDue(); len(due) > 0 {
		q.manager.forgetAll(context.WithoutCancel(q.parent), due, q.tellForgetFailed)
	}
}

// takeDue takes some sessions whose time has come out of forgets, and returns them. It returns none while others are
// being forgotten.
func (m *Manager) takeDue() (due []*oldSession) {
	f := &m.forgets
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running || len(f.inTurn) == 0 {
		return nil
	}
	now := m.config.Clock()
	for len(f.inTurn) > 0 && len(due) < forgetsAtOnce && !now.Before(f.inTurn[0].due) {
		first := f.inTurn[0]
		f.inTurn[0], f.inTurn = nil, f.inTurn[1:]
		if f.byClaim[first.claimID] == first {
			delete(f.byClaim, first.claimID)
			due = append(due, first)
		}
	}
	f.running = len(due) > 0
	return due
}

// forgetAll forgets the sessions that takeDue returned. It calls tell for each that fails.
func (m *Manager) forgetAll(ctx context.Context, due []*oldSession, tell func(*oldSession, error)) {
	defer func() {
		m.forgets.mu.Lock()
		defer m.forgets.mu.Unlock()
		m.forgets.running = false
		m.setForgetTimer()
	}()
	errs := make([]error, len(due))
	var workers sync.WaitGroup
	for i, old := range due {
		workers.Go(func() { errs[i] = m.forget(ctx, old) })
	}
	workers.Wait()
	for i, old := range due {
		if errs[i] != nil {
			tell(old, errs[i])
		}
	}
}

// forget calls an old session's Forget, unless an earlier call succeeded.
func (m *Manager) forget(ctx context.Context, old *oldSession) error {
	old.mu.Lock()
	defer old.mu.Unlock()
	return m.forgetLocked(ctx, old)
}

// forgetLocked is forget with the lock held.
func (m *Manager) forgetLocked(ctx context.Context, old *oldSession) error {
	if old.done {
		return nil
	}
	old.tried = true
	err := m.callForget(ctx, old.forget)
	if old.done = err == nil; old.done {
		m.dropForget(old)
	}
	return err
}

// callForget calls a Forget. It turns a panic into an error.
func (m *Manager) callForget(ctx context.Context, forget func(context.Context) error) (err error) {
	call := m.storeContext(ctx, m.config.StoreTimeout)
	defer call.Release()
	_, err = waitFor(call, func() (_ struct{}, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it panicked: %v", p)
			}
		}()
		return struct{}{}, forget(call)
	})
	return err
}

// pendingForget returns the old session of a claim, if it still has to be forgotten, or nil.
func (m *Manager) pendingForget(claimID string) *oldSession {
	m.forgets.mu.Lock()
	defer m.forgets.mu.Unlock()
	return m.forgets.byClaim[claimID]
}

// dropForget takes an old session out of forgets. In inTurn it stays, and takeDue skips it there.
func (m *Manager) dropForget(old *oldSession) {
	m.forgets.mu.Lock()
	defer m.forgets.mu.Unlock()
	if m.forgets.byClaim[old.claimID] == old {
		delete(m.forgets.byClaim, old.claimID)
	}
}

// forgetArrived forgets an old session whose new cookie has arrived. It reports a failure, and then waits is true:
// Forget is called once more two minutes after the adoption. Until then the session keeps its claim's ID, so that a
// logout can try too.
func (q *request) forgetArrived(claimID string) (waits bool) {
	old := q.manager.pendingForget(claimID)
	if old == nil {
		return false
	}
	if !old.mu.TryLock() { // another request is forgetting it
		return true
	}
	defer old.mu.Unlock()
	if old.tried && !old.done {
		return true
	}
	if err := q.manager.forgetLocked(context.WithoutCancel(q.parent), old); err != nil {
		q.tellForgetFailed(old, err)
		return true
	}
	return false
}

// forgetPending forgets the old session that became the session adopted. A logout calls it.
func (m *Manager) forgetPending(ctx context.Context, adopted *Record) error {
	if adopted == nil {
		return nil
	}
	if old := m.pendingForget(adopted.Claim); old != nil {
		return m.forget(ctx, old)
	}
	return nil
}

// forgetNow forgets the old session that Config.Adopt has named for this request.
func (m *Manager) forgetNow(ctx context.Context, a *adoption) error {
	if a.Forget == nil {
		return nil
	}
	if old := m.pendingForget(a.claimID); old != nil {
		return m.forget(ctx, old)
	}
	return m.callForget(ctx, a.Forget)
}

// forgetOld is forgetNow, except that it only reports a failure.
func (q *request) forgetOld(ctx context.Context, a *adoption) {
	if err := q.manager.forgetNow(ctx, a); err != nil {
		_ = q.storeError(OpAdopt, &Record{User: a.User}, err)
	}
}

func (q *request) tellForgetFailed(old *oldSession, err error) {
	_ = q.storeError(OpAdopt, &old.session, err)
}

// tellForgetFailed reports a failure outside a request.
func (m *Manager) tellForgetFailed(old *oldSession, err error) {
	failed := &StoreError{Op: OpAdopt, Err: err}
	m.log(context.Background(), slog.LevelError, "session: the store failed", "session", old.session.ID, "error", failed)
	defer func() {
		if p := recover(); p != nil { // no request owns this goroutine
			m.log(context.Background(), slog.LevelError, "session: Config.OnEvent panicked", "panic", p)
		}
	}()
	m.tell(context.Background(), Event{Kind: EventStoreError, ID: old.session.ID, User: old.session.User, Reason: Reason(OpAdopt), Err: failed})
}
