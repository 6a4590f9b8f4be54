package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

func TestMemoryStore_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return session.NewMemoryStore() })
}

// memoryTrial is a memory store with a clock that stands.
type memoryTrial struct {
	*testing.T
	store *session.MemoryStore
	now   time.Time
	made  int // records
}

func newMemoryTrial(t *testing.T) *memoryTrial {
	return &memoryTrial{T: t, store: session.NewMemoryStore(), now: time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)}
}

func (m *memoryTrial) ctx() context.Context {
	return session.WithClock(m.Context(), func() time.Time { return m.now })
}

// record returns a new one, which is kept for an hour and a minute.
func (m *memoryTrial) record(user string) *session.Record {
	m.made++
	id := "id-" + strconv.Itoa(m.made)
	return &session.Record{ID: id, Revision: "first of " + id, Realm: "r", User: user, Deadline: m.now.Add(time.Hour)}
}

func (m *memoryTrial) swap(swaps ...session.Swap) error {
	_, err := m.store.Swap(m.ctx(), session.Token{}, swaps...)
	return err
}

func (m *memoryTrial) create(user string) *session.Record {
	m.Helper()
	r := m.record(user)
	require.NoError(m, m.swap(session.Swap{New: r}))
	return r
}

// tombstone returns one that is kept for a minute.
func (m *memoryTrial) tombstone(r *session.Record) *session.Record {
	return &session.Record{
		ID: r.ID, Revision: "end of " + r.ID, Realm: r.Realm, User: r.User, Ended: true, Deadline: m.now.Add(time.Minute),
	}
}

func (m *memoryTrial) end(r *session.Record) {
	m.Helper()
	_, err := m.store.End(m.ctx(), m.tombstone(r))
	require.NoError(m, err)
}

