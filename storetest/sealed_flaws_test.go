package storetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/doorman-go/session"
)

// What the clauses ask of a store that keeps the session in the cookie: it can end one only by a list of what ended, so
// the flaws are the list's, and those of the wrapper below.

func sealedStore(t *testing.T) *session.CookieStore {
	t.Helper()
	store, err := session.NewCookieStore([]byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu"))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// sealedWith makes a sealed store whose list has a flaw.
func sealedWith(flawed func(session.RevocationList) session.RevocationList) func(*testing.T) session.Store {
	return func(t *testing.T) session.Store {
		return sealedStore(t).WithRevocations(flawed(session.NewMemoryRevocations()))
	}
}

const soon = 2 * time.Minute // is past the time that a tombstone is known, and long before any deadline

// limitedStores can't do all that a store may, and keep what the contract says of the rest; but for their flaws.
var limitedStores = []trialled{
	{"no users", nil, []string{cannotRevoke, cannotList}, func(*testing.T) session.Store { return newFlawed(flaw{}) }},
	{"no lists", nil, []string{cannotList}, func(*testing.T) session.Store {
		return struct{ session.Revoker }{revoking{newFlawed(flaw{})}}
	}},
	{"sealed", nil, sealed, func(t *testing.T) session.Store { return sealedStore(t) }},
	{"sealed, with a list", nil, listed, sealedWith(func(l session.RevocationList) session.RevocationList { return l })},

	{"sealed, a list that forgets ends", []string{"a deleted session has ended", "Regenerate ends the old id", "Login ends the old id"},
		listed, forgets(forgetful{ends: true})},
	{"sealed, a list that forgets what users ended", []string{"one session is ended if it is the user's"},
		listed, forgets(forgetful{revoked: true})},
	{"sealed, anybody's session revoked", []string{"one session is ended if it is the user's"},
		listed, sealedWith(func(l session.RevocationList) session.RevocationList { return endsAnybodys{l} })},
	{"sealed, a list that forgets users", []string{"all sessions of a user are ended but those named"},
		listed, forgets(forgetful{users: true})},
	{"sealed, no exceptions", []string{"all sessions of a user are ended but those named"},
		listed, sealedWith(func(l session.RevocationList) session.RevocationList { return exceptsNobody{l} })},
	{"sealed, a revocation that is lost", []string{"all sessions of a user are ended but those named"},
		listed, sealedWith(func(l session.RevocationList) session.RevocationList { return endsNoUser{l} })},
	{"sealed, touches that do nothing", []string{"a touch moves the last use and nothing else"},
		sealed, func(t *testing.T) session.Store { return sealedTouches{sealedStore(t)} }},
}

// What is said of the clauses that a store does without.
const (
	cannotShare  = "keeps the session in the cookie, where the last response wins"
	cannotEnd    = "without a list of what has ended it can't end one"
	cannotRevoke = "can't revoke (session.Revoker)"
	cannotList   = "can't list a user's sessions (session.UserStore)"
)

var (
	reasons = []string{cannotShare, cannotEnd, cannotRevoke, cannotList}
	sealed  = reasons                           // of a store of sealed cookies
	listed  = []string{cannotShare, cannotList} // and of one with a list of what ended
)

// forgetful has a list for what it remembers, and one for what it forgets.
type forgetful struct {
	session.RevocationList
	brief                *session.MemoryRevocations
	ends, revoked, users bool // these are forgotten: sessions that ended by themselves, or by their user, and all of a user
}

func forgets(f forgetful) func(*testing.T) session.Store {
	return sealedWith(func(l session.RevocationList) session.RevocationList {
		f.RevocationList, f.brief = l, session.NewMemoryRevocations()
		return f
	})
}

func (l forgetful) EndSession(ctx context.Context, user, id string, until time.Time) error {
	if user == "" && l.ends || user != "" && l.revoked {
		return l.brief.EndSession(ctx, user, id, until)
	}
	return l.RevocationList.EndSession(ctx, user, id, until)
}

func (l forgetful) EndUser(ctx context.Context, user string, issued time.Time, except []string, until time.Time) error {
	if l.users {
		return l.brief.EndUser(ctx, user, issued, except, until)
	}
	return l.RevocationList.EndUser(ctx, user, issued, except, until)
}

func (l forgetful) Status(ctx context.Context, user, id string, issued time.Time) (session.RevocationStatus, error) {
	status, err := l.brief.Status(ctx, user, id, issued)
	forgotten := !status.EndedAt.IsZero() && session.Now(ctx).Sub(status.EndedAt) >= soon
	if err != nil || forgotten || status == (session.RevocationStatus{}) {
		return l.RevocationList.Status(ctx, user, id, issued)
	}
	return status, nil
}

// endsAnybodys ends a session whoever's it is.
type endsAnybodys struct{ session.RevocationList }

func (l endsAnybodys) EndSession(ctx context.Context, _, id string, until time.Time) error {
	return l.RevocationList.EndSession(ctx, "", id, until)
}

// exceptsNobody ends the sessions that should be left.
type exceptsNobody struct{ session.RevocationList }

func (l exceptsNobody) EndUser(ctx context.Context, user string, issued time.Time, _ []string, until time.Time) error {
	return l.RevocationList.EndUser(ctx, user, issued, nil, until)
}

// endsNoUser says that it has ended a user's sessions.
type endsNoUser struct{ session.RevocationList }

func (l endsNoUser) EndUser(ctx context.Context, _ string, _ time.Time, _ []string, _ time.Time) error {
	return ctx.Err()
}

// sealedTouches does not seal anew what was only touched, so that a session in use expires.
type sealedTouches struct{ *session.CookieStore }

func (s sealedTouches) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if touches(c) {
		return token, ctx.Err()
	}
	return s.CookieStore.Save(ctx, token, c)
}
