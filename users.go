package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Info describes a session to its user or to an administrator.
type Info struct {
	ID              string // public, for Revoke; opens nothing
	User            string
	Note            string // by Session.SetNote
	Tag             string // by Session.SetTag
	CreatedAt       time.Time
	AuthenticatedAt time.Time
	LastUsedAt      time.Time // to the precision of a touch, a twentieth of the idle timeout
	ExpiresAt       time.Time // if it is not used again
	DeviceBound     bool      // its browser has registered a key of its device (Config.BindDevice)
}

// byLogin orders sessions by the times of their logins.
func byLogin(a, b *Record) int {
	return cmp.Or(loginOf(a).Compare(loginOf(b)), cmp.Compare(a.ID, b.ID))
}

// loginOf returns the time of a session's login. If that is not known of an adopted session, the adoption counts.
func loginOf(r *Record) time.Time {
	if r.AuthenticatedAt.IsZero() {
		return r.CreatedAt
	}
	return r.AuthenticatedAt
}

// Sessions returns the live sessions of user, the latest login first. The error wraps errors.ErrUnsupported if the
// store can't list. It is a *StoreError if the store failed, which may take ten times Config.StoreTimeout, 30 seconds at
// most.
func (m *Manager) Sessions(ctx context.Context, user string) ([]Info, error) {
	store, ok := m.store.(UserStore)
	if !ok {
		return nil, fmt.Errorf("session: %T can't list sessions: %w", m.store, errors.ErrUnsupported)
	}
	if err := checkUser("Sessions", user); err != nil {
		return nil, err
	}
	call := m.storeContext(ctx, m.userTime())
	defer call.Release()
	var records []*Record
	err := m.observed(call, CallList, func() (err error) {
		records, err = store.UserSessions(call, m.config.Realm, user)
		return err
	})
	if err != nil {
		return nil, userError(OpList, err)
	}
	now := m.config.Clock()
	records = slices.DeleteFunc(slices.Clone(records), func(r *Record) bool { return r.condition(now) != live })
	slices.SortFunc(records, func(a, b *Record) int { return byLogin(b, a) })
	infos := make([]Info, len(records))
	for i, r := range records {
		infos[i] = infoOf(r, now)
	}
	return infos, nil
}

func infoOf(r *Record, now time.Time) Info {
	return Info{
		ID: r.ID, User: r.User, Note: r.Note, Tag: r.Tag,
		CreatedAt: r.CreatedAt, AuthenticatedAt: r.AuthenticatedAt, LastUsedAt: lastUse(r, now), ExpiresAt: r.endsAt(now),
		DeviceBound: r.Binding.bound(),
	}
}

// Revoke ends the session with this ID if it belongs to user. Otherwise the error wraps ErrNotFound, so that it does
// not tell whether another user has such a session.
//
// The error wraps errors.ErrUnsupported if the store can't revoke. It is a *StoreError if the store failed, which may
// take ten times Config.StoreTimeout, 30 seconds at most. A CookieStore can't know its sessions: it returns nil for any
// ID, with an event.
//
// To end the request's own session use Session.Destroy. After a Revoke, nothing can be set in it any more.
func (m *Manager) Revoke(ctx context.Context, user, id string) error {
	if err := checkUser("Revoke", user); err != nil {
		return err
	}
	_, err := m.observeRevoke(ctx, Event{ID: id, User: user, Reason: ReasonOne}, func(call context.Context, as endAs) (int, Op, error) {
		return 0, OpEnd, m.revoke(call, user, id, as)
	})
	return err
}

func (m *Manager) revoke(ctx context.Context, user, id string, as endAs) error {
	if store, ok := m.store.(UserEnder); ok {
		defer m.watches.userMayHaveEnded(user)
		return store.EndUserSession(ctx, m.config.Realm, user, id)
	}
	known, err := m.loadFollowing(ctx, user, id)
	if err != nil {
		return err
	}
	ended, err := m.endLoaded(ctx, idToken(known.ID, m.config.Realm), known, as)
	if err == nil && !ended.put {
		return ErrNotFound // it has ended meanwhile
	}
	return err
}

