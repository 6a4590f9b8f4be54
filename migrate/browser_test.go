package migrate_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
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

	"github.com/doorman-go/session"
)

const stepTimeout = time.Minute // far more than any step in the browser takes

// chromium starts the Chromium of all tests, when the first one wants it. Each browser in it has cookies of its own.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path, err := findChromium()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "browser") // for its profile and what it leaves in the temporary directory
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(dir, "profile")), chromedp.Env("TMPDIR="+dir),
		chromedp.DisableGPU, chromedp.WSURLReadTimeout(stepTimeout), chromedp.Flag("disable-component-update", true),
	)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	stopChromium = func() {
		_ = chromedp.Cancel(ctx)
		stop()
		_ = os.RemoveAll(dir)
	}
	return ctx, chromedp.Do(ctx)
})

var stopChromium = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
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

// browser is a tab of a browser that has cookies of its own.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string
}

func newBrowser(t *testing.T, base string) *browser {
	started, err := chromium()
	require.NoError(t, err)
	ctx, cancel := chromedp.NewContext(started, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	return &browser{t, ctx, base}
}

// open loads a page, and returns the text that is on it.
func (b *browser) open(path string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, chromedp.Navigate(b.base+path))
	require.NoError(b.t, err)
	require.NotNil(b.t, response)
	require.Equal(b.t, http.StatusOK, int(response.Status))
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	require.NoError(b.t, err)
	return text
}

// cookies returns those that the browser keeps, by name.
func (b *browser) cookies() map[string]*http.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	result, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{b.base}})
	require.NoError(b.t, err)
	cookies := map[string]*http.Cookie{}
	for _, c := range result.Cookies {
		cookies[c.Name] = &http.Cookie{Name: c.Name, Value: c.Value}
	}
	return cookies
}

// put has the browser keep a cookie, as one that somebody copied.
func (b *browser) put(c *http.Cookie) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	secure := strings.HasPrefix(c.Name, "__Host-")
	_, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{
		Name: c.Name, Value: c.Value, URL: b.base, Path: "/", Secure: &secure,
	})
	require.NoError(b.t, err)
}

func TestBrowser_StaysSignedInAndSignsOut(t *testing.T) {
	for _, name := range []string{"scs on Redis", "scs in memory", "gorilla cookie", "redistore"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, oldSites[name](t))
			server := httptest.NewServer(s)
			t.Cleanup(server.Close)
			// It is the name localhost that has browsers keep Secure cookies over plain HTTP.
			b := newBrowser(t, strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
			b.open("/sign-in")
			require.Equal(t, adasPage, b.open("/"))
			before := b.cookies()[s.cookie]
			require.NotNil(t, before)
			s.switched.Store(true)

			assert.Equal(t, adasPage, b.open("/"), "the values, and when she signed in")
			end, err := time.Parse(time.RFC3339, b.open("/end"))
			require.NoError(t, err)
			assert.False(t, end.After(time.Now().Add(s.end)), "%v is later than the old end", end)
			assert.Equal(t, adasPage, b.open("/"))
			after := b.cookies()
			require.NotNil(t, after[newName])
			assert.Nil(t, after[s.cookie], "the browser has removed the old cookie")
			assert.Equal(t, 1, s.count(session.EventAdopted))

			b.open("/sign-out")
			assert.Equal(t, visitorsPage, b.open("/"))
			assert.Empty(t, b.cookies())
			for _, stolen := range [][]*http.Cookie{{before}, {after[newName]}, {before, after[newName]}} {
				thief := newBrowser(t, b.base)
				for _, c := range stolen {
					thief.put(c)
				}
				require.Len(t, thief.cookies(), len(stolen))
				assert.Equal(t, visitorsPage, thief.open("/"))
			}
			s.requireClosed([]*http.Cookie{before, after[newName]})
		})
	}
}
