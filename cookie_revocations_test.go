package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func newRevocableStore(t testing.TB) (*CookieStore, *endedList) {
	list := newEndedList()
	return mustCookieStore(t, cookieSecret).WithRevocations(list), list
}

// loadAt returns what the token opens by then.
func loadAt(t testing.TB, store *CookieStore, token Token, later time.Duration) *Record {
	t.Helper()
	r, err := store.Load(at(t, later), token)
	require.NoError(t, err)
	return r
}

// requireConflict checks what is said to be stored: a tombstone.
func requireConflict(t testing.TB, err error, id string, revoked bool) *Record {
	t.Helper()
	var conflict *ConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, id, conflict.ID)
	require.Zero(t, conflict.NotBefore)
	require.NotNil(t, conflict.Current)
	require.True(t, conflict.Current.Ended)
	require.Equal(t, revoked, conflict.Current.Revoked)
	require.Equal(t, id, conflict.Current.ID)
	require.Equal(t, cookieRealm, conflict.Current.Realm)
	return conflict.Current
}

func requireNotBefore(t testing.TB, err error, id string) time.Time {
	t.Helper()
	var conflict *ConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, id, conflict.ID)
	require.Nil(t, conflict.Current)
	require.NotZero(t, conflict.NotBefore)
	return conflict.NotBefore
}

func requireSame(t testing.TB, want, got *Record) {
	t.Helper()
	require.True(t, want.IssuedAt.Equal(got.IssuedAt) && want.Deadline.Equal(got.Deadline), "%v to %v", got.IssuedAt, got.Deadline)
	require.Equal(t, []any{want.ID, want.Revision, want.Realm, want.User, want.Ended, want.Revoked, want.Successor, want.Latest},
		[]any{got.ID, got.Revision, got.Realm, got.User, got.Ended, got.Revoked, got.Successor, got.Latest})
}

func TestCookieRevocations_TheTombstoneIsLoaded(t *testing.T) {
	for _, user := range []string{"", "ada"} {
		for what, tombstone := range map[string]func(*Record) *Record{
			"destroyed":   func(r *Record) *Record { return endOf(at(t, time.Hour), r, "") },
			"regenerated": func(r *Record) *Record { return endOf(at(t, time.Hour), r, newID()) },
			"revoked": func(r *Record) *Record {
				return changed(endOf(at(t, time.Hour), r, ""), func(r *Record) { r.Revoked = true })
			},
			"with revisions": func(r *Record) *Record {
				return changed(endOf(at(t, time.Hour), r, ""), func(r *Record) { r.Latest = NewRevisions(PastRevision{"r", cookieTime}) })
			},
		} {
			store, _ := newRevocableStore(t)
			old, token := beginSession(t, store, aSession(user))
			stone := tombstone(old)
			same, err := store.Swap(at(t, time.Hour), token, Swap{old, stone})
			require.NoError(t, err)
			require.Equal(t, token.Value(), same.Value())
			want := changed(stone, func(r *Record) { r.Revision, r.Latest = stone.Revision, Revisions{} })
			requireSame(t, want, loadAt(t, store, token, time.Hour))
			requireSame(t, want, loadAt(t, store, token, 23*time.Hour))
			requireSame(t, want, loadAt(t, store, realmToken(old.ID, ""), time.Hour))

			_, err = store.Load(at(t, time.Hour), NewToken(old.ID, "").WithRealm("admin"))
			require.ErrorIs(t, err, errors.ErrUnsupported, what)
			_, err = store.Load(at(t, time.Hour), realmToken(newID(), ""))
			require.ErrorIs(t, err, errors.ErrUnsupported, "whether it lives can't be known")
			require.NotErrorIs(t, err, ErrNotFound)
		}
	}
}

// It is kept as long as any cookie of the ID is good, also where SetLifetime has brought the deadline forward.
func TestCookieRevocations_LastUntilTheLatestDeadline(t *testing.T) {
	deadline := func(later time.Duration) func(*Record) {
		return func(r *Record) { r.Deadline = cookieTime.Add(later) }
	}
	for name, saves := range map[string][]func(*Record){
		"as it began":       {},
		"shorter":           {deadline(time.Hour)},
		"shorter, and more": {deadline(time.Hour), func(r *Record) { r.Note = "x" }, deadline(2 * time.Hour)},
		"longer":            {deadline(30 * time.Hour)},
		"longer, shorter":   {deadline(30 * time.Hour), deadline(time.Hour), deadline(2 * time.Hour)},
	} {
		// Each commit in a request of its own; all in one request, whose records carry the Version along, or don't.
		for how, next := range map[string]func(loaded, saved *Record) *Record{
			"requests":           func(loaded, _ *Record) *Record { return loaded },
			"one, with Version":  func(_, saved *Record) *Record { return saved },
			"one, without":       func(_, saved *Record) *Record { return changed(saved, func(r *Record) { r.Version = nil }) },
			"one, its Revisions": func(_, saved *Record) *Record { return changed(saved, func(r *Record) { r.Version = "other" }) },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				store, list := newRevocableStore(t)
				first := aSession("ada")
				loaded, token := beginSession(t, store, first)
				old := next(loaded, changed(first, func(r *Record) { r.Version = loaded.Version }))
				longest := old.Deadline
				tokens := []Token{token}
				for _, change := range saves {
					saved := changed(old, change)
					var err error
					token, err = store.Swap(at(t, 0), token, Swap{old, saved})
					require.NoError(t, err)
					old = next(loadAt(t, store, token, 0), saved)
					longest = latestOf(longest, old.Deadline)
					tokens = append(tokens, token)
				}
				_, err := store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, "")})
				require.NoError(t, err)
				list.forgetAt(longest)
				require.Len(t, list.records, 1, "the slowest clock's time counts")
				for _, token := range tokens {
					require.True(t, loadAt(t, store, token, 0).Ended)
				}
				list.forgetAt(longest.Add(clockSkew))
				require.Empty(t, list.records)
			})
		}
	}
}

func latestOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestCookieRevocations_TheLatestDeadlineIsNotKnown(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	strange := changed(old, func(r *Record) { r.Version = nil })
	for name, c := range map[string]struct {
		token Token
		swap  Swap
	}{
		"nothing loaded": {realmToken("", ""), Swap{nil, endOf(at(t, 0), aSession("ada"), "")}},
		"no token":       {realmToken(old.ID, ""), Swap{strange, endOf(at(t, 0), strange, "")}},
		"another token":  {token, Swap{aSession("ada"), endOf(at(t, 0), aSession("ada"), "")}},
	} {
		clear(list.records)
		_, err := store.Swap(at(t, 0), c.token, c.swap)
		require.NoError(t, err, name)
		list.forgetAt(cookieTime.Add(maxLifetime))
		require.Len(t, list.records, 1, name)
		list.forgetAt(cookieTime.Add(maxLifetime + clockSkew))
		require.Empty(t, list.records, name)
	}
}