// loadFollowing returns the record of the user's session with this ID, or of its last successor: a live record or a
// tombstone. If a successor is not stored yet, it returns the tombstone that names it, so that the caller can end it.
func (m *Manager) loadFollowing(ctx context.Context, user, id string) (*Record, error) {
	var known *Record
	for {
		record, err := m.store.Load(ctx, idToken(id, m.config.Realm))
		switch {
		case errors.Is(err, ErrNotFound) && known != nil:
			return known, nil
		case err != nil:
			return nil, err
		case record.ID != id || record.Realm != m.config.Realm || record.User != user:
			return nil, ErrNotFound
		case record.condition(m.config.Clock()) == live, record.Ended && record.Successor == "":
			return record, nil
		case !record.Ended:
			return nil, ErrNotFound
		}
		known, id = record, record.Successor
	}
}

// RevokeUser ends all sessions of user except those with the given IDs. It returns how many live ones it ended. A
// CookieStore can't count, and returns zero. For the request's own session, Session.ID is right as an exception before and
// after a Regenerate.
//
// After it returns, no process accepts these sessions at the next load, with two exceptions: a process with a NearCache
// may do so for MaxStaleness, and a process that does not share the store of WithRevocations always does.
//
// It may take ten times Config.StoreTimeout, 30 seconds at most. The error wraps errors.ErrUnsupported if
// the store can't revoke. It is a *StoreError if the store failed, and then the number says how many were ended.
func (m *Manager) RevokeUser(ctx context.Context, user string, except ...string) (int, error) {
	if err := checkUser("RevokeUser", user); err != nil {
		return 0, err
	}
	except = m.withStored(ctx, except)
	return m.observeRevoke(ctx, Event{User: user, Reason: ReasonAll}, func(call context.Context, as endAs) (int, Op, error) {
		return m.revokeUser(call, user, except, as)
	})
}

// observeRevoke calls revoke, which ends sessions, and tells OnEvent of the event.
func (m *Manager) observeRevoke(
	ctx context.Context, event Event, revoke func(context.Context, endAs) (int, Op, error),
) (int, error) {
	reason, err := reasonOf(ctx, event.Reason)
	if err != nil {
		return 0, err
	}
	call := m.storeContext(ctx, m.userTime())
	defer call.Release()
	ended, op := 0, OpEnd
	err = m.observed(call, CallRevoke, func() (err error) {
		ended, op, err = revoke(call, endAs{revoked: true, reason: reason})
		return err
	})
	if err != nil {
		return ended, userError(op, err)
	}
	event.Kind, event.EndReason = EventRevoked, reason
	m.tell(ctx, event)
	return ended, nil
}

func (m *Manager) revokeUser(ctx context.Context, user string, except []string, as endAs) (ended int, op Op, err error) {
	switch store := m.store.(type) {
	case UserEnder:
		defer m.watches.userMayHaveEnded(user)
		return 0, OpEnd, store.EndUser(ctx, m.config.Realm, user, except)
	case UserStore:
		records, err := store.UserSessions(ctx, m.config.Realm, user)
		if err != nil {
			return 0, OpList, err
		}
		spared, err := m.withSuccessors(ctx, except)
		if err != nil {
			return 0, OpLoad, err
		}
		as.spared = spared
		records = slices.DeleteFunc(slices.Clone(records), func(r *Record) bool { return spared[r.ID] })
		ended, err = m.endAll(records, func(r *Record) (ending, error) {
			return m.endLoaded(ctx, idToken(r.ID, r.Realm), r, as)
		})
		return ended, OpEnd, err
	}
	return 0, OpEnd, fmt.Errorf("%T can't revoke the sessions of a user: %w", m.store, errors.ErrUnsupported)
}

// withSuccessors returns the IDs, and the IDs of their sessions' successors. Call it after the list was loaded: if the
// list has a successor of an excepted session, the tombstone that names it is stored by then.
func (m *Manager) withSuccessors(ctx context.Context, ids []string) (map[string]bool, error) {
	all := make(map[string]bool)
	for _, id := range ids {
		for id != "" && !all[id] {
			all[id] = true
			record, err := m.store.Load(ctx, idToken(id, m.config.Realm))
			switch {
			case errors.Is(err, ErrNotFound):
				id = ""
			case err != nil:
				return nil, err
			case record.Realm != m.config.Realm:
				id = ""
			default:
				id = record.Successor
			}
		}
	}
	return all, nil
}

