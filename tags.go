package session

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	maxTag    = 256  // bytes
	maxTagged = 1000 // sessions of one tag; each adds some 80 bytes to the record that the next login reads and writes
)

// SetTag gives the session a tag, by which Manager.RevokeTag finds it: for example the sid of an identity provider, for
// its back-channel logout. A session has one tag. Another one replaces it, and "" removes it. Call SetTag after Login,
// because Login drops the tag of an earlier request. Regenerate, Reauthenticate and RenameUser keep it.
//
// The commit fails if the tag is longer than 256 bytes or not valid UTF-8, if nobody is signed in, or if 1,000 sessions
// have the tag already. With a CookieStore without WithRevocations it fails with an error that wraps
// errors.ErrUnsupported. Such a commit makes two more calls of the store.
func (s *Session) SetTag(tag string) {
	s.setText("SetTag", "tag", tag, maxTag, settings{tag: &tag})
}

// Tag returns the tag that SetTag set, or "".
func (s *Session) Tag() string { return s.view().Tag }

// tagStore returns the store that keeps the records of tags: the store of the sessions, or if these are in cookies, the
// store of WithRevocations.
func (m *Manager) tagStore() (Store, error) {
	inCookie, ok := m.store.(interface{ Revocations() Store })
	if !ok {
		return m.store, nil
	}
	if list := inCookie.Revocations(); list != nil {
		return list, nil
	}
	return nil, errNoRevocations
}

// indexTag enters the ID of the step's record in the record of its tag. It does so before that is stored, so that
// RevokeTag never misses a session. An ID of a session that was never stored does no harm.
func (q *request) indexTag(call *storeContext, s *step) error {
	old, next := s.base, s.next
	switch {
	case next.Tag == "",
		old != nil && old.ID == next.ID && old.Tag == next.Tag && !next.Deadline.After(old.Deadline),
		q.commits.tagged == next.ID+next.Tag+next.Deadline.String():
		return nil
	case next.User == "":
		return fmt.Errorf("%w: SetTag needs a session that is signed in", errTag)
	}
	store, err := q.manager.tagStore()
	if err != nil {
		return err
	}
	err = q.manager.changeEntries(call, store, listedID("tag", next.Realm, next.Tag), func(set entries, _ time.Time) (bool, error) {
		until := micros(next.Deadline.Add(tombstoneLife).UnixMicro())
		known, found := set[next.ID]
		if found && known.User == next.User && known.Until >= until {
			return false, nil
		}
		if !found && len(set) >= maxTagged {
			return false, fmt.Errorf("%w: it has %d sessions already", errTag, maxTagged)
		}
		set[next.ID] = entry{User: next.User, Until: max(until, known.Until)}
		return true, nil
	})
	if err == nil {
		q.commits.tagged = next.ID + next.Tag + next.Deadline.String()
	}
	return err
}

// errTag is wrapped by the error of a tag that the session can't have. Such an error is the application's fault, not a
// failure of the store.
var errTag = errors.New("session: the tag can't be set")

// RevokeTag ends the sessions that have this tag, of any user, and returns how many live ones it ended. It is no error
// if there is none. A CookieStore can't count, and returns zero. After it returns, no process accepts these sessions,
// with the exceptions of RevokeUser.
//
// It may take ten times Config.StoreTimeout, 30 seconds at most. The error wraps errors.ErrUnsupported for
// a CookieStore without WithRevocations. It is a *StoreError if the store failed, and then the number says how many were
// ended.
func (m *Manager) RevokeTag(ctx context.Context, tag string) (int, error) {
	err := checkTexts("tag", tag)
	if err == nil && tag == "" {
		err = errors.New("session: RevokeTag needs a tag, and got an empty string")
	}
	if err != nil {
		return 0, err
	}
	return m.observeRevoke(ctx, Event{Reason: ReasonTag}, func(call context.Context, as endAs) (int, Op, error) {
		return m.revokeTag(call, tag, as)
	})
}

func (m *Manager) revokeTag(ctx context.Context, tag string, as endAs) (ended int, op Op, err error) {
	ctx = context.WithValue(ctx, pastCacheKey{}, true)
	store, err := m.tagStore()
	if err != nil {
		return 0, OpList, err
	}
	_, set, err := m.loadEntries(ctx, store, listedID("tag", m.config.Realm, tag))
	if err != nil {
		return 0, OpList, err
	}
	tagged := make([]*Record, 0, len(set))
	for id, e := range set {
		tagged = append(tagged, &Record{ID: id, Realm: m.config.Realm, User: e.User})
	}
	ended, err = m.endAll(tagged, func(r *Record) (ending, error) { return m.endTagged(ctx, r, tag, as) })
	return ended, OpEnd, err
}

// endTagged ends a session from the record of the tag, unless the session has another tag now. If it is not stored, it
// gets a tombstone too, because a login may be about to store it.
func (m *Manager) endTagged(ctx context.Context, r *Record, tag string, as endAs) (ending, error) {
	if store, ok := m.store.(UserEnder); ok {
		defer m.watches.userMayHaveEnded(r.User)
		err := store.EndUserSession(ctx, r.Realm, r.User, r.ID)
		if errors.Is(err, ErrNotFound) { // it has ended before, and may have had another user
			err = nil
		}
		return ending{}, err
	}
	token := idToken(r.ID, r.Realm)
	stored, err := m.store.Load(ctx, token)
	switch {
	case errors.Is(err, ErrNotFound):
		return m.endSession(ctx, token, r, as)
	case err != nil:
		return ending{}, err
	case !stored.Ended && stored.Tag != tag:
		return ending{}, nil
	}
	return m.endLoaded(ctx, token, stored, as)
}
