package kit

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

// ErrDown is what a store says that was broken.
var ErrDown = errors.New("the store is down")

// A Hook stands between the Manager and a store. It makes the call, or does not, and returns what the Manager is told.
type Hook func(ctx context.Context, op sessiontest.Op, call func() error) error

// Store is any store with a gate in front: flights stop there, calls are counted, and a hook can break them.
type Store struct {
	seen *seenTokens
	deaf atomic.Bool

	mu    sync.RWMutex
	inner session.Store
	hook  Hook
	twice bool
	calls map[sessiontest.Op]int
	last  []session.Swap
}

// NewStore puts a gate in front of inner.
func NewStore(inner session.Store) *Store {
	return &Store{inner: inner, calls: map[sessiontest.Op]int{}}
}

// Front returns the store for a Manager. It can do what the one behind it can, and no more.
func (s *Store) Front() session.Store { return offer(s, s.Inner()) }

// Inner returns the store behind the gate.
func (s *Store) Inner() session.Store {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.inner
}

// Replace puts another store, one of the same kind, in its place.
func (s *Store) Replace(inner session.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inner = inner
}

// Intercept puts a hook in, or takes it away with nil.
func (s *Store) Intercept(hook Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Break makes all calls of these kinds fail and do nothing, until Mend.
func (s *Store) Break(err error, ops ...sessiontest.Op) {
	s.Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
		if slices.Contains(ops, op) {
			return err
		}
		return call()
	})
}

// Lose has the next Swap or End that is made lose its answer.
func (s *Store) Lose() {
	var once sync.Once
	s.Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
		err := call()
		if err == nil && (op == sessiontest.Swap || op == sessiontest.End) {
			once.Do(func() { err = errors.New("the reply was lost") })
		}
		return err
	})
}

// Refuse has the next Swap or End fail and do nothing.
func (s *Store) Refuse() {
	var once sync.Once
	s.Intercept(func(_ context.Context, op sessiontest.Op, call func() error) (err error) {
		if op == sessiontest.Swap || op == sessiontest.End {
			once.Do(func() { err = ErrDown })
		}
		if err != nil {
			return err
		}
		return call()
	})
}

// Hang leaves all calls unanswered, until Mend.
func (s *Store) Hang() {
	s.Intercept(func(ctx context.Context, _ sessiontest.Op, _ func() error) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

// Delay has all calls of these kinds take their time.
func (s *Store) Delay(by time.Duration, ops ...sessiontest.Op) {
	s.Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
		if !slices.Contains(ops, op) {
			return call()
		}
		select {
		case <-time.After(by):
			return call()
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Mend takes away what Break, Lose, Refuse, Hang, Delay or Intercept put in.
func (s *Store) Mend() { s.Intercept(nil) }

// SendTwice has each Swap sent twice, as a client does whose reply was lost.
func (s *Store) SendTwice() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.twice = true
}

// Count returns how many calls of these kinds there were, of all kinds if none is named.
func (s *Store) Count(ops ...sessiontest.Op) (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for op, calls := range s.calls {
		if len(ops) == 0 || slices.Contains(ops, op) {
			n += calls
		}
	}
	return n
}

// ForgetCalls begins to count anew.
func (s *Store) ForgetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}

// LastSwaps returns what the latest Swap was asked for.
func (s *Store) LastSwaps() []session.Swap {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// LastRecord returns the record that the latest Swap was to put in last.
func (s *Store) LastRecord() *session.Record {
	swaps := s.LastSwaps()
	return swaps[len(swaps)-1].New
}

// Recorded returns the latest Swap that do makes, to be sent again.
func (s *Store) Recorded(do func()) (again func() error) {
	before := s.recording()
	defer s.Intercept(before)
	var sent func() error
	s.Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
		if op == sessiontest.Swap {
			sent = call
		}
		if before != nil {
			return before(ctx, op, call)
		}
		return call()
	})
	do()
	return sent
}

func (s *Store) recording() Hook {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.hook
}

// run makes a call as the hook has it.
func (s *Store) run(ctx context.Context, op sessiontest.Op, call func() error) error {
	PauseAt(ctx, string(op))
	s.mu.Lock()
	s.calls[op]++
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		return call()
	}
	return hook(ctx, op, call)
}

