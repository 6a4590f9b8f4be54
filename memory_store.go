package session

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/doorman-go/session/internal/ttlmap"
)

// MemoryStore keeps sessions in this process: for tests, for development, and for programs that run as one process
// whose restart may sign everybody out. It ends sessions in one step and lists them by user. It starts no goroutine:
// records whose time is over are swept as it is used, and are there until then.
type MemoryStore struct {
	// MaxSessions is how many records the store holds at most, tombstones included; zero = 1,000,000, negative = no
	// limit. It must not be changed while the store is in use. The last tenth is kept for signed-in users: a visitor
	// gets an error in place of a new session before a user does. What is stored already can always be changed and
	// ended. Nothing is dropped to make room.
	MaxSessions int

	mu      sync.RWMutex
	records ttlmap.Map[*memoryRecord] // by ID
	users   map[uint64]*memoryRecord  // the first of a list, by the hash of realm and user
	seed    maphash.Seed
}

// memoryRecord is a stored record in the list of its user.
type memoryRecord struct {
	record         *Record
	previous, next *memoryRecord
}

const (
	defaultMaxSessions = 1_000_000
	sweepsWhenFull     = 30 // before a session is refused; few, so that nobody waits for it
)

// errMemoryFull is the error of a new session for which there is no room.
var errMemoryFull = errors.New("session: the memory store is full, see MemoryStore.MaxSessions")

var (
	_ Ender     = (*MemoryStore)(nil)
	_ UserStore = (*MemoryStore)(nil)
)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	m := &MemoryStore{users: make(map[uint64]*memoryRecord), seed: maphash.MakeSeed()}
	m.records.Evicted = func(_ string, r *memoryRecord) { m.unlistRecord(r) }
	return m
}

// Load implements Store.
func (m *MemoryStore) Load(ctx context.Context, token Token) (*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	r := m.record(token.ID())
	m.mu.RUnlock()
	if r == nil {
		return nil, ErrNotFound
	}
	return r, nil
}

// Swap implements Store. Several swaps are made all or none.
func (m *MemoryStore) Swap(ctx context.Context, token Token, swaps ...Swap) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	now := Now(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.prepareSwaps(swaps, now); err != nil {
		return Token{}, err
	}
	for _, s := range swaps {
		m.putRecord(s.New, now)
	}
	return token, nil
}

// End implements Ender.
func (m *MemoryStore) End(ctx context.Context, tombstone *Record) (*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := Now(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	replaced := m.record(tombstone.ID)
	if replaced != nil && replaced.Ended {
		return nil, &ConflictError{ID: tombstone.ID, Current: replaced}
	}
	if err := m.prepareSwaps([]Swap{{Old: replaced, New: tombstone}}, now); err != nil {
		return nil, err
	}
	m.putRecord(tombstone, now)
	return replaced, nil
}

// UserSessions implements UserStore.
func (m *MemoryStore) UserSessions(ctx context.Context, realm, user string) ([]*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var records []*Record
	for r := m.users[m.userHash(realm, user)]; r != nil; r = r.next {
		if r.record.Realm == realm && r.record.User == user { // two users may have one hash
			records = append(records, r.record)
		}
	}
	return records, nil
}

// Len returns how many sessions and tombstones the store holds, those included whose time is over and that have not been
// swept.
func (m *MemoryStore) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.records.Len()
}

// record returns the record of id, or nil if there is none. It is called with the lock held, as all that follow.
func (m *MemoryStore) record(id string) *Record {
	if r, ok := m.records.Get(id); ok {
		return r.record
	}
	return nil
}

// prepareSwaps returns nil if all of the swaps can be made.
func (m *MemoryStore) prepareSwaps(swaps []Swap, now time.Time) error {
	err := m.checkSwaps(swaps)
	if !errors.Is(err, errMemoryFull) {
		return err
	}
	for range sweepsWhenFull {
		m.records.Sweep(now)
	}
	return m.checkSwaps(swaps)
}

func (m *MemoryStore) checkSwaps(swaps []Swap) error {
	size, full := m.records.Len(), false
	for _, s := range swaps {
		current := m.record(s.New.ID)
		if !canSwap(s, current) {
			return &ConflictError{ID: s.New.ID, Current: current}
		}
		if current == nil {
			size++
			limit := m.limitFor(s.New)
			full = full || limit >= 0 && size > limit
		}
	}
	if full {
		return errMemoryFull
	}
	return nil
}

// canSwap reports whether s can be made where current is stored, or has been made.
func canSwap(s Swap, current *Record) bool {
	switch {
	case current == nil:
		return s.Old == nil
	case current.Revision == s.New.Revision:
		return true
	}
	return s.Old != nil && current.Revision == s.Old.Revision
}

// limitFor returns how many records there may be when r is one of them, or a negative number if there is no limit.
func (m *MemoryStore) limitFor(r *Record) int {
	limit := m.MaxSessions
	if limit == 0 {
		limit = defaultMaxSessions
	}
	if r.User == "" && limit > 0 {
		limit -= limit / 10
	}
	return limit
}

// putRecord stores r in place of the record of its ID.
func (m *MemoryStore) putRecord(r *Record, now time.Time) {
	if old, ok := m.records.Get(r.ID); ok {
		m.unlistRecord(old)
	}
	next := &memoryRecord{record: r}
	m.records.Put(r.ID, next, r.KeepUntil(), now)
	m.listRecord(next)
}

// listRecord puts r into the list of its user.
func (m *MemoryStore) listRecord(r *memoryRecord) {
	if r.record.User == "" {
		return
	}
	hash := m.userHash(r.record.Realm, r.record.User)
	if r.next = m.users[hash]; r.next != nil {
		r.next.previous = r
	}
	m.users[hash] = r
}

// unlistRecord takes r out of the list of its user. It may be called again.
func (m *MemoryStore) unlistRecord(r *memoryRecord) {
	if r.record.User == "" {
		return
	}
	if r.next != nil {
		r.next.previous = r.previous
	}
	switch hash := m.userHash(r.record.Realm, r.record.User); {
	case r.previous != nil:
		r.previous.next = r.next
	case m.users[hash] != r: // not in the list
	case r.next != nil:
		m.users[hash] = r.next
	default:
		delete(m.users, hash)
	}
	r.previous, r.next = nil, nil
}

// userHash returns the key of a user: short, so that names that many sessions share are not kept again.
func (m *MemoryStore) userHash(realm, user string) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	_, _ = h.WriteString(realm)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(user)
	return h.Sum64()
}