func (m *memoryTrial) listed(user string) []string {
	m.Helper()
	records, err := m.store.UserSessions(m.ctx(), "r", user)
	require.NoError(m, err)
	ids := []string{}
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestMemoryStore_LenCountsTombstonesUntilTheyAreSwept(t *testing.T) {
	m := newMemoryTrial(t)
	ended := m.create("ada")
	require.Equal(t, 1, m.store.Len())
	m.end(ended)
	m.create("ada")
	require.Equal(t, 2, m.store.Len())
	m.now = m.now.Add(time.Minute)
	r := m.create("ada")
	require.Equal(t, 2, m.store.Len())
	require.NotContains(t, m.listed("ada"), ended.ID)
	require.Contains(t, m.listed("ada"), r.ID)
}

// A swap of a record whose time is over may sweep it. It stays as its user's.
func TestMemoryStore_SwapOfWhatIsOver(t *testing.T) {
	m := newMemoryTrial(t)
	r := m.create("ada")
	m.now = m.now.Add(2 * time.Hour)
	next := m.tombstone(r)
	require.NoError(t, m.swap(session.Swap{Old: r, New: next}))
	require.Equal(t, []string{r.ID}, m.listed("ada"))
	require.Equal(t, 1, m.store.Len())
}

func TestMemoryStore_IsFullForVisitorsBeforeItIsForUsers(t *testing.T) {
	m := newMemoryTrial(t)
	m.store.MaxSessions = 20
	visitors := make([]*session.Record, 18)
	for i := range visitors {
		visitors[i] = m.create("")
	}
	full := "session: the memory store is full, see MemoryStore.MaxSessions"
	require.EqualError(t, m.swap(session.Swap{New: m.record("")}), full)
	m.create("ada")

	t.Run("a login takes the place of a visitor's session", func(t *testing.T) {
		require.NoError(t, m.swap(session.Swap{Old: visitors[0], New: m.tombstone(visitors[0])}, session.Swap{New: m.record("grace")}))
	})
	require.Equal(t, 20, m.store.Len())
	require.EqualError(t, m.swap(session.Swap{New: m.record("ada")}), full)

	t.Run("what is there can be changed and ended", func(t *testing.T) {
		next := m.record("")
		next.ID = visitors[1].ID
		require.NoError(t, m.swap(session.Swap{Old: visitors[1], New: next}))
		m.end(next)
	})
	t.Run("of several swaps none is made", func(t *testing.T) {
		err := m.swap(session.Swap{Old: visitors[2], New: m.tombstone(visitors[2])}, session.Swap{New: m.record("")})
		require.EqualError(t, err, full)
		r, err := m.store.Load(m.ctx(), session.NewToken(visitors[2].ID, ""))
		require.NoError(t, err)
		require.Equal(t, visitors[2], r)
	})
	t.Run("a conflict is one still", func(t *testing.T) {
		taken := m.record("")
		taken.ID = visitors[2].ID
		var conflict *session.ConflictError
		require.ErrorAs(t, m.swap(session.Swap{New: m.record("")}, session.Swap{New: taken}), &conflict)
		require.Equal(t, taken.ID, conflict.ID)
	})
	t.Run("End needs room where nothing was", func(t *testing.T) {
		_, err := m.store.End(m.ctx(), m.tombstone(m.record("ada")))
		require.EqualError(t, err, full)
	})
	require.Equal(t, 20, m.store.Len())
}

// What is over takes nobody's place.
func TestMemoryStore_SweepsBeforeItRefuses(t *testing.T) {
	m := newMemoryTrial(t)
	m.store.MaxSessions = 100
	for range 45 {
		m.create("")
	}
	m.now = m.now.Add(30 * time.Minute)
	for range 45 {
		m.create("")
	}
	require.Error(t, m.swap(session.Swap{New: m.record("")}))
	m.now = m.now.Add(31 * time.Minute)
	for range 45 {
		m.create("")
	}
	require.Equal(t, 90, m.store.Len())
	require.Error(t, m.swap(session.Swap{New: m.record("")}))
}

func TestMemoryStore_MayHaveNoLimit(t *testing.T) {
	m := newMemoryTrial(t)
	m.store.MaxSessions = -1
	for range 1000 {
		m.create("")
	}
	require.Equal(t, 1000, m.store.Len())
}

// The lists agree with a plain map, whatever is stored, changed, ended and swept.
func TestMemoryStore_ListsAgreeWithAModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	m, model := newMemoryTrial(t), map[string]*session.Record{}
	for range 5000 {
		m.now = m.now.Add(time.Duration(random.IntN(30)) * time.Second)
		user := []string{"", "ada", "grace", "linus"}[random.IntN(4)]
		r := m.record(user)
		if random.IntN(2) == 0 {
			r.Deadline = m.now.Add(time.Duration(random.IntN(300)) * time.Second)
		}
		switch old := model["id-"+strconv.Itoa(1+random.IntN(m.made))]; {
		case old == nil || random.IntN(3) == 0:
			require.NoError(t, m.swap(session.Swap{New: r}))
			model[r.ID] = r
		case old.Ended:
		case random.IntN(2) == 0:
			_, err := m.store.End(m.ctx(), m.tombstone(old))
			require.NoError(t, err)
			model[old.ID] = m.tombstone(old)
		default:
			r.ID, r.User = old.ID, old.User
			require.NoError(t, m.swap(session.Swap{Old: old, New: r}))
			model[r.ID] = r
		}
		m.agreesWith(model)
	}
}

// agreesWith takes out of the model what may have been swept, and was.
func (m *memoryTrial) agreesWith(model map[string]*session.Record) {
	m.Helper()
	want := map[string][]string{"ada": {}, "grace": {}, "linus": {}}
	for id, r := range model {
		if _, err := m.store.Load(m.ctx(), session.NewToken(id, "")); err != nil {
			require.False(m, m.now.Before(r.KeepUntil()))
			delete(model, id)
		} else if r.User != "" {
			want[r.User] = append(want[r.User], id)
		}
	}
	require.Equal(m, len(model), m.store.Len())
	for user, ids := range want {
		slices.Sort(ids)
		require.Equal(m, ids, m.listed(user))
	}
}