// A session that would be over in a moment leaves a tombstone for a minute as well.
func TestCookieRevocations_ATombstoneHasItsMinute(t *testing.T) {
	store, list := newRevocableStore(t)
	r := aSession("ada")
	r.Deadline = cookieTime.Add(10 * time.Second)
	old, token := beginSession(t, store, r)
	stone := endOf(at(t, 9*time.Second), old, "")
	_, err := store.Swap(at(t, 9*time.Second), token, Swap{old, stone})
	require.NoError(t, err)
	list.forgetAt(cookieTime.Add(69*time.Second - 1))
	require.True(t, loadAt(t, store, token, 68*time.Second).Ended)
	require.False(t, loadAt(t, store, token, 70*time.Second).Ended, "it is past its limits, for which the list is not asked")
}

func TestCookieRevocations_ExpiredSessionsDoNotAskTheList(t *testing.T) {
	store, list := newRevocableStore(t)
	r := aSession("ada")
	r.IdleTimeout = time.Hour
	_, token := beginSession(t, store, r)
	list.loads, list.err = 0, errors.New("down")
	_, err := store.Load(at(t, time.Hour+time.Minute-1), token)
	require.Error(t, err, "the minute in which it may have a tombstone")
	require.Equal(t, r.ID, loadAt(t, store, token, time.Hour+time.Minute).ID)
	require.Equal(t, 2, list.loads)
}

func TestCookieRevocations_WhatTheListHoldsNamesNoSession(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	other, _ := beginSession(t, store, aSession("ada"))
	_, err := store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, "")})
	require.NoError(t, err)
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", other.ID))
	require.Len(t, list.records, 2)
	ids := map[string]bool{endedID(cookieRealm, "x"): true, userEndsID(cookieRealm, "x"): true, endedID("sho", "px"): true, endedID("", cookieRealm+"x"): true}
	require.Len(t, ids, 4)
	for id := range list.records {
		r, err := list.load(id)
		require.NoError(t, err)
		require.Equal(t, id, r.ID)
		require.True(t, isID(id))
		require.Empty(t, r.User, "no list of a user's sessions holds it")
		require.Empty(t, r.Realm)
		require.NotContains(t, []string{old.ID, other.ID}, id)
		require.Equal(t, `"ada"`, string(r.Values.Get("user")))
		require.Equal(t, `"shop"`, string(r.Values.Get("realm")))
		require.Zero(t, r.IdleTimeout)
		if !r.Ended {
			require.JSONEq(t, fmt.Sprintf(`{%q:%d}`, other.ID, cookieTime.UnixMicro()), string(r.Values.Get("revoked")))
			require.Equal(t, cookieTime.Add(maxLifetime+believedAhead), r.Deadline)
		}
	}
}

func TestCookieRevocations_AChangeMeetsTheEnd(t *testing.T) {
	for how, end := range map[string]func(store *CookieStore, token Token, r *Record) error{
		"Destroy": func(store *CookieStore, token Token, r *Record) error {
			_, err := store.Swap(at(t, 0), token, Swap{r, endOf(at(t, 0), r, "")})
			return err
		},
		"EndUser": func(store *CookieStore, _ Token, r *Record) error {
			return store.EndUser(at(t, 0), r.Realm, r.User, []string{newID()})
		},
		"EndUserSession": func(store *CookieStore, _ Token, r *Record) error {
			return store.EndUserSession(at(t, 0), r.Realm, r.User, r.ID)
		},
	} {
		store, _ := newRevocableStore(t)
		old, token := beginSession(t, store, aSession("ada"))
		grace, graces := beginSession(t, store, aSession("grace"))
		nobody, nobodys := beginSession(t, store, aSession(""))
		require.NoError(t, end(store, token, old))
		for range 2 { // whatever is tried first
			next := changed(old, func(r *Record) { r.Note = "x" })
			saved, err := store.Swap(at(t, 0), token, Swap{old, next})
			requireSame(t, loadAt(t, store, token, 0), requireConflict(t, err, old.ID, how != "Destroy"))
			require.Empty(t, saved.Value())

			next = changed(old, func(r *Record) { r.ID = newID() })
			saved, err = store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, next.ID)}, Swap{nil, next})
			requireConflict(t, err, old.ID, how != "Destroy")
			require.Empty(t, saved.Value())

			_, err = store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, "")})
			requireConflict(t, err, old.ID, how != "Destroy")
		}
		tombstone := loadAt(t, store, token, time.Minute)
		require.Equal(t, "ada", tombstone.User)
		require.True(t, tombstone.IssuedAt.Equal(cookieTime), "when it ended")
		require.True(t, tombstone.Deadline.Equal(cookieTime.Add(tombstoneLife)))
		_, err := store.Swap(at(t, 0), token, Swap{tombstone, changed(old, func(*Record) {})})
		requireConflict(t, err, old.ID, how != "Destroy")

		save(t, store, graces, grace, func(r *Record) { r.Note = "x" })
		save(t, store, nobodys, nobody, func(r *Record) { r.Note = "x" })
	}
}

func TestCookieRevocations_AResendIsNoConflict(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	next := changed(old, func(r *Record) { r.ID = newID() })
	swaps := []Swap{{old, endOf(at(t, 0), old, next.ID)}, {nil, next}}
	for range 3 {
		sealed, err := store.Swap(at(t, 0), token, swaps...)
		require.NoError(t, err)
		require.Equal(t, next.ID, sealed.ID())
		require.False(t, loadAt(t, store, sealed, 0).Ended)
	}
	require.Equal(t, 3, list.swaps, "the list is asked each time whether it has the tombstone for good")
	swaps[0].New = changed(swaps[0].New, func(*Record) {})
	_, err := store.Swap(at(t, 0), token, swaps...)
	require.NoError(t, err, "no other request can know the new ID")

	other := changed(old, func(r *Record) { r.ID = newID() })
	_, err = store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, other.ID)}, Swap{nil, other})
	require.Equal(t, next.ID, requireConflict(t, err, old.ID, false).Successor, "the other one goes on")
}

// The same request, sent again with another revision, while the first is still under way.
func TestCookieRevocations_AResendThatOvertakes(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	swaps := regeneration(at(t, 0), old)
	list.beforeSwap(func() {
		again := []Swap{{old, changed(swaps[0].New, func(*Record) {})}, swaps[1]}
		require.True(t, commit(at(t, 0), store, token, true, again...).lives(t, store))
	})
	require.True(t, commit(at(t, 0), store, token, true, swaps...).lives(t, store))
}

// A session that was ended before it was stored, as by a logout that follows the successor.
func TestCookieRevocations_ASessionThatEndedBeforeItBegan(t *testing.T) {
	store, _ := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	next := changed(old, func(r *Record) { r.ID = newID() })
	_, err := store.Swap(at(t, 0), token, Swap{nil, endOf(at(t, 0), next, "")})
	require.NoError(t, err)
	_, err = store.Swap(at(t, 0), token, Swap{nil, next})
	requireConflict(t, err, next.ID, false)
	_, err = store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, next.ID)}, Swap{nil, next})
	requireConflict(t, err, next.ID, false)

	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", next.ID+""))
	login := aSession("ada")
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", login.ID))
	_, err = store.Swap(at(t, 0), token, Swap{nil, login})
	requireConflict(t, err, login.ID, true)
	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil))
	_, err = store.Swap(at(t, 0), token, Swap{nil, login})
	requireConflict(t, err, login.ID, true)
}

