package mongostore_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentation holds the section on MongoDB in docs/stores.md to code that is compiled: its Go stands in
// example_test.go.
func TestDocumentation(t *testing.T) {
	unindent := func(text string) string { return regexp.MustCompile(`(?m)^\s+`).ReplaceAllString(text, "") }
	document, err := os.ReadFile("../docs/stores.md")
	require.NoError(t, err)
	code, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(document), "\n## MongoDB\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(section, -1)
	require.NotEmpty(t, snippets)
	for _, s := range snippets {
		require.Contains(t, unindent(string(code)), unindent(s[1]), "it is not compiled")
	}
}
