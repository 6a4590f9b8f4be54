// Package simulation_test runs whole worlds: a few processes with a Manager each, a database and a network between them,
// and browsers with several tabs. The Managers are the real ones; all else is simulated. A world's seed decides everything:
// who asks for what, how long each message takes, what is lost, comes late or twice, when a process dies, a clock steps or
// the database fails over. Time is the bubble's of testing/synctest, so that a minute costs nothing, and each decision is
// drawn from the seed and the name of what it is about, so that goroutines may run in any order within one instant.
//
// What is stored is compared, write by write, with what may become of a session (truth_test.go), and what each request was
// told with what is stored then (visit_test.go). A seed that fails is shrunk: requests, operations and faults are left out
// as long as it still fails.
package simulation_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
)

// world is one run.
type world struct {
	seed   uint64
	params params
	skip   map[string]bool // what is left out
	group  sync.WaitGroup  // of all that is under way

	mu         sync.Mutex
	start      time.Time
	used       map[string]bool // what there was to leave out
	lines      []line
	calls      map[string]int    // how many messages of a name there were
	names      map[string]string // short ones for session IDs
	tokens     map[string]string // session IDs by the cookie's value
	db         *database
	truth      *truth
	nodes      []*node
	violations []violation
	counts     counts
	failovers  []time.Time // that have lost what was answered
	restored   time.Time   // of the last failover
}

// line is one of the trace.
type line struct {
	at   time.Duration
	text string
}

// violation is a promise that was not kept.
type violation struct{ kind, text string }

// counts are what a world had.
type counts struct {
	visits, answered, refused, ended, messages, writes, faults, operations int
}

func (c *counts) add(d counts) {
	c.visits += d.visits
	c.answered += d.answered
	c.refused += d.refused
	c.ended += d.ended
	c.messages += d.messages
	c.writes += d.writes
	c.faults += d.faults
	c.operations += d.operations
}

// result is what came of a run.
type result struct {
	violations []violation
	trace      string
	used       []string
	counts     counts
}

// kind returns the kind of the first violation, or "".
func (r result) kind() string {
	if len(r.violations) == 0 {
		return ""
	}
	return r.violations[0].kind
}

// run runs the world of a seed, without what is in skip.
func run(t *testing.T, seed uint64, skip map[string]bool) (r result) {
	synctest.Test(t, func(*testing.T) {
		w := &world{
			seed: seed, skip: skip, start: time.Now(), used: map[string]bool{}, calls: map[string]int{},
			names: map[string]string{}, tokens: map[string]string{},
		}
		w.params = drawParams(w.dice("params"))
		w.run()
		r = result{w.violations, w.trace(), slices.Sorted(maps.Keys(w.used)), w.counts}
	})
	return r
}

// run starts everything, and returns when all requests are over and all messages have arrived.
func (w *world) run() {
	w.db = newDatabase(w)
	w.truth = newTruth(w)
	for i := range w.params.nodes {
		w.nodes = append(w.nodes, newNode(w, i))
	}
	w.note("world: %+v", w.params)
	for i := range w.params.browsers {
		b := &browser{world: w, name: fmt.Sprintf("b%d", i)}
		for j := range w.params.tabs {
			w.group.Go(func() { b.runTab(j) })
		}
	}
	w.schedule()
	w.group.Wait()
	w.checkEnd()
}

// dice returns a source of chance for the thing named.
func (w *world) dice(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// has reports whether the thing named takes part in this run.
func (w *world) has(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.skip[name] {
		return false
	}
	w.used[name] = true
	return true
}

// note adds a line to the trace.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteLocked(format, args...)
}

func (w *world) noteLocked(format string, args ...any) {
	w.lines = append(w.lines, line{time.Since(w.start), fmt.Sprintf(format, args...)})
}

// violate notes a promise that was not kept. It is called with the lock held.
func (w *world) violate(kind, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.violations = append(w.violations, violation{kind, text})
	w.noteLocked("VIOLATION (%s): %s", kind, text)
}

// who returns who did it: a line's text up to its first colon, slash or blank.
func (l line) who() string {
	if i := strings.IndexAny(l.text, ":/ "); i > 0 {
		return l.text[:i]
	}
	return l.text
}

