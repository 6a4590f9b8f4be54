package session

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/doorman-go/session/internal/dbsc"
)

// This file has the two endpoints that browsers call by themselves: one registers a key, the other renews the proof.
// Their changes are like all others: they go through the request's log, and are replayed on the record that is stored
// now.
//
// A browser drops its registration for good after any answer that the draft does not allow here (400, 404, a redirect).
// Then the user is signed out when the proof expires. So a proof that is not accepted is answered with a challenge. If
// nothing can be decided now, the answer is 503, and the browser tries again. If the session has ended, the answer
// tells the browser to stop.

const maxBindBody = 1 << 10 // bytes; browsers send none

// endpoint returns the method that answers at a path, or nil.
func (b *binding) endpoint(path string) func(*request, http.ResponseWriter) {
	switch {
	case b == nil:
	case path == b.register:
		return (*request).serveRegistration
	case path == b.renew:
		return (*request).serveRenewal
	}
	return nil
}

// endpointHandler marks the request as one of the browser's own, and returns the handler for it.
func (q *request) endpointHandler(answer func(*request, http.ResponseWriter)) http.Handler {
	q.endpoint = true
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if status := refusedStatus(w, r); status != 0 {
			w.WriteHeader(status)
			return
		}
		answer(q, w)
	})
}

// refusedStatus returns the status for a request that no browser sends by itself, or 0.
func refusedStatus(w http.ResponseWriter, r *http.Request) int {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed
	}
	if !ownOrigin(r) {
		return http.StatusForbidden
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxBindBody+1)); err != nil || n > maxBindBody {
		w.Header().Set("Connection", "close")
		return http.StatusRequestEntityTooLarge
	}
	return 0
}

// ownOrigin reports whether the request has no Origin, or the Origin of this host. Browsers send the Origin of the page
// for which they renew.
func ownOrigin(r *http.Request) bool {
	lines := r.Header["Origin"]
	if len(lines) == 0 {
		return true
	}
	host, ok := strings.CutPrefix(lines[0], "https://")
	return ok && len(lines) == 1 && strings.EqualFold(strings.TrimSuffix(host, ":443"), strings.TrimSuffix(r.Host, ":443"))
}

// serveRegistration registers the key that a browser has made for a session that has just begun. If it refuses the key,
// the session stays unbound.
func (q *request) serveRegistration(w http.ResponseWriter) {
	for {
		base, err := q.standing()
		switch {
		case err != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case base == nil:
			w.WriteHeader(http.StatusForbidden)
			return
		}
		err = q.register(base)
		switch {
		case err == nil:
			q.noteEvent(EventBound, base, "", nil)
			q.answerProved(w)
			return
		case errors.Is(err, ErrSessionEnded): // it may go on under another ID
		case isStoreFailure(err):
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		default:
			q.noteEvent(EventUnproven, base, rejectionReason(err), err)
			w.WriteHeader(http.StatusForbidden)
			return
		}
	}
}

// register commits the key if the request's token is the one that the offer asked for.
func (q *request) register(base *Record) error {
	text, ok := dbsc.ReadText(q.outer.Header[dbsc.HeaderResponse])
	if !ok {
		return errNoToken
	}
	challenge, key, err := dbsc.ReadRegistration(text)
	if err != nil {
		return err
	}
	config := &q.manager.config
	at, err := config.registrationTime(base, challenge, config.Clock())
	if err != nil {
		return err
	}
	der, err := key.Marshal()
	if err != nil {
		return err
	}
	return q.commitProof(registerKey{der, at})
}

