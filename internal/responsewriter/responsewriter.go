// Package responsewriter has an http.ResponseWriter that calls hooks before the response's first byte. A handler can't
// avoid the hooks: they come first, whatever way it starts the response.
package responsewriter

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// Hooks are called before the first byte.
type Hooks interface {
	// BeforeHeader is called once, before the response's header is sent. When it returns, the response counts as
	// started. It may call MarkStarted before that. After an error AnswerFailure writes the response. If BeforeHeader
	// panics, it is called again at the next attempt to start the response.
	BeforeHeader() error

	// BeforeHijack is called before the connection is taken over. It is told whether a header was sent before. After an
	// error the connection is not taken over, and the handler can still write the response.
	BeforeHijack(headerSent bool) error

	// HijackFailed is called after BeforeHijack if the connection was not taken over and no header was sent: the
	// handler can still write the response.
	HijackFailed()

	// AnswerFailure writes the response to a request whose BeforeHeader failed, to the writer below. Nothing that the
	// handler writes after that gets through. The handler can still change a header that it got earlier, so the caller
	// restores that header.
	AnswerFailure(w http.ResponseWriter, err error)
}

// Writer is one response. Call Init before use, and do not copy it.
type Writer struct {
	below   http.ResponseWriter
	hooks   Hooks
	started atomic.Bool
	failed  *failure // nil as long as BeforeHeader has not failed
}

// failure is the error of BeforeHeader. After it the handler gets a header that is never sent.
type failure struct {
	err    error
	header http.Header
}

// Init makes w the response that goes to below.
func (w *Writer) Init(below http.ResponseWriter, hooks Hooks) { w.below, w.hooks = below, hooks }

// Below returns the writer that the response goes to.
func (w *Writer) Below() http.ResponseWriter { return w.below }

// Started reports whether the header has been sent, or the connection taken over. It may be called from several
// goroutines.
func (w *Writer) Started() bool { return w.started.Load() }

// MarkStarted marks the response as started. It is for hooks that must do so while they hold a lock of their own.
func (w *Writer) MarkStarted() { w.started.Store(true) }

// Failure returns the error of BeforeHeader if AnswerFailure has written the response, or nil.
func (w *Writer) Failure() error {
	if w.failed == nil {
		return nil
	}
	return w.failed.err
}

// Begin starts the response, as the handler's first byte does. It returns an error if BeforeHeader has failed: then the
// handler must not write the response.
func (w *Writer) Begin() error {
	if w.failed != nil {
		return w.failed.err
	}
	if w.started.Load() {
		return nil
	}
	err := w.hooks.BeforeHeader()
	if !w.started.Load() { // an atomic write costs more than a read
		w.MarkStarted()
	}
	if err != nil {
		w.failed = &failure{err, http.Header{}}
		w.hooks.AnswerFailure(w.below, err)
	}
	return err
}

// response is a Writer as the handler sees it.
type response Writer

func (r *response) begin() error { return (*Writer)(r).Begin() }

func (r *response) Header() http.Header {
	if r.failed != nil {
		return r.failed.header
	}
	return r.below.Header()
}

// WriteHeader passes informational responses on, because the final header comes later. 101 is final (RFC 9110, 15.2.2).
// It also passes on an invalid status: the writer below panics then, before anything is saved.
func (r *response) WriteHeader(status int) {
	final := status >= 200 && status <= 999 || status == http.StatusSwitchingProtocols
	if !final && r.failed == nil {
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

// ReadFrom uses only the ReadFrom of the next writer. One further down would skip the writers between.
func (r *response) ReadFrom(src io.Reader) (int64, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	return io.Copy(r.below, src)
}

// FlushError sends what was written so far. If the server can't flush, the response does not start.
func (r *response) FlushError() error {
	if !canFlush(r.below) {
		return http.ErrNotSupported
	}
	if err := r.begin(); err != nil {
		return err
	}
	return http.NewResponseController(r.below).Flush()
}

// Unwrap is for http.ResponseController. Only deadlines and full duplex skip the hooks. The methods above serve all
// else.
func (r *response) Unwrap() http.ResponseWriter { return r.below }

func (r *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if r.failed != nil {
		return nil, nil, r.failed.err
	}
	defer func() {
		if !r.started.Load() {
			r.hooks.HijackFailed()
		}
	}()
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