// Load implements session.Store.
func (s *Store) Load(ctx context.Context, token session.Token) (r *session.Record, err error) {
	s.seen.add(token)
	err = s.run(ctx, sessiontest.Load, func() (err error) {
		r, err = s.Inner().Load(ctx, token)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Swap implements session.Store.
func (s *Store) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (saved session.Token, err error) {
	s.seen.add(token)
	if !slices.ContainsFunc(swaps, func(w session.Swap) bool { return !w.New.Ended }) {
		PauseAt(ctx, string(sessiontest.End))
	}
	s.mu.Lock()
	s.last = swaps
	times := 1
	if s.twice {
		times = 2
	}
	s.mu.Unlock()
	untimed := context.WithoutCancel(ctx) // for a call that is sent again
	for range times {
		err = s.run(ctx, sessiontest.Swap, func() (err error) {
			within := ctx
			if ctx.Err() != nil {
				within = untimed
			}
			saved, err = s.Inner().Swap(within, token, swaps...)
			return err
		})
		if err != nil {
			return session.Token{}, err
		}
	}
	s.seen.add(saved)
	return saved, nil
}

// End implements session.Ender.
func (s *Store) End(ctx context.Context, tombstone *session.Record) (replaced *session.Record, err error) {
	err = s.run(ctx, sessiontest.End, func() (err error) {
		replaced, err = s.Inner().(session.Ender).End(ctx, tombstone)
		return err
	})
	if err != nil {
		return nil, err
	}
	return replaced, nil
}

// UserSessions implements session.UserStore.
func (s *Store) UserSessions(ctx context.Context, realm, user string) (records []*session.Record, err error) {
	err = s.run(ctx, sessiontest.List, func() (err error) {
		records, err = s.Inner().(session.UserStore).UserSessions(ctx, realm, user)
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// EndUser implements session.UserEnder.
func (s *Store) EndUser(ctx context.Context, realm, user string, except []string) error {
	return s.run(ctx, sessiontest.End, func() error {
		return s.Inner().(session.UserEnder).EndUser(ctx, realm, user, except)
	})
}

// EndUserSession implements session.UserEnder.
func (s *Store) EndUserSession(ctx context.Context, realm, user, id string) error {
	return s.run(ctx, sessiontest.End, func() error {
		return s.Inner().(session.UserEnder).EndUserSession(ctx, realm, user, id)
	})
}

// Revocations is what a session.CookieStore has.
func (s *Store) Revocations() session.Store {
	return s.Inner().(interface{ Revocations() session.Store }).Revocations()
}

// All implements session.AllStore. A hook is asked before the first record.
func (s *Store) All(ctx context.Context, realm string) iter.Seq2[*session.Record, error] {
	return func(yield func(*session.Record, error) bool) {
		all, ok := s.Inner().(session.AllStore)
		err := errors.ErrUnsupported
		if ok {
			err = s.run(ctx, sessiontest.List, func() error { return nil })
		}
		if err != nil {
			yield(nil, err)
			return
		}
		all.All(ctx, realm)(yield)
	}
}

// NotifyEnds implements session.EndNotifier. Deaf has nobody told.
func (s *Store) NotifyEnds(ended func(id string)) (stop func()) {
	notifier, ok := s.Inner().(session.EndNotifier)
	if !ok || s.deaf.Load() {
		return func() {}
	}
	return notifier.NotifyEnds(ended)
}

// Deaf has the store tell nobody which sessions end, as if all messages were lost.
func (s *Store) Deaf() { s.deaf.Store(true) }
