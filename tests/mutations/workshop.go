package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// mutation is a rule left out.
type mutation struct {
	group string // "g3" for the third guarantee
	home  string // the folder of its tests, unless the document names another one
	rule  string // what does not hold without it
	file  string // below the root
	find  string // the text that is there exactly once
	with  string // what takes its place
	dies  string // "package: TestA|TestB; package: TestC": in each of them a test must fail
	hangs bool   // the tests wait in vain, until their time is over

	number int // among all, from 1
}

func (m mutation) name() string { return fmt.Sprintf("%s %s: %s", m.group, m.file, m.rule) }

// suite is what "go test" runs: tests of a package. The document names the package as "dies" does.
type suite struct {
	label string
	dir   string // below the root
	tests []string
}

// suites returns the tests that must fail. A package is named by its folder in tests, by its path, or as the root.
func (m mutation) suites() (all []suite) {
	for part := range strings.SplitSeq(m.dies, ";") {
		label, names, _ := strings.Cut(strings.TrimSpace(part), ": ")
		dir := "tests/" + label
		switch {
		case label == "root":
			dir = "."
		case label == "sqlstore", strings.Contains(label, "/"):
			dir = label
		}
		all = append(all, suite{label, dir, strings.Split(names, "|")})
	}
	return all
}

// workshop is where mutations are made and tried.
type workshop struct {
	root    string // of the repository
	dir     string // for changed files and tests
	limit   time.Duration
	planted map[int]bool      // the mutations that all tests have
	tests   map[string]string // the built tests of a folder
}

func newWorkshop(limit time.Duration) (*workshop, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutations")
	return &workshop{strings.TrimSpace(string(out)), dir, limit, nil, map[string]string{}}, err
}

func (w *workshop) close() { _ = os.RemoveAll(w.dir) }

// mutate returns the changed text of the mutation's file, and that from before.
func (w *workshop) mutate(m mutation) (changed, original string, err error) {
	original, err = w.read(m.file)
	if err != nil {
		return "", "", err
	}
	changed, err = replaceText(original, m.find, m.with)
	return changed, original, err
}

// read returns a file below the root. Git may have given it the line ends of Windows.
func (w *workshop) read(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(w.root, name)) //nolint:gosec // a file of this repository
	return strings.ReplaceAll(string(text), "\r\n", "\n"), err
}

// replaceText replaces what must be there exactly once.
func replaceText(text, find, with string) (string, error) {
	if n := strings.Count(text, find); n != 1 {
		return "", fmt.Errorf("its text is found %d times: %q", n, find)
	}
	return strings.Replace(text, find, with, 1), nil
}

