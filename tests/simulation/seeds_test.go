package simulation_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	seedCount = flag.Int("sim.seeds", 3000, "how many seeds are run")
	seedFrom  = flag.Uint64("sim.from", 1, "the first of them")
	showTrace = flag.Bool("sim.trace", false, "show what happens in the first of them")
)

const mostFailures = 3 // after which no more seeds are run

// Worlds of many seeds keep all promises.
func TestSeeds(t *testing.T) {
	if *showTrace {
		t.Log("\n" + run(t, *seedFrom, nil).trace)
	}
	var next atomic.Uint64
	next.Store(*seedFrom)
	var failures atomic.Int64
	var mu sync.Mutex
	var all counts
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for failures.Load() < mostFailures {
					seed := next.Add(1) - 1
					if seed >= *seedFrom+uint64(*seedCount) {
						return
					}
					r := run(t, seed, nil)
					mu.Lock()
					all.add(r.counts)
					mu.Unlock()
					if r.kind() != "" {
						failures.Add(1)
						report(t, seed, r)
					}
				}
			})
		}
	})
	t.Logf("%d seeds: %v", min(next.Load()-*seedFrom, uint64(*seedCount)), all)
	require.Zero(t, failures.Load(), "seeds that failed")
}

// report shows a seed that failed, and how to run it again.
func report(t *testing.T, seed uint64, failed result) {
	var texts []string
	for _, v := range failed.violations {
		texts = append(texts, v.kind+": "+v.text)
	}
	t.Errorf("seed %d failed: %s\nRun it again: go test ./tests/simulation -run TestSeeds -sim.from %d -sim.seeds 1\n"+
		"Keep it: add a line to testdata/corpus. What is left of it when shrunk:\n%s",
		seed, strings.Join(texts, "; "), seed, shrink(t, seed, failed).trace)
}

func (c counts) String() string {
	return fmt.Sprintf("%d requests with %d operations, of which %d were answered well, %d with an error and %d with the end of their session; "+
		"%d messages, %d writes, %d faults", c.visits, c.operations, c.answered, c.refused, c.ended, c.messages, c.writes, c.faults)
}

// The seeds that have once failed, here or on a change of the code that was made to be found, are kept.
func TestCorpus(t *testing.T) {
	file, err := os.Open("testdata/corpus")
	require.NoError(t, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	n := 0
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		if r := run(t, seed, nil); r.kind() != "" {
			report(t, seed, r)
		}
		n++
	}
	require.NoError(t, lines.Err())
	require.NotZero(t, n)
}

// The same seed gives the same run, to the nanosecond, whatever the goroutines' order.
func TestDeterminism(t *testing.T) {
	for seed := *seedFrom; seed < *seedFrom+200; seed++ {
		first := run(t, seed, nil)
		for range 2 {
			require.Equal(t, first.trace, run(t, seed, nil).trace, "seed %d", seed)
		}
	}
}
