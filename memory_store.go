package session

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// MemoryStore keeps sessions in this process: for tests, for development, and for programs that run as one process
// whose restart may sign everybody out. It starts no goroutine; expired sessions are swept as it is used. It lists and
// revokes by user.
type MemoryStore struct {
	mu      sync.RWMutex
	records expiring[*Record] // by id; records are never modified, so that they can be handed out
	users   map[string]map[string]*Record
}

var _ UserStore = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	m := &MemoryStore{users: make(map[string]map[string]*Record)}
	m.records.dropped = m.unindex
	return m
}

// Load implements Store.
func (m *MemoryStore) Load(ctx context.Context, token Token) (*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	r := m.records.get(token.ID())
	m.mu.RUnlock()
	if err := r.Live(Now(ctx)); err != nil {
		return nil, err
	}
	return r, nil
}

// Save implements Store.
func (m *MemoryStore) Save(ctx context.Context, token Token, change *Change) (Token, error) {
	now, err := m.lock(ctx)
	if err != nil {
		return Token{}, err
	}
	defer m.mu.Unlock()
	next, err := change.Apply(m.records.get(change.Source()), m.records.get(change.Record.ID), now)
	if err != nil {
		return Token{}, err
	}
	if old := m.records.get(change.Replaces()); old != nil && !old.Ended { // a tombstone knows where the session went on
		m.put(change.Tombstone(now), now)
	}
	m.put(next, now)
	m.evict(next, change.MaxPerUser, now)
	return token, nil
}

// Delete implements Store.
func (m *MemoryStore) Delete(ctx context.Context, id string, _ time.Time) error {
	now, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.end(id, now)
	return nil
}

// UserSessions implements UserStore.
func (m *MemoryStore) UserSessions(ctx context.Context, user string) ([]*Record, error) {
	now, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return m.live(user, now), nil
}

// EndUserSession implements Revoker.
func (m *MemoryStore) EndUserSession(ctx context.Context, user, id string) error {
	now, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if r := m.goesOnAs(id); r.Live(now) != nil || r.User != user {
		return ErrNotFound
	}
	m.end(id, now)
	return nil
}

// EndUserSessions implements Revoker.
func (m *MemoryStore) EndUserSessions(ctx context.Context, user string, except []string) (int, error) {
	now, err := m.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	ended := 0
	for _, r := range m.live(user, now) {
		if !slices.Contains(except, r.ID) {
			m.end(r.ID, now)
			ended++
		}
	}
	return ended, nil
}

// Len returns how many sessions and tombstones the store holds, expired ones that have not been swept included.
func (m *MemoryStore) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.records.entries)
}

// lock locks the store for a change, unless the context has ended.
func (m *MemoryStore) lock(ctx context.Context) (now time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	now = Now(ctx)
	m.mu.Lock()
	return now, nil
}

// put stores r in place of the record of its id, and keeps the index of users. It is called with the lock held, as all
// that follow.
func (m *MemoryStore) put(r *Record, now time.Time) {
	if old := m.records.get(r.ID); old != nil {
		m.unindex(old)
	}
	m.records.put(r.ID, r, r.Expires(), now)
	if r.User == "" {
		return
	}
	if m.users[r.User] == nil {
		m.users[r.User] = make(map[string]*Record)
	}
	m.users[r.User][r.ID] = r
}

func (m *MemoryStore) unindex(r *Record) {
	delete(m.users[r.User], r.ID)
	if len(m.users[r.User]) == 0 {
		delete(m.users, r.User)
	}
}

// end leaves a tombstone for the session, or for the one it goes on as.
func (m *MemoryStore) end(id string, now time.Time) {
	if r := m.goesOnAs(id); r != nil && !r.Ended {
		m.put(Tombstone(r.ID, now), now)
	}
}

// goesOnAs returns the record of the session, under the id that it goes on under if it was regenerated.
func (m *MemoryStore) goesOnAs(id string) *Record {
	r := m.records.get(id)
	for r != nil && r.Ended && r.Successor != "" {
		r = m.records.get(r.Successor)
	}
	return r
}

// live returns the user's sessions, the oldest login first.
func (m *MemoryStore) live(user string, now time.Time) []*Record {
	var records []*Record
	for _, r := range m.users[user] {
		if r.Live(now) == nil {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, byLogin)
	return records
}

// byLogin orders sessions by the time of their logins.
func byLogin(a, b *Record) int {
	return cmp.Or(a.Authenticated.Compare(b.Authenticated), cmp.Compare(a.ID, b.ID))
}

// evict ends the oldest sessions of the user of the new one, if they are over the maximum.
func (m *MemoryStore) evict(latest *Record, maximum int, now time.Time) {
	if maximum == 0 || len(m.users[latest.User]) <= maximum {
		return
	}
	live := m.live(latest.User, now)
	over := len(live) - maximum
	for _, r := range live {
		if over > 0 && r != latest { // which may be as old, by a clock that stands
			m.put(Tombstone(r.ID, now), now)
			over--
		}
	}
}
