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

// batcher sends commands that come at the same time in one batch, because the system calls to write and to read, on
// both sides, are most of the cost of a command. It has goroutines only while there is something to send.
//
// It does not use go-redis's autopipelining. That ignores the context of a command that is queued. It may send the
// command, or send it again, after the caller has reported a failure. Here no caller waits longer than its own
// deadline, and no command is sent, or sent again, after its caller has given up.
type batcher struct {
	client   redis.UniversalClient
	yield    func() // lets other goroutines run
	underWay atomic.Int64
	quiet    atomic.Int64  // senders do not yield until this time, in nanoseconds since 1970
	alone    atomic.Uint64 // commands that were sent alone
	batches  atomic.Uint64
	batched  atomic.Uint64 // commands in the batches

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

// The states of a queued command. The first one to change stateWaiting, its sender or its caller, decides.
const (
	stateWaiting = iota
	stateTaken   // a sender has it, and may use it at any time
	stateGivenUp // its caller has given up
)

const (
	mostSenders = 4   // with fewer, commands wait for batches that are under way on the network
	mostInBatch = 256 // commands
	longYield   = time.Millisecond
	quietAfter  = 100 * time.Millisecond // after a long yield: with busy goroutines, yielding makes commands wait
)

func newBatcher(client redis.UniversalClient) *batcher {
	return &batcher{client: client, yield: runtime.Gosched}
}

var queuedPool = sync.Pool{New: func() any { return &queued{done: make(chan struct{}, 1)} }}

// process runs one command. If no other command is under way, it sends this one at once. If a batch fails, each of its
// commands is tried again alone, within its own time. That is safe, because a script recognizes a write that was made
// before. If ctx ends first, the caller must not use the command any more.
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

// isAnswer reports whether err is the server's answer to this command. An error that says that the server can't be
// asked now, or not any more, is no answer.
func isAnswer(err error) bool {
	if errors.Is(err, redis.Nil) {
		return true
	}
	var answer redis.Error
	return errors.As(err, &answer) && !isPassing(err)
}

// isPassing reports whether err may be gone soon, on the same server or on one that takes its place.
func isPassing(err error) bool {
	return redis.IsReadOnlyError(err) || redis.IsLoadingError(err) || redis.IsMasterDownError(err) ||
		redis.IsClusterDownError(err) || redis.IsTryAgainError(err) || redis.IsMaxClientsError(err) ||
		redis.HasErrorPrefix(err, "NOREPLICAS") || redis.HasErrorPrefix(err, "BUSY") || redis.HasErrorPrefix(err, "OOM")
}

// processTogether runs a command in a batch. If gaveUp is true, the batch may still use the command, so the caller must
// not. ctx.Err does not tell this: it may still be nil, because the context's own timer may be a little later.
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

// fillBatch lets other goroutines add their commands. It does not do so if that took long a moment ago.
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

// nextBatch returns the commands that wait. If none waits, it returns nil, and the sender must end.
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

// noRetry is a command that keeps the client from sending its batch again.
type noRetry struct{ redis.Cmder }

func (noRetry) NoRetry() bool { return true }

// execBatch sends the commands whose callers still wait, once. It gives up at the nearest of their deadlines. Then the
// other callers try alone.
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
	var panicked error
	if p.Len() > 0 {
		b.batches.Add(1)
		b.batched.Add(uint64(p.Len()))
		panicked = execPipeline(ctx, p)
	}
	for _, q := range taken {
		if panicked != nil {
			q.cmd.SetErr(panicked)
		}
		q.done <- struct{}{}
	}
}

// errPanicked does not have what the client panicked with, because that may hold a secret.
var errPanicked = errors.New("session: the Redis client panicked")

// execPipeline runs the commands, each of which has its own error. It turns a panic of the client's hooks into an error,
// because no request owns this goroutine. Each request then tries alone, and if that panics too, it is the request's.
func execPipeline(ctx context.Context, p redis.Pipeliner) (panicked error) {
	defer func() {
		if recover() != nil {
			panicked = errPanicked
		}
	}()
	_, _ = p.Exec(ctx)
	return nil
}
