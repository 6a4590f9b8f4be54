package session

import "encoding/json"

// Key names a value of type T in a session, so that it is written and read as the same type everywhere:
//
//	const cart session.Key[[]string] = "cart"
type Key[T any] string

// Get returns the value, and whether there is one. A stored value that is no T reads as none, and Session.Err says so.
func (k Key[T]) Get(s *Session) (T, bool) {
	var v T
	raw := s.raw(string(k))
	if raw == nil || plain(raw, &v) {
		return v, raw != nil
	}
	return k.decoded(s, raw)
}

// decoded reads raw, or notes that it is no T. The decoder needs the value on the heap, which Get mostly spares it.
func (k Key[T]) decoded(s *Session, raw json.RawMessage) (T, bool) {
	var v T
	ok := s.decoded(string(k), raw, &v)
	return v, ok
}

// Set stores v, as Session.Set does.
func (k Key[T]) Set(s *Session, v T) { s.Set(string(k), v) }

// Pop returns the value, as Get does, and deletes it. Two requests at once may both get it: what must happen once needs a
// transaction of its own.
func (k Key[T]) Pop(s *Session) (T, bool) {
	v, ok := k.Get(s)
	if s.Has(string(k)) {
		s.Delete(string(k))
	}
	return v, ok
}

// Delete removes the value.
func (k Key[T]) Delete(s *Session) { s.Delete(string(k)) }

// Update replaces the value by what f makes of it; f gets the zero value if there is none, or one that is no T, which
// Session.Err then tells. With a server store no other request's change to the value is lost: if there was one, f is
// called again at commit with the newer value. So f should depend on its argument only, and not use the session.
func (k Key[T]) Update(s *Session, f func(T) T) {
	s.update(string(k), func(raw json.RawMessage) (json.RawMessage, error) {
		var v T
		if raw != nil {
			v, _ = k.decoded(s, raw)
		}
		return encode(string(k), f(v))
	})
}
