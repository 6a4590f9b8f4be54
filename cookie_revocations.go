package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// This file has the list of ended sessions. It is kept in the store that WithRevocations was given:
//
//   - For each session that has ended, the list has a tombstone. It lasts as long as any cookie of the session. It is
//     put only if there is none yet, so the list tells which request was first.
//   - For each user whose sessions were ended from outside, the list has one record, a userEnds. It is changed by
//     compare-and-swap.
//
// The IDs of these records are hashes, so that no session in the same store has the same ID. The records have no User,
// so that no list of a user's sessions shows them.

var (
	errNoRevocations = fmt.Errorf("session: a CookieStore without WithRevocations can't tell what has ended: %w",
		errors.ErrUnsupported)
	errOnlyInCookie = fmt.Errorf("session: a CookieStore can't tell by an ID whether there is such a session: %w",
		errors.ErrUnsupported)
)

// errTooManyEnds is the error if the list has no room for another end. The list never forgets an end to make room.
var errTooManyEnds = fmt.Errorf("session: at most %d sessions of a user can be ended one by one, and at most as many "+
	"can be excepted; RevokeUser without exceptions ends them all", maxUserEnds)

const maxUserEnds = 1000 // sessions of a user that are revoked one by one; also the limit for excepted sessions

// EndUser implements UserEnder. A session in except that gets a new ID meanwhile stays too.
func (c *CookieStore) EndUser(ctx context.Context, realm, user string, except []string) error {
	if c.ended == nil {
		return errors.Join(c.fault, errNoRevocations)
	}
	ctx = context.WithValue(ctx, pastCacheKey{}, true)
	var named []exception
	for _, id := range slices.Compact(slices.Sorted(slices.Values(except))) {
		if isID(id) {
			named = append(named, exception{id: id})
		}
	}
	excepted, err := c.withSuccessors(ctx, realm, named)
	if err != nil {
		return err
	}
	err = c.changeUserEnds(ctx, realm, user, func(u *userEnds, now time.Time) error {
		u.endUpTo(now.Add(clockSkew), excepted, now)
		return nil
	})
	if err != nil {
		return err
	}
	// A Regenerate under way may have put its tombstone by now: then its successor is found here. If not, it will find
	// the cut-off.
	again, err := c.withSuccessors(ctx, realm, excepted)
	if err != nil || len(again) == len(excepted) {
		return err
	}
	return c.changeUserEnds(ctx, realm, user, func(u *userEnds, _ time.Time) error {
		u.exceptSuccessors(again)
		return nil
	})
}

// EndUserSession implements UserEnder. If the session has got a new ID, it ends that too.
func (c *CookieStore) EndUserSession(ctx context.Context, realm, user, id string) error {
	if c.ended == nil {
		return errors.Join(c.fault, errNoRevocations)
	}
	if !isID(id) {
		return ErrNotFound
	}
	ctx = context.WithValue(ctx, pastCacheKey{}, true)
	ended, err := c.loadListed(ctx, endedID(realm, id))
	if err == nil && ended == nil {
		// Nobody knows whether this user has such a session, or whether there is one at all. So it gets no tombstone.
		err = c.changeUserEnds(ctx, realm, user, func(u *userEnds, now time.Time) error { return u.revoke(id, now) })
		if err == nil {
			ended, err = c.loadListed(ctx, endedID(realm, id)) // finds a Regenerate under way, as in EndUser
		}
	}
	if err == nil && ended != nil && userOf(ended) != user {
		return ErrNotFound
	}
	for err == nil && ended != nil && ended.Successor != "" {
		ended, err = c.revokeSuccessor(ctx, realm, user, ended.Successor)
	}
	return err
}

// revokeSuccessor puts a tombstone for the successor of a session. If there is a tombstone already, it returns that
// one.
func (c *CookieStore) revokeSuccessor(ctx context.Context, realm, user, id string) (*Record, error) {
	now := Now(ctx).Truncate(time.Microsecond)
	tombstone := revokedTombstone(&Record{ID: id, Realm: realm, User: user}, now)
	tombstone.Revision = rand.Text()
	return c.putListed(ctx, nil, listedTombstone(tombstone, now.Add(maxLifetime)))
}

// isID reports whether a session can have this ID.
func isID(id string) bool {
	raw, err := base64url.DecodeString(id)
	return err == nil && len(raw) == idSize && len(id) == base64url.EncodedLen(idSize)
}

