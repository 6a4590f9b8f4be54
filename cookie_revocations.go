package session

import (
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

// What has ended is kept in the store that WithRevocations was given, the list:
//
//   - For each session that was ended a tombstone, which lasts as long as any of its cookies. It is put only where there is
//     none, so the list tells who was first.
//   - For each user of whom sessions were ended from outside one record, a userEnds, changed by compare-and-swap.
//
// Their IDs are hashes, so that none is that of a session of the same store, and they have no User, so that no list of a
// user's sessions holds them.

var (
	errNoRevocations = fmt.Errorf("session: a CookieStore without WithRevocations can't tell what has ended: %w",
		errors.ErrUnsupported)
	errOnlyInCookie = fmt.Errorf("session: a CookieStore can't tell by an ID whether there is such a session: %w",
		errors.ErrUnsupported)
)

// errTooManyEnds is returned rather than forget what has ended.
var errTooManyEnds = fmt.Errorf("session: no more than %d sessions of a user can be ended one by one, and as many be "+
	"excepted; RevokeUser without exceptions ends them all", maxUserEnds)

const maxUserEnds = 1000 // sessions of a user that are revoked one by one, and as many that are excepted

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
	// A Regenerate under way has put its tombstone by now, and is followed; or it will find the cut-off.
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
		// Whether it is this user's, or there at all, is not known: so no tombstone takes its place.
		err = c.changeUserEnds(ctx, realm, user, func(u *userEnds, now time.Time) error { return u.revoke(id, now) })
		if err == nil {
			ended, err = c.loadListed(ctx, endedID(realm, id)) // a Regenerate under way, as in EndUser
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

// revokeSuccessor puts a tombstone in the place of a session that another one goes on as. It returns the one that is there
// already, if there is one.
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
	of string // the session whose place it took; empty for one that the caller named
}

// withSuccessors returns named and what those sessions go on as.
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

// changeUserEnds replaces what the list keeps of a user by what change makes of it, again and again until nobody else was
// faster.
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

// loadTombstone is Load where there is only an ID.
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

// revokeOwn returns the conflict. If the tombstone of s is in the list already, and the session turned out to have been
// ended from outside, it makes it a revoked one without successor: nothing takes the session's place.
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

// putTombstones makes the tombstones of swaps, in their order.
func (c *CookieStore) putTombstones(ctx context.Context, token Token, swaps []Swap, known endings) error {
	for _, s := range swaps {
		there := known.tombstone(s.New)
		switch {
		case !s.New.Ended:
			continue
		case there != nil && isSameEnd(there, s.New):
			// Written again as it is: the list may have said that it is on no replica.
			if _, err := c.putListed(ctx, there, there); err != nil {
				return err
			}
			continue
		}
		until := c.sealedUntil(token, s, Now(ctx)).Add(clockSkew) // by the slowest clock
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

// putListed replaces a tombstone in the list, or puts one where there is none. It returns what is there instead, if another
// request was faster.
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

// listedTombstone is a session's tombstone as the list keeps it, until no cookie of the session is good any more.
func listedTombstone(t *Record, until time.Time) *Record {
	if t.Deadline.After(until) {
		until = t.Deadline // its minute passes, whatever the cookies are good for
	}
	values := map[string]any{"realm": t.Realm, "user": t.User}
	if isClaim(t) { // it is no cookie's, and knows how long it stands
		values[claimKey], until = t.Values.Get(claimKey), t.Deadline
	}
	return &Record{
		ID: endedID(t.Realm, t.ID), Revision: t.Revision,
		Ended: true, Revoked: t.Revoked, Successor: t.Successor, Note: t.Note,
		CreatedAt: t.IssuedAt, IssuedAt: t.IssuedAt, LastUsedAt: t.IssuedAt, Deadline: until,
		Values: listedValues(values),
	}
}

// sessionTombstone is what the list keeps of a session, as Load returns it.
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

// revokedTombstone is that of a session which was ended from outside, and of which the list keeps no tombstone.
func revokedTombstone(r *Record, at time.Time) *Record {
	return &Record{
		ID: r.ID, Realm: r.Realm, User: r.User, Ended: true, Revoked: true,
		CreatedAt: at, IssuedAt: at, LastUsedAt: at, Deadline: at.Add(tombstoneLife),
	}
}

// isSameEnd reports whether the list's tombstone was put by the request that puts t, and sends it again. The ID of a
// successor is as random as a revision; a claim keeps it when it is closed.
func isSameEnd(listed, t *Record) bool {
	sameSuccessor := listed.Successor != "" && listed.Successor == t.Successor && !isClaim(t)
	return t.Ended && (listed.Revision == t.Revision || sameSuccessor)
}

// userOf returns whose session the list's tombstone stands for.
func userOf(listed *Record) (user string) {
	_ = json.Unmarshal(listed.Values.Get("user"), &user) // empty if there is none
	return user
}

// endings are what the list knew of sessions and users at one moment, by the IDs of its records; nil stands for nothing.
type endings map[string]*Record

// loadEndings asks for all that the list may know of sessions, at the same time.
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
	records, err := atOnce(ids, func(id string) (*Record, error) { return c.loadListed(ctx, id) })
	known := make(endings, len(ids))
	for i, id := range ids {
		known[id] = records[i]
	}
	return known, err
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
	if at := user.endedAt(r); !at.IsZero() {
		return revokedTombstone(r, at), nil
	}
	return nil, nil
}

// conflict returns what speaks against s, or nil.
func (e endings) conflict(s Swap) (*ConflictError, error) {
	if listed := e.tombstone(s.New); listed != nil && !mayReplace(listed, s) {
		return &ConflictError{ID: s.New.ID, Current: sessionTombstone(s.New, listed)}, nil
	}
	if s.Old == nil && s.New.Ended {
		return nil, nil
	}
	if s.Old != nil && s.Old.Ended {
		if s.New.Ended {
			return nil, nil
		}
		return &ConflictError{ID: s.New.ID, Current: s.Old}, nil
	}
	if s.Old != nil {
		return e.userConflict(s.Old)
	}
	return e.beginConflict(s.New)
}

// mayReplace reports whether the list's tombstone is what s puts, sent again, or what it says that it replaces.
func mayReplace(listed *Record, s Swap) bool {
	return s.Old != nil && s.Old.Ended && s.Old.Revision == listed.Revision || isSameEnd(listed, s.New)
}

func (e endings) userConflict(r *Record) (*ConflictError, error) {
	user, err := e.ofUser(r)
	if err != nil {
		return nil, err
	}
	if at := user.endedAt(r); !at.IsZero() {
		return &ConflictError{ID: r.ID, Current: revokedTombstone(r, at)}, nil
	}
	return nil, nil
}

// beginConflict is that of a new session: what was issued too early begins later.
func (e endings) beginConflict(r *Record) (*ConflictError, error) {
	user, err := e.ofUser(r)
	if err != nil {
		return nil, err
	}
	if _, revoked := user.Revoked[r.ID]; !revoked && user.isCutOff(r) {
		return &ConflictError{ID: r.ID, NotBefore: user.cutOffOf(r.ID).time()}, nil
	}
	return e.userConflict(r)
}

// atOnce calls load for each ID at the same time, and returns what it returned in their order. A panic is the caller's.
func atOnce(ids []string, load func(id string) (*Record, error)) ([]*Record, error) {
	records, errs, panics := make([]*Record, len(ids)), make([]error, len(ids)), make([]any, len(ids))
	var wg sync.WaitGroup
	for i := 1; i < len(ids); i++ {
		errs[i] = errNoAnswer // unless load comes back
		wg.Go(func() {
			defer func() { panics[i] = recover() }()
			records[i], errs[i] = load(ids[i])
		})
	}
	records[0], errs[0] = load(ids[0])
	wg.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	return records, errors.Join(errs...)
}

var errNoAnswer = errors.New("session: the store of what has ended did not answer")

// loadListed returns the list's record, or nil if there is none. One that can't be read is not as good as none here.
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

// listError says that the list failed. It wraps the store's error, except one that would be taken for that of a session.
func listError(err error) error {
	var conflict *ConflictError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound), errors.As(err, &conflict):
		return fmt.Errorf("session: what has ended: %v", err) //nolint:errorlint // it must not be found by errors.Is
	}
	return fmt.Errorf("session: what has ended: %w", err)
}

// endedID returns the list's ID for the tombstone of a session.
func endedID(realm, id string) string { return listedID("ended", realm, id) }

// userEndsID returns the list's ID for the record of a user.
func userEndsID(realm, user string) string { return listedID("user", realm, user) }

// listedID hashes what a record of the list is about. The realm's length keeps it from reaching into the name.
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
