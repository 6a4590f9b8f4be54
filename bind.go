package session

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session/internal/dbsc"
)

// This file has the rules of sessions that are bound to a device (Config.BindDevice): how they are set up, and what a
// request gets that can't prove the device. bind_proof.go has the cookie that proves it, bind_endpoints.go how a browser
// registers a key and renews the proof. docs/device-binding.md describes all of it from outside.

const (
	minBindDevice    = 5 * time.Minute // browsers sign seldom: some six times in nine minutes, and always with two minutes left
	defaultBindGrace = time.Minute
	challengeProofs  = 2 // how many times as long as a proof a challenge lives: a browser answers the last one when the proof runs out
)

// binding is what a Manager with Config.BindDevice knows beforehand.
type binding struct {
	cookie       Config // the session cookie's, under the bound cookie's name
	removal      string // the line that removes the bound cookie
	id           string // of the browser's registration: a constant, so that a second sign-in replaces the first one's
	register     string // the path at which a key is registered, and
	renew        string // that at which a proof is renewed, as a request has them
	offered      string // the first one as it stands in the offer
	instructions []byte // what a browser is told that has registered
}

// newBinding returns nil if BindDevice is off.
func newBinding(c *Config) *binding {
	if c.BindDevice == 0 {
		return nil
	}
	b := &binding{cookie: *c, id: c.Name}
	b.cookie.Name = c.Name + "-bound"
	b.removal = b.cookie.cookie("", time.Time{}, time.Time{}).String()
	at := c.bindPath() + "/" + c.Name
	b.register, b.renew = at+"/register", at+"/renew"
	b.offered = escapedPath(b.register)
	attributes := strings.TrimPrefix(b.cookie.attributes(), "; ")
	b.instructions = dbsc.NewInstructions(b.id, escapedPath(b.renew), b.cookie.Name, attributes)
	return b
}

func escapedPath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// bindPath is the path below which those of all Managers are, each with its cookie's name.
func (c *Config) bindPath() string {
	return cmp.Or(c.BindPath, strings.TrimSuffix(c.Path, "/")+"/.well-known/device-bound-session")
}

// bindFaults finds what is wrong with the options of binding, once the path is known.
func (c *Config) bindFaults(store Store) (faults []string) {
	add := func(wrong bool, fault string) {
		if wrong {
			faults = append(faults, fault)
		}
	}
	add(c.BindDevice < 0, "BindDevice is negative")
	add(c.BindGrace < 0, "BindGrace is negative")
	if c.BindDevice <= 0 {
		return faults
	}
	readable, _ := store.(interface{ readable() bool })
	add(c.BindDevice < minBindDevice, "BindDevice is under 5 minutes, and browsers refuse to prove the device that often")
	add(c.BindDevice > maxLifetime, "BindDevice is over 400 days, which browsers cut to 400")
	add(c.BindGrace > c.BindDevice, "BindGrace is longer than BindDevice")
	add(c.Secure == Off, "BindDevice needs Secure: browsers bind over HTTPS only")
	add(c.Partitioned, "BindDevice can't be used with Partitioned: browsers bind no partitioned cookies")
	add(c.Domain != "", "BindDevice can't be used with a Domain: browsers would prove the device to one of its hosts only")
	add(readable != nil && readable.readable(), "BindDevice needs a store that hides its content: in a signed cookie "+
		"whoever has it could read what the proofs are made with")
	add(!c.pathFits(), fmt.Sprintf("BindPath %q must be a clean path below Path, without a slash at its end: the cookie is "+
		"to be sent there", c.BindPath))
	return faults
}

// pathFits reports whether the cookie is sent to BindPath.
func (c *Config) pathFits() bool {
	if c.BindPath == "" {
		return true
	}
	below := strings.TrimSuffix(c.Path, "/") + "/"
	return strings.HasPrefix(c.BindPath, below) && path.Clean(c.BindPath) == c.BindPath && c.BindPath != "/"
}

// readable reports whether the client can read what the cookie holds.
func (c *CookieStore) readable() bool { return c.keys.readable }

// unproven is what a request has in place of a bound session that it can't prove: it reads as signed out and empty, and
// nothing that it sets is kept.
type unproven struct {
	marker  Record // stands for the session where a tombstone does in others; it has no ID
	session *Record
}

// isUnproven reports whether the request goes without its session for want of a proof. After a Login it does not.
func (st *state) isUnproven() bool { return st.unproven != nil && st.view.late == &st.unproven.marker }

// endedError returns why nothing can be set in the session, whose view is late.
func (st *state) endedError() error {
	if st.isUnproven() {
		return ErrUnproven
	}
	return ErrSessionEnded
}

// errAskAgain is the failed load of a page that was navigated to from another site.
var errAskAgain = fmt.Errorf("%w: browsers don't do so for another site, and will for this one", ErrUnproven)

