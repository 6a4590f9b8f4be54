package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/sessiontest"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)

func (s *site) adaOn(t *testing.T, agent string) *person {
	p := s.visitor(t)
	p.agent = agent
	require.Equal(t, http.StatusSeeOther, p.login("ada", "analytical-engine").status)
	return p
}

func TestSessionsPage(t *testing.T) {
	serverStores(t, func(t *testing.T, s *site) {
		laptop := s.adaOn(t, firefox)
		alone := laptop.get("/account/sessions").body
		assert.Contains(t, alone, "You are not signed in anywhere else.")
		assert.NotContains(t, alone, "Sign out everywhere else")
		assert.Contains(t, alone, "Firefox on Linux · 192.0.2.1")

		s.time.Advance(5 * time.Minute)
		phone := s.adaOn(t, safari)
		s.member(t, "grace", "nanoseconds")
		body := laptop.get("/account/sessions").body
		assert.Contains(t, body, "Safari on iPhone · 192.0.2.1")
		assert.Contains(t, body, `<span class="badge">Active now</span>`)
		assert.Contains(t, body, "Sign out everywhere else")
		assert.Len(t, laptop.otherSessions(), 1, "grace's is not among them")
		assert.Contains(t, phone.get("/account/sessions").body, "Firefox on Linux")
		s.time.Advance(2 * time.Minute)
		assert.Contains(t, laptop.get("/account/sessions").body, "2 minutes ago")
		assert.Equal(t, "no-store", laptop.get("/account/sessions").header.Get("Cache-Control"))
	})
}

func TestEndOneSession(t *testing.T) {
	serverStores(t, func(t *testing.T, s *site) {
		laptop, phone, desk := s.adaOn(t, firefox), s.adaOn(t, safari), s.ada(t)
		require.ElementsMatch(t, []string{laptop.id(), desk.id()}, phone.otherSessions())
		id := laptop.id()
		a := phone.post("/account/sessions/revoke", "id", id)
		assert.Equal(t, http.StatusSeeOther, a.status)
		assert.Contains(t, phone.get(a.location).body, "That session has been ended.")
		assert.False(t, laptop.signedIn())
		assert.True(t, phone.signedIn())
		assert.True(t, desk.signedIn())

		again := phone.post("/account/sessions/revoke", "id", id)
		assert.Equal(t, http.StatusNotFound, again.status)
		assert.Contains(t, again.body, "There is no such session.")
	})
}

func TestStrangersSessionCannotBeEnded(t *testing.T) {
	serverStores(t, func(t *testing.T, s *site) {
		ada, grace := s.ada(t), s.member(t, "grace", "nanoseconds")
		grace.get("/account") // reads the flash
		theirs := grace.post("/account/sessions/revoke", "id", ada.id())
		nobodys := grace.post("/account/sessions/revoke", "id", "0123456789")
		assert.Equal(t, http.StatusNotFound, theirs.status)
		assert.Equal(t, nobodys.status, theirs.status)
		assert.Equal(t, nobodys.body, theirs.body, "nothing is learnt")
		assert.True(t, ada.signedIn())
	})
}

// A sealed cookie's id can't be looked up, but a stranger's is left alone all the same.
func TestStrangersSealedSessionCannotBeEnded(t *testing.T) {
	s := newSite(t, "cookie")
	ada, grace := s.ada(t), s.member(t, "grace", "nanoseconds")
	id := ada.id()
	grace.post("/account/sessions/revoke", "id", id)
	assert.True(t, ada.signedIn())

	second := s.ada(t)
	second.post("/account/sessions/revoke", "id", id)
	assert.False(t, ada.signedIn(), "her own it is")
}

func TestEndThisSession(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.ada(t)
		a := p.post("/account/sessions/revoke", "id", p.id())
		assert.Equal(t, "/?signed-out=1", a.location)
		assert.Empty(t, p.cookie())
		assert.False(t, p.signedIn())
		assert.Equal(t, http.StatusUnprocessableEntity, s.ada(t).post("/account/sessions/revoke").status)
	})
}

func TestEndAllOtherSessions(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		laptop, phone, grace := s.adaOn(t, firefox), s.adaOn(t, safari), s.member(t, "grace", "nanoseconds")
		require.Contains(t, phone.get("/account/sessions").body, "Sign out everywhere else")
		a := phone.post("/account/sessions/revoke-others")
		assert.Equal(t, "/account/sessions", a.location)
		assert.Contains(t, phone.get(a.location).body, "You are signed out everywhere else.")
		assert.False(t, laptop.signedIn())
		assert.True(t, phone.signedIn())
		assert.True(t, grace.signedIn())
		assert.Equal(t, http.StatusSeeOther, laptop.login("ada", "analytical-engine").status)
		assert.True(t, laptop.signedIn(), "and back in")
	})
}

func TestSessionsPageOfSealedCookies(t *testing.T) {
	s := newSite(t, "cookie")
	p := s.adaOn(t, firefox)
	s.adaOn(t, safari)
	body := p.get("/account/sessions").body
	assert.Contains(t, body, "Firefox on Linux")
	assert.NotContains(t, body, "Safari")
	assert.Contains(t, body, "can’t be listed here")
	assert.Contains(t, body, "Sign out everywhere else")
}

func TestEndingSessionsNeedsARecentPassword(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		laptop, phone := s.adaOn(t, firefox), s.adaOn(t, safari)
		for range 2 { // in steps that the idle timeout allows
			s.time.Advance(freshness/2 + time.Second)
			require.True(t, phone.signedIn())
			require.True(t, laptop.signedIn())
		}
		a := phone.post("/account/sessions/revoke-others")
		require.Equal(t, "/login?again=1&next=/account/sessions", a.location)
		assert.Equal(t, a.location, phone.post("/account/sessions/revoke", "id", "x").location)
		require.True(t, laptop.signedIn())

		page := phone.get(a.location).body
		assert.Contains(t, page, "Is it still you?")
		assert.Contains(t, page, `value="ada"`)
		before := phone.cookie()
		again := phone.post("/login", "username", "ada", "password", "analytical-engine", "next", "/account/sessions")
		assert.Equal(t, "/account/sessions", again.location)
		assert.NotEqual(t, before, phone.cookie())
		phone.post("/account/sessions/revoke-others")
		assert.False(t, laptop.signedIn())
	})
}

func TestRecently(t *testing.T) {
	next := recently(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for age, status := range map[time.Duration]int{
		freshness - time.Minute: http.StatusNoContent, freshness + time.Second: http.StatusSeeOther,
	} {
		r, _ := sessiontest.NewRequest(http.MethodPost, "/", nil, sessiontest.Seed{User: "ada", Authenticated: time.Now().Add(-age)})
		w := httptest.NewRecorder()
		next(w, r)
		assert.Equal(t, status, w.Code, age)
	}
}

func TestIdleAndAbsoluteLimits(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.ada(t)
		for range 24*2 - 1 {
			s.time.Advance(30 * time.Minute)
			require.True(t, p.signedIn())
		}
		s.time.Advance(30 * time.Minute)
		assert.False(t, p.signedIn(), "after a day in use")
		p.login("ada", "analytical-engine")
		s.time.Advance(time.Hour)
		assert.False(t, p.signedIn(), "after an hour of idleness")
	})
}
