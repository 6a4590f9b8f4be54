package main

import "testing"

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
