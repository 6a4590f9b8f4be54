package sessiontest_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// TestDocumentation holds docs/testing.md to code that is compiled and run: each of its snippets stands in one of these
// files, word for word.
func TestDocumentation(t *testing.T) {
	text := read(t, "../docs/testing.md")
	var code strings.Builder
	for _, name := range []string{"example_app_test.go", "example_test.go", "../storetest/map_store_test.go"} {
		code.WriteString(read(t, name))
	}
	snippets := snippet.FindAllStringSubmatch(text, -1)
	if len(snippets) < 5 {
		t.Fatalf("docs/testing.md has %d snippets", len(snippets))
	}
	for _, m := range snippets {
		if !strings.Contains(code.String(), m[1]) {
			t.Errorf("docs/testing.md has a snippet that is not compiled:\n%s", m[1])
		}
	}
}

// TestHandlerInFiveLines holds the first snippet to what it is there to show: that a handler which needs a user is tested
// in at most five lines.
func TestHandlerInFiveLines(t *testing.T) {
	first := snippet.FindStringSubmatch(read(t, "../docs/testing.md"))[1]
	if !strings.Contains(first, "User:") {
		t.Errorf("the first snippet has no user:\n%s", first)
	}
	if lines := strings.Count(first, "\n") - 2; lines > 5 { // without the function's own
		t.Errorf("it takes %d lines:\n%s", lines, first)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestImports keeps other modules out of what applications link into their tests.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("../s*test/*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		seen++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if host, _, _ := strings.Cut(path, "/"); strings.Contains(host, ".") && path != "github.com/doorman-go/session" {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d files were looked at", seen)
	}
}
