package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// This file is what lies between a process and the database: a Store whose calls are messages.

var (
	errCrashed       = errors.New("the process is dead")
	errReset         = errors.New("connection reset")
	errRefused       = errors.New("the database is loading")
	errNotReplicated = errors.New("not replicated")
)

// fate is what becomes of a message.
type fate struct {
	there, back  time.Duration
	lost         bool          // it does not arrive
	unanswered   bool          // its answer does not arrive
	cut          bool          // the sender is told of that
	twice        time.Duration // it arrives once more, so much later; zero: it does not
	write        bool
	unreplicated bool // no replica has it when it is answered
}

// draw decides the fate of a message.
func (w *world) draw(name string, write bool) fate {
	p, d := w.params, w.dice("message "+name)
	f := fate{write: write, there: drawDelay(d.Int64N, p.slow), back: drawDelay(d.Int64N, p.slow)}
	happens := func(what string, rate float64) bool {
		if d.Float64() >= rate || !w.has(what+" "+name) {
			return false
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.counts.faults++
		return true
	}
	late := time.Duration(d.Int64N(int64(mostLate)))
	switch {
	case happens("lose", p.lost):
		f.lost = true
	case happens("refuse", p.refused):
		f.lost, f.cut = true, true
	case happens("lose the answer of", p.unanswered):
		f.unanswered = true
	case happens("cut off", p.cut):
		f.unanswered, f.cut = true, true
	case happens("delay", p.late):
		f.there += late
	}
	if write && happens("repeat", p.twice) {
		f.twice = 1 + late
	}
	f.unreplicated = write && happens("do not replicate", p.unreplicated)
	return f
}

// drawDelay returns a time that no other message has, to the nanosecond.
func drawDelay(int64n func(int64) int64, most time.Duration) time.Duration {
	if int64n(4) == 0 {
		return 100*time.Microsecond + time.Duration(int64n(int64(most)))
	}
	return 100*time.Microsecond + time.Duration(int64n(int64(most)/10))
}

// answer is what the database answers.
type answer struct {
	record  *session.Record
	records []*session.Record
	err     error
	at      time.Time
}

// processStore is one process's store.
type processStore struct {
	node    *node
	crashed chan struct{}
}

type (
	enderStore struct{ processStore }
)

// store returns the Store of a process that lives until crashed is closed.
func (n *node) store(crashed chan struct{}) session.Store {
	s := processStore{n, crashed}
	if n.world.params.ends {
		return enderStore{s}
	}
	return s
}

var (
	_ session.UserStore = processStore{}
	_ session.Ender     = enderStore{}
)

// message sends something to the database, and waits for the answer. What happens in the database happens at one instant.
func (s processStore) message(ctx context.Context, what, id string, write bool, do func(by string, d *delivery) answer) answer {
	if err := ctx.Err(); err != nil {
		return answer{err: err}
	}
	w, v := s.node.world, visitOf(ctx)
	select {
	case <-s.crashed:
		return answer{err: errCrashed}
	default:
	}
	w.mu.Lock()
	name := v.name + "/" + what + " " + w.short(id, v.name)
	w.calls[name]++
	name = fmt.Sprintf("%s/%d", name, w.calls[name])
	w.counts.messages++
	w.mu.Unlock()
	answers := make(chan answer, 1)
	f := w.draw(name, write)
	w.group.Go(func() { w.deliver(name, v, f, answers, do) })
	select {
	case a := <-answers:
		return a
	case <-ctx.Done():
		return answer{err: ctx.Err()}
	case <-s.crashed:
		return answer{err: errCrashed}
	}
}

// delivery is one arrival of a message at the database.
type delivery struct {
	visit *visit
	said  []string // for the trace
}

// deliver is the way of a message, there and back.
func (w *world) deliver(name string, v *visit, f fate, answers chan<- answer, do func(string, *delivery) answer) {
	time.Sleep(f.there)
	if f.lost {
		w.note("%s: lost", name)
		if f.cut {
			answers <- answer{err: errRefused}
		}
		return
	}
	a := w.execute(name, v, f, do)
	if f.twice > 0 {
		w.group.Go(func() {
			time.Sleep(f.twice)
			w.execute(name+" once more", v, f, do)
		})
	}
	time.Sleep(f.back)
	switch {
	case !f.unanswered:
		answers <- a
	case f.cut:
		answers <- answer{err: errReset}
	}
}

func (w *world) execute(name string, v *visit, f fate, do func(string, *delivery) answer) answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := &delivery{visit: v}
	a := do(name, d)
	a.at = time.Now()
	switch { // a conflict, too, is about what the replicas have: a store writes again what it meets
	case f.unreplicated:
		a = answer{err: errNotReplicated, at: a.at}
	case f.write:
		w.db.replicate()
	}
	text := strings.Join(d.said, ", ")
	var conflict *session.ConflictError
	if a.err != nil && !errors.As(a.err, &conflict) { // which names an ID that is another one each time
		text += ": " + a.err.Error()
	}
	if f.unanswered {
		text += " (not answered)"
	}
	w.noteLocked("%s: %s", name, text)
	return a
}

