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
	name    string
	breaks  []string // clauses
	andMore bool     // it may break others too
	says    []string // why clauses are not tested
	store   func(*testing.T) session.Store
}

func trialledStores() []trialled {
	all := slices.Concat(limitedStores, forgetfulStores())
	for _, b := range brokenStores {
		all = append(all, trialled{name: b.name, breaks: b.breaks, says: ofComplete, store: func(*testing.T) session.Store {
			return complete{newFlawed(b.flaw)}
		}})
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
			if b.andMore {
				got.failedAlso(t, b.breaks)
				return
			}
			got.failedExactly(t, b.breaks)
			got.saidWhy(t, b.says)
			if len(got.failed) == 1 {
				unproven = slices.DeleteFunc(unproven, func(clause string) bool { return clause == got.failed[0] })
			}
		})
	}
	if len(unproven) > 0 {
		t.Errorf("no broken store fails these alone:\n\t%s", strings.Join(unproven, "\n\t"))
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
	want := underscoredAll(clauses)
	slices.Sort(r.failed)
	slices.Sort(want)
	if !slices.Equal(r.failed, want) {
		t.Errorf("it failed\n\t%s\nand breaks\n\t%s\n%s", strings.Join(r.failed, "\n\t"), strings.Join(want, "\n\t"), r.log)
	}
}

func (r *run) failedAlso(t *testing.T, clauses []string) {
	t.Helper()
	for _, clause := range underscoredAll(clauses) {
		if !slices.Contains(r.failed, clause) {
			t.Errorf("it failed\n\t%s\nand not\n\t%s\n%s", strings.Join(r.failed, "\n\t"), clause, r.log)
		}
	}
}

// saidWhy wants all of the reasons for which clauses were not tested, and no other.
func (r *run) saidWhy(t *testing.T, says []string) {
	t.Helper()
	for _, reason := range reasons {
		if said := strings.Contains(r.log, "not tested: the store "+reason+"\n"); said != slices.Contains(says, reason) {
			t.Errorf("that the store %s: said %v\n%s", reason, said, r.log)
		}
	}
}

// What is said of the clauses that a store does without.
const (
	isInCookie    = "keeps the session in the cookie, where the last response wins"
	isNotInCookie = "does not keep the session in the cookie"
	cannotEnd     = "keeps the session in the cookie, and can't end one"
	noEnder       = "can't end a session whatever its revision (session.Ender)"
	noUserStore   = "can't list a user's sessions (session.UserStore)"
	noUserEnder   = "can't end sessions of a user without a list (session.UserEnder)"
	noAllStore    = "can't go through all sessions (session.AllStore)"
	noEndNotifier = "can't tell of ends (session.EndNotifier)"
)

var (
	reasons    = []string{isInCookie, isNotInCookie, cannotEnd, noEnder, noUserStore, noUserEnder, noAllStore, noEndNotifier}
	ofComplete = []string{isNotInCookie, noUserEnder}
)

func underscored(name string) string { return strings.ReplaceAll(name, " ", "_") }

func underscoredAll(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = underscored(name)
	}
	return all
}

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
