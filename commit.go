package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"
)

// commit makes the changes pending, and puts the cookie into the header if that can still be sent. Nothing that the
// client does cuts it short. Who calls it notifies afterwards.
func (x *exchange) commit(ctx context.Context, header bool) error {
	x.committing.Lock()
	defer x.committing.Unlock()
	return x.commitAlone(ctx, header)
}

// commitAlone is commit while there can be no other.
func (x *exchange) commitAlone(ctx context.Context, header bool) error {
	if !x.session.used() {
		return nil
	}
	x.session.mu.Lock()
	defer x.session.mu.Unlock()
	st := x.session.state
	header = header && !x.response.begun.Load() // it may have been sent while this waited for another commit
	if header {
		x.headers()
	}
	if err := cmp.Or(x.failure, st.loadErr, st.encodeErr); err != nil {
		return err
	}
	p, doubt := st.plan(), st.inDoubt()
	if p.step == nothing && !doubt {
		return nil
	}
	call := x.call(ctx) // for all that it takes
	defer call.release()
	if doubt {
		if err := x.settle(call, header); err != nil {
			return err
		}
		p = st.plan()
	}
	for {
		err := x.do(call, p, header)
		if !errors.Is(err, errOtherPlan) {
			return err
		}
		p = st.plan()
	}
}

// call returns the context for a commit's calls of the store, which must be released.
func (x *exchange) call(ctx context.Context) *storeContext {
	return x.manager.storeContext(context.WithoutCancel(ctx), x.manager.config.StoreTimeout)
}

// headers sets what a response has that depends on the session. What an earlier commit set, the handler may have
// overwritten since.
func (x *exchange) headers() {
	h := x.response.w.Header()
	varyByCookie(h, &x.vary)
	if x.cookie != "" {
		setCookie(h, x.manager.config.Name, x.cookie)
	}
}

// do does what is planned.
func (x *exchange) do(call *storeContext, p plan, header bool) error {
	switch st := x.session.state; {
	case p.step == nothing:
		return nil
	case p.step == refuse:
		return fmt.Errorf("%w; what the request set is not kept", ErrSessionEnded)
	case st.destroy && st.base != nil: // by itself, so that it is done whatever becomes of the session that may come after
		if err := x.endBase(call); err != nil {
			return err
		}
		return errOtherPlan
	case p.step == end:
		x.destroyed(header)
		return nil
	}
	if p.cookie && !header {
		return ErrResponseStarted
	}
	return x.store(call, p, header)
}

// errOtherPlan means that something else has to be done: the session has ended now, or the request has changed it while
// the lock was let go.
var errOtherPlan = errors.New("session: something else has to be done")

// endBase ends the session that Destroy was called for. The store follows it to the id that it may go on under.
func (x *exchange) endBase(call *storeContext) error {
	if err := x.deleteBase(call); err != nil {
		return err
	}
	x.event(EventDestroyed, "", nil)
	x.session.state.base, x.session.state.token = nil, Token{}
	return nil
}

// destroyed removes the cookie of a session that has ended, unless it is too late: then Destroy said so.
func (x *exchange) destroyed(header bool) {
	x.session.state.pending = pending{}
	if !header {
		return
	}
	if x.present || x.cookie != "" {
		x.removeCookie()
	}
	x.clearSiteData(x.response.w.Header())
}

// clearSiteData asks the browser to forget what it knows of this site, at a Destroy.
func (x *exchange) clearSiteData(h http.Header) {
	if x.manager.config.ClearSiteData {
		h.Set("Clear-Site-Data", `"cache", "cookies", "storage"`)
	}
}

const opDelete = "delete"

func (x *exchange) deleteBase(call *storeContext) error {
	base := x.session.state.base
	if err := x.manager.store.Delete(call, base.ID, base.lastDeadline()); err != nil {
		return x.storeError(opDelete, base.ID, err)
	}
	return nil
}

// settle finds out about what the store may have done at an earlier commit: sent again as it was, it is done once.
func (x *exchange) settle(call *storeContext, header bool) error {
	p := *x.session.state.unsure
	token, err := x.manager.store.Save(call, p.token, p.change)
	var conflict *ConflictError
	switch {
	case err == nil:
		return x.stored(p, token, header)
	case errors.Is(err, ErrNotFound), errors.As(err, &conflict):
		x.session.state.unsure = nil // it was not done, and the commit will find out what that means
		return nil
	}
	return x.commitError(err)
}

// store saves the session, and sends its cookie if that is new.
func (x *exchange) store(call *storeContext, p plan, header bool) error {
	st := x.session.state
	token, err := x.attempt(call, &p)
	switch {
	case err == nil:
		return x.stored(p, token, header)
	case p.step == touch:
		return x.touchFailed(err)
	case errors.Is(err, ErrNotFound):
		x.event(EventRejected, "ended meanwhile", nil)
		st.over()
		if p.sets {
			return fmt.Errorf("%w while the request was under way; what it set is not kept", ErrSessionEnded)
		}
		return nil
	}
	err = x.commitError(err)
	var failed *StoreError
	if errors.As(err, &failed) {
		st.tried(p)
	}
	return err
}

