package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Adopted describes a session of the library that was used before. Config.Adopt returns it.
type Adopted struct {
	// Token identifies the session in the old library. Usually it is the value of the cookie. It must not be empty.
	// Requests with the same Token adopt once. It opens nothing of this package, and nobody can compute this package's
	// tokens from it.
	Token string

	// User is the user's name, as Session.Login takes it. It is "" for a visitor.
	User string

	// Values become the values of the session. They are stored as Session.Set stores them.
	Values map[string]any

	// AuthenticatedAt is when the user signed in. The session keeps it, for AuthenticatedWithin. A time in the future
	// becomes now. Zero means that it is not known, and then AuthenticatedWithin is false.
	AuthenticatedAt time.Time

	// Deadline is the absolute end of the old session. It is never extended. If Config.Lifetime, counted from the
	// adoption, ends earlier, that counts. Zero means Config.Lifetime. If it has passed, there is nothing to adopt.
	Deadline time.Time

	// Persistent gives the session's cookie a Max-Age, whatever Config.Persistent says.
	Persistent bool

	// Cookies are the old library's cookies. The response removes them. Their names, domains, paths and attributes must
	// be those that the old library set.
	Cookies []*http.Cookie

	// Forget ends the old session in the old store. Its context ends after Config.StoreTimeout. Nil means that there is
	// nothing to end. If it fails, it may be called again.
	Forget func(context.Context) error
}

// adoption is the answer of Config.Adopt to one request, as far as it names a session.
type adoption struct {
	Adopted
	err      error // Adopt returned it together with the token
	claimID  string
	inCookie bool   // the store keeps sessions in the cookie, and claims elsewhere
	session  Record // the record that the old session becomes; it has no ID until it is adopted
}

var (
	errNoOldToken   = errors.New("session: Config.Adopt returned a session without a Token")
	errDidNotReturn = errors.New("session: the application's function did not return")
)

// loadOld asks the application for a session of the old library, if the request has no cookie that opens a session of
// this package. If there is a claim for that session, the claim counts, and not the rest of the application's answer.
func (q *request) loadOld(st *state) error {
	c := &q.manager.config
	// An endpoint does not ask Revalidate, so it adopts nothing.
	if st.base != nil || st.revoked != nil || q.endpoint {
		return nil
	}
	a, err := q.askOld(q.parent)
	if a == nil {
		return q.failOld(st, err)
	}
	call := q.manager.storeContext(q.parent, c.StoreTimeout)
	defer call.Release()
	claim, err := q.findClaim(call, a)
	switch {
	case err != nil:
		return q.loadError(OpLoad, &Record{ID: a.claimID}, err)
	case claim != nil:
		return q.loadClaimed(call, st, a, claim)
	case a.err != nil:
		return q.failOld(st, a.err)
	case a.isOver(c.Clock()):
		return nil
	}
	q.beginAdoption(call, st, a)
	return nil
}

// oldAnswer is the answer of Config.Adopt to a request.
type oldAnswer struct {
	adoption *adoption // nil if it names no session
	err      error     // the reason, if there is one
}

// askOld calls Config.Adopt, once for each request. It returns nil if Adopt names no session.
func (q *request) askOld(ctx context.Context) (*adoption, error) {
	if q.old == nil {
		a, err := q.callAdopt(ctx)
		q.old = &oldAnswer{a, err}
	}
	return q.old.adoption, q.old.err
}

func (q *request) callAdopt(ctx context.Context) (*adoption, error) {
	c := &q.manager.config
	call := q.manager.storeContext(ctx, c.StoreTimeout)
	defer call.Release()
	r := q.asCame.Clone(call) // a copy, because the function may go on after the request has ended
	r.Body = http.NoBody
	adopted, err := waitFor(call, func() (*Adopted, error) { return c.Adopt(r) })
	switch {
	case adopted == nil:
		return nil, err
	case adopted.Token == "":
		return nil, cmp.Or(err, errNoOldToken)
	}
	return &adoption{Adopted: *adopted, err: err, claimID: claimID(c.Realm, adopted.Token)}, nil
}

// waitFor calls f in another goroutine, and waits until f returns or the context ends, because some stores ignore
// contexts. If f panics, waitFor panics.
func waitFor[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		value    T
		err      error
		panicked any
	}
	answered := make(chan answer, 1)
	go func() {
		a := answer{err: errDidNotReturn}
		defer func() {
			a.panicked = recover()
			answered <- a
		}()
		a.value, a.err = f()
	}()
	select {
	case a := <-answered:
		if a.panicked != nil {
			panic(a.panicked)
		}
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// failOld goes on if Config.Adopt has named no session, or only an error. If there is nothing to take over, the request
// is a visitor's. After a failure only a Login can be committed.
func (q *request) failOld(st *state, err error) error {
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		q.reportNotAdopted(ReasonUnknown, err)
	case q.parent.Err() != nil:
		return fmt.Errorf("%w: %w", errClientGone, err)
	default:
		st.adoptErr = q.storeError(OpAdopt, nil, err)
	}
	return nil
}

// reportNotAdopted tells why an old session is not adopted.
func (q *request) reportNotAdopted(reason Reason, err error) {
	level := slog.LevelInfo
	if reason == ReasonUnreadable {
		level = slog.LevelWarn
	}
	q.noteEvent(EventRejected, nil, reason, err)
	q.log(level, "session: a session of the old library is not adopted", err)
}

