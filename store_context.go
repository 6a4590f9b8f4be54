package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// storeContext is the context of one call of a store: the request's, with the Manager's clock and a deadline. It sets a
// timer only for a store that waits on Done, which one in memory never does.
type storeContext struct {
	context.Context
	clock    func() time.Time
	deadline time.Time

	start sync.Once
	timer atomic.Pointer[timer]
}

// timer is a context with a deadline. Once there is one, Done and Err are its own, so that they agree: a context that is
// derived from one whose Done is closed while its Err is nil panics.
type timer struct {
	context.Context
	cancel context.CancelFunc
}

// storeContext returns the context for one load or commit, which must be released.
func (m *Manager) storeContext(ctx context.Context, timeout time.Duration) *storeContext {
	deadline := time.Now().Add(timeout)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	}
	return &storeContext{Context: ctx, clock: m.config.Clock, deadline: deadline}
}

func (c *storeContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *storeContext) Done() <-chan struct{} {
	c.start.Do(func() {
		ctx, cancel := context.WithDeadline(c.Context, c.deadline)
		c.timer.Store(&timer{ctx, cancel})
	})
	if t := c.timer.Load(); t != nil {
		return t.Done()
	}
	return c.Context.Done() // released, and nobody had waited
}

func (c *storeContext) Err() error {
	if c.timer.Load() == nil && c.Context.Err() == nil && time.Until(c.deadline) <= 0 {
		c.Done()
	}
	if t := c.timer.Load(); t != nil {
		return t.Err()
	}
	return c.Context.Err()
}

// release ends the call: whatever was derived from the context ends too.
func (c *storeContext) release() {
	c.start.Do(func() {})
	if t := c.timer.Load(); t != nil {
		t.cancel()
	}
}

type nowKey struct{}

func (c *storeContext) Value(key any) any {
	if _, ok := key.(nowKey); ok {
		return c.clock
	}
	return c.Context.Value(key)
}

// Now returns the time by the clock of the Manager that calls the store (Config.Clock), and time.Now in a context that
// comes from elsewhere.
func Now(ctx context.Context) time.Time {
	if clock, ok := ctx.Value(nowKey{}).(func() time.Time); ok {
		return clock()
	}
	return time.Now()
}

// WithClock returns a context in which [Now] is what clock says: for tests of stores. A Manager's own is Config.Clock.
func WithClock(ctx context.Context, clock func() time.Time) context.Context {
	return context.WithValue(ctx, nowKey{}, clock)
}