func TestCookieRevocations_LoginTakesARevokedTombstoneOver(t *testing.T) {
	for how, revoke := range map[string]func(*CookieStore, Token, *Record) error{
		"EndUser": func(store *CookieStore, _ Token, _ *Record) error {
			return store.EndUser(at(t, 0), cookieRealm, "ada", nil)
		},
		"EndUserSession": func(store *CookieStore, _ Token, r *Record) error {
			return store.EndUserSession(at(t, 0), cookieRealm, "ada", r.ID)
		},
		"a tombstone in the list": func(store *CookieStore, token Token, r *Record) error {
			_, err := store.Swap(at(t, 0), token, Swap{r, changed(endOf(at(t, 0), r, ""), func(r *Record) { r.Revoked = true })})
			return err
		},
	} {
		t.Run(how, func(t *testing.T) {
			store, list := newRevocableStore(t)
			first := aSession("ada")
			first.Deadline = cookieTime.Add(30 * time.Hour)
			old, token := beginSession(t, store, first)
			old, token = save(t, store, token, old, func(r *Record) { r.Deadline = cookieTime.Add(time.Hour) })
			require.NoError(t, revoke(store, token, old))
			revoked := loadAt(t, store, token, 0)
			require.True(t, revoked.Ended && revoked.Revoked)
			login := changed(aSession("ada"), func(r *Record) { r.IssuedAt = cookieTime.Add(clockSkew + time.Microsecond) })
			own := endOf(at(t, 0), old, "")
			for range 2 { // the second is sent again
				sealed, err := store.Swap(at(t, 0), token, Swap{revoked, own}, Swap{nil, login})
				require.NoError(t, err)
				require.False(t, loadAt(t, store, sealed, 0).Ended)
				requireSame(t, own, loadAt(t, store, token, 0))
			}
			late := changed(own, func(*Record) {})
			_, err := store.Swap(at(t, 0), token, Swap{revoked, late}, Swap{nil, aSession("grace")})
			requireSame(t, own, requireConflict(t, err, old.ID, false))

			list.forgetAt(cookieTime.Add(30 * time.Hour))
			require.True(t, loadAt(t, store, realmToken(old.ID, ""), 0).Ended, "it lasts as long as any cookie")
			_, err = store.Swap(at(t, 0), token, Swap{own, late})
			require.NoError(t, err, "by its revision")
		})
	}
}

// An older copy of the cookie knows of an earlier deadline.
func TestCookieRevocations_TakingOverShortensNothing(t *testing.T) {
	store, list := newRevocableStore(t)
	old, older := beginSession(t, store, aSession("ada"))
	old, newer := save(t, store, older, old, func(r *Record) { r.Deadline = cookieTime.Add(30 * time.Hour) })
	_, err := store.Swap(at(t, 0), newer, Swap{old, changed(endOf(at(t, 0), old, ""), func(r *Record) { r.Revoked = true })})
	require.NoError(t, err)
	_, err = store.Swap(at(t, 0), older, Swap{loadAt(t, store, older, 0), endOf(at(t, 0), old, "")})
	require.NoError(t, err)
	list.forgetAt(cookieTime.Add(30 * time.Hour))
	require.True(t, loadAt(t, store, newer, 0).Ended)
}

func TestCookieRevocations_TakingOverHasOneWinner(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	_, err := store.Swap(at(t, 0), token, Swap{old, changed(endOf(at(t, 0), old, ""), func(r *Record) { r.Revoked = true })})
	require.NoError(t, err)
	revoked := loadAt(t, store, token, 0)
	winner, loser := endOf(at(t, 0), old, ""), endOf(at(t, 0), old, "")
	list.beforeSwap(func() {
		_, err := store.Swap(at(t, 0), token, Swap{revoked, winner})
		require.NoError(t, err)
	})
	_, err = store.Swap(at(t, 0), token, Swap{revoked, loser}, Swap{nil, aSession("grace")})
	requireSame(t, winner, requireConflict(t, err, old.ID, false))
}

// beforeSwap runs meanwhile before the list's next swap.
func (l *endedList) beforeSwap(meanwhile func()) { l.runBefore(OpSwap, 1, meanwhile) }

// runBefore runs meanwhile before the n-th call of that kind from now.
func (l *endedList) runBefore(op Op, n int, meanwhile func()) {
	var mu sync.Mutex
	l.gate = func(_ context.Context, called Op, _ string) {
		mu.Lock()
		if called == op {
			n--
		}
		now := called == op && n == 0
		mu.Unlock()
		if now {
			l.gate = nil
			meanwhile()
		}
	}
}

func TestCookieRevocations_AnExpiredAnswerIsNoEnd(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	down := errors.New("down")
	list.err = down
	for what, call := range map[string]func() error{
		"Load":       func() error { _, err := store.Load(at(t, 0), token); return err },
		"Load by ID": func() error { _, err := store.Load(at(t, 0), realmToken(old.ID, "")); return err },
		"change": func() error {
			_, err := store.Swap(at(t, 0), token, Swap{old, changed(old, func(*Record) {})})
			return err
		},
		"begin": func() error { _, err := store.Swap(at(t, 0), token, Swap{nil, aSession("")}); return err },
		"end": func() error {
			_, err := store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, "")})
			return err
		},
		"EndUser":            func() error { return store.EndUser(at(t, 0), cookieRealm, "ada", nil) },
		"EndUser but":        func() error { return store.EndUser(at(t, 0), cookieRealm, "ada", []string{old.ID}) },
		"EndUserSession":     func() error { return store.EndUserSession(at(t, 0), cookieRealm, "ada", old.ID) },
		"EndUserSession, an": func() error { return store.EndUserSession(at(t, 0), cookieRealm, "ada", newID()) },
	} {
		err := call()
		require.ErrorIs(t, err, down, what)
		require.NotErrorIs(t, err, ErrNotFound)
		var conflict *ConflictError
		require.NotErrorAs(t, err, &conflict)
	}
	for _, err := range []error{errUnreadable, fmt.Errorf("row 7: %w", errUnreadable)} {
		list.err = err
		_, err := store.Load(at(t, 0), token)
		require.Error(t, err, "what can't be read is not as good as not there")
		require.NotErrorIs(t, err, ErrNotFound, "nor is the session")
	}
	list.err = nil
	require.False(t, loadAt(t, store, token, 0).Ended)
}

