package sqlstore_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/sqlstore"
)

var snippet = regexp.MustCompile("(?s)```(\\w+)\n(.*?)```")

// TestDocumentation holds docs/stores.md to what is compiled and tested here: its Go stands in one of these files word for
// word, and its SQL is the schema, or what the tests grant. What it says of MongoDB is mongostore's.
func TestDocumentation(t *testing.T) {
	doc := read(t, "../docs/stores.md")
	if i := strings.Index(doc, "\n## MongoDB"); i >= 0 {
		rest := doc[i+1:]
		j := strings.Index(rest[3:], "\n## ")
		require.Positive(t, j)
		doc = doc[:i] + rest[j+3:]
	}
	var compiled string
	for _, file := range []string{"smallstore_test.go", "kvstore_test.go", "example_test.go"} {
		compiled += unindent(read(t, file))
	}
	found := map[string]int{}
	for _, m := range snippet.FindAllStringSubmatch(doc, -1) {
		found[m[1]]++
		switch m[1] {
		case "go":
			require.Contains(t, compiled, unindent(m[2]), "it is not compiled")
		case "sql":
			require.Contains(t, documentedSQL(t), strings.TrimSpace(m[2]), "it is not tested")
		}
	}
	require.GreaterOrEqual(t, found["go"], 4)
	require.GreaterOrEqual(t, found["sql"], 5)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// unindent takes away what stands in front of lines.
func unindent(text string) string { return regexp.MustCompile(`(?m)^\s+`).ReplaceAllString(text, "") }

// documentedSQL returns the schemas and grants, as the document has them.
func documentedSQL(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, d := range databases {
		s, err := sqlstore.New(d.open(t, d.dsn(t)), d.dialect, sqlstore.Options{})
		require.NoError(t, err)
		all = append(all, strings.Join(s.Schema(), ";\n")+";")
	}
	for _, statements := range grants {
		last := statements[len(statements)-1]
		all = append(all, fmt.Sprintf(last, "sessions")+";")
	}
	return all
}
