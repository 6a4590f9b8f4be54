package session

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// What a session shows of itself, beside its values.

// ID returns the session's ID, which is public: safe in logs and pages, it opens nothing. It is empty if there is no
// session, and the new one once Regenerate or Login has been called. Where several requests adopt one old session at the
// same time (Config.Adopt), all but one of them change to the ID of the one that was first, at their commit.
func (s *Session) ID() string {
	st := s.open()
	defer s.close()
	return st.view.id()
}

// IsNew reports whether the session was not found in the store: it began with this request, or does not exist yet. One
// that Config.Adopt took over is not new.
func (s *Session) IsNew() bool {
	st := s.open()
	defer s.close()
	return st.begun || st.view.isNew() || !st.view.exists()
}

// Expired reports whether the request's cookie opened a session that had run out: "you were signed out", as against a
// first visit.
func (s *Session) Expired() bool {
	st := s.open()
	defer s.close()
	return st.expired
}

// view returns the session as the request sees it, without its values.
func (s *Session) view() Record {
	st := s.open()
	defer s.close()
	return st.view.record
}

// User returns whom Login bound the session to, or "".
func (s *Session) User() string { return s.view().User }

// Note returns what SetNote noted, or "".
func (s *Session) Note() string { return s.view().Note }

// CreatedAt returns when the session began, at its first value or at Login. It is zero if there is no session.
func (s *Session) CreatedAt() time.Time { return s.view().CreatedAt }

// AuthenticatedAt returns the time of the Login, which Regenerate keeps. It is zero if there was none.
func (s *Session) AuthenticatedAt() time.Time { return s.view().AuthenticatedAt }

// AuthenticatedWithin reports whether the Login was no longer ago than d. Ask it before sensitive actions, and ask the
// user for the password again if it was (ASVS 5.0, 7.5.1). A Login over 10 seconds in the future, by this server's clock,
// is not believed.
func (s *Session) AuthenticatedWithin(d time.Duration) bool {
	at, now := s.AuthenticatedAt(), s.config.Clock()
	return !at.IsZero() && now.Sub(at) <= d && !at.After(now.Add(believedAhead))
}

// ExpiresAt returns when the session ends if it is not used again. It is zero if there is no session.
func (s *Session) ExpiresAt() time.Time {
	r := s.view()
	if r.ID == "" {
		return time.Time{}
	}
	return r.endsAt(s.config.Clock())
}

// Format writes the session's ID, whatever the verb: neither its token nor its values. It loads nothing.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.label()) }

// LogValue returns the session's ID, like Format.
func (s *Session) LogValue() slog.Value { return slog.StringValue(s.label()) }

func (s *Session) label() string {
	if !s.mu.TryLock() { // another goroutine uses it at this moment
		return "session"
	}
	defer s.mu.Unlock()
	if s.state == nil {
		return "session"
	}
	return "session " + s.state.view.id()
}
