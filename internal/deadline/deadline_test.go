package deadline_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/deadline"
)

func closed(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

func newContext(parent context.Context, timeout time.Duration) *deadline.Context {
	c := new(deadline.Context)
	c.Init(parent, timeout)
	return c
}

// requireEnded checks that Done and Err agree that ctx ended so.
func requireEnded(t *testing.T, want error, ctx context.Context) {
	t.Helper()
	require.True(t, closed(ctx))
	require.Equal(t, want, ctx.Err())
}

// A store may derive contexts of its own, as database/sql does for a transaction: they end with the call.
func TestRelease_EndsWhatWasDerived(t *testing.T) {
	for range 100 {
		c := newContext(t.Context(), time.Minute)
		derived, cancel := context.WithCancel(c)
		defer cancel()
		below, cancelBelow := context.WithTimeout(context.WithValue(derived, key{}, "v"), time.Hour)
		defer cancelBelow()
		require.False(t, closed(below))
		c.Release()
		<-below.Done()
		requireEnded(t, context.Canceled, derived)
		requireEnded(t, context.Canceled, c)
	}
}

// Done and Err agree, whichever is asked first, and whatever ends the call.
func TestContext_DoneAndErrAgree(t *testing.T) {
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for _, c := range []struct {
		name    string
		parent  context.Context
		timeout time.Duration
		want    error
	}{
		{"under way", t.Context(), time.Minute, nil},
		{"out of time", t.Context(), -time.Second, context.DeadlineExceeded},
		{"hung up", gone, time.Minute, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			errFirst := newContext(c.parent, c.timeout)
			defer errFirst.Release()
			require.Equal(t, c.want, errFirst.Err())
			require.Equal(t, c.want != nil, closed(errFirst))

			doneFirst := newContext(c.parent, c.timeout)
			require.Equal(t, c.want != nil, closed(doneFirst))
			require.Equal(t, c.want, doneFirst.Err())
			doneFirst.Release()
			require.True(t, closed(doneFirst))
			require.Error(t, doneFirst.Err())

			untimed := newContext(c.parent, c.timeout)
			untimed.Release()
			requireEnded(t, context.Canceled, untimed)
		})
	}
}

// A context that is derived from one whose Done is closed while its Err is nil panics.
func TestContext_DerivingAtAnyMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wait := range []time.Duration{0, time.Second - 1, time.Second, time.Second + 1} {
			for _, released := range []bool{false, true} {
				c := newContext(t.Context(), time.Second)
				time.Sleep(wait)
				if released {
					c.Release()
				}
				derived, cancel := context.WithCancel(c)
				require.Equal(t, released || wait >= time.Second, closed(derived), "%v, released %v", wait, released)
				require.Equal(t, closed(derived), derived.Err() != nil)
				cancel()
				c.Release()
			}
		}
	})
}

func TestContext_EndsAtItsDeadlineAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		waited, asked := newContext(t.Context(), time.Second), newContext(t.Context(), time.Second)
		defer waited.Release()
		defer asked.Release()
		time.Sleep(time.Second - 1)
		require.NoError(t, waited.Err())
		require.False(t, closed(waited))
		require.NoError(t, asked.Err())
		<-waited.Done()
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, context.DeadlineExceeded, waited.Err())
		require.Equal(t, context.DeadlineExceeded, asked.Err())
		requireEnded(t, context.DeadlineExceeded, asked)
	})
}

func TestContext_EarlierDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ parent, own, want time.Duration }{
			{time.Minute, time.Second, time.Second},
			{time.Second, time.Minute, time.Second},
			{time.Second, time.Second, time.Second},
		} {
			start := time.Now()
			parent, cancel := context.WithTimeout(t.Context(), c.parent)
			ctx := newContext(parent, c.own)
			at, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, start.Add(c.want), at)
			<-ctx.Done()
			require.Equal(t, c.want, time.Since(start))
			ctx.Release()
			cancel()
		}
	})
}

