// Package deadline has a context with a deadline that costs nothing if nobody waits for it.
package deadline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Context is a context with a deadline. It sets a timer only if somebody waits on Done, directly or in a context
// derived from it. A store in memory never does. Call Init before use and Release after it, and do not copy it.
type Context struct {
	context.Context // the parent
	deadline        time.Time

	start sync.Once
	timer atomic.Pointer[timer]
}

// released is the timer of a Context that was released before anybody waited.
var released = func() *timer {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return &timer{ctx, cancel}
}()

// timer is a context with a deadline, derived from the parent. If there is one, Done and Err come from it, so that they
// agree. Otherwise Done could be closed while Err is nil, and then a derived context would panic.
type timer struct {
	context.Context
	cancel context.CancelFunc
}

// Init derives c from parent. The deadline is the parent's, or after timeout, whichever is earlier.
func (c *Context) Init(parent context.Context, timeout time.Duration) {
	c.Context, c.deadline = parent, time.Now().Add(timeout)
	if earlier, ok := parent.Deadline(); ok && earlier.Before(c.deadline) {
		c.deadline = earlier
	}
}

// Deadline returns the deadline and true.
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, true }

// Done returns a channel that is closed at the deadline, at Release, or when the parent's is closed.
func (c *Context) Done() <-chan struct{} {
	c.start.Do(func() {
		ctx, cancel := context.WithDeadline(c.Context, c.deadline)
		c.timer.Store(&timer{ctx, cancel})
	})
	return c.timer.Load().Done()
}

// Err returns nil until Done is closed, and after that the reason.
func (c *Context) Err() error {
	if c.timer.Load() == nil && c.Context.Err() == nil && time.Until(c.deadline) <= 0 {
		c.Done()
	}
	if t := c.timer.Load(); t != nil {
		return t.Err()
	}
	return c.Context.Err()
}

var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// Await waits until done gets a value, and returns nil. If the context ends first, it returns the reason. Unlike Done,
// it allocates nothing.
func (c *Context) Await(done <-chan struct{}) error {
	t := timers.Get().(*time.Timer)
	defer timers.Put(t)
	defer t.Stop()
	t.Reset(time.Until(c.deadline))
	select {
	case <-done:
		return nil
	case <-t.C:
		if c.timer.Load() != nil { // that timer may fire a moment later, and Err depends on it
			<-c.Done()
		}
		return context.DeadlineExceeded
	case <-c.Context.Done():
		return c.Context.Err()
	}
}

// Await is Context.Await for any context.
func Await(ctx context.Context, done <-chan struct{}) error {
	if c, ok := ctx.(interface{ Await(<-chan struct{}) error }); ok {
		return c.Await(done)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Value returns the parent's value of key. If there is a timer, the timer answers: package context also uses Value to
// find the context that cancels c. A context that is derived from c then needs no goroutine.
func (c *Context) Value(key any) any {
	if t := c.timer.Load(); t != nil && t != released {
		return t.Value(key)
	}
	return c.Context.Value(key)
}

// Release ends c and the contexts that were derived from it, and stops the timer if there is one. It may be called more
// than once.
func (c *Context) Release() {
	c.start.Do(func() { c.timer.Store(released) })
	c.timer.Load().cancel()
}
