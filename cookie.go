package session

import (
	"errors"
	"net/http"
	"net/textproto"
	"strings"
	"time"
)

// maxCandidates is how many cookies of the session's name are tried. A browser sends several if cookies were set for
// other paths or by other hosts of the domain, and their order must not be relied on (RFC 6265bis, section 4.2.2).
const maxCandidates = 4

// cookieTokens adds to tokens, up to its capacity, those that the request's cookies of this name could be, and tells how
// many there were and how many were malformed. Names are compared exactly and values are taken as they stand: no
// decoding, no trimming of quotes.
func cookieTokens(tokens []Token, h http.Header, name string) (found []Token, present, malformed int) {
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			value, ok := strings.CutPrefix(textproto.TrimString(part), name)
			if !ok || value == "" || value[0] != '=' {
				continue
			}
			present++
			token, ok := parseToken(name, value[1:])
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

// attributes returns what follows name and value in the line of a cookie that goes with the browser.
func (c *Config) attributes() string {
	line, _ := strings.CutPrefix(c.cookie("value", time.Time{}, time.Time{}).String(), c.Name+"=value")
	return line
}

// cookieValueFault tells what is wrong with a value that a store made.
func (c *Config) cookieValueFault(value string) error {
	if len(c.Name)+len(value) > maxCookie {
		return ErrCookieTooLarge
	}
	probe := http.Cookie{Name: c.Name, Value: value}
	if probe.Valid() != nil {
		return errors.New("session: the store returned a token whose value can't stand in a cookie")
	}
	return nil
}

// setCookie puts the line of a cookie in the header in place of one of the same name, so that there is one per response
// (RFC 6265bis, section 4.1.1), and keeps caches from storing it.
func setCookie(h http.Header, name, line string) {
	dropCookie(h, name)
	h["Set-Cookie"] = append(h["Set-Cookie"], line)
	if !hasToken(h["Cache-Control"], "no-store") {
		h["Cache-Control"] = []string{"no-store"}
	}
}

// dropCookie removes a Set-Cookie of this name from the header, and tells whether there was one.
func dropCookie(h http.Header, name string) bool {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return false
	}
	kept := lines[:0:0]
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, name); !ok || !strings.HasPrefix(rest, "=") {
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

// varyByCookie tells caches that the response depends on the cookie. Where there is no such line yet, it takes room.
func varyByCookie(h http.Header, room *[1]string) {
	switch lines := h["Vary"]; {
	case len(lines) == 0:
		room[0] = "Cookie"
		h["Vary"] = room[:]
	case !hasToken(lines, "Cookie") && !hasToken(lines, "*"):
		h["Vary"] = append(lines, "Cookie")
	}
}

// hasToken looks for an element of a comma-separated header.
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
