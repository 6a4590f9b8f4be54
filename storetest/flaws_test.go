package storetest_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

type (
	record = session.Record
	change = session.Change
)

// What a change is, as the flaws tell them apart.
func inPlace(c *change) bool { return !c.Create }
func first(c *change) bool   { return c.Create && c.Base == nil }
func moves(c *change) bool   { return c.Create && !c.Fresh && c.Base != nil }
func touches(c *change) bool {
	return inPlace(c) && !c.Cleared && !c.Attributes && len(c.Set)+len(c.Deleted)+len(c.FlashesAdded)+len(c.FlashesTaken) == 0
}
func isLive(r *record) bool { return r != nil && !r.Ended }

func values(r *record) map[string]json.RawMessage {
	if r == nil {
		return nil
	}
	return r.Values
}

func with(m map[string]json.RawMessage, key string, raw json.RawMessage) map[string]json.RawMessage {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	m[key] = raw
	return m
}

// brokenStores are stores with a flaw, and the clauses that it breaks.
var brokenStores = []struct {
	name   string
	breaks []string
	flaw   flaw
}{
	{"no flaw", nil, flaw{}},
	{"a forgotten field", []string{"a session comes back as it was saved"}, flaw{stores: func(next, _ *record, c *change) *record {
		if first(c) {
			next.Persistent = false
		}
		return next
	}}},
	{"a token of its own", []string{"Save returns the token that opens the session"}, flaw{
		token: func(t session.Token) session.Token { return session.NewToken(t.ID(), "another") },
	}},
	{"DELETE without WHERE", []string{"sessions do not mix"}, flaw{deletes: func(s *flawed, id string, now time.Time) error {
		if s.goesOnAs(id) != nil {
			for _, r := range s.records {
				s.end(r, now)
			}
		}
		return nil
	}}},
	{"records changed in place", []string{"a loaded record stays as it was"}, flaw{stores: func(next, source *record, c *change) *record {
		if inPlace(c) && c.Attributes {
			*source = *next
			return source
		}
		return next
	}}},
	{"an id taken from the caller", []string{"an unknown id is not found"}, flaw{unknown: func(s *flawed, id string) (*record, error) {
		now := time.Now()
		s.records[id] = &record{ID: id, Created: now, Used: now, Deadline: now.Add(time.Hour)}
		return s.records[id], nil
	}}},
	{"unknown is ended", []string{"an unknown id is not found"}, flaw{unknown: func(*flawed, string) (*record, error) {
		return nil, errors.Join(session.ErrNotFound, session.ErrSessionEnded)
	}}},
	{"no error for no session", []string{"an unknown id is not found"}, flaw{unknown: func(_ *flawed, id string) (*record, error) {
		return &record{ID: id}, nil
	}}},
	{"an upserting save", []string{"a session that must exist is not made"}, flaw{sees: func(_ *flawed, c *change, source, target **record) {
		if inPlace(c) && *source == nil {
			*source = c.Record
		}
	}}},
	{"Regenerate of nothing", []string{"a session that must exist is not made"}, flaw{sees: func(_ *flawed, c *change, source, target **record) {
		if moves(c) && *source == nil {
			*source = c.Base
		}
	}}},
	{"a new session over another", []string{"a new id that is taken is refused"}, flaw{sees: func(_ *flawed, c *change, source, target **record) {
		made := func(o session.Operation) bool { return o.ID == c.Operation }
		if c.Create && isLive(*target) && !slices.ContainsFunc((*target).Operations, made) {
			*target = nil
		}
	}}},
	{"keys without case", []string{"odd keys and values come back"}, flaw{stores: func(next, _ *record, _ *change) *record {
		for key, raw := range maps.Clone(next.Values) {
			delete(next.Values, key)
			next.Values[strings.ToLower(key)] = raw
		}
		return next
	}}},
	{"values cut at 64 kB", []string{"a value of 1 MB comes back"}, flaw{stores: func(next, _ *record, _ *change) *record {
		for key, raw := range next.Values {
			next.Values[key] = raw[:min(len(raw), 1<<16)]
		}
		return next
	}}},

	{"no idle limit", []string{"an unused session expires"}, flaw{live: func(r *record, now time.Time) error {
		if isLive(r) && now.Before(r.Deadline) {
			return nil
		}
		return r.Live(now)
	}}},
	{"no deadline", []string{"a session expires at its deadline"}, flaw{live: func(r *record, now time.Time) error {
		if isLive(r) && (r.Idle == 0 || now.Before(r.Used.Add(r.Idle))) {
			return nil
		}
		return r.Live(now)
	}}},
	{"a TTL that is forgotten", []string{"an unused session expires", "a session expires at its deadline"}, flaw{live: func(r *record, now time.Time) error {
		if isLive(r) {
			return nil
		}
		return r.Live(now)
	}}},
	{"a save wakes what expired", []string{"an expired session is not changed"}, flaw{sees: func(_ *flawed, c *change, source, _ **record) {
		if isLive(*source) && !c.Fresh {
			awake := **source
			awake.Used, awake.Deadline = c.Record.Used, c.Record.Used.Add(time.Hour)
			if (*source).Live(c.Record.Used) != nil {
				*source = &awake
			}
		}
	}}},
	{"touches that do nothing", []string{"a touch moves the last use and nothing else"}, flaw{stores: func(next, source *record, c *change) *record {
		if touches(c) {
			return source
		}
		return next
	}}},
	{"touches that go back", []string{"a touch moves the last use and nothing else"}, flaw{stores: func(next, _ *record, c *change) *record {
		if touches(c) {
			next.Used = c.Record.Used
		}
		return next
	}}},
	{"touches that write values", []string{"a touch moves the last use and nothing else"}, flaw{stores: func(next, _ *record, c *change) *record {
		if touches(c) {
			next.Values, next.Flashes = c.Record.Values, c.Record.Flashes
		}
		return next
	}}},

	{"the last save wins", []string{"changes of different keys all stay", "100 goroutines keep their changes", "flashes are added and taken one by one", "note and limits stay as another request set them"},
		flaw{stores: func(next, _ *record, c *change) *record {
			if inPlace(c) && !touches(c) && c.Expect == nil {
				whole := *c.Record
				whole.Operations = next.Operations
				return &whole
			}
			return next
		}}},
	{"a deletion writes all", []string{"changes of different keys all stay"}, flaw{stores: func(next, _ *record, c *change) *record {
		if inPlace(c) && len(c.Deleted) > 0 {
			next.Values = c.Record.Values
		}
		return next
	}}},
	{"clearing what was seen", []string{"clearing takes what another request set"}, flaw{stores: func(next, source *record, c *change) *record {
		for key, raw := range values(source) {
			if _, seen := values(c.Base)[key]; inPlace(c) && c.Cleared && !seen {
				next.Values = with(next.Values, key, raw)
			}
		}
		return next
	}}},
	{"one flash takes all", []string{"flashes are added and taken one by one"}, flaw{stores: func(next, _ *record, c *change) *record {
		if len(c.FlashesTaken) > 0 {
			next.Flashes = nil
		}
		return next
	}}},
	{"a save writes the note it saw", []string{"note and limits stay as another request set them"}, flaw{stores: func(next, _ *record, c *change) *record {
		if inPlace(c) && len(c.Set) > 0 {
			next.Note = c.Record.Note
		}
		return next
	}}},
	{"limits that stay", []string{"note and limits stay as another request set them"}, flaw{stores: func(next, source *record, c *change) *record {
		if inPlace(c) && c.Attributes && c.Record.Idle != source.Idle {
			next.Idle, next.Deadline = source.Idle, source.Deadline
		}
		return next
	}}},
	{"Expect is ignored", []string{"an Update under contention counts"}, flaw{sees: func(_ *flawed, c *change, _, _ **record) { c.Expect = nil }}},
	{"Expect is looked at too early", []string{"an Update under contention counts"}, flaw{
		window:  func(c *change) bool { return c.Expect != nil },
		insists: func(read, now *record) bool { return isLive(read) && isLive(now) },
	}},
	{"no memory of operations", []string{"a change sent twice is made once"}, flaw{sees: func(_ *flawed, c *change, _, _ **record) { c.Operation = "" }}},

	{"a lost delete", []string{"a deleted session has ended"}, flaw{deletes: func(*flawed, string, time.Time) error { return nil }}},
	{"no tombstone", []string{"a deleted session has ended"}, flaw{deletes: func(s *flawed, id string, _ time.Time) error {
		if r := s.goesOnAs(id); r != nil {
			delete(s.records, r.ID)
		}
		return nil
	}}},
	{"nothing to delete", []string{"deleting what is not there is no error"}, flaw{deletes: func(s *flawed, id string, now time.Time) error {
		if s.records[id] == nil {
			return session.ErrNotFound
		}
		s.end(s.goesOnAs(id), now)
		return nil
	}}},
	{"a touch brings back", []string{"a session that ended meanwhile is not brought back"}, flaw{sees: func(_ *flawed, c *change, source, _ **record) {
		if touches(c) && *source != nil && (*source).Note == byDelete && c.Base.User == "" {
			*source = c.Base
		}
	}}},
	{"a tombstone overwritten", []string{"an ended id is not used again"}, flaw{sees: func(_ *flawed, c *change, _, target **record) {
		if c.Create && *target != nil && (*target).Ended {
			*target = nil
		}
	}}},
	{"Regenerate moves what it saw", []string{"Regenerate moves the session to its new id"}, flaw{stores: func(next, _ *record, c *change) *record {
		if moves(c) {
			next.Values, next.Flashes = c.Record.Values, c.Record.Flashes
		}
		return next
	}}},
	{"Regenerate leaves the old id", []string{"Regenerate ends the old id"}, flaw{buries: func(s *flawed, c *change, now time.Time) {
		if c.Fresh {
			s.records[c.Replaces()] = c.Tombstone(now)
		}
	}}},
	{"Regenerate without tombstone", []string{"Regenerate ends the old id"}, flaw{buries: func(s *flawed, c *change, now time.Time) {
		if delete(s.records, c.Replaces()); c.Fresh {
			s.records[c.Replaces()] = c.Tombstone(now)
		}
	}}},
	{"Regenerate of what ended", []string{"Regenerate of an ended session makes none"}, flaw{sees: func(_ *flawed, c *change, source, _ **record) {
		if moves(c) && *source != nil && (*source).Note == byDelete && c.Base.User == "" {
			*source = c.Base
		}
	}}},
	{"late writes follow", []string{"a late request does not change a session that moved"}, flaw{sees: func(s *flawed, c *change, source, _ **record) {
		if inPlace(c) && *source != nil && (*source).Successor != "" {
			*source = s.goesOnAs((*source).ID)
			c.Record = &record{ID: (*source).ID, Values: c.Record.Values, Used: c.Record.Used}
		}
	}}},
	{"Delete does not follow", []string{"deleting an id that moved ends the session"}, flaw{deletes: func(s *flawed, id string, now time.Time) error {
		s.end(s.records[id], now)
		return nil
	}}},
	{"a login hides where the session went", []string{"deleting an id that moved ends the session"}, flaw{forgets: true}},
	{"Login keeps all", []string{"Login carries what it keeps and nothing else"}, flaw{stores: func(next, source *record, c *change) *record {
		for key, raw := range values(source) {
			if c.Fresh && c.Base != nil && source.Live(c.Record.Used) == nil {
				next.Values = with(next.Values, key, raw)
			}
		}
		return next
	}}},
	{"Login leaves the old id", []string{"Login ends the old id"}, flaw{buries: func(s *flawed, c *change, now time.Time) {
		if !c.Fresh {
			s.records[c.Replaces()] = c.Tombstone(now)
		}
	}}},
	{"Login needs the old session", []string{"Login works if the old session is gone"}, flaw{refuses: func(c *change, source *record) error {
		if c.Fresh && c.Base != nil && !isLive(source) {
			return session.ErrNotFound
		}
		return nil
	}}},

	{"blind to contexts", []string{"a context that has ended changes nothing"}, flaw{blind: true}},
	{"one key at a time", []string{"a context that ends meanwhile leaves no half"}, flaw{halfway: true}},
	{"reads, then writes", []string{"100 goroutines keep their changes"}, flaw{
		window:  func(c *change) bool { return inPlace(c) && len(c.Set) > 0 && len(c.FlashesAdded) > 0 },
		insists: func(read, now *record) bool { return true },
	}},
	{"a shared buffer", []string{"100 sessions at once do not mix"}, flaw{keeps: func(s *flawed, next *record) {
		id := next.ID
		if s.scratch = next; s.records[id] == nil && next.User == "" && len(next.Operations) == 1 {
			s.others()
			next = s.scratch
		}
		s.records[id] = next
	}}},
	{"regenerations at once", []string{"of regenerations at once one wins"}, flaw{
		window:  moves,
		insists: func(read, now *record) bool { return isLive(read) && now != nil && now.Successor != "" },
	}},
	{"a write over an end", []string{"an end holds against requests under way"}, flaw{
		window:  inPlace,
		insists: func(read, now *record) bool { return isLive(read) && now != nil && now.Ended },
	}},

	{"a list of the expired", []string{"a user's sessions are listed"}, flaw{lists: func(r *record, user string) bool { return isLive(r) && r.User == user }}},
	{"a list by the start of a name", []string{"a user's sessions are listed"}, flaw{lists: func(r *record, user string) bool {
		return isLive(r) && strings.HasPrefix(r.User, user[:len("user:{ada}")]) && r.Idle != time.Minute
	}}},
	{"anybody's session revoked", []string{"one session is ended if it is the user's"}, flaw{owns: func(r *record, _ string) bool { return r != nil }}},
	{"no exceptions", []string{"all sessions of a user are ended but those named"}, flaw{excepts: func([]string) []string { return nil }}},
	{"revocation does not follow", []string{"a session that is changing its id is revoked"}, flaw{follows: func(s *flawed, id string) *record { return s.records[id] }}},
	{"no maximum", []string{"over the maximum the oldest login goes"}, flaw{evicted: func([]*record, int) []*record { return nil }}},
	{"the newest goes", []string{"over the maximum the oldest login goes"}, flaw{evicted: func(live []*record, maximum int) []*record {
		return live[min(len(live), maximum):]
	}}},
}
