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

	// All returns all that is kept in the realm, tombstones and expired records included, in any order. Values, flashes and,
	// from a store with End, the latest revisions may be left out. No session that is stored from before the call until its end
	// may be left out; one may come twice. After an error there is nothing more. What a record shows may be a little old by
	// the time it comes. It holds nobody up.
	All(ctx context.Context, realm string) iter.Seq2[*Record, error]
}

// Each returns all live sessions of the realm, those of visitors included, in no particular order. One that changes
// meanwhile may come twice, and one that begins meanwhile may be missing. An error is the last that comes: it wraps
// errors.ErrUnsupported if the store can't go through its sessions, and is a *StoreError if it failed. It takes as long as ctx
// allows: a million sessions are some thousand calls of Redis.
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

// all returns the records of the realm, with errors as the Manager tells them.
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
	longPass     = tombstoneLife / 2 // after it, what a session went on as may have been passed over, and its tombstone forgotten
)

// RevokeAll ends all sessions of the realm, visitors' included, and returns how many live ones it ended. After it returns, no
// process accepts one that began before the call, as with RevokeUser. It takes as long as ctx allows. The error wraps
// errors.ErrUnsupported if the store can't go through its sessions: those of a CookieStore end by another secret or another
// Config.Realm. It is a *StoreError if the store failed; the number is then what was ended.
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

// revokeAll goes through the sessions, and again where that took long: a session that is regenerated meanwhile moves, and its
// tombstone, which tells where to, stands for a minute. It stops when there was none left. What began after the call is left
// alone then, so that it ends.
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

// revokePass ends the sessions that are there and meant.
func (m *Manager) revokePass(ctx context.Context, as endAs, meant func(*Record) bool) (ended int, err error) {
	var some []*Record
	end := func() error {
		call := m.storeContext(ctx, userTimeouts*m.config.StoreTimeout)
		defer call.Release()
		n, err := m.endAll(some, func(r *Record) (ending, error) {
			return m.endLoaded(call, NewToken(r.ID, "").WithRealm(r.Realm), r, as)
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
