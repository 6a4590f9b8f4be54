package session

import (
	"context"
	"fmt"
	"strings"
)

// The kinds of operations that Config.Observe is told of.
const (
	CallLoad   = "load"   // a request's session is loaded, or asked for by Session.Save; a due touch is part of it
	CallCommit = "commit" // what a request changed is stored, with all that a Login has to do
	CallList   = "list"   // Manager.Sessions, and Manager.Each from its first session to its last
	CallRevoke = "revoke" // Manager.Revoke, RevokeUser, RevokeTag and RevokeAll, and Config.Revalidate's refusal
	CallCheck  = "check"  // a session that is watched (Session.Watch) is looked at
)

// StoreCall is an operation on the store, for Config.Observe. It names neither a session nor a user. An operation may
// be several calls of the store's methods, including new tries after a conflict.
type StoreCall struct {
	Kind      string // CallLoad, and so on: few, so that it can be a metric's label
	Store     string // the store's type, such as RedisStore
	NearCache bool   // of a load: the near cache (NearCache) answered, and the server was not asked
}

// observe begins an operation, and returns the function that ends it. It allocates nothing if nobody observes.
func (m *Manager) observe(ctx context.Context, kind string, nearCache bool) (done func(error)) {
	if m.config.Observe == nil {
		return ignoreDone
	}
	if done = m.config.Observe(ctx, StoreCall{kind, m.storeName, nearCache}); done == nil {
		return ignoreDone
	}
	return done
}

func ignoreDone(error) {}

// observed runs an operation and observes it. If the store panics, the operation ends with an error.
func (m *Manager) observed(ctx context.Context, kind string, operation func() error) error {
	failure := errStorePanicked
	done := m.observe(ctx, kind, false)
	defer func() { done(failure) }()
	failure = operation()
	return failure
}

// storeName returns a store's type without its package.
func storeName(store Store) string {
	name := fmt.Sprintf("%T", store)
	return strings.TrimPrefix(name[strings.LastIndexByte(name, '.')+1:], "*")
}

// loadObserved is loadTokens, observed.
func (q *request) loadObserved(call *storeContext, st *state, tokens []Token) error {
	if q.manager.config.Observe == nil {
		return q.loadTokens(call, st, tokens)
	}
	call.kept = q.manager.keptNear(call, tokens)
	call.pastCache = call.kept == nil // so that NearCache stays true, even if the cache gets the record meanwhile
	defer func() { call.kept, call.pastCache = nil, false }()
	failure := errLoadPanicked
	done := q.manager.observe(call, CallLoad, call.kept != nil)
	defer func() { done(failure) }()
	failure = q.loadTokens(call, st, tokens)
	return failure
}

// keptNear returns the records of the tokens if the near cache has all of them, and nil otherwise.
func (m *Manager) keptNear(ctx context.Context, tokens []Token) map[string]*Record {
	near, ok := m.store.(interface {
		loadKept(ctx context.Context, token Token) *Record
	})
	if !ok {
		return nil
	}
	var kept map[string]*Record
	for _, token := range tokens {
		record := near.loadKept(ctx, token)
		if record == nil {
			return nil
		}
		if kept == nil {
			kept = make(map[string]*Record, len(tokens))
		}
		kept[token.ID()] = record
	}
	return kept
}

// commitObserved is commitSteps, observed. The operation begins with the first step that asks the store.
func (q *request) commitObserved(call *storeContext) error {
	if q.manager.config.Observe == nil {
		return q.commitSteps(call, nil)
	}
	done, failure := ignoreDone, errStorePanicked
	defer func() { done(failure) }()
	begun := false
	failure = q.commitSteps(call, func() {
		if !begun {
			begun, done = true, q.manager.observe(call, CallCommit, false)
		}
	})
	return failure
}
