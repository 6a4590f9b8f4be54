package responsewriter

import (
	"bufio"
	"net"
	"net/http"
)

// Wrap returns w as a handler gets it. It always has FlushError, ReadFrom, WriteString and Unwrap. It is a Flusher,
// Hijacker or Pusher only if one of the writers below is, down the chain of Unwrap: handlers and libraries ask for
// these by type assertion, and act on the answer.
func (w *Writer) Wrap() http.ResponseWriter {
	r := (*response)(w)
	switch abilities(w.below) {
	case flushes | hijacks: // HTTP/1
		return flushHijacker{flusher{r}}
	case flushes | pushes: // HTTP/2
		return flushPusher{flusher{r}}
	case flushes | hijacks | pushes:
		return flushHijackPusher{flushHijacker{flusher{r}}}
	case hijacks | pushes:
		return hijackPusher{hijacker{r}}
	case flushes:
		return flusher{r}
	case hijacks:
		return hijacker{r}
	case pushes:
		return pusher{r}
	}
	return r
}

// The types that Wrap returns. Each is only a pointer, so that an interface holds it without an allocation.
type (
	flusher           struct{ *response }
	hijacker          struct{ *response }
	pusher            struct{ *response }
	flushHijacker     struct{ flusher }
	flushPusher       struct{ flusher }
	hijackPusher      struct{ hijacker }
	flushHijackPusher struct{ flushHijacker }
)

func (w flusher) Flush() { _ = w.FlushError() }

func (w hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error)      { return w.hijack() }
func (w flushHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func (w pusher) Push(target string, opts *http.PushOptions) error       { return w.push(target, opts) }
func (w flushPusher) Push(target string, opts *http.PushOptions) error  { return w.push(target, opts) }
func (w hijackPusher) Push(target string, opts *http.PushOptions) error { return w.push(target, opts) }
func (w flushHijackPusher) Push(target string, opts *http.PushOptions) error {
	return w.push(target, opts)
}

const (
	flushes = 1 << iota
	hijacks
	pushes
)

// abilities returns what the writers down the chain can do.
func abilities(w http.ResponseWriter) (mask int) {
	for w != nil {
		if _, ok := w.(http.Flusher); ok {
			mask |= flushes
		}
		if _, ok := w.(http.Hijacker); ok {
			mask |= hijacks
		}
		if _, ok := w.(http.Pusher); ok {
			mask |= pushes
		}
		w = next(w)
	}
	return mask
}

// canFlush reports whether http.ResponseController can flush w.
func canFlush(w http.ResponseWriter) bool {
	if _, ok := find[http.Flusher](w); ok {
		return true
	}
	_, ok := find[interface{ FlushError() error }](w)
	return ok
}

// find looks down the chain for the first writer that is a T, as http.ResponseController does.
func find[T any](w http.ResponseWriter) (found T, ok bool) {
	for w != nil {
		if found, ok = w.(T); ok {
			return found, true
		}
		w = next(w)
	}
	return found, false
}

// next returns the writer that w wraps, or nil.
func next(w http.ResponseWriter) http.ResponseWriter {
	if wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return wrapper.Unwrap()
	}
	return nil
}
