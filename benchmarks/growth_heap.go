package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/doorman-go/session"
)

// heapRow is what sessions in memory cost, and how long a full collection of them takes.
type heapRow struct {
	store      string
	sessions   int
	bytes      float64 // for each session
	collection []float64
}

const collections = 5

// measureHeap fills a store by requests, as an application does.
func measureHeap(s subject, sessions int) (heapRow, error) {
	row := heapRow{store: s.name, sessions: sessions}
	before := heap()
	a, err := s.build(variant{})
	if err != nil {
		return row, err
	}
	for range sessions {
		if w := newClient(a.seed).visit(); w.Code != http.StatusOK {
			return row, fmt.Errorf("%s: a session was not stored: %d", s.name, w.Code)
		}
	}
	row.bytes = (heap() - before) / float64(sessions)
	for range collections {
		start := time.Now()
		runtime.GC()
		row.collection = append(row.collection, float64(time.Since(start)))
	}
	runtime.KeepAlive(a)
	return row, nil
}

// heapSubjects are stores in memory without a bound.
func heapSubjects() []subject {
	return []subject{
		ours(nameMemory, func() (session.Store, error) { return endlessMemory(), nil }),
		scsSubject(nameSCS, func() scs.Store { return memstore.NewWithCleanupInterval(0) }),
	}
}

func (r *report) measureHeaps() error {
	for _, size := range r.plan.sizes[1:] {
		fmt.Fprintf(os.Stderr, "  memory by requests, %s sessions\n", count(size))
		for _, s := range heapSubjects() {
			row, err := measureHeap(s, size)
			if err != nil {
				return err
			}
			r.heaps = append(r.heaps, row)
		}
	}
	return nil
}

func (r *report) heapTable(b *bytes.Buffer) {
	t := table{head: []string{"in memory", "sessions", "bytes each", "full collection", "spread"}}
	for _, row := range r.heaps {
		f := summarise(row.collection)
		t.add(row.store, count(row.sessions), number(row.bytes), duration(time.Duration(f.median)), percent(f))
	}
	t.write(b, "Growth: the heap")
}

// heapTargets compare the largest heaps.
func (r *report) heapTargets() []target {
	if len(r.heaps) < 2 {
		return nil
	}
	last := r.heaps[len(r.heaps)-2:]
	what := count(last[0].sessions) + " sessions in memory, "
	return []target{
		{what: what + "bytes", against: nameSCS, limit: 1.2, measured: exactly(last[0].bytes / last[1].bytes)},
		{what: what + "full collection", against: nameSCS, limit: 1.2, measured: ratio(last[0].collection, last[1].collection)},
	}
}
