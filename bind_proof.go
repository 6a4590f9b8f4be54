package session

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/doorman-go/session/internal/dbsc"
)

// This file has the bound cookie, which shows that the browser has proved the device lately, and the offer to register
// a key, which the response to a sign-in makes. The cookie has the time at which it expires, and a MAC under the
// session's own secret. So checking it needs no call of the store.

// proofFault returns "" if one of the request's bound cookies proves the device. Otherwise it returns what is wrong.
func (b *binding) proofFault(h http.Header, known *Binding, now time.Time) Reason {
	fault, tried := ReasonNoProof, 0
	for value := range cookieValues(h, b.cookie.Name) {
		until, _, ok := dbsc.ReadStamp(known.Secret, dbsc.Proof, value)
		switch {
		case ok && now.Before(until):
			return ""
		case ok:
			fault = ReasonProofExpired
		case fault == ReasonNoProof:
			fault = ReasonBadProof
		}
		if tried++; tried == maxCandidates {
			break
		}
	}
	return fault
}

// newBindSecret returns the secret of a session that begins, or nil if sessions are not bound.
func (c *Config) newBindSecret() []byte {
	if c.BindDevice == 0 {
		return nil
	}
	return dbsc.NewSecret()
}

// proofCookie returns the line of a bound cookie. It always has a Max-Age: without one a browser never renews it.
func (b *binding) proofCookie(known *Binding, now time.Time) string {
	until := now.Add(b.cookie.BindDevice)
	return b.cookie.cookie(dbsc.Stamp(known.Secret, dbsc.Proof, until, nil), now, until).String()
}

// renewalChallenge returns a challenge that is newer than the last one that was answered, even if the clock stands
// still. It carries key, which a sealed session may have lost when the answer comes.
func renewalChallenge(known *Binding, now time.Time, key []byte) string {
	now = now.Truncate(time.Microsecond) // as it will be stamped
	if !now.After(known.ProvedAt) {
		now = known.ProvedAt.Add(time.Microsecond)
	}
	return dbsc.Stamp(known.Secret, dbsc.Renewal, now, key)
}

// bindAnswer is the part of a response that is about the binding.
type bindAnswer struct {
	cookie string // the Set-Cookie line of the bound cookie
	offer  string // to register a key
}

// answerBinding returns the response's bindAnswer, which the caller may change. The caller holds the session's lock.
func (q *request) answerBinding() *bindAnswer {
	if q.bindAnswer == nil {
		q.bindAnswer = new(bindAnswer)
	}
	return q.bindAnswer
}

// offerBinding lets the response to a sign-in offer the browser to register a key.
func (q *request) offerBinding(stored *Record) {
	if q.manager.binding == nil || len(stored.Binding.Secret) == 0 || stored.Binding.bound() {
		return
	}
	challenge := dbsc.Stamp(stored.Binding.Secret, dbsc.Registration, stored.AuthenticatedAt, nil)
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.answerBinding().offer = dbsc.Offer(q.manager.binding.offered, challenge)
}

// removeProof lets the response remove the bound cookie too. The caller holds the session's lock.
func (q *request) removeProof() {
	b := q.manager.binding
	if b == nil {
		return
	}
	if q.bindAnswer != nil {
		q.bindAnswer.offer = ""
	}
	if hasCookie(q.outer.Header, b.cookie.Name) {
		q.answerBinding().cookie = b.removal
	}
}

// proveAgain removes the bound cookie, so that the browser proves the device once more. The request has a proof, but
// the sealed session has no key: a late response has brought back the cookie from before the registration. The renewal
// repairs that.
func (q *request) proveAgain() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if q.stage == open {
		q.answerBinding().cookie = q.manager.binding.removal
	}
}

// completeBinding puts the bindAnswer into the header. The caller holds the session's lock.
func (q *request) completeBinding(h http.Header) {
	b := q.manager.binding
	if b == nil {
		return
	}
	answer := q.bindAnswer
	if answer != nil && answer.cookie != "" {
		setCookie(h, b.cookie.Name, answer.cookie)
	} else if dropCookie(h, b.cookie.Name) {
		q.addLine(slog.LevelWarn, "session: a Set-Cookie of the bound cookie's name was dropped", errForeignCookie)
	}
	if answer != nil && answer.offer != "" && q.cookie != "" {
		h.Add(dbsc.HeaderRegistration, answer.offer)
	}
}

// The faults of a challenge.
var (
	errNoChallenge  = errors.New("session: the token answers no challenge of this session")
	errOldChallenge = errors.New("session: the challenge is too old")
)

// registrationTime returns the time of the challenge that a registration answers.
func (c *Config) registrationTime(r *Record, challenge string, now time.Time) (time.Time, error) {
	at, _, ok := dbsc.ReadStamp(r.Binding.Secret, dbsc.Registration, challenge)
	switch {
	case !ok:
		return time.Time{}, errNoChallenge
	case !c.inBindGrace(r, now):
		return time.Time{}, errOldChallenge
	}
	return at, nil
}

// checkAge returns an error if a challenge to renew is too old. It does not check that no challenge is answered twice:
// proveKey does.
func (c *Config) checkAge(challenged, now time.Time) error {
	if now.Sub(challenged) >= challengeProofs*c.BindDevice {
		return errOldChallenge
	}
	return nil
}
