package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

var errClientGone = errors.New("session: the client hung up while its session was loaded")

// load loads the session that the request's cookies open. If several cookies open one, it takes the session issued
// last. Of sessions issued at the same time, it takes the one used last. The order of the cookies says nothing (RFC
// 6265bis, section 4.2.2).
func (q *request) load(st *state) error {
	c := &q.manager.config
	if c.Adopt != nil {
		q.forgetDue()
	}
	var candidates [maxCandidates]Token
	tokens, present, malformed := cookieTokens(candidates[:0], q.outer.Header, c.Name, c.Realm)
	st.present = present > 0
	if malformed > 0 {
		q.noteEvent(EventRejected, nil, ReasonMalformed, nil)
	}
	if len(tokens) > 0 {
		call := q.manager.storeContext(q.parent, c.StoreTimeout) // for all of them
		defer call.Release()
		if err := q.loadObserved(call, st, tokens); err != nil {
			return err
		}
	}
	if c.Adopt != nil {
		if err := q.loadOld(st); err != nil {
			return err
		}
	}
	st.view = newDraft(c, st.base, settings{})
	if err := st.view.replay(st.log); err != nil || !st.view.exists() || q.endpoint {
		return err
	}
	return q.revalidate(st)
}

// loadTokens loads the record of each token, and keeps the best live one in st. If none is live, it keeps the tombstone
// of a session that ended elsewhere, if it has met one. Then it makes what is due for a live session: the check of its
// device, the closing of its claim, and a touch.
func (q *request) loadTokens(call *storeContext, st *state, tokens []Token) error {
	var ended *Record
	for _, token := range tokens {
		record, err := q.loadOne(call, token)
		if err != nil {
			return err
		}
		if late := q.meetRecord(st, record, token); late != nil {
			ended = late
		}
	}
	if st.base == nil {
		st.base = ended
		return nil
	}
	st.expired, st.revoked = false, nil
	if q.manager.binding != nil {
		if err := q.checkDevice(st); err != nil {
			return err
		}
	}
	if st.base.Claim != "" {
		q.closeClaim(call, st)
	}
	q.noteUseAtOnce(call, st)
	return nil
}

// meetRecord notes what a record, which may be nil, means for the request, and tells why it is no live session. It
// returns the tombstone of a session that ended elsewhere.
func (q *request) meetRecord(st *state, record *Record, token Token) (ended *Record) {
	now := q.manager.config.Clock()
	kind, reason := EventRejected, ReasonEnded
	switch record.condition(now) {
	case live:
		if st.base == nil || laterIssued(record, st.base) {
			st.setBase(record, token.opened(record.ID, q.manager.config.room()), now)
		}
		return nil
	case late:
		ended = record
	case revoked:
		st.revoked = record
	case idle:
		st.expired = true
		kind, reason = EventExpired, ReasonIdle
	case absolute:
		st.expired = true
		kind, reason = EventExpired, ReasonAbsolute
	case absent:
		reason = ReasonUnknown
	}
	if record != nil {
		q.noteEvent(kind, record, reason, nil)
	}
	return ended
}

// noteUseAtOnce makes a touch that is due at once, because the request may last longer than the rest of the idle time.
// If it fails, the commit makes it. The use of a sealed session is stored in its cookie, which can't be sent before the
// response. So the request notes the use in its own copy of the record, and the response sends the cookie.
func (q *request) noteUseAtOnce(call context.Context, st *state) {
	if st.touchAt.IsZero() || q.session.passive.Load() {
		return
	}
	now := q.manager.config.Clock()
	if now.Before(st.touchAt) || st.base.condition(now) != live {
		return
	}
	if st.sealed {
		noted := *st.base
		noteUse(&noted, now)
		noted.Stale = true
		st.setBase(&noted, st.token, now)
		return
	}
	next := touched(st.base, now)
	stamp(next, st.base, now)
	if _, err := q.manager.store.Swap(call, st.token, Swap{st.base, next}); err == nil {
		st.setBase(next, st.token, now)
	}
}

// laterIssued reports whether a was issued after b, or at the same time and used later.
func laterIssued(a, b *Record) bool {
	if !a.IssuedAt.Equal(b.IssuedAt) {
		return a.IssuedAt.After(b.IssuedAt)
	}
	return a.LastUsedAt.After(b.LastUsedAt)
}

// loadOne asks the store for one token, and returns nil if it opens nothing. An error fails the load.
func (q *request) loadOne(call *storeContext, token Token) (*Record, error) {
	record, err := q.manager.load(call, token)
	switch {
	case err == nil:
		return record, nil
	case errors.Is(err, ErrNotFound):
		q.reportRejected(token, err)
		return nil, nil
	}
	return nil, q.loadError(OpLoad, &Record{ID: token.ID()}, err)
}

