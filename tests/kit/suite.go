package kit

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Suite is those tests of the root module that run over every kind of store, built with the race detector.
type Suite struct{ programs []suiteProgram }

type suiteProgram struct {
	folder, path string
	tests        []string
}

// BuildSuite builds the tests. Root is the root module's folder.
func BuildSuite(t *testing.T, root string) *Suite {
	t.Helper()
	s, dir := &Suite{}, t.TempDir()
	for _, name := range []string{"guarantees", "traces", "users", "advisories"} {
		folder, err := filepath.Abs(filepath.Join(root, "tests", name))
		if err != nil {
			t.Fatal(err)
		}
		p := suiteProgram{folder, filepath.Join(dir, name), testsOverStores(t, folder)}
		build := exec.Command("go", "test", "-race", "-c", "-o", p.path, ".")
		build.Dir = folder
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		s.programs = append(s.programs, p)
	}
	return s
}

// Run runs the tests over the stores on a socket (ServeStores).
func (s *Suite) Run(t *testing.T, name, socket string) {
	t.Helper()
	for _, p := range s.programs {
		t.Run(filepath.Base(p.folder), func(t *testing.T) {
			cmd := exec.Command(p.path, "-test.timeout=7m", "-test.v", "-test.run", "^("+strings.Join(p.tests, "|")+")$")
			cmd.Dir = p.folder
			cmd.Env = append(os.Environ(), RemoteStores(name, socket))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, failures(string(out)))
			}
			passed := strings.Count(string(out), "--- PASS: Test")
			if over := strings.Count(string(out), "/"+name); passed < len(p.tests) || over == 0 {
				t.Fatalf("of %d tests %d passed, %d lines are of %s", len(p.tests), passed, over, name)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}

// failures returns the lines of a verbose run that matter.
func failures(out string) string {
	lines := slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool {
		text := strings.TrimSpace(line)
		return strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- PASS")
	})
	text := strings.Join(lines, "\n")
	return text[:min(len(text), 20_000)]
}

// overStores are the functions by which a test runs over every kind of store: those of this package, and the traces'.
var overStores = []string{"EachStore", "EachUserStore", "Backings", "ServerBackings", "withRedis"}

// testsOverStores returns the tests of a folder that call one of overStores.
func testsOverStores(t *testing.T, folder string) (tests []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(fmt.Sprint("no tests in ", folder), err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && strings.HasPrefix(f.Name.Name, "Test") && callsOne(f, overStores) {
				tests = append(tests, f.Name.Name)
			}
		}
	}
	return tests
}

// callsOne reports whether a function calls one of these.
func callsOne(f *ast.FuncDecl, names []string) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		name, ok := n.(*ast.Ident)
		found = found || ok && slices.Contains(names, name.Name)
		return !found
	})
	return found
}
