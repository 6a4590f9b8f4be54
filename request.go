package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync/atomic"

	"github.com/doorman-go/session/internal/responsewriter"
)

// request is one request and its response under one Manager. It loads the session, commits it before the first byte,
// and decides what the client gets. This file follows the request from the middleware's call to its end. commit.go has
// the changes in the store, and cookie.go the header.
type request struct {
	manager  *Manager
	outer    *http.Request // as it came
	inner    *http.Request // as the handlers see it
	context  requestContext
	session  Session
	response responsewriter.Writer
	before   http.Header // the header as it was before the handler
	answered http.Header // and after the answer to a failure: what the handler sets still, trailers included, is undone

	endpoint bool        // the browser has sent it by itself: to register a key, or to renew the proof
	passive  atomic.Bool // it is no use of the session
	old      *oldAnswer  // nil until the old library is asked: by the load, or by the commit under way

	// Guarded by session.mu.
	commits    *commits // nil until the first commit
	stage      stage
	cookie     string      // the Set-Cookie line that the response is to have
	offered    bool        // the response can do without that line
	failure    error       // of the commit before the header
	untold     []func()    // events and log lines that came up under the lock
	telling    bool        // they are being told
	present    bool        // the request has a cookie of the session's name, good or bad
	destroyed  bool        // a Destroy was done
	bindAnswer *bindAnswer // nil as long as there is nothing to say about the binding
	returned   bool        // the handler has returned
	removed    *adoption   // the old session whose cookies the response removes
	vary       [1]string   // room for a header's line
}

// stage is how far a response has come.
type stage uint8

const (
	open     stage = iota // the header has not been sent: a cookie can be
	hijacked              // the connection is being taken over: no cookie can be sent any more
	started               // the header has been sent
	finished              // the handler has returned, and the last commit is done
)

func newRequest(m *Manager, w http.ResponseWriter, r *http.Request) *request {
	q := &request{manager: m, outer: r}
	q.context = requestContext{r.Context(), q}
	q.inner = r.WithContext(&q.context)
	q.session.request, q.session.config = q, &m.config
	q.response.Init(w, q)
	if h := w.Header(); len(h) > 0 {
		q.before = h.Clone()
	}
	return q
}

// serve has next answer the request. A panic goes on, with its own stack.
func (q *request) serve(next http.Handler) {
	returned, ended := false, false
	defer func() {
		q.handOut()
		defer func() {
			if !ended { // finish may panic, in the application's code
				q.abandon()
			}
		}()
		if returned {
			q.finish()
			ended = true
		}
	}()
	next.ServeHTTP(q.response.Wrap(), q.inner)
	returned = true
}

// handOut copies to the outer request what the handlers set on the inner one: a server removes the files of its
// MultipartForm, and loggers read its Pattern.
func (q *request) handOut() {
	q.outer.Form, q.outer.PostForm, q.outer.MultipartForm = q.inner.Form, q.inner.PostForm, q.inner.MultipartForm
	q.outer.Pattern = q.inner.Pattern
}

// BeforeHeader implements responsewriter.Hooks: the last commit that can use the header. What came up is told once it is
// certain whose the response is: if that panics, nothing of the handler's gets through after a commit that failed.
func (q *request) BeforeHeader() error {
	err := q.commitTo(started)
	if err == nil {
		q.tellAll()
	}
	return err
}

var errHijackCookie = errors.New("session: the connection can't be taken over with a session cookie still to be sent; " +
	"write the header with WriteHeader(101) first, or begin the session in an earlier request")

// BeforeHijack implements responsewriter.Hooks. If the connection can't be taken over, the header can still be sent.
func (q *request) BeforeHijack(headerSent bool) error {
	if !headerSent && q.cookieUnsent() {
		return errHijackCookie
	}
	q.setStage(open, hijacked)
	err := q.commitTo(hijacked)
	if err != nil {
		q.setStage(hijacked, open)
	}
	q.tellAll()
	if errors.Is(err, ErrResponseStarted) {
		return errHijackCookie
	}
	return err
}

