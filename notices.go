package session

import (
	"slices"
	"sync"
	"sync/atomic"
)

// listeners are the functions that a store calls for each session that ends (EndNotifier).
type listeners struct {
	all atomic.Pointer[[]*func(id string)] // another slice after each change, so that telling takes no lock
	mu  sync.Mutex                         // for changes

	open func() (close func()) // called when the first one is added, and close when the last one is removed; may be nil
	shut func()
}

// add adds a listener. It returns a function that removes it.
func (l *listeners) add(ended func(id string)) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append(slices.Clone(l.list()), &ended)
	l.all.Store(&all)
	if len(all) == 1 && l.open != nil {
		l.shut = l.open()
	}
	return func() { l.remove(&ended) }
}

func (l *listeners) remove(ended *func(id string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(l.list()), func(one *func(string)) bool { return one == ended })
	l.all.Store(&rest)
	if len(rest) == 0 {
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

// tell calls all listeners.
func (l *listeners) tell(id string) {
	for _, ended := range l.list() {
		(*ended)(id)
	}
}

func (l *listeners) list() []*func(id string) {
	if all := l.all.Load(); all != nil {
		return *all
	}
	return nil
}
