package redisclient

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session/internal/deadline"
)

// batcher sends commands that are wanted at the same time together: the system calls to write and to read, on both sides,
// are most of what a command costs. It has goroutines only while there is something to send.
//
// go-redis's autopipelining is not used for this: it knows no context once a command is queued, and sends and resends it
// after its caller has answered that it failed. Here nobody waits longer than the own deadline says, and nothing is sent,
// or sent again, that its caller has given up.
type batcher struct {
	client   redis.UniversalClient
	yield    func() // lets other goroutines run
	underWay atomic.Int64
	quiet    atomic.Int64  // until when senders do not yield, in nanoseconds
	alone    atomic.Uint64 // commands that went by themselves
	batches  atomic.Uint64
	batched  atomic.Uint64 // commands in them

	mu      sync.Mutex
	waiting []*queued
	senders int
}

// queued is a command on its way.
type queued struct {
	ctx   context.Context
	cmd   redis.Cmder
	done  chan struct{} // gets a value when the command has its reply or its error
	state atomic.Int32
}

// The states of a queued command: whoever moves it on from stateWaiting decides.
const (
	stateWaiting = iota
	stateTaken   // by a sender; the caller no longer knows when it is looked at
	stateGivenUp // by its caller
)

const (
	mostSenders = 4   // with fewer, commands wait behind batches that are under way over a network
	mostInBatch = 256 // commands
	longYield   = time.Millisecond
	quietAfter  = 100 * time.Millisecond // a yield that took long: busy goroutines would make commands wait
)

func newBatcher(client redis.UniversalClient) *batcher {
	return &batcher{client: client, yield: runtime.Gosched}
}

var queuedPool = sync.Pool{New: func() any { return &queued{done: make(chan struct{}, 1)} }}

// process runs one command. One that is alone goes by itself at once, and so does one whose batch failed: each is then
// tried again within its own time. That is safe, since a write that is made twice is recognised. When ctx ends first, the
// command must not be looked at any more.
func (b *batcher) process(ctx context.Context, cmd redis.Cmder) error {
	defer b.underWay.Add(-1)
	if b.underWay.Add(1) == 1 {
		b.alone.Add(1)
		return b.client.Process(ctx, cmd)
	}
	gaveUp, err := b.processTogether(ctx, cmd)
	if err == nil || gaveUp || isAnswer(err) || ctx.Err() != nil {
		return err
	}
	b.alone.Add(1)
	return b.client.Process(ctx, cmd)
}

// stats returns what was sent so far, and how many commands wait.
func (b *batcher) stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Alone: b.alone.Load(), Batches: b.batches.Load(), Batched: b.batched.Load(), Waiting: len(b.waiting)}
}

// isAnswer reports whether err is what a server says of this command. It is none where the server says that it is not to
// be asked now, or not any more.
func isAnswer(err error) bool {
	if errors.Is(err, redis.Nil) {
		return true
	}
	var answer redis.Error
	return errors.As(err, &answer) && !isPassing(err)
}

// isPassing reports whether a server that answers with err may answer otherwise soon, or another one in its place.
func isPassing(err error) bool {
	return redis.IsReadOnlyError(err) || redis.IsLoadingError(err) || redis.IsMasterDownError(err) ||
		redis.IsClusterDownError(err) || redis.IsTryAgainError(err) || redis.IsMaxClientsError(err) ||
		redis.HasErrorPrefix(err, "NOREPLICAS") || redis.HasErrorPrefix(err, "BUSY") || redis.HasErrorPrefix(err, "OOM")
}

// processTogether runs a command in a batch. Once it gave up, the command is the batch's: the context's own timer may not have
// come to it yet, so that its Err does not tell.
func (b *batcher) processTogether(ctx context.Context, cmd redis.Cmder) (gaveUp bool, err error) {
	q := queuedPool.Get().(*queued)
	q.ctx, q.cmd = ctx, cmd
	q.state.Store(stateWaiting)
	b.enqueue(q)
	if err := deadline.Await(ctx, q.done); err != nil {
		q.state.CompareAndSwap(stateWaiting, stateGivenUp)
		return true, err
	}
	q.ctx, q.cmd = nil, nil
	queuedPool.Put(q)
	return false, cmd.Err()
}

func (b *batcher) enqueue(q *queued) {
	b.mu.Lock()
	b.waiting = append(b.waiting, q)
	start := b.senders < mostSenders
	if start {
		b.senders++
	}
	b.mu.Unlock()
	if start {
		go b.send()
	}
}

// send sends batches until nothing is waiting.
func (b *batcher) send() {
	for {
		b.fillBatch()
		batch := b.nextBatch()
		if batch == nil {
			return
		}
		b.execBatch(batch)
	}
}

// fillBatch lets other goroutines put their commands in, unless that took long a moment ago.
func (b *batcher) fillBatch() {
	begun := time.Now()
	if begun.UnixNano() < b.quiet.Load() {
		return
	}
	b.yield()
	if now := time.Now(); now.Sub(begun) > longYield {
		b.quiet.Store(now.Add(quietAfter).UnixNano())
	}
}

// nextBatch returns what is waiting, or nil when this goroutine is to end.
func (b *batcher) nextBatch() []*queued {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.senders--
		return nil
	}
	n := min(len(b.waiting), mostInBatch)
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	if len(b.waiting) == 0 {
		b.waiting = nil
	}
	return batch
}

// noRetry is a command whose batch the client does not send again.
type noRetry struct{ redis.Cmder }

func (noRetry) NoRetry() bool { return true }

// execBatch sends the commands that are still wanted, once, and gives up when the first of them is to be given up: the
// others then try by themselves.
func (b *batcher) execBatch(batch []*queued) {
	var first time.Time
	p := b.client.Pipeline()
	taken := batch[:0]
	for _, q := range batch {
		if !q.state.CompareAndSwap(stateWaiting, stateTaken) {
			continue
		}
		taken = append(taken, q)
		if err := q.ctx.Err(); err != nil {
			q.cmd.SetErr(err)
			continue
		}
		if d, ok := q.ctx.Deadline(); ok && (first.IsZero() || d.Before(first)) {
			first = d
		}
		cmd := q.cmd
		if p.Len() == 0 {
			cmd = noRetry{cmd}
		}
		_ = p.Process(q.ctx, cmd)
	}
	ctx := context.Background()
	if !first.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, first)
		defer cancel()
	}
	if p.Len() > 0 {
		b.batches.Add(1)
		b.batched.Add(uint64(p.Len()))
		_, _ = p.Exec(ctx) // each command has its own error
	}
	for _, q := range taken {
		q.done <- struct{}{}
	}
}