// A load unpacks the record, whatever its values.
func TestMemoryStore_LoadAllocatesTheRecordAndItsTexts(t *testing.T) {
	store, tokens := filledMemoryStore(t, 1)
	ctx := context.Background()
	require.EqualValues(t, 2, testing.AllocsPerRun(100, func() {
		_, err := store.Load(ctx, tokens[0])
		assert.NoError(t, err)
	}))
}

func memoryRecord(i int, user string) *session.Record {
	now := time.Now()
	id := fmt.Sprintf("%032d", i)
	revision := fmt.Sprintf("%016d", i)
	return &session.Record{
		ID: id, Revision: revision, Realm: "__Host-session", User: user, CreatedAt: now, IssuedAt: now, LastUsedAt: now,
		Deadline: now.Add(24 * time.Hour), IdleTimeout: time.Hour, Latest: session.NewRevisions(session.PastRevision{Revision: revision, At: now}),
	}
}

// A session of a user without values, and all that the store keeps of it. The record that was given is not kept.
func TestMemoryStore_TakesLittleMemory(t *testing.T) {
	const size = 100_000
	records := make([]*session.Record, size)
	for i := range records {
		records[i] = memoryRecord(i, fmt.Sprintf("user %d", i/2))
	}
	store, before := session.NewMemoryStore(), heapSize()
	for _, r := range records {
		_, err := store.Swap(t.Context(), session.Token{}, session.Swap{New: r})
		require.NoError(t, err)
	}
	each := float64(heapSize()-before) / size
	t.Logf("%.0f bytes a session", each)
	require.Less(t, each, 350.0)
	runtime.KeepAlive(records)
	runtime.KeepAlive(store)
}

func heapSize() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// filledMemoryStore returns a store with as many sessions of three values, two for each user, and their tokens.
func filledMemoryStore(b testing.TB, size int) (*session.MemoryStore, []session.Token) {
	b.Helper()
	store, tokens := session.NewMemoryStore(), make([]session.Token, size)
	for i := range tokens {
		r := memoryRecord(i, fmt.Sprintf("user %d", i/2))
		r.Values = session.NewValues(map[string]json.RawMessage{
			"a": json.RawMessage(`"one"`), "b": json.RawMessage(`2`), "c": json.RawMessage(`[3]`),
		})
		tokens[i] = session.NewToken(r.ID, "")
		_, err := store.Swap(b.Context(), tokens[i], session.Swap{New: r})
		require.NoError(b, err)
	}
	return store, tokens
}

// BenchmarkMemoryStore has 16 goroutines, which read, or read and write one of ten times.
func BenchmarkMemoryStore(b *testing.B) {
	for _, share := range []int{0, 10, 100} {
		b.Run(fmt.Sprintf("%d percent writes", share), func(b *testing.B) {
			store, tokens := filledMemoryStore(b, 100_000)
			ctx := b.Context()
			b.SetParallelism(max(16/runtime.GOMAXPROCS(0), 1))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				random := rand.New(rand.NewPCG(rand.Uint64(), 1))
				for pb.Next() {
					token := tokens[random.IntN(len(tokens))]
					r, err := store.Load(ctx, token)
					if err != nil {
						b.Error(err)
						return
					}
					if random.IntN(100) >= share {
						continue
					}
					next := *r
					next.Revision = strconv.FormatUint(random.Uint64(), 36)
					_, _ = store.Swap(ctx, token, session.Swap{Old: r, New: &next}) // another may have been faster
				}
			})
		})
	}
}

// BenchmarkMemoryStore_Collection is a full collection with a million sessions.
func BenchmarkMemoryStore_Collection(b *testing.B) {
	before := heapSize()
	store, tokens := filledMemoryStore(b, 1_000_000)
	clear(tokens)
	each := float64(heapSize()-before) / 1e6
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric(each, "B/session")
	runtime.KeepAlive(store)
}
