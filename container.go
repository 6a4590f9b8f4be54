package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// A sealed cookie's payload: a version, flags, and then numbers as varints and texts with their length in front. It is
// compact because a cookie holds 4096 bytes, of which sealing takes its share.

const (
	containerVersion = 1

	flagPersistent    = 1 << 0
	flagAuthenticated = 1 << 1
	flagLatest        = 1 << 2
	flagsKnown        = flagPersistent | flagAuthenticated | flagLatest
)

var errContainer = errors.New("session: not a sealed session of this version")

// packRecord returns r as bytes. Times are kept to the microsecond.
func packRecord(r *Record) []byte {
	flags := byte(0)
	if r.Persistent {
		flags |= flagPersistent
	}
	if !r.Authenticated.IsZero() {
		flags |= flagAuthenticated
	}
	if r.latest.After(r.Deadline) {
		flags |= flagLatest
	}
	b := append(make([]byte, 0, 256), containerVersion, flags)
	b = appendText(b, r.ID)
	b = appendText(b, r.User)
	b = appendText(b, r.Note)
	b = binary.AppendVarint(b, r.Created.UnixMicro())
	for _, t := range []time.Time{r.Issued, r.Used, r.Deadline} {
		b = binary.AppendVarint(b, t.Sub(r.Created).Microseconds())
	}
	if !r.Authenticated.IsZero() {
		b = binary.AppendVarint(b, r.Authenticated.Sub(r.Created).Microseconds())
	}
	if flags&flagLatest != 0 {
		b = binary.AppendVarint(b, r.latest.Sub(r.Created).Microseconds())
	}
	b = binary.AppendVarint(b, r.Idle.Microseconds())
	b = appendMap(b, r.Values)
	return appendMap(b, r.Flashes)
}

func appendText[T ~string | ~[]byte](b []byte, text T) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func appendMap(b []byte, m map[string]json.RawMessage) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	for key, raw := range m {
		b = appendText(b, key)
		b = appendText(b, raw)
	}
	return b
}

// unpackRecord reads into r what packRecord wrote. The record's values refer to b.
func unpackRecord(b []byte, r *Record) error {
	if len(b) < 2 || b[0] != containerVersion || b[1]&^flagsKnown != 0 {
		return errContainer
	}
	flags, p := b[1], unpacker{rest: b[2:], shared: string(b)}
	r.Persistent = flags&flagPersistent != 0
	r.ID, r.User, r.Note = p.text(), p.text(), p.text()
	r.Created = time.UnixMicro(p.number()).UTC()
	r.Issued, r.Used, r.Deadline = p.since(r.Created), p.since(r.Created), p.since(r.Created)
	if flags&flagAuthenticated != 0 {
		r.Authenticated = p.since(r.Created)
	}
	if flags&flagLatest != 0 {
		r.latest = p.since(r.Created)
	}
	r.Idle = p.duration()
	r.Values, r.Flashes = p.texts(), p.texts()
	if p.failed || len(p.rest) > 0 || r.ID == "" || r.Idle < 0 {
		return fmt.Errorf("%w (%d bytes)", errContainer, len(b))
	}
	return nil
}

// unpacker reads from rest, and notes a failure instead of returning it each time.
type unpacker struct {
	rest   []byte
	shared string // all of it; texts are parts of it, so that they need no memory of their own
	failed bool
}

func (p *unpacker) take(n int) {
	if n <= 0 {
		p.failed, p.rest = true, nil
		return
	}
	p.rest = p.rest[n:]
}

func (p *unpacker) number() int64 {
	v, n := binary.Varint(p.rest)
	p.take(n)
	return v
}

func (p *unpacker) count() uint64 {
	v, n := binary.Uvarint(p.rest)
	p.take(n)
	return v
}

// duration reads microseconds, within what a Duration can hold.
func (p *unpacker) duration() time.Duration {
	const limit = int64(1<<63-1) / int64(time.Microsecond)
	v := p.number()
	if v > limit || v < -limit {
		p.failed = true
		return 0
	}
	return time.Duration(v) * time.Microsecond
}

func (p *unpacker) since(t time.Time) time.Time { return t.Add(p.duration()) }

func (p *unpacker) bytes() []byte {
	n := p.count()
	if n > uint64(len(p.rest)) {
		p.failed, p.rest = true, nil
		return nil
	}
	text := p.rest[:n:n]
	p.rest = p.rest[n:]
	return text
}

func (p *unpacker) text() string {
	raw := p.bytes()
	end := len(p.shared) - len(p.rest)
	text := p.shared[end-len(raw) : end]
	p.failed = p.failed || !utf8.ValidString(text)
	return text
}

func (p *unpacker) texts() map[string]json.RawMessage {
	n := p.count()
	if n == 0 || n > uint64(len(p.rest)) { // each entry takes two bytes at least
		p.failed = p.failed || n > 0
		return nil
	}
	m := make(map[string]json.RawMessage, n)
	for range n {
		key := p.text()
		m[key] = p.bytes()
	}
	p.failed = p.failed || uint64(len(m)) != n // a key twice
	return m
}
