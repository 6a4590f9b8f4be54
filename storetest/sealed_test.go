package storetest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
)

// sealed is a store that keeps the session in the cookie itself, as CookieStore does; without a seal, which is not the
// contract's matter.
type sealed struct {
	mu    sync.Mutex
	ended map[string]*record   // tombstones by ID; nil if it can't end a session
	users map[[2]string][]ends // by realm and user
	sealedFlaw
}

// ends says that the sessions of a user issued up to a time have ended, except some; or only one.
type ends struct {
	upTo   time.Time
	except []string
	only   string
}

// sealedFlaw is what can be wrong with it.
type sealedFlaw struct {
	guesses  bool // a load by ID alone says that there is none
	forgets  time.Duration
	lenient  bool // an ended session may be swapped
	excepts  func(except []string) []string
	upTo     func(now time.Time) time.Time
	endsNone bool // EndUserSession says that it has ended one
	endsAll  bool // and ends all of the user's
}

var (
	_ session.Ender     = (*sealed)(nil)
	_ session.UserEnder = (*sealed)(nil)
)

func newSealed(f sealedFlaw) func(*testing.T) session.Store {
	return func(*testing.T) session.Store {
		return &sealed{ended: map[string]*record{}, users: map[[2]string][]ends{}, sealedFlaw: f}
	}
}

func newUnendable(*testing.T) session.Store { return &sealed{} }

func (s *sealed) Load(ctx context.Context, token session.Token) (*record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := session.Now(ctx)
	if token.Value() == "" {
		if t := s.tombstone(token.ID(), now); t != nil {
			return t, nil
		}
		if s.guesses {
			return nil, session.ErrNotFound
		}
		return nil, errors.ErrUnsupported
	}
	r := new(record)
	raw, err := base64.StdEncoding.DecodeString(token.Value())
	if err != nil || json.Unmarshal(raw, r) != nil {
		return nil, session.ErrNotFound
	}
	if t := s.tombstone(r.ID, now); t != nil {
		return t, nil
	}
	if !s.endedUpTo(r).IsZero() {
		return &record{ID: r.ID, Realm: r.Realm, User: r.User, Ended: true, Revoked: true, Deadline: r.Deadline}, nil
	}
	return r, nil
}

func (s *sealed) tombstone(id string, now time.Time) *record {
	t := s.ended[id]
	if t != nil && s.forgets > 0 && now.Sub(t.IssuedAt) > s.forgets {
		return nil
	}
	return t
}

// endedUpTo returns the time up to which sessions were ended, if r was among them.
func (s *sealed) endedUpTo(r *record) time.Time {
	for _, e := range s.users[[2]string{r.Realm, r.User}] {
		if !r.IssuedAt.After(e.upTo) && !slices.Contains(e.except, r.ID) && (e.only == "" || e.only == r.ID) {
			return e.upTo
		}
	}
	return time.Time{}
}

