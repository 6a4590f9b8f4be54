package storetest_test

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
)

func isLive(r *record) bool { return r != nil && !r.Ended }

// isTouch reports whether a swap changes no value.
func isTouch(w swap) bool {
	return w.Old != nil && isLive(w.New) && maps.EqualFunc(maps.Collect(w.Old.Values.All()), maps.Collect(w.New.Values.All()),
		func(a, b json.RawMessage) bool { return string(a) == string(b) })
}

func with(values session.Values, key string, raw json.RawMessage) map[string]json.RawMessage {
	m := maps.Collect(values.All())
	if m[key] = raw; raw == nil {
		delete(m, key)
	}
	return m
}

// edited returns a copy of r with a change.
func edited(r *record, edit func(*record)) *record {
	next := *r
	edit(&next)
	return &next
}

// mapped returns a copy of r whose keys and values went through f.
func mapped(r *record, f func(key string, raw json.RawMessage) (string, json.RawMessage)) *record {
	values := map[string]json.RawMessage{}
	for key, raw := range r.Values.All() {
		key, raw = f(key, raw)
		values[key] = raw
	}
	return edited(r, func(r *record) { r.Values = session.NewValues(values) })
}

// brokenStores are stores with a flaw, and the clauses that it breaks.
var brokenStores = []struct {
	name   string
	breaks []string
	flaw   flaw
}{
	{"a forgotten field", []string{"a record comes back as it was stored"}, flaw{
		stored: func(_ *flawed, w swap, current *record, _ bool, _ time.Time) *record {
			return edited(w.New, func(r *record) { r.Persistent = r.Persistent && !isLive(current) })
		},
	}},
	{"tombstones without their latest revisions", []string{"a tombstone comes back as it was stored"}, flaw{
		stored: func(_ *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
			return edited(w.New, func(r *record) {
				if r.Ended {
					r.Latest = session.Revisions{}
				}
			})
		},
	}},
	{"tombstones without values", []string{"a tombstone comes back as it was stored"}, flaw{
		stored: func(_ *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
			return edited(w.New, func(r *record) {
				if r.Ended {
					r.Values = session.Values{}
				}
			})
		},
	}},
	{"a tombstone is a deletion", []string{
		"a tombstone comes back as it was stored", "a swap that was made before is no conflict",
	}, flaw{
		stored: func(_ *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
			if w.New.Ended {
				return nil
			}
			return w.New
		},
	}},
	{"a token of its own", []string{"Swap returns the token that opens the session"}, flaw{
		token: func(t session.Token) session.Token { return session.NewToken(t.ID(), "another").WithRealm(t.Realm()) },
	}},
	{"UPDATE without WHERE", []string{"sessions do not mix"}, flaw{
		stored: func(s *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
			for id, r := range s.records {
				if w.New.Values.Get("only") != nil && r.Values.Get("who") != nil {
					s.records[id] = edited(r, func(r *record) { r.Values = w.New.Values })
				}
			}
			return w.New
		},
	}},
	{"records changed in place", []string{"records stay as they were"}, flaw{
		stored: func(_ *flawed, w swap, current *record, _ bool, _ time.Time) *record {
			if isLive(current) && isLive(w.New) && w.New.Note != current.Note {
				*current = *w.New
				return current
			}
			return w.New
		},
	}},
	{"no ID is somebody's", []string{"an unknown ID is not found"}, flaw{
		load: func(_ *flawed, id string, r *record, now time.Time) *record {
			if id == "" {
				return &record{CreatedAt: now, LastUsedAt: now, Deadline: now.Add(time.Hour)}
			}
			return r
		},
	}},
	{"an ID taken from the caller", []string{
		"an unknown ID is not found", "a swap of what is not there is a conflict", "after a conflict nothing is made",
		"a context that has ended changes nothing", "a context that ends meanwhile leaves no half",
		"of regenerations at once one wins",
	}, flaw{
		load: func(_ *flawed, id string, r *record, now time.Time) *record {
			if r == nil {
				return &record{ID: id, CreatedAt: now, LastUsedAt: now, Deadline: now.Add(time.Hour)}
			}
			return r
		},
	}},
	{"keys without case", []string{"odd texts come back"}, flaw{
		stored: func(_ *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
			return mapped(w.New, func(key string, raw json.RawMessage) (string, json.RawMessage) { return strings.ToLower(key), raw })
		},
	}},
	{"IDs without case", []string{"odd texts come back"}, flaw{key: strings.ToLower}},
	{"IDs without trailing spaces", []string{"odd texts come back"}, flaw{key: func(id string) string { return strings.TrimRight(id, " ") }}},
	{"values cut at 32 KiB", []string{"a record of 64 KiB comes back"}, flaw{
		stored: func(_ *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
			return mapped(w.New, func(key string, raw json.RawMessage) (string, json.RawMessage) {
				return key, raw[:min(len(raw), 1<<15)]
			})
		},
	}},

	{"revisions ignored", []string{
		"a stale swap is a conflict", "what is past its limits is swapped like the rest", "after a conflict nothing is made",
		"before a conflict all is made or none", "100 increments at once all count", "what has ended is not brought back",
		"an end holds against swaps under way", "of regenerations at once one wins", "End ends a session and returns what was there",
		"End gets through while others swap",
	}, flaw{
		fits: func(_ *flawed, w swap, current *record, _ time.Time) verdict {
			if w.Old != nil && current != nil {
				return accepts
			}
			return asRight
		},
		window:  func(swaps []swap) bool { return swaps[0].Old != nil && swaps[0].Old.Values.Get("n") != nil },
		insists: func(*flawed, *record, *record) bool { return false },
	}},
	{"a touch is never stale", []string{"a stale swap is a conflict"}, flaw{
		fits: func(_ *flawed, w swap, current *record, _ time.Time) verdict {
			if isLive(current) && isTouch(w) {
				return accepts
			}
			return asRight
		},
	}},
	{"upserts", []string{"a swap of what is not there is a conflict"}, flaw{
		fits: func(_ *flawed, w swap, current *record, _ time.Time) verdict {
			if current == nil {
				return accepts
			}
			return asRight
		},
	}},
	{"a new session over another user's", []string{"a new session does not take an ID in use"}, flaw{
		fits: func(_ *flawed, w swap, current *record, _ time.Time) verdict {
			if w.Old == nil && isLive(current) && current.User != w.New.User {
				return accepts
			}
			return asRight
		},
	}},
	{"a new session over a tombstone", []string{"a new session does not take the ID of one that ended"}, flaw{
		fits: func(s *flawed, w swap, current *record, _ time.Time) verdict {
			if w.Old == nil && current != nil && current.Ended && !s.byEnd[w.New.ID] {
				return accepts
			}
			return asRight
		},
	}},
	{"an expired row is free", []string{"a new session does not take the ID of one that expired"}, flaw{
		fits: func(_ *flawed, w swap, current *record, now time.Time) verdict {
			if w.Old == nil && isLive(current) && !now.Before(current.ExpiresAt()) {
				return accepts
			}
			return asRight
		},
	}},
	{"a touch brings back", []string{"what has ended is not brought back"}, flaw{
		fits: func(_ *flawed, w swap, current *record, _ time.Time) verdict {
			if current != nil && current.Ended && isTouch(w) {
				return accepts
			}
			return asRight
		},
	}},
	{"tombstones for ever", []string{"a tombstone is replaced by who loaded it"}, flaw{
		fits: func(_ *flawed, w swap, current *record, _ time.Time) verdict {
			if current != nil && current.Ended && current.Revision != w.New.Revision {
				return refuses
			}
			return asRight
		},
	}},
	{"a store that decides what has expired", []string{"what is past its limits is swapped like the rest"}, flaw{
		fits: func(_ *flawed, _ swap, current *record, now time.Time) verdict {
			if isLive(current) && !now.Before(current.ExpiresAt()) {
				return refuses
			}
			return asRight
		},
	}},
	{"a conflict with what was expected", []string{"a conflict says what is stored"}, flaw{
		conflict: func(w swap, _ *record, _ []swap) *session.ConflictError {
			return &session.ConflictError{ID: w.New.ID, Current: w.Old}
		},
	}},
	{"a conflict of the first", []string{"a conflict says what is stored", "before a conflict all is made or none"}, flaw{
		conflict: func(_ swap, _ *record, swaps []swap) *session.ConflictError {
			return &session.ConflictError{ID: swaps[0].New.ID}
		},
	}},
	{"no look at the new revision", []string{"a swap that was made before is no conflict"}, flaw{
		fits: func(_ *flawed, w swap, current *record, _ time.Time) verdict {
			if current != nil && (w.Old == nil || current.Revision != w.Old.Revision) {
				return refuses
			}
			return asRight
		},
	}},
	{"a move begins a new lifetime", []string{"a session moves to another ID"}, flaw{
		stored: func(_ *flawed, w swap, _ *record, alone bool, now time.Time) *record {
			if alone || w.New.Ended {
				return w.New
			}
			return edited(w.New, func(r *record) { r.CreatedAt = now })
		},
	}},
	{"goes on after a conflict", []string{
		"after a conflict nothing is made", "before a conflict all is made or none", "of regenerations at once one wins",
	}, flaw{
		sequence: func(_ *flawed, swaps []swap, try func(swap) error) (first error) {
			for _, w := range swaps {
				if err := try(w); first == nil {
					first = err
				}
			}
			return first
		},
	}},
	{"goes on after a conflict of the first of three", []string{"after a conflict nothing is made"}, flaw{
		sequence: func(s *flawed, swaps []swap, try func(swap) error) error {
			first := try(swaps[0])
			if first != nil && len(swaps) != 3 {
				return first
			}
			if err := oneByOne(s, swaps[1:], try); first == nil {
				return err
			}
			return first
		},
	}},
	{"the last one first", []string{
		"after a conflict nothing is made", "before a conflict all is made or none", "of regenerations at once one wins",
	}, flaw{
		sequence: func(s *flawed, swaps []swap, try func(swap) error) error {
			swaps = slices.Clone(swaps)
			slices.Reverse(swaps)
			return oneByOne(s, swaps, try)
		},
	}},
	{"takes back the last of several", []string{"before a conflict all is made or none"}, flaw{
		sequence: func(s *flawed, swaps []swap, try func(swap) error) error {
			for i, w := range swaps {
				if err := try(w); err != nil {
					if i > 0 && swaps[i-1].Old != nil {
						s.records[swaps[i-1].New.ID] = swaps[i-1].Old
					}
					return err
				}
			}
			return nil
		},
	}},

	{"expired is gone", []string{"an expired session is kept for a minute"}, flaw{
		load: func(_ *flawed, _ string, r *record, now time.Time) *record {
			if isLive(r) && !now.Before(r.ExpiresAt()) {
				return nil
			}
			return r
		},
	}},
	{"the first time to live stays", []string{"a session is kept as long as it is used"}, flaw{
		load: func(s *flawed, id string, r *record, now time.Time) *record {
			if isLive(r) && r.User == "" && !now.Before(s.first[id].KeepUntil()) {
				return nil
			}
			return r
		},
	}},
	{"tombstones for half a minute", []string{"a tombstone is kept until its deadline"}, flaw{
		load: func(_ *flawed, _ string, r *record, now time.Time) *record {
			if r != nil && r.Ended && now.Sub(r.IssuedAt) > 30*time.Second {
				return nil
			}
			return r
		},
	}},
	{"tombstones beside the records", []string{"what has ended stays ended"}, flaw{
		load: func(s *flawed, id string, r *record, now time.Time) *record {
			if r != nil && r.Ended && !now.Before(r.Deadline) {
				return s.first[id]
			}
			return r
		},
	}},

	{"End does not say that it was from outside", []string{"End ends a session and returns what was there"}, flaw{
		end: func(s *flawed, tombstone, current *record) bool {
			if !isLive(current) {
				return false
			}
			s.byEnd[tombstone.ID] = true
			s.store(tombstone.ID, edited(tombstone, func(r *record) { r.Revoked = false }))
			return true
		},
	}},
	{"nothing to end", []string{"End leaves a tombstone where nothing was"}, flaw{
		end: func(_ *flawed, _, current *record) bool { return current == nil },
	}},
	{"End over a tombstone", []string{"End leaves a tombstone as it is"}, flaw{
		end: func(s *flawed, tombstone, current *record) bool {
			if current != nil && current.Ended {
				s.store(tombstone.ID, tombstone)
				return true
			}
			return false
		},
	}},
	{"End by compare-and-swap", []string{"End gets through while others swap"}, flaw{endsOnce: true}},

	{"blind to contexts", []string{"a context that has ended changes nothing"}, flaw{blind: true}},
	{"one value at a time", []string{"a context that ends meanwhile leaves no half"}, flaw{halfway: true}},
	{"the new one first", []string{"a context that ends meanwhile leaves no half"}, flaw{backwards: true}},
	{"reads, then writes", []string{"100 increments at once all count"}, flaw{
		window: func(swaps []swap) bool {
			return len(swaps) == 1 && isLive(swaps[0].Old) && swaps[0].Old.Values.Get("n") != nil
		},
		insists: func(_ *flawed, read, now *record) bool { return isLive(read) && isLive(now) },
	}},
	{"a shared buffer", []string{"100 sessions at once do not mix"}, flaw{shared: true}},
	{"looks, then creates", []string{"of creations at once one wins"}, flaw{
		window:  func(swaps []swap) bool { return swaps[0].Old == nil && swaps[0].New.Values.Get("of") != nil },
		insists: func(_ *flawed, read, _ *record) bool { return read == nil },
	}},
	{"regenerations at once", []string{"of regenerations at once one wins"}, flaw{
		window:  func(swaps []swap) bool { return len(swaps) > 1 },
		insists: func(_ *flawed, read, now *record) bool { return isLive(read) && now != nil && now.Successor != "" },
	}},
	{"a write over an end", []string{"an end holds against swaps under way"}, flaw{
		window: func(swaps []swap) bool { return len(swaps) == 1 && isLive(swaps[0].Old) && isLive(swaps[0].New) },
		insists: func(s *flawed, read, now *record) bool {
			return isLive(read) && now != nil && now.Ended && !s.byEnd[now.ID]
		},
	}},

	{"a list without notes", []string{"a user's sessions are listed"}, flaw{
		listed: func(r *record) []*record { return []*record{edited(r, func(r *record) { r.Note = "" })} },
	}},
	{"a list with doubles", []string{"a user's sessions are listed"}, flaw{
		listed: func(r *record) []*record {
			if r.Note != "" {
				return []*record{r, r}
			}
			return []*record{r}
		},
	}},
	{"a list without realms", []string{"nobody else's sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, _, user string, _ time.Time) bool { return r.User == user },
	}},
	{"a list by the start of a name", []string{"nobody else's sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, realm, user string, _ time.Time) bool {
			return r.Realm == realm && strings.HasPrefix(r.User, user)
		},
	}},
	{"a list without case", []string{"nobody else's sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, realm, user string, _ time.Time) bool {
			return r.Realm == realm && strings.EqualFold(r.User, user)
		},
	}},
	{"a list without spaces", []string{"nobody else's sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, realm, user string, _ time.Time) bool {
			return r.Realm == realm && strings.TrimRight(r.User, " ") == strings.TrimRight(user, " ")
		},
	}},
	{"realm and user in one text", []string{"nobody else's sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, realm, user string, _ time.Time) bool {
			return r.Realm+":"+r.User == realm+":"+user
		},
	}},
	{"realm and user in one C text", []string{"nobody else's sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, realm, user string, _ time.Time) bool {
			return r.Realm+"\x00"+r.User == realm+"\x00"+user
		},
	}},
	{"a list without tombstones", []string{"tombstones and expired sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, realm, user string, _ time.Time) bool {
			return r.Realm == realm && r.User == user && !r.Ended
		},
	}},
	{"a list without the expired", []string{"tombstones and expired sessions are listed"}, flaw{
		lists: func(_ *flawed, r *record, realm, user string, now time.Time) bool {
			return r.Realm == realm && r.User == user && now.Before(r.ExpiresAt())
		},
	}},
	{"index entries that end at their first time", []string{"a session is listed as long as it is kept"}, flaw{
		lists: func(s *flawed, r *record, realm, user string, now time.Time) bool {
			return r.Realm == realm && r.User == user && now.Before(s.first[r.ID].KeepUntil())
		},
	}},
	{"an index pruned of what has no record", []string{"a session is listed as soon as it is stored"}, flaw{prunes: true}},
	{"all sessions of all realms", []string{"all of a realm is gone through"}, flaw{all: through(func(*record, string) bool { return true })}},
	{"all sessions without case", []string{"all of a realm is gone through"}, flaw{
		all: through(func(r *record, realm string) bool { return strings.EqualFold(r.Realm, realm) }),
	}},
	{"all sessions of users", []string{"all of a realm is gone through"}, flaw{all: through(func(r *record, realm string) bool {
		return r.Realm == realm && (r.User != "" || r.IdleTimeout == time.Hour)
	})}},
	{"all sessions, until another one is stored", []string{"nothing is left out while others are stored"}, flaw{all: throughUntilAnother}},
	{"all sessions, whatever the context says", []string{"going through ends with its context"}, flaw{
		all: func(s *flawed, _ context.Context, realm string) iter.Seq2[*record, error] {
			return through(func(r *record, realm string) bool { return r.Realm == realm })(s, context.Background(), realm)
		},
	}},
	{"nothing told of End", []string{"ends are told"}, flaw{deafToEnd: true}},
	{"told without end", []string{"ends are told until stop"}, flaw{unstopped: true}},
}