// stored takes over what the store has done.
func (x *exchange) stored(p plan, token Token, header bool) error {
	st := x.session.state
	moved := token.Value() != st.token.Value()
	if moved && !header && p.step != touch {
		return ErrResponseStarted
	}
	value := token.cookieValue()
	if moved {
		if err := x.manager.config.cookieValueFault(value); err != nil {
			return err
		}
	}
	x.told(p)
	if st.destroy && header {
		x.clearSiteData(x.response.w.Header())
	}
	st.done(p, token)
	if header && (moved || p.cookie) {
		x.sendCookie(value)
	}
	return nil
}

// attempt saves, and puts the changes on the newer record as long as another request's change is in the way of an
// Update. All Updates of one session in this process wait for each other: without the queue, retries starve.
func (x *exchange) attempt(call *storeContext, p *plan) (Token, error) {
	st := x.session.state
	if len(p.change.Expect) > 0 {
		release, err := x.manager.queue.wait(call, st.base.ID)
		if err != nil {
			return Token{}, err
		}
		defer release()
	}
	for {
		saved, err := x.manager.store.Save(call, p.token, p.change)
		if err == nil {
			return saved, nil
		}
		var conflict *ConflictError
		if !errors.As(err, &conflict) || conflict.Current == nil {
			return saved, err
		}
		x.event(EventConflict, "update", nil)
		if err := x.rebase(conflict.Current); err != nil {
			return Token{}, fmt.Errorf("%w: %w", errUpdate, err)
		}
		if call.Err() != nil {
			return Token{}, errors.Join(err, call.Err())
		}
		next := st.plan()
		if next.step != p.step || next.cookie != p.cookie {
			return Token{}, errOtherPlan
		}
		*p = next
	}
}

// errUpdate is the application's fault, and no failure of the store.
var errUpdate = errors.New("session: an Update could not be made again on a newer value")

// rebase runs the Updates again. They are the application's code, so the lock is let go meanwhile.
func (x *exchange) rebase(current *Record) error {
	s := &x.session
	for {
		version, edits := s.state.version, maps.Clone(s.state.edits) // others may set values meanwhile
		remade, err := x.unlocked(func() (map[string]edit, error) { return remake(edits, current) })
		if err != nil {
			return err
		}
		if s.state.version == version {
			s.state.rebase(current, remade)
			return nil
		}
	}
}

// unlocked runs the application's code without the session's lock, which is taken again even if that panics.
func (x *exchange) unlocked(f func() (map[string]edit, error)) (map[string]edit, error) {
	x.session.mu.Unlock()
	defer x.session.mu.Lock()
	return f()
}

// touchFailed: the request itself lost nothing, so it is answered; that the session may end early is told.
func (x *exchange) touchFailed(err error) error {
	if !errors.Is(err, ErrNotFound) {
		_ = x.commitError(err)
		x.session.state.spent = true
		return nil
	}
	x.event(EventRejected, "ended meanwhile", nil)
	x.session.state.over()
	return nil
}

func (x *exchange) commitError(err error) error {
	for _, as := range []error{ErrCookieTooLarge, errors.ErrUnsupported, errUpdate, errOtherPlan} {
		if errors.Is(err, as) {
			return err
		}
	}
	id := ""
	if base := x.session.state.base; base != nil {
		id = base.ID
	}
	return x.storeError("save", id, err)
}

func (x *exchange) storeError(op, id string, err error) error {
	failed := &StoreError{Op: op, Err: err}
	user := ""
	if base := x.session.state.base; base != nil {
		user = base.User
	}
	x.eventFor(EventStoreError, id, user, op, failed)
	x.log(slog.LevelError, "session: the store failed", failed, "session", id)
	return failed
}

// told notes the event of a successful commit.
func (x *exchange) told(p plan) {
	r := p.change.Record
	switch {
	case p.step != create:
	case p.change.Fresh && r.User != "":
		x.eventFor(EventLoggedIn, r.ID, r.User, "", nil)
	case p.change.Base != nil && !p.change.Fresh:
		x.eventFor(EventRegenerated, r.ID, r.User, "", nil)
	default:
		x.eventFor(EventCreated, r.ID, r.User, "", nil)
	}
}

func (x *exchange) setCookie(line string) {
	x.cookie = line
	setCookie(x.response.w.Header(), x.manager.config.Name, line)
}

// removeCookie has the browser drop the cookie.
func (x *exchange) removeCookie() {
	x.setCookie(x.manager.config.cookie("", time.Time{}, time.Time{}).String())
}

// sendCookie puts the session's cookie into the header.
func (x *exchange) sendCookie(value string) {
	base, c := x.session.state.base, &x.manager.config
	if base.Persistent {
		x.setCookie(c.cookie(value, x.session.now(), base.Deadline).String())
	} else {
		x.setCookie(c.Name + "=" + value + x.manager.attributes)
	}
	if c.Secure == On && insecure(x.request) {
		x.manager.warnInsecure(x.context.Context, x.request.Host)
	}
}

// insecure tells whether the browser will drop a Secure cookie: the request came over plain HTTP, as far as one can
// know behind a proxy.
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
