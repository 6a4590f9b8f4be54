package main

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// Beside goroutines that compute: a batch that waits for others to join it must not wait for those.

const (
	busyReaders      = 4
	busyPerProcessor = 2
)

// runBusy measures reads on loopback with no busy goroutines, and with some for each processor.
func runBusy(r *report, server *server) error {
	for _, s := range []subject{rawSubjects(server.addr)[0], redisSubject(server.url()), ownClientSubject(server.addr), scsRedisSubject(server.addr)} {
		a, err := s.build(variant{})
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, busy := range []int{0, busyPerProcessor * runtime.GOMAXPROCS(0)} {
			c := &networkCell{subject: s.name, busy: busy}
			for range busyReaders {
				c.readers = append(c.readers, a.visitor(opRead))
			}
			r.busy = append(r.busy, c)
		}
	}
	measureReads(r.busy, r.plan)
	return nil
}

// keepBusy starts goroutines that compute until stop is called, and lets them get under way.
func keepBusy(n int) (stop func()) {
	var done atomic.Bool
	for range n {
		go func() {
			for x := uint64(1); !done.Load(); {
				for range 100_000 {
					x = x*6364136223846793005 + 1442695040888963407
				}
				runtime.KeepAlive(x)
			}
		}()
	}
	return func() { done.Store(true) }
}

func (r *report) busyTable(b *bytes.Buffer) {
	t := table{head: []string{"read, 4 readers", "busy goroutines", "median", "spread", "99 %", "reads per second"}}
	for _, c := range r.busy {
		p50 := summarise(c.p50)
		t.add(c.subject, count(c.busy), duration(time.Duration(p50.median)), percent(p50),
			duration(time.Duration(summarise(c.p99).median)), count(int(summarise(c.rates).median)))
	}
	t.write(b, "Redis beside goroutines that compute")
}
