package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

func TestSignInAndOut(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.visitor(t)
		require.False(t, p.signedIn())
		assert.Contains(t, p.get("/").body, "Come on in.")

		a := p.login(" Ada ", "analytical-engine")
		assert.Equal(t, http.StatusSeeOther, a.status)
		assert.Equal(t, "/account", a.location)
		cookie := http.Cookie{Name: cookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
		sessiontest.CookieAttributes(t, a.header, cookie)
		require.NotEmpty(t, p.cookie())

		first := p.get("/account")
		assert.Equal(t, http.StatusOK, first.status)
		assert.Contains(t, first.body, "Welcome, Ada Lovelace. You are signed in.")
		assert.Contains(t, first.body, `<dd id="username">ada</dd>`)
		assert.NotContains(t, p.get("/account").body, "Welcome, Ada", "a flash is shown once")
		assert.Contains(t, p.get("/").body, "Good to see you, Ada Lovelace.")
		assert.Equal(t, "/account", p.get("/login").location, "who is signed in needs no sign-in page")

		out := p.post("/logout")
		assert.Equal(t, http.StatusSeeOther, out.status)
		cookie.MaxAge = -1
		sessiontest.CookieAttributes(t, out.header, cookie)
		assert.Empty(t, p.cookie())
		assert.Contains(t, p.get(out.location).body, "You are signed out.")
		assert.False(t, p.signedIn())
	})
}

func TestRefusedSignIns(t *testing.T) {
	cases := []struct {
		name, username, password string
		status                   int
		text                     string
	}{
		{"wrong password", "ada", "difference-engine", 401, "That username and password do not match."},
		{"unknown user", "charles", "analytical-engine", 401, "That username and password do not match."},
		{"another's password", "ada", "nanoseconds", 401, "That username and password do not match."},
		{"no username", "", "analytical-engine", 422, "Enter your username."},
		{"blank username", "  ", "analytical-engine", 422, "Enter your username."},
		{"no password", "ada", "", 422, "Enter your password."},
		{"nothing", "", "", 422, "Enter your username."},
		{"quotes", `' OR 1=1 --`, `<script>`, 401, "That username and password do not match."},
	}
	allStores(t, func(t *testing.T, s *site) {
		p := s.visitor(t)
		for _, c := range cases {
			a := p.login(c.username, c.password)
			assert.Equal(t, c.status, a.status, c.name)
			assert.Contains(t, a.body, c.text, c.name)
			assert.Empty(t, a.header.Values("Set-Cookie"), c.name)
			assert.Equal(t, "no-store", a.header.Get("Cache-Control"), c.name)
		}
		p.post("/preferences", "locale", "en")
		before := p.cookie()
		require.NotEmpty(t, before)
		for _, c := range cases {
			assert.Empty(t, p.login(c.username, c.password).header.Values("Set-Cookie"), c.name)
		}
		assert.Equal(t, before, p.cookie())
		assert.False(t, p.signedIn())
	})
}

func TestRefusedSignInKeepsTheUsername(t *testing.T) {
	p := newSite(t, "memory").visitor(t)
	assert.Contains(t, p.login("ada", "wrong").body, `value="ada"`)
	assert.NotContains(t, p.login("ada", "my-typed-password").body, "my-typed-password")
}

// A name that nobody has waits for its turn to hash, and takes it, as a known one does.
func TestUnknownUserTakesTheSameWork(t *testing.T) {
	u, err := openUsers(t.Context(), "")
	require.NoError(t, err)
	defer func() { assert.NoError(t, u.close()) }()
	defer func(turns chan struct{}) { hashing = turns }(hashing)
	hashing = make(chan struct{}) // without a buffer: the test hands out the turns, and takes them back

	for _, name := range []string{"ada", "nobody"} {
		result := make(chan error, 1)
		go func() {
			_, err := u.authenticate(t.Context(), name, "guess")
			result <- err
		}()
		select {
		case <-hashing:
		case <-result:
			t.Fatalf("%s was answered without hashing", name)
		}
		hashing <- struct{}{}
		assert.ErrorIs(t, <-result, errNoMatch, name)
	}
}

