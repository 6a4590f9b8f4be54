package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

// Over a network: Redis behind a proxy that delays, with several readers. Loopback hides what waits for what.

var (
	networkDelays  = []time.Duration{500 * time.Microsecond, time.Millisecond}
	networkReaders = []int{1, 4, 16}
)

// networkCell is one subject with so many readers over one network.
type networkCell struct {
	subject string
	delay   time.Duration // each way
	busy    int           // goroutines that compute meanwhile
	readers []*client
	p50     []float64 // nanoseconds, a figure for each pass
	p99     []float64
	rates   []float64 // reads in a second
}

func networkSubjects(d *delay) []subject {
	return []subject{rawSubjects(d.addr)[0], redisSubject(d.url()), ownClientSubject(d.addr), scsRedisSubject(d.addr)}
}

func runNetwork(r *report, server *server) error {
	for _, each := range networkDelays {
		d, err := startDelay(server.addr, each)
		if err != nil {
			return err
		}
		defer d.stop()
		for _, s := range networkSubjects(d) {
			a, err := s.build(variant{})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			for _, readers := range networkReaders {
				c := &networkCell{subject: s.name, delay: each}
				for range readers {
					c.readers = append(c.readers, a.visitor(opRead))
				}
				r.network = append(r.network, c)
			}
		}
	}
	measureReads(r.network, r.plan)
	return nil
}

// measureReads measures cells in passes, and in each pass in another order.
func measureReads(cells []*networkCell, p plan) {
	for _, c := range cells {
		c.read(p.network / 4) // connections are made
	}
	cells = slices.Clone(cells)
	for pass := range p.passes {
		fmt.Fprintf(os.Stderr, "  pass %d of %d\n", pass+1, p.passes)
		rand.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
		for _, c := range cells {
			times := c.read(p.network)
			c.p50 = append(c.p50, float64(percentile(times, .5)))
			c.p99 = append(c.p99, float64(percentile(times, .99)))
			c.rates = append(c.rates, float64(len(times))/p.network.Seconds())
		}
	}
}

// read has all readers read for so long, and returns how long each read took, sorted.
func (c *networkCell) read(each time.Duration) []time.Duration {
	defer keepBusy(c.busy)()
	end := time.Now().Add(each)
	all := make([][]time.Duration, len(c.readers))
	var wg sync.WaitGroup
	for i, reader := range c.readers {
		wg.Go(func() {
			for begun := time.Now(); begun.Before(end); {
				reader.visit()
				now := time.Now()
				all[i] = append(all[i], now.Sub(begun))
				begun = now
			}
		})
	}
	wg.Wait()
	return slices.Sorted(slices.Values(slices.Concat(all...)))
}

// networkCell returns the cell, or an empty one if that was not measured.
func (r *report) networkCell(name string, each time.Duration, readers int) *networkCell {
	for _, c := range r.network {
		if c.subject == name && c.delay == each && len(c.readers) == readers {
			return c
		}
	}
	return &networkCell{}
}

// overNetwork is a target for the median of a read over the longest delay, in parts of a bare GET's.
func (r *report) overNetwork(name string, readers int) target {
	each := networkDelays[len(networkDelays)-1]
	return target{
		what:    fmt.Sprintf("%s, read over a network of %v each way, %d readers, median", name, each, readers),
		against: nameGet, limit: 1.08,
		measured: ratio(r.networkCell(name, each, readers).p50, r.networkCell(nameGet, each, readers).p50),
	}
}

func (r *report) networkTable(b *bytes.Buffer) {
	t := table{head: []string{"read", "delay each way", "readers", "median", "spread", "99 %", "reads per second"}}
	for _, c := range r.network {
		p50 := summarise(c.p50)
		t.add(c.subject, c.delay.String(), count(len(c.readers)), duration(time.Duration(p50.median)), percent(p50),
			duration(time.Duration(summarise(c.p99).median)), count(int(summarise(c.rates).median)))
	}
	t.write(b, "Redis over a network")
}
