package session

import "time"

// expiring is a map whose entries end by themselves. It starts no goroutine: each change looks at a few entries, by a
// hand that goes round all of them, so that the cost of a change does not grow with their number. It takes no lock.
type expiring[V any] struct {
	entries map[string]*entry[V]
	hand    *entry[V] // looked at next; the entries form a ring
	dropped func(V)   // told of each entry that has expired; may be nil
}

type entry[V any] struct {
	key        string
	value      V
	until      time.Time
	prev, next *entry[V]
}

// sweepStep is how many entries each change looks at: more than it adds, so that what has expired goes in time, and few,
// so that nobody waits for it.
const sweepStep = 3

// get returns the value of key, expired or not, and the zero value if there is none.
func (x *expiring[V]) get(key string) V {
	if e := x.entries[key]; e != nil {
		return e.value
	}
	var none V
	return none
}

func (x *expiring[V]) put(key string, value V, until, now time.Time) {
	x.sweep(now)
	if e := x.entries[key]; e != nil {
		e.value, e.until = value, until
		return
	}
	if x.entries == nil {
		x.entries = make(map[string]*entry[V])
	}
	e := &entry[V]{key: key, value: value, until: until}
	x.entries[key] = e
	x.link(e)
}

func (x *expiring[V]) sweep(now time.Time) {
	for range sweepStep {
		e := x.hand
		if e == nil {
			return
		}
		x.hand = e.next
		if now.Before(e.until) {
			continue
		}
		x.unlink(e)
		delete(x.entries, e.key)
		if x.dropped != nil {
			x.dropped(e.value)
		}
	}
}

// link puts e just behind the hand, where it is looked at last.
func (x *expiring[V]) link(e *entry[V]) {
	if x.hand == nil {
		e.prev, e.next = e, e
		x.hand = e
		return
	}
	e.prev, e.next = x.hand.prev, x.hand
	e.prev.next, e.next.prev = e, e
}

func (x *expiring[V]) unlink(e *entry[V]) {
	if e.next == e {
		x.hand = nil
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	if x.hand == e {
		x.hand = e.next
	}
}
