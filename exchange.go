package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
)

// exchange is one request and its response under one Manager: it loads the session, commits it before the first byte,
// and sees to what the client gets.
type exchange struct {
	manager  *Manager
	request  *http.Request
	context  requestContext
	session  Session
	response response
	before   http.Header // the header as it was before the handler
	answered http.Header // and after the answer to a failure: what the handler sets still, trailers included, is undone

	committing sync.Mutex // one commit at a time
	present    bool       // the request has a cookie of the session's name, good or bad
	over       bool       // the handler has returned; guarded by session.mu
	cookie     string     // the Set-Cookie line that the commits so far have put into the header
	failure    error      // of the commit before the header; guarded by session.mu
	events     []Event    // not yet delivered; guarded by session.mu
	vary       [1]string  // room for a header's line
}

func newExchange(m *Manager, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{manager: m}
	x.context = requestContext{r.Context(), m, &x.session}
	x.request = r.WithContext(&x.context)
	x.session.keeper = x
	x.session.config = &m.config
	x.response.w, x.response.gate = w, x
	if h := w.Header(); len(h) > 0 {
		x.before = h.Clone()
	}
	return x
}

// finish is called when the handler has returned, or when a panic passes.
func (x *exchange) finish(returned bool) {
	switch {
	case !returned:
		x.abandon()
	case x.response.begin() == nil && x.commitLate(): // what was changed since, by whom an event was told also
		x.notify()
		x.commitLate() // and by whom those of this commit were told; what they change after it is reported
	}
	if x.response.failed != nil {
		_ = x.endDestroyed(x.response.failed)
		putBack(x.response.w.Header(), x.answered)
	}
	x.session.mu.Lock()
	x.over = true
	x.session.mu.Unlock()
	x.notify()
}

// putBack makes a header what it was.
func putBack(h, before http.Header) {
	clear(h)
	maps.Copy(h, before)
}

// beforeHeader implements gate.
func (x *exchange) beforeHeader() error {
	err := x.commitLast()
	x.notify()
	if err != nil {
		x.explain(err)
	}
	return err
}

// commitLast is the last commit that can use the header. No other comes before the response is marked as begun.
func (x *exchange) commitLast() error {
	x.committing.Lock()
	defer x.committing.Unlock()
	err := x.commitAlone(x.request.Context(), true)
	if err != nil {
		x.session.mu.Lock()
		x.failure = err
		x.session.mu.Unlock()
	}
	x.response.begun.Store(true)
	return err
}

// explain logs why a response is not the handler's, where that is the program's fault: a failure of the store has been
// logged by now, and the end of a session is none.
func (x *exchange) explain(err error) {
	var failed *StoreError
	if errors.As(err, &failed) || errors.Is(err, ErrSessionEnded) || errors.Is(err, errClientGone) {
		return
	}
	x.log(slog.LevelError, "session: the response is an error, since the session can't be saved", err)
}

var errHijackCookie = errors.New("session: the connection can't be taken over with a session cookie still to be sent; " +
	"write the header with WriteHeader(101) first, or begin the session in an earlier request")

// beforeHijack implements gate.
func (x *exchange) beforeHijack(headerSent bool) error {
	x.session.mu.Lock()
	unsent := !headerSent && x.cookie != ""
	if st := x.session.state; st != nil && st.encodeErr == nil {
		unsent = unsent || st.plan().cookie
	}
	x.session.mu.Unlock()
	if unsent {
		return errHijackCookie
	}
	err := x.commit(x.request.Context(), false)
	x.notify()
	if errors.Is(err, ErrResponseStarted) {
		return errHijackCookie
	}
	return err
}

// answer implements gate: the header is what it was before the handler, and the error handler does the rest.
func (x *exchange) answer(err error) {
	h := x.response.w.Header()
	putBack(h, x.before)
	defer func() { x.answered = h.Clone() }()
	if errors.Is(err, errClientGone) {
		x.response.w.WriteHeader(http.StatusServiceUnavailable) // for whoever cancelled in the client's place
		return
	}
	varyByCookie(h, &x.vary)
	x.session.mu.Lock()
	if x.cookie != "" && !x.session.state.lapsed {
		setCookie(h, x.manager.config.Name, x.cookie) // what Save did before the failure is done, and without its cookie the session would be lost
	}
	x.session.mu.Unlock()
	x.manager.config.ErrorHandler(x.response.w, x.request, err)
}

