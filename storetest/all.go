package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about stores that go through all sessions, and about those that tell of ends.

// goThrough returns what All returns of a realm, by ID. One that comes twice counts once.
func (x *trial) goThrough(realm string) (map[string]*session.Record, error) {
	found := make(map[string]*session.Record)
	for r, err := range x.store.(session.AllStore).All(x.ctx, realm) {
		if err != nil {
			return nil, fmt.Errorf("the error of All is %w", err)
		}
		if r == nil {
			return nil, errors.New("neither a record nor an error came from All")
		}
		found[r.ID] = r
	}
	return found, nil
}

// goesThroughExactly fails the clause unless these are the records of a realm.
func (x *trial) goesThroughExactly(realm string, records ...*session.Record) {
	x.Helper()
	found, err := x.goThrough(realm)
	if err != nil {
		x.Fatal(err)
	}
	for _, want := range records {
		if found[want.ID] == nil {
			x.Errorf("All of realm %q leaves out %s", realm, want.ID)
			continue
		}
		x.same(found[want.ID], want, fmt.Sprintf("All of realm %q returns another record than is stored", realm), leftOutOfLists...)
		delete(found, want.ID)
	}
	for id, r := range found {
		x.Errorf("All of realm %q returns %s of realm %q", realm, id, r.Realm)
	}
}

func allOfRealm(x *trial) {
	own := "realm " + text()
	in := func(realm string, r *session.Record) *session.Record {
		r.Realm = realm
		return x.create(r).record
	}
	x.goesThroughExactly(own)
	short := x.record("")
	short.IdleTimeout = 20 * time.Minute
	expired := in(own, short)
	x.advance(20*time.Minute + time.Second)
	visitor, member := in(own, x.record("")), in(own, x.full())
	neighbours := []string{own + " ", strings.ToUpper(own), own + "\x00", "%" + own, own[:9]}
	for _, realm := range neighbours {
		in(realm, x.record(""))
	}
	ended := in(own, x.record("user "+text()))
	tombstone := x.tombstoneOf(ended)
	x.mustSwap(tokenFor(ended), session.Swap{Old: ended, New: tombstone})
	if x.assumeEnded(tokenFor(ended)) {
		x.goesThroughExactly(own, expired, visitor, member, tombstone)
	}
}

// allWhileOthersCome goes through the sessions while others begin and end: one of each for every record that comes.
func allWhileOthersCome(x *trial) {
	const kept = 20
	own := "realm " + text()
	create := func() held {
		r := x.record("")
		r.Realm = own
		return x.create(r)
	}
	var stored []string
	for range kept {
		stored = append(stored, create().record.ID)
	}
	found := make(map[string]bool)
	for r, err := range x.store.(session.AllStore).All(x.ctx, own) {
		if err != nil {
			x.Fatalf("the error of All is %v", err)
		}
		found[r.ID] = true
		if len(found) <= kept {
			x.end(create())
		}
	}
	for _, id := range stored {
		if !found[id] {
			x.Errorf("All leaves out %s, which is stored all the time", id)
		}
	}
}

// allEndsWithContext asks with a context that has ended, and with one that ends when the first record has come.
func allEndsWithContext(x *trial) {
	own := "realm " + text()
	for range 3 {
		r := x.record("")
		r.Realm = own
		x.create(r)
	}
	for _, err := range x.store.(session.AllStore).All(x.ctx, own) {
		if err != nil {
			x.Fatalf("the error of All is %v", err)
		}
		break // which must not panic
	}
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	var last error
	for _, err := range x.store.(session.AllStore).All(ctx, own) {
		if last != nil {
			x.Fatal("All goes on after an error")
		}
		last = err
	}
	x.cutShort(last, "All with a context that has ended")
}

// patience is how long a clause waits for the news of an end. A store that has to reach its server first, or that looks
// only now and then, needs some time.
const patience = 5 * time.Second

// listener notes which ends it is told of.
type listener struct {
	mu    sync.Mutex
	heard map[string]bool
	news  chan struct{} // gets a value after something was heard
	stop  func()
}

func (x *trial) listen() *listener {
	l := &listener{heard: make(map[string]bool), news: make(chan struct{}, 1)}
	l.stop = x.store.(session.EndNotifier).NotifyEnds(func(id string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.heard[id] = true
		select {
		case l.news <- struct{}{}:
		default:
		}
	})
	x.Cleanup(l.stop)
	return l
}

func (l *listener) has(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[id]
}

// hears reports whether l hears of id, as long as that may take.
func (l *listener) hears(id string, wait time.Duration) bool {
	over := time.NewTimer(wait)
	defer over.Stop()
	for !l.has(id) {
		select {
		case <-l.news:
		case <-over.C:
			return l.has(id)
		}
	}
	return true
}

// hearsOne ends sessions until l hears of one. The first news may be lost: nobody waits until l is heard of.
func (x *trial) hearsOne(l *listener, end func(held) string) bool {
	x.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if l.hears(end(x.create(x.record("user "+text()))), patience/20) {
			return true
		}
	}
	return false
}

func (x *trial) endsBySwap(h held) string {
	x.end(h)
	return h.record.ID
}

func endsAreTold(x *trial) {
	over := x.create(x.record("user " + text()))
	if x.end(over); !x.assumeEnded(over.token) {
		return
	}
	l := x.listen()
	if !x.hearsOne(l, x.endsBySwap) {
		x.Error("NotifyEnds tells of no session that Swap ended")
	}
	byEnd := func(h held) string {
		x.mustEnd(x.tombstoneOf(h.record))
		return h.record.ID
	}
	if x.can(endsAtOnce) && !x.hearsOne(l, byEnd) {
		x.Error("NotifyEnds tells of no session that End ended")
	}
	if h := x.create(x.record("")); l.has(h.record.ID) {
		x.Error("NotifyEnds tells of a session that has not ended")
	}
}

func toldUntilStopped(x *trial) {
	first, second := x.listen(), x.listen()
	if !x.assume(x.hearsOne(first, x.endsBySwap) && x.hearsOne(second, x.endsBySwap), "no ends are told") {
		return
	}
	first.stop()
	first.stop() // which must not panic
	for range 3 {
		var last string
		told := x.hearsOne(second, func(h held) string {
			last = x.endsBySwap(h)
			return last
		})
		if !told {
			x.Fatal("after the stop of one listener, another one is told nothing")
		}
		if first.has(last) {
			x.Fatal("ends are told after stop")
		}
	}
}