// Whichever answer is lost, the call fails, and made again it does what it was to do.
func TestCookieRevocations_AnyAnswerIsLost(t *testing.T) {
	type session struct {
		store *CookieStore
		old   *Record
		token Token
	}
	for what, prepare := range map[string]func(*testing.T, session) (call func() error, check func(*testing.T)){
		"regenerate": func(t *testing.T, s session) (func() error, func(*testing.T)) {
			swaps := regeneration(at(t, 0), s.old)
			var next Token
			return func() (err error) { next, err = s.store.Swap(at(t, 0), s.token, swaps...); return err }, func(t *testing.T) {
				require.True(t, loadAt(t, s.store, s.token, 0).Ended)
				require.False(t, loadAt(t, s.store, next, 0).Ended)
			}
		},
		"destroy": func(t *testing.T, s session) (func() error, func(*testing.T)) {
			end := Swap{s.old, endOf(at(t, 0), s.old, "")}
			return func() error { _, err := s.store.Swap(at(t, 0), s.token, end); return err }, func(t *testing.T) {
				require.True(t, loadAt(t, s.store, s.token, 0).Ended)
			}
		},
		"except what was regenerated": func(t *testing.T, s session) (func() error, func(*testing.T)) {
			o := commit(at(t, 0), s.store, s.token, true, regeneration(at(t, 0), s.old)...)
			_, other := beginSession(t, s.store, aSession("ada"))
			return func() error { return s.store.EndUser(at(t, 0), cookieRealm, "ada", []string{s.old.ID}) }, func(t *testing.T) {
				require.True(t, o.lives(t, s.store))
				require.True(t, loadAt(t, s.store, other, 0).Ended)
			}
		},
		"revoke what was regenerated": func(t *testing.T, s session) (func() error, func(*testing.T)) {
			o := commit(at(t, 0), s.store, s.token, true, regeneration(at(t, 0), s.old)...)
			return func() error { return s.store.EndUserSession(at(t, 0), cookieRealm, "ada", s.old.ID) }, func(t *testing.T) {
				require.False(t, o.lives(t, s.store))
			}
		},
		"revoke": func(t *testing.T, s session) (func() error, func(*testing.T)) {
			return func() error { return s.store.EndUserSession(at(t, 0), cookieRealm, "ada", s.old.ID) }, func(t *testing.T) {
				require.True(t, loadAt(t, s.store, s.token, 0).Ended)
			}
		},
	} {
		calls := 0
		for lost := true; lost; {
			store, list := newRevocableStore(t)
			old, token := beginSession(t, store, aSession("ada"))
			call, check := prepare(t, session{store, old, token})
			calls++
			list.failing = calls
			err := call()
			if lost = list.failing <= 0; lost {
				require.ErrorIs(t, err, errLost, "%s, call %d", what, calls)
				err = call()
			}
			require.NoError(t, err, "%s, call %d", what, calls)
			list.failing = 0
			check(t)
		}
		require.Greater(t, calls, 2, what)
	}
}

// The second look finds that the session was ended from outside, and a request that ends it as well is faster.
func TestCookieRevocations_TheOwnTombstoneIsReplacedMeanwhile(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	swaps := regeneration(at(t, 0), old)
	sendAgain := func() {
		_, err := store.Swap(at(t, 0), token, swaps...)
		requireConflict(t, err, old.ID, true)
	}
	list.beforeSwap(func() {
		require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil))
		list.runBefore(OpSwap, 1, sendAgain)
	})
	_, err := store.Swap(at(t, 0), token, swaps...)
	requireSame(t, loadAt(t, store, token, 0), requireConflict(t, err, old.ID, true))
}

func TestCookieRevocations_AUsersRecordThatMakesNoSense(t *testing.T) {
	for _, key := range []string{keyCutOff, keyExcept, keyRevoked} {
		store, list := newRevocableStore(t)
		_, token := beginSession(t, store, aSession("ada"))
		require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil))
		id := userEndsID(cookieRealm, "ada")
		list.records[id] = []byte(strings.Replace(string(list.records[id]), `"`+key+`"`, `"other"`, 1))
		_, err := store.Load(at(t, 0), token)
		require.ErrorContains(t, err, "a user's record can't be read: "+key)
		require.Error(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil))
		_, err = store.Swap(at(t, 0), token, Swap{nil, aSession("ada")})
		require.Error(t, err)
	}
}

// rendezvous is a list whose loads wait for each other.
type rendezvous struct {
	*endedList
	arrived sync.WaitGroup
}

func (l *rendezvous) Load(ctx context.Context, token Token) (*Record, error) {
	l.arrived.Done()
	l.arrived.Wait()
	return l.endedList.Load(ctx, token)
}

func TestCookieRevocations_AreAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if they wait in vain
		list := &rendezvous{endedList: newEndedList()}
		store := mustCookieStore(t, cookieSecret).WithRevocations(list)
		signedIn, anonymous := aSession("ada"), aSession("")
		load := func(loads int, token Token) {
			list.arrived.Add(loads)
			_, err := store.Load(at(t, 0), token)
			require.NoError(t, err)
		}
		swap := func(loads int, token Token, swaps ...Swap) Token {
			list.arrived.Add(loads)
			token, err := store.Swap(at(t, 0), token, swaps...)
			require.NoError(t, err)
			return token
		}
		one := swap(2, realmToken("", ""), Swap{nil, signedIn})
		two := swap(1, realmToken("", ""), Swap{nil, anonymous})
		load(2, one)
		load(1, two)
		one = swap(2, one, Swap{signedIn, changed(signedIn, func(*Record) {})})
		swap(2, one, Swap{signedIn, endOf(at(t, 0), signedIn, "")})
	})
}

// panicking is a list whose second load does not come back as it should.
type panicking struct {
	*endedList
	how func()
}

func (l panicking) Load(ctx context.Context, token Token) (*Record, error) {
	if token.ID() == userEndsID(cookieRealm, "ada") {
		l.how()
	}
	return l.endedList.Load(ctx, token)
}

func TestCookieRevocations_AListThatPanics(t *testing.T) {
	_, token := beginSession(t, mustCookieStore(t, cookieSecret), aSession("ada"))
	store := mustCookieStore(t, cookieSecret).WithRevocations(panicking{newEndedList(), func() { panic("the list's own") }})
	require.PanicsWithValue(t, "the list's own", func() { _, _ = store.Load(at(t, 0), token) }, "in the caller's goroutine")
	store = mustCookieStore(t, cookieSecret).WithRevocations(panicking{newEndedList(), runtime.Goexit})
	_, err := store.Load(at(t, 0), token)
	require.ErrorIs(t, err, errNoAnswer, "it has not said that nothing has ended")
}

func TestCookieRevocations_ACommitGoesPastTheNearCache(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	var mu sync.Mutex
	past := map[bool]int{}
	list.gate = func(ctx context.Context, op Op, _ string) {
		mu.Lock()
		defer mu.Unlock()
		if op == OpLoad {
			past[pastCache(ctx)]++
		}
	}
	loadAt(t, store, token, 0)
	require.Equal(t, map[bool]int{false: 2}, past)
	clear(past)
	save(t, mustCookieStore(t, cookieSecret).WithRevocations(list), token, old, func(*Record) {})
	require.Equal(t, map[bool]int{true: 2, false: 2}, past)
	clear(past)
	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", []string{old.ID}))
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", old.ID))
	require.Zero(t, past[false])
}

