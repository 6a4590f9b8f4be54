package model_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// kind is a kind of store.
type kind struct {
	oneByOne bool // it makes several swaps one after the other, and may fail between them
	endless  bool // it has no End
	alone    bool // it is in the cookie: no faults, no other requests, and each request has its whole response
}

// open returns a store of this kind, whose changes meet their fate.
func (k kind) open(inner session.Store, f *fate) session.Store {
	if k.endless {
		inner = withoutEnd{inner.(session.UserStore)}
	}
	gate := kit.NewStore(inner)
	gate.Intercept(f.intercept)
	if k.oneByOne {
		return kit.OneByOne(gate.Front())
	}
	return gate.Front()
}

// withoutEnd is a store that can compare and swap, and list.
type withoutEnd struct{ store session.UserStore }

func (s withoutEnd) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	return s.store.Load(ctx, token)
}

func (s withoutEnd) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	return s.store.Swap(ctx, token, swaps...)
}

// UserSessions returns whole records, as a tombstone that is swapped in keeps the latest revisions of what was there.
func (s withoutEnd) UserSessions(ctx context.Context, realm, user string) (whole []*session.Record, err error) {
	records, err := s.store.UserSessions(ctx, realm, user)
	for _, r := range records {
		stored, failed := s.Load(ctx, session.NewToken(r.ID, "").WithRealm(realm))
		if failed == nil {
			whole = append(whole, stored)
		}
	}
	return whole, err
}

// fate is what becomes of one of the next calls that change the store.
type fate struct {
	kind  fateKind
	after int // how many are made and answered before
}

type fateKind int

const (
	done    fateKind = iota
	lost             // it is made, and only its answer is lost
	refused          // it is not made
)

// fates guards all fates: a user's sessions are ended by several goroutines.
var fates sync.Mutex

// meet makes a call as fate has it.
func (f *fate) meet(call func() error) error {
	if f.strikes(refused) {
		return kit.ErrDown
	}
	if err := call(); err != nil {
		return err
	}
	if f.strikes(lost) {
		return kit.ErrDown
	}
	fates.Lock()
	defer fates.Unlock()
	f.after--
	return nil
}

// strikes reports whether it is this call's turn to meet its fate, if that is of the kind.
func (f *fate) strikes(kind fateKind) bool {
	fates.Lock()
	defer fates.Unlock()
	if f.kind != kind || f.after != 0 {
		return false
	}
	f.kind = done
	return true
}

// intercept is a kit.Hook.
func (f *fate) intercept(_ context.Context, op sessiontest.Op, call func() error) error {
	if op != sessiontest.Swap && op != sessiontest.End {
		return call()
	}
	return f.meet(call)
}

// record is what the model keeps under one ID.
type record struct {
	content
	id       int
	revision int
	latest   []revision

	ended   bool
	revoked bool
	next    int // the ID that a regenerated session goes on under
	until   time.Time
	by      *draft // whose tombstone it is
}

type revision struct {
	number int
	at     time.Time
}

func (r *record) knows(number int) bool {
	return r.revision == number || slices.ContainsFunc(r.latest, func(past revision) bool { return past.number == number })
}

// swap is one replacement; old is nil for a new session.
type swap struct{ old, new *record }

// conflict is a swap that met something else, or a tombstone that met another one.
type conflict struct{ id int }

func (conflict) Error() string { return "conflict" }

// store is the model's, with the registers that a session.Store is.
type store struct {
	kind
	fate
	records   map[int]*record
	revisions int
	now       func() time.Time
}

func (s *store) nextRevision() int {
	s.revisions++
	return s.revisions
}

// stamped gives r, which takes old's place, a revision and the latest ones.
func (s *store) stamped(r, old *record) *record {
	if r.revision == 0 {
		r.revision = s.nextRevision()
	}
	r.latest = nil
	if old != nil {
		for _, past := range old.latest {
			if s.now().Sub(past.at) < 30*time.Second {
				r.latest = append(r.latest, past)
			}
		}
	}
	r.latest = append(r.latest, revision{r.revision, s.now()})
	return r
}

func (s *store) tombstone(id int, user string) *record {
	return &record{id: id, content: content{user: user}, ended: true, until: s.now().Add(time.Minute)}
}

func (s *store) swap(swaps ...swap) error {
	if !s.oneByOne {
		return s.meet(func() error { return s.makeAll(swaps) })
	}
	for i := range swaps {
		if err := s.meet(func() error { return s.makeAll(swaps[i : i+1]) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) makeAll(swaps []swap) error {
	for _, w := range swaps {
		switch current := s.records[w.new.id]; {
		case current == nil && w.old == nil, current != nil && current.revision == w.new.revision:
		case current == nil || w.old == nil || current.revision != w.old.revision:
			return conflict{w.new.id}
		}
	}
	for _, w := range swaps {
		s.records[w.new.id] = w.new
	}
	return nil
}

// end puts a tombstone in the place of whatever is there, and returns what that was. Another tombstone stays, and is a
// conflict.
func (s *store) end(tombstone *record) (replaced *record, err error) {
	err = s.meet(func() error {
		current := s.records[tombstone.id]
		switch {
		case current != nil && current.ended && current.revision == tombstone.revision && s.endless:
			return nil
		case current != nil && current.ended:
			return conflict{tombstone.id}
		}
		replaced = current
		if tombstone.revision == 0 {
			tombstone.revision = s.nextRevision()
		}
		if s.endless {
			s.stamped(tombstone, current)
		}
		s.records[tombstone.id] = tombstone
		return nil
	})
	return replaced, err
}

// endSession ends a session and what it goes on as, and returns the tombstone that stands there in the end, and what it
// replaced.
func (s *store) endSession(id int, as record) (stands, replaced *record, err error) {
	for {
		tombstone := s.tombstone(id, as.user)
		tombstone.by, tombstone.revoked, tombstone.revision = as.by, as.revoked, as.revision
		replaced, err := s.end(tombstone)
		var met conflict
		switch {
		case err == nil:
			return tombstone, replaced, nil
		case !errors.As(err, &met):
			return nil, nil, err
		}
		if stands = s.records[id]; stands.next == 0 {
			return stands, nil, nil
		}
		id = stands.next
	}
}
