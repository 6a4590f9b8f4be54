package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/doorman-go/session"
)

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// endlessMemory is a memory store without a limit on its sessions.
func endlessMemory() *session.MemoryStore {
	store := session.NewMemoryStore()
	store.MaxSessions = -1
	return store
}

// growMemory fills a memory store, timing each call, and then tries it.
func growMemory(size, calls int) (growthRow, error) {
	row := growthRow{store: "memory", sessions: size}
	ctx := context.Background()
	p := &population{store: endlessMemory(), ids: make([]string, size)}
	times := make([]time.Duration, size)
	before, start := heap(), time.Now()
	for i := range size {
		r := newRecord(fmt.Sprintf("user-%d", i/4), 3)
		p.ids[i] = r.ID
		called := time.Now()
		if err := create(ctx, p.store, r); err != nil {
			return row, err
		}
		times[i] = time.Since(called)
	}
	row.took = time.Since(start)
	row.bytes = (heap() - before) / float64(size)
	row.calls = append(row.calls, summariseCalls("create, while it grows", times))
	tried, err := p.try(calls)
	row.calls = append(row.calls, tried...)
	return row, err
}

// sweepMemory creates sessions in a store full of expired ones, until all of those are gone.
func sweepMemory(size int) (latencies, error) {
	ctx := context.Background()
	store := endlessMemory()
	expired := time.Now().Add(2*time.Second + time.Duration(size)*4*time.Microsecond)
	for range size {
		r := newRecord("", 3)
		r.Deadline = expired.Add(-time.Minute) // it is kept for a minute after its end
		if err := create(ctx, store, r); err != nil {
			return latencies{}, err
		}
	}
	time.Sleep(time.Until(expired))
	runtime.GC()
	created := size // each looks at three sessions, some of them a second time
	times := make([]time.Duration, created)
	for i := range created {
		r := newRecord("", 3)
		start := time.Now()
		if err := create(ctx, store, r); err != nil {
			return latencies{}, err
		}
		times[i] = time.Since(start)
	}
	if left := store.Len() - created; left != 0 {
		return latencies{}, fmt.Errorf("%d expired sessions are left after %d creations", left, created)
	}
	return summariseCalls(fmt.Sprintf("create, sweeping %s expired", count(size)), times), nil
}

// plainMap puts copies of as many sessions into a map, without a store: what the garbage collector and a heap that grows
// do to whoever keeps so much.
func plainMap(size int) latencies {
	times := make([]time.Duration, size)
	kept := make(map[string]*session.Record)
	for i := range size {
		r := newRecord("", 3)
		start := time.Now()
		next := *r
		kept[r.ID] = &next
		times[i] = time.Since(start)
	}
	runtime.KeepAlive(kept)
	return summariseCalls("copies into a plain map, while it grows", times)
}
