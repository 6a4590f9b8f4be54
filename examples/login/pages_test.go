package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// messages finds the texts that the templates and the program show.
func messages(t *testing.T) map[string]bool {
	found := map[string]bool{}
	patterns := map[string][]*regexp.Regexp{
		".html": {regexp.MustCompile(`\.T "([^"]+)"`)},
		".go": {
			regexp.MustCompile(`\.text\("([^"]+)"`),
			regexp.MustCompile(`\.count\([^"]+"([^"]+)", "[^"]+"`),
			regexp.MustCompile(`\.count\([^"]+"[^"]+", "([^"]+)"`),
			regexp.MustCompile(`http\.Status\w+:\s+{"([^"]+)"`),
			regexp.MustCompile(`(?m)^\t\t"([^"]+)", "/`),
			regexp.MustCompile(`"/(?:login)?", "([^"]+)"}`),
		},
	}
	for suffix, expressions := range patterns {
		files, err := fs.Glob(os.DirFS("."), "*"+suffix)
		require.NoError(t, err)
		more, err := fs.Glob(os.DirFS("."), "templates/*"+suffix)
		require.NoError(t, err)
		for _, file := range append(files, more...) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, expression := range expressions {
				for _, match := range expression.FindAllStringSubmatch(string(text), -1) {
					found[match[1]] = true
				}
			}
		}
	}
	return found
}

func TestEveryMessageIsTranslated(t *testing.T) {
	wanted := messages(t)
	assert.Greater(t, len(wanted), 60)
	l, err := loadLocales()
	require.NoError(t, err)
	verbs := regexp.MustCompile(`%[a-z]`)
	for _, locale := range l.all[1:] {
		for message := range wanted {
			translated, ok := locale.messages[message]
			assert.True(t, ok, "%s has nothing for %q", locale.Tag, message)
			assert.Equal(t, verbs.FindAllString(message, -1), verbs.FindAllString(translated, -1), "%s, %q", locale.Tag, message)
		}
		for message := range locale.messages {
			assert.True(t, wanted[message], "%s: nothing shows %q", locale.Tag, message)
		}
	}
}

func TestPagesInAllLanguages(t *testing.T) {
	s := newSite(t, "memory")
	s.ada(t)
	for _, tag := range []string{"en", "de", "fr"} {
		p := s.ada(t)
		p.post("/preferences", "locale", tag)
		for _, path := range []string{"/", "/account", "/account/sessions", "/login?again=1"} {
			a := p.get(path)
			assert.Equal(t, http.StatusOK, a.status)
			assert.Contains(t, a.body, fmt.Sprintf(`<html lang="%s">`, tag))
			assert.NotContains(t, a.body, "%!", "%s in %s", path, tag)
			assert.Equal(t, 1, strings.Count(a.body, "<h1"), "%s in %s", path, tag)
		}
		p.post("/logout")
	}
}

func TestAgo(t *testing.T) {
	var english locale
	for d, text := range map[time.Duration]string{
		-time.Second: "just now", 59 * time.Second: "just now", time.Minute: "a minute ago", 119 * time.Second: "a minute ago",
		2 * time.Minute: "2 minutes ago", time.Hour: "an hour ago", 23 * time.Hour: "23 hours ago", 47 * time.Hour: "a day ago", 72 * time.Hour: "3 days ago",
	} {
		assert.Equal(t, text, english.ago(d), d)
	}
	at := time.Date(2026, 3, 7, 9, 5, 0, 0, time.FixedZone("", 3600))
	assert.Equal(t, "7 Mar 2026, 08:05 UTC", english.dateTime(at))
}

func TestHeaders(t *testing.T) {
	p := newSite(t, "memory").visitor(t)
	for _, path := range []string{"/", "/login", "/nowhere", "/healthz", "/static/style.css"} {
		h := p.get(path).header
		assert.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", path)
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
	}
	assert.Contains(t, p.get("/static/style.css").header.Get("Cache-Control"), "immutable")
	assert.Equal(t, "image/svg+xml", p.get("/static/icon.svg").header.Get("Content-Type"))
	assert.Equal(t, "no-store", p.get("/account").header.Get("Cache-Control"))
	for _, path := range []string{"/account", "/healthz", "/static/style.css"} {
		assert.Equal(t, http.StatusMethodNotAllowed, p.post(path).status, path)
	}
	assert.Contains(t, p.get("/nowhere").body, "There is no such page")
}

func TestCrossOriginPostIsRefused(t *testing.T) {
	p := newSite(t, "memory").ada(t)
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		r := httptest.NewRequest(http.MethodPost, "/logout", nil)
		r.Header.Set(name, value)
		assert.Equal(t, http.StatusForbidden, p.do(r).status)
	}
	assert.True(t, p.signedIn())
}

func TestLargeFormIsRefused(t *testing.T) {
	p := newSite(t, "memory").visitor(t)
	assert.Equal(t, http.StatusUnprocessableEntity, p.login("ada", strings.Repeat("x", maxBody)).status)
}

func TestBrowserNames(t *testing.T) {
	for agent, name := range map[string]string{
		"": "Browser", firefox: "Firefox on Linux", safari: "Safari on iPhone", "curl/8.14.1": "curl", "Mozilla/5.0": "Browser",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0": "Edge on Windows",
		"Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36":                  "Chrome on Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":         "Safari on macOS",
	} {
		assert.Equal(t, name, browserName(agent))
	}
}
