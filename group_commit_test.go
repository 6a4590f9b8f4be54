package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A commit that does not hand the record on in time may look at it still when the others' is sent.
func TestQueue_WhoIsLeftOutHasARecordThatNobodyChanges(t *testing.T) {
	store := NewMemoryStore()
	config, err := Config{StoreTimeout: 200 * time.Millisecond}.withDefaults(store)
	require.NoError(t, err)
	g := &queue{store: store, config: &config}
	now := time.Now()
	base := &Record{ID: "id", Revision: "r0", CreatedAt: now, LastUsedAt: now, IssuedAt: now, Deadline: now.Add(time.Hour)}
	_, err = store.Swap(t.Context(), Token{}, Swap{nil, base})
	require.NoError(t, err)

	call, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	waiting := func(replay func(*Record) (*Record, error)) *waiter {
		w := &waiter{call: call, token: NewToken("id", ""), base: base, replay: replay}
		w.prepare()
		return w
	}
	quick := waiting(func(old *Record) (*Record, error) { next := *old; next.Revision = ""; return &next, nil })
	sent := make(chan struct{})
	seen := make(chan string, 1)
	slow := waiting(func(old *Record) (*Record, error) { <-sent; seen <- old.Revision; return old, nil })
	go g.await(quick)
	go g.await(slow)
	stored := make(chan *Record)
	go func() {
		logs, _ := g.handRound([]*waiter{quick, slow}, base)
		_, _, attempt := g.markSent(logs, base)
		close(sent)
		stored <- attempt.swaps[0].New
	}()
	require.NotEmpty(t, (<-stored).Revision)
	require.Empty(t, <-seen, "it sees the record that it was handed")
}