// setStage moves the response from one stage to another, if it is at that.
func (q *request) setStage(from, to stage) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if q.stage == from {
		q.stage = to
	}
}

// canSendCookie reports whether the header has not been sent.
func (q *request) canSendCookie() bool {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.stage == open
}

// AnswerFailure implements responsewriter.Hooks: the header is what it was before the handler, and the error handler does
// the rest.
func (q *request) AnswerFailure(w http.ResponseWriter, err error) {
	defer q.tellAll()
	q.logFailure(err)
	h := w.Header()
	putBack(h, q.before)
	defer func() { q.answered = h.Clone() }()
	if errors.Is(err, errClientGone) {
		w.WriteHeader(http.StatusServiceUnavailable) // for whoever cancelled in the client's place
		return
	}
	if q.endpoint { // a browser would take any other answer for the end of its registration
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	varyByCookie(h, &q.vary)
	q.session.mu.Lock()
	if q.cookie != "" {
		setCookie(h, q.manager.config.Name, q.cookie) // what Save did before the failure is done, and without its cookie the session would be lost
	}
	q.completeBinding(h)
	q.session.mu.Unlock()
	if errors.Is(err, errAskAgain) {
		q.answerAskAgain(w)
		return
	}
	q.manager.config.ErrorHandler(w, q.inner, err)
}

// putBack makes a header what it was.
func putBack(h, before http.Header) {
	clear(h)
	maps.Copy(h, before)
}

// finish is called when the handler has returned: it commits what was changed since the header was sent, what OnEvent
// changes when told of that, and closes the request. The last commit and the end are one step, so that nothing falls
// between them. What can't be kept is reported.
func (q *request) finish() {
	q.session.mu.Lock()
	q.returned = true
	q.session.mu.Unlock()
	if q.response.Begin() != nil {
		q.endDestroyed(q.response.Failure())
		putBack(q.response.Below().Header(), q.answered)
		_ = q.commitTo(finished) // which the failure keeps from storing anything
		q.tellAll()
		return
	}
	if err := q.commitTo(finished); err != nil {
		q.session.mu.Lock()
		if st := q.session.state; cmp.Or(st.loadErr, st.adoptErr) == nil { // or else there was nothing to keep
			q.reportNotKept(err)
		}
		q.session.mu.Unlock()
		q.endDestroyed(err)
	}
	q.tellAll()
}

// abandon is what a panic leaves to do: values are not saved, but a logout is done.
func (q *request) abandon() {
	q.endDestroyed(nil)
	h := q.response.Below().Header()
	q.session.mu.Lock()
	if q.stage != open && q.unsaved() { // before the header, the panic's answer tells
		q.reportNotKept(ErrResponseStarted)
	}
	if q.stage == open && q.cookie != "" { // the panic's answer has it: the session that Save stored must not be lost
		setCookie(h, q.manager.config.Name, q.cookie)
		q.completeBinding(h)
	}
	q.stage = finished
	q.session.mu.Unlock()
	q.tellAll()
}

// isHead reports whether the request is a HEAD.
func (q *request) isHead() bool { return q.outer.Method == http.MethodHead }

// logFailure logs why a response is not the handler's, where that is the program's fault: a failure of the store has been
// logged by now, and the end of a session is none.
func (q *request) logFailure(err error) {
	var failed *StoreError
	if errors.As(err, &failed) || errors.Is(err, ErrSessionEnded) || errors.Is(err, ErrTooManySessions) || errors.Is(err, errClientGone) ||
		errors.Is(err, errAskAgain) {
		return
	}
	q.log(slog.LevelError, "session: the response is an error, since the session can't be saved", err)
}

// What is told of the session is the application's code, OnEvent and the logger's handler: it is put off as long as a lock
// of the session is held, or it is loaded or committed.

// reportLate reports a change that came after the end of the request. It is called with the session's lock held, as all up
// to tellAll.
func (q *request) reportLate(op string) {
	q.addEvent(EventLateWrite, ReasonAfterRequest, fmt.Errorf("%s: %w", op, ErrResponseStarted))
	q.addLine(slog.LevelWarn, "session: a change made after the handler returned is lost", errors.New(op))
}

// reportNotKept reports changes that were made after the response had started, and can't be kept.
func (q *request) reportNotKept(err error) {
	q.addEvent(EventLateWrite, ReasonNotKept, err)
	q.addLine(slog.LevelError, "session: changes made after the response had started are lost", err)
}

func (q *request) reportUnreadable(key string, err error) {
	q.addLine(slog.LevelWarn, "session: a stored value can't be read", err, "key", key)
}

// addEvent notes what happened to the session as it is.
func (q *request) addEvent(kind EventKind, reason Reason, err error) {
	r := &Record{}
	if st := q.session.state; st != nil && st.base != nil {
		r = st.base
	}
	q.addEventOf(kind, r, reason, err)
}

// addEventOf notes what happened to the session r.
func (q *request) addEventOf(kind EventKind, r *Record, reason Reason, err error) {
	if q.manager.config.OnEvent == nil {
		return
	}
	event := Event{Kind: kind, ID: r.ID, User: r.User, Reason: reason, Err: err, Time: q.manager.config.Clock()}
	if r.Ended {
		event.EndReason = Reason(r.Note)
	}
	q.untold = append(q.untold, func() { q.manager.config.OnEvent(&q.context, event) })
}

func (q *request) addLine(level slog.Level, message string, err error, args ...any) {
	q.untold = append(q.untold, func() {
		q.manager.log(q.context.Context, level, message, append(args, "error", err)...) // outside, where there is no session
	})
}

// tellAll tells what came up, and what comes up by telling, as far as that ends: OnEvent may change the session on each
// event.
func (q *request) tellAll() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if q.telling {
		return // whoever does tells this too
	}
	q.telling = true
	defer func() { q.telling = false }()
	for round := 0; round < maxRounds && len(q.untold) > 0; round++ {
		untold := q.untold
		q.untold = nil
		q.tellUnlocked(untold)
	}
}

