package sessiontest

import (
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/doorman-go/session"
)

// Jar is a cookie jar that treats http URLs as https ones. The jar of net/http/cookiejar does not send Secure cookies
// over plain HTTP (recent versions of Go do on localhost and loopback addresses), and a test should not have to turn
// Secure off for that. NewJar makes one. You can also put a Jar around a jar of your own.
type Jar struct{ http.CookieJar }

// NewJar returns an empty jar.
func NewJar() *Jar {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it has no such case
	}
	return &Jar{jar}
}

// Cookies implements http.CookieJar.
func (j *Jar) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(secured(u)) }

// SetCookies implements http.CookieJar.
func (j *Jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(secured(u), cookies)
}

// secured returns u as a URL that Secure cookies go to. A path alone is one of httptest.NewRequest's host.
func secured(u *url.URL) *url.URL {
	next := *u
	next.Scheme = "https"
	if next.Host == "" {
		next.Host = "example.com"
	}
	return &next
}

// Serve calls handler with r and the jar's cookies, as over HTTPS but without a server. It keeps the cookies of the
// response.
func (j *Jar) Serve(handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	if r.TLS == nil {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: r.Host}
	}
	u := *r.URL
	u.Host = r.Host
	addCookies(r, j.Cookies(&u))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	j.SetCookies(&u, w.Result().Cookies())
	return w
}

func addCookies(r *http.Request, cookies []*http.Cookie) {
	for _, c := range cookies {
		r.AddCookie(c)
	}
}

// RecorderJar returns a jar with the cookies that a recorded response set. It writes changes of them into the
// response's header. Use it for Transaction, and then AddCookies for the next request.
func RecorderJar(w *httptest.ResponseRecorder) http.CookieJar { return recorderJar{w} }

type recorderJar struct{ w *httptest.ResponseRecorder }

func (j recorderJar) Cookies(*url.URL) []*http.Cookie {
	live := map[string]*http.Cookie{}
	for _, c := range (&http.Response{Header: j.w.Header()}).Cookies() {
		if live[c.Name] = c; c.MaxAge < 0 {
			delete(live, c.Name)
		}
	}
	return slices.Collect(maps.Values(live))
}

func (j recorderJar) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	h := j.w.Header()
	for _, c := range cookies {
		lines := slices.DeleteFunc(slices.Clone(h["Set-Cookie"]), func(line string) bool { return strings.HasPrefix(line, c.Name+"=") })
		h["Set-Cookie"] = append(lines, c.String())
	}
}

// AddCookies adds to r the cookies that a recorded response set, as a browser would.
func AddCookies(r *http.Request, w *httptest.ResponseRecorder) {
	addCookies(r, RecorderJar(w).Cookies(nil))
}

// Transaction opens the session whose cookie jar has for target, calls f to read and change it, saves it, and puts the
// resulting cookie into jar. With an empty jar it starts a session, so a test can prepare one. Target is a URL, or the
// path of a request that httptest.NewRequest made. Jar is any http.CookieJar, or a RecorderJar. If the session can't be
// loaded or saved, the test fails at once.
func Transaction(tb testing.TB, manager *session.Manager, jar http.CookieJar, target string, f func(*session.Session)) {
	tb.Helper()
	u, err := url.Parse(target)
	if err != nil {
		tb.Fatalf("sessiontest: the target of the transaction: %v", err)
	}
	u = secured(u)
	r, w := httptest.NewRequest(http.MethodGet, u.String(), nil), httptest.NewRecorder()
	addCookies(r, jar.Cookies(u))
	var failed error
	manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := manager.Session(r.Context())
		f(s)
		nothing := s.ID() == "" && s.User() == "" && len(s.Keys()) == 0
		failed = s.Save(r.Context())
		if nothing && errors.Is(failed, session.ErrSessionEnded) {
			failed = nil // it had ended before, and f looked at what is left
		}
	})).ServeHTTP(w, r)
	if failed != nil {
		tb.Fatalf("sessiontest: the transaction's session could not be saved: %v", failed)
	}
	jar.SetCookies(u, w.Result().Cookies())
}
