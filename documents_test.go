package session_test

import (
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

func document(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// unindented is text without what stands in front of its lines.
func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}

// Each snippet of the README is compiled: it stands in one of these files.
func TestReadme_Snippets(t *testing.T) {
	var code strings.Builder
	for _, path := range []string{"examples/visits/main.go", "example_readme_test.go", "sessiontest/example_test.go"} {
		code.WriteString(unindented(document(t, path)))
	}
	snippets := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(document(t, "README.md"), -1)
	require.GreaterOrEqual(t, len(snippets), 5)
	for _, s := range snippets {
		assert.Contains(t, code.String(), unindented(s[1]), "it is not compiled")
	}
}

// The README's sign-in and sign-out do what it says of them.
func TestReadme_SignInAndOut(t *testing.T) {
	manager, err := session.New(sessiontest.NewStore(), session.Config{})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/in", login)
	mux.HandleFunc("/out", logout)
	h, jar := manager.Middleware(mux), sessiontest.NewJar()
	serve := func(path string) {
		w := jar.Serve(h, httptest.NewRequest(http.MethodPost, "https://localhost"+path, nil))
		require.Equal(t, http.StatusSeeOther, w.Code)
	}
	look := func(f func(*session.Session)) { sessiontest.Transaction(t, manager, jar, "https://localhost", f) }

	look(func(s *session.Session) { s.Set("cart", 1); s.Set("draft", 1) })
	serve("/in?user=ada")
	look(func(s *session.Session) {
		require.Equal(t, "ada", s.User())
		require.Equal(t, []string{"cart"}, s.Keys())
	})
	serve("/out")
	look(func(s *session.Session) { require.Empty(t, s.User()) })
}

// OpenRedisStore takes each form of URL that the README shows.
func TestReadme_RedisURLs(t *testing.T) {
	urls := regexp.MustCompile("`((?:rediss?|unix)://[^` ]+)`").FindAllStringSubmatch(document(t, "README.md"), -1)
	require.GreaterOrEqual(t, len(urls), 5)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, u := range urls {
		_, err := session.OpenRedisStore(ended, u[1], session.RedisOptions{})
		require.ErrorIs(t, err, context.Canceled, "%s", u[1]) // it was tried, which a URL of another form is not
	}
	_, err := session.OpenRedisStore(ended, "redis://localhost/none", session.RedisOptions{})
	require.NotErrorIs(t, err, context.Canceled)
}

// markdown returns the paths of all documents.
func markdown(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			paths = append(paths, path)
		}
		return nil
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 8)
	return paths
}

// Each relative link of a document leads to a file that is there, and to a heading that is in it.
func TestDocuments_Links(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	links := 0
	for _, path := range markdown(t) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(document(t, path)), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := filepath.Join(filepath.Dir(path), file)
			if file == "" {
				target = path
			}
			if !assert.FileExists(t, target, "%s links to %s", path, m[1]) || anchor == "" {
				continue
			}
			assert.Contains(t, anchors(document(t, target)), anchor, "%s links to %s", path, m[1])
		}
	}
	require.Greater(t, links, 30)
}

// The map of the documents names each of them.
func TestDocuments_Map(t *testing.T) {
	listed := document(t, "docs/README.md")
	for _, path := range markdown(t) {
		if name, inDocs := strings.CutPrefix(path, "docs/"); inDocs && name != "README.md" {
			assert.Contains(t, listed, "]("+name+")")
		}
	}
}

// withoutCode is a document without its code, of blocks and in lines.
func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`").ReplaceAllString(text, "")
}

// anchors returns what GitHub names the headings of a document.
func anchors(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
