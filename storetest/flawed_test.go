package storetest_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

// flawed is a store that keeps the contract, but for its flaw: each field of flaw stands in place of a part, and nil
// leaves that part right.
type flawed struct {
	mu      sync.Mutex
	records map[string]*session.Record
	scratch *session.Record
	entered atomic.Int64 // calls of Save and Delete
	flaw
}

type flaw struct {
	live    func(r *session.Record, now time.Time) error                        // whether Load and lists return r
	unknown func(s *flawed, id string) (*session.Record, error)                 // Load finds nothing
	sees    func(s *flawed, c *session.Change, source, target **session.Record) // before Apply
	stores  func(next, source *session.Record, c *session.Change) *session.Record
	keeps   func(s *flawed, next *session.Record) // in place of storing
	refuses func(c *session.Change, source *session.Record) error
	token   func(session.Token) session.Token
	buries  func(s *flawed, c *session.Change, now time.Time) // the replaced session
	deletes func(s *flawed, id string, now time.Time) error
	forgets bool                                       // a login hides where a session that was regenerated went on
	blind   bool                                       // Save does not look at its context
	halfway bool                                       // Save stores one key, looks at its context, and stores the rest
	window  func(c *session.Change) bool               // for these, others come between reading and writing
	insists func(read, now *session.Record) bool       // and what was read is what is written upon
	lists   func(r *session.Record, user string) bool  // whether UserSessions returns r
	owns    func(r *session.Record, user string) bool  // whose session EndUserSession ends
	excepts func(except []string) []string             // of EndUserSessions
	follows func(s *flawed, id string) *session.Record // in EndUserSession
	evicted func(live []*session.Record, maximum int) []*session.Record
}

func newFlawed(f flaw) *flawed { return &flawed{records: map[string]*session.Record{}, flaw: f} }

func (s *flawed) isLive(r *session.Record, now time.Time) error {
	if s.live != nil {
		return s.live(r, now)
	}
	return r.Live(now)
}

func (s *flawed) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[token.ID()]
	if r == nil && s.unknown != nil {
		return s.unknown(s, token.ID())
	}
	return r, s.isLive(r, session.Now(ctx))
}

func (s *flawed) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	s.entered.Add(1)
	if err := ctx.Err(); err != nil && !s.blind {
		return session.Token{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, source, target := session.Now(ctx), s.records[c.Source()], s.records[c.Record.ID]
	if s.window != nil && s.window(c) {
		s.others()
		if later := s.records[c.Source()]; !s.insists(source, later) {
			source = later
		}
		target = s.records[c.Record.ID]
	}
	if s.refuses != nil {
		if err := s.refuses(c, source); err != nil {
			return session.Token{}, err
		}
	}
	given := *c
	if s.sees != nil {
		s.sees(s, &given, &source, &target)
	}
	next, err := given.Apply(source, target, now)
	if err != nil {
		return session.Token{}, err
	}
	if s.stores != nil {
		next = s.stores(next, source, c)
	}
	if s.halfway && len(c.Set) > 1 {
		part := given
		part.Set, part.Operation = c.Set[:1], ""
		s.records[next.ID], _ = part.Apply(source, target, now)
		if err := ctx.Err(); err != nil {
			return session.Token{}, err
		}
	}
	s.replace(c, now)
	s.put(next)
	s.evict(next, c.MaxPerUser, now)
	if s.token != nil {
		token = s.token(token)
	}
	return token, nil
}

// others lets other goroutines come in between: it waits until one does, but not for ever, as there may be none.
func (s *flawed) others() {
	before := s.entered.Load()
	s.mu.Unlock()
	for i := 0; i < 20000 && s.entered.Load() == before; i++ {
		runtime.Gosched()
	}
	for range 100 {
		runtime.Gosched()
	}
	s.mu.Lock()
}

func (s *flawed) put(next *session.Record) {
	if s.keeps != nil {
		s.keeps(s, next)
		return
	}
	s.records[next.ID] = next
}

func (s *flawed) replace(c *session.Change, now time.Time) {
	switch old := c.Replaces(); {
	case s.records[old] == nil:
	case s.records[old].Ended && !s.forgets:
	case s.buries != nil:
		s.buries(s, c, now)
	default:
		s.records[old] = c.Tombstone(now)
	}
}

func (s *flawed) goesOnAs(id string) *session.Record {
	r := s.records[id]
	for r != nil && r.Successor != "" {
		r = s.records[r.Successor]
	}
	return r
}

// byDelete marks the tombstones that Delete leaves, so that a flaw can be about them.
const byDelete = "by Delete"

func (s *flawed) Delete(ctx context.Context, id string, _ time.Time) error {
	s.entered.Add(1)
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deletes != nil {
		return s.deletes(s, id, session.Now(ctx))
	}
	s.end(s.goesOnAs(id), session.Now(ctx))
	return nil
}

func (s *flawed) end(r *session.Record, now time.Time) {
	if r != nil && !r.Ended {
		tombstone := session.Tombstone(r.ID, now)
		tombstone.Note = byDelete
		s.records[r.ID] = tombstone
	}
}

func (s *flawed) liveOf(user string, now time.Time) (live []*session.Record) {
	for _, r := range s.records {
		if r.User == user && s.isLive(r, now) == nil {
			live = append(live, r)
		}
	}
	slices.SortFunc(live, func(a, b *session.Record) int { return a.Authenticated.Compare(b.Authenticated) })
	return live
}

func (s *flawed) evict(latest *session.Record, maximum int, now time.Time) {
	if maximum == 0 {
		return
	}
	live := s.liveOf(latest.User, now)
	over := live[:max(len(live)-maximum, 0)]
	if s.evicted != nil {
		over = s.evicted(live, maximum)
	}
	for _, r := range over {
		s.end(r, now)
	}
}

// revoking is flawed with the abilities for users.
type revoking struct{ *flawed }

func (s revoking) UserSessions(ctx context.Context, user string) ([]*session.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lists == nil {
		return s.liveOf(user, session.Now(ctx)), nil
	}
	var listed []*session.Record
	for _, r := range s.records {
		if s.lists(r, user) {
			listed = append(listed, r)
		}
	}
	return listed, nil
}

func (s revoking) EndUserSession(ctx context.Context, user, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.goesOnAs(id)
	if s.follows != nil {
		r = s.follows(s.flawed, id)
	}
	owned := r != nil && r.User == user
	if s.owns != nil {
		owned = s.owns(r, user)
	}
	if err := r.Live(session.Now(ctx)); err != nil || !owned {
		return errors.Join(session.ErrNotFound, err)
	}
	s.end(r, session.Now(ctx))
	return nil
}

func (s revoking) EndUserSessions(ctx context.Context, user string, except []string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.excepts != nil {
		except = s.excepts(except)
	}
	ended := 0
	for _, r := range s.liveOf(user, session.Now(ctx)) {
		if !slices.Contains(except, r.ID) {
			s.end(r, session.Now(ctx))
			ended++
		}
	}
	return ended, nil
}

var _ session.UserStore = revoking{}
