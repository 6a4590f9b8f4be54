package ttlmap_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/ttlmap"
)

var start = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)

func requireValue[V any](t *testing.T, m *ttlmap.Map[V], key string, want V) {
	t.Helper()
	got, ok := m.Get(key)
	require.True(t, ok)
	require.Equal(t, want, got)
}

func requireNone[V any](t *testing.T, m *ttlmap.Map[V], key string) {
	t.Helper()
	got, ok := m.Get(key)
	require.False(t, ok)
	require.Zero(t, got)
}

func TestMap_ZeroIsEmpty(t *testing.T) {
	var m ttlmap.Map[int]
	requireNone(t, &m, "a")
	require.Zero(t, m.Len())
	require.Empty(t, maps.Collect(m.All()))
	m.Delete("a")
}

func TestMap_KeepsValuesByKey(t *testing.T) {
	var m ttlmap.Map[int]
	m.Put("a", 1, start.Add(time.Hour), start)
	m.Put("b", 2, start.Add(time.Hour), start)
	m.Put("a", 3, start.Add(time.Hour), start)
	requireValue(t, &m, "a", 3)
	requireValue(t, &m, "b", 2)
	requireNone(t, &m, "c")
	require.Equal(t, 2, m.Len())
	m.Delete("a")
	requireNone(t, &m, "a")
	requireValue(t, &m, "b", 2)
	require.Equal(t, 1, m.Len())
}

// Whether an entry whose time is over counts, the caller decides.
func TestMap_AnEntryStaysUntilTheHandArrives(t *testing.T) {
	var m ttlmap.Map[string]
	m.Put("a", "old", start.Add(-time.Hour), start)
	requireValue(t, &m, "a", "old")
	m.Put("b", "new", start.Add(time.Hour), start)
	requireNone(t, &m, "a")
	requireValue(t, &m, "b", "new")
}

func TestMap_AnEntryGoesAtItsTimeAndNotBefore(t *testing.T) {
	var m ttlmap.Map[int]
	m.Put("a", 1, start, start.Add(-time.Hour))
	m.Put("b", 2, start.Add(time.Hour), start.Add(-time.Microsecond))
	requireValue(t, &m, "a", 1)
	m.Put("b", 2, start.Add(time.Hour), start)
	requireNone(t, &m, "a")
}

// Its time is the latest Put's.
func TestMap_PutChangesTheTime(t *testing.T) {
	var m ttlmap.Map[int]
	m.Put("longer", 1, start.Add(time.Minute), start)
	m.Put("longer", 1, start.Add(time.Hour), start)
	m.Put("shorter", 2, start.Add(time.Hour), start)
	m.Put("shorter", 2, start.Add(time.Minute), start)
	m.Put("other", 3, start.Add(time.Hour), start.Add(2*time.Minute))
	requireValue(t, &m, "longer", 1)
	requireNone(t, &m, "shorter")
}

// Times that no nanoseconds since 1970 can tell are times too.
func TestMap_FarTimes(t *testing.T) {
	var m ttlmap.Map[int]
	m.Put("never", 1, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), start)
	m.Put("always over", 2, time.Time{}, start)
	m.Put("other", 3, start.Add(time.Hour), start)
	requireValue(t, &m, "never", 1)
	requireNone(t, &m, "always over")
}

func TestMap_EvictedIsToldOnceOfEachThatTheHandRemoves(t *testing.T) {
	told := map[string]int{}
	m := ttlmap.Map[int]{Evicted: func(key string, value int) {
		require.NotContains(t, told, key)
		told[key] = value
	}}
	for i := range 10 {
		m.Put(fmt.Sprint(i), i, start.Add(time.Minute), start)
	}
	m.Delete("4")
	for range 10 {
		m.Put("other", -1, start.Add(time.Hour), start.Add(time.Minute))
	}
	require.Equal(t, map[string]int{"0": 0, "1": 1, "2": 2, "3": 3, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9}, told)
	require.Equal(t, map[string]int{"other": -1}, maps.Collect(m.All()))
}

