package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const goroutines = 16

// speeds are requests per second, one figure for each pass, by subject and operation.
type speeds map[string]map[string][]float64

var operations = []string{"read", "write", "login"}

// race measures the subjects in turns, so that what disturbs the machine disturbs all alike.
func race(subjects []subject, passes int, turn time.Duration) (speeds, error) {
	all := speeds{}
	clients := map[string][]*client{}
	for _, s := range subjects {
		all[s.name] = map[string][]float64{}
		for range goroutines {
			c, err := newClient(s.handler)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			clients[s.name] = append(clients[s.name], c)
		}
	}
	for pass := range passes {
		for _, op := range operations {
			for i := range subjects {
				s := subjects[(i+pass)%len(subjects)]
				if op == "login" && !s.logins {
					continue
				}
				speed, err := run(clients[s.name], op, turn)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", s.name, err)
				}
				all[s.name][op] = append(all[s.name][op], speed)
			}
		}
	}
	return all, nil
}

// run has all clients make requests for a while.
func run(clients []*client, op string, turn time.Duration) (float64, error) {
	var group sync.WaitGroup
	counts, errs := make([]int, len(clients)), make([]error, len(clients))
	start := time.Now()
	for i, c := range clients {
		group.Go(func() {
			for time.Since(start) < turn && errs[i] == nil {
				errs[i] = c.do(context.Background(), op, nil)
				counts[i]++
			}
		})
	}
	group.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(start).Seconds(), errors.Join(errs...)
}

// lost has writers of one session set a key each, after all have loaded it, and returns how many are not there.
func lost(s subject, writers int) (int, error) {
	c, err := newClient(s.handler)
	if err != nil {
		return 0, err
	}
	var loaded, done sync.WaitGroup
	loaded.Add(writers)
	ctx := context.WithValue(context.Background(), barrierKey{}, func() { loaded.Done(); loaded.Wait() })
	errs := make([]error, writers)
	for i := range writers {
		done.Go(func() {
			w := *c
			errs[i] = w.do(ctx, fmt.Sprint("set/key-", i), nil)
		})
	}
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	var body bytes.Buffer
	if err := c.do(context.Background(), "count", &body); err != nil {
		return 0, err
	}
	var kept int
	_, err = fmt.Sscan(body.String(), &kept)
	return writers - kept, err
}

func median(figures []float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}

// ratio is the median of the passes' ratios: two figures of one pass were taken under the same load.
func ratio(a, b []float64) float64 {
	var all []float64
	for i := range min(len(a), len(b)) {
		all = append(all, a[i]/b[i])
	}
	return median(all)
}
