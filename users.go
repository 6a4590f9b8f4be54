package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Info describes a session to its user or to an administrator.
type Info struct {
	ID              string // public handle, for Revoke; opens nothing
	User            string
	Note            string // by Session.SetNote
	CreatedAt       time.Time
	AuthenticatedAt time.Time
	LastUsedAt      time.Time // to the precision of a touch, a twentieth of the idle timeout
	ExpiresAt       time.Time // if it is not used again
}

// Sessions returns the live sessions of user, the latest login first. The error wraps errors.ErrUnsupported if the store
// can't list, and is a *StoreError if it did not answer, which may take ten times Config.StoreTimeout.
func (m *Manager) Sessions(ctx context.Context, user string) ([]Info, error) {
	store, ok := m.store.(UserStore)
	if !ok {
		return nil, fmt.Errorf("session: %T can't list sessions: %w", m.store, errors.ErrUnsupported)
	}
	var infos []Info
	err := m.forUser(ctx, user, "list", func(ctx context.Context) error {
		records, err := store.UserSessions(ctx, user)
		slices.SortFunc(records, func(a, b *Record) int { return byLogin(b, a) })
		for _, r := range records {
			infos = append(infos, Info{r.ID, r.User, r.Note, r.Created, r.Authenticated, r.Used, r.Expires()})
		}
		return err
	})
	return infos, err
}

// Revoke ends the session with this handle if it is user's. Otherwise the error wraps ErrNotFound, whether there is
// such a session or not. It wraps errors.ErrUnsupported if the store can't revoke; a CookieStore can't know its
// sessions, and returns nil for any handle. It is a *StoreError if the store failed, which may take ten times
// Config.StoreTimeout. To end the request's own session use Session.Destroy: revoked, it is one that has ended, in
// which nothing can be set any more.
func (m *Manager) Revoke(ctx context.Context, user, id string) error {
	store, ok := m.store.(Revoker)
	if !ok {
		return m.cannotRevoke()
	}
	err := m.forUser(ctx, user, "revoke", func(ctx context.Context) error { return store.EndUserSession(ctx, user, id) })
	if err == nil {
		m.revoked(ctx, id, user, "one")
	}
	return err
}

// RevokeUser ends all sessions of user but those whose handles are given, as they are now, and returns how many; a
// CookieStore can't count and returns zero, and after a lost reply the number may be too low. After it returns, no
// process accepts them at their next load: but for one with a NearCache, for its MaxStaleness at most, and one that
// does not share the RevocationList. Excepting the handle of a session that this request is about to regenerate keeps
// that session. It may take ten times Config.StoreTimeout. The error wraps errors.ErrUnsupported if the store can't
// revoke, and is a *StoreError if it failed; the number is then what was ended.
func (m *Manager) RevokeUser(ctx context.Context, user string, except ...string) (int, error) {
	store, ok := m.store.(Revoker)
	if !ok {
		return 0, m.cannotRevoke()
	}
	except = m.withStored(ctx, except)
	var ended int
	err := m.forUser(ctx, user, "revoke", func(ctx context.Context) (err error) {
		ended, err = store.EndUserSessions(ctx, user, except)
		return err
	})
	if err == nil {
		m.revoked(ctx, "", user, "all")
	}
	return ended, err
}

// withStored adds the stored handle of this request's session where its new one is named: Session.ID returns the new one
// as soon as Regenerate or Login is called, and the store does not know that yet. Login's values may come from there.
func (m *Manager) withStored(ctx context.Context, ids []string) []string {
	s, ok := ctx.Value(managerKey{m}).(*Session)
	if !ok {
		return ids
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	if st == nil || st.base == nil || st.id() == st.base.ID || !slices.Contains(ids, st.id()) {
		return ids
	}
	return append(slices.Clone(ids), st.base.ID)
}

// userTimeouts is how many times Config.StoreTimeout the work on all sessions of a user may take.
const userTimeouts = 10

// forUser calls the store for a user, and returns its failure as a *StoreError.
func (m *Manager) forUser(ctx context.Context, user, op string, f func(context.Context) error) error {
	if user == "" {
		return errors.New("session: " + op + " needs a user, and got an empty string")
	}
	call := m.storeContext(ctx, userTimeouts*m.config.StoreTimeout)
	defer call.release()
	err := f(call)
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return &StoreError{Op: op, Err: err}
}

func (m *Manager) cannotRevoke() error {
	return fmt.Errorf("session: %T can't revoke: %w", m.store, errors.ErrUnsupported)
}

func (m *Manager) revoked(ctx context.Context, id, user, reason string) {
	if m.config.OnEvent != nil {
		m.config.OnEvent(ctx, Event{Kind: EventRevoked, ID: id, User: user, Reason: reason, Time: m.config.Clock()})
	}
}
