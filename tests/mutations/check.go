package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// check looks at what can be told without running a test: for all mutations, and whether the selected ones compile. It returns
// what is wrong.
func (w *workshop) check(ctx context.Context, all, selected []mutation) (wrong []string, err error) {
	text, err := w.readDocuments()
	if err != nil {
		return nil, err
	}
	document := readDocument(text)
	tests := knownTests{w.root, map[string][]string{}}
	for _, m := range all {
		faults := append(tests.missing(m), document.faults(m)...)
		if _, _, err := w.mutate(m); err != nil {
			faults = append(faults, err.Error())
		}
		for _, fault := range faults {
			wrong = append(wrong, m.name()+": "+fault)
		}
	}
	names, err := tests.everywhere()
	wrong = slices.Concat(wrong, document.without(all), unknownTests(text, names))
	return append(wrong, w.compileAll(ctx, selected)...), err
}

func (w *workshop) readDocuments() (text string, err error) {
	for _, name := range []string{"docs/guarantees.md", "docs/rules.md"} {
		page, err := w.read(name)
		if err != nil {
			return "", err
		}
		text += page + "\n"
	}
	return text, nil
}

// compileAll returns a fault for each mutation that does not compile. What can be planted it compiles together.
func (w *workshop) compileAll(ctx context.Context, mutations []mutation) (faults []string) {
	compiler := newCompiler(w.root)
	g, planted := w.plantAll(mutations)
	together := compiler.compile(ctx, g.texts()) == nil
	for _, m := range mutations {
		changed, _, err := w.mutate(m)
		if err != nil || together && planted[m.number] {
			continue
		}
		if err := compiler.compile(ctx, map[string]string{m.file: changed}); err != nil {
			faults = append(faults, m.name()+": "+err.Error())
		}
	}
	return faults
}

// knownTests are the names of the tests of each folder.
type knownTests struct {
	root  string
	byDir map[string][]string
}

// missing returns a fault for each of the mutation's tests that does not exist.
func (k knownTests) missing(m mutation) (faults []string) {
	for _, s := range m.suites() {
		if _, read := k.byDir[s.dir]; !read {
			k.byDir[s.dir] = readTests(filepath.Join(k.root, s.dir))
		}
		for _, name := range s.tests {
			if !slices.Contains(k.byDir[s.dir], name) {
				faults = append(faults, fmt.Sprintf("%s has no %s", s.dir, name))
			}
		}
	}
	return faults
}

// everywhere returns the names of all tests of the repository.
func (k knownTests) everywhere() (names []string, err error) {
	err = filepath.WalkDir(k.root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == ".git":
			return filepath.SkipDir
		case entry.IsDir():
			names = append(names, readTests(path)...)
		}
		return nil
	})
	return names, err
}

// unknownTests returns a fault for each test that the text names and that is none, nor the beginning of several.
func unknownTests(text string, names []string) (faults []string) {
	for _, match := range testName.FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, match[1]) }) {
			faults = append(faults, "the documents name "+match[1]+", which does not exist")
		}
	}
	return faults
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

func readTests(dir string) (names []string) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, path := range paths {
		text, _ := os.ReadFile(path) //nolint:gosec // a file of this repository; what can't be read has no tests
		for _, match := range testFunction.FindAllStringSubmatch(string(text), -1) {
			names = append(names, match[1])
		}
	}
	return names
}

// document is what docs/guarantees.md and docs/rules.md say of mutations: each row of their tables with tableHead names rules
// and tests.
type document struct {
	rows   []string
	byRule map[string]string // the row that has the rule
}

const tableHead = "| what a test can fail for | tests |"

func readDocument(text string) document {
	d := document{byRule: map[string]string{}}
	inTable := false
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case line == tableHead:
			inTable = true
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case inTable && !strings.HasPrefix(line, "|--"):
			d.rows = append(d.rows, line)
			for _, rule := range rulesOf(line) {
				d.byRule[rule] = line
			}
		}
	}
	return d
}

// rulesOf returns the rules of a row, which hold by the same tests.
func rulesOf(row string) []string { return strings.Split(cells(row)[0], "; ") }

func cells(row string) (all [2]string) {
	parts := strings.Split(strings.Trim(row, "|"), "|")
	for i, part := range parts[:min(len(parts), len(all))] {
		all[i] = strings.TrimSpace(part)
	}
	return all
}

var testName = regexp.MustCompile("`(Test\\w+)`")

// faults returns what the document does not say of the mutation, or says wrongly.
func (d document) faults(m mutation) (faults []string) {
	row, ok := d.byRule[m.rule]
	if !ok {
		return []string{"the documents do not have it"}
	}
	var named, dying []string
	for _, match := range testName.FindAllStringSubmatch(row, -1) {
		named = append(named, match[1])
	}
	for _, s := range m.suites() {
		dying = append(dying, s.tests...)
		if s.label != m.home && !strings.Contains(row, "("+s.label+")") {
			faults = append(faults, "the documents do not say that its tests are in "+s.label)
		}
	}
	for _, name := range dying {
		if !slices.Contains(named, name) {
			faults = append(faults, "the documents do not name "+name)
		}
	}
	for _, name := range named {
		if !slices.Contains(dying, name) {
			faults = append(faults, "the documents name "+name+", which it does not run")
		}
	}
	return faults
}

// without returns a fault for each rule of the document that no mutation leaves out.
func (d document) without(all []mutation) (faults []string) {
	for _, row := range d.rows {
		for _, rule := range rulesOf(row) {
			if !slices.ContainsFunc(all, func(m mutation) bool { return m.rule == rule }) {
				faults = append(faults, "the documents have a rule that no mutation leaves out: "+rule)
			}
		}
	}
	return faults
}