func TestCookieRevocations_EndUser(t *testing.T) {
	store, list := newRevocableStore(t)
	var sessions []*Record
	var tokens []Token
	for _, user := range []string{"ada", "ada", "grace", ""} {
		r, token := beginSession(t, store, aSession(user))
		sessions, tokens = append(sessions, r), append(tokens, token)
	}
	elsewhere := aSession("ada")
	elsewhere.Realm = "admin"
	admins, err := store.Swap(at(t, 0), NewToken("", "").WithRealm("admin"), Swap{nil, elsewhere})
	require.NoError(t, err)

	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", []string{sessions[1].ID, sessions[1].ID, "no ID", ""}))
	live := func(later time.Duration) (live []bool) {
		for _, token := range tokens {
			live = append(live, !loadAt(t, store, token, later).Ended)
		}
		return live
	}
	require.Equal(t, []bool{false, true, true, true}, live(0))
	require.Equal(t, []bool{false, true, true, true}, live(23*time.Hour))
	require.False(t, loadAt(t, store, admins, 0).Ended, "the other realm's")
	require.Equal(t, "ada", loadAt(t, store, tokens[0], 0).User)

	// Issued up to the cut-off, which stands ahead of the clock of the server that decided.
	for _, later := range []time.Duration{-clockSkew, 0, clockSkew} {
		login := changed(aSession("ada"), func(r *Record) { r.IssuedAt = cookieTime.Add(later) })
		_, err := store.Swap(at(t, later), realmToken("", ""), Swap{nil, login})
		notBefore := requireNotBefore(t, err, login.ID)
		require.True(t, notBefore.Equal(cookieTime.Add(clockSkew)))
		login.IssuedAt = notBefore.Add(time.Microsecond)
		token, err := store.Swap(at(t, later), realmToken("", ""), Swap{nil, login})
		require.NoError(t, err)
		require.False(t, loadAt(t, store, token, 0).Ended)
		tokens = append(tokens, token)
	}

	// By the same clock, which has not moved: the second is later than the first, and than what was issued after it.
	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil))
	require.Equal(t, []bool{false, false, true, true, false, false, false}, live(0))
	list.forgetAt(cookieTime.Add(maxLifetime))
	require.Equal(t, []bool{false, false, true, true, false, false, false}, live(0))
	list.forgetAt(cookieTime.Add(maxLifetime + believedAhead + tombstoneLife))
	require.Empty(t, list.records)
}

// What an excepted session went on as before has not ended for a moment.
func TestCookieRevocations_ExceptAnEarlierID(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	o := commit(at(t, 0), store, token, true, regeneration(at(t, 0), old)...)
	require.True(t, o.lives(t, store))
	looked := 0
	list.gate = func(_ context.Context, _ Op, _ string) {
		gate := list.gate
		list.gate = nil
		looked++
		require.True(t, o.lives(t, store))
		list.gate = gate
	}
	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", []string{old.ID}))
	list.gate = nil
	require.Greater(t, looked, 4)
	require.True(t, o.lives(t, store))
}

// Two servers, whose clocks differ by what they may.
func TestCookieRevocations_EndUserWithAnotherClock(t *testing.T) {
	for _, ahead := range []time.Duration{-clockSkew, -50 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond, clockSkew} {
		store, _ := newRevocableStore(t)
		login := changed(aSession("ada"), func(r *Record) { r.IssuedAt = cookieTime.Add(ahead) })
		token, err := store.Swap(at(t, ahead), realmToken("", ""), Swap{nil, login})
		require.NoError(t, err)
		require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil))
		require.True(t, loadAt(t, store, token, ahead).Ended, "%v ahead", ahead)

		require.NoError(t, store.EndUser(at(t, -time.Hour), cookieRealm, "ada", nil), "a clock that is wrong")
		require.True(t, loadAt(t, store, token, ahead).Ended, "moves nothing back")
	}
}

func TestCookieRevocations_AnExceptionBringsNothingBack(t *testing.T) {
	store, _ := newRevocableStore(t)
	one, ones := beginSession(t, store, aSession("ada"))
	two, twos := beginSession(t, store, aSession("ada"))
	endUser := func(except ...string) { require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", except)) }
	live := func() []bool { return []bool{!loadAt(t, store, ones, 0).Ended, !loadAt(t, store, twos, 0).Ended} }

	endUser(one.ID)
	require.Equal(t, []bool{true, false}, live())
	for range 3 {
		endUser(one.ID, two.ID)
		require.Equal(t, []bool{true, false}, live(), "the earlier cut-off still holds for it")
	}
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", one.ID))
	endUser(one.ID)
	require.Equal(t, []bool{false, false}, live(), "nor one that was revoked by itself")
	require.NoError(t, store.EndUser(at(t, time.Hour), cookieRealm, "ada", nil))
	require.NoError(t, store.EndUser(at(t, 2*time.Hour), cookieRealm, "ada", []string{one.ID, two.ID}))
	require.Equal(t, []bool{false, false}, live(), "also where the entry has given way to a cut-off")

	_, alones := beginSession(t, store, aSession("grace"))
	alone := loadAt(t, store, alones, 0)
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "grace", alone.ID))
	require.NoError(t, store.EndUser(at(t, time.Hour), cookieRealm, "grace", []string{alone.ID}))
	require.True(t, loadAt(t, store, alones, time.Hour).Ended, "its entry stays where no cut-off holds for it")

	three := changed(aSession("ada"), func(r *Record) { r.IssuedAt = cookieTime.Add(3 * time.Hour) })
	token, err := store.Swap(at(t, 3*time.Hour), realmToken("", ""), Swap{nil, three})
	require.NoError(t, err)
	require.NoError(t, store.EndUser(at(t, 4*time.Hour), cookieRealm, "ada", []string{three.ID}))
	require.NoError(t, store.EndUserSession(at(t, 4*time.Hour), cookieRealm, "ada", newID()))
	require.False(t, loadAt(t, store, token, 4*time.Hour).Ended)
	endUser()
	require.True(t, loadAt(t, store, token, 4*time.Hour).Ended, "who is excepted once is not for ever")
}

