package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// queue groups the commits of one session in this process. A commit that finds another one under way waits. When that
// one is done, all that wait go together. Only plain changes are grouped. A store that keeps sessions in the cookie has
// nothing to share.
type queue struct {
	store   Store
	config  *Config
	mu      sync.Mutex
	waiting map[string][]*waiter // by the session's ID; there is an entry while a commit of it is under way
	under   map[string]int       // how many commits of the session are under way
}

// waiter is one commit: a log to be replayed on whatever record it is handed.
type waiter struct {
	call   context.Context
	token  Token
	base   *Record
	replay func(old *Record) (*Record, error)

	handed   chan *Record      // a record for the log to be replayed on
	replayed chan replayResult // the result of the replay
	done     chan outcome

	// Guarded by queue.mu.
	sent  *attempt // the swap that has its changes; nil until that is sent
	gone  bool     // it gave up before its swap was sent
	moved bool     // it goes ahead, because another waiter has called goAhead
}

type replayResult struct {
	record *Record
	err    error
	failed bool // the application's code did not return
}

// outcome is what became of a commit.
type outcome struct {
	verdict   verdict
	record    *Record  // the record that is stored now, by this commit or another one; nil for none
	err       error    // the error of a commit that failed
	sent      *attempt // the swap that may have been made although the commit failed
	conflicts int      // how often another process's commit was met
}

// verdict says what became of a commit.
type verdict uint8

const (
	failed  verdict = iota // by its own fault, or by the store's
	made                   // it is stored
	met                    // another commit was faster: the log has to be replayed on its record
	over                   // the session has ended
	leftOut                // it must commit alone, because it or the others took too long
)

// commit commits w. First is the result of the replay on w's base.
func (g *queue) commit(w *waiter, first *Record) outcome {
	id := w.base.ID
	g.mu.Lock()
	if g.waiting == nil {
		g.waiting, g.under = make(map[string][]*waiter), make(map[string]int)
	}
	others, busy := g.waiting[id]
	if busy {
		w.prepare()
		g.waiting[id] = append(others, w)
		g.mu.Unlock()
		return g.await(w)
	}
	g.waiting[id], g.under[id] = nil, 1
	g.mu.Unlock()
	return g.commitFirst(w, first)
}

func (w *waiter) prepare() {
	w.handed, w.replayed, w.done = make(chan *Record), make(chan replayResult, 1), make(chan outcome, 1)
}

// commitFirst commits the first waiter of a session, in the request's own goroutine. If it meets another process's
// commit, it waits like the others, because its replay may take long.
func (g *queue) commitFirst(w *waiter, first *Record) outcome {
	var stored *Record
	returned := false
	defer func() {
		if !returned { // the store panicked
			g.next(w.base.ID, nil)
		}
	}()
	out := g.swap(w, w.base, first)
	if out.verdict == made || out.verdict == met {
		stored = out.record
	}
	if out.verdict == met {
		w.prepare()
		g.putBack(w.base.ID, []*waiter{w})
	}
	returned = true
	g.next(w.base.ID, stored)
	if out.verdict != met {
		return out
	}
	again := g.await(w)
	again.conflicts += out.conflicts
	return again
}

// putBack puts waiters back at the front of the queue.
func (g *queue) putBack(id string, first []*waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[id] = append(slices.Clip(first), g.waiting[id]...)
}

// next starts a commit of those that wait. They start from stored, which is nil if the stored record is not known.
func (g *queue) next(id string, stored *Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting[id]) == 0 {
		g.leave(id)
		return
	}
	go g.commitWaiting(id, nil, stored)
}

// commitWaiting commits until nobody waits any more. Of the code of others it runs only the store. It turns a panic of
// the store into an error, because no request owns this goroutine.
func (g *queue) commitWaiting(id string, together []*waiter, stored *Record) {
	returned := false
	defer func() {
		if !returned {
			_ = recover()
			g.failAll(together)
			g.next(id, nil)
		}
	}()
	if together == nil {
		together = g.takeWaiting(id)
	}
	for together != nil {
		if len(together) > 0 { // else all have given up
			stored = g.commitTogether(id, together, stored)
		}
		together = g.takeWaiting(id)
	}
	returned = true
}

// leave notes that one commit of the session is over, and that nobody waits for it. The caller holds the lock.
func (g *queue) leave(id string) {
	if g.under[id]--; g.under[id] == 0 {
		delete(g.waiting, id)
		delete(g.under, id)
	}
}

// goAhead starts a commit of all that wait with w. It does not wait for the commit under way, because that takes too
// long. It reports whether w goes ahead.
func (g *queue) goAhead(w *waiter) bool {
	id := w.base.ID
	g.mu.Lock()
	defer g.mu.Unlock()
	together := g.waiting[id]
	if w.moved { // another waiter, which was as late, has started the commit
		w.moved = false
		return true
	}
	if !slices.Contains(together, w) {
		return false
	}
	for _, other := range together {
		other.moved = other != w
	}
	g.waiting[id] = nil
	g.under[id]++
	go g.commitWaiting(id, together, nil)
	return true
}

