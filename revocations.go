package session

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A RevocationList remembers which sealed sessions ended before their time: what a store that keeps nothing needs to end
// a session (ASVS 5.0, 7.4.1). NewMemoryRevocations and NewRedisRevocations make one. It is safe for use by several
// goroutines, and measures time with [Now].
type RevocationList interface {
	// EndSession ends the session id, if it is user's, or whoever's it is with the user "". The list may forget it
	// after until.
	EndSession(ctx context.Context, user, id string, until time.Time) error

	// EndUser ends all sessions of user that were issued up to the time given, but those named in except. The list may
	// forget it after until.
	EndUser(ctx context.Context, user string, issued time.Time, except []string, until time.Time) error

	// Status tells whether the session, issued to user at that time, has ended.
	Status(ctx context.Context, user, id string, issued time.Time) (RevocationStatus, error)
}

// RevocationStatus is what a RevocationList knows of a session.
type RevocationStatus struct {
	EndedAt       time.Time // when it was ended; zero if it was not
	UserRevokedAt time.Time // up to when its user's sessions were ended; zero if they were not. A new one must be issued later
}

// userRevocation ends a user's sessions issued up to a time.
type userRevocation struct {
	issued time.Time
	except []string
	at     time.Time
}

// maxUserRevocations is how many are kept for one user. One that excepts nobody makes the earlier ones superfluous.
const maxUserRevocations = 32

// judge finds what the revocations of a user mean for one session.
func judge(revocations []userRevocation, id string, issued time.Time) (status RevocationStatus) {
	for _, r := range revocations {
		if r.issued.After(status.UserRevokedAt) {
			status.UserRevokedAt = r.issued
		}
		if status.EndedAt.IsZero() && !issued.After(r.issued) && !slices.Contains(r.except, id) {
			status.EndedAt = r.at
		}
	}
	return status
}

// MemoryRevocations is a RevocationList in this process. It is empty after a restart, and other processes do not see it:
// what was ended opens again then, or there, until its deadline. Where that matters, use NewRedisRevocations.
type MemoryRevocations struct {
	mu    sync.Mutex
	ended expiring[time.Time] // when, by user and id
	users expiring[[]userRevocation]
}

// NewMemoryRevocations returns an empty list.
func NewMemoryRevocations() *MemoryRevocations { return &MemoryRevocations{} }

var _ RevocationList = (*MemoryRevocations)(nil)

// endedKey names a session of a user, or of whomever with the user "". The length is there because an id to revoke may
// come from a form: it must not be able to reach into the user's name.
func endedKey(user, id string) string { return strconv.Itoa(len(id)) + ":" + id + ":" + user }

// EndSession implements RevocationList.
func (m *MemoryRevocations) EndSession(ctx context.Context, user, id string, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now, key := Now(ctx), endedKey(user, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	at := now
	if earlier := m.ended.entries[key]; earlier != nil { // a session ends once; but it may have cookies with two deadlines
		at = earlier.value
		if earlier.until.After(until) {
			until = earlier.until
		}
	}
	m.ended.put(key, at, until, now)
	return nil
}

// EndUser implements RevocationList.
func (m *MemoryRevocations) EndUser(ctx context.Context, user string, issued time.Time, except []string, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := Now(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.users.get(user)
	if n := len(kept); n > 0 && !issued.After(kept[n-1].issued) {
		issued = kept[n-1].issued.Add(time.Microsecond) // sessions issued since have a later time, whatever the clock
	}
	if len(except) == 0 {
		kept = nil
	}
	kept = append(slices.Clip(kept), userRevocation{issued, slices.Clone(except), now})
	m.users.put(user, kept[max(len(kept)-maxUserRevocations, 0):], until, now)
	return nil
}

// Status implements RevocationList.
func (m *MemoryRevocations) Status(ctx context.Context, user, id string, issued time.Time) (RevocationStatus, error) {
	if err := ctx.Err(); err != nil {
		return RevocationStatus{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var status RevocationStatus
	if user != "" {
		status = judge(m.users.get(user), id, issued)
	}
	for _, owner := range []string{"", user} {
		if at := m.ended.get(endedKey(owner, id)); !at.IsZero() {
			status.EndedAt = at
		}
	}
	return status, nil
}
