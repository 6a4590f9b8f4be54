package traces_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// RevokeUser lists once. An excepted session that is listed before it is regenerated, and its successor after, goes on
// all the same: what excepted IDs go on as is loaded after the list.
func TestTrace10_WhatAnExceptedSessionGoesOnAsIsExcepted(t *testing.T) {
	store := newIndexed()
	app := kit.New(t, session.Config{}, store, store)
	b, other := app.BrowserWith(app.Login("ada")), app.Login("ada")
	id := app.Look(b.Cookie).ID
	regenerate := app.Launch(0, b.Cookie, "indexed", kit.Act(kit.Regenerate))
	revoke := app.Launch(1, "", "listing", revokeExcept(app, id))
	b.Receive(regenerate.Land())
	require.Equal(t, http.StatusOK, revoke.Land().StatusCode)
	require.Equal(t, "ada", app.User(b.Cookie))
	require.True(t, app.Dead(other))
}

// revokeExcept ends ada's sessions except one.
func revokeExcept(app *kit.App, id string) kit.Handler {
	return func(w http.ResponseWriter, r *http.Request, _ *session.Session) {
		if _, err := app.Last().Manager.RevokeUser(r.Context(), "ada", id); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// An excepted session that was regenerated before is not ended by way of its old tombstone, which is listed too.
func TestTrace10_AnExceptedSuccessorIsNotFollowed(t *testing.T) {
	each(t, withSealed(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		b, other := app.BrowserWith(app.Login("ada")), app.Login("ada")
		b.Receive(app.Do(b.Cookie, kit.Regenerate))
		require.Equal(t, http.StatusOK, app.Request(1, "", revokeExcept(app, app.Look(b.Cookie).ID)).StatusCode)
		require.Equal(t, "ada", app.User(b.Cookie))
		require.True(t, app.Dead(other))
	})
}

// The same with stops at all other places of either, on every store.
func TestTrace10_AnExceptedSessionIsRegeneratedMeanwhile(t *testing.T) {
	each(t, withSealed(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		for _, stop := range []string{"list", "load", "swap", "end"} {
			b, other := app.BrowserWith(app.Login("ada")), app.Login("ada")
			revoke, landed := app.Send(1, "", stop, revokeExcept(app, app.Look(b.Cookie).ID))
			b.Receive(app.Do(b.Cookie, kit.Regenerate))
			resp := revoke.Land()
			require.Equal(t, http.StatusOK, resp.StatusCode, "%s, %v", stop, landed)
			require.Equal(t, "ada", app.User(b.Cookie), "at its %s", stop)
			require.True(t, app.Dead(other), "at its %s", stop)
		}
		for _, stop := range []string{"handler", "swap", "between"} {
			b := app.BrowserWith(app.Login("ada"))
			id := app.Look(b.Cookie).ID
			regenerate, _ := app.Send(0, b.Cookie, stop, kit.Act(kit.Regenerate))
			require.Equal(t, http.StatusOK, app.Request(1, "", revokeExcept(app, id)).StatusCode)
			b.Receive(regenerate.Land())
			require.Equal(t, "ada", app.User(b.Cookie), "with the Regenerate at its %s", stop)
		}
	})
}

// A swap was made and its answer lost, and then the session ended. Where the tombstone was swapped in it knows the latest
// revisions: the change was made, and that is no 409. One that End put does not tell, which is a failure of the store.
func TestTrace11_AChangeThatWasMadeIsNoConflictWithTheEnd(t *testing.T) {
	type end struct {
		name  string
		swaps bool // also where the store has End
		run   func(app *kit.App, cookie, id string)
	}
	all := []end{
		{"Regenerate", true, func(app *kit.App, cookie, _ string) { app.Request(1, cookie, kit.Act(kit.Regenerate)) }},
		{"Login", true, func(app *kit.App, cookie, _ string) { app.Request(1, cookie, kit.Act(kit.LoginAda)) }},
	}
	for _, how := range endings {
		all = append(all, end{how.name, false, func(app *kit.App, cookie, id string) {
			require.Equal(app.T, http.StatusOK, how.end(app, 1, cookie, id))
		}})
	}
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			each(t, withRedis(), session.Config{}, func(t *testing.T, app *kit.App, b backing) {
				cookie := app.Login("ada")
				resp := app.Do(cookie, func(s *session.Session) {
					kit.CountUp(s)
					loseAtSave(t, app.Store(), s)
					e.run(app, cookie, s.ID())
				})
				want := http.StatusOK
				if b.ends && !e.swaps {
					want = http.StatusServiceUnavailable
				}
				require.Equal(t, want, resp.StatusCode)
				require.Empty(t, resp.Cookies())
			})
		})
	}
}

