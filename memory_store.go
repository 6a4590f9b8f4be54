package session

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/doorman-go/session/internal/ttlmap"
)

// MemoryStore keeps sessions in this process. It is for tests, for development, and for programs of one process that
// may sign everybody out when they restart. It lists sessions by user, and ends a session in one step. It starts no
// goroutine: each use removes some records whose time is over.
type MemoryStore struct {
	// MaxSessions is how many records the store holds at most, including tombstones. Zero means 1,000,000, and a
	// negative number means no limit. It must not be changed while the store is in use. The last tenth is for signed-in
	// users: a visitor gets an error in place of a new session before a user does. Sessions that are stored already can
	// always be changed and ended. The store never drops one to make room.
	MaxSessions int

	mu      sync.RWMutex
	records ttlmap.Map[memoryRecord] // by ID
	users   map[uint64]*userEntry    // the first of a list, by the hash of realm and user
	seed    maphash.Seed
	ends    listeners
}

// memoryRecord is a record as the store keeps it. It is packed, so that a million records are little work for the
// garbage collector.
type memoryRecord struct {
	packedRecord
	listed *userEntry // nil for a visitor's
}

// userEntry is an ID in the list of its user.
type userEntry struct {
	id             string
	user           uint64 // the key of the list
	previous, next *userEntry
}

const (
	defaultMaxSessions = 1_000_000
	sweepsWhenFull     = 30 // sweeps before a session is refused; few, so that nobody waits long
)

// errMemoryFull is the error of a new session for which there is no room.
var errMemoryFull = errors.New("session: the memory store is full, see MemoryStore.MaxSessions")

var (
	_ Ender       = (*MemoryStore)(nil)
	_ UserStore   = (*MemoryStore)(nil)
	_ AllStore    = (*MemoryStore)(nil)
	_ EndNotifier = (*MemoryStore)(nil)
)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	m := &MemoryStore{users: make(map[uint64]*userEntry), seed: maphash.MakeSeed()}
	m.records.Evicted = func(_ string, r memoryRecord) { m.unlist(r.listed) }
	return m
}

// Load implements Store.
func (m *MemoryStore) Load(ctx context.Context, token Token) (*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	kept, ok := m.records.Get(token.ID())
	m.mu.RUnlock()
	if !ok {
		return nil, ErrNotFound
	}
	return kept.unpack(), nil
}

// Swap implements Store. It makes several swaps all or none.
func (m *MemoryStore) Swap(ctx context.Context, token Token, swaps ...Swap) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	packed := make([]packedRecord, len(swaps))
	for i, s := range swaps {
		var err error
		if packed[i], err = packRecord(s.New); err != nil {
			return Token{}, err
		}
	}
	if err := m.swapAll(swaps, packed, Now(ctx)); err != nil {
		return Token{}, err
	}
	for _, s := range swaps {
		if s.New.Ended {
			m.ends.tell(s.New.ID)
		}
	}
	return token, nil
}

func (m *MemoryStore) swapAll(swaps []Swap, packed []packedRecord, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.prepareSwaps(swaps, now); err != nil {
		return err
	}
	for i, s := range swaps {
		m.putRecord(s.New, packed[i], now)
	}
	return nil
}

// End implements Ender.
func (m *MemoryStore) End(ctx context.Context, tombstone *Record) (*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	packed, err := packRecord(tombstone)
	if err != nil {
		return nil, err
	}
	replaced, err := m.end(tombstone, packed, Now(ctx))
	if err == nil {
		m.ends.tell(tombstone.ID)
	}
	return replaced, err
}

func (m *MemoryStore) end(tombstone *Record, packed packedRecord, now time.Time) (*Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	replaced := m.record(tombstone.ID)
	if replaced != nil && replaced.Ended {
		return nil, &ConflictError{ID: tombstone.ID, Current: replaced}
	}
	if err := m.prepareSwaps([]Swap{{Old: replaced, New: tombstone}}, now); err != nil {
		return nil, err
	}
	m.putRecord(tombstone, packed, now)
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
	for listed := m.users[m.userHash(realm, user)]; listed != nil; listed = listed.next {
		if r := m.record(listed.id); r.Realm == realm && r.User == user { // two users may have one hash
			records = append(records, r)
		}
	}
	return records, nil
}