// A Put over an entry whose time is over may find it gone. Evicted is told then, and the new one stays.
func TestMap_PutOverAnEntryWhoseTimeIsOver(t *testing.T) {
	evicted := 0
	m := ttlmap.Map[int]{Evicted: func(string, int) { evicted++ }}
	m.Put("a", 1, start, start)
	m.Put("a", 2, start.Add(time.Hour), start)
	requireValue(t, &m, "a", 2)
	require.Equal(t, 1, evicted)
	require.Equal(t, 1, m.Len())
}

func TestMap_AllStopsWhenAsked(t *testing.T) {
	var m ttlmap.Map[int]
	for i := range 200 {
		m.Put(fmt.Sprint(i), i, start.Add(time.Hour), start)
	}
	var seen []string
	for key := range m.All() {
		if seen = append(seen, key); len(seen) == 100 {
			break
		}
	}
	slices.Sort(seen)
	require.Len(t, slices.Compact(seen), 100)
}

// However many there are, each Put removes only a few, and as many as were added go in fewer Puts than it took.
func TestMap_EachPutRemovesAFew(t *testing.T) {
	const many = 10_000
	m, evicted := ttlmap.Map[int]{}, 0
	m.Evicted = func(string, int) { evicted++ }
	for i := range many {
		m.Put(fmt.Sprint(i), i, start.Add(time.Minute), start)
	}
	puts := 0
	for now := start.Add(time.Minute); evicted < many; puts++ {
		before := evicted
		m.Put("other", 0, now.Add(time.Hour), now)
		require.LessOrEqual(t, evicted-before, 3)
	}
	require.LessOrEqual(t, puts, many/2)
	require.Equal(t, 1, m.Len())
}

// With as many visitors as ever, the map does not grow.
func TestMap_StaysBounded(t *testing.T) {
	var m ttlmap.Map[int]
	const alive = 600 // entries at one time, one a second
	most := 0
	for i := range 20 * alive {
		now := start.Add(time.Duration(i) * time.Second)
		m.Put(fmt.Sprint(i), i, now.Add(alive*time.Second), now)
		most = max(most, m.Len())
	}
	require.Less(t, most, 2*alive)
}

// A plain map with times says what has to be there at each moment.
func TestMap_AgreesWithAModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type kept struct {
		value int
		until time.Time
	}
	model := map[string]kept{}
	now := start
	m := ttlmap.Map[int]{}
	m.Evicted = func(key string, value int) {
		require.Equal(t, model[key].value, value)
		require.False(t, now.Before(model[key].until), "it went before its time")
		delete(model, key)
	}
	for i := range 50_000 {
		key := fmt.Sprint(random.IntN(500))
		switch {
		case random.IntN(4) == 0:
			m.Delete(key)
			delete(model, key)
		default:
			until := now.Add(time.Duration(random.IntN(600)) * time.Second)
			m.Put(key, i, until, now)
			model[key] = kept{i, until}
		}
		now = now.Add(time.Duration(random.IntN(2000)) * time.Millisecond)
		require.Len(t, model, m.Len())
		probe := fmt.Sprint(random.IntN(500))
		value, ok := m.Get(probe)
		want, known := model[probe]
		require.Equal(t, known, ok)
		require.Equal(t, want.value, value)
		if i%1000 == 0 {
			all := maps.Collect(m.All())
			require.Len(t, all, len(model))
			for key, want := range model {
				require.Equal(t, want.value, all[key])
			}
		}
	}
}

func BenchmarkPut(b *testing.B) {
	var m ttlmap.Map[*int]
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("%032d", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now := start.Add(time.Duration(i) * time.Second)
		m.Put(keys[i%len(keys)], nil, now.Add(1000*time.Second), now)
	}
}