func (s *sealed) Swap(ctx context.Context, token session.Token, swaps ...swap) (session.Token, error) {
	if err := ctx.Err(); err != nil {
		return session.Token{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range swaps {
		if err := s.check(w.New, session.Now(ctx)); err != nil {
			return session.Token{}, err
		}
		if w.New.Ended {
			if s.ended != nil {
				s.ended[w.New.ID] = w.New
			}
			continue
		}
		sealedRecord := edited(w.New, func(r *record) { r.Revision, r.Latest = "", session.Revisions{} })
		raw, err := json.Marshal(sealedRecord)
		if err != nil {
			return session.Token{}, err
		}
		value := base64.StdEncoding.EncodeToString(raw)
		if len(value) > 5000 {
			return session.Token{}, session.ErrCookieTooLarge
		}
		token = session.NewToken(w.New.ID, value).WithRealm(w.New.Realm)
	}
	return token, nil
}

func (s *sealed) check(next *record, now time.Time) error {
	if s.lenient && !next.Ended {
		return nil
	}
	if t := s.tombstone(next.ID, now); t != nil && t.Revision != next.Revision {
		return &session.ConflictError{ID: next.ID, Current: t}
	}
	if upTo := s.endedUpTo(next); !upTo.IsZero() {
		return &session.ConflictError{ID: next.ID, NotBefore: upTo}
	}
	return nil
}

func (s *sealed) End(ctx context.Context, tombstone *record) (*record, error) {
	_, err := s.Swap(ctx, session.NewToken(tombstone.ID, ""), swap{New: tombstone})
	return nil, err
}

func (s *sealed) EndUser(ctx context.Context, realm, user string, except []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		return errors.ErrUnsupported
	}
	upTo := session.Now(ctx).Add(5 * time.Second) // for clocks that differ
	if s.upTo != nil {
		upTo = s.upTo(upTo)
	}
	if s.excepts != nil {
		except = s.excepts(except)
	}
	key := [2]string{realm, user}
	s.users[key] = append(s.users[key], ends{upTo: upTo, except: except})
	return nil
}

func (s *sealed) EndUserSession(ctx context.Context, realm, user, id string) error {
	if s.endsAll {
		return s.EndUser(ctx, realm, user, nil)
	}
	if err := ctx.Err(); err != nil || s.endsNone {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]string{realm, user}
	s.users[key] = append(s.users[key], ends{upTo: session.Now(ctx), only: id})
	return nil
}

// anybodysSealed ends a session whoever's it is.
type anybodysSealed struct{ *sealed }

func (s anybodysSealed) EndUserSession(ctx context.Context, _, _, id string) error {
	_, err := s.End(ctx, &record{ID: id, Revision: "by anybody", Ended: true, IssuedAt: session.Now(ctx), Deadline: session.Now(ctx).Add(48 * time.Hour)})
	return err
}

var (
	ofUnendable = []string{isInCookie, cannotEnd, noEnder, noUserStore, noUserEnder, noAllStore, noEndNotifier}
	ofSealed    = []string{isInCookie, noUserStore, noAllStore, noEndNotifier}
)

// limitedStores can't do all that a store may, and keep what the contract says of the rest, except for their flaws.
var limitedStores = []trialled{
	{name: "no flaw", says: ofComplete, store: func(*testing.T) session.Store { return complete{newFlawed(flaw{})} }},
	{name: "swaps one by one", says: ofComplete, store: func(*testing.T) session.Store {
		return complete{newFlawed(flaw{sequence: oneByOne})}
	}},
	{name: "forgets at once", says: ofComplete, store: func(*testing.T) session.Store {
		return complete{newFlawed(flaw{load: func(_ *flawed, _ string, r *record, now time.Time) *record {
			if r != nil && !now.Before(r.KeepUntil()) {
				return nil
			}
			return r
		}})}
	}},
	{name: "neither ends at once nor lists", says: []string{isNotInCookie, noEnder, noUserStore, noUserEnder, noAllStore, noEndNotifier},
		store: func(*testing.T) session.Store { return newFlawed(flaw{}) }},
	{name: "lists, and does not end at once", says: []string{isNotInCookie, noEnder, noUserEnder, noAllStore, noEndNotifier}, store: func(*testing.T) session.Store {
		return struct{ session.UserStore }{complete{newFlawed(flaw{})}}
	}},
	{name: "in the cookie", says: ofUnendable, store: newUnendable},
	{name: "in the cookie, and ends sessions", says: ofSealed, store: newSealed(sealedFlaw{})},

	{name: "in a cache that no conflict clears", breaks: []string{"a load after a conflict is not older"},
		says: []string{isNotInCookie, noEnder, noUserStore, noUserEnder, noAllStore, noEndNotifier}, store: newCachedStores()},
	{name: "in the cookie, guessing", breaks: []string{"a load by ID alone finds tombstones only"},
		says: ofSealed, store: newSealed(sealedFlaw{guesses: true})},
	{name: "in the cookie, forgetting ends", breaks: []string{"a tombstone is kept until its deadline", "what has ended stays ended"},
		says: ofSealed, store: newSealed(sealedFlaw{forgets: 2 * time.Minute})},
	{name: "in the cookie, no exceptions", breaks: []string{"a user's sessions are ended except those named"},
		says: ofSealed, store: newSealed(sealedFlaw{excepts: func([]string) []string { return nil }})},
	{name: "in the cookie, ending no user", breaks: []string{"a user's sessions are ended except those named"},
		says: ofSealed, store: newSealed(sealedFlaw{upTo: func(time.Time) time.Time { return time.Time{}.Add(1) }})},
	{name: "in the cookie, ending no session of a user", breaks: []string{"a session is ended if it is the user's"},
		says: ofSealed, store: newSealed(sealedFlaw{endsNone: true})},
	{name: "in the cookie, ending all for one", breaks: []string{"a session is ended if it is the user's"},
		says: ofSealed, store: newSealed(sealedFlaw{endsAll: true})},
	{name: "in the cookie, ending anybody's", breaks: []string{"a session is ended if it is the user's"},
		says: ofSealed, store: func(t *testing.T) session.Store { return anybodysSealed{newSealed(sealedFlaw{})(t).(*sealed)} }},
	{name: "in the cookie, swapped after the end", breaks: []string{
		"a new session does not take the ID of one that ended", "what has ended is not brought back",
		"End ends a session and returns what was there", "End leaves a tombstone where nothing was",
		"a user's sessions are ended except those named", "a session is ended if it is the user's",
	}, says: ofSealed, store: newSealed(sealedFlaw{lenient: true})},
}
