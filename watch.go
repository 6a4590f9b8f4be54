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

// Watch returns a context derived from ctx that also ends when the session does: for a WebSocket, a stream of events or a
// long poll, which would otherwise go on as signed in after the logout. context.Cause then returns ErrLoggedOut, ErrRevoked,
// ErrRegenerated or ErrExpired, or ErrSessionEnded itself where the store has forgotten how. Without a session it has ended
// from the start, with ErrSessionEnded or the error of the load.
//
// How soon it ends: at once for what this Manager ends, and with a MemoryStore; as soon as the message arrives with a
// RedisStore, whichever process ends the session; and within 30 seconds by Config.Clock in any case, as each watched session is
// looked at so often. That is no use of the session, and Manager.Passive makes the request itself none. While the store
// can't be asked the context stays, up to the session's limits as far as they are known. A session in a cookie is held to
// the limits that this request's cookie states: a page whose other requests lengthened it connects again.
//
// It takes no goroutine for each session, and some memory until ctx ends: let that be the request's, or another one that
// ends with the connection. Use net/http's request context only as long as the handler runs.
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
	case s.request == nil: // nobody keeps it, and nothing ends it
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

// An EndNotifier is a Store that tells at once which sessions have ended, in whatever process: for Session.Watch, which else
// looks every 30 seconds. It is optional, and found by type assertion.
type EndNotifier interface {
	Store

	// NotifyEnds has ended called with the ID of each session in whose place a tombstone was put, from now on until stop is
	// called, and with "" whenever some may have been missed. A message that is lost, comes late or names a session that
	// stands does no harm. NotifyEnds and stop return at once, and a server that is away is no error; a call of ended may still be
	// under way after stop. Calls of ended return at once.
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
