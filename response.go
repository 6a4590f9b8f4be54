package session

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// response is the ResponseWriter that handlers get. It asks its gate once, before the first byte: if the gate refuses,
// the gate's answer is the response, and nothing of the handler's gets through.
type response struct {
	w    http.ResponseWriter
	gate gate

	begun  atomic.Bool // the header has been sent, or the connection taken over
	failed error       // why the response is not the handler's
	orphan http.Header // what the handler writes headers to then
}

// gate is what stands before the first byte.
type gate interface {
	// beforeHeader commits the session and puts its cookie into the header, and marks the response as begun.
	beforeHeader() error
	// beforeHijack commits the session on a connection that is to be taken over, without a header sent or after one.
	beforeHijack(headerSent bool) error
	// answer writes the response to a request whose commit failed.
	answer(err error)
}

// begin lets the response start, and returns an error if it is not to be the handler's.
func (r *response) begin() error {
	if r.failed != nil {
		return r.failed
	}
	if r.begun.Load() {
		return nil
	}
	err := r.gate.beforeHeader()
	if err != nil {
		r.failed, r.orphan = err, http.Header{}
		r.gate.answer(err)
	}
	return err
}

func (r *response) Header() http.Header {
	if r.failed != nil {
		return r.orphan
	}
	return r.w.Header()
}

// WriteHeader lets informational responses pass: the header proper is still to come. 101 is final (RFC 9110, 15.2.2).
// What is no status passes too, and panics below, before anything is saved.
func (r *response) WriteHeader(status int) {
	final := status >= 200 && status <= 999 || status == http.StatusSwitchingProtocols
	if !final && r.failed == nil {
		r.w.WriteHeader(status)
		return
	}
	if r.begin() == nil {
		r.w.WriteHeader(status)
	}
}

func (r *response) Write(p []byte) (int, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	return r.w.Write(p)
}

// FlushError sends what was written so far. Where the server can't flush it commits nothing.
func (r *response) FlushError() error {
	if !has[http.Flusher](r.w) && !has[interface{ FlushError() error }](r.w) {
		return http.ErrNotSupported
	}
	if err := r.begin(); err != nil {
		return err
	}
	return http.NewResponseController(r.w).Flush()
}

// Unwrap is for http.ResponseController: deadlines and full duplex go past the session, all else is met above.
func (r *response) Unwrap() http.ResponseWriter { return r.w }

// The abilities that a ResponseWriter may have beyond these. Each is the response itself, seen as having it.
type (
	flusher      response
	hijacker     response
	pusher       response
	readerFrom   response
	stringWriter response
)

func (f *flusher) Flush() { _ = (*response)(f).FlushError() }

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r := (*response)(h)
	if r.failed != nil {
		return nil, nil, r.failed
	}
	if err := r.gate.beforeHijack(r.begun.Load()); err != nil {
		return nil, nil, err
	}
	conn, buf, err := http.NewResponseController(r.w).Hijack()
	if err == nil {
		r.begun.Store(true)
	}
	return conn, buf, err
}

func (p *pusher) Push(target string, opts *http.PushOptions) error {
	below, _ := find[http.Pusher](p.w)
	return below.Push(target, opts)
}

// ReadFrom uses the next writer's own ReadFrom only: one further down would go round the writers between.
func (f *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	if err := (*response)(f).begin(); err != nil {
		return 0, err
	}
	return io.Copy(f.w, src)
}

func (s *stringWriter) WriteString(text string) (int, error) {
	if err := (*response)(s).begin(); err != nil {
		return 0, err
	}
	return io.WriteString(s.w, text)
}

// find looks for an ability down the chain of Unwrap, as http.ResponseController does.
func find[T any](w http.ResponseWriter) (T, bool) {
	for {
		if t, ok := w.(T); ok {
			return t, true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			var none T
			return none, false
		}
		w = wrapper.Unwrap()
	}
}

func has[T any](w http.ResponseWriter) bool {
	_, ok := find[T](w)
	return ok
}
