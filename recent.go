package session

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// This file has the step-up: pages that need a recent sign-in, and how a session gets one.

// Reauthenticate records that the user has just proved again who they are, by a password or a passkey. AuthenticatedAt
// becomes now. The session gets a new ID, because it gets more rights. Values, flashes and lifetime stay, unlike with
// Login. It returns an error if nobody is signed in, and the errors of Regenerate.
func (s *Session) Reauthenticate() error {
	return s.changeSignedIn("Reauthenticate", func(r regenerate) change { return reauthenticate{r, s.config.Clock()} })
}

// reauthenticate is the change that Reauthenticate makes.
type reauthenticate struct {
	regenerate
	at time.Time
}

func (c reauthenticate) apply(d *draft) error {
	if d.exists() {
		d.own().AuthenticatedAt = c.at
	}
	return c.regenerate.apply(d)
}

// RequireRecent returns a middleware for pages that need a sign-in at most d ago (ASVS 5.0, 7.5.1). It goes inside
// Middleware. A request without one does not reach next:
//
//   - A page that a browser navigates to is redirected to signIn with status 303. The query parameter next is the path
//     to come back to: that of the page, or for a form, that of the page with the form. Anybody can make such a URL, so
//     the sign-in page must check next, with LocalPath. It calls Login, or Reauthenticate if the user is signed in
//     already.
//   - Any other request gets the answer of RFC 9470: status 401, and a WWW-Authenticate header with
//     error="insufficient_user_authentication" and max_age. If nobody is signed in, the header has no error (RFC 6750,
//     section 3.1).
//
// SignIn is a path of this site or the URL of another site, and may have a query. With "" all requests get the second
// answer. RequireRecent panics if d is less than a second, or if signIn is not valid.
func (m *Manager) RequireRecent(d time.Duration, signIn string) func(http.Handler) http.Handler {
	page, err := parseSignIn(signIn)
	switch {
	case err != nil:
		panic(err)
	case d < time.Second:
		panic(fmt.Errorf("session: RequireRecent needs a time of a second or more, and got %v", d))
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := m.Session(r.Context())
			switch {
			case s.User() != "" && s.AuthenticatedWithin(d):
				next.ServeHTTP(w, r)
			case page != nil && isNavigation(r):
				w.Header().Set("Cache-Control", "no-store")
				w.Header().Set("Location", signInAddress(*page, returnPath(r)))
				w.WriteHeader(http.StatusSeeOther)
			default:
				challengeAge(w, d, s.User() != "")
			}
		})
	}
}

// parseSignIn returns nil for "".
func parseSignIn(signIn string) (*url.URL, error) {
	if signIn == "" {
		return nil, nil
	}
	page, err := url.Parse(signIn)
	if err == nil && (page.Scheme == "https" || page.Scheme == "http") && page.Host != "" {
		return page, nil
	}
	if err != nil || LocalPath(signIn, "") == "" {
		return nil, fmt.Errorf("session: RequireRecent needs a path or a URL of the sign-in page, and got %q", signIn)
	}
	return page, nil
}

// signInAddress returns the address of the sign-in page, with the path to come back to.
func signInAddress(page url.URL, next string) string {
	if next != "" {
		query := page.Query()
		query.Set("next", next)
		page.RawQuery = query.Encode()
	}
	return page.String()
}

// challengeAge answers as RFC 9470, section 3, says.
func challengeAge(w http.ResponseWriter, d time.Duration, signedIn bool) {
	challenge := fmt.Sprintf(`Bearer max_age="%d"`, d/time.Second)
	if signedIn {
		challenge = fmt.Sprintf(`Bearer error="insufficient_user_authentication", `+
			`error_description="A more recent authentication is required", max_age="%d"`, d/time.Second)
	}
	h := w.Header()
	h.Set("WWW-Authenticate", challenge)
	h.Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
}

// isNavigation reports whether the answer is a page that a person will see. Browsers say so (Fetch Metadata). Any other
// client must ask for HTML by name.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return acceptsHTML(r.Header["Accept"])
}

func acceptsHTML(lines []string) bool {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			kind, _, _ := strings.Cut(element, ";")
			if kind = strings.TrimSpace(kind); strings.EqualFold(kind, "text/html") || strings.EqualFold(kind, "application/xhtml+xml") {
				return true
			}
		}
	}
	return false
}

// returnPath returns the path to come back to after the sign-in, or "" if there is none.
func returnPath(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return LocalPath(askedURL(r).RequestURI(), "")
	}
	from, err := url.Parse(r.Referer())
	if err != nil || from.Host != r.Host {
		return ""
	}
	return LocalPath(from.RequestURI(), "")
}

// askedURL returns the address that the client asked for. A handler outside may have changed r.URL, as http.StripPrefix
// does, but not r.RequestURI.
func askedURL(r *http.Request) *url.URL {
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil {
		return asked
	}
	return r.URL
}

// LocalPath returns path, with its query, if it is a path of this site. If not, it returns otherwise. It refuses whatever a
// browser could take for the address of another site. Use it on a sign-in page for the page to go on to, because anybody can
// make a URL that names one:
//
//	http.Redirect(w, r, session.LocalPath(r.FormValue("next"), "/"), http.StatusSeeOther)
func LocalPath(path, otherwise string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.Contains(path, `\`) ||
		!strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") {
		return otherwise
	}
	return u.RequestURI()
}
