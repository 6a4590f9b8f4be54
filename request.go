package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/doorman-go/session/internal/responsewriter"
)

// request is one request and its response under one Manager. It loads the session, commits it before the first byte,
// and decides what the client gets. This file follows the request from the middleware's call to its end. commit.go has
// the changes in the store, and cookie.go the header.
type request struct {
	manager  *Manager
	outer    *http.Request   // as it came
	parent   context.Context // its context, which does not have the session
	inner    http.Request    // as the handlers see it: with a requestContext
	session  Session
	response responsewriter.Writer
	before   http.Header   // the header as it was before the handler
	answered http.Header   // the header after the answer to a failure: what the handler sets later is undone, trailers too
	asCame   *http.Request // a copy of outer for Config.Adopt, because outer changes when the handler returns; nil without Adopt
	old      *oldAnswer    // nil until the load, or the commit under way, asks the old library
	context  requestContext
	endpoint bool // the browser sent the request by itself, to register a key or to renew the proof

	// Guarded by session.mu.
	stage      stage
	returned   bool        // the handler has returned before the header was sent
	telling    bool        // untold is being told now
	offered    bool        // the response can do without the cookie
	cookie     string      // the Set-Cookie line that the response gets
	failure    error       // the error of the commit before the header
	untold     []func()    // events and log lines that came up under the lock
	commits    *commits    // nil until the first commit
	bindAnswer *bindAnswer // nil as long as there is nothing to say about the binding
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
	q := &request{manager: m, outer: r, parent: r.Context()}
	q.context.request = q
	q.inner = *r.WithContext(&q.context)
	q.session.request, q.session.config = q, &m.config
	if m.config.Adopt != nil {
		q.asCame = r.WithContext(q.parent)
	}
	q.response.Init(w, q)
	if h := w.Header(); len(h) > 0 {
		q.before = h.Clone()
	}
	return q
}

// serve calls next. It does not recover a panic, so that the panic keeps its stack.
func (q *request) serve(next http.Handler) {
	returned, ended := false, false
	defer func() {
		q.handOut()
		defer func() {
			if !ended { // finish may panic in the application's code
				q.abandon()
			}
		}()
		if returned {
			q.finish()
			ended = true
		}
	}()
	next.ServeHTTP(q.response.Wrap(), &q.inner)
	returned = true
}

// handOut copies to the outer request what the handlers set on the inner one: a server removes the files of its
// MultipartForm, and loggers read its Pattern.
func (q *request) handOut() {
	q.outer.Form, q.outer.PostForm, q.outer.MultipartForm = q.inner.Form, q.inner.PostForm, q.inner.MultipartForm
	q.outer.Pattern = q.inner.Pattern
}

// BeforeHeader implements responsewriter.Hooks. It makes the last commit that can still change the header. If the
// commit fails, AnswerFailure tells the events, after it has replaced the response: OnEvent may panic, and even then
// the client must get nothing that the handler wrote.
func (q *request) BeforeHeader() error { return q.commitTo(started) }

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
		if !headerSent { // else an earlier Hijack may have taken the connection over
			q.HijackFailed()
		}
		q.tellAll()
	}
	if errors.Is(err, ErrResponseStarted) {
		return errHijackCookie
	}
	return err
}

// HijackFailed implements responsewriter.Hooks.
func (q *request) HijackFailed() { q.setStage(hijacked, open) }

// setStage moves the response to another stage, if its stage is from.
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

// AnswerFailure implements responsewriter.Hooks. It makes the header what it was before the handler. Then the error
// handler writes the answer.
func (q *request) AnswerFailure(w http.ResponseWriter, err error) {
	defer q.tellAll()
	q.logFailure(err)
	h := w.Header()
	putBack(h, q.before)
	defer func() { q.answered = h.Clone() }()
	if errors.Is(err, errClientGone) {
		w.WriteHeader(http.StatusServiceUnavailable) // seen only if a middleware cancelled the context
		return
	}
	if q.endpoint { // a browser would take any other answer for the end of its registration
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	q.completeFailure(h)
	if errors.Is(err, errAskAgain) {
		q.answerAskAgain(w)
		return
	}
	q.manager.config.ErrorHandler(w, &q.inner, err)
}

// completeFailure completes the header of the answer to a failure. That has the cookie too, or else a session that Save
// stored would be lost.
func (q *request) completeFailure(h http.Header) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.completeOwn(h)
}

// putBack makes the header h what it was before.
func putBack(h, before http.Header) {
	clear(h)
	maps.Copy(h, before)
}

// finish is called when the handler has returned. It commits the changes that were made since the header was sent, and
// those that OnEvent makes when it is told of that commit. Then it closes the request. The last commit and the end are
// one step (commitTo), so that no change is lost between them. finish reports changes that can't be kept.
func (q *request) finish() {
	if !q.response.Started() {
		q.noteReturn()
	}
	if q.response.Begin() != nil {
		q.endDestroyed(q.response.Failure())
		putBack(q.response.Below().Header(), q.answered)
		_ = q.commitTo(finished) // stores nothing, because nextStep returns the failure
		q.tellAll()
		return
	}
	err := q.commitTo(finished)
	if err == nil {
		return
	}
	q.noteNotKept(err)
	q.endDestroyed(err)
	q.tellAll()
}

// noteNotKept reports that the changes made after the response had started are lost, if there are any. Where the session
// could not be loaded, they have been reported.
func (q *request) noteNotKept(err error) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if st := q.session.state; st.loadErr == nil && (st.adoptErr == nil || len(st.log) > 0) {
		q.reportNotKept(err)
	}
}

