package storetest_test

import (
	"context"
	"iter"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

type (
	record = session.Record
	swap   = session.Swap
)

// flawed is a store that keeps the contract, except for its flaw: each field of flaw stands in place of a part, and nil
// leaves that part right.
type flawed struct {
	mu      sync.Mutex
	records map[string]*record
	first   map[string]*record         // what was stored under each ID at first
	byEnd   map[string]bool            // IDs whose tombstones End put
	index   map[string]map[string]bool // IDs by realm and user
	scratch *record
	told    map[int]func(id string) // who listens
	tells   int                     // how many have listened so far
	entered atomic.Int64            // calls of all methods but Load
	flaw
}

type flaw struct {
	key       func(id string) string                                          // what records are kept by
	load      func(s *flawed, id string, r *record, now time.Time) *record    // what Load finds
	token     func(session.Token) session.Token                               // what Swap returns
	fits      func(s *flawed, w swap, current *record, now time.Time) verdict // whether a swap can be made
	stored    func(s *flawed, w swap, current *record, alone bool, now time.Time) *record
	conflict  func(w swap, current *record, swaps []swap) *session.ConflictError
	sequence  func(s *flawed, swaps []swap, try func(swap) error) error // makes them one by one
	window    func(swaps []swap) bool                                   // for these, others come between reading and writing
	insists   func(s *flawed, read, now *record) bool                   // and what was read counts still
	shared    bool                                                      // records that are stored at once share a buffer
	blind     bool                                                      // Swap does not look at its context
	halfway   bool                                                      // Swap stores one value, looks at its context, and stores the rest
	backwards bool                                                      // of two swaps, the second is stored first, and the context looked at between them
	end       func(s *flawed, tombstone, current *record) bool          // in place of storing; reports whether that is all
	endsOnce  bool                                                      // End does what Swap does
	lists     func(s *flawed, r *record, realm, user string, now time.Time) bool
	listed    func(r *record) []*record                                                    // what a list has of a record
	all       func(s *flawed, ctx context.Context, realm string) iter.Seq2[*record, error] // in place of going through all
	deafToEnd bool                                                                         // what End ends is not told
	unstopped bool                                                                         // stop does nothing
	prunes    bool                                                                         // the index comes before the record, and a list takes out what has no record
}

// verdict says what a flaw makes of a swap.
type verdict int

const (
	asRight verdict = iota // what is right
	accepts
	refuses
)

func newFlawed(f flaw) *flawed {
	return &flawed{
		records: map[string]*record{}, first: map[string]*record{}, byEnd: map[string]bool{},
		index: map[string]map[string]bool{}, told: map[int]func(string){}, flaw: f,
	}
}

func (s *flawed) keyOf(id string) string {
	if s.key != nil {
		return s.key(id)
	}
	return id
}

func (s *flawed) Load(ctx context.Context, token session.Token) (*record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[s.keyOf(token.ID())]
	if s.load != nil {
		r = s.load(s, token.ID(), r, session.Now(ctx))
	}
	if r == nil {
		return nil, session.ErrNotFound
	}
	return r, nil
}

func (s *flawed) Swap(ctx context.Context, token session.Token, swaps ...swap) (session.Token, error) {
	s.entered.Add(1)
	if err := ctx.Err(); err != nil && !s.blind {
		return session.Token{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.swapAll(ctx, swaps); err != nil {
		return session.Token{}, err
	}
	if s.token != nil {
		token = s.token(token)
	}
	return token, nil
}

func (s *flawed) swapAll(ctx context.Context, swaps []swap) error {
	now := session.Now(ctx)
	if s.sequence != nil {
		return s.sequence(s, swaps, func(w swap) error { return s.swapTogether(ctx, []swap{w}, now) })
	}
	return s.swapTogether(ctx, swaps, now)
}

func (s *flawed) swapTogether(ctx context.Context, swaps []swap, now time.Time) error {
	current := s.current(swaps)
	if s.window != nil && s.window(swaps) {
		s.letOthersIn()
		for i, latest := range s.current(swaps) {
			if !s.insists(s, current[i], latest) {
				current[i] = latest
			}
		}
	}
	for i, w := range swaps {
		if !s.swapFits(w, current[i], now) {
			if s.conflict != nil {
				return s.conflict(w, current[i], swaps)
			}
			return &session.ConflictError{ID: w.New.ID, Current: current[i]}
		}
	}
	if s.backwards {
		swaps, current = slices.Clone(swaps), slices.Clone(current)
		slices.Reverse(swaps)
		slices.Reverse(current)
	}
	for i, w := range swaps {
		if err := ctx.Err(); i > 0 && s.backwards && err != nil {
			return err
		}
		if err := s.put(ctx, w, current[i], len(swaps) == 1, now); err != nil {
			return err
		}
	}
	return nil
}

func (s *flawed) current(swaps []swap) []*record {
	current := make([]*record, len(swaps))
	for i, w := range swaps {
		current[i] = s.records[s.keyOf(w.New.ID)]
	}
	return current
}

func (s *flawed) swapFits(w swap, current *record, now time.Time) bool {
	if s.fits != nil {
		if v := s.fits(s, w, current, now); v != asRight {
			return v == accepts
		}
	}
	return fits(w, current)
}

func (s *flawed) put(ctx context.Context, w swap, current *record, alone bool, now time.Time) error {
	next := w.New
	if s.stored != nil {
		next = s.stored(s, w, current, alone, now)
	}
	if s.halfway && current != nil && w.New.Values.Len() > 1 {
		part := *next
		part.Values = session.NewValues(with(current.Values, "a", w.New.Values.Get("a")))
		s.records[s.keyOf(next.ID)] = &part
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if s.prunes {
		s.addToIndex(w.New)
		if w.Old == nil && w.New.User != "" {
			s.letOthersIn()
		}
	}
	if s.shared && w.Old == nil && w.New.Values.Get("n") != nil {
		s.scratch = next
		s.letOthersIn()
		next = s.scratch
	}
	if next == nil {
		delete(s.records, s.keyOf(w.New.ID))
		return nil
	}
	s.store(w.New.ID, next)
	return nil
}

func (s *flawed) store(id string, next *record) {
	if s.first[id] == nil {
		s.first[id] = next
	}
	s.records[s.keyOf(id)] = next
	if next.Ended && (!s.byEnd[id] || !s.deafToEnd) {
		for _, ended := range s.told {
			ended(id)
		}
	}
}

func (s *flawed) addToIndex(r *record) {
	user := r.Realm + "\x00\x00" + r.User
	if s.index[user] == nil {
		s.index[user] = map[string]bool{}
	}
	s.index[user][r.ID] = true
}

// letOthersIn lets other goroutines come in between: it waits until one does, but not for ever, as there may be none.
func (s *flawed) letOthersIn() {
	before := s.entered.Load()
	s.mu.Unlock()
	for i := 0; i < 5000 && s.entered.Load() == before; i++ {
		runtime.Gosched()
	}
	for range 100 {
		runtime.Gosched()
	}
	s.mu.Lock()
}

// complete is flawed with all that a server store can have.
type complete struct{ *flawed }

var (
	_ session.Ender     = complete{}
	_ session.UserStore = complete{}

	_ session.AllStore    = complete{}
	_ session.EndNotifier = complete{}
)

func (s complete) End(ctx context.Context, tombstone *record) (*record, error) {
	s.entered.Add(1)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.records[s.keyOf(tombstone.ID)]
	if s.endsOnce {
		s.letOthersIn()
		if latest := s.records[s.keyOf(tombstone.ID)]; latest != current {
			return nil, &session.ConflictError{ID: tombstone.ID, Current: latest}
		}
	}
	if s.flaw.end != nil && s.flaw.end(s.flawed, tombstone, current) {
		return current, nil
	}
	if current != nil && current.Ended {
		return nil, &session.ConflictError{ID: tombstone.ID, Current: current}
	}
	s.byEnd[tombstone.ID] = true
	s.store(tombstone.ID, tombstone)
	s.addToIndex(tombstone)
	return current, nil
}

func (s complete) UserSessions(ctx context.Context, realm, user string) ([]*record, error) {
	s.entered.Add(1)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prunes {
		return s.pruneAndList(s.index[realm+"\x00\x00"+user]), nil
	}
	var listed []*record
	for _, r := range s.records {
		switch {
		case s.lists == nil && (r.Realm != realm || r.User != user), s.lists != nil && !s.lists(s.flawed, r, realm, user, session.Now(ctx)):
		case s.listed != nil:
			listed = append(listed, s.listed(r)...)
		default:
			listed = append(listed, r)
		}
	}
	return listed, nil
}

func (s complete) All(ctx context.Context, realm string) iter.Seq2[*record, error] {
	if s.all != nil {
		return s.all(s.flawed, ctx, realm)
	}
	return func(yield func(*record, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return
		}
		for _, r := range s.snapshot() {
			if r.Realm == realm && !yield(r, nil) {
				return
			}
		}
	}
}

func (s *flawed) snapshot() []*record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.records))
}

func (s complete) NotifyEnds(ended func(id string)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tells++
	n := s.tells
	s.told[n] = ended
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.unstopped {
			delete(s.told, n)
		}
	}
}

func (s complete) pruneAndList(ids map[string]bool) (listed []*record) {
	for _, id := range slices.Collect(maps.Keys(ids)) {
		r := s.records[s.keyOf(id)]
		if r == nil {
			delete(ids, id)
			continue
		}
		listed = append(listed, r)
	}
	return listed
}

// oneByOne makes swaps as a database does that can't make several at once.
func oneByOne(_ *flawed, swaps []swap, try func(swap) error) error {
	for _, w := range swaps {
		if err := try(w); err != nil {
			return err
		}
	}
	return nil
}
