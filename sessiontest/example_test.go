package sessiontest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

// The tests below stand in docs/testing.md word for word; TestDocumentation sees to that.

func TestAccount(t *testing.T) {
	r, _ := sessiontest.NewRequest("GET", "/account", nil, sessiontest.Seed{User: "ada"})
	w := httptest.NewRecorder()
	if account(w, r); w.Body.String() != "ada has 0 items" {
		t.Errorf("the page says %q", w.Body)
	}
}

func TestAdd(t *testing.T) {
	r, s := sessiontest.NewRequest("POST", "/cart?item=milk", nil, sessiontest.Seed{
		User:   "ada",
		Values: sessiontest.Values{"cart": []string{"tea"}},
	})
	add(httptest.NewRecorder(), r)

	sessiontest.Value(t, s, cart, []string{"tea", "milk"})
	if flashes := s.Flashes(); len(flashes) != 1 || flashes[0].Message != "added" {
		t.Errorf("the flashes are %v", flashes)
	}
}

func TestLogout(t *testing.T) {
	r, s := sessiontest.NewRequest("POST", "/logout", nil, sessiontest.Seed{User: "ada"})
	logout(httptest.NewRecorder(), r)
	if !s.Destroyed() {
		t.Error("logging out left the session there")
	}
}

func TestLoginFlow(t *testing.T) {
	sessions, err := session.New(sessiontest.NewStore(), session.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handler, browser := app(sessions), sessiontest.NewJar()

	w := browser.Serve(handler, httptest.NewRequest("POST", "/login?user=ada&password=guess", nil))
	sessiontest.NoSetCookie(t, w.Header())

	w = browser.Serve(handler, httptest.NewRequest("POST", "/login?user=ada&password=correct+horse", nil))
	sessiontest.CookieAttributes(t, w.Header(), http.Cookie{
		Name: "__Host-session", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})

	w = browser.Serve(handler, httptest.NewRequest("GET", "/account", nil))
	if w.Body.String() != "ada has 0 items" {
		t.Errorf("the page says %q", w.Body)
	}
}

func TestAccountOverHTTP(t *testing.T) {
	sessions, err := session.New(sessiontest.NewStore(), session.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(app(sessions))
	defer server.Close()
	client := &http.Client{Jar: sessiontest.NewJar()} // takes Secure cookies over plain HTTP too

	sessiontest.Transaction(t, sessions, client.Jar, server.URL, func(s *session.Session) {
		if err := s.Login("ada"); err != nil {
			t.Fatal(err)
		}
		cart.Set(s, []string{"tea"})
	})

	response, err := client.PostForm(server.URL+"/cart", url.Values{"item": {"milk"}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()

	sessiontest.Transaction(t, sessions, client.Jar, server.URL, func(s *session.Session) {
		sessiontest.LoggedInAs(t, s, "ada")
		sessiontest.Value(t, s, cart, []string{"tea", "milk"})
	})
}

// loggedIn returns the jar of a browser in which user is logged in.
func loggedIn(t *testing.T, sessions *session.Manager, user string) *sessiontest.Jar {
	t.Helper()
	jar := sessiontest.NewJar()
	sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) {
		if err := s.Login(user); err != nil {
			t.Fatal(err)
		}
	})
	return jar
}

func TestTwoUsers(t *testing.T) {
	sessions, err := session.New(sessiontest.NewStore(), session.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handler := app(sessions)
	ada, grace := loggedIn(t, sessions, "ada"), loggedIn(t, sessions, "grace")

	ada.Serve(handler, httptest.NewRequest("POST", "/cart?item=tea", nil))
	w := grace.Serve(handler, httptest.NewRequest("GET", "/account", nil))
	if w.Body.String() != "grace has 0 items" {
		t.Errorf("the page says %q", w.Body)
	}
}

func TestStoreIsDown(t *testing.T) {
	store := sessiontest.NewStore()
	sessions, err := session.New(store, session.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handler, ada := app(sessions), loggedIn(t, sessions, "ada")

	store.Down(errors.New("connection refused"))
	w := ada.Serve(handler, httptest.NewRequest("GET", "/account", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("the status is %d, and should be 503: not a redirect to the login", w.Code)
	}

	store.Down(nil)
	store.Fail(sessiontest.Swap, 1, errors.New("connection reset"))
	w = ada.Serve(handler, httptest.NewRequest("POST", "/cart?item=tea", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("the status is %d, and should be 503: the item is not in the cart", w.Code)
	}
}

func TestLoggedOutMeanwhile(t *testing.T) {
	store := sessiontest.NewStore()
	sessions, err := session.New(store, session.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handler, ada := app(sessions), loggedIn(t, sessions, "ada")

	store.EndBetween() // another tab logs out after this request has loaded the session
	w := ada.Serve(handler, httptest.NewRequest("POST", "/cart?item=tea", nil))
	if w.Code != http.StatusConflict {
		t.Errorf("the status is %d, and should be 409", w.Code)
	}
	sessiontest.NoSetCookie(t, w.Header())
}

func TestIdle(t *testing.T) {
	clock := sessiontest.NewClock()
	sessions, err := session.New(sessiontest.NewStore(), session.Config{IdleTimeout: 20 * time.Minute, Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	ada := loggedIn(t, sessions, "ada")
	clock.Advance(20 * time.Minute)
	sessiontest.Transaction(t, sessions, ada, "/", func(s *session.Session) { sessiontest.Anonymous(t, s) })
}
