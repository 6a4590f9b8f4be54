package sessiontest

import (
	"sync"
	"time"
)

// Clock is a clock for session.Config.Clock that stands until it is moved:
//
//	clock := sessiontest.NewClock()
//	sessions, err := session.New(store, session.Config{Clock: clock.Now})
//	clock.Advance(time.Hour)
//
// In testing/synctest it works too, and there time.Sleep moves the default clock.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows the present time.
func NewClock() *Clock { return &Clock{now: time.Now()} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Set moves the clock to t, which may be earlier.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// Advance moves the clock on by d.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
