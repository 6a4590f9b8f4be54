package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// report is what a run found.
type report struct {
	plan  plan
	short bool
	redis string // version
	took  time.Duration

	cells  results
	spent  []spent
	shaped results
	sites  []*site
	near   nearResult

	network  []*networkCell
	busy     []*networkCell
	wire     []wireRow
	contests []*contest
	endings  []time.Duration // of a session that others keep changing

	growth  []growthRow
	pauses  []latencies
	heaps   []heapRow
	revoked []revokeRow
	usage   []usageRow
}

// write prints the report, and stores it with its plot.
func (r *report) write(dir string) error {
	var b bytes.Buffer
	r.markdown(&b)
	fmt.Println(b.String())
	if err := os.WriteFile(filepath.Join(dir, "RESULTS.md"), b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.svg"), r.plot(), 0o644)
}

func (r *report) markdown(b *bytes.Buffer) {
	say := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	say("# Benchmark results\n")
	say("![Time per request, beside other libraries](results.svg)\n")
	say("Written by `go -C benchmarks run .`; do not edit. %s, %s/%s, %d CPUs, %s, %s, in %s.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.redis, time.Now().UTC().Format("2006-01-02"), r.took.Round(time.Second))
	if r.short {
		say("**A quick run**: short passes and small stores. Figures for comparison come from a full run.\n")
	}
	if noise := r.noise(); noise > disturbed {
		say("**Disturbed**: something else had the machine during this run. The median spread is %.0f %%, over %.0f %%, so the", 100*noise, 100*disturbed)
		say("verdicts on times below mean nothing; counts and allocations stand. Run it again on a quiet machine.\n")
	}
	say("Everything runs on one machine, Redis, wrk and the garbage collector included, so only ratios within one run mean")
	say("anything. Each figure with a spread is the median of %d interleaved passes, and the spread is half the distance between", r.plan.passes)
	say("the slowest and the fastest pass; the others are from one pass. Ratios are formed pass by pass. CPU time is the same ratio in processor time of this")
	say("process and of Redis, which what else runs on the machine disturbs less.\n")
	say("The workload: a session with a user id (int64), a text of 32 characters, a locale, and a counter that is written;")
	say("the 1 KB variant has another kilobyte. `read` reads one value; `read + write` counts; `login` takes a new id and keeps")
	say("the values. gorilla/sessions and redistore can't change an id, and have no idle timeout.\n")
	r.targetTable(b)
	r.spentTable(b)
	r.requestTables(b)
	r.socketTable(b)
	r.networkTable(b)
	r.busyTable(b)
	r.wireTable(b)
	r.contentionTable(b)
	r.nearTable(b)
	r.growthTables(b)
	for bytes.HasSuffix(b.Bytes(), []byte("\n\n")) {
		b.Truncate(b.Len() - 1)
	}
}

// disturbed is the median spread from which on a run is no measurement.
const disturbed = 0.4

// noise returns the median of the spreads of all measurements.
func (r *report) noise() float64 {
	var spreads []float64
	for _, cells := range []results{r.cells, r.shaped} {
		for _, c := range cells {
			spreads = append(spreads, summarise(c.nanos).spread())
		}
	}
	for _, s := range r.sites {
		spreads = append(spreads, summarise(s.rates).spread())
	}
	return summarise(spreads).median
}

func (r *report) targetTable(b *bytes.Buffer) {
	targets := r.targets()
	if len(targets) == 0 {
		return
	}
	t := table{head: []string{"case", "against", "target", "measured", "spread", "CPU time", ""}}
	for _, target := range targets {
		verdict, cpu := "met", ""
		if target.cpu.known() {
			cpu = number(target.cpu.median)
		}
		if !target.met() {
			verdict = "**missed**"
		}
		t.add(target.what, target.against, target.bound(), number(target.measured.median), percent(target.measured), cpu, verdict)
	}
	t.write(b, "Targets")
}

// table is a Markdown table.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *bytes.Buffer, title string) {
	if len(t.rows) == 0 {
		return
	}
	if title != "" {
		fmt.Fprintf(b, "## %s\n\n", title)
	}
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	rule := make([]string, len(t.head))
	for i := range rule {
		if rule[i] = "---:"; i == 0 || t.head[i] == "against" || t.head[i] == "target" || t.head[i] == "" {
			rule[i] = "---"
		}
	}
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
	b.WriteByte('\n')
}

// number writes three digits.
func number(x float64) string {
	switch {
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case x > 0 && x < 1:
		return strconv.FormatFloat(x, 'f', 3, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

func percent(f figure) string {
	if f.low == f.high {
		return "exact"
	}
	return fmt.Sprintf("± %.0f %%", 100*f.spread())
}

func micros(nanos float64) string { return number(nanos / 1000) }

func duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return number(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return number(float64(d)/1e6) + " ms"
	case d >= time.Microsecond:
		return number(float64(d)/1e3) + " µs"
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}

// count writes a number with its thousands apart.
func count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
