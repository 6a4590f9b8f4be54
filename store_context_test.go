package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A store may derive contexts of its own, as database/sql does for a transaction: they end with the call.
func TestStoreContext_DerivedContextsEndWithTheCall(t *testing.T) {
	m := &Manager{config: Config{Clock: time.Now}}
	for range 100 {
		call := m.storeContext(t.Context(), time.Minute)
		derived, cancel := context.WithCancel(call)
		defer cancel()
		call.release()
		<-derived.Done()
		require.ErrorIs(t, derived.Err(), context.Canceled)
		require.ErrorIs(t, call.Err(), context.Canceled)
	}
}

// Done and Err agree, whichever is asked first, and whatever ends the call.
func TestStoreContext_DoneAndErrAgree(t *testing.T) {
	m := &Manager{config: Config{Clock: time.Now}}
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
			first := m.storeContext(c.parent, c.timeout)
			defer first.release()
			require.Equal(t, c.want, first.Err())
			require.Equal(t, c.want != nil, closed(first))

			second := m.storeContext(c.parent, c.timeout)
			require.Equal(t, c.want != nil, closed(second))
			require.Equal(t, c.want, second.Err())
			second.release()
			require.True(t, closed(second))
			require.Error(t, second.Err())

			untimed := m.storeContext(c.parent, c.timeout)
			untimed.release()
			require.Equal(t, closed(untimed), untimed.Err() != nil)
		})
	}
}

func closed(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}
