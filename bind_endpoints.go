package session

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/doorman-go/session/internal/dbsc"
)

// This file has the two endpoints that browsers call by themselves: one registers a key, the other renews the proof. What
// they change is a change like all others: it goes through the request's log and is replayed on what is stored now.
//
// A browser drops its registration for good at each answer that the draft does not have for this (400, 404, a redirect),
// and the user is then signed out when the proof runs out. So a proof that is not taken is answered with a challenge, what
// can't be decided now with 503, after which the browser tries again, and what has ended with an instruction to stop.

const maxBindBody = 1 << 10 // bytes; browsers send none

// endpoint returns what answers at a path, or nil.
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

// endpointHandler makes the request one of an endpoint.
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

// refusedStatus returns the status for what no browser sends by itself, or 0.
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

// ownOrigin reports whether the request has no Origin, or this host's. Browsers send that of the page for which they renew.
func ownOrigin(r *http.Request) bool {
	lines := r.Header["Origin"]
	if len(lines) == 0 {
		return true
	}
	host, ok := strings.CutPrefix(lines[0], "https://")
	return ok && len(lines) == 1 && strings.EqualFold(strings.TrimSuffix(host, ":443"), strings.TrimSuffix(r.Host, ":443"))
}

// serveRegistration registers the key that a browser has made for a session that was just begun. Where that is refused the
// session stays as it is, unbound.
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

// prove commits the time of the challenge if the request's token is signed by the session's key. It returns that key, as far
// as the token tells.
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

// answerUnproved answers a proof that is not taken with a challenge, if the session has a key: its own, or the one that the
// proof has told. Otherwise the browser goes on about a session from before this one, and is told to stop: it would sign four
// times more, and a new registration waits for that.
func (q *request) answerUnproved(w http.ResponseWriter, base *Record, key []byte) {
	if len(key) == 0 {
		answerJSON(w, []byte(dbsc.End))
		return
	}
	q.answerChallenge(w, base, key)
}

// mayHaveLostKey reports whether a session may have a key although its record has none. A sealed session is in the cookie,
// where the last answer wins: that of a page which was asked for before the key was registered may come after. So the
// challenges of sealed sessions carry the key, under a MAC, and a proof brings it back. A browser without a challenge has
// no such session.
func (q *request) mayHaveLostKey(base *Record) bool {
	return q.isSealed() && len(base.Binding.Secret) > 0 && len(q.outer.Header[dbsc.HeaderResponse]) > 0
}

// carriedKey returns what the challenges of this session carry.
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

// rejectionReason is the reason of the event for a proof that is not taken.
func rejectionReason(err error) Reason {
	switch {
	case errors.Is(err, errOldChallenge), errors.Is(err, errProofUsed):
		return ReasonOldChallenge
	case errors.Is(err, ErrCookieTooLarge), errors.Is(err, ErrTooLarge):
		return ReasonNotKept
	}
	return ReasonBadProof
}

// isStoreFailure reports whether the store is why a commit failed, so that it may be done another time.
func isStoreFailure(err error) bool {
	var failed *StoreError
	return errors.As(err, &failed)
}

// commitProof commits one change. After an error nothing of it is left. Where the answer to a registration was lost it asks
// once more: a key that is stored while the browser is told that it is not would sign the owner out.
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
	err = q.commit(q.context.Context)
	if _, registers := c.(registerKey); err != nil && registers && q.inDoubt() {
		err = q.commit(q.context.Context)
	}
	if err != nil {
		q.dropProof()
	}
	return err
}

// dropProof drops what a commit that failed has left: whether it was made is not asked again, since the browser proves
// again.
func (q *request) dropProof() {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	st := q.session.state
	st.log, st.doubt, st.touchAt = nil, nil, time.Time{}
	st.view = newDraft(&q.manager.config, st.base, st.settings)
}

// reloaded returns a session as it is stored now, if that can be told: a challenge must be newer than the proof that was
// faster.
func (q *request) reloaded(base *Record) *Record {
	call := q.call(q.context.Context)
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

var errNoSuccessor = errors.New("session: what the session goes on as can't be told")

// standing returns the session that the request's cookie opens, or what that goes on as: its browser may not have received
// the new cookie yet. It returns nil if the session has ended, and an error where it can't be told.
func (q *request) standing() (*Record, error) {
	st := q.session.open()
	base, err := st.base, st.loadErr
	q.session.close()
	if err != nil || base == nil || !base.Ended {
		return base, err
	}
	call := q.call(q.context.Context)
	defer call.Release()
	for base.Ended && base.Successor != "" {
		token := Token{id: base.Successor, realm: q.manager.config.Realm}
		next, err := q.manager.store.Load(call, token)
		if err == nil {
			err = q.manager.checkLoaded(token, next)
		}
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

// goOnAs has the request go on with a session whose token it does not have, and need not send.
func (q *request) goOnAs(base *Record, token Token) error {
	if err := q.rebase(base, token, 0); err != nil {
		return err
	}
	q.spareTouch()
	return nil
}

// answerProved sends the bound cookie and the next challenge, which saves the browser a question.
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

// answerJSON answers with what a browser is to do, of which nothing comes from a request.
func answerJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) //nolint:gosec // see above
}
