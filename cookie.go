package session

import (
	"errors"
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

// cookieTokens adds to tokens, up to its capacity, those of the realm that the request's cookies of this name could be, and
// returns how many cookies there were and how many were malformed. Names are compared exactly and values are taken as they
// stand: no decoding, no trimming of quotes.
func cookieTokens(tokens []Token, h http.Header, name, realm string) (found []Token, present, malformed int) {
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			value, ok := strings.CutPrefix(textproto.TrimString(part), name)
			if !ok || value == "" || value[0] != '=' {
				continue
			}
			present++
			token, ok := parseToken(realm, value[1:])
			if !ok {
				malformed++
				continue
			}
			if tokens = append(tokens, token); len(tokens) == cap(tokens) {
				return tokens, present, malformed
			}
		}
	}
	return tokens, present, malformed
}

// cookie returns the session's cookie. An expires of zero makes one that goes with the browser, and a value of "" one
// that deletes: with the same attributes, or the browser keeps it.
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

// attributes returns what follows name and value in the line of a cookie that goes with the browser: most lines are made
// from it.
func (c *Config) attributes() string {
	line, _ := strings.CutPrefix(c.cookie("value", time.Time{}, time.Time{}).String(), c.Name+"=value")
	return line
}

// cookieValueFault returns an error if a value that a store made can't be sent.
func (c *Config) cookieValueFault(value string) error {
	if len(c.Name)+len(value) > maxCookie {
		return ErrCookieTooLarge
	}
	probe := http.Cookie{Name: c.Name, Value: value}
	if probe.Valid() != nil || strings.ContainsAny(value, " ,") { // for these two http.Cookie adds quotes
		return errors.New("session: the store returned a token whose value can't stand in a cookie")
	}
	return nil
}

// setCookie puts the line of a cookie into the header in place of those of the same name, so that there is one per response
// (RFC 6265bis, section 4.1.1), and keeps caches from storing it.
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
		if own, _, ok := strings.Cut(line, "="); !ok || textproto.TrimString(own) != name { // browsers trim it as well
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

// varyByCookie tells caches that the response depends on the cookie. Where there is no such line yet, room holds the new
// one, so that it takes no memory.
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

// completeHeader sets what a response has that depends on the session, or may depend on it before its last byte. What an
// earlier commit set, the handler may have overwritten since. It is called with the session's lock held.
func (q *request) completeHeader(h http.Header) {
	if q.session.state != nil || !q.returned {
		varyByCookie(h, &q.vary)
	}
	if q.cookie != "" {
		setCookie(h, q.manager.config.Name, q.cookie)
	} else if dropCookie(h, q.manager.config.Name) {
		q.addLine(slog.LevelWarn, "session: a Set-Cookie of the session's name was dropped, which came from the handler, or from a server "+
			"behind it: it would sign the user out", errForeignCookie)
	}
	q.removeOldCookies(h)
	q.completeBinding(h)
	if q.destroyed && q.manager.config.ClearSiteData {
		h.Set("Clear-Site-Data", q.siteData())
	}
}

var errForeignCookie = errors.New("not the session's cookie")

// siteData names what the browser is to forget of this site. Its cookies it is to keep where this response sets one.
func (q *request) siteData() string {
	if q.cookie != "" && q.cookie != q.manager.removal {
		return `"cache", "storage"`
	}
	return `"cache", "cookies", "storage"`
}

// removeCookie has the browser drop the cookie of a session that has ended, unless it is too late: then Destroy said so.
func (q *request) removeCookie() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if q.stage != open {
		return
	}
	q.destroyed = true
	q.removeProof()
	if q.present || q.cookie != "" {
		q.cookie, q.offered = q.manager.removal, false
	}
}

// sendCookie has the response set the session's cookie.
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
		q.untold = append(q.untold, func() { q.manager.warnInsecure(q.context.Context, q.outer.Host) })
	}
	return nil
}

// cookieUnsent reports whether a cookie is still to be sent, or will be.
func (q *request) cookieUnsent() bool {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	switch {
	case q.cookie != "" && !q.offered:
		return true
	case st == nil || st.encodeErr != nil || adoptsOnly(st.log):
		return false
	case lastDestroy(st.log) > 0:
		return true
	}
	id := st.view.id()
	if st.base == nil || st.base.Ended {
		return id != ""
	}
	return id != st.base.ID || changesCookie(&step{base: st.base, log: st.log})
}

// insecure reports whether the browser will drop a Secure cookie: the request came over plain HTTP, as far as one can
// know behind a proxy.
func insecure(r *http.Request) bool {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	host := r.Host
	if host == "localhost" {
		return false
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && (ip == nil || !ip.IsLoopback())
}