func TestLanguageIsKeptAcrossLogin(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.visitor(t)
		assert.Contains(t, p.get("/").body, `<html lang="en">`)
		a := p.post("/preferences", "locale", "de", "next", "/login?next=%2Faccount")
		assert.Equal(t, http.StatusSeeOther, a.status)
		assert.Equal(t, "/login?next=%2Faccount", a.location)
		anonymous := p.cookie()
		assert.Contains(t, p.get("/login").body, `<html lang="de">`)
		assert.Contains(t, p.login("ada", "wrong").body, "Benutzername und Passwort passen nicht zusammen.")

		require.Equal(t, http.StatusSeeOther, p.login("ada", "analytical-engine").status)
		assert.NotEqual(t, anonymous, p.cookie())
		body := p.get("/account").body
		assert.Contains(t, body, `<html lang="de">`)
		assert.Contains(t, body, "Willkommen, Ada Lovelace.")

		p.post("/preferences", "locale", "fr")
		assert.Contains(t, p.get("/account").body, "Changer le mot de passe")
		p.post("/logout")
		assert.Contains(t, p.get("/").body, `<html lang="en">`)
	})
}

func TestLanguageOfTheBrowser(t *testing.T) {
	p := newSite(t, "cookie").visitor(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Language", "pt;q=0.9, fr-CA;q=0.8, en;q=0.1")
	a := p.do(r)
	assert.Contains(t, a.body, `<html lang="fr">`)
	sessiontest.NoSetCookie(t, a.header)

	a = p.post("/preferences", "locale", "tlh")
	assert.Equal(t, http.StatusUnprocessableEntity, a.status)
	assert.Empty(t, p.cookie())
}

func TestStolenCookieFromBeforeLogin(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) { // the cookie store has a revocation list
		p, thief := s.visitor(t), s.visitor(t)
		p.post("/preferences", "locale", "de")
		stolen := p.cookie()
		require.NotEmpty(t, stolen)
		require.Equal(t, http.StatusSeeOther, p.login("ada", "analytical-engine").status)

		thief.takeCookie(stolen)
		assert.False(t, thief.signedIn())
		assert.Contains(t, thief.get("/").body, `<html lang="en">`, "not even the language is left")
		assert.True(t, p.signedIn())
	})
}

func TestCookieFromBeforeLogout(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p, thief := s.ada(t), s.visitor(t)
		thief.takeCookie(p.cookie())
		require.True(t, thief.signedIn())
		p.post("/logout")
		assert.False(t, thief.signedIn())
	})
}

func TestSwitchingUsers(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.ada(t)
		before := p.cookie()
		require.Equal(t, http.StatusSeeOther, p.login("grace", "nanoseconds").status)
		assert.NotEqual(t, before, p.cookie())
		assert.Contains(t, p.get("/account").body, "Grace Hopper")
		thief := s.visitor(t)
		thief.takeCookie(before)
		assert.False(t, thief.signedIn())
	})
}

func TestNext(t *testing.T) {
	p := newSite(t, "memory").visitor(t)
	assert.Equal(t, "/login?next=/account/sessions", p.get("/account/sessions").location)
	body := p.get("/login?next=/account/sessions").body
	assert.Contains(t, body, `name="next" value="/account/sessions"`)
	assert.Contains(t, body, "Please sign in to see that page.")
	failed := p.post("/login", "username", "ada", "password", "wrong", "next", "/account/sessions")
	assert.Contains(t, failed.body, `name="next" value="/account/sessions"`)
	a := p.post("/login", "username", "ada", "password", "analytical-engine", "next", "/account/sessions")
	assert.Equal(t, "/account/sessions", a.location)
	evil := p.post("/login", "username", "ada", "password", "analytical-engine", "next", "https://evil.example/")
	assert.Equal(t, "/account", evil.location)
}

func TestLocalPath(t *testing.T) {
	for _, good := range []string{"/", "/account", "/account?a=b", "/a%20b", "/account/sessions?next=//x"} {
		assert.Equal(t, good, session.LocalPath(good, "otherwise"))
	}
	for _, bad := range []string{
		"", "account", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "\t//evil.example",
		" //evil.example", "https://evil.example/", "https:evil.example", "javascript:alert(1)", "//user@evil.example", "/%zz", "/..//evil.example\n",
		"?a", "#a", "http:///evil.example", "/%2F/evil.example",
	} {
		assert.Equal(t, "otherwise", session.LocalPath(bad, "otherwise"), "%q", bad)
	}
	assert.Equal(t, "/a", session.LocalPath("/a#fragment", ""))
	assert.False(t, strings.HasPrefix(session.LocalPath("/.//evil.example", ""), "//"))
}
