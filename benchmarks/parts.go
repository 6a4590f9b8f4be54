package main

import (
	"slices"
	"strings"
	"time"
)

// part is one part of a run, which adds to the report.
type part struct {
	name, title string
	run         func(*report, *server) error
}

var allParts = []part{
	{"cpu", "requests without a network", runCPU},
	{"redis", "Redis, 16 goroutines", runRedis},
	{"heavy", "sessions of 64 KiB", runHeavy},
	{"profile", "profiles of what misses its target", runProfiles},
	{"sockets", "over sockets", runSockets},
	{"network", "over a network", runNetwork},
	{"busy", "beside busy goroutines", runBusy},
	{"wire", "bytes on the wire", runWire},
	{"contention", "one session, many requests", runContention},
	{"near", "near cache", runNear},
	{"growth", "growth", runGrowth},
}

func partsOf(names string) []part {
	wanted := strings.Split(names, ",")
	return slices.DeleteFunc(slices.Clone(allParts), func(p part) bool { return !slices.Contains(wanted, p.name) })
}

var variants = []variant{{}, {idle: true}, {big: true}, {idle: true, big: true}}

// cpuSubjects are measured without Redis.
func cpuSubjects() []subject {
	return []subject{
		bareSubject(), wrapSubject(), setSubject(), hmacSubject(), sealSubject(), mapSubject(),
		sealedSubject(), signedSubject(), gorillaSubject(), memorySubject(), scsMemorySubject(),
	}
}

func redisSubjects(s *server) []subject {
	return append(rawSubjects(s.addr),
		redisSubject(s.url()), ownClientSubject(s.addr), nearSubject(s.url()), scsRedisSubject(s.addr), bojSubject(s.addr), bareSubject())
}

// A turn is as short as goes: with 16 goroutines it takes a while until all are under way, and until the last is done.
const (
	cpuTurn   = 4 * time.Millisecond
	redisTurn = 50 * time.Millisecond
)

func runCPU(r *report, _ *server) error {
	for _, s := range cpuSubjects() {
		for _, v := range variants {
			if err := r.cells.prepare(s, v, 1, opNone, opUntouched, opRead, opWrite, opLogin); err != nil {
				return err
			}
		}
	}
	r.cells.measure(r.plan.passes, r.plan.cpu, cpuTurn, ownTime)
	return nil
}

func runRedis(r *report, server *server) error {
	for _, s := range redisSubjects(server) {
		for _, v := range variants {
			if err := r.cells.prepare(s, v, redisGoroutines, opNone, opUntouched, opRead, opWrite, opLogin); err != nil {
				return err
			}
		}
	}
	r.cells.measure(r.plan.passes, r.plan.redis, redisTurn, server.time)
	return nil
}

// heavySubjects hold a session that is nearly as large as is allowed. Sealed cookies can't.
func heavySubjects(s *server) []subject {
	return []subject{
		memorySubject(), scsMemorySubject(), redisSubject(s.url()), ownClientSubject(s.addr), nearSubject(s.url()), scsRedisSubject(s.addr),
	}
}

func runHeavy(r *report, server *server) error {
	for _, s := range heavySubjects(server) {
		if err := r.cells.prepare(s, heavy, 1, opRead, opWrite); err != nil {
			return err
		}
	}
	r.cells.measure(r.plan.passes, r.plan.redis, redisTurn, server.time)
	return nil
}

func runSockets(r *report, server *server) (err error) {
	r.sites, err = sockets([]subject{
		bareSubject(), sealedSubject(), gorillaSubject(), memorySubject(), scsMemorySubject(),
		rawSubjects(server.addr)[0], redisSubject(server.url()), ownClientSubject(server.addr), nearSubject(server.url()), scsRedisSubject(server.addr), bojSubject(server.addr),
	}, r.plan.socketRuns, r.plan.sockets)
	return err
}
