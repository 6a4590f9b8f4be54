package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// batcher sends what several requests ask of Redis at the same time together: the system calls to write and to read, on
// both sides, are most of what a command costs. It has goroutines only while there is something to send.
//
// go-redis's autopipelining is not used for this: it knows no context once a command is queued, and sends and resends it
// after its caller has answered that it failed. Here no command is sent, or sent again, after its own deadline.
type batcher struct {
	client   redis.UniversalClient
	underWay atomic.Int64

	mu      sync.Mutex
	waiting []*batched
	senders int
}

// batched is a command on its way.
type batched struct {
	ctx  context.Context
	cmd  redis.Cmder
	done chan struct{} // closed when the command has its reply or its error
}

const (
	batchesAtOnce = 2   // one fills batches best, and a second keeps requests going while a connection hangs
	batchMost     = 256 // commands
)

// process does one command. One that is alone goes by itself, and so does one whose batch failed: the client then tries
// again as it sees fit. When ctx ends first, the command must not be looked at any more.
func (b *batcher) process(ctx context.Context, cmd redis.Cmder) error {
	defer b.underWay.Add(-1)
	if b.underWay.Add(1) > 1 {
		if err := b.together(ctx, cmd); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return b.client.Process(ctx, cmd)
}

// together does a command in a batch.
func (b *batcher) together(ctx context.Context, cmd redis.Cmder) error {
	one := &batched{ctx: ctx, cmd: cmd, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, one)
	start := b.senders < batchesAtOnce
	if start {
		b.senders++
	}
	b.mu.Unlock()
	if start {
		go b.send()
	}
	select {
	case <-one.done:
		return cmd.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends batches until nothing is waiting.
func (b *batcher) send() {
	for batch := b.next(); batch != nil; batch = b.next() {
		b.exec(batch)
		for _, one := range batch {
			close(one.done)
		}
	}
}

// next returns what is waiting, or nil when this goroutine is to end.
func (b *batcher) next() []*batched {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.senders--
		return nil
	}
	n := min(len(b.waiting), batchMost)
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	if len(b.waiting) == 0 {
		b.waiting = nil
	}
	return batch
}

// exec sends the commands that are still wanted, and gives up when the first of them is to be given up: the others are
// then asked again, each within its own time.
func (b *batcher) exec(batch []*batched) {
	var deadline time.Time
	p := b.client.Pipeline()
	for _, one := range batch {
		if err := one.ctx.Err(); err != nil {
			one.cmd.SetErr(err)
			continue
		}
		if d, ok := one.ctx.Deadline(); ok && (deadline.IsZero() || d.Before(deadline)) {
			deadline = d
		}
		_ = p.Process(one.ctx, one.cmd)
	}
	ctx := context.Background()
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	_, _ = p.Exec(ctx) // each command has its own error
}
