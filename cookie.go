package session

import (
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"time"
)

// maxCandidates is how many cookies of the session's name are tried. A browser sends several if cookies were set for
// other paths or by other hosts of the domain, and their order must not be relied on (RFC 6265bis, section 4.2.2).
const maxCandidates = 4

// cookieTokens adds to tokens, up to its capacity, the tokens in the request's cookies of this name. It returns how
// many such cookies it has read, and how many were malformed.
func cookieTokens(tokens []Token, h http.Header, name, realm string) (found []Token, present, malformed int) {
	for value := range cookieValues(h, name) {
		present++
		token, ok := parseToken(realm, value)
		if !ok {
			malformed++
			continue
		}
		if tokens = append(tokens, token); len(tokens) == cap(tokens) {
			break
		}
	}
	return tokens, present, malformed
}

// cookieValues yields the values of the request's cookies of this name. It compares names exactly. It does not decode
// values or trim quotes, so that a token has only one spelling.
func cookieValues(h http.Header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h["Cookie"] {
			for part := range strings.SplitSeq(line, ";") {
				value, ok := strings.CutPrefix(textproto.TrimString(part), name)
				if ok && value != "" && value[0] == '=' && !yield(value[1:]) {
					return
				}
			}
		}
	}
}

// hasCookie reports whether the request has a cookie of this name.
func hasCookie(h http.Header, name string) bool {
	for range cookieValues(h, name) {
		return true
	}
	return false
}

// cookie returns the session's cookie. If expires is zero, it ends when the browser is closed. If value is "", it
// deletes the cookie. For that it has the same attributes, or else the browser would keep the old one.
func (c *Config) cookie(value string, now, expires time.Time) *http.Cookie {
	cookie := &http.Cookie{
		Name: c.Name, Value: value, Path: c.Path, Domain: c.Domain, SameSite: c.SameSite,
		Secure: c.Secure == On, HttpOnly: c.HttpOnly == On, Partitioned: c.Partitioned,
	}
	switch {
	case value == "":
		cookie.MaxAge, cookie.Expires = -1, time.Unix(0, 0)
	case !expires.IsZero():
		cookie.MaxAge = int(min(max(expires.Sub(now), time.Second), maxLifetime) / time.Second)
	}
	return cookie
}

// removal returns the line that removes the cookie.
func (c *Config) removal() string { return c.cookie("", time.Time{}, time.Time{}).String() }

// attributes returns what follows the name and the value in the line of a cookie that ends when the browser is closed.
// Most lines are made from it.
func (c *Config) attributes() string {
	return strings.TrimPrefix(c.cookie("value", time.Time{}, time.Time{}).String(), c.Name+"=value")
}

// cookieValueFault returns an error if the cookie can't have this value, which a store made.
func (c *Config) cookieValueFault(value string) error {
	if len(value) > c.room() {
		return ErrCookieTooLarge
	}
	for i := range len(value) {
		if !isCookieOctet(value[i]) {
			return errors.New("session: the store returned a token whose value can't stand in a cookie")
		}
	}
	return nil
}

// isCookieOctet reports whether a cookie's value may have this byte without quotes (cookie-octet in RFC 6265bis, section
// 4.1.1).
func isCookieOctet(b byte) bool {
	return b > ' ' && b < 0x7f && b != '"' && b != ',' && b != ';' && b != '\\'
}

// setCookie puts the line of a cookie into the header. It replaces lines with the same name, because a response may
// have only one (RFC 6265bis, section 4.1.1). It keeps caches from storing the response.
func setCookie(h http.Header, name, line string) {
	dropCookie(h, name)
	h["Set-Cookie"] = append(h["Set-Cookie"], line)
	keepFromCaches(h)
}

func keepFromCaches(h http.Header) {
	if !hasToken(h["Cache-Control"], "no-store") {
		h["Cache-Control"] = []string{"no-store"}
	}
}