// trace returns what happened, in the order of time. What several did at one instant has no order: it is sorted by who did
// it.
func (w *world) trace() string {
	slices.SortStableFunc(w.lines, func(a, b line) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.who(), b.who())
	})
	var b strings.Builder
	for _, l := range w.lines {
		fmt.Fprintf(&b, "%14.6f  %s\n", l.at.Seconds(), l.text)
	}
	return b.String()
}

// short returns a short name for a session's ID, by who was the first to name it. It is called with the lock held.
func (w *world) short(id, by string) string {
	if id == "" {
		return "none"
	}
	name, ok := w.names[id]
	if !ok {
		w.calls["id "+by]++
		name = fmt.Sprintf("%s#%d", by, w.calls["id "+by])
		w.names[id] = name
	}
	return name
}

// node is a process.
type node struct {
	world *world
	name  string

	// Guarded by world.mu.
	manager *session.Manager
	handler http.Handler
	crashed chan struct{} // closed when the process dies; nil while it is down
	offset  time.Duration // of its clock
}

func newNode(w *world, i int) *node {
	n := &node{world: w, name: fmt.Sprintf("n%d", i)}
	n.offset = w.drawOffset(n.name)
	n.boot()
	return n
}

func (w *world) drawOffset(name string) time.Duration {
	if w.params.skew == 0 {
		return 0
	}
	return time.Duration(w.dice("clock "+name).Int64N(int64(w.params.skew))) - w.params.skew/2
}

// boot starts the process: a Manager without a memory.
func (n *node) boot() {
	p := n.world.params
	crashed := make(chan struct{})
	manager, err := session.New(n.store(crashed), session.Config{
		IdleTimeout: p.idle, Lifetime: p.lifetime, StoreTimeout: storeTimeout, MaxPerUser: p.maxPerUser,
		Logger: slog.New(slog.DiscardHandler), Clock: n.now, OnEvent: noteEvent,
	})
	if err != nil {
		panic(err)
	}
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.manager, n.handler, n.crashed = manager, manager.Middleware(http.HandlerFunc(handle)), crashed
}

// now is the node's clock.
func (n *node) now() time.Time {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.nowLocked()
}

func (n *node) nowLocked() time.Time { return time.Now().Add(n.offset) }

// noteEvent is the Managers' OnEvent.
func noteEvent(ctx context.Context, e session.Event) {
	if v := visitOf(ctx); v != nil && !v.dead() {
		v.world.mu.Lock()
		defer v.world.mu.Unlock()
		v.lateWrite = v.lateWrite || e.Kind == session.EventLateWrite
	}
}

// schedule has the processes die and come back, clocks step and the database fail over.
func (w *world) schedule() {
	for i := range w.params.crashes {
		w.plan(fmt.Sprintf("crash%d", i), func(d *rand.Rand) { w.nodes[d.IntN(len(w.nodes))].crash(d) })
	}
	for i := range w.params.steps {
		w.plan(fmt.Sprintf("step%d", i), func(d *rand.Rand) {
			n, offset := w.nodes[d.IntN(len(w.nodes))], time.Duration(d.Int64N(int64(w.params.skew)+1))-w.params.skew/2
			w.mu.Lock()
			defer w.mu.Unlock()
			w.noteLocked("%s: its clock steps from %v to %v", n.name, n.offset, offset)
			n.offset = offset
		})
	}
	for i := range w.params.failovers {
		w.plan(fmt.Sprintf("failover%d", i), w.db.failOver)
	}
}

// plan has something happen at some time.
func (w *world) plan(name string, happen func(*rand.Rand)) {
	if !w.has(name) {
		return
	}
	w.group.Go(func() {
		d := w.dice(name)
		time.Sleep(time.Duration(d.Int64N(int64(w.params.span))))
		happen(d)
	})
}

// crash has the process die, with all that it has under way, and start again.
func (n *node) crash(d *rand.Rand) {
	w := n.world
	w.mu.Lock()
	if n.crashed == nil { // it is down already
		w.mu.Unlock()
		return
	}
	w.counts.faults++
	w.noteLocked("%s dies", n.name)
	close(n.crashed)
	n.crashed = nil
	w.mu.Unlock()
	time.Sleep(time.Duration(d.Int64N(int64(time.Second))))
	n.boot()
	w.note("%s is back", n.name)
}
