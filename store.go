package session

import (
	"context"
	"time"
)

// A Store keeps records by their IDs, and replaces them by compare-and-swap. Several goroutines may use it at the same
// time. It obeys the context's deadline. It knows no HTTP and no rule about sessions: the Manager decides what is
// merged, what has ended, and what may be used.
//
// Nobody changes a *Record, or anything that it refers to, after Load returned it or after Swap or End got it. The
// token is that of the last swap. Calls outside a request pass NewToken(id, ""). A store that needs the time takes it
// from Now.
//
// Package storetest tests the whole contract, with any Store.
type Store interface {
	// Load returns the record that token opens, as it is stored: live, expired, or a tombstone. The Manager decides
	// which of these may be used. If there is none, the error wraps ErrNotFound. After a conflict, Load returns nothing
	// older than what the conflict was about. A store that keeps sessions in the cookie may be asked by ID alone. Then
	// it returns the tombstone if it has one, and otherwise an error that wraps errors.ErrUnsupported.
	Load(ctx context.Context, token Token) (*Record, error)

	// Swap replaces records with different IDs. For each Swap, Old must be what is stored (by its Revision). If Old is
	// nil, nothing may be stored. Otherwise the error is a *ConflictError. If the stored record already has the
	// Revision of New, that is no conflict: the same request was made before, and its answer was lost.
	//
	// Several swaps are made all or none. A database that can't do that makes them one by one, in their order, and
	// stops at the first that fails. The token that Swap returns is the one for the cookie. It is the given token,
	// unless the store keeps the session in the cookie.
	Swap(ctx context.Context, token Token, swaps ...Swap) (Token, error)
}

// Swap is one replacement of a record.
type Swap struct {
	Old *Record // as Load returned it, or nil if there must be none
	New *Record // what takes its place; a tombstone if New.Ended
}

// An Ender is a Store that can end a session in one step, whatever its revision. So requests that keep changing a
// session can't keep it open. It is optional, and found by type assertion. Without it the Manager ends a session by
// Swap, as often as needed.
type Ender interface {
	Store

	// End puts tombstone in the place of the record with its ID, whatever the record's revision, and also if there is
	// none. It returns what was there, or nil for nothing. A tombstone that is there already stays, and the error is a
	// *ConflictError.
	End(ctx context.Context, tombstone *Record) (replaced *Record, err error)
}

// A UserStore is a Store that can list the sessions of a user. It is optional, and found by type assertion.
type UserStore interface {
	Store

	// UserSessions returns all that is stored of the user in the realm, in any order, including tombstones and expired
	// records. It may leave out values and flashes, and a store with End may leave out the latest revisions. It must
	// not leave out a session that was stored before the call. An index entry may be removed when its time is over
	// (Record.KeepUntil). It must not be removed because its record is missing: that record may be about to be written.
	UserSessions(ctx context.Context, realm, user string) ([]*Record, error)
}

// A UserEnder is a Store that can end the sessions of a user although it can't list them. CookieStore is one. It is
// optional, and found by type assertion. If it can't end them either, the error wraps errors.ErrUnsupported.
type UserEnder interface {
	Store

	// EndUser ends all sessions of user in the realm except those with these IDs.
	EndUser(ctx context.Context, realm, user string, except []string) error

	// EndUserSession ends the session with this ID if it belongs to user. The store may be unable to tell whether it
	// does.
	EndUserSession(ctx context.Context, realm, user, id string) error
}

type nowKey struct{}

// Now returns the time by the clock of the Manager that calls the store (Config.Clock). In any other context it returns
// time.Now().
func Now(ctx context.Context) time.Time {
	if clock, ok := ctx.Value(nowKey{}).(func() time.Time); ok {
		return clock()
	}
	return time.Now()
}

// WithClock returns a context in which Now returns the time of clock. It is for tests of stores. A Manager uses
// Config.Clock.
func WithClock(ctx context.Context, clock func() time.Time) context.Context {
	return context.WithValue(ctx, nowKey{}, clock)
}

type pastCacheKey struct{}

// pastCache reports whether the store itself must answer a load, and not a cache in this process. For example,
// Session.Save asks whether the session is still valid.
func pastCache(ctx context.Context) bool { return ctx.Value(pastCacheKey{}) != nil }
