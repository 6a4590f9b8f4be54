package session

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/doorman-go/session/internal/dbsc"
)

// This file has the bound cookie, by which a request proves that its browser has proved the device lately, and the offer
// that a sign-in makes. The cookie holds the time at which it runs out, and a MAC under the session's own secret: to check
// it takes no look at the store.

// proofFault returns "" if one of the request's bound cookies proves the device, and else what is wrong.
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

// newBindSecret returns the secret of a session that begins, nil where it is not to be bound.
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

// registrationChallenge returns the challenge of the offer for r, which is known by the time of the sign-in.
func registrationChallenge(r *Record) string {
	return dbsc.Stamp(r.Binding.Secret, dbsc.Registration, r.AuthenticatedAt, nil)
}

// renewalChallenge returns a challenge that is newer than the last one that was answered, also where the clock stands still.
// It carries a key that the session may have lost by the time of the answer.
func renewalChallenge(known *Binding, now time.Time, key []byte) string {
	now = now.Truncate(time.Microsecond) // as it will be stamped
	if !now.After(known.ProvedAt) {
		now = known.ProvedAt.Add(time.Microsecond)
	}
	return dbsc.Stamp(known.Secret, dbsc.Renewal, now, key)
}

// bindAnswer is what a response has to say about the binding.
type bindAnswer struct {
	cookie string // the Set-Cookie line of the bound cookie
	offer  string // to register a key
}

// answerBinding returns the answer, to be added to. It is called with the session's lock held.
func (q *request) answerBinding() *bindAnswer {
	if q.bindAnswer == nil {
		q.bindAnswer = new(bindAnswer)
	}
	return q.bindAnswer
}

// offerBinding has the response that carries a sign-in's cookie offer the browser to register a key.
func (q *request) offerBinding(stored *Record) {
	if q.manager.binding == nil || len(stored.Binding.Secret) == 0 || stored.Binding.bound() {
		return
	}
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.answerBinding().offer = dbsc.Offer(q.manager.binding.offered, registrationChallenge(stored))
}

// removeProof has the browser drop the bound cookie with the session's. It is called with the session's lock held.
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

// proveAgain has the browser prove the device once more, by taking the bound cookie away. The sealed session has a proof and
// lacks the key: a late answer has put the cookie back that is from before the registration. The renewal mends it.
func (q *request) proveAgain() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	if q.stage == open {
		q.answerBinding().cookie = q.manager.binding.removal
	}
}

// completeBinding puts what there is to say into the header. It is called with the session's lock held.
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

// checkAge returns an error for a challenge to renew whose time is past. That none is answered twice, proveKey sees to.
func (c *Config) checkAge(challenged, now time.Time) error {
	if now.Sub(challenged) >= challengeProofs*c.BindDevice {
		return errOldChallenge
	}
	return nil
}
