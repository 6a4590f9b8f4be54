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
	partBench   = "handler and client"
	partHTTP    = "net/http"
	partOwn     = "this library"
	partAlloc   = "its allocations"
	partOthers  = "other allocations"
	partCollect = "garbage collection"
	partSystem  = "system calls"
	partSwitch  = "scheduler, stacks"
	partRedis   = "go-redis"
	partCrypto  = "cryptography"
	partClock   = "clock, locks"
	partNone    = "" // the profile itself
)

var allSpentParts = []string{partBench, partHTTP, partOwn, partAlloc, partOthers, partCollect, partSystem, partSwitch, partRedis, partCrypto, partClock}

// runProfiles takes a profile of each measurement without sockets that misses a target.
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
		part, file := partOf(framesOf(sample))
		if part == partNone {
			continue
		}
		n := float64(sample.Value[0])
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

// partOf returns the part that a sample belongs to, and the file if that is this library. An allocation belongs to the
// function that makes it. A function of the standard library that has no part of its own counts for its caller.
func partOf(frames []frame) (part, file string) {
	if len(frames) == 0 || strings.HasPrefix(frames[len(frames)-1].name, "runtime/pprof.") {
		return partNone, ""
	}
	allocates := false
	for _, f := range frames {
		switch own := ownerOf(f.name); {
		case strings.HasPrefix(f.name, "runtime.mallocgc"), strings.HasPrefix(f.name, "runtime.growslice"):
			allocates = true
		case own == "" || allocates && strings.HasPrefix(f.name, "runtime."):
		case allocates && own == partOwn:
			return partAlloc, ""
		case allocates:
			return partOthers, ""
		case own == partOwn:
			return partOwn, fileOf(f)
		default:
			return own, ""
		}
	}
	return partSwitch, "" // only the runtime: idle processors and timers
}

// fileOf returns the file of a function of this library, with the package if that is an internal one.
func fileOf(f frame) string {
	if strings.HasPrefix(f.name, module+"/internal/") {
		return path.Join(path.Base(path.Dir(f.file)), path.Base(f.file))
	}
	return path.Base(f.file)
}

// owners are the parts by how the names of their functions begin.
var owners = []struct{ prefix, part string }{
	{"runtime.gc", partCollect}, {"runtime.bgsweep", partCollect}, {"runtime.bgscavenge", partCollect}, {"runtime.wbBufFlush", partCollect},
	{"runtime._GC", partCollect}, {"internal/runtime/syscall", partSystem}, {"syscall.", partSystem}, {"internal/poll.", partSystem},
	{"runtime.mcall", partSwitch}, {"runtime.schedule", partSwitch}, {"runtime.park_m", partSwitch}, {"runtime.ready", partSwitch},
	{"runtime.goready", partSwitch}, {"runtime.selectgo", partSwitch}, {"runtime.chan", partSwitch}, {"runtime.newproc", partSwitch},
	{"runtime.morestack", partSwitch}, {"runtime.newstack", partSwitch}, {"runtime.netpoll", partSwitch},
	{"crypto/", partCrypto}, {"time.", partClock}, {"sync.", partClock}, {"internal/sync.", partClock},
	{"github.com/redis/", partRedis}, {"net/http", partHTTP}, {"net/textproto", partHTTP},
	{"main.", partBench}, {module + "/benchmarks.", partBench}, {module, partOwn},
}

// ownerOf returns the part that a function belongs to, or "" if it counts for its caller.
func ownerOf(name string) string {
	for _, o := range owners {
		if strings.HasPrefix(name, o.prefix) {
			return o.part
		}
	}
	return ""
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
			row = append(row, fmt.Sprintf("%.0f", 100*s.parts[part]/max(s.total, 1)))
		}
		t.add(append(row, s.largestFiles(5))...)
	}
	t.write(b, "Where the time goes of what misses a target, without sockets")
}

// largestFiles names the files of this library that take most.
func (s spent) largestFiles(most int) string {
	files := slices.SortedFunc(maps.Keys(s.files), func(a, b string) int { return cmp.Compare(s.files[b], s.files[a]) })
	var texts []string
	for _, file := range files[:min(most, len(files))] {
		texts = append(texts, fmt.Sprintf("%s %.1f", file, 100*s.files[file]/max(s.total, 1)))
	}
	return strings.Join(texts, ", ")
}