// isOver reports whether the old session is past its end.
func (a *adoption) isOver(now time.Time) bool { return !a.Deadline.IsZero() && !now.Before(a.Deadline) }

// loadClaimed goes on with the session that an old session has become, by its claim.
func (q *request) loadClaimed(call *storeContext, st *state, a *adoption, claim *claim) error {
	record, token, err := q.loadStanding(call, a, claim)
	if err != nil {
		return q.loadError(OpLoad, &Record{ID: a.claimID}, err)
	}
	if ended := q.meetRecord(st, record, token); ended != nil {
		st.base = ended // a request with the old cookie is a late one
		return nil
	}
	q.removeOld(a)
	if st.base != nil {
		st.expired, st.revoked = false, nil
		q.offerCookie(st.base, st.token)
	}
	return nil
}

// beginAdoption puts the adoption into the request's log, as the first change. The commit makes it, because the commit
// can send the cookie.
func (q *request) beginAdoption(call *storeContext, st *state, a *adoption) {
	c := &q.manager.config
	token := c.newToken()
	if err := q.prepareAdoption(call, a, token); err != nil {
		q.reportNotAdopted(ReasonUnreadable, err)
		return
	}
	st.expired = false
	st.log = append(st.log, adopt{token, a})
}

// prepareAdoption makes a record of the old session. It returns an error if the session can't be stored.
func (q *request) prepareAdoption(call *storeContext, a *adoption, token Token) error {
	c := &q.manager.config
	if err := a.makeSession(c); err != nil {
		return err
	}
	trial := a.sessionOf(token)
	stamp(trial, nil, trial.CreatedAt)
	if err := c.checkSize(trial, nil); err != nil {
		return err
	}
	if err := trial.checkFormat(); err != nil {
		return err
	}
	if !a.inCookie {
		return nil
	}
	if _, err := q.manager.store.Swap(call, token, Swap{nil, trial}); errors.Is(err, ErrCookieTooLarge) { // only seals
		return err
	}
	return nil
}

// makeSession sets the record that the old session becomes.
func (a *adoption) makeSession(c *Config) error {
	if a.User != "" {
		if err := checkUser("Adopt", a.User); err != nil {
			return err
		}
	}
	d := draft{}
	for key, value := range a.Values {
		raw, err := encodeValue(key, value)
		if err != nil {
			return err
		}
		d.edit(key, raw)
	}
	now := c.Clock()
	a.session = Record{
		Realm: c.Realm, User: a.User, CreatedAt: now, IssuedAt: now, LastUsedAt: now, Deadline: now.Add(c.Lifetime),
		IdleTimeout: c.IdleTimeout, Persistent: a.Persistent, Values: d.values(), Claim: a.claimID,
	}
	if a.User != "" {
		a.session.AuthenticatedAt = earlier(a.AuthenticatedAt, now)
	}
	if !a.Deadline.IsZero() {
		a.session.Deadline = earlier(a.Deadline, a.session.Deadline)
	}
	return nil
}

// earlier returns the earlier of the two times. A is cut to the precision that stores keep; b has that precision
// already.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a.Truncate(time.Microsecond)
	}
	return b
}

// sessionOf returns the record that the old session becomes, under the token's ID.
func (a *adoption) sessionOf(token Token) *Record {
	r := a.session
	r.ID = token.ID()
	return &r
}

// refuseOld ends an old session that Revalidate refuses before it was adopted, so that no request adopts it.
func (q *request) refuseOld(st *state) error {
	a := q.old.adoption
	call := q.call(q.parent)
	defer call.Release()
	if err := q.endClaim(call, a); err != nil {
		return q.storeError(OpEnd, &Record{ID: a.claimID}, err)
	}
	q.forgetOld(call, a)
	q.removeOld(a)
	q.noteEvent(EventRevoked, &Record{User: a.User}, ReasonRevalidation, nil)
	st.log = nil
	st.view = newDraft(&q.manager.config, nil, settings{})
	return nil
}

// offerCookie lets the response send the session's cookie again, because the first response with it may have been lost.
// If this response can't send it, that is no error.
func (q *request) offerCookie(r *Record, token Token) {
	if !q.canSendCookie() || q.sendCookie(r, token.cookieValue()) != nil {
		return
	}
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.offered = true
}

// removeOld lets the response remove the old library's cookies.
func (q *request) removeOld(a *adoption) {
	q.session.mu.Lock()
	defer q.session.mu.Unlock()
	q.removed = a
}

// removeOldCookies puts the lines that remove the old library's cookies into the header. It leaves out an old cookie
// that has the name of the session's cookie, if the response sets that. The caller holds the session's lock.
func (q *request) removeOldCookies(h http.Header) {
	if q.removed == nil {
		return
	}
	name := q.manager.config.Name
	for _, c := range q.removed.Cookies {
		if c == nil || c.Name == name && q.cookie != "" {
			continue
		}
		removal := *c
		removal.Value, removal.Quoted, removal.MaxAge, removal.Expires = "", false, -1, time.Unix(0, 0)
		if line := removal.String(); line != "" {
			h["Set-Cookie"] = append(h["Set-Cookie"], line)
			keepFromCaches(h)
		}
	}
}
