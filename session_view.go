package session

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// What a session shows of itself, beside its values.

// ID returns the session's public handle: safe in logs and pages, it opens nothing. It is empty if there is no session,
// and the new one once Regenerate or Login has been called.
func (s *Session) ID() string {
	st := s.open()
	defer s.close()
	return st.id()
}

// view returns the session as the request sees it, without its values.
func (s *Session) view() Record {
	st := s.open()
	defer s.close()
	return st.record()
}

// IsNew tells whether the session was not found in the store: it began with this request, or does not exist yet.
func (s *Session) IsNew() bool {
	st := s.open()
	defer s.close()
	return st.base == nil || st.fresh
}

// User returns whom Login bound the session to, or "".
func (s *Session) User() string { return s.view().User }

// Note returns what SetNote noted, or "".
func (s *Session) Note() string { return s.view().Note }

// CreatedAt returns when the session began, at its first value or at Login. It is zero if there is no session.
func (s *Session) CreatedAt() time.Time { return s.view().Created }

// AuthenticatedAt returns the time of the Login, which Regenerate keeps. It is zero if there was none.
func (s *Session) AuthenticatedAt() time.Time { return s.view().Authenticated }

// AuthenticatedWithin tells whether the Login was no longer ago than d. Ask it before sensitive actions, and ask the
// user for the password again if it was (ASVS 5.0, 7.5.1).
func (s *Session) AuthenticatedWithin(d time.Duration) bool {
	at := s.AuthenticatedAt()
	return !at.IsZero() && s.now().Sub(at) <= d
}

// ExpiresAt returns when the session ends if it is not used again. It is zero if there is no session.
func (s *Session) ExpiresAt() time.Time {
	r := s.view()
	if r.Created.IsZero() {
		return time.Time{}
	}
	if r.Used.IsZero() {
		r.Used = r.Created
	}
	return r.Expires()
}

// Format writes the session's handle, whatever the verb: neither its token nor its values. It loads nothing.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.handle()) }

// LogValue returns the session's handle, like Format.
func (s *Session) LogValue() slog.Value { return slog.StringValue(s.handle()) }

func (s *Session) handle() string {
	if !s.mu.TryLock() { // printed from within, or while another goroutine loads it
		return "session"
	}
	defer s.mu.Unlock()
	if s.state == nil {
		return "session"
	}
	return "session " + s.state.id()
}
