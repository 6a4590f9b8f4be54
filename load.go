package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

var errClientGone = errors.New("session: the client hung up while its session was loaded")

// load implements keeper: of the request's cookies it takes the first that opens a session.
func (x *exchange) load(st *state) error {
	var candidates [maxCandidates]Token
	tokens, present, malformed := cookieTokens(candidates[:0], x.request.Header, x.manager.config.Name)
	x.present = present > 0
	if malformed > 0 {
		x.eventFor(EventRejected, "", "", "malformed", nil)
	}
	if len(tokens) == 0 {
		return nil
	}
	call := x.manager.storeContext(x.request.Context(), x.manager.config.StoreTimeout) // for all of them
	defer call.release()
	for _, token := range tokens {
		record, err := x.loadOne(call, token)
		switch {
		case err == nil:
			st.base, st.lapsed = record, false
			st.token = Token{id: record.ID, cookie: token.cookie, value: token.value}
			return x.revalidate(st)
		case errors.Is(err, ErrNotFound):
			st.lapsed = st.lapsed || errors.Is(err, ErrSessionEnded)
		default:
			return err
		}
	}
	return nil
}

// loadOne asks the store for one token. An error that is not ErrNotFound fails the load.
func (x *exchange) loadOne(call context.Context, token Token) (*Record, error) {
	record, err := x.manager.store.Load(call, token)
	if err == nil {
		err = x.admit(token, record)
	}
	switch {
	case err == nil:
		return record, nil
	case errors.Is(err, ErrNotFound):
		x.rejected(token, err)
		return nil, err
	case x.request.Context().Err() != nil:
		return nil, fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil, x.storeError("load", token.ID(), err)
}

// admit checks that a record is the one asked for, and within its limits by this clock.
func (x *exchange) admit(token Token, record *Record) error {
	if record != nil && (record.ID == "" || token.ID() != "" && record.ID != token.ID()) {
		return errUnreadable
	}
	return record.Live(x.session.now())
}

// rejected tells why a token opens nothing.
func (x *exchange) rejected(token Token, err error) {
	var expired *expiredError
	switch {
	case errors.As(err, &expired):
		x.eventFor(EventExpired, expired.record.ID, expired.record.User, expired.limit, nil)
	case errors.Is(err, ErrSessionEnded):
		x.eventFor(EventRejected, token.ID(), "", "ended", nil)
	case errors.Is(err, errBadSeal):
		x.eventFor(EventRejected, token.ID(), "", "bad seal", nil)
	case errors.Is(err, errUnreadable):
		x.eventFor(EventRejected, token.ID(), "", "unreadable", nil)
		x.log(slog.LevelWarn, "session: a stored session can't be read", err, "session", token.ID())
	default:
		x.eventFor(EventRejected, token.ID(), "", "unknown", nil)
	}
}

// revalidate asks the application whether the session stands. It is shown a Session of its own, since the request's is
// locked; what it changes there is taken over.
func (x *exchange) revalidate(st *state) error {
	if x.manager.config.Revalidate == nil {
		return nil
	}
	probe := newSession(st.config, &state{base: st.base, token: st.token})
	shown := &requestContext{x.request.Context(), x.manager, probe}
	ctx, cancel := context.WithTimeout(shown, x.manager.config.StoreTimeout)
	defer cancel()
	err := x.manager.config.Revalidate(ctx, probe)
	switch {
	case err == nil:
		st.pending = probe.state.pending
		st.encodeErr, st.decodeErr = probe.state.encodeErr, probe.state.decodeErr
		if st.decodeErr != nil {
			x.log(slog.LevelWarn, unreadableValue, st.decodeErr)
		}
		return nil
	case errors.Is(err, ErrSessionEnded):
		return x.endInvalid(st)
	case x.request.Context().Err() != nil:
		st.base = nil
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	failed := x.storeError("revalidate", st.base.ID, err)
	st.base = nil
	return failed
}

func (x *exchange) endInvalid(st *state) error {
	id, user := st.base.ID, st.base.User
	call := x.call(x.request.Context())
	defer call.release()
	if err := x.deleteBase(call); err != nil {
		st.base = nil
		return err
	}
	x.eventFor(EventRevoked, id, user, "revalidation", nil)
	token := st.token
	st.over()
	_, err := x.manager.store.Load(call, token)
	st.lapsed = err != nil // or else the store can't end it, and it is none, now and at each load to come
	return nil
}
