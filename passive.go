package session

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// This file is about requests that pages send by themselves: they do not count as a use of the session, and may ask how
// much time is left.

// Passive lets requests to next read the session without counting as a use of it. It is for what a page asks by itself:
// a poll, or a stream of events. Otherwise a page that was left open would keep its session alive for ever (ASVS 5.0,
// 7.3.1). A change that such a request makes is stored, and does not extend the idle limit. Passive goes inside
// Middleware, and around everything that uses the session. Where the session was used before, Passive has no effect, and
// logs a warning.
func (m *Manager) Passive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Session(r.Context()).setPassive()
		next.ServeHTTP(w, r)
	})
}

var errUsedBefore = errors.New("the session was used before")

func (s *Session) setPassive() {
	if s.request == nil || s.passive.Swap(true) {
		return
	}
	s.mu.Lock()
	defer s.close()
	if s.state != nil {
		s.request.addLine(slog.LevelWarn, "session: Passive or TimeLeft has no effect here; put it around everything that uses the session", errUsedBefore)
	}
}

// useTime returns now, or zero if the request does not count as a use of its session: zero is not later than any last
// use, so noteUse changes nothing.
func (q *request) useTime(now time.Time) time.Time {
	if q.session.passive.Load() {
		return time.Time{}
	}
	return now
}

// timeLeft is the JSON that TimeLeft answers with.
type timeLeft struct {
	SignedIn      bool  `json:"signedIn"`
	SecondsLeft   int64 `json:"secondsLeft"`
	SecondsAtMost int64 `json:"secondsAtMost"`
}

// TimeLeft returns a handler for pages that warn before a session ends (WCAG 2.2.1). It goes inside Middleware. It
// answers with JSON:
//
//	{"signedIn":true,"secondsLeft":120,"secondsAtMost":3600}
//
// SignedIn says whether somebody is signed in. SecondsLeft is how long the session lasts if it is not used again.
// SecondsAtMost is how long it can last if it is used. If both are the same, the user can't stay longer. Both are
// rounded down, and are zero without a session.
//
// A GET does not count as a use of the session, as with Passive. A POST does: it is the answer to "stay signed in?".
// Put your protection against requests of other sites in front of it, as for any POST.
func (m *Manager) TimeLeft() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Session(r.Context())
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			s.setPassive()
		case http.MethodPost:
		default:
			w.Header().Set("Allow", "GET, HEAD, POST")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		body, _ := json.Marshal(s.timeLeft()) // never fails: a bool and two numbers
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n'))
	})
}

func (s *Session) timeLeft() timeLeft {
	r := s.view()
	if r.ID == "" {
		return timeLeft{}
	}
	now := s.config.Clock()
	seconds := func(end time.Time) int64 { return int64(max(end.Sub(now), 0) / time.Second) }
	return timeLeft{SignedIn: r.User != "", SecondsLeft: seconds(r.endsAt(now)), SecondsAtMost: seconds(r.Deadline)}
}
