package session

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// listeners are the functions that a store calls for each session that ends (EndNotifier).
type listeners struct {
	count atomic.Int64 // the length of all, so that telling nobody costs nothing
	mu    sync.Mutex
	all   map[int]func(id string)
	last  int

	open func() (close func()) // called when the first one is added, and close when the last one is removed; may be nil
	shut func()
}

// add adds a listener. It returns a function that removes it.
func (l *listeners) add(ended func(id string)) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[int]func(string))
	}
	l.last++
	number := l.last
	l.all[number] = ended
	l.count.Store(int64(len(l.all)))
	if len(l.all) == 1 && l.open != nil {
		l.shut = l.open()
	}
	return func() { l.remove(number) }
}

func (l *listeners) remove(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.all[number]; !there {
		return
	}
	delete(l.all, number)
	l.count.Store(int64(len(l.all)))
	if len(l.all) == 0 {
		l.undoOpen()
	}
}

// close undoes open. After that the store does not learn of ends any more.
func (l *listeners) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undoOpen()
}

func (l *listeners) undoOpen() {
	if l.shut != nil {
		l.shut()
		l.shut = nil
	}
}

// tell calls all listeners, without the lock.
func (l *listeners) tell(id string) {
	if l.count.Load() == 0 {
		return
	}
	l.mu.Lock()
	told := slices.AppendSeq(make([]func(string), 0, len(l.all)), maps.Values(l.all))
	l.mu.Unlock()
	for _, ended := range told {
		ended(id)
	}
}
