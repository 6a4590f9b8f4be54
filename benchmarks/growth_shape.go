package main

import (
	"fmt"
	"os"
)

// shapes are the sessions and the crowds that requests are measured with: more values, more goroutines.
var shapes = []struct{ more, goroutines int }{{0, 1}, {27, 1}, {297, 1}, {0, 4}, {0, 16}}

// runGrowth fills stores and measures what does not get better with size.
func runGrowth(r *report, server *server) error {
	for _, s := range []subject{memorySubject(), redisSubject(server.url()), ownClientSubject(server.addr), nearSubject(server.url())} {
		for _, shape := range shapes {
			if err := r.shaped.prepare(s, variant{more: shape.more}, shape.goroutines, opRead, opWrite); err != nil {
				return err
			}
		}
	}
	r.shaped.measure(r.plan.passes, r.plan.cpu, redisTurn, server.time)
	if err := r.growMemory(); err != nil {
		return err
	}
	if err := r.measureHeaps(); err != nil {
		return err
	}
	return r.growRedis(server)
}

func (r *report) growMemory() error {
	for _, size := range r.plan.sizes {
		fmt.Fprintf(os.Stderr, "  memory, %s sessions\n", count(size))
		row, err := growMemory(size, r.plan.calls)
		if err != nil {
			return err
		}
		r.growth = append(r.growth, row)
	}
	largest := r.plan.sizes[len(r.plan.sizes)-1]
	swept, err := sweepMemory(largest)
	r.pauses = []latencies{swept, plainMap(largest)}
	return err
}

func (r *report) growRedis(server *server) error {
	c, err := newCrowd(server)
	if err != nil {
		return err
	}
	for _, size := range r.plan.sizes {
		fmt.Fprintf(os.Stderr, "  Redis, %s sessions\n", count(size))
		row, err := c.grow(size, r.plan.calls)
		if err != nil {
			return err
		}
		r.growth = append(r.growth, row)
	}
	for _, sessions := range []int{1, 100, 10_000} {
		row, err := c.revoke(sessions, 3)
		if err != nil {
			return err
		}
		r.revoked = append(r.revoked, row)
	}
	r.usage, err = c.usage()
	return err
}
