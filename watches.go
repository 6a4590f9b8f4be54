package session

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lookEvery  = 30 * time.Second // a watched session is checked this often
	lookAtOnce = 64               // how many sessions are checked at the same time
	lookTick   = time.Second / 4  // Config.Clock is asked at least this often, because it may run faster than real time
	beginLife  = time.Minute      // how long a session may be watched before it is stored
)

// watches are the sessions that are watched under one Manager. One goroutine checks those that are due. It runs only
// while something is watched. A session that may have ended becomes due at once.
type watches struct {
	manager *Manager
	count   atomic.Int64  // the length of byID, so that an ending costs next to nothing if nothing is watched
	wake    chan struct{} // holds a value when something has become due

	mu      sync.Mutex
	byID    map[string]*watched
	due     dueHeap
	running bool
}

// watched is a session that is watched, by one connection or several.
type watched struct {
	id    string
	since time.Time
	known watchedFacts
	first *watcher
	due   time.Time
	place int  // in the heap; -1 while the session is checked and not in the heap
	again bool // it became due while it was checked
}

// watchedFacts is what is known of a session, from a request or from a check.
type watchedFacts struct {
	user   string
	endsAt time.Time
	stored bool     // it was seen in the store
	cookie *Session // the request's Session, which knows the latest cookie; nil if a server store keeps the session
}

// watcher is one context, in the list of its session.
type watcher struct {
	end            context.CancelCauseFunc
	previous, next *watcher
}

// watchedFacts returns what the request knows of its session with this ID.
func (s *Session) watchedFacts(id string) watchedFacts {
	st := s.open()
	defer s.close()
	facts := watchedFacts{
		user: st.view.record.User, endsAt: st.view.record.endsAt(s.config.Clock()),
		stored: st.base != nil && st.base.ID == id,
	}
	if _, inCookie := s.request.manager.store.(UserEnder); inCookie || st.sealed {
		facts.cookie = s
	}
	return facts
}

// add watches a session for one context, until that context ends.
func (w *watches) add(ctx context.Context, end context.CancelCauseFunc, id string, facts watchedFacts) {
	one := &watcher{end: end}
	w.mu.Lock()
	defer w.mu.Unlock()
	session := w.byID[id]
	if session == nil {
		session = &watched{id: id, since: w.manager.config.Clock()}
		w.byID[id] = session
		w.count.Store(int64(len(w.byID)))
		heap.Push(&w.due, session)
	}
	facts.stored = facts.stored || session.known.stored
	session.known = facts
	session.link(one)
	w.lookSoon(session) // it may have ended since the request loaded it
	if !w.running {
		w.running = true
		go w.run()
	}
	context.AfterFunc(ctx, func() { w.remove(session, one) })
}

func (s *watched) link(one *watcher) {
	if one.next = s.first; one.next != nil {
		one.next.previous = one
	}
	s.first = one
}

// unlink reports whether the watcher was in the list.
func (s *watched) unlink(one *watcher) bool {
	switch {
	case one.previous != nil:
		one.previous.next = one.next
	case s.first == one:
		s.first = one.next
	default:
		return false
	}
	if one.next != nil {
		one.next.previous = one.previous
	}
	one.previous, one.next = nil, nil
	return true
}

// remove forgets one context.
func (w *watches) remove(session *watched, one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if session.unlink(one) && session.first == nil {
		w.drop(session)
	}
}

// drop forgets a session. The caller holds the lock, here and in lookSoon.
func (w *watches) drop(session *watched) {
	if w.byID[session.id] != session { // it was forgotten before
		return
	}
	if session.place >= 0 {
		heap.Remove(&w.due, session.place)
	}
	delete(w.byID, session.id)
	w.count.Store(int64(len(w.byID)))
}