// Load implements session.Store.
func (s processStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	w, v := s.node.world, visitOf(ctx)
	w.mu.Lock()
	if token.Value() != "" {
		w.tokens[token.Value()] = token.ID()
	}
	w.mu.Unlock()
	a := s.message(ctx, "load", token.ID(), false, func(_ string, d *delivery) answer {
		r := w.db.get(token.ID())
		d.said = append(d.said, w.describe(r))
		if r == nil {
			return answer{err: session.ErrNotFound}
		}
		return answer{record: copyOf(r)}
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	v.noteLoaded(s.node, token, a)
	return a.record, a.err
}

// Swap implements session.Store. Where the database can't make several at once, each is a message of its own, and the
// user's list comes first.
func (s processStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	w := s.node.world
	w.mu.Lock()
	w.checkSent(s.node, swaps)
	if last := swaps[len(swaps)-1].New; last.ID == token.ID() && token.Value() != "" {
		w.tokens[token.Value()] = token.ID()
	}
	w.mu.Unlock()
	if w.params.atomic {
		return token, s.swap(ctx, swaps, true)
	}
	for _, one := range swaps {
		if err := s.enlist(ctx, one.New, w.over(one.Old)); err != nil {
			return token, err
		}
	}
	for _, one := range swaps {
		if err := s.swap(ctx, []session.Swap{one}, false); err != nil {
			return token, err
		}
	}
	return token, nil
}

// over returns a part of a message's name that tells from what a swap starts: a call may make two of one session at one
// instant.
func (w *world) over(old *session.Record) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old == nil {
		return ""
	}
	return fmt.Sprintf("[%d]", w.calls["revision "+old.Revision])
}

func (s processStore) swap(ctx context.Context, swaps []session.Swap, enlist bool) error {
	w := s.node.world
	tells := w.params.tells
	return s.message(ctx, "swap"+w.over(swaps[0].Old), swaps[len(swaps)-1].New.ID, true, func(by string, d *delivery) answer {
		for _, one := range swaps {
			if conflict := w.db.check(one); conflict != nil {
				d.said = append(d.said, "conflict with "+w.describe(conflict.Current))
				if !tells {
					conflict.Current = nil
				}
				return answer{err: conflict}
			}
		}
		for _, one := range swaps {
			if enlist {
				w.db.enlist(one.New)
			}
			w.db.put(one.New, by, d)
		}
		return answer{}
	}).err
}

// enlist puts the ID of a record into its user's list.
func (s processStore) enlist(ctx context.Context, r *session.Record, over string) error {
	if r.User == "" {
		return nil
	}
	return s.message(ctx, "enlist"+over, r.ID, true, func(string, *delivery) answer {
		s.node.world.db.enlist(r)
		return answer{}
	}).err
}

// End implements session.Ender.
func (s enderStore) End(ctx context.Context, tombstone *session.Record) (*session.Record, error) {
	w := s.node.world
	if !w.params.atomic {
		if err := s.enlist(ctx, tombstone, ""); err != nil {
			return nil, err
		}
	}
	a := s.message(ctx, "end", tombstone.ID, true, func(by string, d *delivery) answer {
		current := w.db.get(tombstone.ID)
		if current != nil && current.Ended {
			d.said = append(d.said, "conflict with "+w.describe(current))
			conflict := &session.ConflictError{ID: tombstone.ID}
			if w.params.tells {
				conflict.Current = copyOf(current)
			}
			return answer{err: conflict}
		}
		w.db.enlist(tombstone)
		w.db.put(tombstone, by, d)
		return answer{record: copyOf(current)}
	})
	return a.record, a.err
}

// UserSessions implements session.UserStore. Where the database is in several parts, the list is read first and each record
// after it.
func (s processStore) UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error) {
	w := s.node.world
	var ids []string
	var records []*session.Record
	a := s.message(ctx, "list "+user+" for", "", false, func(_ string, d *delivery) answer {
		var a answer
		for _, id := range w.db.list(user) {
			if r := w.db.get(id); w.params.atomic && r != nil {
				a.records = append(a.records, w.listed(r))
			} else if !w.params.atomic {
				a.records = append(a.records, &session.Record{ID: id})
			}
			d.said = append(d.said, w.short(id, d.visit.name))
		}
		return a
	})
	if a.err != nil || w.params.atomic {
		return a.records, a.err
	}
	for _, r := range a.records {
		ids = append(ids, r.ID)
	}
	for _, id := range ids {
		a := s.message(ctx, "look at", id, false, func(_ string, d *delivery) answer {
			r := w.db.get(id)
			d.said = append(d.said, w.describe(r))
			if r == nil {
				return answer{}
			}
			return answer{record: w.listed(r)}
		})
		if a.err != nil {
			return nil, a.err
		}
		if r := a.record; r != nil && r.Realm == realm && r.User == user {
			records = append(records, r)
		}
	}
	return records, nil
}

// listed returns a record as a list has it: without its content, and with End without its latest revisions.
func (w *world) listed(r *session.Record) *session.Record {
	next := copyOf(r)
	next.Values, next.Flashes = session.Values{}, nil
	if w.params.ends {
		next.Latest = session.Revisions{}
	}
	return next
}

// copyOf returns a record as it is read from the database.
func copyOf(r *session.Record) *session.Record {
	if r == nil {
		return nil
	}
	raw, err := r.MarshalBinary()
	next := &session.Record{}
	if err == nil {
		err = next.UnmarshalBinary(raw)
	}
	if err != nil {
		panic(err)
	}
	return next
}
