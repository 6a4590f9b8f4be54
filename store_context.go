package session

import (
	"context"
	"time"

	"github.com/doorman-go/session/internal/deadline"
)

// storeContext is the context of one load or commit: the request's values and a deadline, with the Manager's clock. It
// does not have the session, so that a store's hooks and decorators can't use one that waits for them.
type storeContext struct {
	deadline.Context
	clock     func() time.Time
	pastCache bool               // a cache in this process must not answer
	kept      map[string]*Record // what it answered already, by ID
}

// storeContext returns the context for one load or commit, which must be released.
func (m *Manager) storeContext(ctx context.Context, timeout time.Duration) *storeContext {
	c := &storeContext{clock: m.config.Clock}
	c.Init(ctx, timeout)
	return c
}

// Value implements context.Context.
func (c *storeContext) Value(key any) any {
	switch key.(type) {
	case nowKey:
		return c.clock
	case sessionKey, managerKey, requestKey:
		return nil
	case pastCacheKey:
		if c.pastCache {
			return true
		}
		return nil
	}
	return c.Context.Value(key)
}
