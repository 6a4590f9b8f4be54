// The benchmarks of package session beside the libraries in use today and the least that could be done.
//
//	go -C benchmarks run .         everything: about ten minutes
//	go -C benchmarks run . -quick  the same with short passes: about two minutes
//
// It starts a redis-server of its own, prints the tables, and writes them to RESULTS.md with a plot, results.svg. A full run also
// puts its short table into the README.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"
)

const (
	redisGoroutines = 16
	everything      = "cpu,redis,heavy,profile,sockets,network,busy,wire,contention,near,growth"
)

// plan is how long everything takes.
type plan struct {
	passes      int
	network     time.Duration
	contests    int           // times that each is held
	cpu         time.Duration // a pass of one cell
	redis       time.Duration
	profile     time.Duration // of one cell
	sockets     time.Duration
	socketRuns  int
	sizes       []int // of the stores that grow
	calls       int   // of each kind on them
	pairs       int   // of a write and a read
	revocations int
}

var (
	full = plan{
		passes: 6, cpu: 120 * time.Millisecond, redis: 200 * time.Millisecond, network: 400 * time.Millisecond, contests: 20, profile: 3 * time.Second,
		sockets: 2 * time.Second, socketRuns: 6, sizes: []int{1_000, 100_000, 1_000_000}, calls: 5_000, pairs: 10_000, revocations: 1_000,
	}
	quick = plan{
		passes: 6, cpu: 10 * time.Millisecond, redis: 40 * time.Millisecond, network: 50 * time.Millisecond, contests: 3, profile: 200 * time.Millisecond,
		sockets: time.Second, socketRuns: 3, sizes: []int{1_000, 100_000}, calls: 2_000, pairs: 10_000, revocations: 200,
	}
)

func main() {
	beDelay()
	short := flag.Bool("quick", false, "short passes and small stores")
	dir := flag.String("out", ".", "where RESULTS.md and results.svg go")
	parts := flag.String("parts", everything, "what to run")
	readme := flag.String("readme", "../README.md", "where a full run of everything puts its table")
	flag.Parse()
	p := full
	if *short {
		p = quick
	}
	if *short || *parts != everything {
		*readme = ""
	}
	if err := run(p, *short, *parts, *dir, *readme); err != nil {
		slog.Error("the benchmarks failed", "error", err)
		os.Exit(1)
	}
}

func run(p plan, short bool, parts, dir, readme string) error {
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
	if err := r.write(dir); err != nil || readme == "" {
		return err
	}
	return r.writeReadme(readme)
}
