package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// An AllStore is a Store that can go through all its sessions. It is optional, and found by type assertion.
type AllStore interface {
	Store

	// All returns all that is stored in the realm, in any order, including tombstones and expired records. It may leave
	// out values and flashes, and a store with End may leave out the latest revisions. It must not leave out a session
	// that is stored during the whole call. A session may come twice, and a record may be a little old when it comes.
	// After an error nothing more comes. All does not block other calls.
	All(ctx context.Context, realm string) iter.Seq2[*Record, error]
}

// Each returns all live sessions of the realm, including those of visitors, in any order. A session that changes
// meanwhile may come twice, and one that begins meanwhile may be missing. If there is an error, it comes last. It wraps
// errors.ErrUnsupported if the store can't go through its sessions, and is a *StoreError if the store failed. Each may
// run until ctx ends: a million sessions are about a thousand calls of Redis.
func (m *Manager) Each(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		call := m.storeContext(ctx, maxLifetime) // as long as ctx allows
		defer call.Release()
		failure := error(nil)
		done := m.observe(call, CallList, false)
		defer func() { done(failure) }()
		for record, err := range m.all(call) {
			if failure = err; err != nil {
				yield(Info{}, err)
				return
			}
			now := m.config.Clock()
			if record.condition(now) == live && !yield(infoOf(record, now), nil) {
				return
			}
		}
	}
}

// all returns the records of the realm. Its errors are those that Each and RevokeAll promise.
func (m *Manager) all(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		store, ok := m.store.(AllStore)
		if !ok {
			yield(nil, fmt.Errorf("session: %T can't go through its sessions: %w", m.store, errors.ErrUnsupported))
			return
		}
		for record, err := range store.All(ctx, m.config.Realm) {
			switch {
			case err != nil:
				yield(nil, userError(OpList, err))
				return
			case record.Realm != m.config.Realm: // a store's mistake must not reach another realm
			case !yield(record, nil):
				return
			}
		}
	}
}

const (
	revokeAtOnce = 1000              // sessions of RevokeAll that are ended before more are listed
	longPass     = tombstoneLife / 2 // a longer pass may miss a session with a new ID, and its old tombstone may be over
)

// RevokeAll ends all sessions of the realm, including those of visitors, and returns how many live ones it ended. After
// it returns, no process accepts a session that began before the call, with the exceptions of RevokeUser. It may run
// until ctx ends.
//
// The error wraps errors.ErrUnsupported if the store can't go through its sessions. To end all sessions of a
// CookieStore, use another secret or another Config.Realm. The error is a *StoreError if the store failed, and then the
// number says how many were ended.
func (m *Manager) RevokeAll(ctx context.Context) (int, error) {
	reason, err := reasonOf(ctx, ReasonEveryone)
	if err != nil {
		return 0, err
	}
	call := m.storeContext(ctx, maxLifetime) // as long as ctx allows
	defer call.Release()
	ended := 0
	err = m.observed(call, CallRevoke, func() (err error) {
		ended, err = m.revokeAll(call, endAs{revoked: true, reason: reason})
		return err
	})
	if err != nil {
		return ended, err
	}
	m.tell(ctx, Event{Kind: EventRevoked, Reason: ReasonEveryone, EndReason: reason})
	return ended, nil
}

// revokeAll goes through all sessions, and if that took long, goes through them again. The reason is that a session can
// get a new ID meanwhile, which the pass may miss, and the tombstone that names the new ID lasts only a minute. It
// stops when a pass ended no session. The later passes leave sessions alone that began after the call, or else it might
// never stop.
func (m *Manager) revokeAll(ctx context.Context, as endAs) (ended int, err error) {
	begun := m.config.Clock()
	for pass := 1; ; pass++ {
		since := time.Now()
		n, err := m.revokePass(ctx, as, func(r *Record) bool { return pass == 1 || !r.CreatedAt.After(begun.Add(clockSkew)) })
		ended += n
		if err != nil || pass > 1 && n == 0 || time.Since(since) < longPass {
			return ended, err
		}
	}
}

// revokePass ends all stored sessions for which meant returns true, and their successors.
func (m *Manager) revokePass(ctx context.Context, as endAs, meant func(*Record) bool) (ended int, err error) {
	var some []*Record
	end := func() error {
		call := m.storeContext(ctx, m.userTime())
		defer call.Release()
		n, err := m.endAll(some, func(r *Record) (ending, error) {
			return m.endLoaded(call, idToken(r.ID, r.Realm), r, as)
		})
		ended, some = ended+n, some[:0]
		if err != nil {
			return userError(OpEnd, err)
		}
		return ctx.Err()
	}
	for record, err := range m.all(ctx) {
		if err != nil {
			return ended, err
		}
		if record.condition(m.config.Clock()) == absent || !record.Ended && !meant(record) {
			continue
		}
		if some = append(some, record); len(some) < revokeAtOnce {
			continue
		}
		if err := end(); err != nil {
			return ended, err
		}
	}
	return ended, end()
}
