package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets this program be the proxy that delays.
func TestMain(m *testing.M) {
	beDelay()
	os.Exit(m.Run())
}

// Every library does the workload: the subjects check what they read themselves.
func TestSubjects(t *testing.T) {
	server, err := startRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	for _, s := range append(cpuSubjects(), redisSubjects(server)...) {
		for _, v := range variants {
			r := results{}
			if err := r.prepare(s, v, 2, operations...); err != nil {
				t.Fatal(err)
			}
			for _, c := range r {
				c.run(20)
			}
		}
	}
}

// Large sessions too.
func TestHeavySubjects(t *testing.T) {
	server, err := startRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	for _, s := range heavySubjects(server) {
		r := results{}
		if err := r.prepare(s, heavy, 1, opRead, opWrite); err != nil {
			t.Fatal(err)
		}
		for _, c := range r {
			c.run(5)
		}
	}
}

// The proxy delays each way, and does not keep what comes together apart.
func TestDelay(t *testing.T) {
	server, err := startRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	const each = 20 * time.Millisecond
	d, err := startDelay(server.addr, each)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	a, err := rawSubjects(d.addr)[0].build(variant{})
	if err != nil {
		t.Fatal(err)
	}
	c := &networkCell{}
	for range 16 {
		c.readers = append(c.readers, a.visitor(opRead))
	}
	c.read(each)
	if median := percentile(c.read(20*each), .5); median < 2*each || median > 4*each {
		t.Errorf("a read takes %v, and should take twice %v and a little", median, each)
	}
}

// Nothing is lost where many requests change one session, and it can be ended.
func TestContention(t *testing.T) {
	server, err := startRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	r := &report{plan: plan{contests: 1}}
	if err := runContention(r, server); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.contests {
		if c.lost != 0 {
			t.Errorf("%s, %d writers, %d processes: %d of the changes are lost", c.what, c.writers, c.processes, c.lost)
		}
	}
}

// The README has a place for the table, and keeps it.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &report{cells: results{}}
	var written [2]string
	for i := range written {
		if err := r.writeReadme(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		written[i] = string(text)
	}
	if written[0] != written[1] || !strings.Contains(written[0], "0 targets") {
		t.Errorf("the README was not written twice alike: %s", written[0])
	}
}

// The same workload as Go benchmarks, for profiles: go test -bench 'Request/session,_memory/read$' -cpuprofile cpu.out

func BenchmarkRequest(b *testing.B) {
	for _, s := range cpuSubjects() {
		benchmark(b, s, 1, opNone, opUntouched, opRead, opWrite, opLogin)
	}
}

func BenchmarkRedis(b *testing.B) {
	server, err := startRedis()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.stop)
	for _, s := range redisSubjects(server) {
		benchmark(b, s, redisGoroutines, opRead, opWrite, opLogin)
	}
}

func benchmark(b *testing.B, s subject, goroutines int, ops ...operation) {
	for _, op := range ops {
		b.Run(s.name+"/"+string(op), func(b *testing.B) {
			r := results{}
			if err := r.prepare(s, variant{}, goroutines, op); err != nil {
				b.Fatal(err)
			}
			for _, c := range r {
				b.ReportAllocs()
				b.ResetTimer()
				c.run(max(b.N, goroutines))
			}
		})
	}
}