// overlay writes files that the compiler is to read in place of those in the tree, and the file that tells it so.
func (w *workshop) overlay(texts map[string]string) (name string, err error) {
	dir, err := os.MkdirTemp(w.dir, "")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, text := range texts {
		changed := filepath.Join(dir, fmt.Sprint(len(replace), ".go"))
		replace[filepath.Join(w.root, file)] = changed
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name = filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}

// plantAll plants what applies and can be planted, and returns the numbers of these mutations.
func (w *workshop) plantAll(mutations []mutation) (g *garden, planted map[int]bool) {
	g, planted = newGarden(), map[int]bool{}
	for _, m := range mutations {
		if changed, original, err := w.mutate(m); err == nil {
			planted[m.number] = g.plant(m, original, changed)
		}
	}
	return g, planted
}

// buildAll builds the tests of the mutations, with those planted that can be.
func (w *workshop) buildAll(ctx context.Context, mutations []mutation) error {
	g, planted := w.plantAll(mutations)
	w.planted = planted
	overlay, err := w.overlay(g.texts())
	if err != nil {
		return err
	}
	for _, m := range mutations {
		for _, s := range m.suites() {
			if w.tests[s.dir] != "" {
				continue
			}
			w.tests[s.dir] = filepath.Join(w.dir, fmt.Sprint(len(w.tests), ".test"))
			if out, err := w.build(ctx, s.dir, overlay, w.tests[s.dir]); err != nil {
				return fmt.Errorf("the tests in %s: %w\n%s", s.dir, err, out)
			}
		}
	}
	return nil
}

func (w *workshop) countPlanted() (n int) {
	for _, planted := range w.planted {
		if planted {
			n++
		}
	}
	return n
}

func (w *workshop) build(ctx context.Context, dir, overlay, to string) (out []byte, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet", "off", "-overlay", overlay, "-o", to)
	cmd.Dir = filepath.Join(w.root, dir) // which may be in a module of its own
	return cmd.CombinedOutput()
}

// passUnchanged runs the tests without any mutation, and returns those that fail.
func (w *workshop) passUnchanged(ctx context.Context, mutations []mutation) (wrong []string) {
	names := map[string][]string{}
	for _, m := range mutations {
		for _, s := range m.suites() {
			names[s.dir] = append(names[s.dir], s.tests...)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(names)) {
		slices.Sort(names[dir])
		all := suite{dir: dir, tests: slices.Compact(names[dir])}
		if verdict, text := w.test(ctx, all, w.tests[dir], 0, 10*w.limit); verdict != passed {
			wrong = append(wrong, fmt.Sprintf("%s without any mutation %s\n%s", dir, verdict, text))
		}
	}
	return wrong
}

// killAll tries the mutations, several at the same time, and prints a line for each. It returns what is not as it should be.
func (w *workshop) killAll(ctx context.Context, mutations []mutation, workers int) (wrong []string) {
	var group sync.WaitGroup
	var mu sync.Mutex
	work := make(chan mutation)
	for range workers {
		group.Go(func() {
			for m := range work {
				start := time.Now()
				fault := w.kill(ctx, m)
				mu.Lock()
				verdict := "killed"
				if fault != "" {
					verdict = "WRONG: " + fault
					wrong = append(wrong, m.name()+": "+fault)
				}
				fmt.Printf("%5.1fs  %s  %s\n", time.Since(start).Seconds(), m.name(), verdict)
				mu.Unlock()
			}
		})
	}
	for _, m := range mutations {
		work <- m
	}
	close(work)
	group.Wait()
	return wrong
}

// kill makes a mutation and runs its tests. It returns what is wrong, or "".
func (w *workshop) kill(ctx context.Context, m mutation) string {
	limit := w.limit
	if m.hangs {
		limit = 20 * time.Second
	}
	for _, s := range m.suites() {
		verdict, text := w.try(ctx, m, s, limit)
		if verdict == failed || verdict == hung && m.hangs {
			continue
		}
		if verdict == passed {
			text = "" // it says nothing
		}
		return fmt.Sprintf("%s: %s %s\n%s", s.dir, strings.Join(s.tests, "|"), verdict, text)
	}
	return ""
}

// try runs tests with a mutation. They are built for it if it is not planted in them.
func (w *workshop) try(ctx context.Context, m mutation, s suite, limit time.Duration) (verdict, string) {
	if w.planted[m.number] {
		return w.test(ctx, s, w.tests[s.dir], m.number, limit)
	}
	changed, _, err := w.mutate(m)
	if err != nil {
		return notBuilt, err.Error()
	}
	overlay, err := w.overlay(map[string]string{m.file: changed})
	if err != nil {
		return notBuilt, err.Error()
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(overlay)) }()
	built := filepath.Join(filepath.Dir(overlay), "own.test")
	if out, err := w.build(ctx, s.dir, overlay, built); err != nil {
		return notBuilt, tail(string(out))
	}
	return w.test(ctx, s, built, 0, limit)
}

// verdict is what became of tests.
type verdict string

const (
	passed   verdict = "passes"
	failed   verdict = "fails"
	hung     verdict = "does not end"
	noTests  verdict = "has no such tests"
	notBuilt verdict = "does not compile"
	notRun   verdict = "can't be run"
)

var failure = regexp.MustCompile(`(?m)^(FAIL|panic: |fatal error: )`)

// test runs built tests with a planted mutation, or with none.
func (w *workshop) test(ctx context.Context, s suite, built string, number int, limit time.Duration) (verdict, string) {
	cmd := exec.CommandContext(ctx, built, "-test.run", "^("+strings.Join(s.tests, "|")+")$", "-test.failfast",
		"-test.timeout", limit.String())
	cmd.Dir = filepath.Join(w.root, s.dir)
	cmd.Env = append(os.Environ(), activeVariable+"="+strconv.Itoa(number))
	out, err := cmd.CombinedOutput()
	return judge(string(out), err), tail(string(out))
}

// judge tells tests that fail from all that only looks like it.
func judge(out string, err error) verdict {
	switch {
	case strings.Contains(out, "no tests to run"):
		return noTests
	case err == nil:
		return passed
	case strings.Contains(out, "panic: test timed out"):
		return hung
	case failure.MatchString(out):
		return failed
	}
	return notRun
}

// tail returns the last lines of what tests said.
func tail(text string) string {
	const most = 2000
	return text[max(0, len(text)-most):]
}
