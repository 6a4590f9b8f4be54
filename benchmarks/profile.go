package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// spent is where the processor time of one measurement goes.
type spent struct {
	key   key
	total float64            // samples
	parts map[string]float64 // samples by part
	files map[string]float64 // samples of this library by its file
}

// The parts that the time goes to.
const (
	partBench  = "handler and client"
	partHTTP   = "net/http"
	partMemory = "memory"
	partSystem = "system calls"
	partSwitch = "scheduler"
	partRedis  = "go-redis"
	partCrypto = "cryptography"
	partClock  = "clock, locks"
	partOwn    = "this library"
)

var allSpentParts = []string{partBench, partHTTP, partMemory, partSystem, partSwitch, partRedis, partCrypto, partClock, partOwn}

// runProfiles takes a profile of each measurement that misses a target.
func runProfiles(r *report, _ *server) error {
	for _, t := range r.targets() {
		c := r.cells[t.cell]
		if t.met() || c == nil || slices.ContainsFunc(r.spent, func(s spent) bool { return s.key == t.cell }) {
			continue
		}
		s, err := profileCell(c, r.plan.profile)
		if err != nil {
			return err
		}
		r.spent = append(r.spent, s)
	}
	return nil
}

func profileCell(c *cell, d time.Duration) (spent, error) {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		return spent{}, err
	}
	for begun := time.Now(); time.Since(begun) < d; {
		c.run(max(c.n, len(c.clients)))
	}
	pprof.StopCPUProfile()
	p, err := profile.Parse(&b)
	if err != nil {
		return spent{}, err
	}
	s := spent{key: c.key, parts: make(map[string]float64), files: make(map[string]float64)}
	for _, sample := range p.Sample {
		n := float64(sample.Value[0])
		part, file := partOf(framesOf(sample))
		s.total += n
		s.parts[part] += n
		if part == partOwn {
			s.files[file] += n
		}
	}
	return s, nil
}

// frame is a function on the stack.
type frame struct{ name, file string }

// framesOf returns the stack of a sample, the innermost function first.
func framesOf(sample *profile.Sample) (frames []frame) {
	for _, location := range sample.Location {
		for _, line := range location.Line {
			frames = append(frames, frame{line.Function.Name, line.Function.Filename})
		}
	}
	return frames
}

const module = "github.com/doorman-go/session"

// partOf returns the part that a sample belongs to, and the file if that is this library. Small helpers of the standard
// library count for the function that calls them.
func partOf(frames []frame) (part, file string) {
	for _, f := range frames {
		switch name := f.name; {
		case takesMemory(name):
			return partMemory, ""
		case strings.HasPrefix(name, "internal/runtime/syscall"), strings.HasPrefix(name, "syscall."), strings.HasPrefix(name, "internal/poll."):
			return partSystem, ""
		case switches(name):
			return partSwitch, ""
		case strings.HasPrefix(name, "crypto/"), strings.HasPrefix(name, "encoding/base64"), strings.HasPrefix(name, "hash/"):
			return partCrypto, ""
		case strings.HasPrefix(name, "time."), strings.HasPrefix(name, "sync."), strings.HasPrefix(name, "internal/sync."):
			return partClock, ""
		case strings.HasPrefix(name, "github.com/redis/"):
			return partRedis, ""
		case strings.HasPrefix(name, "net/"), strings.HasPrefix(name, "net."), strings.HasPrefix(name, "bufio."):
			return partHTTP, ""
		case strings.HasPrefix(name, "main."), strings.HasPrefix(name, module+"/benchmarks."):
			return partBench, ""
		case strings.HasPrefix(name, module):
			return partOwn, path.Base(f.file)
		}
	}
	return partSwitch, "" // only the runtime: idle processors and timers
}

// takesMemory reports whether a function of the runtime allocates, or collects garbage.
func takesMemory(name string) bool {
	for _, own := range []string{"runtime.mallocgc", "runtime.gc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.growslice", "runtime.wbBufFlush"} {
		if strings.HasPrefix(name, own) {
			return true
		}
	}
	return false
}

// switches reports whether a function of the runtime changes between goroutines.
func switches(name string) bool {
	switch name {
	case "runtime.mcall", "runtime.schedule", "runtime.park_m", "runtime.ready", "runtime.selectgo", "runtime.chansend", "runtime.chanrecv",
		"runtime.newproc", "runtime.morestack", "runtime.newstack", "runtime.netpoll", "runtime.goready":
		return true
	}
	return false
}

func (r *report) spentTable(b *bytes.Buffer) {
	if len(r.spent) == 0 {
		return
	}
	t := table{head: append(append([]string{"% of this process's time"}, allSpentParts...), "of this library, by file")}
	for _, s := range r.spent {
		row := []string{s.key.subject + ": " + string(s.key.op)}
		if s.key.variant.idle {
			row[0] += ", idle timeout"
		}
		for _, part := range allSpentParts {
			row = append(row, fmt.Sprintf("%.0f", 100*s.parts[part]/s.total))
		}
		t.add(append(row, s.largestFiles(5))...)
	}
	t.write(b, "Where the time of the missed targets goes")
}

// largestFiles names the files of this library that take most.
func (s spent) largestFiles(most int) string {
	files := slices.SortedFunc(maps.Keys(s.files), func(a, b string) int { return cmp.Compare(s.files[b], s.files[a]) })
	var texts []string
	for _, file := range files[:min(most, len(files))] {
		texts = append(texts, fmt.Sprintf("%s %.1f", file, 100*s.files[file]/s.total))
	}
	return strings.Join(texts, ", ")
}
