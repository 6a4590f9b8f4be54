package storetest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorman-go/session"
)

// trial is one clause on one store.
type trial struct {
	*testing.T
	store     session.Store
	ctx       context.Context
	now       time.Time // by the clock in ctx; set while no other goroutine runs
	abilities ability
	adopts    bool // Load finds any id, which one clause judges and the others have to live with
}

func (x *trial) clock() time.Time     { return x.now }
func (x *trial) can(a ability) bool   { return x.abilities&a == a }
func (x *trial) wait(d time.Duration) { x.now = x.now.Add(d) }

// held is a session as one request holds it: what opens it, and what it loaded.
type held struct {
	token  session.Token
	record *session.Record
}

func text() string {
	var raw [24]byte // as long as the Manager's ids
	_, _ = rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func tokenFor(r *session.Record) session.Token { return session.NewToken(r.ID, "secret of "+r.ID) }

// record returns a new session with the values given, as keys and JSON texts in turn.
func (x *trial) record(user string, pairs ...string) *session.Record {
	r := &session.Record{
		ID: text(), User: user, Created: x.now, Issued: x.now, Used: x.now,
		Idle: time.Hour, Deadline: x.now.Add(24 * time.Hour),
	}
	if user != "" {
		r.Authenticated = x.now
	}
	for pair := range slices.Chunk(pairs, 2) {
		put(&r.Values, pair[0], pair[1])
	}
	return r
}

// lasting is a record that may be unused for any time, so that nothing but an end keeps its session shut.
func (x *trial) lasting(user string, pairs ...string) *session.Record {
	r := x.record(user, pairs...)
	r.Idle = 0
	return r
}

// waitUntilDeadline waits until the session is about to end by itself.
func (x *trial) waitUntilDeadline(h held) { x.wait(h.record.Deadline.Sub(x.now) - time.Millisecond) }

// creation is the change that stores r as a new session.
func creation(r *session.Record) *session.Change {
	return &session.Change{
		Operation: text(), Record: r, Create: true, Fresh: r.User != "", Cleared: r.User != "",
		Set: slices.Collect(maps.Keys(r.Values)), FlashesAdded: slices.Collect(maps.Keys(r.Flashes)),
	}
}

// create stores r as a new session, and loads it.
func (x *trial) create(r *session.Record) held {
	x.Helper()
	token, err := x.store.Save(x.ctx, tokenFor(r), creation(r))
	if err != nil {
		x.Fatalf("Save of a new session: %v", err)
	}
	return x.load(token)
}

func (x *trial) load(token session.Token) held {
	x.Helper()
	r, err := x.store.Load(x.ctx, token)
	if err != nil || r == nil {
		x.Fatalf("Load of a session that is there: %v, %v", r, err)
	}
	return held{token, r}
}

// save makes a change, which must be accepted, and loads the session as it is then.
func (x *trial) save(h held, c *session.Change) held {
	x.Helper()
	token, err := x.try(h, c)
	if err != nil {
		x.Fatalf("Save: %v", err)
	}
	return x.load(token)
}

func (x *trial) try(h held, c *session.Change) (session.Token, error) {
	token := h.token
	if c.Create {
		token = tokenFor(c.Record)
	}
	return x.store.Save(x.ctx, token, c)
}

// edit is a part of a change.
type edit func(*session.Change)

// change returns what a request that holds h makes of it.
func (x *trial) change(h held, edits ...edit) *session.Change {
	r := *h.record
	r.Values, r.Flashes, r.Operations = maps.Clone(r.Values), maps.Clone(r.Flashes), nil
	r.Used = x.now
	c := &session.Change{Operation: text(), Record: &r, Base: h.record}
	for _, e := range edits {
		e(c)
	}
	return c
}

func set(key, raw string) edit {
	return func(c *session.Change) {
		put(&c.Record.Values, key, raw)
		c.Set = append(c.Set, key)
	}
}

func remove(key string) edit {
	return func(c *session.Change) {
		delete(c.Record.Values, key)
		c.Deleted = append(c.Deleted, key)
	}
}

// expect says what must be stored under the key that is set; "" for nothing.
func expect(key, raw string) edit {
	return func(c *session.Change) {
		c.Expect = map[string]json.RawMessage{key: nil}
		if raw != "" {
			c.Expect[key] = json.RawMessage(raw)
		}
	}
}

func flash(id, raw string) edit {
	return func(c *session.Change) {
		put(&c.Record.Flashes, id, raw)
		c.FlashesAdded = append(c.FlashesAdded, id)
	}
}

func takeFlash(id string) edit {
	return func(c *session.Change) {
		delete(c.Record.Flashes, id)
		c.FlashesTaken = append(c.FlashesTaken, id)
	}
}

// clearBut drops all values but those kept; what is to be set comes after it.
func clearBut(keep ...string) edit {
	return func(c *session.Change) {
		maps.DeleteFunc(c.Record.Values, func(key string, _ json.RawMessage) bool { return !slices.Contains(keep, key) })
		c.Record.Flashes = nil
		c.Cleared, c.Keep = true, keep
	}
}

func attributes(f func(*session.Record)) edit {
	return func(c *session.Change) {
		f(c.Record)
		c.Attributes = true
	}
}

// regenerate is the edit of Session.Regenerate.
func (x *trial) regenerate() edit {
	return func(c *session.Change) {
		c.Create, c.Record.ID, c.Record.Issued = true, text(), x.now
	}
}

// login is the edit of Session.Login.
func (x *trial) login(user string, keep ...string) edit {
	return func(c *session.Change) {
		clearBut(keep...)(c)
		r := x.record(user)
		r.Values = c.Record.Values
		c.Create, c.Fresh, c.Record = true, true, r
	}
}

func put(m *map[string]json.RawMessage, key, raw string) {
	if *m == nil {
		*m = make(map[string]json.RawMessage)
	}
	(*m)[key] = json.RawMessage(raw)
}

// given tells whether what a clause takes for granted holds. If not, that is another clause's finding.
func (x *trial) given(holds bool, what string) bool {
	if !holds {
		x.Log("not judged, since " + what)
	}
	return holds
}

// isEnded tells whether Load knows that the session has ended.
func (x *trial) isEnded(token session.Token) bool {
	_, err := x.store.Load(x.ctx, token)
	return errors.Is(err, session.ErrSessionEnded)
}

func (x *trial) opens(token session.Token) bool {
	_, err := x.store.Load(x.ctx, token)
	return err == nil
}

// gone fails the clause unless the token opens nothing.
func (x *trial) gone(token session.Token, what string) {
	x.Helper()
	if token.ID() == "" && token.Value() == "" {
		return // what Save returns with an error
	}
	r, err := x.store.Load(x.ctx, token)
	if err == nil {
		x.Fatalf("%s: Load returned the session %s, and must not find it", what, r.ID)
	}
	x.refused(err, what+": Load")
}

// notMade fails the clause if there is a session that should not have been made.
func (x *trial) notMade(token session.Token, what string) {
	x.Helper()
	if x.given(!x.adopts, "Load finds any id") {
		x.gone(token, what)
	}
}

// ended fails the clause unless the token opens nothing and Load knows why.
func (x *trial) ended(token session.Token, what string) {
	x.Helper()
	x.gone(token, what)
	if !x.isEnded(token) {
		x.Fatalf("%s: Load does not return ErrSessionEnded: there is no tombstone (session.Tombstone)", what)
	}
}

// refused fails the clause unless err is ErrNotFound.
func (x *trial) refused(err error, what string) {
	x.Helper()
	if !errors.Is(err, session.ErrNotFound) {
		x.Fatalf("%s: the error is %v, and must wrap ErrNotFound", what, err)
	}
}

func (x *trial) delete(h held) {
	x.Helper()
	if err := x.store.Delete(x.ctx, h.record.ID, h.record.Deadline); err != nil {
		x.Fatalf("Delete: %v", err)
	}
}

// each runs f n times at once. f returns an error instead of failing the test, which only its own goroutine may.
func (x *trial) each(n int, f func(i int) error) {
	x.Helper()
	start, errs := make(chan struct{}), make(chan error, n)
	for i := range n {
		go func() {
			<-start
			errs <- f(i)
		}()
	}
	close(start)
	for range n {
		if err := <-errs; err != nil {
			x.Error(err)
		}
	}
	if x.Failed() {
		x.FailNow()
	}
}

// tripping is a context that ends when it is asked something for the n-th time: with each n in turn, it ends at each
// point where a store, or what it is built on, looks.
type tripping struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func (x *trial) tripping(n int) *tripping {
	c := &tripping{}
	c.Context, c.cancel = context.WithCancel(x.ctx)
	c.left.Store(int64(n))
	return c
}

func (c *tripping) asked() {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
}

func (c *tripping) Err() error {
	c.asked()
	return c.Context.Err()
}

func (c *tripping) Done() <-chan struct{} {
	c.asked()
	return c.Context.Done()
}

func (c *tripping) Deadline() (time.Time, bool) {
	c.asked()
	return c.Context.Deadline()
}