// dropCookie removes the Set-Cookie lines of this name from the header, and reports whether there were any.
func dropCookie(h http.Header, name string) bool {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return false
	}
	kept := lines[:0:0]
	for _, line := range lines {
		if own, _, ok := strings.Cut(line, "="); !ok || textproto.TrimString(own) != name { // browsers trim the name too
			kept = append(kept, line)
		}
	}
	if len(kept) == len(lines) {
		return false
	}
	h["Set-Cookie"] = kept
	if len(kept) == 0 {
		delete(h, "Set-Cookie")
	}
	return true
}

// varyByCookie tells caches that the response depends on the cookie. If there is no Vary line yet, the new one is kept
// in room, so that nothing is allocated.
func varyByCookie(h http.Header, room *[1]string) {
	switch lines := h["Vary"]; {
	case len(lines) == 0:
		room[0] = "Cookie"
		h["Vary"] = room[:]
	case !hasToken(lines, "Cookie") && !hasToken(lines, "*"):
		h["Vary"] = append(lines, "Cookie")
	}
}

// hasToken reports whether a comma-separated header has the element, whatever its case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(element), token) {
				return true
			}
		}
	}
	return false
}

// completeHeader completes the header of a response whose session was committed. The caller holds the session's lock,
// here and in completeOwn.
func (q *request) completeHeader(h http.Header) {
	q.completeOwn(h)
	q.removeOldCookies(h)
}

// completeOwn completes the header of a response that depends on the session, or may still come to depend on it. It sets
// the cookie only now, because the handler could overwrite an earlier line.
func (q *request) completeOwn(h http.Header) {
	if q.session.state != nil || !q.returned {
		varyByCookie(h, &q.vary)
	}
	if q.cookie != "" {
		setCookie(h, q.manager.config.Name, q.cookie)
	} else if dropCookie(h, q.manager.config.Name) {
		q.addLine(slog.LevelWarn, "session: a Set-Cookie of the session's name was dropped, which came from the handler, or from a server "+
			"behind it: it would sign the user out", errForeignCookie)
	}
	q.completeBinding(h)
	if st := q.session.state; st != nil && st.destroyed && q.manager.config.ClearSiteData {
		h.Set("Clear-Site-Data", q.siteData())
	}
}

var errForeignCookie = errors.New("not the session's cookie")

// siteData names the data of this site that the browser should remove. It leaves out cookies if this response sets one.
func (q *request) siteData() string {
	if q.cookie != "" && q.cookie != q.manager.removal {
		return `"cache", "storage"`
	}
	return `"cache", "cookies", "storage"`
}

// removeCookie lets the response remove the cookie of a session that has ended. If it is too late, Destroy has returned
// ErrResponseStarted.
func (q *request) removeCookie() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if q.stage != open {
		return
	}
	st := q.session.state
	st.destroyed = true
	q.removeProof()
	if st.present || q.cookie != "" {
		q.cookie, q.offered = q.manager.removal, false
	}
}

// sendCookie lets the response set the session's cookie.
func (q *request) sendCookie(r *Record, value string) error {
	c := &q.manager.config
	if err := c.cookieValueFault(value); err != nil {
		return err
	}
	line := c.Name + "=" + value + q.manager.attributes
	if r.Persistent {
		line = c.cookie(value, c.Clock(), r.Deadline).String()
	}
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.cookie, q.offered = line, false
	if c.Secure == On && insecure(q.outer) {
		q.untold = append(q.untold, func() { q.manager.warnInsecure(q.parent, q.outer.Host) })
	}
	return nil
}

// cookieUnsent reports whether the response still has to send a cookie, also after the next commit.
func (q *request) cookieUnsent() bool {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	switch {
	case q.cookie != "" && !q.offered:
		return true
	case st == nil:
		return false
	case lastDestroy(st.log) > 0:
		return true
	case st.encodeErr != nil || adoptsOnly(st.log):
		return false
	}
	id := st.view.id()
	if st.base == nil || st.base.Ended {
		return id != ""
	}
	return id != st.base.ID || changesCookie(st.base, st.log...)
}

// insecure reports whether the browser will drop a Secure cookie, because the request came over plain HTTP. It says
// false if a proxy may have ended TLS.
func insecure(r *http.Request) bool {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && (ip == nil || !ip.IsLoopback())
}
