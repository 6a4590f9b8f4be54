package session

import (
	"context"
	"fmt"
)

// What context.Cause says of a context of Session.Watch whose session has ended. Each wraps ErrSessionEnded.
var (
	// ErrLoggedOut means that a request of the session's own browser ended it, by Destroy or by a Login.
	ErrLoggedOut = fmt.Errorf("%w: by a logout, or another login", ErrSessionEnded)

	// ErrRevoked means that the session was ended from outside: by Manager.Revoke and its like, Config.MaxPerUser or
	// Config.Revalidate.
	ErrRevoked = fmt.Errorf("%w: it was revoked", ErrSessionEnded)

	// ErrRegenerated means that the session goes on under another ID, which this connection's request does not know. A page
	// that connects again comes with it; let it wait a moment, since the answer with the new cookie may still be on its way.
	ErrRegenerated = fmt.Errorf("%w: it goes on under another ID", ErrSessionEnded)

	// ErrExpired means that the session is past its idle or its absolute limit.
	ErrExpired = fmt.Errorf("%w: it is past its limits", ErrSessionEnded)
)

// Watch returns a context derived from ctx that also ends when the session ends. It is for a WebSocket, a stream of
// events or a long poll, which would otherwise go on as signed in after the logout. When it has ended, context.Cause
// returns ErrLoggedOut, ErrRevoked, ErrRegenerated or ErrExpired, or ErrSessionEnded if the store no longer knows why.
// Without a session the context has ended from the start, with ErrSessionEnded or the error of the load.
//
// The context ends at once if this Manager ends the session, or with a MemoryStore. With a RedisStore it ends as soon
// as a message arrives, whichever process ended the session. In any other case it ends within 30 seconds by
// Config.Clock, because each watched session is checked that often. The check is not a use of the session. To keep the
// request itself from counting as a use, wrap it in Manager.Passive.
//
// If the store can't be asked, the context goes on until the session's limits as they are known. For a session in a
// cookie these are the limits in this request's cookie. If other requests extend the session, the page has to connect
// again.
//
// A watched session takes no goroutine, and takes some memory until ctx ends. So ctx should be the request's context,
// or another one that ends with the connection. The request's context of net/http ends when the handler returns.
func (s *Session) Watch(ctx context.Context) context.Context {
	st := s.open()
	failure, id := st.loadErr, st.view.id()
	s.close()
	switch {
	case failure != nil:
	case s.probe:
		failure = errInRevalidate
	case id == "":
		failure = ErrSessionEnded
	case s.request == nil: // no store keeps it, so nothing ends it
		return ctx
	}
	watching, end := context.WithCancelCause(ctx)
	if failure != nil {
		end(failure)
		return watching
	}
	s.request.manager.watches.add(watching, end, id, s.watchedFacts(id))
	return watching
}

// An EndNotifier is a Store that reports at once which sessions have ended, in any process. Session.Watch uses it.
// Without it, Watch checks every 30 seconds. It is optional, and found by type assertion.
type EndNotifier interface {
	Store

	// NotifyEnds makes the store call ended with the ID of each session that gets a tombstone, until stop is called. It
	// calls ended with "" if it may have missed some. It does no harm if a report is lost, comes late, or names a
	// session that has not ended. NotifyEnds and stop return at once, and it is no error if the server can't be
	// reached. A call of ended may still be under way after stop. A call of ended returns at once.
	NotifyEnds(ended func(id string)) (stop func())
}

// causeOf returns how the session of a tombstone ended.
func causeOf(tombstone *Record) error {
	switch {
	case tombstone.Successor != "":
		return ErrRegenerated
	case tombstone.Revoked:
		return ErrRevoked
	}
	return ErrLoggedOut
}