// A change that was not made meets the same tombstones with 409.
func TestTrace11_AChangeThatWasNotMadeIsAConflictWithTheEnd(t *testing.T) {
	for _, end := range []func(*session.Session){kit.Regenerate, kit.LoginAda} {
		each(t, withRedis(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
			cookie := app.Login("ada")
			resp := app.Do(cookie, func(s *session.Session) {
				kit.CountUp(s)
				app.Store().Refuse()
				require.Error(t, s.Save(t.Context()))
				app.Request(1, cookie, kit.Act(end))
			})
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			require.Empty(t, resp.Cookies())
		})
	}
}

// sealedApp is an application whose sessions are in the cookie, with a list of what has ended.
func sealedApp(t *testing.T) *kit.App {
	store := kit.SealedWithList(t)
	return kit.New(t, session.Config{}, store, store)
}

// The cut-off of a user is ahead of the clocks. A login says so once, is issued later, and is through.
func TestTrace12_ALoginIsThroughThoughTheCutOffIsAhead(t *testing.T) {
	app := sealedApp(t)
	old := app.Login("ada")
	for range 3 {
		app.RevokeUser("ada")
	}
	app.Store().ForgetCalls()
	for name, cookie := range map[string]string{"a visitor's": "", "over the old session": old} {
		b := app.Browser()
		b.Receive(app.Do(cookie, kit.LoginAda))
		require.Equal(t, "ada", app.User(b.Cookie), name)
		require.True(t, app.Dead(old))
	}
	require.LessOrEqual(t, app.Store().Count(sessiontest.Swap), 6)
}

// Revoke of a public ID counts for its user only, and does not occupy the ID: whoever knows it can neither end the session
// nor keep its user from ending it.
func TestTrace12_RevokeCountsForItsUserOnly(t *testing.T) {
	app := sealedApp(t)
	b := app.BrowserWith(app.Login("ada"))
	id := app.Look(b.Cookie).ID
	require.NoError(t, app.Manager().Revoke(t.Context(), "eve", id), "it can't be known whose it is")
	require.Equal(t, "ada", app.User(b.Cookie))
	b.Receive(app.Do(b.Cookie, func(s *session.Session) { s.Set("a", 1) }))
	require.Equal(t, "ada", app.User(b.Cookie))
	require.NoError(t, app.Manager().Revoke(t.Context(), "ada", id))
	require.True(t, app.Dead(b.Cookie))
}

// An entry lasts as long as the longest-lived cookie of its session, also where a later one is shorter.
func TestTrace12_AnEntryLastsToTheLatestDeadlineThatWasSealed(t *testing.T) {
	app := sealedApp(t)
	b := app.BrowserWith(app.Login("ada"))
	b.Receive(app.Do(b.Cookie, func(s *session.Session) { s.SetLifetime(-1, 3*kit.Day) }))
	long := b.Cookie
	b.Receive(app.Do(b.Cookie, func(s *session.Session) { s.SetLifetime(-1, time.Hour) }))
	require.NotEqual(t, long, b.Cookie)
	require.Equal(t, http.StatusOK, app.Do(b.Cookie, kit.Logout).StatusCode)
	for range 71 {
		require.True(t, app.Dead(long))
		app.Clock.Advance(time.Hour)
		for range 5 { // by which the list forgets what it may
			app.Do(app.Login("grace"), kit.Logout)
		}
	}
}

// A load by ID alone says that it can't know, except of what has ended.
func TestTrace12_ALoadByIDCanNotKnow(t *testing.T) {
	app := sealedApp(t)
	cookie := app.Login("ada")
	token := session.NewToken(app.Look(cookie).ID, "").WithRealm(app.Name)
	_, err := app.Store().Inner().Load(app.Context(), token)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	app.Do(cookie, kit.Logout)
	r, err := app.Store().Inner().Load(app.Context(), token)
	require.NoError(t, err)
	require.True(t, r.Ended)
}

// The queue is off: one that is held up at the store keeps nobody waiting.
func TestTrace12_TheQueueIsOff(t *testing.T) {
	app := sealedApp(t)
	cookie := app.Login("ada")
	f := app.Launch(0, cookie, "swap", countUp)
	require.Equal(t, http.StatusOK, app.Request(0, cookie, countUp).StatusCode)
	require.Equal(t, http.StatusOK, f.Land().StatusCode)
	_, err := app.Manager().RevokeUser(context.Background(), "ada")
	require.NoError(t, err)
}
