package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// soon is within how long a page shows by itself what the server has told it.
const soon = 40 * time.Second

// showsNote waits until the page shows one of its notes about the session, and no other; "" for none.
func (b *tab) showsNote(id string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		return evaluate[string](b, `[...document.querySelectorAll('#session [role=alert]')].filter(e => e.checkVisibility()).map(e => e.id).join()`) == id
	}, soon, 20*time.Millisecond, id)
}

// connected waits until the page's stream of events is open.
func (s *plainSite) connected(t *testing.T, streams int64) {
	t.Helper()
	require.Eventually(t, func() bool { return s.streams.Load() >= streams }, soon, 10*time.Millisecond)
}

// "You were signed out elsewhere" appears by itself, on the page that is open, and nowhere else.
func TestBrowserIsToldThatItWasSignedOutElsewhere(t *testing.T) {
	inBrowser(t, everyStore, func(t *testing.T, s *plainSite) {
		laptop, phone, grace := s.browser(t).signIn("ada", "analytical-engine"), s.browser(t).signIn("ada", "analytical-engine"), s.browser(t).signIn("grace", "nanoseconds")
		s.connected(t, 3)
		laptop.showsNote("")
		phone.open("/account/sessions")
		require.Equal(t, http.StatusOK, phone.click("#revoke-others"))
		laptop.showsNote("session-revoked")
		assert.Contains(t, laptop.text(), "You were signed out elsewhere.")
		assert.Equal(t, "/account", laptop.path(), "it is the same page still")
		grace.showsNote("")
		phone.showsNote("")
		laptop.click("#session-revoked a")
		laptop.atSignIn("the link leads there")
	})
}

// A logout in one tab is told in another one, and a new ID, which the tabs have in common, is none.
func TestBrowserTellsOtherTabs(t *testing.T) {
	inBrowser(t, []string{"memory", "redis"}, func(t *testing.T, s *plainSite) {
		first := s.browser(t).signIn("ada", "analytical-engine")
		second := first.another()
		second.open("/account")
		s.connected(t, 2)
		second.fill("#current", "analytical-engine")
		second.fill("#new", "punched-cards-and-more")
		require.Equal(t, http.StatusOK, second.click("#change-password"))
		require.True(t, strings.Contains(second.text(), "Your password is changed"))
		s.connected(t, 4) // the first one has asked again, and connected again
		first.showsNote("")

		second.click("#sign-out")
		first.showsNote("session-over")
		assert.Contains(t, first.text(), "You are signed out.")
	})
}

// The page warns two minutes before the end, and the button is enough to stay (WCAG 2.2.1).
func TestBrowserAsksWhetherToStay(t *testing.T) {
	inBrowser(t, everyStore, func(t *testing.T, s *plainSite) {
		dir := gallery(t)
		b := s.browser(t).signIn("ada", "analytical-engine")
		s.connected(t, 1)
		ask := func() { evaluate[bool](b, `window.dispatchEvent(new Event('focus'))`) } // as when the computer wakes up
		s.time.Advance(57 * time.Minute)
		ask()
		b.showsNote("")
		s.time.Advance(90 * time.Second)
		ask()
		b.showsNote("session-ending")
		assert.Contains(t, b.text(), "You will be signed out in less than two minutes.")
		b.look(dir, "session-ending")
		ask()
		b.showsNote("session-ending")

		b.do(chromedp.Click(chromedp.CSS("#session-stay")))
		b.showsNote("")
		s.time.Advance(57 * time.Minute)
		ask()
		b.showsNote("")
		s.time.Advance(2 * time.Minute)
		ask()
		b.showsNote("session-ending")
		s.time.Advance(2 * time.Minute)
		b.showsNote("session-expired") // by itself
		assert.Contains(t, b.text(), "You were signed out, since you were away for a while.")
		b.look(dir, "session-expired")
		b.open("/account")
		b.atSignIn("it has ended")
	})
}

// Where the absolute limit is near, staying is not on offer.
func TestBrowserDoesNotOfferToStayForEver(t *testing.T) {
	inBrowser(t, []string{"memory"}, func(t *testing.T, s *plainSite) {
		b := s.browser(t).signIn("ada", "analytical-engine")
		for range 47 {
			s.time.Advance(30 * time.Minute)
			require.Equal(t, http.StatusOK, b.open("/account"))
		}
		s.time.Advance(29 * time.Minute)
		b.open("/account")
		b.showsNote("session-ending")
		assert.False(t, evaluate[bool](b, `document.getElementById('session-stay').checkVisibility()`))
	})
}