// serveRenewal renews the proof of a bound session.
func (q *request) serveRenewal(w http.ResponseWriter) {
	if id, ok := dbsc.ReadText(q.outer.Header[dbsc.HeaderID]); !ok || id != q.manager.binding.id {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	for {
		base, err := q.standing()
		switch {
		case err != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case base == nil || !base.Binding.bound() && !q.mayHaveLostKey(base):
			answerJSON(w, []byte(dbsc.End))
			return
		case len(q.outer.Header[dbsc.HeaderResponse]) == 0: // the browser asks for a challenge
			q.answerChallenge(w, base, base.Binding.Key)
			return
		}
		key, err := q.prove(base)
		switch {
		case err == nil:
			q.answerProved(w)
			return
		case errors.Is(err, ErrSessionEnded): // it may go on under another ID
		case isStoreFailure(err):
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		default:
			q.noteEvent(EventUnproven, base, rejectionReason(err), err)
			if errors.Is(err, errProofUsed) {
				base = q.reloaded(base)
			}
			q.answerUnproved(w, base, key)
			return
		}
	}
}

// prove commits the time of the challenge if the session's key has signed the request's token. It returns that key. If
// the record has lost the key, it returns the one from the challenge, or nil.
func (q *request) prove(base *Record) (key []byte, err error) {
	known, config := &base.Binding, &q.manager.config
	text, ok := dbsc.ReadText(q.outer.Header[dbsc.HeaderResponse])
	if !ok {
		return known.Key, errNoToken
	}
	var challenged time.Time
	key = known.Key
	err = dbsc.ReadProof(text, func(challenge string) (*dbsc.Key, error) {
		at, carried, ok := dbsc.ReadStamp(known.Secret, dbsc.Renewal, challenge)
		if !ok {
			return nil, errNoChallenge
		}
		if challenged = at; !known.bound() {
			key = carried
		}
		return dbsc.ParseKey(key)
	})
	if err == nil {
		err = config.checkAge(challenged, config.Clock())
	}
	if err == nil {
		err = q.commitProof(proveKey{challenged, key})
	}
	return key, err
}

// answerUnproved answers a proof that was not accepted. If the session has a key, in its record or from the challenge,
// the answer is a new challenge. Otherwise the browser's registration is that of an earlier session, and the answer
// tells it to stop. Without that it would sign four more times, and a new registration would have to wait.
func (q *request) answerUnproved(w http.ResponseWriter, base *Record, key []byte) {
	if len(key) == 0 {
		answerJSON(w, []byte(dbsc.End))
		return
	}
	q.answerChallenge(w, base, key)
}

// mayHaveLostKey reports whether a session may have a key although its record has none. A sealed session is in the
// cookie, where the last response wins. A response to a request from before the registration may come later, and brings
// back the cookie without the key. So the challenges of sealed sessions carry the key, under a MAC, and a proof brings
// it back. A browser that answers no challenge has no such session.
func (q *request) mayHaveLostKey(base *Record) bool {
	return q.isSealed() && len(base.Binding.Secret) > 0 && len(q.outer.Header[dbsc.HeaderResponse]) > 0
}

// carriedKey returns the key if the session's challenges carry it, or nil.
func (q *request) carriedKey(key []byte) []byte {
	if !q.isSealed() {
		return nil
	}
	return key
}

func (q *request) isSealed() bool {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	return q.session.state.sealed
}

var errNoToken = errors.New("session: the request has no token, or several")

// rejectionReason returns the reason for the event of a proof that was not accepted.
func rejectionReason(err error) Reason {
	switch {
	case errors.Is(err, errOldChallenge), errors.Is(err, errProofUsed):
		return ReasonOldChallenge
	case errors.Is(err, ErrCookieTooLarge), errors.Is(err, ErrTooLarge):
		return ReasonNotKept
	}
	return ReasonBadProof
}

// commitProof commits one change. After an error it drops the change. If the answer to a registration was lost, it
// tries once more: if the key was stored and the browser was told that it was not, the owner would be signed out.
func (q *request) commitProof(c change) error {
	st := q.session.open()
	trial := st.view.trial()
	err := c.apply(&trial)
	if err == nil {
		st.note(c)
	}
	q.session.close()
	if err != nil {
		return err
	}
	err = q.commit(q.parent)
	if _, registers := c.(registerKey); err != nil && registers && q.inDoubt() {
		err = q.commit(q.parent)
	}
	if err != nil {
		q.dropProof()
	}
	return err
}

// dropProof drops the changes of a commit that failed. It does not resolve a doubt, because the browser will prove
// again.
func (q *request) dropProof() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	st.log, st.doubt, st.touchAt = nil, nil, time.Time{}
	st.view = newDraft(&q.manager.config, st.base, st.settings)
}

// reloaded returns the session's stored record, or base if that can't be loaded. It is needed because the next
// challenge must be newer than the proof of a faster request.
func (q *request) reloaded(base *Record) *Record {
	call := q.call(q.parent)
	defer call.Release()
	call.pastCache = true
	q.session.mu.Lock()
	token := q.session.state.token
	q.session.mu.Unlock()
	if next, err := q.manager.store.Load(call, token); err == nil && next.ID == base.ID && next.Binding.bound() {
		return next
	}
	return base
}

var errNoSuccessor = errors.New("session: the session's successor is not known")

// standing returns the session that the request's cookie opens, or its last successor, because the browser may not have
// received the new cookie yet. It returns nil if the session has ended, and an error if that is not known.
func (q *request) standing() (*Record, error) {
	st := q.session.open()
	base, err := st.base, st.loadErr
	q.session.close()
	if err != nil || base == nil || !base.Ended {
		return base, err
	}
	call := q.call(q.parent)
	defer call.Release()
	for base.Ended && base.Successor != "" {
		token := Token{id: base.Successor, realm: q.manager.config.Realm}
		next, err := q.manager.load(call, token)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, errors.ErrUnsupported): // not there yet, or only in the browser
			return nil, errNoSuccessor
		case err != nil:
			return nil, q.storeError(OpLoad, base, err)
		}
		base = next
		if base.condition(q.manager.config.Clock()) == live {
			return base, q.goOnAs(base, token)
		}
	}
	return nil, nil
}

// goOnAs lets the request go on with a successor. The request does not have its token, and does not need to send it.
func (q *request) goOnAs(base *Record, token Token) error {
	if err := q.rebase(base, token, 0); err != nil {
		return err
	}
	q.spareTouch()
	return nil
}

// answerProved sends the bound cookie and the next challenge. With that, the browser does not have to ask for a
// challenge.
func (q *request) answerProved(w http.ResponseWriter) {
	b, now := q.manager.binding, q.manager.config.Clock()
	q.session.mu.Lock()
	known := q.session.state.base.Binding
	q.answerBinding().cookie = b.proofCookie(&known, now)
	q.session.mu.Unlock()
	w.Header().Set(dbsc.HeaderChallenge, dbsc.Challenge(renewalChallenge(&known, now, q.carriedKey(known.Key)), b.id))
	answerJSON(w, b.instructions)
}

// answerChallenge asks for a proof of the key.
func (q *request) answerChallenge(w http.ResponseWriter, base *Record, key []byte) {
	challenge := renewalChallenge(&base.Binding, q.manager.config.Clock(), q.carriedKey(key))
	w.Header().Set(dbsc.HeaderChallenge, dbsc.Challenge(challenge, q.manager.binding.id))
	w.WriteHeader(http.StatusForbidden)
}

// answerJSON answers with instructions for the browser. No part of body comes from a request.
func answerJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) //nolint:gosec // see above
}