func TestCookieRevocations_EndUserSession(t *testing.T) {
	store, list := newRevocableStore(t)
	ada, adas := beginSession(t, store, aSession("ada"))
	_, others := beginSession(t, store, aSession("ada"))
	grace, graces := beginSession(t, store, aSession("grace"))
	for _, id := range []string{"", "x", ada.ID[1:], ada.ID + "A", ada.ID[1:] + "=", ada.ID[2:] + "\r\n", "\x00" + ada.ID[1:], ada.ID + ":grace"} {
		require.ErrorIs(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", id), ErrNotFound, "%q", id)
	}
	require.Empty(t, list.records, "what can't be an ID takes no room")

	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", grace.ID), "whose it is can't be known")
	save(t, store, graces, grace, func(r *Record) { r.Note = "lives" })
	_, err := store.Load(at(t, 0), realmToken(grace.ID, ""))
	require.ErrorIs(t, err, errors.ErrUnsupported, "it occupies no ID")
	require.NoError(t, store.EndUserSession(at(t, 0), "admin", "ada", ada.ID))
	require.False(t, loadAt(t, store, adas, 0).Ended, "nor is it the other realm's")

	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", ada.ID))
	require.NoError(t, store.EndUserSession(at(t, time.Hour), cookieRealm, "ada", ada.ID))
	revoked := loadAt(t, store, adas, 0)
	require.True(t, revoked.Ended && revoked.Revoked)
	require.True(t, revoked.IssuedAt.Equal(cookieTime), "a session ends once")
	require.False(t, loadAt(t, store, others, 0).Ended)

	ended, gone := beginSession(t, store, aSession("grace"))
	_, err = store.Swap(at(t, 0), gone, Swap{ended, endOf(at(t, 0), ended, "")})
	require.NoError(t, err)
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "grace", ended.ID))
	require.False(t, loadAt(t, store, gone, 0).Revoked, "it has ended already")
	require.ErrorIs(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", ended.ID), ErrNotFound, "here it is known")
}

func TestCookieRevocations_EndUserSessionFollowsSuccessors(t *testing.T) {
	store, _ := newRevocableStore(t)
	first, token := beginSession(t, store, aSession("ada"))
	current := first
	for range 3 {
		next := changed(current, func(r *Record) { r.ID = newID() })
		var err error
		token, err = store.Swap(at(t, 0), token, Swap{current, endOf(at(t, 0), current, next.ID)}, Swap{nil, next})
		require.NoError(t, err)
		current = loadAt(t, store, token, 0)
	}
	require.False(t, current.Ended)
	require.ErrorIs(t, store.EndUserSession(at(t, 0), cookieRealm, "grace", first.ID), ErrNotFound)
	require.False(t, loadAt(t, store, token, 0).Ended)
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", first.ID))
	revoked := loadAt(t, store, token, 0)
	require.True(t, revoked.Ended && revoked.Revoked)
	require.Equal(t, "ada", revoked.User)
}

func TestCookieRevocations_NothingIsDroppedToMakeRoom(t *testing.T) {
	store, list := newRevocableStore(t)
	_, token := beginSession(t, store, aSession("ada"))
	first := loadAt(t, store, token, 0).ID
	revoke := func(id string, later time.Duration) error {
		return store.EndUserSession(at(t, later), cookieRealm, "ada", id)
	}
	require.NoError(t, revoke(first, 0))
	require.NoError(t, store.changeUserEnds(at(t, 0), cookieRealm, "ada", func(u *userEnds, now time.Time) (err error) {
		for range maxUserEnds - 2 {
			err = errors.Join(err, u.revoke(newID(), now))
		}
		return err
	}))
	require.NoError(t, revoke(newID(), 0), "the last")
	length := len(list.records[userEndsID(cookieRealm, "ada")])
	require.ErrorContains(t, revoke(newID(), 0), "RevokeUser")
	require.NoError(t, revoke(first, 0), "it is there")
	require.InDelta(t, length, len(list.records[userEndsID(cookieRealm, "ada")]), 100)
	require.True(t, loadAt(t, store, token, 0).Revoked)
	require.ErrorContains(t, revoke(newID(), maxLifetime), "RevokeUser")
	require.True(t, loadAt(t, store, token, 0).Revoked)
	require.NoError(t, revoke(newID(), maxLifetime+believedAhead+time.Second), "whose cookies are all over")

	// What RevokeUser has ended as well makes room.
	require.NoError(t, store.EndUser(at(t, maxLifetime+time.Hour), cookieRealm, "ada", nil))
	require.NoError(t, revoke(newID(), maxLifetime+time.Hour))
	require.True(t, loadAt(t, store, token, 0).Revoked)

	except := make([]string, maxUserEnds+1)
	for i := range except {
		except[i] = newID()
	}
	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "grace", except[1:]))
	require.ErrorContains(t, store.EndUser(at(t, 0), cookieRealm, "grace", except), "RevokeUser")
}

// One that was revoked a moment ago may be about to begin.
func TestCookieRevocations_ARevokedSessionThatIsAboutToBegin(t *testing.T) {
	store, _ := newRevocableStore(t)
	login := aSession("ada")
	require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", login.ID))
	require.NoError(t, store.EndUser(at(t, time.Minute), cookieRealm, "ada", nil))
	login.IssuedAt = cookieTime.Add(time.Minute + 2*clockSkew)
	_, err := store.Swap(at(t, time.Minute), realmToken("", ""), Swap{nil, login})
	requireConflict(t, err, login.ID, true)
}

func TestCookieRevocations_RegenerateAfterEndUser(t *testing.T) {
	store, list := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	next := changed(old, func(r *Record) { r.ID = newID() })
	swaps := []Swap{{old, endOf(at(t, 0), old, next.ID)}, {nil, next}}
	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", []string{old.ID}))
	_, err := store.Swap(at(t, 0), token, swaps...)
	notBefore := requireNotBefore(t, err, next.ID)
	require.Len(t, list.records, 1)
	require.False(t, loadAt(t, store, token, 0).Ended, "nothing was made")

	swaps[1].New = changed(next, func(r *Record) { r.IssuedAt = notBefore.Add(time.Microsecond) })
	sealed, err := store.Swap(at(t, 0), token, swaps...)
	require.NoError(t, err)
	require.False(t, loadAt(t, store, sealed, 0).Ended)
	require.Equal(t, next.ID, loadAt(t, store, token, 0).Successor)

	// A new ID that was excepted as well need not be issued later.
	old, token = beginSession(t, store, changed(aSession("grace"), func(*Record) {}))
	next = changed(old, func(r *Record) { r.ID = newID() })
	require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "grace", []string{old.ID, next.ID}))
	sealed, err = store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, next.ID)}, Swap{nil, next})
	require.NoError(t, err)
	require.False(t, loadAt(t, store, sealed, 0).Ended)
}

// explorer runs processes, each in a goroutine, and lets them make one call of the list at a time, in an order of its choice.
// Of the calls that a process makes at once, it takes the least by ID, or the greatest. It leaves a process that could go on
// maxSwitches times.
type explorer struct {
	mu       sync.Mutex
	waiting  map[string][]call // by process
	greatest bool
	order    []string // which process made the next call, each time
	last     string   // the process that made the last one
	switches int
	choices  []choice
}

const maxSwitches = 4

type call struct {
	op   Op
	id   string
	made chan struct{} // closed when it may be made
}

type choice struct{ taken, of int }

type processKey struct{}

func (e *explorer) gate(ctx context.Context, op Op, id string) {
	process, ok := ctx.Value(processKey{}).(string)
	if !ok {
		return
	}
	c := call{op, id, make(chan struct{})}
	e.mu.Lock()
	e.waiting[process] = append(e.waiting[process], c)
	e.mu.Unlock()
	<-c.made
}

