package session

import (
	"context"
	"time"

	"github.com/doorman-go/session/internal/deadline"
)

// storeContext is the context of one load or commit. It has the request's values, a deadline, and the Manager's clock.
// It does not have the session, because the session waits for the store: a hook or decorator of the store that used it
// would wait for itself.
type storeContext struct {
	deadline.Context
	clock     func() time.Time
	pastCache bool               // a cache in this process must not answer
	kept      map[string]*Record // records that the near cache has already returned, by ID
}

// storeContext returns the context for one load or commit. The caller must release it.
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