// through returns an All that returns the records that fit.
func through(fits func(r *record, realm string) bool) func(*flawed, context.Context, string) iter.Seq2[*record, error] {
	return func(s *flawed, ctx context.Context, realm string) iter.Seq2[*record, error] {
		return func(yield func(*record, error) bool) {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			for _, r := range s.snapshot() {
				if fits(r, realm) && !yield(r, nil) {
					return
				}
			}
		}
	}
}

// throughUntilAnother stops without a word where a session was stored since it began.
func throughUntilAnother(s *flawed, ctx context.Context, realm string) iter.Seq2[*record, error] {
	before := len(s.snapshot())
	return through(func(r *record, realm string) bool {
		return r.Realm == realm && len(s.snapshot()) == before
	})(s, ctx, realm)
}

// forgetfulStores lose one field each. Which clauses notice beside the one that has to, is of no interest.
func forgetfulStores() (all []trialled) {
	for field := range reflect.TypeFor[record]().Fields() {
		if slices.Contains([]string{"Version", "Stale"}, field.Name) {
			continue
		}
		noticed := "a record comes back as it was stored"
		if slices.Contains([]string{"Ended", "Revoked", "Successor"}, field.Name) {
			noticed = "a tombstone comes back as it was stored"
		}
		forget := func(_ *flawed, _ string, r *record, _ time.Time) *record {
			if r == nil {
				return nil
			}
			return edited(r, func(r *record) { reflect.ValueOf(r).Elem().FieldByName(field.Name).SetZero() })
		}
		all = append(all, trialled{name: "without " + field.Name, breaks: []string{noticed}, andMore: true, store: func(*testing.T) session.Store {
			return complete{newFlawed(flaw{load: forget})}
		}})
	}
	return all
}

// cachedStore is one process's store on a database that others share. It asks its cache first.
type cachedStore struct {
	*flawed
	mu    sync.Mutex
	cache map[string]*record
}

func newCachedStores() func(*testing.T) session.Store {
	database := newFlawed(flaw{})
	return func(*testing.T) session.Store { return &cachedStore{flawed: database, cache: map[string]*record{}} }
}

func (c *cachedStore) Load(ctx context.Context, token session.Token) (*record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.cache[token.ID()]; r != nil && ctx.Err() == nil {
		return r, nil
	}
	r, err := c.flawed.Load(ctx, token)
	if err == nil {
		c.cache[r.ID] = r
	}
	return r, err
}

func (c *cachedStore) Swap(ctx context.Context, token session.Token, swaps ...swap) (session.Token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	token, err := c.flawed.Swap(ctx, token, swaps...)
	if err != nil {
		return token, err // a conflict should have told it that what it has is old
	}
	for _, w := range swaps {
		c.cache[w.New.ID] = w.New
	}
	return token, nil
}
