package storetest_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

const runBroken = "STORETEST_RUN_BROKEN"

// trialled is a store that the contract meets, with what it should find.
type trialled struct {
	name   string
	breaks []string // clauses
	says   []string // why clauses are not tested
	store  func(*testing.T) session.Store
}

func trialledStores() []trialled {
	all := slices.Clone(limitedStores)
	for _, b := range brokenStores {
		all = append(all, trialled{b.name, b.breaks, nil, func(*testing.T) session.Store { return revoking{newFlawed(b.flaw)} }})
	}
	return all
}

// TestBrokenStores is the contract's own proof. It runs itself as a process in which the contract meets each of the
// flaws, and looks at what failed there: each broken store fails exactly the clauses it breaks, each clause is the only
// one that some store fails, the stores without a flaw fail none, and what a store can't do is said.
func TestBrokenStores(t *testing.T) {
	if os.Getenv(runBroken) != "" {
		for _, b := range trialledStores() {
			t.Run(b.name, func(t *testing.T) { storetest.Run(t, b.store) })
		}
		return
	}
	ran := runTheBroken(t)
	unproven := storetest.Clauses()
	for _, b := range trialledStores() {
		t.Run(b.name, func(t *testing.T) {
			got := ran[underscored(b.name)]
			if got == nil || !got.finished {
				t.Fatalf("it did not run to its end: %+v", got)
			}
			got.failedExactly(t, b.breaks)
			got.saidWhy(t, b.says)
			if len(got.failed) == 1 {
				unproven = slices.DeleteFunc(unproven, func(clause string) bool { return clause == got.failed[0] })
			}
		})
	}
	if len(unproven) > 0 {
		t.Errorf("no broken store fails these alone: %s", strings.Join(unproven, ", "))
	}
}

// run is what the contract said of one store.
type run struct {
	finished bool
	failed   []string // clauses
	log      string
}

func (r *run) failedExactly(t *testing.T, clauses []string) {
	t.Helper()
	var want []string
	for _, clause := range clauses {
		want = append(want, underscored(clause))
	}
	slices.Sort(r.failed)
	slices.Sort(want)
	if !slices.Equal(r.failed, want) {
		t.Errorf("it failed\n\t%s\nand breaks\n\t%s\n%s", strings.Join(r.failed, "\n\t"), strings.Join(want, "\n\t"), r.log)
	}
}

// saidWhy wants all of the reasons for which clauses were not tested, and no other.
func (r *run) saidWhy(t *testing.T, says []string) {
	t.Helper()
	for _, reason := range reasons {
		if said := strings.Contains(r.log, reason); said != slices.Contains(says, reason) {
			t.Errorf("that the store %s: said %v\n%s", reason, said, r.log)
		}
	}
}

func underscored(name string) string { return strings.ReplaceAll(name, " ", "_") }

var (
	startLine   = regexp.MustCompile(`^=== RUN +TestBrokenStores/([^/ ]+)`)
	verdictLine = regexp.MustCompile(`^ +--- (PASS|FAIL): TestBrokenStores/([^/ ]+)(?:/([^/ ]+))? \(`)
)

// runTheBroken runs the broken stores in a process of its own, and returns what it says by store.
func runTheBroken(t *testing.T) map[string]*run {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBrokenStores$", "-test.v")
	cmd.Env = append(os.Environ(), runBroken+"=1")
	output, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("the broken stores passed")
	}
	if i := strings.Index(string(output), "DATA RACE"); i >= 0 {
		t.Fatalf("a broken store is broken in a way it should not be:\n%.10000s", output[i:])
	}
	runs, current := map[string]*run{}, &run{}
	for line := range strings.Lines(string(output)) {
		if m := startLine.FindStringSubmatch(line); m != nil {
			if runs[m[1]] == nil {
				runs[m[1]] = &run{}
			}
			current = runs[m[1]]
		} else if m := verdictLine.FindStringSubmatch(line); m == nil {
			current.log += line
		} else if verdict, store, clause := m[1], m[2], m[3]; clause == "" {
			runs[store].finished = true
		} else if verdict == "FAIL" {
			runs[store].failed = append(runs[store].failed, clause)
		}
	}
	return runs
}
