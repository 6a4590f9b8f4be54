package session

import (
	"context"
	"time"
)

// A Store keeps records by their IDs and replaces them by compare-and-swap. It is safe for use by several goroutines, and
// honours the context's deadline. It knows no HTTP and no rule about sessions: what is merged, what has ended and what may
// be used, the Manager decides.
//
// Nobody modifies a *Record, or anything it refers to, once it was returned by Load or given to Swap or End. The token is
// that of the last swap; calls outside a request pass NewToken(id, ""). A store measures time with [Now], if at all.
//
// The whole contract is executable: package storetest runs it against any Store.
type Store interface {
	// Load returns the record that token opens as it is stored: live, past its limits, or a tombstone. Which of these
	// may still be used, the Manager decides. The error wraps ErrNotFound if there is none. After a conflict it returns
	// nothing older than what the conflict was about. A store that keeps sessions in the cookie, asked by ID alone,
	// returns the tombstone if it has one, and otherwise an error that wraps errors.ErrUnsupported.
	Load(ctx context.Context, token Token) (*Record, error)

	// Swap replaces records, whose IDs differ. Of each Swap, Old must be what is stored (by its Revision), or nothing
	// may be stored where Old is nil; otherwise the error is a *ConflictError. A record whose Revision is New's already
	// is no conflict: that request was made before, and only its answer was lost. Several are made all or none; or,
	// where a database can't do that, one by one in their order, up to the first that fails. The token returned is the
	// one for the cookie: the one given, unless the store keeps the session in the cookie itself.
	Swap(ctx context.Context, token Token, swaps ...Swap) (Token, error)
}

// Swap is one replacement of a record.
type Swap struct {
	Old *Record // as Load returned it, or nil if there must be none
	New *Record // what takes its place; a tombstone if New.Ended
}

// An Ender is a Store that can end a session whatever its revision, in one step: those who keep changing a session must
// not be able to keep it open. It is optional, and found by type assertion: without it the Manager ends by Swap, again and
// again.
type Ender interface {
	Store

	// End puts tombstone in the place of whatever has its ID, whatever its revision, nothing included, and returns what
	// was there (nil for nothing). A tombstone that is there already stays: that is a *ConflictError.
	End(ctx context.Context, tombstone *Record) (replaced *Record, err error)
}

// A UserStore is a Store that can list the sessions of a user. It is optional, and found by type assertion.
type UserStore interface {
	Store

	// UserSessions returns all that is kept of the user in the realm, tombstones and expired records included, in any
	// order. Values and flashes may be left out, and from a store with End the latest revisions. No session stored before
	// the call may be left out. An index entry is removed when its time is over (Record.KeepUntil), and never because its
	// record is missing: that record may be about to be written.
	UserSessions(ctx context.Context, realm, user string) ([]*Record, error)
}

// A UserEnder is a Store that ends sessions of a user that it can't list. CookieStore is one. It is optional, and found by
// type assertion. Where it can't end them either, the error wraps errors.ErrUnsupported.
type UserEnder interface {
	Store

	// EndUser ends all sessions of user in the realm except those with these IDs.
	EndUser(ctx context.Context, realm, user string, except []string) error

	// EndUserSession ends the session with this ID if it is user's. It may not be able to know that.
	EndUserSession(ctx context.Context, realm, user, id string) error
}

type nowKey struct{}

// Now returns the time by the clock of the Manager that calls the store (Config.Clock), and time.Now in a context that
// comes from elsewhere.
func Now(ctx context.Context) time.Time {
	if clock, ok := ctx.Value(nowKey{}).(func() time.Time); ok {
		return clock()
	}
	return time.Now()
}

// WithClock returns a context in which [Now] is what clock says: for tests of stores. A Manager's own is Config.Clock.
func WithClock(ctx context.Context, clock func() time.Time) context.Context {
	return context.WithValue(ctx, nowKey{}, clock)
}

type pastCacheKey struct{}

// pastCache reports whether a load is to be answered by the store itself and not by a cache in this process: Session.Save
// asks whether the session still stands.
func pastCache(ctx context.Context) bool { return ctx.Value(pastCacheKey{}) != nil }
