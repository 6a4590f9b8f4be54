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

// observe begins an operation, and returns what ends it. Nothing is allocated where nobody observes.
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

// observed is an operation that is observed. It ends with an error also where the store panics.
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

// loadObserved is loadBest, and notes the use.
func (q *request) loadObserved(call *storeContext, st *state, tokens []Token) error {
	if q.manager.config.Observe == nil {
		return q.loadAndUse(call, st, tokens)
	}
	call.kept = q.manager.keptNear(call, tokens)
	call.pastCache = call.kept == nil // what is told is then true, whatever comes into the cache meanwhile
	defer func() { call.kept, call.pastCache = nil, false }()
	failure := errLoadPanicked
	done := q.manager.observe(call, CallLoad, call.kept != nil)
	defer func() { done(failure) }()
	failure = q.loadAndUse(call, st, tokens)
	return failure
}

func (q *request) loadAndUse(call *storeContext, st *state, tokens []Token) error {
	if err := q.loadBest(call, st, tokens); err != nil {
		return err
	}
	if err := q.checkDevice(st); err != nil {
		return err
	}
	q.closeClaim(call, st)
	q.noteUseAtOnce(call, st)
	return nil
}

// reloadObserved is reload for what asks whether the session stands; else it is part of a commit.
func (q *request) reloadObserved(call *storeContext, s *step) (standing bool, err error) {
	err = q.manager.observed(call, CallLoad, func() (err error) {
		standing, err = q.reload(call, s)
		return err
	})
	return standing, err
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

// commitObserved makes the steps of a commit. It begins to be observed with the first that asks the store.
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
