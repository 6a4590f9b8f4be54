// The benchmarks of package session beside the libraries in use today and the least that could be done.
//
//	go -C benchmarks run .         everything: about ten minutes
//	go -C benchmarks run . -quick  the same with short passes: about two minutes
//
// It starts a redis-server of its own, prints the tables, and writes them to RESULTS.md with a plot, results.svg.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"
)

const redisGoroutines = 16

// plan is how long everything takes.
type plan struct {
	passes      int
	cpu         time.Duration // a pass of one cell
	redis       time.Duration
	sockets     time.Duration
	socketRuns  int
	sizes       []int // of the stores that grow
	calls       int   // of each kind on them
	pairs       int   // of a write and a read
	revocations int
}

var (
	full  = plan{6, 120 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second, 6, []int{1_000, 100_000, 1_000_000}, 5_000, 10_000, 1_000}
	quick = plan{6, 10 * time.Millisecond, 40 * time.Millisecond, time.Second, 3, []int{1_000, 100_000}, 2_000, 10_000, 200}
)

func main() {
	short := flag.Bool("quick", false, "short passes and small stores")
	dir := flag.String("out", ".", "where RESULTS.md and results.svg go")
	parts := flag.String("parts", "cpu,redis,sockets,near,growth", "what to run")
	flag.Parse()
	p := full
	if *short {
		p = quick
	}
	if err := run(p, *short, *parts, *dir); err != nil {
		slog.Error("the benchmarks failed", "error", err)
		os.Exit(1)
	}
}

func run(p plan, short bool, parts, dir string) error {
	start := time.Now()
	server, err := startRedis()
	if err != nil {
		return err
	}
	defer server.stop()
	r := &report{plan: p, short: short, cells: results{}, shaped: results{}, redis: server.version()}
	for _, part := range partsOf(parts) {
		fmt.Fprintln(os.Stderr, part.title)
		if err := part.run(r, server); err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
	}
	r.took = time.Since(start)
	return r.write(dir)
}
