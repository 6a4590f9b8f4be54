// Prove checks the protocol of the package: it has spin look at all interleavings of small scenarios (protocol.pml) and of an
// ending against those who never pause (endings.pml). Then it leaves out one rule after the other, and expects each of these
// mutants to be caught. It needs spin and a C compiler, and fails if anything is not as expected.
//
//	go run ./tests/prove          # three failing calls and three commits of a request in each run; some minutes
//	go run ./tests/prove -quick   # one and two
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed protocol.pml
var protocol string

//go:embed endings.pml
var endings string

func main() {
	quick := flag.Bool("quick", false, "one failing call in each run, not three, and two commits of a request, not three")
	limit := flag.Duration("limit", 20*time.Minute, "for one run")
	flag.Parse()
	if err := prove(context.Background(), *quick, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

func prove(ctx context.Context, quick bool, limit time.Duration) error {
	dir, err := os.MkdirTemp("", "prove")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c, err := buildCheckers(ctx, dir)
	if err != nil {
		return err
	}
	c.limit = limit
	start := time.Now()
	rules, killed := proofs(c.scenarios, quick), mutants
	wrong := c.runAll(ctx, rules)
	fmt.Println()
	for _, unknown := range undefined(c.mutants) {
		wrong = append(wrong, "no run leaves out "+unknown)
	}
	wrong = append(wrong, c.runAll(ctx, killed)...)
	fmt.Printf("\n%d runs hold, %d mutants, %s.\n", len(rules), len(killed), time.Since(start).Round(time.Second))
	if len(wrong) > 0 {
		return errors.New("not as expected:\n  " + strings.Join(wrong, "\n  "))
	}
	return nil
}

// undefined returns the mutants of the model that no run has.
func undefined(defined map[string]int) (names []string) {
	for name := range defined {
		if !slices.ContainsFunc(mutants, func(r run) bool { return r.mutant == name }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkers are the compiled models.
type checkers struct {
	dir       string
	limit     time.Duration
	scenarios map[string]int
	mutants   map[string]int
}

var (
	scenarioLine = regexp.MustCompile(`:: scenario == (\d+) -> /\* ([a-z_]+):`)
	mutantLine   = regexp.MustCompile(`(?m)^#define ([A-Z_]+) (\d+)$`)
)

// buildCheckers compiles each model once: what is run is chosen by the environment. The C compiler does not optimize
// protocol.pml, since that takes it longer than the checker runs.
func buildCheckers(ctx context.Context, dir string) (*checkers, error) {
	c := &checkers{dir: dir, scenarios: map[string]int{}, mutants: map[string]int{}}
	for _, m := range scenarioLine.FindAllStringSubmatch(protocol, -1) {
		c.scenarios[m[2]], _ = strconv.Atoi(m[1])
	}
	_, rules, _ := strings.Cut(protocol, "#define M(m)")
	rules, _, _ = strings.Cut(rules, "#define NOBODY")
	for _, m := range mutantLine.FindAllStringSubmatch(rules, -1) {
		c.mutants[m[1]], _ = strconv.Atoi(m[2])
	}
	common := []string{"-w", "-DCOLLAPSE", "-DVECTORSZ=4096", "-DMEMLIM=8000"}
	for _, b := range []struct {
		name, model string
		flags       []string
	}{
		{safety, protocol, append([]string{"-O0", "-DSAFETY"}, common...)},
		{cycles, protocol, append([]string{"-O0", "-DNP"}, common...)},
		{arrival, endings, append([]string{"-O1"}, common...)},
	} {
		if err := build(ctx, filepath.Join(dir, b.name), b.model, b.flags); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// The checkers: of what must never be, of runs that go on for ever, and of endings that never arrive.
const (
	safety  = "safety"
	cycles  = "cycles"
	arrival = "arrival"
)

func build(ctx context.Context, dir, model string, flags []string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "model.pml"), []byte(model), 0o600); err != nil {
		return err
	}
	for _, command := range [][]string{{"spin", "-a", "model.pml"}, append(append([]string{"cc"}, flags...), "-o", "pan", "pan.c")} {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", command[0], err, out)
		}
	}
	return nil
}

// run is one run of a checker.
type run struct {
	checker  string // "" is safety
	scenario string
	options  string // of the environment, as in protocol.pml
	mutant   string // the rule that is left out; "" for none, which must find nothing
	says     claim  // what the mutant must break
	trace    int    // the number of the trace in tests/traces that it is, or 0
}

// result is what came of a run.
type result struct {
	run
	states, depth string
	found         string // what the checker found, "" for nothing
	wrong         string // what is not as expected
	took          time.Duration
}

// runAll runs them, as many at once as there are processors, and prints a line for each. It returns what is not as expected.
func (c *checkers) runAll(ctx context.Context, runs []run) (wrong []string) {
	results := make([]chan result, len(runs))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	var next sync.Mutex
	at := 0
	for range runtime.NumCPU() {
		go func() {
			for {
				next.Lock()
				i := at
				at++
				next.Unlock()
				if i >= len(runs) {
					return
				}
				results[i] <- c.run(ctx, runs[i])
			}
		}()
	}
	for _, done := range results {
		r := <-done
		r.print()
		if r.wrong != "" {
			wrong = append(wrong, r.name()+": "+r.wrong)
		}
	}
	return wrong
}

func (r run) name() string {
	name := r.scenario + " " + r.options
	if r.checker == cycles {
		name += " (endless runs)"
	}
	if r.mutant != "" {
		name = r.mutant + " in " + name
	}
	return name
}

func (r result) print() {
	verdict := "holds"
	switch {
	case r.wrong != "":
		verdict = "WRONG: " + r.wrong
	case r.mutant != "":
		verdict = "caught: " + r.says.text
	}
	trace := ""
	if r.trace > 0 {
		trace = fmt.Sprintf(" [trace %d]", r.trace)
	}
	fmt.Printf("%-72s %8s states  depth %4s %6.1fs  %s%s\n", r.name(), r.states, r.depth, r.took.Seconds(), verdict, trace)
}

var (
	statesLine = regexp.MustCompile(`(\d+) states, stored`)
	depthLine  = regexp.MustCompile(`depth reached (\d+), errors: (\d+)`)
	foundLine  = regexp.MustCompile(`pan:1: (.*?) \(at depth`)
)

func (c *checkers) run(ctx context.Context, r run) (out result) {
	out.run = r
	checker := r.checker
	if checker == "" {
		checker = safety
	}
	arguments := []string{"-m1000000", "-w22"}
	switch checker {
	case cycles:
		arguments = append(arguments, "-l")
	case arrival:
		arguments = append(arguments, "-a", "-f", "-N", r.scenario)
	}
	work, err := os.MkdirTemp(c.dir, "run") // for the trail
	if err != nil {
		out.wrong = err.Error()
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.dir, checker, "pan"), arguments...)
	cmd.Dir, cmd.Env = work, c.environment(r)
	start := time.Now()
	text, err := cmd.CombinedOutput()
	out.took = time.Since(start)
	out.read(string(text), err)
	if out.found != "" && out.mutant == "" {
		out.wrong += "; how, says " + c.explain(ctx, cmd)
	}
	return out
}

// explain writes the steps that led a run to what it found to a file, and returns its name.
func (c *checkers) explain(ctx context.Context, found *exec.Cmd) string {
	again := exec.CommandContext(ctx, found.Path, "-r")
	again.Dir, again.Env = found.Dir, found.Env
	steps, _ := again.CombinedOutput()
	file, err := os.CreateTemp("", "prove-steps-")
	if err == nil {
		_, err = file.Write(steps)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return err.Error()
	}
	return file.Name()
}

// environment returns what chooses the run.
func (c *checkers) environment(r run) []string {
	mutant := c.mutants[r.mutant]
	if r.checker == arrival && r.mutant != "" {
		mutant = endingMutants[r.mutant]
	}
	env := append(os.Environ(), "TRIES=2", "FAULTS=1", "ATOMIC=1", "ENDER=1",
		fmt.Sprint("SCENARIO=", c.scenarios[r.scenario]), fmt.Sprint("MUTANT=", mutant))
	return append(env, strings.Fields(r.options)...)
}

// read takes what the checker said.
func (r *result) read(text string, err error) {
	depth := depthLine.FindStringSubmatch(text)
	states := statesLine.FindStringSubmatch(text)
	if err != nil || depth == nil || states == nil || strings.Contains(text, "max search depth too small") {
		r.wrong = fmt.Sprintf("the checker did not get through (%v): %s", err, text)
		return
	}
	r.depth, r.states = depth[1], states[1]
	if found := foundLine.FindStringSubmatch(text); found != nil {
		r.found = found[1]
	}
	switch {
	case r.mutant == "" && depth[2] != "0":
		r.wrong = "it is violated: " + r.found
	case r.mutant != "" && depth[2] == "0":
		r.wrong = "the mutant is not caught"
	case r.mutant != "" && !strings.Contains(r.found, r.says.printed):
		r.wrong = fmt.Sprintf("the mutant breaks %q, and should break %q", r.found, r.says.text)
	}
}