// takeWaiting returns those that wait, or nil if nobody waits. In that case the next commit is a first one again.
func (g *queue) takeWaiting(id string) []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	together := g.waiting[id]
	if len(together) == 0 {
		g.leave(id)
		return nil
	}
	g.waiting[id] = nil
	return slices.DeleteFunc(slices.Clone(together), func(w *waiter) bool { return w.gone })
}

// failAll fails the commits whose store panicked, or ended the goroutine.
func (g *queue) failAll(together []*waiter) {
	for _, w := range together {
		g.mu.Lock()
		sent := w.sent
		w.gone = true // it may be waiting again
		g.mu.Unlock()
		w.finish(outcome{err: errStorePanicked, sent: sent})
	}
}

var errStorePanicked = errors.New("the store panicked")

// finish tells w its outcome, the first one if there are several.
func (w *waiter) finish(out outcome) {
	select {
	case w.done <- out:
	default:
	}
}

// commitTogether commits the logs of several requests as one, and returns the record that is stored then, or nil if
// that is not known. Those for which there is not enough time go on waiting.
func (g *queue) commitTogether(id string, together []*waiter, stored *Record) *Record {
	conflicts := 0
	for {
		var err error
		if stored, err = g.current(together[0], stored); err != nil {
			finishAll(together, outcome{err: err})
			return nil
		}
		if stored.condition(g.config.Clock()) != live {
			finishAll(together, outcome{verdict: over, record: stored, conflicts: conflicts})
			return nil
		}
		logs, rest := g.handRound(together, stored)
		going, after, sent := g.markSent(logs, stored)
		g.putBack(id, append(after, rest...))
		if len(going) == 0 {
			return stored
		}
		out := g.sendAttempt(sent.leader.call, sent)
		conflicts += out.conflicts
		if out.verdict == met {
			g.unmarkSent(going)
			stored, together = out.record, going
			continue
		}
		out.conflicts = conflicts
		finishAll(going, out)
		if out.verdict == made {
			return out.record
		}
		return nil
	}
}

// current returns stored, or w's base if stored is nil. If that record is not live, it asks the store: the session may
// have expired by that record, but another process may have noted a use.
func (g *queue) current(w *waiter, stored *Record) (*Record, error) {
	if stored == nil {
		stored = w.base
	}
	if stored.condition(g.config.Clock()) == live {
		return stored, nil
	}
	return loadStored(context.WithValue(w.call, pastCacheKey{}, true), g.store, w.token)
}

func finishAll(together []*waiter, out outcome) {
	for _, w := range together {
		w.finish(out)
	}
}

// replayedLog is a waiting commit with what its log made of the record that was handed to it.
type replayedLog struct {
	*waiter
	record *Record
}

// handRound hands the record from one waiting request to the next, and returns what each made of it, in their order. A
// request that does not hand it on in time, or can't, is left out. handRound stops when half of the time until the
// nearest deadline is gone. The rest waits for another round.
func (g *queue) handRound(together []*waiter, record *Record) (logs []replayedLog, rest []*waiter) {
	stop := deadlineOf(nearest(together).call)
	stop = stop.Add(-time.Until(stop) / 2)
	for i, w := range together {
		if i > 0 && time.Now().After(stop) {
			return logs, together[i:]
		}
		result, inTime := g.hand(w, record)
		switch {
		case !inTime:
			w.finish(outcome{verdict: leftOut})
		case result.failed:
		case result.err != nil:
			w.finish(outcome{err: result.err})
		default:
			record = result.record
			logs = append(logs, replayedLog{w, record})
		}
	}
	return logs, nil
}

// nearest returns the one whose deadline is nearest.
func nearest(together []*waiter) *waiter {
	return slices.MinFunc(together, func(a, b *waiter) int { return deadlineOf(a.call).Compare(deadlineOf(b.call)) })
}

func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}

// hand gives w the record, and waits for the result of its replay. Both together may take a tenth of StoreTimeout.
func (g *queue) hand(w *waiter, record *Record) (result replayResult, inTime bool) {
	patience := time.NewTimer(g.config.StoreTimeout / 10)
	defer patience.Stop()
	select {
	case w.handed <- record:
	case <-w.call.Done():
		return replayResult{failed: true}, true // it gives up by itself
	case <-patience.C:
		return replayResult{}, false
	}
	select {
	case result = <-w.replayed:
		return result, true
	case <-patience.C:
		return replayResult{}, false
	}
}