// noteReturn notes that the handler has returned without starting the response. From now on only a goroutine that
// outlives the handler can use the session.
func (q *request) noteReturn() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.returned = true
}

// abandon ends the request after a panic. It saves no values, but it does a logout. It does nothing if the panic came
// after the last commit.
func (q *request) abandon() {
	if q.isFinished() {
		return
	}
	q.endDestroyed(nil)
	q.finishUnsaved(q.response.Below().Header())
	q.tellAll()
}

func (q *request) isFinished() bool {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.stage == finished
}

// finishUnsaved closes a request that has panicked. A handler outside may answer for it, and its header must have the
// cookie of a session that Save stored.
func (q *request) finishUnsaved(h http.Header) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	lost := q.stage != open && q.unsaved() // before the header is sent, the answer to the panic tells the client
	if q.stage == open {
		q.returned = true
		q.completeOwn(h)
	}
	q.stage = finished
	if lost {
		q.reportNotKept(ErrResponseStarted)
	}
}

// logFailure logs why the client gets an error instead of the handler's response, if that is the program's fault. A
// failure of the store was logged before, and the end of a session is no fault.
func (q *request) logFailure(err error) {
	if isStoreFailure(err) || errors.Is(err, ErrSessionEnded) || errors.Is(err, ErrTooManySessions) || errors.Is(err, errClientGone) ||
		errors.Is(err, errAskAgain) {
		return
	}
	q.log(slog.LevelError, "session: the response is an error, because the session can't be saved", err)
}

// Events and log lines run the application's code: OnEvent, and the logger's handler. That code must not run while the
// session's lock is held, or while the session is loaded or committed. So they are kept in untold until tellAll.

// reportLate reports a change that came after the end of the request. The caller holds the session's lock. This is true
// for each function from here up to addLine.
func (q *request) reportLate(op string) {
	q.addEvent(EventLateWrite, ReasonAfterRequest, fmt.Errorf("%s: %w", op, ErrResponseStarted))
	q.addLine(slog.LevelWarn, "session: a change made after the handler returned is lost", errors.New(op))
}

// reportNotKept reports changes that were made after the response had started, and can't be kept.
func (q *request) reportNotKept(err error) {
	q.addEvent(EventLateWrite, ReasonNotKept, err)
	q.addLine(slog.LevelError, "session: changes made after the response had started are lost", err)
}

// addEvent notes an event of the request's session.
func (q *request) addEvent(kind EventKind, reason Reason, err error) {
	var r *Record
	if st := q.session.state; st != nil {
		r = st.base
	}
	q.addEventOf(kind, r, reason, err)
}

// addEventOf notes an event of the session r, which is nil if none is known.
func (q *request) addEventOf(kind EventKind, r *Record, reason Reason, err error) {
	if q.manager.config.OnEvent == nil {
		return
	}
	r = cmp.Or(r, noRecord)
	event := Event{Kind: kind, ID: r.ID, User: r.User, Reason: reason, Err: err, Time: q.manager.config.Clock()}
	if r.Ended {
		event.EndReason = Reason(r.Note)
	}
	q.untold = append(q.untold, func() { q.manager.config.OnEvent(&q.context, event) })
}

func (q *request) addLine(level slog.Level, message string, err error, args ...any) {
	q.untold = append(q.untold, func() {
		q.manager.log(q.parent, level, message, append(args, "error", err)...) // a context without the session
	})
}

// maxTold is how many events and log lines tellAll tells before it leaves what was added meanwhile.
const maxTold = 200

// tellAll tells the events and log lines in untold, and those that are added meanwhile, by other goroutines too. It stops
// after maxTold and maxRounds, because OnEvent may change the session at each event and so cause the next events.
func (q *request) tellAll() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if q.telling {
		return // the goroutine that tells now tells the new ones too
	}
	q.telling = true
	defer func() { q.telling = false }()
	for round, told := 0, 0; (round < maxRounds || told < maxTold) && len(q.untold) > 0; round++ {
		untold := q.untold
		told += len(untold)
		q.untold = nil
		q.tellUnlocked(untold)
	}
}

// tellUnlocked releases the session's lock while the application's code runs, and takes it again even if that code
// panics. What it has not told then is left to the next tellAll.
func (q *request) tellUnlocked(untold []func()) {
	q.session.mu.Unlock()
	defer func() {
		q.session.mu.Lock()
		q.untold = slices.Concat(untold, q.untold)
	}()
	for len(untold) > 0 {
		tell := untold[0]
		untold = untold[1:]
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
	q.noteEvent(EventStoreError, r, Reason(op), failed)
	q.log(slog.LevelError, "session: the store failed", failed, "session", cmp.Or(r, noRecord).ID)
	return failed
}

// log is addLine without the lock held.
func (q *request) log(level slog.Level, message string, err error, args ...any) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.addLine(level, message, err, args...)
}

// requestContext is the context of the handlers: the request's own, with the session. It holds nothing but a pointer,
// because fmt also prints what a context in an unexported field points to.
type requestContext struct{ request *request }

// Format writes only a name, whatever the verb, because the request has the cookie.
func (c *requestContext) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "session.requestContext")
}

// Deadline implements context.Context, as the next three methods do.
func (c *requestContext) Deadline() (time.Time, bool) { return c.request.parent.Deadline() }

// Done returns the parent's channel.
func (c *requestContext) Done() <-chan struct{} { return c.request.parent.Done() }

// Err returns the parent's error.
func (c *requestContext) Err() error { return c.request.parent.Err() }

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

// Value returns the session, and otherwise the parent's value.
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
	return c.request.parent.Value(key)
}