// endsAtOnce is how many sessions of a user are ended at the same time.
const endsAtOnce = 32

// endAll calls endOne for the listed sessions, for several at the same time. It returns how many live ones have ended.
func (m *Manager) endAll(records []*Record, endOne func(*Record) (ending, error)) (int, error) {
	var (
		mu      sync.Mutex
		workers sync.WaitGroup
		work    = make(chan *Record, len(records))
		ended   int
		failure error
		panics  any
	)
	end := func(r *Record) {
		defer func() {
			if p := recover(); p != nil { // the store panicked: endAll panics in the caller's goroutine
				mu.Lock()
				defer mu.Unlock()
				panics = p
			}
		}()
		result, err := endOne(r)
		mu.Lock()
		defer mu.Unlock()
		failure = cmp.Or(failure, err)
		if result.put && result.replaced.condition(m.config.Clock()) == live {
			ended++
		}
	}
	now := m.config.Clock()
	for _, r := range records {
		if r.condition(now) != absent { // the successor of a tombstone that is over is on the list itself
			work <- r
		}
	}
	close(work)
	for range min(endsAtOnce, len(records)) {
		workers.Go(func() {
			for r := range work {
				end(r)
			}
		})
	}
	workers.Wait()
	if panics != nil {
		panic(panics)
	}
	return ended, failure
}

// withStored adds the stored ID of this request's session if ids has its new ID. Session.ID returns the new ID right
// after Regenerate or Login, but the store does not know it before the commit. The old session must not end before
// that, because Login may take values from it.
func (m *Manager) withStored(ctx context.Context, ids []string) []string {
	s, ok := ctx.Value(managerKey{m}).(*Session)
	if !ok {
		return ids
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	if st == nil || st.base == nil || st.view.id() == st.base.ID || !slices.Contains(ids, st.view.id()) {
		return ids
	}
	return append(slices.Clone(ids), st.base.ID)
}

// userTimeouts is how many times Config.StoreTimeout the work on all sessions of a user may take.
const userTimeouts = 10

// userTime returns how long that work may take. A session that was listed at the start may be ended last. If it was
// regenerated meanwhile, only its tombstone leads to the successor. So the work must be done before the tombstone is
// over.
func (m *Manager) userTime() time.Duration {
	return min(userTimeouts*m.config.StoreTimeout, tombstoneLife/2)
}

// userError returns the failure of a store as a *StoreError. An error that is no failure stays as it is.
func userError(op Op, err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return &StoreError{Op: op, Err: err}
}

func (m *Manager) tell(ctx context.Context, event Event) {
	if m.config.OnEvent != nil {
		event.Time = m.config.Clock()
		m.config.OnEvent(ctx, event)
	}
}

// evictMost is how many sessions of a user one login ends.
const evictMost = 100

// enforceMaxPerUser ends the oldest sessions of the user who has just logged in, as many as are over the maximum. If
// that fails, the login stays valid, an event tells, and the next login ends more.
func (q *request) enforceMaxPerUser(ctx context.Context, latest *Record) {
	m := q.manager
	store, ok := m.store.(UserStore)
	if !ok || m.config.MaxPerUser == 0 || m.config.OverLimit == Refuse {
		return
	}
	records, err := store.UserSessions(ctx, latest.Realm, latest.User)
	if err != nil {
		_ = q.storeError(OpList, latest, err)
		return
	}
	now := m.config.Clock()
	records = slices.DeleteFunc(slices.Clone(records), func(r *Record) bool { return r.condition(now) != live })
	slices.SortFunc(records, byLogin) // the same order in every process, so that parallel logins end the same sessions
	over := len(records) - m.config.MaxPerUser
	for _, r := range records[:min(max(over, 0), evictMost)] {
		result, err := m.endSession(ctx, idToken(r.ID, r.Realm), r, endAs{revoked: true, reason: ReasonOverLimit})
		if err != nil {
			_ = q.storeError(OpEnd, r, err)
			return
		}
		if result.replaced.condition(now) == live {
			q.noteEvent(EventEvicted, &Record{ID: r.ID, User: r.User, Ended: true, Note: string(ReasonOverLimit)}, "", nil)
		}
	}
}