// markSent notes that the swap of the logs is about to be sent. A request that gives up after this is in doubt. The
// swap has the context of the request whose deadline is nearest. If a request has given up since its replay, its
// changes are in all later records. Then only the requests before it go, and those after it go on waiting.
func (g *queue) markSent(logs []replayedLog, old *Record) (going, after []*waiter, sent *attempt) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var next *Record
	for i, log := range logs {
		if log.gone || log.call.Err() != nil {
			for _, later := range logs[i+1:] {
				after = append(after, later.waiter)
			}
			break
		}
		going, next = append(going, log.waiter), log.record
	}
	if len(going) == 0 {
		return nil, after, nil
	}
	record := *next // a request that was left out may still hold next
	stamp(&record, old, g.config.Clock())
	leader := nearest(going)
	sent = &attempt{token: leader.token, swaps: []Swap{{old, &record}}, leader: leader}
	for _, w := range going {
		w.sent = sent
	}
	return going, after, sent
}

// unmarkSent notes that a swap was not made. A request that gives up now is not in doubt.
func (g *queue) unmarkSent(going []*waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range going {
		w.sent = nil
	}
}

// swap sends the swap of one commit. It may change next, because nobody else holds the result of w's replay.
func (g *queue) swap(w *waiter, old, next *Record) outcome {
	stamp(next, old, g.config.Clock())
	return g.sendAttempt(w.call, &attempt{token: w.token, swaps: []Swap{{old, next}}})
}

// sendAttempt sends an attempt with one swap. After a conflict it finds out which record is stored.
func (g *queue) sendAttempt(ctx context.Context, sent *attempt) outcome {
	_, err := g.store.Swap(ctx, sent.token, sent.swaps...)
	conflict := conflictOf(err)
	switch {
	case err == nil:
		return outcome{verdict: made, record: sent.swaps[0].New}
	case conflict == nil:
		return outcome{err: err, sent: sent}
	}
	current := conflict.Current
	if current == nil {
		if current, err = loadStored(ctx, g.store, sent.token); err != nil {
			return outcome{err: err}
		}
	}
	if current != nil && current.knows(sent.swaps[0].New.Revision) {
		return outcome{verdict: made, record: current} // the store has sent the swap twice, and other writes came between
	}
	out := outcome{verdict: met, record: current, conflicts: 1}
	if current.condition(g.config.Clock()) != live {
		out.verdict = over
	}
	return out
}

// await waits for the outcome of w, and replays its log when it is handed a record. If half of its time is gone and its
// swap was not sent, it goes ahead with the others that wait, or else alone.
func (g *queue) await(w *waiter) outcome {
	patience := time.NewTimer(time.Until(deadlineOf(w.call)) / 2)
	defer patience.Stop()
	for {
		select {
		case out := <-w.done:
			return out
		case record := <-w.handed:
			w.replayOn(record)
		case <-patience.C:
			if g.goAhead(w) {
				patience.Reset(time.Until(deadlineOf(w.call)) / 2)
				continue
			}
			if g.withdraw(w) {
				return outcome{verdict: leftOut}
			}
		case <-w.call.Done():
			return g.giveUp(w)
		}
	}
}

// replayOn replays the log in the request's own goroutine, so that a panic or an endless loop affects only that
// request.
func (w *waiter) replayOn(record *Record) {
	result := replayResult{failed: true}
	defer func() { w.replayed <- result }()
	next, err := w.replay(record)
	result = replayResult{record: next, err: err}
}

// withdraw takes w out of the queue, unless its swap has been sent. It reports whether it did.
func (g *queue) withdraw(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.gone = w.sent == nil
	return w.gone
}

// giveUp withdraws w when its time is over. If its swap has been sent, it is in doubt.
func (g *queue) giveUp(w *waiter) outcome {
	select {
	case out := <-w.done:
		return out
	default:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	w.gone = w.sent == nil
	return outcome{err: w.call.Err(), sent: w.sent}
}

// commitAlone makes a commit that is too slow for the others, or that can't wait for them any longer.
func (g *queue) commitAlone(w *waiter) outcome {
	old, conflicts := w.base, 0
	for {
		next, err := w.replay(old)
		switch {
		case err != nil:
			return outcome{err: err, conflicts: conflicts}
		case w.call.Err() != nil:
			return outcome{err: w.call.Err(), conflicts: conflicts}
		}
		now, err := g.current(w, old)
		switch {
		case err != nil:
			return outcome{err: err, conflicts: conflicts}
		case now.condition(g.config.Clock()) != live:
			return outcome{verdict: over, record: now, conflicts: conflicts}
		case now != old:
			old = now
			continue
		}
		out := g.swap(w, old, next)
		conflicts += out.conflicts
		out.conflicts = conflicts
		if out.verdict != met {
			return out
		}
		old = out.record
	}
}
