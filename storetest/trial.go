package storetest

import (
	"bytes"
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

// realm is that of all sessions, where nothing else is said.
const realm = "storetest"

// trial is one clause on one store.
type trial struct {
	*testing.T
	store   session.Store
	another func() session.Store // makes the store of another process
	ctx     context.Context
	now     time.Time // by the clock in ctx; set while no other goroutine runs
	has     features
}

func (x *trial) clock() time.Time        { return x.now }
func (x *trial) can(f features) bool     { return x.has&f == f }
func (x *trial) advance(d time.Duration) { x.now = x.now.Add(d) }

// held is a session as one request holds it: what opens it, and what it loaded.
type held struct {
	token  session.Token
	record *session.Record
}

// text returns one that occurs nowhere else, as long as the Manager's IDs.
func text() string {
	var raw [24]byte
	_, _ = rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func tokenFor(r *session.Record) session.Token {
	return session.NewToken(r.ID, "secret of "+r.ID).WithRealm(r.Realm)
}

// record returns a new session with the values given, as keys and JSON texts in turn.
func (x *trial) record(user string, pairs ...string) *session.Record {
	r := &session.Record{
		ID: text(), Revision: text(), Realm: realm, User: user,
		CreatedAt: x.now, IssuedAt: x.now, LastUsedAt: x.now, Deadline: x.now.Add(24 * time.Hour),
		IdleTimeout: time.Hour, Values: session.NewValues(rawValues(pairs)),
	}
	if user != "" {
		r.AuthenticatedAt = x.now
	}
	return r
}

// full returns a live record with something in each field that a store keeps of one.
func (x *trial) full() *session.Record {
	r := x.record("user "+text(), "cart", `["tea",{"n":9007199254740993}]`, "seen", "true", "name", `"Ada"`)
	r.Note, r.Persistent, r.IdleTimeout = "Ada's phone", true, 7*time.Minute
	r.Claim = "claim " + text()
	r.CreatedAt, r.AuthenticatedAt = x.now.Add(-3*time.Hour), x.now.Add(-2*time.Hour-time.Microsecond)
	r.IssuedAt, r.RegeneratedAt = x.now.Add(-time.Hour), x.now.Add(-30*time.Minute)
	r.LastUsedAt, r.Deadline = x.now.Add(-time.Minute-time.Microsecond), x.now.Add(5*time.Hour+time.Microsecond)
	r.Binding = session.Binding{Secret: []byte("\xff\x00" + text()), Key: []byte(text()), ProvedAt: x.now.Add(-time.Minute - time.Microsecond)}
	r.Tag = text()
	r.Flashes = []session.StoredFlash{{ID: "2", Category: "info", Message: "hello"}, {ID: "1", Message: "again"}}
	r.Latest = session.NewRevisions(session.PastRevision{Revision: text(), At: x.now.Add(-time.Second)},
		session.PastRevision{Revision: r.Revision, At: x.now})
	return r
}

// tombstoneOf returns what a Manager puts in the place of r.
func (x *trial) tombstoneOf(r *session.Record) *session.Record {
	return &session.Record{
		ID: r.ID, Revision: text(), Realm: r.Realm, User: r.User, CreatedAt: r.CreatedAt, IssuedAt: x.now, LastUsedAt: x.now,
		Deadline: x.now.Add(time.Minute), Ended: true,
	}
}

// edit is a part of a change.
type edit func(*session.Record)

// change returns what a request that holds h makes of its record.
func (x *trial) change(h held, edits ...edit) *session.Record {
	next := *h.record
	next.Revision, next.LastUsedAt, next.Version, next.Stale = text(), x.now, nil, false
	for _, e := range edits {
		e(&next)
	}
	return &next
}

func set(pairs ...string) edit {
	return func(r *session.Record) {
		values := maps.Collect(r.Values.All())
		maps.Copy(values, rawValues(pairs))
		r.Values = session.NewValues(values)
	}
}

func rawValues(pairs []string) map[string]json.RawMessage {
	values := make(map[string]json.RawMessage)
	for pair := range slices.Chunk(pairs, 2) {
		values[pair[0]] = json.RawMessage(pair[1])
	}
	return values
}

// moved returns the two swaps by which a session goes on under another ID, and the token of the new one.
func (x *trial) moved(h held, edits ...edit) (session.Token, []session.Swap) {
	next, tombstone := x.change(h, edits...), x.tombstoneOf(h.record)
	next.ID, next.RegeneratedAt = text(), x.now
	tombstone.Successor = next.ID
	return tokenFor(next), []session.Swap{{Old: h.record, New: tombstone}, {New: next}}
}

// create stores r as a new session, and loads it.
func (x *trial) create(r *session.Record) held {
	x.Helper()
	return x.load(x.mustSwap(tokenFor(r), session.Swap{New: r}))
}

// swap puts next in the place of what h holds, and loads it.
func (x *trial) swap(h held, next *session.Record) held {
	x.Helper()
	return x.load(x.mustSwap(h.token, session.Swap{Old: h.record, New: next}))
}

// end puts a tombstone in the place of what h holds, and returns it.
func (x *trial) end(h held) *session.Record {
	x.Helper()
	tombstone := x.tombstoneOf(h.record)
	x.mustSwap(h.token, session.Swap{Old: h.record, New: tombstone})
	return tombstone
}

func (x *trial) mustSwap(token session.Token, swaps ...session.Swap) session.Token {
	x.Helper()
	token, err := x.store.Swap(x.ctx, token, swaps...)
	if err != nil {
		x.Fatalf("Swap: %v", err)
	}
	return token
}

// trySwap makes one swap, which may fail.
func (x *trial) trySwap(token session.Token, old, next *session.Record) error {
	_, err := x.store.Swap(x.ctx, token, session.Swap{Old: old, New: next})
	return err
}

func (x *trial) load(token session.Token) held {
	x.Helper()
	r, err := x.store.Load(x.ctx, token)
	if err != nil || r == nil {
		x.Fatalf("Load of a record that is there: %v, %v", r, err)
	}
	return held{token, r}
}

// assume reports whether what a clause takes for granted holds. If not, that is another clause's finding.
func (x *trial) assume(holds bool, what string) bool {
	x.Helper()
	if !holds {
		x.Log("not judged, since " + what)
	}
	return holds
}

// assumeEnded reports whether a tombstone is where one was put.
func (x *trial) assumeEnded(token session.Token) bool {
	x.Helper()
	r, _ := x.store.Load(x.ctx, token)
	return x.assume(r != nil && r.Ended, "a tombstone was not kept")
}

// opens reports whether the token opens a record that is no tombstone.
func (x *trial) opens(token session.Token) bool {
	r, err := x.store.Load(x.ctx, token)
	return err == nil && r != nil && !r.Ended
}

// closed fails the clause if the token opens more than a tombstone.
func (x *trial) closed(token session.Token, what string) {
	x.Helper()
	if token.ID() == "" && token.Value() == "" {
		return // what Swap returns with an error
	}
	r, err := x.store.Load(x.ctx, token)
	if err == nil && (r == nil || !r.Ended) {
		x.Fatalf("%s: Load returned %+v", what, r)
	}
}

// missing fails the clause unless Load says that there is no such record.
func (x *trial) missing(token session.Token, what string) {
	x.Helper()
	r, err := x.store.Load(x.ctx, token)
	if err == nil {
		x.Fatalf("%s: Load returned %+v, and must not find it", what, r)
	}
	if !errors.Is(err, session.ErrNotFound) {
		x.Fatalf("%s: the error of Load is %v, and must wrap ErrNotFound", what, err)
	}
}

// stays fails the clause unless r is stored still.
func (x *trial) stays(token session.Token, r *session.Record, what string) {
	x.Helper()
	x.same(x.load(token).record, r, what)
}

// conflicts fails the clause unless err is the conflict of the record of id.
func (x *trial) conflicts(err error, id, what string) {
	x.Helper()
	var conflict *session.ConflictError
	if !errors.As(err, &conflict) {
		x.Fatalf("%s: the error is %v, and must be a *ConflictError", what, err)
	}
	if conflict.ID != id {
		x.Errorf("%s: the conflict is about the ID %q, and must be about %q", what, conflict.ID, id)
	}
}

func isConflict(err error) bool {
	var conflict *session.ConflictError
	return errors.As(err, &conflict)
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

// copyOf returns a copy of r that shares nothing with it.
func copyOf(r *session.Record) *session.Record {
	next := *r
	values := maps.Collect(r.Values.All())
	for key, raw := range values {
		values[key] = bytes.Clone(raw)
	}
	next.Values = session.NewValues(values)
	next.Binding.Secret, next.Binding.Key = bytes.Clone(r.Binding.Secret), bytes.Clone(r.Binding.Key)
	next.Flashes, next.Latest = slices.Clone(r.Flashes), session.NewRevisions(slices.Collect(r.Latest.All())...)
	return &next
}

// trippingContext ends when it is asked something for the n-th time: with each n in turn, it ends at each point where a
// store, or what it is built on, looks.
type trippingContext struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func (x *trial) trippingContext(n int) *trippingContext {
	c := &trippingContext{}
	c.Context, c.cancel = context.WithCancel(x.ctx)
	c.left.Store(int64(n))
	return c
}

// tripped reports whether it has ended: if not, all questions have been asked.
func (c *trippingContext) tripped() bool { return c.left.Load() <= 0 }

func (c *trippingContext) countQuestion() {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
}

// Err implements context.Context.
func (c *trippingContext) Err() error {
	c.countQuestion()
	return c.Context.Err()
}

// Done implements context.Context.
func (c *trippingContext) Done() <-chan struct{} {
	c.countQuestion()
	return c.Context.Done()
}

// Deadline implements context.Context.
func (c *trippingContext) Deadline() (time.Time, bool) {
	c.countQuestion()
	return c.Context.Deadline()
}