func TestContext_EndsWithItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("hung up")
		parent, hangUp := context.WithCancelCause(t.Context())
		waited, asked := newContext(parent, time.Minute), newContext(parent, time.Minute)
		defer waited.Release()
		defer asked.Release()
		require.False(t, closed(waited))
		hangUp(why)
		for _, c := range []*deadline.Context{waited, asked} {
			require.Equal(t, context.Canceled, c.Err())
			requireEnded(t, context.Canceled, c)
			require.Equal(t, why, context.Cause(c))
		}
	})
}

type key struct{}

func TestContext_ValuesAreTheParents(t *testing.T) {
	c := newContext(context.WithValue(t.Context(), key{}, "v"), time.Minute)
	require.Equal(t, "v", c.Value(key{}))
	require.Nil(t, c.Value("another"))
	require.False(t, closed(c))
	require.Equal(t, "v", c.Value(key{}))
	require.Nil(t, c.Value("another"))
	c.Release()
	require.Equal(t, "v", c.Value(key{}))
}

// Nothing is left of a call that was released: no goroutine, whatever was derived, and no timer.
func TestContext_LeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		parent, hangUp := context.WithCancel(context.Background())
		defer hangUp()
		for range 100 {
			c := newContext(parent, time.Hour)
			derived, cancel := context.WithCancel(c)
			defer cancel()
			stop := context.AfterFunc(derived, func() {})
			defer stop()
			c.Release()
			c.Release()
		}
		synctest.Wait()
	})
}

func TestContext_FromSeveralGoroutines(t *testing.T) {
	for range 50 {
		c := newContext(t.Context(), time.Minute)
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() { <-c.Done() })
			wait.Go(func() {
				for c.Err() == nil {
					runtime.Gosched()
				}
			})
		}
		require.False(t, closed(c))
		c.Release()
		wait.Wait()
		requireEnded(t, context.Canceled, c)
	}
}

// wrapped is a Context as it is used: part of one that adds a value.
type wrapped struct {
	deadline.Context
	clock string
}

func (w *wrapped) Value(k any) any {
	if k == (key{}) {
		return w.clock
	}
	return w.Context.Value(k)
}

// A derived context needs no goroutine, in a Context and in one that wraps it.
func TestContext_DerivedContextsNeedNoGoroutine(t *testing.T) {
	w := &wrapped{clock: "now"}
	w.Init(t.Context(), time.Minute)
	defer w.Release()
	before := runtime.NumGoroutine()
	for range 100 {
		derived, cancel := context.WithCancel(w)
		defer cancel()
		require.Equal(t, "now", derived.Value(key{}))
	}
	require.Less(t, runtime.NumGoroutine(), before+50)
}

func TestContext_TakesOneAllocationUnlessSomebodyWaits(t *testing.T) {
	parent, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	require.Equal(t, 1.0, testing.AllocsPerRun(100, func() {
		c := newContext(parent, time.Minute)
		_, _ = c.Deadline()
		_, _ = c.Err(), c.Value(key{})
		c.Release()
	}))
	require.Equal(t, 1.0, testing.AllocsPerRun(100, func() {
		w := &wrapped{}
		w.Init(parent, time.Minute)
		sink = w
		w.Release()
	}))
}

var sink context.Context

func BenchmarkContext(b *testing.B) {
	parent, hangUp := context.WithCancel(b.Context())
	defer hangUp()
	b.Run("nobody waits", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := newContext(parent, time.Minute)
			_ = c.Err()
			c.Release()
		}
	})
	b.Run("somebody waits", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := newContext(parent, time.Minute)
			_ = c.Done()
			c.Release()
		}
	})
}

// Who has waited till the end finds the context ended, also where somebody else has waited for it on Done, whose timer may
// be a moment later: a command that is given up for the time must not be sent again.
func TestAwait_ReturnsWhenTheContextHasEnded(t *testing.T) {
	for range 500 {
		c := newContext(t.Context(), time.Millisecond)
		_ = c.Done()
		require.Equal(t, context.DeadlineExceeded, c.Await(nil))
		require.Equal(t, context.DeadlineExceeded, c.Err())
		c.Release()
	}
}