// tellUnlocked lets the session's lock go while the application is told, and takes it again even if that panics.
func (q *request) tellUnlocked(untold []func()) {
	q.session.mu.Unlock()
	defer q.session.mu.Lock()
	for _, tell := range untold {
		tell()
	}
}

// noteEvent is addEventOf without the lock held.
func (q *request) noteEvent(kind EventKind, r *Record, reason Reason, err error) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.addEventOf(kind, r, reason, err)
}

// storeError notes and logs the failure of a store, and returns it for the error handler.
func (q *request) storeError(op Op, r *Record, err error) error {
	failed := &StoreError{Op: op, Err: err}
	if r == nil {
		r = &Record{}
	}
	q.noteEvent(EventStoreError, r, Reason(op), failed)
	q.log(slog.LevelError, "session: the store failed", failed, "session", r.ID)
	return failed
}

// log is addLine without the lock held.
func (q *request) log(level slog.Level, message string, err error, args ...any) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.addLine(level, message, err, args...)
}

// requestContext carries the session in the request's context.
type requestContext struct {
	context.Context
	request *request
}

type (
	sessionKey struct{}           // the innermost Manager's session
	managerKey struct{ *Manager } // this Manager's
	requestKey struct{}           // the innermost request
)

// outerRequest returns the innermost request of a context, or nil.
func outerRequest(ctx context.Context) *request {
	q, _ := ctx.Value(requestKey{}).(*request)
	return q
}

// Value implements context.Context.
func (c *requestContext) Value(key any) any {
	switch key := key.(type) {
	case sessionKey:
		return &c.request.session
	case managerKey:
		if key.Manager == c.request.manager {
			return &c.request.session
		}
	case requestKey:
		return c.request
	}
	return c.Context.Value(key)
}