// save implements keeper.
func (x *exchange) save(ctx context.Context) error {
	defer x.notify()
	return x.commit(ctx, !x.response.begun.Load())
}

// commitLate saves what was changed after the header was sent, and reports what can't be.
func (x *exchange) commitLate() bool {
	err := x.commit(x.request.Context(), false)
	if err == nil {
		return true
	}
	x.session.mu.Lock()
	x.event(EventLateWrite, "not kept", err)
	x.session.mu.Unlock()
	x.log(slog.LevelError, "session: changes made after the response had started are lost", err)
	_ = x.endDestroyed(err)
	return false
}

// abandon is what a panic leaves to do: values are not saved, but a logout is done.
func (x *exchange) abandon() {
	x.session.mu.Lock()
	destroy := x.session.state != nil && x.session.state.destroy
	x.session.mu.Unlock()
	if !destroy {
		return
	}
	if x.endDestroyed(nil) == nil && !x.response.begun.Load() {
		x.removeCookie()
	}
}

// endDestroyed ends the session that Destroy was called for, if the commit, which failed for this reason, did not.
func (x *exchange) endDestroyed(commit error) error {
	x.committing.Lock()
	defer x.committing.Unlock()
	x.session.mu.Lock()
	defer x.session.mu.Unlock()
	st := x.session.state
	if st == nil || !st.destroy || st.base == nil {
		return nil
	}
	var failed *StoreError
	if errors.As(commit, &failed) && failed.Op == opDelete {
		return nil // the store has just been asked
	}
	call := x.call(x.request.Context())
	defer call.release()
	if err := x.endBase(call); err != nil {
		x.log(slog.LevelError, "session: a logout could not be done", err)
		return err
	}
	st.pending = pending{}
	return nil
}

// The rest of keeper.

func (x *exchange) started() bool { return x.response.begun.Load() }
func (x *exchange) closed() bool  { return x.over }

func (x *exchange) late(op string) {
	x.event(EventLateWrite, "after the request", fmt.Errorf("%s: %w", op, ErrResponseStarted))
	x.log(slog.LevelWarn, "session: a change made after the handler returned is lost", fmt.Errorf("%s", op))
}

func (x *exchange) report(key string, err error) {
	x.log(slog.LevelWarn, unreadableValue, err, "key", key)
}

const unreadableValue = "session: a stored value can't be read"

// event notes what happened to the session as it is; notify delivers it.
func (x *exchange) event(kind EventKind, reason string, err error) {
	r := &Record{}
	if st := x.session.state; st != nil && st.base != nil {
		r = st.base
	}
	x.eventFor(kind, r.ID, r.User, reason, err)
}

func (x *exchange) eventFor(kind EventKind, id, user, reason string, err error) {
	if x.manager.config.OnEvent == nil {
		return
	}
	x.events = append(x.events, Event{Kind: kind, ID: id, User: user, Reason: reason, Err: err, Time: x.session.now()})
}

func (x *exchange) notify() {
	if x.manager.config.OnEvent == nil {
		return
	}
	x.session.mu.Lock()
	events := x.events
	x.events = nil
	x.session.mu.Unlock()
	for _, event := range events {
		x.manager.config.OnEvent(x.request.Context(), event)
	}
}

// log writes with the context that came from outside: a log handler that looks for the session there would wait for a lock
// that is held here.
func (x *exchange) log(level slog.Level, message string, err error, args ...any) {
	x.manager.log(x.context.Context, level, message, append(args, "error", err)...)
}

// requestContext carries the session in the request's context.
type requestContext struct {
	context.Context
	manager *Manager
	session *Session
}

type (
	sessionKey struct{}           // the innermost manager's session
	managerKey struct{ *Manager } // this manager's
)

func (c *requestContext) Value(key any) any {
	switch key := key.(type) {
	case sessionKey:
		return c.session
	case managerKey:
		if key.Manager == c.manager {
			return c.session
		}
	}
	return c.Context.Value(key)
}
