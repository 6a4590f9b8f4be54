package session

import (
	"encoding/json"
	"fmt"

	"github.com/doorman-go/session/internal/jsonvalue"
)

// Key names a value of type T in a session, so that it is written and read as the same type everywhere:
//
//	const cart session.Key[[]string] = "cart"
type Key[T any] string

// Get returns the value, and reports whether there is one. A stored value of another type counts as none, and
// Session.Err says so.
func (k Key[T]) Get(s *Session) (T, bool) {
	var v T
	raw := s.raw(string(k))
	if raw == nil || jsonvalue.Plain(raw, &v) {
		return v, raw != nil
	}
	return k.decode(s, raw)
}

// decode reads raw, or notes that it is no T. It is a function of its own, because the decoder moves v to the heap. Get
// mostly does without that.
func (k Key[T]) decode(s *Session, raw json.RawMessage) (T, bool) {
	var v T
	ok := s.decode(string(k), raw, &v)
	return v, ok
}

// Set stores v, as Session.Set does.
func (k Key[T]) Set(s *Session, v T) { s.Set(string(k), v) }

// Pop returns the value, as Get does, and deletes it. Two requests at the same time may both get it. If something must
// happen only once, use a transaction of your own.
func (k Key[T]) Pop(s *Session) (T, bool) {
	v, ok := k.Get(s)
	if s.Has(string(k)) {
		s.Delete(string(k))
	}
	return v, ok
}

// Delete removes the value.
func (k Key[T]) Delete(s *Session) { s.Delete(string(k)) }

// Update replaces the value by the result of f. If there is no value, or one of another type, f gets the zero value. In
// the second case Session.Err says so.
//
// With a server store no change of another request is lost: if there was one, the commit calls f again with the newer
// value. So f must depend on its argument only, and must not use the session. An f that takes longer than a tenth of
// Config.StoreTimeout at a commit is committed by itself, and not in one group with other requests.
func (k Key[T]) Update(s *Session, f func(T) T) {
	s.update(string(k), func(raw json.RawMessage) (json.RawMessage, error) {
		var v T
		if raw != nil {
			v, _ = k.decode(s, raw)
		}
		return encodeValue(string(k), f(v))
	})
}

// encodeValue returns v as JSON, or an error that names the key.
func encodeValue(key string, v any) (json.RawMessage, error) {
	err := jsonvalue.CheckText(key)
	if err != nil {
		return nil, fmt.Errorf("session: the key %q: %w", key, err)
	}
	raw, err := jsonvalue.Encode(v)
	if err != nil {
		return nil, fmt.Errorf("session: can't encode the value of key %q: %w", key, err)
	}
	return raw, nil
}

// checkTexts returns an error for texts that JSON would alter.
func checkTexts(what string, texts ...string) error {
	for _, text := range texts {
		if err := jsonvalue.CheckText(text); err != nil {
			return fmt.Errorf("session: the %s: %w", what, err)
		}
	}
	return nil
}
