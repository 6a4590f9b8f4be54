package main

import (
	"bytes"
	"fmt"
	"time"
)

var operations = []operation{opNone, opUntouched, opRead, opWrite, opLogin}

// requestTables has a table for each variant, with and without Redis.
func (r *report) requestTables(b *bytes.Buffer) {
	for _, v := range variants {
		r.requestTable(b, "Requests without a network, "+v.String(), v, 1, cpuSubjects(), false)
	}
	r.requestTable(b, "Allocations for each request, no idle timeout", variant{}, 1, cpuSubjects(), true)
	for _, v := range variants {
		title := fmt.Sprintf("Redis, %d goroutines, %s", redisGoroutines, v)
		r.requestTable(b, title, v, redisGoroutines, redisSubjects(&server{}), false)
	}
	r.loadTable(b)
	r.requestTable(b, "Sessions of 64 KiB, of which one small value is changed", heavy, 1, heavySubjects(&server{}), false)
}

// loadTable says how much processor time a request takes of the process, and of Redis.
func (r *report) loadTable(b *bytes.Buffer) {
	t := table{head: []string{"µs of processor time for each request", "", "process", "Redis"}}
	for _, s := range redisSubjects(&server{}) {
		for _, op := range []operation{opRead, opWrite, opLogin} {
			if c := r.cells[key{s.name, op, variant{}, redisGoroutines}]; c != nil {
				redis := make([]float64, len(c.cpu))
				for pass := range redis {
					redis[pass] = c.cpu[pass] - c.own[pass]
				}
				own, rest := summarise(c.own), summarise(redis)
				t.add(s.name, string(op), micros(own.median)+" "+percent(own), micros(max(rest.median, 0))+" "+percent(rest))
			}
		}
	}
	t.write(b, fmt.Sprintf("Redis, %d goroutines, no idle timeout: what a request takes of the two processes", redisGoroutines))
}

func (r *report) requestTable(b *bytes.Buffer, title string, v variant, goroutines int, subjects []subject, allocs bool) {
	t := table{head: []string{"µs for each request"}}
	if allocs {
		t.head[0] = "allocations (bytes)"
	}
	for _, op := range operations {
		t.head = append(t.head, string(op))
	}
	for _, s := range subjects {
		row, any := []string{s.name}, false
		for _, op := range operations {
			c := r.cells[key{s.name, op, v, goroutines}]
			text := ""
			switch {
			case c == nil:
			case allocs:
				text = fmt.Sprintf("%.0f (%.0f)", c.allocs, c.bytes)
			default:
				f := summarise(c.nanos)
				text = micros(f.median) + " " + percent(f)
			}
			row, any = append(row, text), any || c != nil
		}
		if any {
			t.add(row...)
		}
	}
	t.write(b, title)
}

func (r *report) socketTable(b *bytes.Buffer) {
	if len(r.sites) == 0 {
		return
	}
	base := r.site(nameBare, false)
	t := table{head: []string{"reads over sockets", "requests per second", "spread", "of the bare server"}}
	for _, s := range r.sites {
		label := s.name
		if s.idle {
			label += ", idle timeout"
		}
		f := summarise(s.rates)
		t.add(label, count(int(f.median)), percent(f), number(ratio(s.rates, base.rates).median))
	}
	t.write(b, fmt.Sprintf("Over sockets: wrk, %d connections, on the same %s", socketConnections, "machine"))
}

func (r *report) nearTable(b *bytes.Buffer) {
	if r.near.pairs == 0 {
		return
	}
	t := table{head: []string{"near cache", "target", "measured", ""}}
	add := func(what, target, measured string, met bool) {
		t.add(what, target, measured, map[bool]string{true: "met", false: "**missed**"}[met])
	}
	add(fmt.Sprintf("own writes not seen by the next read, of %s, with other readers at it", count(r.near.pairs)), "0", count(r.near.stale), r.near.stale == 0)
	t.add("pairs without an answer from Redis within a second", "", count(r.near.failed), "")
	p99 := percentile(r.near.seen, .99)
	add("revocation by another process seen, 99th percentile", "50 ms or less", duration(p99), p99 <= 50*time.Millisecond)
	t.add("the same, median", "", duration(percentile(r.near.seen, .5)), "")
	t.add(fmt.Sprintf("the same, latest of %s", count(len(r.near.seen))), "", duration(percentile(r.near.seen, 1)), "")
	t.add(fmt.Sprintf("reads that reached Redis, of %s", count(r.near.reads)), "", count(r.near.asked), "")
	t.write(b, "Near cache")
}

func (r *report) growthTables(b *bytes.Buffer) {
	r.shapeTable(b)
	r.callTable(b)
	r.pauseTable(b)
	r.heapTable(b)
	t := table{head: []string{"sessions of the user", "other sessions", "time to end them"}}
	for _, row := range r.revoked {
		t.add(count(row.sessions), count(row.others), duration(row.took))
	}
	t.write(b, "Redis: ending all sessions of a user")
	t = table{head: []string{"MEMORY USAGE", "bytes"}}
	for _, row := range r.usage {
		t.add(row.what, count(int(row.bytes)))
	}
	t.write(b, "Redis: memory")
}

func (r *report) shapeTable(b *bytes.Buffer) {
	t := table{head: []string{"µs for each request", "values", "goroutines", "read", "read + write"}}
	for _, name := range []string{nameMemory, nameRedis, nameOwn, nameNear} {
		for _, shape := range shapes {
			v := variant{more: shape.more}
			read, write := r.shaped[key{name, opRead, v, shape.goroutines}], r.shaped[key{name, opWrite, v, shape.goroutines}]
			if read == nil || write == nil {
				continue
			}
			t.add(name, count(3+shape.more), count(shape.goroutines), micros(summarise(read.nanos).median), micros(summarise(write.nanos).median))
		}
	}
	t.write(b, "Growth: values and goroutines")
}

func (r *report) callTable(b *bytes.Buffer) {
	t := table{head: []string{"store", "sessions", "bytes each", "call", "median", "99 %", "longest"}}
	for _, row := range r.growth {
		for i, call := range row.calls {
			size, each := "", ""
			if i == 0 {
				size, each = count(row.sessions), number(row.bytes)
			}
			t.add(row.store, size, each, call.name, duration(call.median), duration(call.p99), duration(call.max))
		}
	}
	t.write(b, "Growth: single calls of the stores")
}

// pauseTable is about the longest calls of the largest memory store.
func (r *report) pauseTable(b *bytes.Buffer) {
	if len(r.growth) == 0 {
		return
	}
	t := table{head: []string{"memory store", "calls", "over 1 ms", "99 %", "longest"}}
	add := func(name string, l latencies) {
		t.add(name, count(l.calls), count(l.slow), duration(l.p99), duration(l.max))
	}
	for _, row := range r.growth {
		if row.store == "memory" && row.sessions == r.plan.sizes[len(r.plan.sizes)-1] {
			for _, call := range row.calls {
				add(call.name+", at "+count(row.sessions), call)
			}
		}
	}
	for _, l := range r.pauses {
		add(l.name, l)
	}
	t.write(b, "Growth: pauses of the memory store (target: none over 1 ms at a million)")
}
