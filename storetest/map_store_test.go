package storetest_test

import (
	"context"
	"sync"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// MapStore is a session.Store: a map and a mutex.
type MapStore struct {
	mu      sync.Mutex
	records map[string]*session.Record
}

func NewMapStore() *MapStore { return &MapStore{records: map[string]*session.Record{}} }

// Load returns what is stored, whether it has ended or not.
func (m *MapStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[token.ID()]; r != nil {
		return r, nil
	}
	return nil, session.ErrNotFound
}

// Swap looks at all records before it replaces any.
func (m *MapStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	if err := ctx.Err(); err != nil {
		return session.Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range swaps {
		if current := m.records[s.New.ID]; !fits(s, current) {
			return session.Token{}, &session.ConflictError{ID: s.New.ID, Current: current}
		}
	}
	for _, s := range swaps {
		m.records[s.New.ID] = s.New
	}
	return token, nil
}

// fits reports whether s may take the place of current, or has taken it before.
func fits(s session.Swap, current *session.Record) bool {
	if current == nil || s.Old == nil {
		return current == nil && s.Old == nil || current != nil && current.Revision == s.New.Revision
	}
	return current.Revision == s.Old.Revision || current.Revision == s.New.Revision
}

func TestMapStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return NewMapStore() })
}
