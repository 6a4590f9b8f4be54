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

// RunSuite runs those tests of the root module that run over every kind of store, with -race, over the stores on a socket
// (ServeStores). Root is the root module's folder.
func RunSuite(t *testing.T, root, name, socket string) {
	t.Helper()
	for _, folder := range []string{"guarantees", "traces", "users", "advisories"} {
		t.Run(folder, func(t *testing.T) {
			tests := testsOverStores(t, filepath.Join(root, "tests", folder))
			cmd := exec.Command("go", "test", "-race", "-count=1", "-timeout=7m", "-v",
				"-run", "^("+strings.Join(tests, "|")+")$", "./tests/"+folder)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), RemoteStores(name, socket))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, failures(string(out)))
			}
			passed := strings.Count(string(out), "--- PASS: Test")
			over := strings.Count(string(out), "/"+name)
			if passed < len(tests) || over == 0 {
				t.Fatalf("of %d tests %d passed, %d lines are of %s", len(tests), passed, over, name)
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
