package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pastGrace is a time after which a bound session can't be used without a proof.
const pastGrace = 2 * time.Minute

var renewed = []exchange{{"renew", true, http.StatusOK}}

func TestBoundSessionFromSignInToSignOut(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t).signInBound("ada", "analytical-engine")
		require.Equal(t, []exchange{{"register", true, http.StatusOK}}, s.registrations())
		s.settle(b)
		bound := b.cookies()[boundCookieName]
		require.NotNil(t, bound)
		assert.True(t, bound.Secure && bound.HTTPOnly && !bound.Session)
		assert.Equal(t, network.CookieSameSiteLax, bound.SameSite)
		assert.Equal(t, "localhost", bound.Domain)
		b.open("/account/sessions")
		assert.Contains(t, b.text(), "Of no use: this session works on this device only")
		assert.Empty(t, s.exchanges(), "a proof is good for a while")

		b.dropProof()
		b.atAccount("the browser renews by itself")
		require.Equal(t, renewed, s.exchanges())
		require.NotNil(t, b.cookies()[boundCookieName])

		require.Equal(t, http.StatusOK, b.click("#sign-out"))
		assert.Contains(t, b.text(), "You are signed out.")
		assert.Empty(t, b.cookies(), "both cookies are gone")
		s.exchanges()
		b.signInBound("grace", "nanoseconds")
		s.settle(b)
		b.open("/account")
		assert.Contains(t, b.text(), "Grace Hopper")
	})
}

// A thief with a copy of both cookies gets in until the short one runs out, and not after. What the thief tries does not
// sign the owner out.
func TestBoundSessionIsStolen(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t).signInBound("ada", "analytical-engine")
		s.settle(b)
		thief := b.thief(s)
		assert.True(t, s.opens(thief))
		s.time.Advance(proofLife)
		assert.False(t, s.opens(thief), "the proof has run out")
		for range 5 {
			s.failProof(thief)
			assert.False(t, s.opens(thief))
			s.post(thief, "/logout")
			s.post(thief, "/account/sessions/revoke-others")
		}
		s.exchanges()
		b.dropProof() // it has run out for the browser as well, whose clock can't be moved
		b.atAccount("the owner goes on")
		require.Equal(t, renewed, s.exchanges())
		assert.False(t, s.opens(thief))
	})
}

// failProof sends what a thief can make up.
func (s *secureSite) failProof(thief *http.Client) {
	s.t.Helper()
	for _, token := range []string{"", "x", "a.b.c"} {
		request, err := http.NewRequest(http.MethodPost, s.base+"/.well-known/device-bound-session/__Host-session/renew", nil)
		require.NoError(s.t, err)
		request.Header.Set("Sec-Secure-Session-Id", "__Host-session")
		if token != "" {
			request.Header.Set("Secure-Session-Response", token)
		}
		response, err := thief.Do(request)
		require.NoError(s.t, err)
		require.NoError(s.t, response.Body.Close())
		require.Equal(s.t, http.StatusForbidden, response.StatusCode)
	}
}

func (s *secureSite) post(client *http.Client, path string) {
	s.t.Helper()
	response, err := client.PostForm(s.base+path, nil)
	require.NoError(s.t, err)
	require.NoError(s.t, response.Body.Close())
}

// Whoever signs in twice in a row goes on with the second session, which takes the first one's place in the browser.
func TestBoundSessionTwoSignInsInARow(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t).signInBound("ada", "analytical-engine")
		b.signInAgain("analytical-engine")
		b.await(created(1))
		s.settle(b)
		s.isBound(b)
	})
}

// The second sign-in comes before the server has the first one's key, which is refused then.
func TestBoundSessionSecondSignInBeforeTheFirstIsBound(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t)
		release := s.holdRegistration()
		b.signIn("ada", "analytical-engine")
		b.signInAgain("analytical-engine")
		b.await(created(1))
		require.Equal(t, []exchange{{"register", true, http.StatusOK}}, s.registrations(), "the second one's")
		release()
		require.Eventually(t, func() bool {
			return slices.Equal([]exchange{{"register", true, http.StatusForbidden}}, s.registrations())
		}, stepTimeout, 10*time.Millisecond, "the first one's")
		s.settle(b)
		s.isBound(b)
	})
}

// signInAgain gives the password once more, which begins another session.
func (b *boundBrowser) signInAgain(password string) {
	b.t.Helper()
	before := b.cookies()[cookieName].Value
	b.open("/login?again=1&next=/account")
	b.fill("#password", password)
	require.Equal(b.t, http.StatusOK, b.click("#sign-in"), b.text())
	require.NotEqual(b.t, before, b.cookies()[cookieName].Value)
}

