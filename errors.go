package session

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound is the error of a Store's Load for a record that is not there. The store returns it or wraps it.
	ErrNotFound = errors.New("session: not found")

	// ErrSessionEnded means that the session ended while it was in use: by a logout, a new ID or a revocation.
	// Config.Revalidate returns it, or wraps it, to end a session.
	ErrSessionEnded = errors.New("session: ended")

	// ErrResponseStarted means that a change needs a cookie, and it is too late: the response's header has been sent,
	// or the handler has returned.
	ErrResponseStarted = errors.New("session: the response has started, the cookie can't be sent any more")

	// ErrUnproven means that the session is bound to a device (Config.BindDevice), and the request has no proof of it.
	// The session stays usable for its owner.
	ErrUnproven = errors.New("session: bound to a device, of which the request has no proof")

	// ErrCookieTooLarge means that the cookie's name and value together are longer than 4096 bytes. Browsers ignore
	// such a cookie (RFC 6265bis, section 5.6). Keep less in the session, or use a server store.
	ErrCookieTooLarge = errors.New("session: the cookie's name and value exceed 4096 bytes")

	// ErrTooLarge means that the session would be larger than Config.MaxSize. The error that wraps it names the largest
	// keys.
	ErrTooLarge = errors.New("session: larger than Config.MaxSize")

	// ErrTooManySessions means that a Login was refused, because the user already has Config.MaxPerUser sessions. See
	// Refuse.
	ErrTooManySessions = errors.New("session: the user has too many sessions, and another one is refused")

	// errUnreadable is wrapped by the error of a record that can't be read. Such a record counts as not found.
	errUnreadable = fmt.Errorf("%w: the record can't be read", ErrNotFound)

	// errBadSeal is wrapped by the error of a cookie that no secret can open.
	errBadSeal = fmt.Errorf("%w: no secret opens the cookie", ErrNotFound)
)

// A ConflictError is the error of a Store's Swap if the stored record is not the Swap's Old. It is also the error of
// End if there is a tombstone already.
type ConflictError struct {
	ID        string    // of the Swap that met it
	Current   *Record   // what is stored, where the store knows it already; nil otherwise, or for nothing
	NotBefore time.Time // a new session of this user must be issued later than this; zero otherwise
}

// Error names the session by its ID, which is public.
func (e *ConflictError) Error() string {
	if !e.NotBefore.IsZero() {
		return "session: the sessions of the user of " + e.ID + " were ended up to a later time"
	}
	return "session: " + e.ID + " was changed by another request"
}

// conflictOf returns the conflict that err reports, or nil.
func conflictOf(err error) *ConflictError {
	conflict, _ := errors.AsType[*ConflictError](err)
	return conflict
}

// postpone returns r as it is stored after a conflict whose NotBefore is set: it is issued later.
func (e *ConflictError) postpone(r *Record) *Record {
	next := *r
	next.IssuedAt = e.NotBefore.Add(time.Microsecond)
	return &next
}

// Op names the operation that failed: one of the store, or a function of the application.
type Op string

// The operations that can fail.
const (
	OpLoad       Op = "load"       // Store.Load
	OpSwap       Op = "swap"       // Store.Swap
	OpEnd        Op = "end"        // Ender.End, or Swap with a tombstone
	OpList       Op = "list"       // UserStore.UserSessions
	OpRevalidate Op = "revalidate" // Config.Revalidate
	OpAdopt      Op = "adopt"      // Config.Adopt, or Adopted.Forget
)

// A StoreError says that the store, Config.Revalidate or Config.Adopt failed. By default Config.ErrorHandler answers it
// with 503.
type StoreError struct {
	Op  Op
	Err error
}

// Error names the operation, and the store's error.
func (e *StoreError) Error() string { return "session: " + string(e.Op) + ": " + e.Err.Error() }

// Unwrap returns the store's error.
func (e *StoreError) Unwrap() error { return e.Err }

// isStoreFailure reports whether the store failed, so that another try may succeed.
func isStoreFailure(err error) bool {
	_, failed := errors.AsType[*StoreError](err)
	return failed
}
