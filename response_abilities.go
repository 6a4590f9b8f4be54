package session

import (
	"io"
	"net/http"
)

const (
	canFlush = 1 << iota
	canHijack
	canPush
	canReadFrom
	canWriteString
)

// abilities tells what the writers below can do, down the chain of Unwrap, as http.ResponseController looks for it.
func abilities(w http.ResponseWriter) (mask int) {
	for {
		mask |= own(w)
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return mask
		}
		w = wrapper.Unwrap()
	}
}

// own tells what this writer itself can do.
func own(w http.ResponseWriter) (mask int) {
	if _, can := w.(http.Flusher); can {
		mask |= canFlush
	}
	if _, can := w.(http.Hijacker); can {
		mask |= canHijack
	}
	if _, can := w.(http.Pusher); can {
		mask |= canPush
	}
	if _, can := w.(io.ReaderFrom); can {
		mask |= canReadFrom
	}
	if _, can := w.(io.StringWriter); can {
		mask |= canWriteString
	}
	return mask
}

// withAbilities returns r as a ResponseWriter that has the optional interfaces in mask and no others: handlers and
// libraries ask for them by type assertion, and act on the answer.
func (r *response) withAbilities(mask int) http.ResponseWriter {
	f, h, p, from, str := (*flusher)(r), (*hijacker)(r), (*pusher)(r), (*readerFrom)(r), (*stringWriter)(r)
	switch mask {
	case canFlush:
		return struct {
			*response
			*flusher
		}{r, f}
	case canHijack:
		return struct {
			*response
			*hijacker
		}{r, h}
	case canFlush | canHijack:
		return struct {
			*response
			*flusher
			*hijacker
		}{r, f, h}
	case canPush:
		return struct {
			*response
			*pusher
		}{r, p}
	case canFlush | canPush:
		return struct {
			*response
			*flusher
			*pusher
		}{r, f, p}
	case canHijack | canPush:
		return struct {
			*response
			*hijacker
			*pusher
		}{r, h, p}
	case canFlush | canHijack | canPush:
		return struct {
			*response
			*flusher
			*hijacker
			*pusher
		}{r, f, h, p}
	case canReadFrom:
		return struct {
			*response
			*readerFrom
		}{r, from}
	case canFlush | canReadFrom:
		return struct {
			*response
			*flusher
			*readerFrom
		}{r, f, from}
	case canHijack | canReadFrom:
		return struct {
			*response
			*hijacker
			*readerFrom
		}{r, h, from}
	case canFlush | canHijack | canReadFrom:
		return struct {
			*response
			*flusher
			*hijacker
			*readerFrom
		}{r, f, h, from}
	case canPush | canReadFrom:
		return struct {
			*response
			*pusher
			*readerFrom
		}{r, p, from}
	case canFlush | canPush | canReadFrom:
		return struct {
			*response
			*flusher
			*pusher
			*readerFrom
		}{r, f, p, from}
	case canHijack | canPush | canReadFrom:
		return struct {
			*response
			*hijacker
			*pusher
			*readerFrom
		}{r, h, p, from}
	case canFlush | canHijack | canPush | canReadFrom:
		return struct {
			*response
			*flusher
			*hijacker
			*pusher
			*readerFrom
		}{r, f, h, p, from}
	case canWriteString:
		return struct {
			*response
			*stringWriter
		}{r, str}
	case canFlush | canWriteString:
		return struct {
			*response
			*flusher
			*stringWriter
		}{r, f, str}
	case canHijack | canWriteString:
		return struct {
			*response
			*hijacker
			*stringWriter
		}{r, h, str}
	case canFlush | canHijack | canWriteString:
		return struct {
			*response
			*flusher
			*hijacker
			*stringWriter
		}{r, f, h, str}
	case canPush | canWriteString:
		return struct {
			*response
			*pusher
			*stringWriter
		}{r, p, str}
	case canFlush | canPush | canWriteString:
		return struct {
			*response
			*flusher
			*pusher
			*stringWriter
		}{r, f, p, str}
	case canHijack | canPush | canWriteString:
		return struct {
			*response
			*hijacker
			*pusher
			*stringWriter
		}{r, h, p, str}
	case canFlush | canHijack | canPush | canWriteString:
		return struct {
			*response
			*flusher
			*hijacker
			*pusher
			*stringWriter
		}{r, f, h, p, str}
	case canReadFrom | canWriteString:
		return struct {
			*response
			*readerFrom
			*stringWriter
		}{r, from, str}
	case canFlush | canReadFrom | canWriteString:
		return struct {
			*response
			*flusher
			*readerFrom
			*stringWriter
		}{r, f, from, str}
	case canHijack | canReadFrom | canWriteString:
		return struct {
			*response
			*hijacker
			*readerFrom
			*stringWriter
		}{r, h, from, str}
	case canFlush | canHijack | canReadFrom | canWriteString:
		return struct {
			*response
			*flusher
			*hijacker
			*readerFrom
			*stringWriter
		}{r, f, h, from, str}
	case canPush | canReadFrom | canWriteString:
		return struct {
			*response
			*pusher
			*readerFrom
			*stringWriter
		}{r, p, from, str}
	case canFlush | canPush | canReadFrom | canWriteString:
		return struct {
			*response
			*flusher
			*pusher
			*readerFrom
			*stringWriter
		}{r, f, p, from, str}
	case canHijack | canPush | canReadFrom | canWriteString:
		return struct {
			*response
			*hijacker
			*pusher
			*readerFrom
			*stringWriter
		}{r, h, p, from, str}
	case canFlush | canHijack | canPush | canReadFrom | canWriteString:
		return struct {
			*response
			*flusher
			*hijacker
			*pusher
			*readerFrom
			*stringWriter
		}{r, f, h, p, from, str}
	}
	return r
}
