package session

import (
	"errors"
	"fmt"
	"time"
)

// OverLimit says what a login over Config.MaxPerUser does.
type OverLimit uint8

const (
	// EndOldest ends the user's oldest sessions, by the time of their logins.
	EndOldest OverLimit = iota

	// Refuse fails the commit of the Login with ErrTooManySessions. No session ends and none begins, and the earlier
	// changes of the request are dropped with the Login. A handler that wants to answer itself calls Session.Save after
	// Login. Otherwise the error handler answers.
	//
	// Logins at the same time, also in several processes, never exceed the limit. A login whose commit failed may keep
	// its place for a minute. Session.RenameUser does not count.
	Refuse
)

// String returns "end oldest" or "refuse".
func (o OverLimit) String() string {
	switch o {
	case EndOldest:
		return "end oldest"
	case Refuse:
		return "refuse"
	}
	return fmt.Sprintf("OverLimit(%d)", uint8(o))
}

// seatLife is how long a login under way counts although its session is not stored. After that time no attempt to store
// the session is sent again.
const seatLife = tombstoneLife + clockSkew

// takeSeat counts the user's new session before it is stored, or refuses the Login. Logins at the same time change the
// same record, so they can't both take the last place.
func (q *request) takeSeat(call *storeContext, s *step) error {
	m := q.manager
	if m.config.OverLimit != Refuse || !s.logsIn() {
		return nil
	}
	own := s.next.ID
	err := m.changeEntries(call, m.store, listedID("seats", m.config.Realm, s.next.User), func(seats entries, now time.Time) (bool, error) {
		if _, taken := seats[own]; taken {
			return false, nil // by an earlier try
		}
		listed, err := m.store.(UserStore).UserSessions(call, m.config.Realm, s.next.User)
		if err != nil {
			return false, err
		}
		if countSessions(listed, seats, s.base, now) >= m.config.MaxPerUser {
			return false, ErrTooManySessions
		}
		seats[own] = entry{Until: micros(now.Add(seatLife).UnixMicro())}
		return true, nil
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrTooManySessions):
		return q.refuseLogin(s)
	}
	return q.storeError(OpList, s.base, err)
}

// countSessions counts the live sessions on the list, and the logins under way. It leaves out old or its last
// successor, because the login ends that session.
func countSessions(listed []*Record, seats entries, old *Record, now time.Time) int {
	byID := make(map[string]*Record, len(listed))
	count := 0
	for _, r := range listed {
		byID[r.ID] = r
		if r.condition(now) == live {
			count++
		}
	}
	for id := range seats {
		if byID[id] == nil {
			count++
		}
	}
	if old == nil {
		return count
	}
	last := byID[old.ID]
	for last != nil && last.Ended && byID[last.Successor] != nil {
		last = byID[last.Successor]
	}
	if last.condition(now) == live {
		count--
	}
	return count
}

// refuseLogin takes the Login off the log, and all changes before it. The request goes on with its old session. Changes
// that were made after the commit began stay.
func (q *request) refuseLogin(s *step) error {
	q.noteEvent(EventRefused, &Record{User: s.next.User}, ReasonOverLimit, nil)
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	st.log, st.made = st.log[s.n:], st.made+s.n
	if err := q.redraft(newDraft(&q.manager.config, st.base, st.settings)); err != nil {
		return err
	}
	return ErrTooManySessions
}
