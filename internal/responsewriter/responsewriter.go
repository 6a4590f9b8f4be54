// Package responsewriter has an http.ResponseWriter that asks before the response's first byte. What it is asked for, a
// handler can't go round: whichever way a response is begun, the hooks come first.
package responsewriter

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// Hooks is what stands before the first byte.
type Hooks interface {
	// BeforeHeader is called once, before the response's header leaves. When it returns, the response counts as started;
	// it may say so itself earlier, by MarkStarted. After an error the response is AnswerFailure's. If it panics it is
	// called again at the next attempt to start the response.
	BeforeHeader() error

	// BeforeHijack is called before the connection is taken over, with whether a header was sent before. After an error
	// the connection is not taken over, and the response is still the handler's.
	BeforeHijack(headerSent bool) error

	// AnswerFailure writes the response to a request whose BeforeHeader failed, to the writer below. Nothing of the
	// handler's gets through afterwards, except what it sets in a header that it got earlier: the caller restores that.
	AnswerFailure(w http.ResponseWriter, err error)
}

// Writer is one response. It is used after Init, and not copied.
type Writer struct {
	below     http.ResponseWriter
	hooks     Hooks
	started   atomic.Bool
	failure   error
	discarded http.Header // what the handler sets headers in after a failure
}

// Init makes w the response that goes to below.
func (w *Writer) Init(below http.ResponseWriter, hooks Hooks) { w.below, w.hooks = below, hooks }

// Below returns the writer that the response goes to.
func (w *Writer) Below() http.ResponseWriter { return w.below }

// Started reports whether the header has been sent, or the connection taken over. It may be called from several
// goroutines.
func (w *Writer) Started() bool { return w.started.Load() }

// MarkStarted is for hooks that have to say under a lock of their own that the response has started.
func (w *Writer) MarkStarted() { w.started.Store(true) }

// Failure returns the error for which the response is not the handler's, or nil.
func (w *Writer) Failure() error { return w.failure }

// Begin lets the response start, as the handler's first byte does. It returns an error if the response is not to be the
// handler's.
func (w *Writer) Begin() error {
	if w.failure != nil {
		return w.failure
	}
	if w.started.Load() {
		return nil
	}
	err := w.hooks.BeforeHeader()
	w.started.Store(true)
	if err != nil {
		w.failure, w.discarded = err, http.Header{}
		w.hooks.AnswerFailure(w.below, err)
	}
	return err
}

// response is a Writer as the handler sees it.
type response Writer

func (r *response) begin() error { return (*Writer)(r).Begin() }

func (r *response) Header() http.Header {
	if r.failure != nil {
		return r.discarded
	}
	return r.below.Header()
}

// WriteHeader lets informational responses pass: the header proper is still to come. 101 is final (RFC 9110, 15.2.2).
// What is no status passes too, and panics below, before anything is saved.
func (r *response) WriteHeader(status int) {
	final := status >= 200 && status <= 999 || status == http.StatusSwitchingProtocols
	if !final && r.failure == nil {
		r.below.WriteHeader(status)
		return
	}
	if r.begin() == nil {
		r.below.WriteHeader(status)
	}
}

func (r *response) Write(p []byte) (int, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	return r.below.Write(p)
}

func (r *response) WriteString(text string) (int, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	return io.WriteString(r.below, text)
}

// ReadFrom uses the next writer's own ReadFrom only: one further down would go round the writers between.
func (r *response) ReadFrom(src io.Reader) (int64, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	return io.Copy(r.below, src)
}

// FlushError sends what was written so far. Where the server can't flush, the response does not start.
func (r *response) FlushError() error {
	if !canFlush(r.below) {
		return http.ErrNotSupported
	}
	if err := r.begin(); err != nil {
		return err
	}
	return http.NewResponseController(r.below).Flush()
}

// Unwrap is for http.ResponseController: deadlines and full duplex go past the hooks, all else is met above.
func (r *response) Unwrap() http.ResponseWriter { return r.below }

func (r *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if r.failure != nil {
		return nil, nil, r.failure
	}
	if err := r.hooks.BeforeHijack(r.started.Load()); err != nil {
		return nil, nil, err
	}
	conn, buf, err := http.NewResponseController(r.below).Hijack()
	if err == nil {
		r.started.Store(true)
	}
	return conn, buf, err
}

func (r *response) push(target string, opts *http.PushOptions) error {
	pusher, ok := find[http.Pusher](r.below)
	if !ok {
		return http.ErrNotSupported
	}
	return pusher.Push(target, opts)
}