// step lets the process that is next by the choices make a call. It reports whether there was one.
func (e *explorer) step(n int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ready []string
	for process, calls := range e.waiting {
		if len(calls) > 0 {
			ready = append(ready, process)
		}
	}
	if len(ready) == 0 {
		return false
	}
	slices.Sort(ready)
	couldGoOn := slices.Contains(ready, e.last)
	if couldGoOn && e.switches == maxSwitches {
		ready = []string{e.last}
	}
	if n == len(e.choices) {
		e.choices = append(e.choices, choice{})
	}
	e.choices[n].of = len(ready)
	process := ready[e.choices[n].taken]
	if couldGoOn && process != e.last {
		e.switches++
	}
	e.last = process
	calls := e.waiting[process]
	slices.SortFunc(calls, func(a, b call) int { return strings.Compare(a.id, b.id) })
	if e.greatest {
		slices.Reverse(calls)
	}
	e.waiting[process] = calls[1:]
	e.order = append(e.order, fmt.Sprint(process, " ", calls[0].op))
	close(calls[0].made)
	return true
}

// next makes the choices that were not made yet. It reports whether there are any.
func (e *explorer) next() bool {
	for n := len(e.choices) - 1; n >= 0; n-- {
		if c := &e.choices[n]; c.taken+1 < c.of {
			c.taken++
			e.choices = e.choices[:n+1]
			return true
		}
	}
	return false
}

// A scenario is one run: what happens before, the processes, and what must hold in the end.
type scenario struct {
	processes map[string]func(ctx context.Context)
	check     func(t *testing.T)
}

// exploreAll runs the scenario in every order of the calls to the list that the explorer knows.
func exploreAll(t *testing.T, set func(t *testing.T, store *CookieStore) scenario) {
	t.Helper()
	runs := 0
	for _, greatest := range []bool{false, true} {
		e := &explorer{greatest: greatest}
		for more := true; more && !t.Failed(); more = e.next() {
			synctest.Test(t, func(t *testing.T) { e.run(t, set) })
			runs++
		}
	}
	t.Logf("%d orders", runs)
	require.Greater(t, runs, 10)
}

// run runs the scenario in the order of the choices.
func (e *explorer) run(t *testing.T, set func(t *testing.T, store *CookieStore) scenario) {
	store, list := newRevocableStore(t)
	lastID.Store(0) // the same IDs each time, and so the same order
	s := set(t, store)
	e.waiting, e.order, e.last, e.switches = map[string][]call{}, nil, "", 0
	list.gate = e.gate
	for _, name := range slices.Sorted(maps.Keys(s.processes)) {
		go s.processes[name](context.WithValue(at(t, 0), processKey{}, name))
		synctest.Wait()
	}
	for n := 0; e.step(n); n++ {
		synctest.Wait()
	}
	defer func() {
		if t.Failed() {
			t.Log(strings.Join(e.order, "\n"))
		}
	}()
	s.check(t)
}

// commitResult is that of a commit.
type commitResult struct {
	token Token
	err   error
}

// commit makes swaps as the Manager does: what was issued too early is issued later. Where it does not send the same
// tombstones again, they are new ones.
func commit(ctx context.Context, store *CookieStore, token Token, same bool, swaps ...Swap) (o commitResult) {
	for range 10 {
		o.token, o.err = store.Swap(ctx, token, swaps...)
		var conflict *ConflictError
		if !errors.As(o.err, &conflict) || conflict.NotBefore.IsZero() {
			return o
		}
		swaps = slices.Clone(swaps)
		for i := range swaps {
			if r := swaps[i].New; !r.Ended {
				swaps[i].New = changed(r, func(r *Record) { r.IssuedAt = conflict.NotBefore.Add(time.Microsecond) })
			} else if !same {
				swaps[i].New = changed(r, func(*Record) {})
			}
		}
	}
	return o
}

func (o commitResult) lives(t testing.TB, store *CookieStore) bool {
	t.Helper()
	return o.err == nil && !loadAt(t, store, o.token, 0).Ended
}

// regeneration returns the swaps of a Regenerate.
func regeneration(ctx context.Context, old *Record) []Swap {
	next := changed(old, func(r *Record) { r.ID = newID() })
	return []Swap{{old, endOf(ctx, old, next.ID)}, {nil, next}}
}

func TestCookieRevocations_EveryOrder_EndUserWhileRegenerating(t *testing.T) {
	exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
		old, token := beginSession(t, store, aSession("ada"))
		var got commitResult
		return scenario{map[string]func(context.Context){
			"regenerate": func(ctx context.Context) { got = commit(ctx, store, token, true, regeneration(ctx, old)...) },
			"end user":   func(ctx context.Context) { require.NoError(t, store.EndUser(ctx, cookieRealm, "ada", nil)) },
		}, func(t *testing.T) {
			require.True(t, loadAt(t, store, token, 0).Ended)
			require.False(t, got.lives(t, store), "it was missed")
			if got.err != nil {
				requireConflict(t, got.err, old.ID, true)
				require.True(t, loadAt(t, store, token, 0).Revoked, "nothing took its place: a request is a visitor's")
			}
		}}
	})
}

func TestCookieRevocations_EveryOrder_EndUserExceptOneThatIsRegenerated(t *testing.T) {
	for _, same := range []bool{true, false} {
		exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
			old, token := beginSession(t, store, aSession("ada"))
			_, other := beginSession(t, store, aSession("ada"))
			var got commitResult
			return scenario{map[string]func(context.Context){
				"regenerate": func(ctx context.Context) { got = commit(ctx, store, token, same, regeneration(ctx, old)...) },
				"end user": func(ctx context.Context) {
					require.NoError(t, store.EndUser(ctx, cookieRealm, "ada", []string{old.ID}))
				},
			}, func(t *testing.T) {
				require.True(t, got.lives(t, store), "%v", got.err)
				require.True(t, loadAt(t, store, token, 0).Ended)
				require.True(t, loadAt(t, store, other, 0).Ended)
				require.NoError(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil))
				require.False(t, got.lives(t, store), "the next one counts")
			}}
		})
	}
}

func TestCookieRevocations_EveryOrder_TwoEndUsers(t *testing.T) {
	exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
		one, ones := beginSession(t, store, aSession("ada"))
		two, twos := beginSession(t, store, aSession("ada"))
		endUser := func(except ...string) func(context.Context) {
			return func(ctx context.Context) { require.NoError(t, store.EndUser(ctx, cookieRealm, "ada", except)) }
		}
		return scenario{map[string]func(context.Context){"but one": endUser(one.ID), "but two": endUser(two.ID)}, func(t *testing.T) {
			require.True(t, loadAt(t, store, ones, 0).Ended)
			require.True(t, loadAt(t, store, twos, 0).Ended)
		}}
	})
}