// loadError returns the error of a load that failed. It is no failure of the store if the client has hung up.
func (q *request) loadError(op Op, r *Record, err error) error {
	if q.parent.Err() != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return q.storeError(op, r, err)
}

// load returns the record that token opens. It is an error if the store returns another one.
func (m *Manager) load(call *storeContext, token Token) (*Record, error) {
	record, err := call.kept[token.ID()], error(nil)
	if record == nil {
		record, err = m.store.Load(call, token)
	}
	if err != nil {
		return nil, err
	}
	if record == nil || record.ID == "" || token.ID() != "" && record.ID != token.ID() || record.Realm != m.config.Realm {
		return nil, errUnreadable
	}
	return record, nil
}

// reportRejected tells why a token opens nothing.
func (q *request) reportRejected(token Token, err error) {
	reason := ReasonUnknown
	switch {
	case errors.Is(err, errBadSeal):
		reason = ReasonBadSeal
	case errors.Is(err, errUnreadable):
		reason = ReasonUnreadable
		q.log(slog.LevelWarn, "session: a stored session can't be read", err, "session", token.ID())
	}
	q.noteEvent(EventRejected, &Record{ID: token.ID()}, reason, nil)
}

// revalidate asks the application whether the session is still valid. Config.Revalidate gets a Session of its own. The
// changes that it makes to that Session come first in the request's log.
func (q *request) revalidate(st *state) error {
	c := &q.manager.config
	if c.Revalidate == nil {
		return nil
	}
	asked := st.base
	if asked == nil { // a session of the old library, which is adopted only if it is valid
		asked = st.view.next(nil, c.Clock())
	}
	probe := newSession(c, asked)
	probe.probe, probe.state.proved = true, st.proved
	ctx, cancel := context.WithTimeout(&probeContext{q.parent, q, probe}, c.StoreTimeout)
	defer cancel()
	err := c.Revalidate(ctx, probe)
	switch {
	case err == nil:
		if q.keepProbe(st, probe); st.decodeErr != nil {
			q.log(slog.LevelWarn, "session: a stored value can't be read", st.decodeErr)
		}
		return nil
	case errors.Is(err, ErrSessionEnded) && st.base == nil:
		return q.refuseOld(st)
	case errors.Is(err, ErrSessionEnded):
		return q.endInvalid(st)
	}
	return q.loadError(OpRevalidate, st.base, err)
}

// keepProbe takes over the changes that Revalidate made to its Session.
func (q *request) keepProbe(st *state, probe *Session) {
	probe.mu.Lock()
	defer probe.mu.Unlock()
	st.encodeErr, st.decodeErr = probe.state.encodeErr, probe.state.decodeErr
	if st.base == nil {
		st.takeProbe(&q.manager.config, probe.state.log)
	} else {
		st.log, st.view = probe.state.log, probe.state.view
	}
	// The application may keep the Session, but can change nothing with it any more.
	probe.state = &state{loadErr: ErrResponseStarted, view: newDraft(&q.manager.config, nil, settings{})}
}

// endInvalid ends a session that Revalidate refuses. From then on the request is a visitor's.
func (q *request) endInvalid(st *state) error {
	base := st.base
	call := q.call(q.parent)
	defer call.Release()
	var result ending
	err := q.manager.observed(call, CallRevoke, func() (err error) {
		result, err = q.manager.endSession(call, st.token, base, endAs{revoked: true, reason: ReasonRevalidation})
		return err
	})
	if err != nil {
		return q.storeError(OpEnd, base, err)
	}
	q.noteEvent(EventRevoked, &Record{ID: base.ID, User: base.User, Ended: true, Note: string(ReasonRevalidation)}, ReasonRevalidation, nil)
	st.setBase(nil, Token{}, time.Time{})
	st.revoked = result.tombstone
	if met := result.tombstone; met != nil && met.condition(q.manager.config.Clock()) == late {
		st.base, st.revoked = met, nil
	}
	st.view = newDraft(&q.manager.config, st.base, settings{})
	return nil
}

// probeContext carries the Session that Revalidate gets.
type probeContext struct {
	context.Context
	request *request
	probe   *Session
}

// Value implements context.Context.
func (c *probeContext) Value(key any) any {
	switch key := key.(type) {
	case sessionKey:
		return c.probe
	case managerKey:
		if key.Manager == c.request.manager {
			return c.probe
		}
	case requestKey: // so that Middleware, if Revalidate calls it, does not load the session once more
		return c.request
	}
	return c.Context.Value(key)
}
