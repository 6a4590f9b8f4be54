// Package storetest is the contract of [session.Store] as a test. Whoever writes a store runs it:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) session.Store { return NewStore() })
//	}
//
// Each subtest is named by what it proves. What a store may do without, listing and revoking a user's sessions, is
// found and tested where it is there, and said (go test -v) where it is not. So is what a store that keeps the session
// in the cookie itself can't hold.
package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
)

// Run proves that a store keeps the contract. It calls newStore once for each subtest; the stores may share a database,
// since no id and no user occurs in two subtests. Run it with -race.
func Run(t *testing.T, newStore func(t *testing.T) session.Store) {
	t.Helper()
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) {
			x := newTrial(t, newStore(t))
			if missing := c.needs &^ x.abilities; missing != 0 {
				t.Log("not tested: " + missing.absence())
				return
			}
			c.prove(x)
		})
	}
}

// Clauses returns the names of the subtests that Run runs, as the testing package writes them: for go test -run, or to
// say which of them a store is known not to keep.
func Clauses() []string {
	names := make([]string, len(contract))
	for i, c := range contract {
		names[i] = strings.ReplaceAll(c.name, " ", "_")
	}
	return names
}

// clause is one thing that a store promises.
type clause struct {
	name  string
	needs ability
	prove func(*trial)
}

var contract = []clause{
	{"a session comes back as it was saved", 0, roundTrip},
	{"Save returns the token that opens the session", 0, returnedToken},
	{"sessions do not mix", 0, isolation},
	{"a loaded record stays as it was", 0, loadedStays},
	{"an unknown id is not found", 0, unknown},
	{"a session that must exist is not made", shares, mustExist},
	{"a new id that is taken is refused", shares, mustNotExist},
	{"odd keys and values come back", 0, oddKeys},
	{"a value of 1 MB comes back", 0, largeValue},

	{"an unused session expires", 0, idleExpiry},
	{"a session expires at its deadline", 0, deadlineExpiry},
	{"an expired session is not changed", shares, expiredChange},
	{"a touch moves the last use and nothing else", 0, touch},

	{"changes of different keys all stay", shares, keyMerge},
	{"clearing takes what another request set", shares, clearing},
	{"flashes are added and taken one by one", shares, flashMerge},
	{"note and limits stay as another request set them", shares, attributeMerge},
	{"an Update under contention counts", shares, updates},
	{"a change sent twice is made once", shares, resent},

	{"a deleted session has ended", ends, deleted},
	{"deleting what is not there is no error", 0, deletedTwice},
	{"a session that ended meanwhile is not brought back", ends, notBroughtBack},
	{"an ended id is not used again", ends, endedReuse},
	{"Regenerate moves the session to its new id", 0, regenerated},
	{"Regenerate ends the old id", ends, regeneratedEnds},
	{"Regenerate of an ended session makes none", ends, regeneratedEnded},
	{"a late request does not change a session that moved", ends, lateChange},
	{"deleting an id that moved ends the session", shares, deletedMoved},
	{"Login carries what it keeps and nothing else", 0, login},
	{"Login ends the old id", ends, loginEnds},
	{"Login works if the old session is gone", 0, loginOverEnded},

	{"a context that has ended changes nothing", 0, endedContext},
	{"a context that ends meanwhile leaves no half", shares, endingContext},
	{"100 goroutines keep their changes", shares, goroutines},
	{"100 sessions at once do not mix", 0, manySessions},
	{"of regenerations at once one wins", shares, racingRegenerations},
	{"an end holds against requests under way", shares, racingEnd},

	{"a user's sessions are listed", lists, listing},
	{"one session is ended if it is the user's", revokes, revokeOne},
	{"all sessions of a user are ended but those named", revokes, revokeAll},
	{"a session that is changing its id is revoked", revokes | shares, revokeMoving},
	{"over the maximum the oldest login goes", lists, maximum},
}

// ability is something that not all stores can do.
type ability uint8

const (
	shares  ability = 1 << iota // requests share what is stored, as against each having it in its cookie
	ends                        // a session can be ended before its time
	revokes                     // Revoker
	lists                       // UserStore
)

// absence says what a store without the abilities is like.
func (a ability) absence() string {
	switch {
	case a&shares != 0:
		return "the store keeps the session in the cookie, where the last response wins"
	case a&ends != 0:
		return "the store keeps the session in the cookie, and without a list of what has ended it can't end one"
	case a&revokes != 0:
		return "the store can't revoke (session.Revoker)"
	}
	return "the store can't list a user's sessions (session.UserStore)"
}

// find finds out what the store can do.
func find(x *trial) ability {
	var found ability
	if r, ok := x.store.(session.Revoker); ok {
		if _, err := r.EndUserSessions(x.ctx, text(), nil); !errors.Is(err, errors.ErrUnsupported) {
			found |= revokes | ends
		}
	}
	if _, ok := x.store.(session.UserStore); ok {
		found |= lists
	}
	if !x.sealed() {
		found |= shares | ends
	}
	return found
}

// sealed tells whether the session is in the token that Save returns, and not to be had by the one it was given.
func (x *trial) sealed() bool {
	r := x.record("")
	given := tokenFor(r)
	returned, err := x.store.Save(x.ctx, given, creation(r))
	if err != nil || returned.Value() == given.Value() {
		return false
	}
	_, byGiven := x.store.Load(x.ctx, given)
	_, byReturned := x.store.Load(x.ctx, returned)
	return byGiven != nil && byReturned == nil
}

func newTrial(t *testing.T, store session.Store) *trial {
	x := &trial{T: t, store: store, now: time.Now().UTC().Truncate(time.Microsecond)}
	ctx, cancel := context.WithTimeout(session.WithClock(t.Context(), x.clock), time.Minute)
	t.Cleanup(cancel)
	x.ctx = ctx
	x.abilities = find(x)
	x.adopts = x.opens(tokenFor(x.record("")))
	return x
}
