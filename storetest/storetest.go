// Package storetest tests whether a store keeps the contract of session.Store. Whoever writes a store runs it:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) session.Store { return NewStore() })
//	}
//
// The name of each subtest says what it shows. A store may make several swaps all or none, or one by one in their order. Optional
// interfaces (session.Ender, session.UserStore, session.UserEnder, session.AllStore, session.EndNotifier) are tested if the
// store has them. Go test -v names
// those that it does not have. It also names what a store can't do that keeps the session in the cookie.
package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
)

// Run tests that a store keeps the contract of session.Store. It calls newStore once for each subtest. Where a subtest
// needs another process, it calls newStore again. The stores may share a database, because no ID and no user occurs in
// two subtests. The stores of one subtest should share one, if stores of several processes do. Run the tests with
// -race.
func Run(t *testing.T, newStore func(t *testing.T) session.Store) {
	t.Helper()
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) {
			x := newTrial(t, newStore)
			if missing := c.needs &^ x.has; missing != 0 {
				t.Log("not tested: " + missing.absence())
				return
			}
			c.prove(x)
		})
	}
}

// Clauses returns the names of the subtests of Run, as the testing package writes them. Use it with go test -run, or to
// say which of them a store does not pass.
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
	needs features
	prove func(*trial)
}

var contract = []clause{
	{"a record comes back as it was stored", 0, roundTrip},
	{"a tombstone comes back as it was stored", ends, tombstoneRoundTrip},
	{"Swap returns the token that opens the session", 0, returnedToken},
	{"a load by ID alone finds tombstones only", inCookie, loadByID},
	{"sessions do not mix", 0, isolation},
	{"records stay as they were", 0, recordsStay},
	{"an unknown ID is not found", 0, unknownID},
	{"odd texts come back", 0, oddTexts},
	{"a record of 64 KiB comes back", 0, largeRecord},

	{"a stale swap is a conflict", shares, staleSwap},
	{"a swap of what is not there is a conflict", shares, swapOfNothing},
	{"a new session does not take an ID in use", shares, idInUse},
	{"a new session does not take the ID of one that ended", ends, idOfEnded},
	{"a new session does not take the ID of one that expired", shares, idOfExpired},
	{"what has ended is not brought back", ends, notBroughtBack},
	{"a tombstone is replaced by who loaded it", shares, tombstoneReplaced},
	{"what is past its limits is swapped like the rest", shares, expiredSwapped},
	{"a conflict says what is stored", shares, conflictSaysWhat},
	{"a load after a conflict is not older", shares, loadAfterConflict},
	{"a swap that was made before is no conflict", shares, resentSwap},
	{"a session moves to another ID", 0, moveSession},
	{"after a conflict nothing is made", shares, nothingAfterConflict},
	{"before a conflict all is made or none", shares, allOrNoneBeforeConflict},

	{"an expired session is kept for a minute", 0, expiredKept},
	{"a session is kept as long as it is used", 0, usedKept},
	{"a tombstone is kept until its deadline", ends, tombstoneKept},
	{"what has ended stays ended", ends, staysEnded},

	{"End ends a session and returns what was there", endsAtOnce, endLive},
	{"End leaves a tombstone where nothing was", endsAtOnce, endNothing},
	{"End leaves a tombstone as it is", endsAtOnce, endTombstone},
	{"End gets through while others swap", endsAtOnce | shares, endUnderContention},

	{"a context that has ended changes nothing", 0, endedContext},
	{"a context that ends meanwhile leaves no half", shares, endingContext},
	{"100 increments at once all count", shares, increments},
	{"100 sessions at once do not mix", 0, manySessions},
	{"of creations at once one wins", shares, racingCreations},
	{"of regenerations at once one wins", ends, racingRegenerations},
	{"an end holds against swaps under way", shares, racingEnd},

	{"a user's sessions are listed", lists, listing},
	{"nobody else's sessions are listed", lists, listingNobodyElse},
	{"tombstones and expired sessions are listed", lists, listingEnded},
	{"a session is listed as long as it is kept", lists, listedAsLongAsKept},
	{"a session is listed as soon as it is stored", lists, listedAtOnce},

	{"a user's sessions are ended except those named", endsUsers, endUser},
	{"a session is ended if it is the user's", endsUsers, endUserSession},

	{"all of a realm is gone through", goesThrough, allOfRealm},
	{"nothing is left out while others are stored", goesThrough, allWhileOthersCome},
	{"going through ends with its context", goesThrough, allEndsWithContext},

	{"ends are told", tells, endsAreTold},
	{"ends are told until stop", tells, toldUntilStopped},
}

// features are what not all stores have.
type features uint8

const (
	shares      features = 1 << iota // requests share what is stored
	inCookie                         // each request has the session in its cookie
	ends                             // a session can be ended before its time
	endsAtOnce                       // Ender
	lists                            // UserStore
	endsUsers                        // UserEnder
	goesThrough                      // AllStore
	tells                            // EndNotifier
)

// absence says what a store without the features is like.
func (f features) absence() string {
	switch {
	case f&shares != 0:
		return "the store keeps the session in the cookie, where the last response wins"
	case f&inCookie != 0:
		return "the store does not keep the session in the cookie"
	case f&ends != 0:
		return "the store keeps the session in the cookie, and can't end one"
	case f&endsAtOnce != 0:
		return "the store can't end a session whatever its revision (session.Ender)"
	case f&lists != 0:
		return "the store can't list a user's sessions (session.UserStore)"
	case f&endsUsers != 0:
		return "the store can't end sessions of a user without a list (session.UserEnder)"
	case f&goesThrough != 0:
		return "the store can't go through all sessions (session.AllStore)"
	}
	return "the store can't tell of ends (session.EndNotifier)"
}

// findFeatures asks the store what it can do.
func findFeatures(x *trial) features {
	found := shares | ends
	if x.keptInCookie() {
		found = inCookie
	}
	if u, ok := x.store.(session.UserEnder); ok {
		if err := u.EndUser(x.ctx, realm, "user "+text(), nil); !errors.Is(err, errors.ErrUnsupported) {
			found |= endsUsers | ends
		}
	}
	if _, ok := x.store.(session.Ender); ok && found&ends != 0 {
		found |= endsAtOnce
	}
	if _, ok := x.store.(session.UserStore); ok {
		found |= lists
	}
	if _, ok := x.store.(session.AllStore); ok {
		found |= goesThrough
	}
	if _, ok := x.store.(session.EndNotifier); ok {
		found |= tells
	}
	return found
}

// keptInCookie reports whether the session is in the token that Swap returns, and not to be had by the one it was given.
func (x *trial) keptInCookie() bool {
	r := x.record("")
	given := tokenFor(r)
	returned, err := x.store.Swap(x.ctx, given, session.Swap{New: r})
	if err != nil || returned.Value() == given.Value() {
		return false
	}
	_, byGiven := x.store.Load(x.ctx, given)
	_, byReturned := x.store.Load(x.ctx, returned)
	return byGiven != nil && byReturned == nil
}

func newTrial(t *testing.T, newStore func(*testing.T) session.Store) *trial {
	x := &trial{T: t, store: newStore(t), now: time.Now().UTC().Truncate(time.Microsecond)}
	x.another = func() session.Store { return newStore(t) }
	ctx, cancel := context.WithTimeout(session.WithClock(t.Context(), x.clock), time.Minute)
	t.Cleanup(cancel)
	x.ctx = ctx
	x.has = findFeatures(x)
	return x
}