// All implements AllStore. It yields what was stored when it was called.
func (m *MemoryStore) All(ctx context.Context, realm string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for _, kept := range m.snapshot() {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if r := kept.unpack(); r.Realm == realm && !yield(r, nil) {
				return
			}
		}
	}
}

// snapshot returns all records, still packed. To copy a million of them takes some milliseconds, so nobody waits long
// for the lock.
func (m *MemoryStore) snapshot() []packedRecord {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]packedRecord, 0, m.records.Len())
	for _, kept := range m.records.All() {
		all = append(all, kept.packedRecord)
	}
	return all
}

// NotifyEnds implements EndNotifier.
func (m *MemoryStore) NotifyEnds(ended func(id string)) (stop func()) { return m.ends.add(ended) }

// Len returns the number of sessions and tombstones in the store, including those whose time is over and that are not
// removed yet.
func (m *MemoryStore) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.records.Len()
}

// record returns the record of id, or nil if there is none. The caller holds the lock, here and in all methods below.
func (m *MemoryStore) record(id string) *Record {
	if kept, ok := m.records.Get(id); ok {
		return kept.unpack()
	}
	return nil
}

// prepareSwaps returns nil if all of the swaps can be made. If the store is full, it first removes some records whose
// time is over.
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
		current, there := m.records.Get(s.New.ID)
		switch {
		case !there && s.Old == nil:
			size++
			limit := m.limitFor(s.New)
			full = full || limit >= 0 && size > limit
		case !there:
			return &ConflictError{ID: s.New.ID}
		case !current.isAt(s.New) && (s.Old == nil || !current.isAt(s.Old)):
			return &ConflictError{ID: s.New.ID, Current: current.unpack()}
		}
	}
	if full {
		return errMemoryFull
	}
	return nil
}

// limitFor returns how many records there may be when r is one of them, or a negative number if there is no limit.
func (m *MemoryStore) limitFor(r *Record) int {
	limit := cmp.Or(m.MaxSessions, defaultMaxSessions)
	if r.User == "" && limit > 0 {
		limit -= limit / 10
	}
	return limit
}

// putRecord stores r in place of the record with its ID. Packed is r's packed form.
func (m *MemoryStore) putRecord(r *Record, packed packedRecord, now time.Time) {
	old, _ := m.records.Get(r.ID)
	m.unlist(old.listed)
	m.records.Delete(r.ID)    // or else a sweep might unlist it again
	id := strings.Clone(r.ID) // the ID may be a part of a longer text, which must not stay in memory
	m.records.Put(id, memoryRecord{packed, m.list(id, r)}, r.KeepUntil(), now)
}

// list puts the ID of r into the list of its user.
func (m *MemoryStore) list(id string, r *Record) *userEntry {
	if r.User == "" {
		return nil
	}
	hash := m.userHash(r.Realm, r.User)
	listed := &userEntry{id: id, user: hash, next: m.users[hash]}
	if listed.next != nil {
		listed.next.previous = listed
	}
	m.users[hash] = listed
	return listed
}

// unlist takes an ID, which may be nil, out of the list of its user.
func (m *MemoryStore) unlist(listed *userEntry) {
	if listed == nil {
		return
	}
	if listed.next != nil {
		listed.next.previous = listed.previous
	}
	switch {
	case listed.previous != nil:
		listed.previous.next = listed.next
	case listed.next != nil:
		m.users[listed.user] = listed.next
	default:
		delete(m.users, listed.user)
	}
}

// userHash returns the key of a user's list. It is a hash, so that the names of users take no further memory.
func (m *MemoryStore) userHash(realm, user string) uint64 {
	return maphash.Comparable(m.seed, [2]string{realm, user})
}