// lookSoon makes a session due.
func (w *watches) lookSoon(session *watched) {
	if session.place >= 0 {
		session.due = time.Time{}
		heap.Fix(&w.due, session.place)
	} else {
		session.again = true
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// mayHaveEnded makes the session with this ID due, because it may have ended. With "" it makes all sessions due.
func (w *watches) mayHaveEnded(id string) {
	if w.count.Load() == 0 {
		return
	}
	if id == "" {
		w.lookAtThose(func(*watched) bool { return true })
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if session := w.byID[id]; session != nil {
		w.lookSoon(session)
	}
}

// userMayHaveEnded makes all sessions of the user due, because they may have ended.
func (w *watches) userMayHaveEnded(user string) {
	if w.count.Load() != 0 {
		w.lookAtThose(func(s *watched) bool { return s.known.user == user })
	}
}

func (w *watches) lookAtThose(meant func(*watched) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, session := range w.byID {
		if meant(session) {
			w.lookSoon(session)
		}
	}
}

// run checks sessions when they are due. It returns when nothing is watched any more.
func (w *watches) run() {
	if store, ok := w.manager.store.(EndNotifier); ok {
		stop := store.NotifyEnds(w.mayHaveEnded)
		defer stop()
	}
	tick := time.NewTimer(lookTick)
	defer tick.Stop()
	for {
		batch, wait := w.takeDue()
		if len(batch) > 0 {
			w.lookAt(batch)
			continue
		}
		tick.Reset(wait)
		select {
		case <-w.wake:
		case <-tick.C:
			if w.stopIfIdle() {
				return
			}
		}
	}
}

func (w *watches) stopIfIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = len(w.byID) > 0
	return !w.running
}

// takeDue returns some of the sessions that are due. If none is due, it returns how long to wait.
func (w *watches) takeDue() (batch []*watched, wait time.Duration) {
	now := w.manager.config.Clock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.due) > 0 && len(batch) < lookAtOnce {
		first := w.due[0]
		left := first.due.Sub(now)
		if left > 0 && left <= lookEvery { // more than that means that the clock was set back
			return batch, min(left, lookTick)
		}
		heap.Pop(&w.due)
		first.again = false
		batch = append(batch, first)
	}
	return batch, lookTick
}

// lookAt checks sessions in the store, and ends the contexts of those that have ended.
func (w *watches) lookAt(batch []*watched) {
	var looks sync.WaitGroup
	for _, session := range batch[1:] {
		looks.Go(func() { w.look(session) })
	}
	w.look(batch[0])
	looks.Wait()
}

// look checks one session, as of now: if the clock moves on meanwhile, the session is due again the sooner.
func (w *watches) look(session *watched) {
	now := w.manager.config.Clock()
	w.mu.Lock()
	facts := session.known
	w.mu.Unlock()
	record, err := w.load(session.id, &facts)
	cause := w.judge(session, &facts, record, err, now)
	if cause == nil {
		w.lookAgain(session, facts, now)
		return
	}
	for _, one := range w.dropEnded(session) {
		one.end(cause)
	}
}

// dropEnded forgets a session that has ended, and returns its watchers.
func (w *watches) dropEnded(session *watched) (watchers []*watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := session.first; one != nil; one = session.first {
		session.unlink(one)
		watchers = append(watchers, one)
	}
	w.drop(session)
	return watchers
}

// lookAgain puts a session back into the heap. It is due at its expected end, and after lookEvery in any case.
func (w *watches) lookAgain(session *watched, facts watchedFacts, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID[session.id] != session { // it was forgotten meanwhile
		return
	}
	session.known.endsAt, session.known.stored = facts.endsAt, facts.stored
	session.due = now.Add(lookEvery)
	if facts.endsAt.Before(session.due) {
		session.due = facts.endsAt
	}
	if session.again {
		session.due = time.Time{}
	}
	heap.Push(&w.due, session)
}

var errLookPanicked = errors.New("session: the check of a watched session panicked")

// load loads a session from the store, past all caches. It turns a panic of the store or the observer into an error,
// because no request owns this goroutine.
func (w *watches) load(id string, facts *watchedFacts) (record *Record, err error) {
	m := w.manager
	call := m.storeContext(context.Background(), m.config.StoreTimeout)
	defer call.Release()
	call.pastCache = true
	defer func() {
		if p := recover(); p != nil {
			record, err = nil, fmt.Errorf("%w: %v", errLookPanicked, p)
			m.log(call, slog.LevelError, "session: a watched session could not be checked", "session", id, "error", err)
		}
	}()
	token := facts.token(id, m.config.Realm)
	failure := errLookPanicked
	done := m.observe(call, CallCheck, false)
	defer func() { done(failure) }()
	record, failure = m.load(call, token)
	return record, failure
}

// token returns the token that opens the session. For a session in the cookie, that is the token of the latest cookie
// that the request knows, because the cookie that came with the request may have expired. Then it also sets endsAt.
func (f *watchedFacts) token(id, realm string) Token {
	if f.cookie == nil {
		return idToken(id, realm)
	}
	st := f.cookie.open()
	defer f.cookie.mu.Unlock()
	if st.base == nil || st.base.ID != id || st.base.Ended {
		return idToken(id, realm)
	}
	f.endsAt = st.base.endsAt(f.cookie.config.Clock())
	return st.token
}

// judge returns how the session has ended, or nil if it is valid as far as is known.
func (w *watches) judge(session *watched, facts *watchedFacts, record *Record, err error, now time.Time) error {
	isOver := !now.Before(facts.endsAt)
	switch {
	case err == nil && record.Ended:
		return causeOf(record)
	case err == nil:
		facts.stored = true
		if facts.cookie == nil {
			facts.endsAt = record.endsAt(now)
			isOver = record.condition(now) != live
		}
	case !errors.Is(err, ErrNotFound), !facts.stored && now.Sub(session.since) < beginLife:
		// The store failed, or the session is not stored yet.
	case !isOver:
		return ErrSessionEnded
	}
	if isOver {
		return ErrExpired
	}
	return nil
}

// dueHeap is a heap of sessions. The first one is due first.
type dueHeap []*watched

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueHeap) Push(x any) {
	session := x.(*watched)
	session.place = len(*h)
	*h = append(*h, session)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	session := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	session.place = -1
	return session
}