// exception is a session that EndUser leaves alone.
type exception struct {
	id string
	of string // the session whose successor it is; empty if the caller named this ID
}

// withSuccessors returns named, and the successors of those sessions.
func (c *CookieStore) withSuccessors(ctx context.Context, realm string, named []exception) ([]exception, error) {
	all := slices.Clone(named)
	for i := 0; i < len(all); i++ {
		if len(all) > maxUserEnds {
			return nil, errTooManyEnds
		}
		ended, err := c.loadListed(ctx, endedID(realm, all[i].id))
		if err != nil {
			return nil, err
		}
		isNext := func(e exception) bool { return ended != nil && e.id == ended.Successor }
		if ended != nil && ended.Successor != "" && !slices.ContainsFunc(all, isNext) {
			all = append(all, exception{ended.Successor, all[i].id})
		}
	}
	return all, nil
}

// changeUserEnds applies change to the user's record in the list. It tries again until no other request was faster.
func (c *CookieStore) changeUserEnds(
	ctx context.Context, realm, user string, change func(*userEnds, time.Time) error,
) error {
	id := userEndsID(realm, user)
	for {
		old, err := c.loadListed(ctx, id)
		if err != nil {
			return err
		}
		ends, err := readUserEnds(old)
		if err != nil {
			return err
		}
		now := Now(ctx).Truncate(time.Microsecond)
		if err := change(ends, now); err != nil {
			return err
		}
		_, err = c.ended.Swap(ctx, NewToken(id, ""), Swap{old, ends.record(id, realm, user, now)})
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			return listError(err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// loadTombstone is Load for a token that has only an ID.
func (c *CookieStore) loadTombstone(ctx context.Context, token Token) (*Record, error) {
	if c.ended == nil {
		return nil, errNoRevocations
	}
	listed, err := c.loadListed(ctx, endedID(token.Realm(), token.ID()))
	if err != nil {
		return nil, err
	}
	if listed == nil {
		return nil, errOnlyInCookie
	}
	return sessionTombstone(&Record{ID: token.ID(), Realm: token.Realm()}, listed), nil
}

// checkSwaps asks the list about the sessions that swaps replace, end and begin. The error is a *ConflictError if one of
// them has ended, or begins too early.
func (c *CookieStore) checkSwaps(ctx context.Context, swaps []Swap) (endings, error) {
	sessions := make([]*Record, 0, 2*len(swaps))
	for _, s := range swaps {
		if s.Old != nil {
			sessions = append(sessions, s.Old)
		}
		sessions = append(sessions, s.New)
	}
	known, err := c.loadEndings(ctx, sessions...)
	if err != nil {
		return nil, err
	}
	for _, s := range swaps {
		conflict, err := known.conflict(s)
		if err != nil {
			return nil, err
		}
		if conflict != nil {
			return nil, c.revokeOwn(ctx, known, s, conflict)
		}
	}
	return known, nil
}

// revokeOwn returns the conflict. Before that, it changes the tombstone of s if that is in the list already and the
// session was ended from outside: the tombstone becomes a revoked one without a successor, because the new session will
// not begin.
func (c *CookieStore) revokeOwn(ctx context.Context, known endings, s Swap, conflict *ConflictError) error {
	own := known.tombstone(s.New)
	if conflict.Current == nil || own == nil || !isSameEnd(own, s.New) {
		return conflict
	}
	revoked := *own
	revoked.Revision, revoked.Revoked, revoked.Successor = rand.Text(), true, ""
	revoked.IssuedAt = conflict.Current.IssuedAt
	was, err := c.putListed(ctx, own, &revoked)
	if err != nil {
		return err
	}
	if was == nil {
		was = &revoked
	}
	return &ConflictError{ID: s.New.ID, Current: sessionTombstone(s.New, was)}
}

// putTombstones puts the tombstones of swaps into the list, in their order.
func (c *CookieStore) putTombstones(ctx context.Context, token Token, swaps []Swap, known endings) error {
	for _, s := range swaps {
		there := known.tombstone(s.New)
		switch {
		case !s.New.Ended:
			continue
		case there != nil && isSameEnd(there, s.New):
			// It is written again, unchanged: at the first try the list may have failed because no replica had it.
			if _, err := c.putListed(ctx, there, there); err != nil {
				return err
			}
			continue
		}
		until := c.sealedUntil(token, s, Now(ctx)).Add(clockSkew) // a slow clock may accept the cookie for longer
		if there != nil && there.Deadline.After(until) {
			until = there.Deadline
		}
		was, err := c.putListed(ctx, there, listedTombstone(s.New, until))
		if err != nil {
			return err
		}
		if was != nil && !isSameEnd(was, s.New) {
			return &ConflictError{ID: s.New.ID, Current: sessionTombstone(s.New, was)}
		}
	}
	return nil
}

// putListed puts a tombstone into the list, in place of old, or if old is nil, only if there is none. If another
// request was faster, it returns the tombstone of that request.
func (c *CookieStore) putListed(ctx context.Context, old, tombstone *Record) (instead *Record, err error) {
	_, err = c.ended.Swap(ctx, NewToken(tombstone.ID, ""), Swap{old, tombstone})
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		return nil, listError(err)
	}
	instead, err = c.loadListed(ctx, tombstone.ID)
	if err == nil && instead == nil {
		err = listError(conflict)
	}
	return instead, err
}

// listedTombstone returns a session's tombstone as the list keeps it: until no cookie of the session is valid any more.
func listedTombstone(t *Record, until time.Time) *Record {
	if t.Deadline.After(until) {
		until = t.Deadline // a tombstone lasts at least its minute
	}
	values := map[string]any{"realm": t.Realm, "user": t.User}
	if isClaim(t) { // a claim has no cookie, and a deadline of its own
		values[claimKey], until = t.Values.Get(claimKey), t.Deadline
	}
	return &Record{
		ID: endedID(t.Realm, t.ID), Revision: t.Revision,
		Ended: true, Revoked: t.Revoked, Successor: t.Successor, Note: t.Note,
		CreatedAt: t.IssuedAt, IssuedAt: t.IssuedAt, LastUsedAt: t.IssuedAt, Deadline: until,
		Values: listedValues(values),
	}
}

// sessionTombstone returns the tombstone of session r, as Load returns it, from the one in the list.
func sessionTombstone(r, listed *Record) *Record {
	t := &Record{
		ID: r.ID, Realm: r.Realm, User: userOf(listed), Revision: listed.Revision,
		Ended: true, Revoked: listed.Revoked, Successor: listed.Successor, Note: listed.Note,
		CreatedAt: listed.IssuedAt, IssuedAt: listed.IssuedAt, LastUsedAt: listed.IssuedAt,
		Deadline: listed.IssuedAt.Add(tombstoneLife),
	}
	if isClaim(listed) {
		t.Deadline = listed.Deadline
		t.Values = NewValues(map[string]json.RawMessage{claimKey: listed.Values.Get(claimKey)})
	}
	return t
}

// revokedTombstone returns a tombstone of session r, which was ended from outside and has no tombstone in the list.
func revokedTombstone(r *Record, at time.Time) *Record {
	return &Record{
		ID: r.ID, Realm: r.Realm, User: r.User, Ended: true, Revoked: true,
		CreatedAt: at, IssuedAt: at, LastUsedAt: at, Deadline: at.Add(tombstoneLife),
	}
}

// isSameEnd reports whether the request that puts t has put the list's tombstone, and now sends it again. A successor's
// ID tells this as well as a revision, because it is as random. It does not for a claim, which keeps the ID when it is
// closed.
func isSameEnd(listed, t *Record) bool {
	sameSuccessor := listed.Successor != "" && listed.Successor == t.Successor && !isClaim(t)
	return t.Ended && (listed.Revision == t.Revision || sameSuccessor)
}

// userOf returns the user of the session whose tombstone is in the list.
func userOf(listed *Record) (user string) {
	_ = json.Unmarshal(listed.Values.Get("user"), &user) // empty if there is none
	return user
}

// endings are records of the list as they were at one moment, by their IDs. A record is nil if the list had none.
type endings map[string]*Record

// loadEndings loads all records of the list that are about these sessions or their users, at the same time.
func (c *CookieStore) loadEndings(ctx context.Context, sessions ...*Record) (endings, error) {
	var ids []string
	add := func(id string) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, r := range sessions {
		add(endedID(r.Realm, r.ID))
		if r.User != "" {
			add(userEndsID(r.Realm, r.User))
		}
	}
	return c.loadAtOnce(ctx, ids)
}

func (e endings) tombstone(r *Record) *Record { return e[endedID(r.Realm, r.ID)] }

func (e endings) ofUser(r *Record) (*userEnds, error) {
	if r.User == "" {
		return &userEnds{}, nil
	}
	return readUserEnds(e[userEndsID(r.Realm, r.User)])
}

// endOf returns the tombstone of r, or nil if it has not ended.
func (e endings) endOf(r *Record) (*Record, error) {
	if listed := e.tombstone(r); listed != nil {
		return sessionTombstone(r, listed), nil
	}
	user, err := e.ofUser(r)
	if err != nil {
		return nil, err
	}
	return user.endOf(r), nil
}

// conflict returns the conflict that s meets, or nil if there is none. If a new session was issued too early, the
// conflict says from when it may begin.
func (e endings) conflict(s Swap) (*ConflictError, error) {
	if listed := e.tombstone(s.New); listed != nil && !mayReplace(listed, s) {
		return &ConflictError{ID: s.New.ID, Current: sessionTombstone(s.New, listed)}, nil
	}
	switch {
	case s.New.Ended && (s.Old == nil || s.Old.Ended):
		return nil, nil
	case s.Old != nil && s.Old.Ended:
		return &ConflictError{ID: s.New.ID, Current: s.Old}, nil
	}
	r := cmp.Or(s.Old, s.New)
	user, err := e.ofUser(r)
	if err != nil {
		return nil, err
	}
	if _, revoked := user.Revoked[r.ID]; s.Old == nil && !revoked && user.isCutOff(r) {
		return &ConflictError{ID: r.ID, NotBefore: user.cutOffOf(r.ID).time()}, nil
	}
	if ended := user.endOf(r); ended != nil {
		return &ConflictError{ID: r.ID, Current: ended}, nil
	}
	return nil, nil
}

// mayReplace reports whether s may replace the list's tombstone: s has put it before, or names it as its Old.
func mayReplace(listed *Record, s Swap) bool {
	return s.Old != nil && s.Old.Ended && s.Old.Revision == listed.Revision || isSameEnd(listed, s.New)
}

// loadAtOnce loads records of the list at the same time. If the store panics, it panics too.
func (c *CookieStore) loadAtOnce(ctx context.Context, ids []string) (endings, error) {
	records, errs, panics := make([]*Record, len(ids)), make([]error, len(ids)), make([]any, len(ids))
	var wg sync.WaitGroup
	for i := 1; i < len(ids); i++ {
		errs[i] = errNoAnswer // unless the store returns
		wg.Go(func() {
			defer func() { panics[i] = recover() }()
			records[i], errs[i] = c.loadListed(ctx, ids[i])
		})
	}
	records[0], errs[0] = c.loadListed(ctx, ids[0])
	wg.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	known := make(endings, len(ids))
	for i, id := range ids {
		known[id] = records[i]
	}
	return known, errors.Join(errs...)
}

var errNoAnswer = errors.New("session: the store of ended sessions did not answer")

// loadListed returns a record of the list, or nil if there is none. Unlike elsewhere, a record that can't be read is an
// error: it may say that a session has ended.
func (c *CookieStore) loadListed(ctx context.Context, id string) (*Record, error) {
	r, err := c.ended.Load(ctx, NewToken(id, ""))
	if errors.Is(err, ErrNotFound) && !errors.Is(err, errUnreadable) {
		return nil, nil
	}
	if err != nil {
		return nil, listError(err)
	}
	return r, nil
}

// listError says that the list failed. It wraps the store's error, except if callers would take that for an error about
// the session.
func listError(err error) error {
	var conflict *ConflictError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound), errors.As(err, &conflict):
		return fmt.Errorf("session: the list of ended sessions: %v", err) //nolint:errorlint // hidden from errors.Is
	}
	return fmt.Errorf("session: the list of ended sessions: %w", err)
}

// endedID returns the list's ID for the tombstone of a session.
func endedID(realm, id string) string { return listedID("ended", realm, id) }

// userEndsID returns the list's ID for the record of a user.
func userEndsID(realm, user string) string { return listedID("user", realm, user) }

// listedID returns the ID of a record of the list: a hash of its kind, realm and name. The realm's length is hashed
// too, so that no other pair of realm and name has the same hash.
func listedID(kind, realm, name string) string {
	var buf [192]byte
	b := append(buf[:0], "doorman session ended\x00"...)
	b = append(b, kind...)
	b = append(b, 0)
	b = strconv.AppendInt(b, int64(len(realm)), 10)
	b = append(b, ':')
	b = append(b, realm...)
	b = append(b, name...)
	sum := sha256.Sum256(b)
	return base64url.EncodeToString(sum[:idSize])
}