// checkDevice decides whether the request may use its session if that is bound. Never is the session itself changed for want
// of a proof: a thief could sign the owner out.
func (q *request) checkDevice(st *state) error {
	b := q.manager.binding
	if b == nil || st.base == nil || st.base.Ended {
		return nil
	}
	if q.endpoint { // it proves the device in another way, and does not count as use until it has
		st.touchAt = time.Time{}
		return nil
	}
	known, now := &st.base.Binding, q.manager.config.Clock()
	if !known.offered() {
		return nil
	}
	reason := b.proofFault(q.outer.Header, known, now)
	if reason == "" {
		st.proved = known.Secret
	}
	switch {
	case reason == "" && !known.bound() && st.sealed:
		q.proveAgain()
		return nil
	case reason == "", !known.bound(), q.manager.config.inBindGrace(st.base, now):
		return nil
	}
	q.noteEvent(EventUnproven, st.base, reason, nil)
	if q.navigatedFromElsewhere() && q.canSendCookie() {
		return errAskAgain
	}
	st.unproven = &unproven{Record{Ended: true, Realm: st.base.Realm}, st.base}
	st.setBase(&st.unproven.marker, Token{}, now)
	return nil
}

// inBindGrace reports whether a session is so young that its browser may still be about to register a key, or that
// requests may be under way which it sent before.
func (c *Config) inBindGrace(r *Record, now time.Time) bool {
	age := now.Sub(r.AuthenticatedAt)
	return -believedAhead <= age && age < c.BindGrace
}

// dropUnproven takes off the log what an unproven request has set, and tells of it: no session begins for it, so that its
// answer can't push the owner off the cookie.
func (q *request) dropUnproven(_ *storeContext, s *step) error {
	if slices.ContainsFunc(s.log, func(c change) bool { return !losesNothing(c) }) {
		q.session.mu.Lock()
		q.addEventOf(EventUnproven, q.session.state.unproven.session, ReasonNotKept, ErrUnproven)
		q.session.mu.Unlock()
	}
	return q.rebase(s.base, s.token, s.n)
}

// navigatedFromElsewhere reports whether a link or form of another origin led to this page. Browsers do not prove the
// device for it, though they would for the next request.
func (q *request) navigatedFromElsewhere() bool {
	h := q.outer.Header
	site := h.Get("Sec-Fetch-Site")
	return q.outer.Method == http.MethodGet && h.Get("Sec-Fetch-Mode") == "navigate" && (site == "cross-site" || site == "same-site")
}

// answerAskAgain answers with a page that asks for itself once more: that request comes from this site, and waits in the
// browser until the device is proved. The address is relative, and can't lead to another site.
func (q *request) answerAskAgain(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Refresh", "0;url="+sameAddress(q.outer))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte("<!doctype html><title>…</title>\n"))
}

// sameAddress returns an address relative to the page's that leads to it, as the browser has asked for it: handlers outside
// may have changed the URL, as http.StripPrefix does.
func sameAddress(r *http.Request) string {
	u := r.URL
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil {
		u = asked
	}
	escaped := u.EscapedPath()
	same := "./" + escaped[strings.LastIndexByte(escaped, '/')+1:]
	if u.RawQuery != "" {
		same += "?" + u.RawQuery
	}
	return same
}

// DeviceBound reports whether the browser has registered a key of its device for this session, and this request has the
// proof of it (Config.BindDevice). A session that is not bound may be used all the same: the browser can't, or has not
// yet. What only a bound session may do, an application decides by this.
func (s *Session) DeviceBound() bool {
	st := s.open()
	defer s.close()
	return st.proved != nil && bytes.Equal(st.proved, st.view.record.Binding.Secret) // that of a later Login is another
}

// These are the changes that the endpoints make.
type (
	registerKey struct {
		key       []byte
		challenge time.Time
	}
	proveKey struct {
		challenge time.Time
		key       []byte // the session's own
	}
)

// errProofUsed is the error of a proof that another request was faster with, or that a later one has made worthless.
var errProofUsed = errors.New("session: the proof was used before, or a later one was")

func (c registerKey) apply(d *draft) error {
	if d.record.Binding.bound() {
		return errProofUsed
	}
	d.own().Binding.prove(c.key, c.challenge)
	return nil
}

func (c proveKey) apply(d *draft) error {
	b := &d.record.Binding
	if !c.challenge.After(b.ProvedAt) || b.bound() && !bytes.Equal(b.Key, c.key) {
		return errProofUsed
	}
	d.own().Binding.prove(c.key, c.challenge)
	return nil
}

// hasCookie reports whether the request has a cookie of this name.
func hasCookie(h http.Header, name string) bool {
	for range cookieValues(h, name) {
		return true
	}
	return false
}

// cookieValues yields the values of the cookies of this name, as they stand.
func cookieValues(h http.Header, name string) func(yield func(string) bool) {
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
