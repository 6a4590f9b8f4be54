package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// key names one measurement: a subject doing an operation.
type key struct {
	subject    string
	op         operation
	variant    variant
	goroutines int
}

func (k key) String() string {
	return fmt.Sprintf("%s: %s (%s, %d goroutines)", k.subject, k.op, k.variant, k.goroutines)
}

// cell is a measurement under way: one figure for each pass.
type cell struct {
	key     key
	clients []*client
	n       int       // requests a pass
	nanos   []float64 // for each request, a figure for each pass
	cpu     []float64 // nanoseconds of processor time for each request, Redis included
	own     []float64 // without Redis
	allocs  float64   // for each request
	bytes   float64
}

// results are the cells by their keys.
type results map[key]*cell

// prepare builds the subject and makes its cells. Each goroutine has a session of its own.
func (r results) prepare(s subject, v variant, goroutines int, ops ...operation) error {
	a, err := s.build(v)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, op := range ops {
		if a.handler(op) == nil {
			continue
		}
		c := &cell{key: key{s.name, op, v, goroutines}}
		for range goroutines {
			c.clients = append(c.clients, a.visitor(op))
		}
		if got := c.clients[0].visit(); got.Code != 200 || got.Body.String() != "ok" {
			return fmt.Errorf("%v: answered %d %s", c.key, got.Code, got.Body)
		}
		r[c.key] = c
	}
	return nil
}

// measure runs all cells in passes, and in each pass turn by turn, in an order that changes: what disturbs the machine
// lasts longer than a turn, and so disturbs all cells alike.
func (r results) measure(passes int, each, turn time.Duration, cpuTime func() time.Duration) {
	cells := r.fresh()
	for _, c := range cells {
		c.calibrate(each)
	}
	turns := max(int(each/turn), 1)
	for pass := range passes {
		fmt.Fprintf(os.Stderr, "  pass %d of %d\n", pass+1, passes)
		runtime.GC()
		for _, c := range cells {
			c.nanos, c.cpu, c.own = append(c.nanos, 0), append(c.cpu, 0), append(c.own, 0)
		}
		for range turns {
			rand.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
			for _, c := range cells {
				c.take(turns, pass, cpuTime)
			}
		}
	}
}

// take makes the requests of one turn, and adds them to the figures of the pass.
func (c *cell) take(turns, pass int, cpuTime func() time.Duration) {
	n := max(c.n/turns, len(c.clients))
	before, own := cpuTime(), ownTime()
	took := c.run(n)
	own = ownTime() - own
	c.nanos[pass] += float64(took.Nanoseconds()) / float64(n*turns)
	c.cpu[pass] += float64((cpuTime() - before).Nanoseconds()) / float64(n*turns)
	c.own[pass] += float64(own.Nanoseconds()) / float64(n*turns)
}

func (r results) fresh() []*cell {
	var cells []*cell
	for _, c := range r {
		if len(c.nanos) == 0 {
			cells = append(cells, c)
		}
	}
	return cells
}

// calibrate finds how many requests take as long, and counts their allocations.
func (c *cell) calibrate(each time.Duration) {
	n := 64
	c.run(n)
	for {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		took := c.run(n)
		runtime.ReadMemStats(&after)
		if took >= each/8 {
			c.n = max(int(float64(n)*float64(each)/float64(took)), len(c.clients))
			c.allocs = float64(after.Mallocs-before.Mallocs) / float64(n)
			c.bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
			return
		}
		n *= 2
	}
}

// run makes n requests in all.
func (c *cell) run(n int) time.Duration {
	start := time.Now()
	if len(c.clients) == 1 {
		for range n {
			c.clients[0].visit()
		}
		return time.Since(start)
	}
	var wg sync.WaitGroup
	for _, client := range c.clients {
		wg.Go(func() {
			for range n / len(c.clients) {
				client.visit()
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// figure is a median and how far the passes are apart.
type figure struct{ median, low, high float64 }

func summarise(values []float64) figure {
	if len(values) == 0 {
		return figure{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	f := figure{sorted[middle], sorted[0], sorted[len(sorted)-1]}
	if len(sorted)%2 == 0 {
		f.median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return f
}

func (f figure) known() bool { return f.median != 0 }

// spread returns half of the distance between the extremes, in parts of the median.
func (f figure) spread() float64 { return (f.high - f.low) / 2 / f.median }

// ratio compares two series pass by pass.
func ratio(a, b []float64) figure {
	n := min(len(a), len(b))
	ratios := make([]float64, n)
	for i := range n {
		ratios[i] = a[i] / b[i]
	}
	return summarise(ratios)
}

// percentile returns the value that the part given of all values does not exceed.
func percentile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}
