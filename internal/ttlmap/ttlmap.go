// Package ttlmap has a map that removes entries whose time is over, without a goroutine.
package ttlmap

import (
	"iter"
	"time"
)

// Map keeps values by key, each up to a time of its own. A hand goes round all entries, like that of a clock. Each Put
// moves it over a few entries, and removes those whose time is over. So the cost of a Put does not grow with the number
// of entries. Until the hand comes to it, an entry whose time is over is still there.
//
// The zero Map is empty and ready for use. It takes no lock. Methods that only read may run at the same time. While
// Put, Delete or Sweep runs, no other method may run. Times are kept to the microsecond.
type Map[V any] struct {
	// Evicted is called with each entry that the hand removes. It must not use the map. The default is to tell nobody.
	Evicted func(key string, value V)

	places map[string]int // the place of each key's entry in pages
	pages  []*page[V]     // all are full, except the last
	hand   int            // the place of the next entry to look at
}

// pageSize is for how many entries the map makes room at once. It is small, so that a small map takes little memory.
// With pages, no Put has to move all entries.
const pageSize = 64

type page[V any] [pageSize]entry[V]

type entry[V any] struct {
	key   string
	value V
	until int64 // in microseconds since 1970
}

// sweepStep is how many entries each Put looks at: more than it adds, so that old entries are removed in time, and few,
// so that nobody waits long.
const sweepStep = 3

// Get returns the value of key and true, whether its time is over or not. If there is none, it returns false.
func (m *Map[V]) Get(key string) (value V, ok bool) {
	place, ok := m.places[key]
	if ok {
		value = m.at(place).value
	}
	return value, ok
}

// Put stores value for key, up to the time until. It replaces an earlier value. It also removes some entries whose time
// is over now.
func (m *Map[V]) Put(key string, value V, until, now time.Time) {
	m.Sweep(now)
	place, ok := m.places[key]
	if !ok {
		place = m.addPlace(key)
	}
	*m.at(place) = entry[V]{key, value, until.UnixMicro()}
}

// Delete removes the entry of key, if there is one. Evicted is not called.
func (m *Map[V]) Delete(key string) {
	if place, ok := m.places[key]; ok {
		m.remove(place)
	}
}

// Len returns how many entries there are.
func (m *Map[V]) Len() int { return len(m.places) }

// All returns the entries, in no particular order. The map must not be changed meanwhile.
func (m *Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for place := range m.Len() {
			if e := m.at(place); !yield(e.key, e.value) {
				return
			}
		}
	}
}

func (m *Map[V]) at(place int) *entry[V] { return &m.pages[place/pageSize][place%pageSize] }

// addPlace makes room for one more entry at the end.
func (m *Map[V]) addPlace(key string) int {
	if m.places == nil {
		m.places = make(map[string]int)
	}
	place := m.Len()
	if place == len(m.pages)*pageSize {
		m.pages = append(m.pages, new(page[V]))
	}
	m.places[key] = place
	return place
}

// Sweep looks at the next few entries and removes those whose time is over, as each Put does.
func (m *Map[V]) Sweep(now time.Time) {
	limit := now.UnixMicro()
	for range min(sweepStep, m.Len()) {
		if m.hand >= m.Len() {
			m.hand = 0
		}
		e := *m.at(m.hand)
		if e.until > limit {
			m.hand++
			continue
		}
		m.remove(m.hand) // another entry is at this place now, and is looked at next
		if m.Evicted != nil {
			m.Evicted(e.key, e.value)
		}
	}
}

// remove takes an entry out. The last one moves to its place.
func (m *Map[V]) remove(place int) {
	last := m.Len() - 1
	delete(m.places, m.at(place).key)
	if place != last {
		*m.at(place) = *m.at(last)
		m.places[m.at(place).key] = place
	}
	*m.at(last) = entry[V]{} // so that its key and value are freed
	if last%pageSize == 0 {
		m.pages[last/pageSize] = nil
		m.pages = m.pages[:last/pageSize]
	}
}