// A call that looks again for successors excepts only those of sessions that another call has left excepted.
func TestCookieRevocations_AnExceptionOfAnotherCall(t *testing.T) {
	u := &userEnds{CutOff: 5}
	u.endUpTo(time.UnixMicro(10), []exception{{id: "x"}, {id: "z"}}, cookieTime)
	u.endUpTo(time.UnixMicro(20), []exception{{id: "x"}}, cookieTime)
	u.exceptSuccessors([]exception{{id: "x"}, {id: "z"}, {"y", "x"}, {"w", "z"}, {"y2", "y"}})
	require.Equal(t, map[string]micros{"x": 5, "y": 5, "y2": 5}, u.Except)
	require.EqualValues(t, 20, u.CutOff)
}

func TestCookieRevocations_EveryOrder_EndUserSessionWhileRegenerating(t *testing.T) {
	exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
		old, token := beginSession(t, store, aSession("ada"))
		_, other := beginSession(t, store, aSession("ada"))
		var got commitResult
		return scenario{map[string]func(context.Context){
			"regenerate": func(ctx context.Context) { got = commit(ctx, store, token, true, regeneration(ctx, old)...) },
			"revoke": func(ctx context.Context) {
				require.NoError(t, store.EndUserSession(ctx, cookieRealm, "ada", old.ID))
			},
		}, func(t *testing.T) {
			require.True(t, loadAt(t, store, token, 0).Ended)
			require.False(t, got.lives(t, store), "it was missed")
			require.False(t, loadAt(t, store, other, 0).Ended)
		}}
	})
}

// A login of a visitor, and one in place of a session of the same user.
func TestCookieRevocations_EveryOrder_EndUserWhileSigningIn(t *testing.T) {
	for _, user := range []string{"", "ada"} {
		for _, ahead := range []time.Duration{-clockSkew, 0, clockSkew} {
			exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
				old, token := beginSession(t, store, aSession(user))
				login := changed(aSession("ada"), func(r *Record) { r.IssuedAt = cookieTime.Add(ahead) })
				ended := false
				var got commitResult
				var began bool // after the end
				return scenario{map[string]func(context.Context){
					"login": func(ctx context.Context) {
						began = ended
						got = commit(ctx, store, token, true, Swap{old, endOf(ctx, old, "")}, Swap{nil, login})
						var conflict *ConflictError
						if errors.As(got.err, &conflict) && conflict.Current.Revoked { // it takes the tombstone over, and begins empty
							got = commit(ctx, store, token, true, Swap{conflict.Current, endOf(ctx, old, "")}, Swap{nil, login})
						}
					},
					"end user": func(ctx context.Context) {
						require.NoError(t, store.EndUser(ctx, cookieRealm, "ada", nil))
						ended = true
					},
				}, func(t *testing.T) {
					require.NoError(t, got.err, "a login always begins a session")
					require.True(t, loadAt(t, store, token, 0).Ended)
					require.False(t, loadAt(t, store, token, 0).Revoked, "later requests with the old cookie are late ones")
					r, err := store.open(got.token)
					require.NoError(t, err)
					require.Equal(t, r.IssuedAt.After(cookieTime.Add(clockSkew)), got.lives(t, store))
					require.True(t, !began || got.lives(t, store), "a login after it stands")
				}}
			})
		}
	}
}

func TestCookieRevocations_EveryOrder_OneOfTwoRegeneratesGoesOn(t *testing.T) {
	exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
		old, token := beginSession(t, store, aSession("ada"))
		var got [2]commitResult
		regenerate := func(i int) func(context.Context) {
			return func(ctx context.Context) { got[i] = commit(ctx, store, token, true, regeneration(ctx, old)...) }
		}
		return scenario{map[string]func(context.Context){"one": regenerate(0), "two": regenerate(1)}, func(t *testing.T) {
			winner, loser := got[0], got[1]
			if winner.err != nil {
				winner, loser = loser, winner
			}
			require.True(t, winner.lives(t, store))
			require.Equal(t, winner.token.ID(), requireConflict(t, loser.err, old.ID, false).Successor)
			require.Equal(t, winner.token.ID(), loadAt(t, store, token, 0).Successor)
		}}
	})
}

// A logout follows the successor that it meets.
func TestCookieRevocations_EveryOrder_DestroyWhileRegenerating(t *testing.T) {
	exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
		old, token := beginSession(t, store, aSession("ada"))
		var got, destroyed commitResult
		return scenario{map[string]func(context.Context){
			"regenerate": func(ctx context.Context) { got = commit(ctx, store, token, true, regeneration(ctx, old)...) },
			"destroy": func(ctx context.Context) {
				destroyed = commit(ctx, store, token, true, Swap{old, endOf(ctx, old, "")})
				var conflict *ConflictError
				if errors.As(destroyed.err, &conflict) {
					next := &Record{ID: conflict.Current.Successor, Realm: cookieRealm, User: "ada"}
					destroyed = commit(ctx, store, token, true, Swap{nil, endOf(ctx, next, "")})
				}
			},
		}, func(t *testing.T) {
			require.NoError(t, destroyed.err)
			require.True(t, loadAt(t, store, token, 0).Ended)
			require.False(t, got.lives(t, store))
		}}
	})
}

func TestCookieRevocations_EveryOrder_AnAnswerIsLost(t *testing.T) {
	exploreAll(t, func(t *testing.T, store *CookieStore) scenario {
		old, token := beginSession(t, store, aSession("ada"))
		var got commitResult
		return scenario{map[string]func(context.Context){
			"regenerate": func(ctx context.Context) {
				swaps := regeneration(ctx, old)
				commit(ctx, store, token, true, swaps...)
				got = commit(ctx, store, token, true, swaps...)
			},
			"end user": func(ctx context.Context) { require.NoError(t, store.EndUser(ctx, cookieRealm, "ada", nil)) },
		}, func(t *testing.T) {
			require.False(t, got.lives(t, store))
			if got.err != nil {
				requireConflict(t, got.err, old.ID, true)
			}
		}}
	})
}

// Eight at once, on real goroutines.
func TestCookieRevocations_ParallelRegenerates(t *testing.T) {
	store, _ := newRevocableStore(t)
	old, token := beginSession(t, store, aSession("ada"))
	var wg sync.WaitGroup
	var got [8]commitResult
	for i := range got {
		wg.Go(func() { got[i] = commit(at(t, 0), store, token, true, regeneration(at(t, 0), old)...) })
	}
	wg.Wait()
	lives := 0
	for _, o := range got {
		if o.lives(t, store) {
			lives++
		}
	}
	require.Equal(t, 1, lives)
}

// Many at once change one user's record.
func TestCookieRevocations_ParallelEndUserSessions(t *testing.T) {
	store, _ := newRevocableStore(t)
	var wg sync.WaitGroup
	var tokens [16]Token
	for i := range tokens {
		r, token := beginSession(t, store, aSession("ada"))
		tokens[i] = token
		wg.Go(func() { require.NoError(t, store.EndUserSession(at(t, 0), cookieRealm, "ada", r.ID)) })
	}
	wg.Wait()
	for _, token := range tokens {
		require.True(t, loadAt(t, store, token, 0).Revoked)
	}
}
