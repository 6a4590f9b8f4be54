package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// queue lets the commits of one session that are under way in this process go together: a commit that finds another one
// under way waits, and goes with all that wait by then. Only plain changes do; a store that keeps sessions in the cookie
// has nothing to share.
type queue struct {
	store   Store
	config  *Config
	mu      sync.Mutex
	waiting map[string][]*waiter // by the session's ID, as long as a commit is under way
	under   map[string]int       // how many commits of it are
}

// waiter is one commit: a log to be replayed on whatever record it is handed.
type waiter struct {
	call   context.Context
	token  Token
	base   *Record
	replay func(old *Record) (*Record, error)

	handed   chan *Record      // a record for the log to be replayed on
	replayed chan replayResult // what came of it
	done     chan outcome

	// Guarded by queue.mu.
	sent  *attempt // the swap that it is going with
	gone  bool     // it gave up before
	moved bool     // it goes ahead with others
}

type replayResult struct {
	record *Record
	err    error
	failed bool // the application's code did not return
}

// outcome is what became of a commit.
type outcome struct {
	verdict   verdict
	record    *Record  // what is stored now: made, or met; nil for nothing
	err       error    // of a commit that failed
	sent      *attempt // the swap that may have been made although the commit failed
	conflicts int      // how often another process's commit was met
}

// verdict says what became of a commit.
type verdict uint8

const (
	failed  verdict = iota // by its own fault or the store's
	made                   // it is stored
	met                    // another commit was faster: the log has to be replayed on its record
	over                   // the session has ended
	leftOut                // it took too long, or the others did, and must go by itself
)

// commit commits w, whose replay on its base gave first.
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

// commitFirst is the commit of the first of a session, in its own goroutine. If it meets another process's commit it waits
// like the others: what it has to replay may take its time.
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

// putBack lets those wait in front.
func (g *queue) putBack(id string, first []*waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[id] = append(slices.Clip(first), g.waiting[id]...)
}

// next lets those that wait go on from the record that is stored, as far as it is known.
func (g *queue) next(id string, stored *Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting[id]) == 0 {
		g.leave(id)
		return
	}
	go g.commitWaiting(id, nil, stored)
}

// commitWaiting commits until nobody waits any more. It runs no code of the application but the store, whose panic is an
// error here: the goroutine is nobody's.
func (g *queue) commitWaiting(id string, together []*waiter, stored *Record) {
	returned := false
	defer func() {
		if !returned {
			_ = recover()
			g.failAll(together)
			g.next(id, nil)
		}
	}()
	for {
		if together == nil {
			if together = g.takeWaiting(id); together == nil {
				returned = true
				return
			}
		}
		if len(together) == 0 { // all have given up
			together = nil
			continue
		}
		stored = g.commitTogether(id, together, stored)
		together = nil
	}
}

// leave notes that one commit is over while nobody waits.
func (g *queue) leave(id string) {
	if g.under[id]--; g.under[id] == 0 {
		delete(g.waiting, id)
		delete(g.under, id)
	}
}

// goAhead lets all that wait with w go together, without the commit under way, which takes too long.
func (g *queue) goAhead(w *waiter) bool {
	id := w.base.ID
	g.mu.Lock()
	defer g.mu.Unlock()
	together := g.waiting[id]
	if w.moved { // the one who did so was as late
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

// takeWaiting returns those that wait, or nil if nobody does: then the next one is the first again.
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

// failAll is the outcome of a store that panicked, or ended the goroutine.
func (g *queue) failAll(together []*waiter) {
	for _, w := range together {
		g.mu.Lock()
		sent := w.sent
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

// commitTogether commits the logs of several requests as one, and returns the record that is stored then, or nil if that
// is not known. Those that the time does not suffice for wait on.
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

// current returns stored, if it is known and live, and otherwise asks the store: the record that a waiting commit started
// from may have run out meanwhile, while another process has noted a use.
func (g *queue) current(w *waiter, stored *Record) (*Record, error) {
	if stored == nil {
		stored = w.base
	}
	if stored.condition(g.config.Clock()) == live {
		return stored, nil
	}
	return g.load(w)
}

// load returns what is stored of a waiting commit's session now; nil for nothing.
func (g *queue) load(w *waiter) (*Record, error) {
	record, err := g.store.Load(context.WithValue(w.call, pastCacheKey{}, true), w.token)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return record, err
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

// handRound hands the record from one waiting request to the next, and returns what they made of it, in turn. Who
// does not hand it on in time, or can't, is left out. It stops when half of the time of the one whose deadline is nearest
// is gone: the rest waits for another round.
func (g *queue) handRound(together []*waiter, record *Record) (logs []replayedLog, rest []*waiter) {
	stop := nearest(together)
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

// nearest returns the nearest deadline.
func nearest(together []*waiter) time.Time {
	first := deadlineOf(together[0].call)
	for _, w := range together[1:] {
		if deadline := deadlineOf(w.call); deadline.Before(first) {
			first = deadline
		}
	}
	return first
}

func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}

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

// markSent notes that the swap of the logs is about to be sent, with the time and the context's values of the one whose
// deadline is nearest: who gives up after it is in doubt. Where somebody has given up since, whose changes are in the record,
// those before go, and those after wait on.
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
	record := *next // who was left out may have next in hand still
	stamp(&record, old, g.config.Clock())
	leader := going[0]
	for _, w := range going[1:] {
		if deadlineOf(w.call).Before(deadlineOf(leader.call)) {
			leader = w
		}
	}
	sent = &attempt{token: leader.token, swaps: []Swap{{old, &record}}, leader: leader}
	for _, w := range going {
		w.sent = sent
	}
	return going, after, sent
}

// unmarkSent notes that a swap was not made: who gives up now is not in doubt.
func (g *queue) unmarkSent(going []*waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range going {
		w.sent = nil
	}
}

// swap sends the swap of one commit. The record is its replay's own.
func (g *queue) swap(w *waiter, old, next *Record) outcome {
	stamp(next, old, g.config.Clock())
	return g.sendAttempt(w.call, &attempt{token: w.token, swaps: []Swap{{old, next}}})
}

// sendAttempt sends an attempt with one swap, and finds out what it met.
func (g *queue) sendAttempt(ctx context.Context, sent *attempt) outcome {
	_, err := g.store.Swap(ctx, sent.token, sent.swaps...)
	var conflict *ConflictError
	switch {
	case err == nil:
		return outcome{verdict: made, record: sent.swaps[0].New}
	case !errors.As(err, &conflict):
		return outcome{err: err, sent: sent}
	}
	current := conflict.Current
	if current == nil {
		if current, err = g.store.Load(ctx, sent.token); err != nil && !errors.Is(err, ErrNotFound) {
			return outcome{err: err}
		}
	}
	if current != nil && current.knows(sent.swaps[0].New.Revision) {
		return outcome{verdict: made, record: current} // the store has sent it twice, and others came between
	}
	out := outcome{verdict: met, record: current, conflicts: 1}
	if current.condition(g.config.Clock()) != live {
		out.verdict = over
	}
	return out
}

// await waits for the outcome of w, and replays its log when asked to. When half of its time is gone and nothing was sent,
// it goes by itself.
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

// replayOn replays the log in the request's own goroutine, so that a panic, or a loop, is its own.
func (w *waiter) replayOn(record *Record) {
	result := replayResult{failed: true}
	defer func() { w.replayed <- result }()
	next, err := w.replay(record)
	result = replayResult{record: next, err: err}
}

// withdraw takes w out, unless its swap has been sent, and reports whether it did.
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

// commitAlone is for a commit that others can't wait for, or that can't wait for them.
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
