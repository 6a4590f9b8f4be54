// Command api compares what the published modules export with the committed files in the folder api, one for each module
// and a line for each thing. A line that is gone is an incompatible change, one that is new a compatible one; neither goes
// unseen. An interface is one line, since a further method breaks who implements it.
//
//	go run ./tests/api [-update] MODULE...
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const folder = "api"

func main() {
	update := flag.Bool("update", false, "write the files in place of comparing with them")
	flag.Parse()
	if err := run(flag.Args(), *update); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(modules []string, update bool) error {
	if len(modules) == 0 {
		return errors.New("name the modules' folders")
	}
	var failed error
	for _, module := range modules {
		now, err := surface(module)
		if err != nil {
			return fmt.Errorf("%s: %w", module, err)
		}
		file := filepath.Join(folder, fileName(module))
		if len(now) == 0 && !exists(file) {
			fmt.Printf("%s is a command, and exports nothing\n", module)
			continue
		}
		if update {
			failed = errors.Join(failed, write(file, now))
			continue
		}
		failed = errors.Join(failed, compare(file, now))
	}
	return errors.Join(failed, checkFiles(modules))
}

// checkFiles fails for a file of no module: what that exported would be gone without a word.
func checkFiles(modules []string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if !slices.ContainsFunc(modules, func(m string) bool { return fileName(m) == filepath.Base(file) }) {
			return fmt.Errorf("%s is of no module that modules.txt calls published", file)
		}
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// fileName is session.txt for the root module, and the folder's name for another.
func fileName(module string) string {
	name := strings.ReplaceAll(filepath.ToSlash(filepath.Clean(module)), "/", "-")
	if name == "." {
		name = "session"
	}
	return name + ".txt"
}

func write(file string, lines []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // it is a folder of the sources
		return err
	}
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644) //nolint:gosec // it is one of the sources
}

// compare fails for a difference, and says what to do about it.
func compare(file string, now []string) error {
	text, err := os.ReadFile(file) //nolint:gosec // its name is a module's
	if err != nil {
		return fmt.Errorf("no baseline: run make api-update, and commit %s: %w", file, err)
	}
	before := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	gone, added := without(before, now), without(now, before)
	switch {
	case len(gone) > 0:
		fmt.Printf("%s: an INCOMPATIBLE change:\n%s%s", file, marked("-", gone), marked("+", added))
		fmt.Printf("Programs that use these no longer build. If that has to be, run make api-update, commit %s, and write under\n"+
			"\"Changed\" or \"Removed\" in CHANGELOG.md what to write in their place. A patch version can't have it.\n", file)
	case len(added) > 0:
		fmt.Printf("%s: a compatible change that the file does not have yet:\n%s", file, marked("+", added))
		fmt.Printf("Run make api-update, commit %s, and write it under \"Added\" in CHANGELOG.md.\n", file)
	default:
		fmt.Printf("%s: %d lines, as they were\n", file, len(now))
		return nil
	}
	return fmt.Errorf("%s is not what the module exports", file)
}

// without returns the lines of a that b does not have.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
}

func marked(mark string, lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "  %s %s\n", mark, line)
	}
	return b.String()
}

// A listed is a package as go list tells it, with the file of its compiled types.
type listed struct {
	ImportPath, Name, Export string
	GoFiles                  []string
	Module                   *struct{ Main bool }
}

// isPublic reports whether programs can import the package.
func (p listed) isPublic() bool {
	private := func(part string) bool { return part == "internal" || part == "tests" }
	return p.Module != nil && p.Module.Main && p.Name != "main" && len(p.GoFiles) > 0 &&
		!slices.ContainsFunc(strings.Split(p.ImportPath, "/"), private)
}

// surface returns a module's exported surface, sorted.
func surface(module string) ([]string, error) {
	packages, err := list(module)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	types := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	var lines []string
	for _, p := range packages {
		if !p.isPublic() {
			continue
		}
		pkg, err := types.Import(p.ImportPath)
		if err != nil {
			return nil, err
		}
		lines = append(lines, describe(pkg)...)
	}
	slices.Sort(lines)
	return lines, nil
}

func list(module string) (packages []listed, err error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Name,Export,GoFiles,Module", "./...")
	cmd.Dir, cmd.Stderr = module, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, err
		}
		packages = append(packages, p)
	}
}

// describe returns a line for each thing that a package exports.
func describe(pkg *types.Package) (lines []string) {
	for _, name := range pkg.Scope().Names() {
		object := pkg.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		for _, line := range describeObject(object) {
			lines = append(lines, short(pkg)+": "+line)
		}
	}
	return lines
}
