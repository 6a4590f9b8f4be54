package session

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session/internal/dbsc"
)

// This file has the rules of sessions that are bound to a device (Config.BindDevice): how they are set up, and what
// happens to a request that can't prove the device. bind_proof.go has the cookie that proves the device. In
// bind_endpoints.go a browser registers a key and renews the proof. docs/device-binding.md describes all of it from
// outside.

const (
	minBindDevice    = 5 * time.Minute // browsers sign at most some six times in nine minutes, and renew two minutes early
	defaultBindGrace = time.Minute
	challengeProofs  = 2 // a challenge lives so many times as long as a proof: browsers answer it when the proof expires
)

// binding is what a Manager with Config.BindDevice computes once.
type binding struct {
	cookie       Config // the session cookie's configuration, with the bound cookie's name
	removal      string // the line that removes the bound cookie
	id           string // of the browser's registration: a constant, so that the next sign-in replaces it
	register     string // the path to register a key, as a request has it
	renew        string // the path to renew a proof, as a request has it
	offered      string // the path to register a key, as the offer has it
	instructions []byte // the answer to a browser that has registered a key
}

// newBinding returns nil if BindDevice is off.
func newBinding(c *Config) *binding {
	if c.BindDevice == 0 {
		return nil
	}
	b := &binding{cookie: *c, id: c.Name}
	b.cookie.Name = c.Name + "-bound"
	b.removal = b.cookie.removal()
	at := c.bindPath() + "/" + c.Name
	b.register, b.renew = at+"/register", at+"/renew"
	b.offered = escapedPath(b.register)
	attributes := strings.TrimPrefix(b.cookie.attributes(), "; ")
	b.instructions = dbsc.NewInstructions(b.id, escapedPath(b.renew), b.cookie.Name, attributes)
	return b
}

func escapedPath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// bindPath returns the path that has the paths of all Managers below it, each under its cookie's name.
func (c *Config) bindPath() string {
	return cmp.Or(c.BindPath, strings.TrimSuffix(c.Path, "/")+"/.well-known/device-bound-session")
}

// bindFaults finds what is wrong with the options of binding. The path must be set.
func (c *Config) bindFaults(store Store) (faults faultList) {
	faults.add(c.BindDevice < 0, "BindDevice is negative")
	faults.add(c.BindGrace < 0, "BindGrace is negative")
	if c.BindDevice <= 0 {
		return faults
	}
	readable, _ := store.(interface{ readable() bool })
	faults.add(c.BindDevice < minBindDevice, "BindDevice is under 5 minutes, and browsers refuse to prove the device that often")
	faults.add(c.BindDevice > maxLifetime, "BindDevice is over 400 days, which browsers cut to 400")
	faults.add(c.BindGrace > c.BindDevice, "BindGrace is longer than BindDevice")
	faults.add(c.Secure == Off, "BindDevice needs Secure: browsers bind over HTTPS only")
	faults.add(c.Partitioned, "BindDevice can't be used with Partitioned: browsers bind no partitioned cookies")
	faults.add(c.Domain != "", "BindDevice can't be used with a Domain: browsers would prove the device to one of its hosts only")
	faults.add(readable != nil && readable.readable(), "BindDevice needs a store that hides its content: somebody who "+
		"has a signed cookie could read the secret that proofs are made with")
	faults.add(!c.pathFits(), "BindPath %q must be a clean path below Path, without a slash at its end: browsers "+
		"must send the cookie there", c.BindPath)
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

// readable reports whether the client can read the content of the cookie.
func (c *CookieStore) readable() bool { return c.keys.readable }

// unproven stands for a bound session whose device the request can't prove. The session reads as signed out and empty,
// and nothing that the request sets is kept.
type unproven struct {
	marker  Record // takes the place of the session's record, like a tombstone; it has no ID
	session *Record
}

// isUnproven reports whether the request can't use its session because it has no proof. After a Login it is false.
func (st *state) isUnproven() bool { return st.unproven != nil && st.view.late == &st.unproven.marker }

// endedError returns the reason why nothing can be set in the session. The session's view must be late.
func (st *state) endedError() error {
	if st.isUnproven() {
		return ErrUnproven
	}
	return ErrSessionEnded
}

// errAskAgain fails the load for a page that a link of another site led to. The page then asks for itself once more.
var errAskAgain = fmt.Errorf("%w: browsers do not prove the device for another site, but will for this one", ErrUnproven)

// checkDevice decides whether the request may use its live session, if the session is bound. A missing proof never changes
// the stored session: otherwise a thief could sign the owner out.
func (q *request) checkDevice(st *state) error {
	if q.endpoint { // it proves the device in another way, and counts as a use only after that
		st.touchAt = time.Time{}
		return nil
	}
	known, now := &st.base.Binding, q.manager.config.Clock()
	if !known.offered() {
		return nil
	}
	reason := q.manager.binding.proofFault(q.outer.Header, known, now)
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

// inBindGrace reports whether a session is so young that its browser may not have registered a key yet, or that
// requests from before the registration may be under way.
func (c *Config) inBindGrace(r *Record, now time.Time) bool {
	age := now.Sub(r.AuthenticatedAt)
	return -believedAhead <= age && age < c.BindGrace
}

// dropUnproven takes the changes of an unproven request off the log, and tells of it. No session begins, because its
// cookie would replace the owner's cookie.
func (q *request) dropUnproven(_ *storeContext, s *step) error {
	if slices.ContainsFunc(s.log, isLoss) {
		q.noteDropped()
	}
	return q.rebase(s.base, s.token, s.n)
}

// noteDropped notes the event of changes that an unproven request has lost.
func (q *request) noteDropped() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.addEventOf(EventUnproven, q.session.state.unproven.session, ReasonNotKept, ErrUnproven)
}

// navigatedFromElsewhere reports whether a link or form of another origin led to this page. Browsers do not prove the
// device for such a request, but they do for the next one.
func (q *request) navigatedFromElsewhere() bool {
	h := q.outer.Header
	site := h.Get("Sec-Fetch-Site")
	return q.outer.Method == http.MethodGet && h.Get("Sec-Fetch-Mode") == "navigate" && (site == "cross-site" || site == "same-site")
}

// answerAskAgain answers with a page that asks for itself once more. That request comes from this site, so it waits in
// the browser until the device is proved. The address is relative, so it can't lead to another site.
func (q *request) answerAskAgain(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Refresh", "0;url="+sameAddress(q.outer))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte("<!doctype html><title>…</title>\n"))
}

// sameAddress returns a relative address that leads from the page to itself.
func sameAddress(r *http.Request) string {
	u := askedURL(r)
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
	return st.proved != nil && bytes.Equal(st.proved, st.view.record.Binding.Secret) // a later Login makes another secret
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

// errProofUsed is the error of a proof that another request has used before, or that a later proof has made invalid.
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
