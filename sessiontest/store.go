package sessiontest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/doorman-go/session"
)

// Store is a store in memory that fails when a test wants it to, and keeps a log of its calls. It lists and revokes.
// Where nothing was asked for it is as good as session.MemoryStore.
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
	Load   Op = "load"
	Save   Op = "save"
	Delete Op = "delete"
	List   Op = "list"   // UserSessions
	Revoke Op = "revoke" // EndUserSession, EndUserSessions
)

// Call is an entry of the log.
type Call struct {
	Op   Op
	ID   string // the session's, or the user of List and Revoke
	Err  error  // what the call returned
	Made bool   // a Save that created
}

// fault makes the n-th call fail.
type fault struct {
	n   int
	err error
}

var _ session.UserStore = (*Store)(nil)

// NewStore returns an empty store that works.
func NewStore() *Store {
	return &Store{
		memory: session.NewMemoryStore(),
		counts: make(map[Op]int), faults: make(map[Op][]fault), gates: make(map[Op]*Gate),
	}
}

// FailLoad makes the n-th load from now fail with err: 1 is the next.
func (s *Store) FailLoad(n int, err error) { s.Fail(Load, n, err) }

// FailSave makes the n-th save from now fail with err, and change nothing.
func (s *Store) FailSave(n int, err error) { s.Fail(Save, n, err) }

// FailDelete makes the n-th delete from now fail with err, and delete nothing.
func (s *Store) FailDelete(n int, err error) { s.Fail(Delete, n, err) }

// Fail makes the n-th call of a kind from now fail with err.
func (s *Store) Fail(op Op, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = append(s.faults[op], fault{s.counts[op] + n, err})
}

// Down makes all calls fail with err until it is called with nil.
func (s *Store) Down(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

// EndBetween ends the session that is saved next just before that, as if another request had logged out since this one
// loaded it. A save of a session that takes over from no other does not count.
func (s *Store) EndBetween() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = true
}

// Gate holds calls up.
type Gate struct {
	reached, opened chan struct{}
	once            sync.Once
}

// Hold makes the next call of a kind wait until the gate is opened or the call's context ends, as one of a store that
// hangs.
func (s *Store) Hold(op Op) *Gate {
	g := &Gate{reached: make(chan struct{}), opened: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[op] = g
	return g
}

// Reached is closed when a call has come to the gate.
func (g *Gate) Reached() <-chan struct{} { return g.reached }

// Open lets the call go on. Opening an open gate does nothing.
func (g *Gate) Open() { g.once.Do(func() { close(g.opened) }) }

// Calls returns the calls that have returned, in that order.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Reset forgets the log.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// call counts a call, holds it up and makes it fail, as asked for, or does it; and logs it.
func (s *Store) call(ctx context.Context, c Call, do func() error) error {
	c.Err = s.admit(ctx, c.Op)
	if c.Err == nil {
		c.Err = do()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	return c.Err
}

func (s *Store) admit(ctx context.Context, op Op) error {
	s.mu.Lock()
	s.counts[op]++
	n, gate, err := s.counts[op], s.gates[op], s.down
	delete(s.gates, op)
	for _, f := range s.faults[op] {
		if f.n == n {
			err = f.err
		}
	}
	s.mu.Unlock()
	if gate == nil {
		return err
	}
	close(gate.reached)
	select {
	case <-gate.opened:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Load implements session.Store.
func (s *Store) Load(ctx context.Context, token session.Token) (r *session.Record, err error) {
	err = s.call(ctx, Call{Op: Load, ID: token.ID()}, func() error {
		r, err = s.memory.Load(ctx, token)
		return err
	})
	return r, err
}

// Save implements session.Store.
func (s *Store) Save(ctx context.Context, token session.Token, change *session.Change) (saved session.Token, err error) {
	err = s.call(ctx, Call{Op: Save, ID: change.Record.ID, Made: change.Create}, func() error {
		if source := change.Source(); source != "" && s.endsNow() {
			if err := s.memory.Delete(ctx, source, change.Base.Deadline); err != nil {
				return err
			}
		}
		saved, err = s.memory.Save(ctx, token, change)
		return err
	})
	return saved, err
}

func (s *Store) endsNow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.ends
	s.ends = false
	return now
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, id string, until time.Time) error {
	return s.call(ctx, Call{Op: Delete, ID: id}, func() error { return s.memory.Delete(ctx, id, until) })
}

// UserSessions implements session.UserStore.
func (s *Store) UserSessions(ctx context.Context, user string) (records []*session.Record, err error) {
	err = s.call(ctx, Call{Op: List, ID: user}, func() error {
		records, err = s.memory.UserSessions(ctx, user)
		return err
	})
	return records, err
}

// EndUserSession implements session.Revoker.
func (s *Store) EndUserSession(ctx context.Context, user, id string) error {
	return s.call(ctx, Call{Op: Revoke, ID: user}, func() error { return s.memory.EndUserSession(ctx, user, id) })
}

// EndUserSessions implements session.Revoker.
func (s *Store) EndUserSessions(ctx context.Context, user string, except []string) (ended int, err error) {
	err = s.call(ctx, Call{Op: Revoke, ID: user}, func() error {
		ended, err = s.memory.EndUserSessions(ctx, user, except)
		return err
	})
	return ended, err
}
