package model_test

import (
	"errors"
	"net/http"
	"slices"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

// The ways in which a commit fails.
var (
	errSwap    = errors.New("503, at a swap")
	errEnd     = errors.New("503, at an ending")
	errEnded   = errors.New("409")
	errStarted = errors.New("500")
)

func statusOf(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, errSwap), errors.Is(err, errEnd):
		return http.StatusServiceUnavailable
	case errors.Is(err, errEnded):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// draft is a request.
type draft struct {
	*model
	w http.ResponseWriter
	s *session.Session

	nested bool // it comes in between another one's steps
	paused bool

	base    *record  // what it goes on from: live, or the tombstone of a session that has ended elsewhere
	revoked *record  // the tombstone that its cookie opens, of a session that was ended from outside
	noted   *string  // for each session that it begins from here on
	log     []change // what it changed
	doubt   *attempt // what the store was told, and has not answered
	ending  int      // the revision of the tombstones of its Destroys and Logins
	ends    *record  // what a Login of it was about to end, as it was met last
	came    int      // the ID in the request's cookie
	started bool     // the header has been sent
	failure error    // for which the response is an error
	status  int
	cookie  int // the ID in the header; 0: a deletion; -1: none
}

// attempt is what was sent to the store.
type attempt struct {
	swaps []swap
	log   int // how many changes it makes
}

func (a *attempt) last() swap { return a.swaps[len(a.swaps)-1] }

// load is what the model makes of a load.
func (d *draft) load() {
	r := d.store.records[d.browser]
	d.came, d.cookie = d.browser, -1
	switch {
	case r == nil, r.ended && !d.app.Clock.Now().Before(r.until):
	case r.ended && r.revoked && r.next == 0:
		d.revoked = r
	default:
		d.base = r
	}
}

func (d *draft) view() view { return replay(d.base, d.noted, d.log) }

func (d *draft) note(c change) { d.log = append(d.log, c) }

// begin notes that a session begins, if there is none.
func (d *draft) begin() {
	if v := d.view(); v.id == 0 && v.late == nil {
		d.note(beginning(d.newID()))
	}
}

// start is what the model makes of the start of the response.
func (d *draft) start() {
	d.failure = d.commit()
	d.status = statusOf(d.failure)
	d.started = true
}

// commit makes what was changed, the oldest first.
func (d *draft) commit() (err error) {
	for err == nil {
		destroyed := lastDestroy(d.log)
		switch {
		case d.failure != nil:
			return d.failure
		case d.doubt != nil && (destroyed == 0 || d.store.endless):
			err = d.resolve()
		case destroyed > 0:
			err = d.destroy(destroyed)
		case len(d.log) > 0:
			err = d.commitChanges()
		default:
			return nil
		}
	}
	return err
}

// goOn goes on from base, with n of the changes made.
func (d *draft) goOn(base *record, n int) {
	d.noted = replay(nil, d.noted, d.log[:n]).noted
	d.base, d.log, d.doubt = base, d.log[n:], nil
	if base != nil {
		d.revoked = nil
	}
	if base != nil && base.ended && !d.started {
		d.cookie = -1 // of what an earlier commit did, and has ended since
	}
}

// settle takes over what was stored, and has its ID sent.
func (d *draft) settle(stored *record, n int) error {
	if d.base == nil || d.base.id != stored.id || d.store.alone {
		if d.started {
			return errStarted
		}
		d.cookie = stored.id
	}
	d.goOn(stored, n)
	return nil
}

// lose is what comes of changes to a session that has ended.
func (d *draft) lose(stands *record, n int) error {
	set := slices.ContainsFunc(d.log[:n], isSet)
	if stands == nil || !stands.ended {
		stands = &record{ended: true}
	}
	if d.goOn(stands, n); set {
		return errEnded
	}
	return nil
}

// resolve finds out whether what is in doubt was made, before anything else is.
func (d *draft) resolve() error {
	last := d.doubt.last()
	err := d.store.swap(d.doubt.swaps...)
	var met conflict
	switch {
	case err == nil:
		return d.settle(last.new, d.doubt.log)
	case !errors.As(err, &met):
		return errSwap
	}
	current, sent := d.store.records[met.id], d.doubt.swaps[0]
	if met.id == last.new.id {
		sent = last
	}
	made := current != nil && (current.knows(sent.new.revision) || sent.old == nil && !current.ended)
	switch {
	case made && !current.ended:
		return d.settle(current, d.doubt.log)
	case made && sent.old == nil: // the new session has ended before anybody was told of it
		d.goOn(current, d.doubt.log)
		return errEnded
	case made:
		d.goOn(current, d.doubt.log)
		return nil
	case current != nil && sent.old != nil && (sent.new.ended || current.knows(sent.old.revision)):
		d.doubt = nil // it was not made
		return nil
	}
	return errSwap // nobody knows
}

// logout is how a Destroy or a Login ends sessions: a second try is known for the first one's.
func (d *draft) logout(r *record) record {
	if d.ending == 0 {
		d.ending = d.store.nextRevision()
	}
	return record{content: content{user: r.user}, by: d, revision: d.ending}
}

// destroy ends the session, what it goes on as, and what may have begun.
func (d *draft) destroy(n int) error {
	var stands *record
	var err error
	switch {
	case d.base != nil && d.base.ended:
		if stands, err = d.base, d.endAgain(d.base); err == nil && d.base.next != 0 {
			stands, _, err = d.store.endSession(d.base.next, d.logout(d.base))
		}
	case d.base != nil:
		stands, _, err = d.store.endSession(d.base.id, d.logout(d.base))
	case d.revoked != nil:
		stands = d.store.records[d.revoked.id]
		err = d.store.meet(func() error { return conflict{} })
		if errors.As(err, new(conflict)) {
			err = nil
		}
	}
	if err == nil && d.doubt != nil && d.doubt.last().old == nil {
		_, _, err = d.store.endSession(d.doubt.last().new.id, d.logout(d.doubt.last().new))
	}
	if err != nil {
		return errEnd
	}
	if stands != nil && stands.by != d && (d.base != nil || !stands.revoked) {
		d.goOn(stands, n) // another request has given the browser another cookie, or none
		return nil
	}
	if !d.started && (d.came != 0 || d.cookie >= 0) {
		d.cookie = 0
	}
	d.goOn(nil, n)
	return nil
}

// endAgain has the store say once more that a session has ended, as long as its tombstone stands.
func (d *draft) endAgain(r *record) (err error) {
	if r.revision == 0 || !d.store.now().Before(r.until) {
		return nil
	}
	if d.store.endless {
		err = d.store.swap(swap{r, r})
	} else {
		as, tombstone := d.logout(r), d.store.tombstone(r.id, r.user)
		tombstone.by, tombstone.revision = as.by, as.revision
		_, err = d.store.end(tombstone)
	}
	if errors.As(err, new(conflict)) {
		return nil
	}
	return err
}

func (d *draft) commitChanges() error {
	v := d.view()
	switch {
	case v.late != nil:
		return d.lose(d.base, len(d.log))
	case d.base == nil && !v.stands():
		d.goOn(nil, len(d.log))
		return nil
	case d.base == nil || d.base.id != v.id:
		return d.commitNewID(v)
	}
	for old := d.base; ; {
		v := replay(old, d.noted, d.log)
		sent := &attempt{[]swap{{old, d.store.stamped(&record{content: v.content, id: v.id}, old)}}, len(d.log)}
		err := d.store.swap(sent.swaps...)
		var met conflict
		switch {
		case err == nil:
			return d.settle(sent.last().new, len(d.log))
		case !errors.As(err, &met):
			d.doubt = sent
			return errSwap
		}
		if old = d.store.records[met.id]; old == nil || old.ended {
			return d.lose(old, len(d.log))
		}
	}
}

// commitNewID ends the old session and begins the new one.
func (d *draft) commitNewID(v view) error {
	if d.started {
		return errStarted
	}
	login := slices.ContainsFunc(d.log, isLogin)
	old := d.base
	if old == nil && login {
		old = d.revoked
	}
	if old == nil {
		return d.beginOn(nil, nil)
	}
	if old == d.base && old.ended { // a Login
		return d.loginOver(old)
	}
	err := d.beginOn(old, d.base)
	var met conflict
	if !errors.As(err, &met) {
		return err
	}
	current := d.store.records[met.id] // another request was faster
	switch {
	case login:
		return d.loginOver(current)
	case current.ended && current.next == v.id:
		return errSwap // by this request, which was not told what the session was then
	case current.ended:
		return d.lose(current, len(d.log))
	}
	tombstone := d.store.tombstone(current.id, current.user)
	tombstone.next, tombstone.by = v.id, d
	replaced, err := d.store.end(tombstone)
	if err != nil {
		return errSwap
	}
	return d.beginOn(nil, replaced)
}

// loginOver ends the session that a Login takes over from, and what it goes on as. What is kept comes from there. It takes
// over the tombstone of a revocation, too.
func (d *draft) loginOver(old *record) error {
	stands, replaced := old, (*record)(nil)
	var err error
	d.noteLoginEnds(old)
	if old == d.base && old.ended {
		err = d.endAgain(old)
	}
	switch {
	case err != nil, old.ended && old.next == 0:
	case old.ended:
		stands, replaced, err = d.store.endSession(old.next, d.logout(old))
	default:
		stands, replaced, err = d.store.endSession(old.id, d.logout(old))
	}
	switch {
	case err != nil:
		return errEnd
	case stands.revoked:
		return d.beginOn(stands, nil)
	}
	if replaced == nil && stands.revision == d.ending { // the answer was lost that had it
		replaced = d.ends
	}
	return d.beginOn(nil, replaced)
}

// noteLoginEnds keeps in mind what a Login is about to end.
func (d *draft) noteLoginEnds(old *record) {
	for old != nil && old.ended && old.next != 0 {
		old = d.store.records[old.next]
	}
	if old != nil && !old.ended {
		d.ends = old
	}
}

// beginOn begins the new session with the changes made to content's, and ends old if there is one.
func (d *draft) beginOn(old, content *record) error {
	v := replay(content, d.noted, d.log)
	sent := &attempt{log: len(d.log)}
	if old != nil {
		tombstone := d.store.tombstone(old.id, old.user)
		if tombstone.by = d; !v.begun {
			tombstone.next = v.id
		}
		sent.swaps = append(sent.swaps, swap{old, d.store.stamped(tombstone, old)})
	}
	next := d.store.stamped(&record{content: v.content, id: v.id}, nil)
	sent.swaps = append(sent.swaps, swap{nil, next})
	err := d.store.swap(sent.swaps...)
	switch {
	case err == nil:
		return d.settle(next, len(d.log))
	case errors.As(err, new(conflict)):
		return err
	}
	d.doubt = sent
	return errSwap
}

// answered is what the model makes of the end of a request.
func (d *draft) answered(resp *http.Response) {
	if !d.started {
		d.start()
	}
	err := d.failure
	if err == nil {
		err = d.commit()
	}
	require.Equal(d.t, d.status, resp.StatusCode, d)
	if err != nil && !errors.Is(err, errEnd) {
		d.endNow()
	}
	if d.cookie >= 0 {
		d.browser = d.cookie
	}
}

// endNow does the logout that a commit did not come to.
func (d *draft) endNow() {
	if n := lastDestroy(d.log); n > 0 {
		_ = d.destroy(n)
	}
}

// save is what the model makes of Save.
func (d *draft) save() error {
	asks := len(d.log) == 0 && d.doubt == nil
	if err := d.commit(); err != nil {
		return err
	}
	if asks && d.base != nil && !d.base.ended {
		stored := d.store.records[d.base.id]
		if stored == nil || stored.ended {
			_ = d.lose(stored, 0)
		} else {
			d.goOn(stored, 0)
		}
	}
	if d.view().late != nil {
		return errEnded
	}
	return nil
}