// isBound asserts that the browser renews the proof of the session that it has.
func (s *secureSite) isBound(b *boundBrowser) {
	s.t.Helper()
	b.dropProof()
	b.atAccount("renewed")
	require.Equal(s.t, renewed, s.exchanges())
	b.open("/account/sessions")
	assert.Contains(s.t, b.text(), "Of no use: this session works on this device only")
}

// A link from another site leads to the page, signed in, also where the short cookie has run out, for which the browser does
// not renew by itself.
func TestBoundSessionIsLinkedTo(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t).signInBound("ada", "analytical-engine")
		s.settle(b)
		const path = "/account/sessions?from=elsewhere&x=//y"
		elsewhere := serveOnLocalhost(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, `<a href="%s%s">Your account</a>`, s.base, path)
		}))
		elsewhere = strings.Replace(elsewhere, "localhost", "127.0.0.1", 1)
		b.do(chromedp.Navigate(elsewhere))
		b.click("a")
		assert.Equal(t, path, b.path(), "with a proof nothing is in the way")
		require.Empty(t, s.exchanges())

		b.dropProof()
		b.do(chromedp.Navigate(elsewhere))
		b.do(chromedp.Click(chromedp.CSS("a")))
		b.do(chromedp.WaitVisible(chromedp.CSS("#here"))) // a heading of the page; there are two loads
		assert.Equal(t, path, b.path())
		assert.Contains(t, b.text(), "Of no use: this session works on this device only")
		require.Equal(t, renewed, s.exchanges())
	})
}

// Whoever is signed out from elsewhere is not renewed any more.
func TestBoundSessionIsRevoked(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t).signInBound("ada", "analytical-engine")
		s.settle(b)
		_, err := s.sessions.RevokeUser(t.Context(), "ada")
		require.NoError(t, err)
		b.dropProof()
		b.open("/account")
		b.atSignIn("after a revocation")
		require.Equal(t, []exchange{{"renew", true, http.StatusOK}}, s.exchanges(), "with the instruction to stop")
		b.open("/account")
		b.atSignIn("once more")
		require.Empty(t, s.exchanges(), "the browser has stopped")
		b.signInBound("ada", "analytical-engine")
	})
}

// Three tabs at once wait for one renewal.
func TestBoundSessionInThreeTabs(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t).signInBound("ada", "analytical-engine")
		s.settle(b)
		tabs := []*tab{b.tab, b.another(), b.another()}
		b.dropProof()
		var pages []<-chan begun
		for _, each := range tabs {
			pages = append(pages, each.begin("/account"))
		}
		for i, page := range pages {
			shown := <-page
			require.NoError(t, shown.err)
			assert.Equal(t, http.StatusOK, shown.status)
			assert.Equal(t, "/account", tabs[i].path())
		}
		require.Equal(t, renewed, s.exchanges())
	})
}

// The program is ended and started again. A store in memory is handed on to the next one, as other stores would be.
func TestBoundSessionAfterARestart(t *testing.T) {
	boundOnEachStore(t, func(t *testing.T, s *secureSite) {
		b := s.browser(t).signInBound("ada", "analytical-engine")
		s.settle(b)
		s.restart()
		b.atAccount("with the proof from before")
		require.Empty(t, s.exchanges())
		b.dropProof()
		b.atAccount("with a new proof")
		require.Equal(t, renewed, s.exchanges())
	})
}

// A browser that can't bind is none the worse for it.
func TestBoundSessionInABrowserThatCannotBind(t *testing.T) {
	s := newSecureSite(t, "cookie")
	started, err := startChromium(chromedp.Flag("ignore-certificate-errors-spki-list", mustCertificate(t).fingerprint),
		chromedp.Flag("disable-features", "DeviceBoundSessions"))
	require.NoError(t, err)
	ctx, cancel := chromedp.NewContext(started, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel) // which closes the page, and its stream of events: the server waits for that
	require.NoError(t, chromedp.Do(ctx))
	b := (&tab{t, ctx, s.base}).signIn("ada", "analytical-engine")
	s.time.Advance(pastGrace)
	b.open("/account/sessions")
	assert.Equal(t, "/account/sessions", b.path())
	assert.Contains(t, b.text(), "A copy would work elsewhere: this browser can’t bind the session to its device")
	assert.Empty(t, s.exchanges())
}
