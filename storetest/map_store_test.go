package storetest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// MapStore is a session.Store: a map and a mutex.
type MapStore struct {
	mu      sync.Mutex
	records map[string]*session.Record
}

func NewMapStore() *MapStore { return &MapStore{records: map[string]*session.Record{}} }

func (m *MapStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[token.ID()] // nil if there is none, which Live knows
	return r, r.Live(session.Now(ctx))
}

func (m *MapStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if err := ctx.Err(); err != nil {
		return session.Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := session.Now(ctx)
	next, err := c.Apply(m.records[c.Source()], m.records[c.Record.ID], now)
	if err != nil {
		return session.Token{}, err
	}
	if old := m.records[c.Replaces()]; old != nil && !old.Ended { // a tombstone knows where the session went on
		m.records[old.ID] = c.Tombstone(now)
	}
	m.records[next.ID] = next
	return token, nil
}

func (m *MapStore) Delete(ctx context.Context, id string, _ time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.records[id] != nil && m.records[id].Successor != "" {
		id = m.records[id].Successor // regenerated a moment ago
	}
	if m.records[id] != nil {
		m.records[id] = session.Tombstone(id, session.Now(ctx))
	}
	return nil
}

func TestMapStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return NewMapStore() })
}
