package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBrowserKeepsTheCookieSafe(t *testing.T) {
	inBrowser(t, everyStore, func(t *testing.T, s *plainSite) {
		b := s.browser(t).signIn("ada", "analytical-engine")
		cookie := b.sessionCookie()
		require.NotNil(t, cookie)
		assert.Equal(t, "__Host-session", cookie.Name)
		assert.True(t, cookie.Secure)
		assert.True(t, cookie.HTTPOnly)
		assert.Equal(t, network.CookieSameSiteLax, cookie.SameSite)
		assert.Equal(t, "/", cookie.Path)
		assert.Equal(t, "localhost", cookie.Domain, "without a dot: this host only")
		assert.True(t, cookie.Session, "it goes with the browser")

		assert.Empty(t, evaluate[string](b, "document.cookie"), "no script can read it")
		evaluate[string](b, "document.cookie = '__Host-session=planted; Secure; Path=/'")
		assert.Equal(t, cookie.Value, b.sessionCookie().Value, "nor replace it")
		assert.NotContains(t, evaluate[string](b, "document.documentElement.outerHTML"), cookie.Value)
	})
}

// Another site's page posts to ours. A cross-site one does so without the cookie, since that is SameSite; one on another
// port of the same host is the same site to browsers and sends the cookie, so that only the protection stands against it.
func TestBrowserRefusesPostsOfOtherSites(t *testing.T) {
	inBrowser(t, []string{"cookie", "redis"}, func(t *testing.T, s *plainSite) {
		evil := serveOnLocalhost(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, `<form method="post" action="%s%s"><button>Win</button></form>`, s.base, r.URL.Path)
		}))
		mine, other := s.browser(t).signIn("ada", "analytical-engine"), s.browser(t).signIn("ada", "analytical-engine")
		for _, origin := range []string{strings.Replace(evil, "localhost", "127.0.0.1", 1), evil} {
			for _, path := range []string{"/logout", "/account/sessions/revoke-others", "/preferences", "/login"} {
				mine.do(chromedp.Navigate(origin + path))
				assert.Equal(t, http.StatusForbidden, mine.click("button"), origin+path)
				assert.Contains(t, mine.text(), "That did not come from here")
			}
		}
		for _, each := range []*tab{mine, other} {
			each.open("/account")
			assert.Equal(t, "/account", each.path())
		}
	})
}

// A link from another site leads to the page, signed in: that is what Lax is for.
func TestBrowserFollowsLinksSignedIn(t *testing.T) {
	inBrowser(t, []string{"cookie"}, func(t *testing.T, s *plainSite) {
		b := s.browser(t).signIn("ada", "analytical-engine")
		elsewhere := serveOnLocalhost(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, `<a href="%s/account">Your account</a>`, s.base)
		}))
		b.do(chromedp.Navigate(strings.Replace(elsewhere, "localhost", "127.0.0.1", 1)))
		b.click("a")
		assert.Equal(t, "/account", b.path())
		assert.Contains(t, b.text(), "Member since")
	})
}
