package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Far more than any step in the browser takes.
const (
	stepTimeout = time.Minute
	backTimeout = 20 * time.Second
)

// chromium starts the Chromium of most tests, when the first one wants it. Each browser in it has cookies of its own.
var chromium = sync.OnceValues(func() (context.Context, error) { return startChromium() })

// startChromium starts a Chromium, which TestMain stops.
func startChromium(more ...chromedp.ExecAllocatorOption) (context.Context, error) {
	path, err := findChromium()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "browser") // for its profile and what it leaves in the temporary directory
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.Env("TMPDIR="+dir),
		chromedp.DisableGPU,
		chromedp.WindowSize(1100, 900),
		chromedp.WSURLReadTimeout(stepTimeout),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en-US"),
		chromedp.Flag("accept-lang", "en-US"),
	)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, _ := chromedp.NewContext(allocator)
	before := stopChromium
	stopChromium = func() {
		_ = chromedp.Cancel(ctx)
		stop()
		_ = os.RemoveAll(dir)
		before()
	}
	return ctx, chromedp.Do(ctx)
}

var stopChromium = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
	stopPostgres()
	os.Exit(code)
}

func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium; run 'make test', which installs it")
}

// plainSite is the application over plain HTTP on localhost, as people run it.
type plainSite struct {
	*site
	base string
}

// inBrowser runs a test once for each of the stores.
func inBrowser(t *testing.T, stores []string, test func(t *testing.T, s *plainSite)) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			s := newSite(t, store)
			test(t, &plainSite{site: s, base: serveOnLocalhost(t, s.handler)})
		})
	}
}

var everyStore = []string{"cookie", "memory", "redis"}

// serveOnLocalhost returns an address with the name localhost, which is what makes browsers keep Secure cookies.
func serveOnLocalhost(t *testing.T, handler http.Handler) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// tab is a tab of a browser.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string
}

// browser opens a browser with cookies of its own.
func (s *plainSite) browser(t *testing.T) *tab {
	started, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(started, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	return &tab{t, ctx, s.base}
}

// another opens a second tab of the same browser.
func (b *tab) another() *tab {
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	require.NoError(b.t, chromedp.Do(ctx))
	return &tab{b.t, ctx, b.base}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// ask runs an action that has a result.
func ask[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	require.NoError(b.t, err)
	return result
}

func evaluate[T any](b *tab, script string) T {
	b.t.Helper()
	return ask(b, chromedp.Evaluate[T](script))
}

// navigate takes steps that lead to another page, and returns its status.
func (b *tab) navigate(steps ...chromedp.Action[chromedp.Void]) int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, steps...)
	require.NoError(b.t, err)
	require.NotNil(b.t, response)
	return int(response.Status)
}

// begun is how a page that was begun to load came out.
type begun struct {
	status int
	err    error
}

// begin opens a page without waiting for it.
func (b *tab) begin(path string) <-chan begun {
	result := make(chan begun, 1)
	go func() {
		ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
		defer cancel()
		response, err := chromedp.RunResponse(ctx, chromedp.Navigate(b.base+path))
		if err != nil {
			result <- begun{err: err}
			return
		}
		result <- begun{status: int(response.Status)}
	}()
	return result
}

func (b *tab) open(path string) int {
	b.t.Helper()
	return b.navigate(chromedp.Navigate(b.base + path))
}

// click clicks on what leads to another page.
func (b *tab) click(selector string) int {
	b.t.Helper()
	return b.navigate(chromedp.Click(chromedp.CSS(selector)))
}

// back presses the back button. A page that the browser kept would come up without being loaded.
func (b *tab) back() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, backTimeout)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.NavigateBack()), "going back loaded no page; did the browser keep it?")
}

func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.do(chromedp.Clear(chromedp.CSS(selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// text returns what can be read on the page.
func (b *tab) text() string {
	b.t.Helper()
	return evaluate[string](b, "document.body.innerText")
}

// path returns the address within the site.
func (b *tab) path() string {
	b.t.Helper()
	u, err := url.Parse(ask(b, chromedp.Location()))
	require.NoError(b.t, err)
	return u.RequestURI()
}

func (b *tab) signIn(username, password string) *tab {
	b.t.Helper()
	b.open("/login")
	b.fill("#username", username)
	b.fill("#password", password)
	require.Equal(b.t, http.StatusOK, b.click("#sign-in"))
	require.Equal(b.t, "/account", b.path())
	return b
}

// atSignIn asserts that the tab shows the sign-in page, and nothing private.
func (b *tab) atSignIn(message string) {
	b.t.Helper()
	assert.True(b.t, strings.HasPrefix(b.path(), "/login"), "%s: %s", message, b.path())
	assert.NotContains(b.t, b.text(), "Lovelace", message)
	assert.NotContains(b.t, b.text(), "Member since", message)
}

// sessionCookie returns the session's cookie as the browser's own store has it, or nil.
func (b *tab) sessionCookie() *network.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	result, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{b.base}})
	require.NoError(b.t, err)
	for _, cookie := range result.Cookies {
		if strings.Contains(cookie.Name, "session") {
			return cookie
		}
	}
	return nil
}
