package session

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// This file has the methods that read a session, except its values.

// ID returns the session's ID. It is public: it opens nothing, and may appear in logs and pages. It is empty if there
// is no session. After Regenerate or Login it is the new one. If several requests adopt one old session at the same
// time (Config.Adopt), the first one's ID counts: the others change to it at their commit.
func (s *Session) ID() string {
	st := s.open()
	defer s.close()
	return st.view.id()
}

// IsNew reports whether the session was not found in the store: it began with this request, or there is none yet. A
// session that Config.Adopt took over is not new.
func (s *Session) IsNew() bool {
	st := s.open()
	defer s.close()
	return st.begun || st.view.isNew() || !st.view.exists()
}

// Expired reports whether the request's cookie belongs to a session that has expired. With it a page can say "you were
// signed out", which it does not say at a first visit.
func (s *Session) Expired() bool {
	st := s.open()
	defer s.close()
	return st.expired
}

// view returns the session as the request sees it. Its Values and Flashes are not for use: they may lack what the request
// has changed.
func (s *Session) view() Record {
	st := s.open()
	defer s.close()
	return *st.view.record
}

// User returns the user that Login was given, or "" if nobody is signed in.
func (s *Session) User() string { return s.view().User }

// Note returns the note that SetNote stored, or "".
func (s *Session) Note() string { return s.view().Note }

// CreatedAt returns when the session began: at its first value, or at Login. It is zero if there is no session.
func (s *Session) CreatedAt() time.Time { return s.view().CreatedAt }

// AuthenticatedAt returns the time of the last Login or Reauthenticate. Regenerate keeps it. It is zero if there was
// none.
func (s *Session) AuthenticatedAt() time.Time { return s.view().AuthenticatedAt }

// AuthenticatedWithin reports whether AuthenticatedAt is at most d ago. Ask it before sensitive actions, and if it is
// false ask the user for the password again (ASVS 5.0, 7.5.1). A time that is more than 10 seconds in the future, by
// this server's clock, does not count.
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

// Format writes the session's ID, whatever the verb. It never writes the token or the values, and it loads nothing.
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
