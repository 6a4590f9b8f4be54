package binding_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

// navigate makes the request of a page that was navigated to.
func (d *device) navigate(path, from string) (*http.Response, bool) {
	r := d.request("GET", path)
	r.Header.Set("Sec-Fetch-Site", from)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	signedIn := false
	resp := d.send(r, func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		signedIn = s.User() != ""
		w.Header().Set("Location", "/login")
		w.WriteHeader(http.StatusSeeOther)
		_, _ = io.WriteString(w, "to the sign-in page")
	})
	return resp, signedIn
}

// Browsers do not prove the device for a link from another site, but do for the page that this answer asks for.
func TestBinding_ALinkFromAnotherSiteIsAskedForOnceMore(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(proofLife)
		for _, from := range []string{"cross-site", "same-site"} {
			app.Events()
			resp, _ := d.navigate("/account?a=b", from)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, "0;url=./account?a=b", resp.Header.Get("Refresh"))
			require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
			require.Equal(t, "Cookie", resp.Header.Get("Vary"))
			require.Empty(t, resp.Header["Location"])
			require.Empty(t, resp.Header["Set-Cookie"])
			require.NotContains(t, kit.Body(resp), "sign-in")
			require.Equal(t, []string{"unproven: no proof"}, app.Happened())
		}
		for _, from := range []string{"same-origin", "none"} { // once: what it asks for comes from this site
			resp, signedIn := d.navigate("/account", from)
			require.Equal(t, http.StatusSeeOther, resp.StatusCode)
			require.False(t, signedIn)
		}
		d.renewIfMissing()
		resp, signedIn := d.navigate("/account", "cross-site")
		require.True(t, signedIn)
		require.Empty(t, resp.Header["Refresh"])
	})
}

func TestBinding_OnlyAPageIsAskedForOnceMore(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(proofLife)
	for what, change := range map[string]func(*http.Request){
		"a form":          func(r *http.Request) { r.Method = "POST" },
		"a HEAD":          func(r *http.Request) { r.Method = "HEAD" },
		"a fetch":         func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "cors") },
		"an image":        func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "no-cors") },
		"an old browser":  func(r *http.Request) { r.Header = http.Header{"Cookie": r.Header["Cookie"]} },
		"from this site":  func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") },
		"it was typed in": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") },
	} {
		r := d.request("GET", "/")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		change(r)
		resp := d.send(r, kit.Act(func(s *session.Session) { require.Empty(t, s.User()) }))
		require.Empty(t, resp.Header["Refresh"], what)
		require.Equal(t, "the handler's", kit.Body(resp), what)
	}
}

// A handler that reads its session only after its first byte is past all that.
func TestBinding_AnAnswerThatHasStartedGoesOn(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(proofLife)
	r := d.request("GET", "/")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	resp := d.send(r, kit.Begun(func(s *session.Session) { require.Empty(t, s.User()); require.NoError(t, s.Err()) }))
	require.Equal(t, "begun", kit.Body(resp))
}

// The address that is asked for once more is the same one, and never another site's.
func TestBinding_TheAddressStaysInTheSite(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(proofLife)
	for _, path := range []string{
		"/", "/?", "/?a=b&c=d", "/a/b", "/a/b/", "/a/b/?c", "//evil.test", "//evil.test/", "//evil.test/a?b", "/%2f%2fevil.test",
		"/https://evil.test", "/a/https:evil.test", "/a/javascript:alert(1)", `/\evil.test`, `/a/%5Cevil.test`, "/a;b,c=d", "/a?url=https://evil.test/",
		"/?next=//evil.test", "/%22%3E%3Cscript%3E", "/a?b=%0d%0aSet-Cookie:x=y", "/ä?ö", "/a:b", "/.well-known/x",
	} {
		asked, err := url.ParseRequestURI(path)
		require.NoError(t, err)
		r := d.request("GET", "/")
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = asked.Path, asked.RawPath, asked.RawQuery
		r.RequestURI = path
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		resp := d.send(r, kit.Act(func(s *session.Session) { s.User() }))
		address, ok := strings.CutPrefix(resp.Header.Get("Refresh"), "0;url=")
		require.True(t, ok, path)
		relative, err := url.Parse(address)
		require.NoError(t, err, path)
		require.Empty(t, relative.Scheme+relative.Host, path)
		base := &url.URL{Scheme: "https", Host: "example.test", Path: asked.Path, RawPath: asked.RawPath, RawQuery: asked.RawQuery}
		resolved := base.ResolveReference(relative)
		require.Equal(t, "example.test", resolved.Host, path)
		require.Equal(t, base.EscapedPath()+"?"+base.RawQuery, resolved.EscapedPath()+"?"+resolved.RawQuery, path)
		require.Len(t, resp.Header["Refresh"], 1)
		require.NotContains(t, address, "\n")
	}
}

// It is the address that the browser has asked for, whatever a handler outside has made of it.
func TestBinding_TheAddressIsTheBrowsers(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(proofLife)
	for _, prefix := range []string{"/app", "/app/a", ""} {
		r := d.request("GET", "/app/a?b=c")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		rec := httptest.NewRecorder()
		http.StripPrefix(prefix, app.Nodes[0].HandlerOf(kit.Act(func(s *session.Session) { s.User() }))).ServeHTTP(rec, r)
		require.Equal(t, "0;url=./a?b=c", rec.Header().Get("Refresh"), prefix)
	}
}

func TestBinding_PreloadAsksOnceMoreToo(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(proofLife)
	r := d.request("GET", "/a")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	resp := d.send(r, func(w http.ResponseWriter, r *http.Request, _ *session.Session) {
		app.Manager().Preload(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it is called") })).ServeHTTP(w, r)
	})
	require.Equal(t, "0;url=./a", resp.Header.Get("Refresh"))
}
