package sessiontest

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/doorman-go/session"
)

// Reader is a session that the assertions look at: a *session.Session or a *Session.
type Reader interface {
	ID() string
	User() string
	Keys() []string
	Get(key string, dst any) bool
	Err() error
}

var (
	_ Reader = (*session.Session)(nil)
	_ Reader = (*Session)(nil)
)

// LoggedInAs fails the test unless the session is user's.
func LoggedInAs(tb testing.TB, s Reader, user string) {
	tb.Helper()
	if got := s.User(); got != user {
		tb.Errorf("the session should be logged in as %q, and is %s%s", user, whose(got), trouble(s))
	}
}

// Anonymous fails the test unless nobody is logged in.
func Anonymous(tb testing.TB, s Reader) {
	tb.Helper()
	if got := s.User(); got != "" {
		tb.Errorf("nobody should be logged in, and the session is %s", whose(got))
	}
}

// Value fails the test unless the session has the value want under key.
//
//	sessiontest.Value(t, s, "cart", []string{"tea"})
func Value[T any](tb testing.TB, s Reader, key session.Key[T], want T) {
	tb.Helper()
	var got T
	switch {
	case !s.Get(string(key), &got):
		tb.Errorf("the session should have %#v under %q, and %s%s", want, key, without(s, string(key)), trouble(s))
	case !reflect.DeepEqual(got, want):
		tb.Errorf("the session's %q should be\n\t%#v\nand is\n\t%#v", key, want, got)
	}
}

// NoValue fails the test if the session has a value of key, which is a session.Key or a string.
func NoValue[K ~string](tb testing.TB, s Reader, key K) {
	tb.Helper()
	var got any
	if s.Get(string(key), &got) {
		tb.Errorf("the session should have nothing under %q, and has %#v", key, got)
	}
}

func without(s Reader, key string) string {
	for _, has := range s.Keys() {
		if has == key {
			return "what it has there is of another type"
		}
	}
	return fmt.Sprintf("has nothing there; its keys are %q", s.Keys())
}

func whose(user string) string {
	if user == "" {
		return "anonymous"
	}
	return fmt.Sprintf("logged in as %q", user)
}

// trouble says why a session may be other than expected.
func trouble(s Reader) string {
	if err := s.Err(); err != nil {
		return fmt.Sprintf(" (%v)", err)
	}
	return ""
}

// CookieAttributes fails the test unless the header sets the cookie want.Name exactly once, with the attributes of
// want. It does not compare Value and Expires. Of MaxAge it compares only the sign: negative deletes the cookie,
// positive keeps it, and zero means that it ends with the browser. It returns the cookie, or nil.
func CookieAttributes(tb testing.TB, h http.Header, want http.Cookie) *http.Cookie {
	tb.Helper()
	var found []*http.Cookie
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.Name == want.Name {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		tb.Errorf("the response should set the cookie %s once, and sets it %d times; its cookies are %s", want.Name, len(found), cookies(h))
		return nil
	}
	got := found[0]
	var diff []string
	compare := func(name string, got, want any) {
		if got != want {
			diff = append(diff, fmt.Sprintf("%s is %v, and should be %v", name, got, want))
		}
	}
	compare("Path", got.Path, want.Path)
	compare("Domain", got.Domain, want.Domain)
	compare("Secure", got.Secure, want.Secure)
	compare("HttpOnly", got.HttpOnly, want.HttpOnly)
	compare("SameSite", sameSite(got.SameSite), sameSite(want.SameSite))
	compare("Partitioned", got.Partitioned, want.Partitioned)
	compare("its life", life(got), life(&want))
	if len(diff) > 0 {
		tb.Errorf("the cookie %s:\n\t%s", want.Name, strings.Join(diff, "\n\t"))
	}
	return got
}

func sameSite(mode http.SameSite) string {
	names := map[http.SameSite]string{http.SameSiteLaxMode: "Lax", http.SameSiteStrictMode: "Strict", http.SameSiteNoneMode: "None"}
	if name := names[mode]; name != "" {
		return name
	}
	return "not there"
}

func life(c *http.Cookie) string {
	switch {
	case c.MaxAge < 0:
		return "over: the cookie is deleted"
	case c.MaxAge > 0:
		return "of a length (Max-Age)"
	}
	return "the browser's"
}

// NoSetCookie fails the test if the header sets a cookie.
func NoSetCookie(tb testing.TB, h http.Header) {
	tb.Helper()
	if len(h["Set-Cookie"]) > 0 {
		tb.Errorf("the response should set no cookie, and sets %s", cookies(h))
	}
}

// cookies lists what a header sets, without values: they may be secret, and tell a reader nothing.
func cookies(h http.Header) string {
	var names []string
	for _, c := range (&http.Response{Header: h}).Cookies() {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
