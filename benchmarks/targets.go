package main

import "fmt"

// target is one of the figures that the library is to reach, as a ratio within this run.
type target struct {
	what, against string
	limit         float64
	atLeast       bool // the ratio is to be this or more
	measured      figure
	cpu           figure // the same in processor time, if it is about time
	cell          key    // what is measured, if it is about time
}

func (t target) met() bool {
	if t.atLeast {
		return t.measured.median >= t.limit
	}
	return t.measured.median <= t.limit
}

func (t target) bound() string {
	words := " or less"
	if t.atLeast {
		words = " or more"
	}
	return fmt.Sprintf("%g%s", t.limit, words)
}

func (r *report) targets() []target {
	one := func(name string, op operation, v variant) key { return key{name, op, v, 1} }
	many := func(name string, op operation, v variant) key { return key{name, op, v, redisGoroutines} }
	plain, idle := variant{}, variant{idle: true}
	sealed, gorilla := r.cells.get(one(nameSealed, opRead, plain)), r.cells.get(one(nameGorilla, opRead, plain))
	untouched, floor := r.cells.get(one(nameMemory, opUntouched, plain)), r.cells.get(one(nameBare, opUntouched, plain))
	all := []target{
		r.times("sealed cookie, read", nameGorilla+", time", 0.19, one(nameSealed, opRead, plain), one(nameGorilla, opRead, plain)),
		{what: "sealed cookie, read", against: nameGorilla + ", allocations", limit: 0.10, measured: exactly(sealed.allocs / gorilla.allocs)},
		r.times("sealed cookie, read + write", nameGorilla, 0.29, one(nameSealed, opWrite, plain), one(nameGorilla, opWrite, plain)),
		r.times("sealed cookie, read", nameSeal+" + bare handler", 1.0, one(nameSealed, opRead, plain), one(nameSeal, opRead, plain)),
		r.times("memory, read", nameSCS, 0.14, one(nameMemory, opRead, plain), one(nameSCS, opRead, plain)),
		r.times("memory, read, idle timeout", nameSCS, 0.12, one(nameMemory, opRead, idle), one(nameSCS, opRead, idle)),
		r.times("Redis, read", nameSCSR, 0.38, many(nameRedis, opRead, plain), many(nameSCSR, opRead, plain)),
		r.times("Redis, read, idle timeout", nameSCSR, 0.25, many(nameRedis, opRead, idle), many(nameSCSR, opRead, idle)),
		r.times("Redis, read", nameGet+" + bare handler", 0.85, many(nameRedis, opRead, plain), many(nameGet, opRead, plain)),
		r.times("Redis, read + write", nameSCSR, 0.56, many(nameRedis, opWrite, plain), many(nameSCSR, opWrite, plain)),
		r.times("Redis, read + write", nameGetSet+" + bare handler", 1.12, many(nameRedis, opWrite, plain), many(nameGetSet, opWrite, plain)),
		r.times("Redis, login", nameSCSR, 0.60, many(nameRedis, opLogin, plain), many(nameSCSR, opLogin, plain)),
		r.times("Redis, own client, read", nameSCSR, 0.40, many(nameOwn, opRead, plain), many(nameSCSR, opRead, plain)),
		r.times("Redis, own client, read", nameGet+" + bare handler", 0.85, many(nameOwn, opRead, plain), many(nameGet, opRead, plain)),
		r.times("Redis, own client, read + write", nameSCSR, 0.58, many(nameOwn, opWrite, plain), many(nameSCSR, opWrite, plain)),
		r.times("Redis, own client, read + write", nameGetSet+" + bare handler", 1.15, many(nameOwn, opWrite, plain), many(nameGetSet, opWrite, plain)),
		r.times("Redis, own client, login", nameSCSR, 0.62, many(nameOwn, opLogin, plain), many(nameSCSR, opLogin, plain)),
		r.times("Redis with near cache, read", nameSCSR, 0.06, many(nameNear, opRead, plain), many(nameSCSR, opRead, plain)),
		r.times("Redis with near cache, read + write", nameSCSR, 0.85, many(nameNear, opWrite, plain), many(nameSCSR, opWrite, plain)),
		r.times("no cookie, untouched", nameWrap, 1.08, one(nameMemory, opNone, plain), one(nameWrap, opNone, plain)),
		r.times("cookie, untouched", nameWrap, 1.08, one(nameMemory, opUntouched, plain), one(nameWrap, opUntouched, plain)),
		r.times("no cookie, untouched", nameBare, 1.32, one(nameMemory, opNone, plain), one(nameBare, opNone, plain)),
		r.times("cookie, untouched", nameBare, 1.32, one(nameMemory, opUntouched, plain), one(nameBare, opUntouched, plain)),
		{what: "cookie, untouched", against: nameBare + ", allocations above it", limit: 4, measured: exactly(untouched.allocs - floor.allocs)},
		{what: "sockets, Redis read", against: nameSCSR, limit: 1.6, atLeast: true, measured: r.rates(nameRedis, nameSCSR, false)},
		{what: "sockets, Redis read, idle timeout", against: nameSCSR, limit: 1.6, atLeast: true, measured: r.rates(nameRedis, nameSCSR, true)},
		{what: "sockets, near cache read", against: nameSCSR, limit: 2.5, atLeast: true, measured: r.rates(nameNear, nameSCSR, false)},
		{what: "sockets, cookie read", against: nameBare, limit: 0.78, atLeast: true, measured: r.rates(nameSealed, nameBare, false)},
	}
	for _, name := range []string{nameRedis, nameOwn} {
		all = append(all, r.overNetwork(name, 4), r.overNetwork(name, 16))
	}
	all = append(all, r.contestTargets()...)
	return known(append(all, r.heapTargets()...))
}

// known drops what was not measured in this run.
func known(targets []target) []target {
	var found []target
	for _, t := range targets {
		if t.measured.known() {
			found = append(found, t)
		}
	}
	return found
}

// get returns the cell, or an empty one if that was not measured.
func (r results) get(k key) *cell {
	if c := r[k]; c != nil {
		return c
	}
	return &cell{}
}

// exactly is a figure that does not vary: zero divided by zero is none.
func exactly(x float64) figure {
	if x != x {
		return figure{}
	}
	return figure{x, x, x}
}

// times is a target for the time of a, in parts of b's.
func (r *report) times(what, against string, limit float64, a, b key) target {
	t := target{what: what, against: against, limit: limit, cell: a}
	if x, y := r.cells[a], r.cells[b]; x != nil && y != nil {
		t.measured, t.cpu = ratio(x.nanos, y.nanos), ratio(x.cpu, y.cpu)
	}
	return t
}

// rates compares requests per second over sockets.
func (r *report) rates(a, b string, idle bool) figure {
	x, y := r.site(a, idle), r.site(b, idle)
	if x == nil || y == nil {
		return figure{}
	}
	return ratio(x.rates, y.rates)
}

func (r *report) site(name string, idle bool) *site {
	for _, s := range r.sites {
		if s.name == name && s.idle == idle {
			return s
		}
	}
	return nil
}
