package sessiontest

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/doorman-go/session"
)

// Store is a store in memory that fails when a test wants it to, and logs its calls. It lists a user's sessions, and
// ends a session in one step. As long as nothing else was asked of it, it works like session.MemoryStore.
type Store struct {
	memory *session.MemoryStore

	mu     sync.Mutex
	calls  []Call
	counts map[Op]int
	faults map[Op][]fault
	gates  map[Op]*Gate
	ends   bool
	down   error
}

// Op is a kind of call.
type Op string

// The kinds of calls.
const (
	Load Op = "load"
	Swap Op = "swap"
	End  Op = "end"
	List Op = "list" // UserSessions
)

// Call is an entry of the log.
type Call struct {
	Op    Op
	ID    string // the session's; that of the last record, the new one, where a Swap has several; the user of List
	Err   error  // what the call returned
	Swaps int    // how many records a Swap was to replace
	Made  bool   // a Swap whose last record was to be a new one
}

// fault makes the n-th call fail, before it is made or after.
type fault struct {
	n    int
	lost bool
	err  error
}

var (
	_ session.UserStore   = (*Store)(nil)
	_ session.Ender       = (*Store)(nil)
	_ session.AllStore    = (*Store)(nil)
	_ session.EndNotifier = (*Store)(nil)
)

// NewStore returns an empty store that works.
func NewStore() *Store {
	return &Store{
		memory: session.NewMemoryStore(),
		counts: make(map[Op]int), faults: make(map[Op][]fault), gates: make(map[Op]*Gate),
	}
}

// Fail makes the n-th call of this kind from now fail with err, without effect. 1 is the next call.
func (s *Store) Fail(op Op, n int, err error) { s.addFault(op, fault{n: n, err: err}) }

// Lose makes the n-th call of this kind from now lose its answer: it takes effect, and returns err. That is what a
// caller sees when a connection breaks before the answer.
func (s *Store) Lose(op Op, n int, err error) { s.addFault(op, fault{n: n, lost: true, err: err}) }

func (s *Store) addFault(op Op, f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.n += s.counts[op]
	s.faults[op] = append(s.faults[op], f)
}

// Down makes all calls fail with err. Down(nil) ends that.
func (s *Store) Down(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

// EndBetween ends the session of the next Swap just before that Swap, as if another request had logged out since this
// one loaded the session. A Swap that starts a session does not count.
func (s *Store) EndBetween() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = true
}

// Gate makes a call wait.
type Gate struct {
	reached, opened chan struct{}
	once            sync.Once
}

// Hold makes the next call of this kind wait until the gate is opened or the call's context ends, like a store that
// hangs.
func (s *Store) Hold(op Op) *Gate {
	g := &Gate{reached: make(chan struct{}), opened: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[op] = g
	return g
}

// Reached returns a channel that is closed when a call waits at the gate.
func (g *Gate) Reached() <-chan struct{} { return g.reached }

// Open lets the call go on. To open it again has no effect.
func (g *Gate) Open() { g.once.Do(func() { close(g.opened) }) }

// Calls returns the calls that have returned, in the order in which they did.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Reset empties the log.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// call counts a call, holds it up and makes it fail, as asked for, or makes it; and logs it.
func (s *Store) call(ctx context.Context, c Call, do func() error) error {
	f, err := s.admit(ctx, c.Op)
	if c.Err = err; err == nil {
		c.Err = do()
	}
	if f.lost && err == nil {
		c.Err = f.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	return c.Err
}

// admit returns what goes wrong with a call, and the error of one that is not to be made.
func (s *Store) admit(ctx context.Context, op Op) (fault, error) {
	s.mu.Lock()
	s.counts[op]++
	f, gate, err := s.faultOf(op), s.gates[op], s.down
	delete(s.gates, op)
	s.mu.Unlock()
	if !f.lost && f.err != nil {
		err = f.err
	}
	if gate == nil {
		return f, err
	}
	close(gate.reached)
	select {
	case <-gate.opened:
		return f, err
	case <-ctx.Done():
		return f, ctx.Err()
	}
}

// faultOf returns what the call that was just counted is to meet. The last word counts.
func (s *Store) faultOf(op Op) (met fault) {
	for _, f := range s.faults[op] {
		if f.n == s.counts[op] {
			met = f
		}
	}
	return met
}

// Load implements session.Store.
func (s *Store) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	var r *session.Record
	err := s.call(ctx, Call{Op: Load, ID: token.ID()}, func() (err error) {
		r, err = s.memory.Load(ctx, token)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Swap implements session.Store.
func (s *Store) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	var saved session.Token
	err := s.call(ctx, callOf(swaps), func() (err error) {
		if err := s.endBefore(ctx, swaps); err != nil {
			return err
		}
		saved, err = s.memory.Swap(ctx, token, swaps...)
		return err
	})
	if err != nil {
		return session.Token{}, err
	}
	return saved, nil
}

func callOf(swaps []session.Swap) Call {
	c := Call{Op: Swap, Swaps: len(swaps)}
	if len(swaps) > 0 {
		last := swaps[len(swaps)-1]
		c.ID, c.Made = last.New.ID, last.Old == nil
	}
	return c
}

// endBefore does what EndBetween asked for.
func (s *Store) endBefore(ctx context.Context, swaps []session.Swap) error {
	old := oldOf(swaps)
	if old == nil || !s.endsNow() {
		return nil
	}
	now := session.Now(ctx)
	_, err := s.memory.End(ctx, &session.Record{
		ID: old.ID, Revision: rand.Text(), Realm: old.Realm, User: old.User, CreatedAt: old.CreatedAt, IssuedAt: now,
		LastUsedAt: now, Deadline: now.Add(time.Minute), Ended: true,
	})
	var conflict *session.ConflictError
	if errors.As(err, &conflict) {
		return nil // it had ended before
	}
	return err
}

// oldOf returns the session that is swapped, or nil where one begins.
func oldOf(swaps []session.Swap) *session.Record {
	for _, swap := range swaps {
		if swap.Old != nil {
			return swap.Old
		}
	}
	return nil
}

func (s *Store) endsNow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.ends
	s.ends = false
	return now
}

// End implements session.Ender.
func (s *Store) End(ctx context.Context, tombstone *session.Record) (*session.Record, error) {
	var replaced *session.Record
	err := s.call(ctx, Call{Op: End, ID: tombstone.ID}, func() (err error) {
		replaced, err = s.memory.End(ctx, tombstone)
		return err
	})
	if err != nil {
		return nil, err
	}
	return replaced, nil
}

// UserSessions implements session.UserStore.
func (s *Store) UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error) {
	var records []*session.Record
	err := s.call(ctx, Call{Op: List, ID: user}, func() (err error) {
		records, err = s.memory.UserSessions(ctx, realm, user)
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// All implements session.AllStore. It is one call of List, without a user.
func (s *Store) All(ctx context.Context, realm string) iter.Seq2[*session.Record, error] {
	return func(yield func(*session.Record, error) bool) {
		if err := s.call(ctx, Call{Op: List}, func() error { return nil }); err != nil {
			yield(nil, err)
			return
		}
		s.memory.All(ctx, realm)(yield)
	}
}

// NotifyEnds implements session.EndNotifier. No fault touches it.
func (s *Store) NotifyEnds(ended func(id string)) (stop func()) { return s.memory.NotifyEnds(ended) }
