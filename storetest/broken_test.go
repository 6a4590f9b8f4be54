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

// TestBrokenStores is the contract's own proof. It runs itself as a process in which the contract meets each of the
// flaws, and looks at what failed there: each broken store fails exactly the clauses it breaks, each clause is failed by
// some store, and the store without a flaw fails none.
func TestBrokenStores(t *testing.T) {
	if os.Getenv(runBroken) != "" {
		for _, b := range brokenStores {
			t.Run(b.name, func(t *testing.T) {
				storetest.Run(t, func(*testing.T) session.Store { return revoking{newFlawed(b.flaw)} })
			})
		}
		return
	}
	ran := runTheBroken(t)
	unbroken := storetest.Clauses()
	for _, b := range brokenStores {
		t.Run(b.name, func(t *testing.T) {
			got := ran[underscored(b.name)]
			if got == nil || !got.finished {
				t.Fatalf("it did not run to its end: %+v", got)
			}
			var want []string
			for _, clause := range b.breaks {
				want = append(want, underscored(clause))
			}
			slices.Sort(got.failed)
			slices.Sort(want)
			if !slices.Equal(got.failed, want) {
				t.Errorf("it failed\n\t%s\nand breaks\n\t%s\n%s", strings.Join(got.failed, "\n\t"), strings.Join(want, "\n\t"), got.log)
			}
			unbroken = slices.DeleteFunc(unbroken, func(clause string) bool { return slices.Contains(got.failed, clause) })
		})
	}
	if len(unbroken) > 0 {
		t.Errorf("no broken store fails %s", strings.Join(unbroken, ", "))
	}
}

// run is what the contract said of one store.
type run struct {
	finished bool
	failed   []string // clauses
	log      string
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
