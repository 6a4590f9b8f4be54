package operation_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

var refuseOver2 = session.Config{MaxPerUser: 2, OverLimit: session.Refuse}

func TestOverLimit_Refuse(t *testing.T) {
	kit.EachUserStore(t, refuseOver2, func(app *kit.App) {
		first, second, grace := app.Login("ada"), app.Login("ada"), app.Login("grace")
		app.Events()
		visitor := app.BrowserWith(app.Start())
		cart := visitor.Cookie
		resp := visitor.Do(func(s *session.Session) {
			s.Set("lost", 1)
			require.NoError(app.T, s.Login("ada", "cart"))
			s.Set("version", 7)
		})
		require.Equal(app.T, http.StatusForbidden, resp.StatusCode)
		require.NotContains(app.T, kit.Body(resp), "done")
		require.Empty(app.T, resp.Cookies())
		require.Equal(app.T, cart, visitor.Cookie)
		require.Equal(app.T, []string{"cart"}, visitor.Keys(), "the visitor's session goes on as it was")
		require.Equal(app.T, "ada", app.User(first))
		require.Equal(app.T, "ada", app.User(second))
		require.Equal(app.T, "grace", app.User(grace))
		require.Equal(app.T, 1, app.Count(session.EventRefused))
		require.Zero(app.T, app.Count(session.EventEvicted)+app.Count(session.EventLoggedIn))
		for _, e := range app.Events() {
			if e.Kind == session.EventRefused {
				require.Equal(app.T, session.Event{Kind: e.Kind, User: "ada", Reason: session.ReasonOverLimit, Time: e.Time}, e)
			}
		}
		require.NotContains(app.T, app.Log(), "the response is an error", "it is no fault of the program's")

		app.Do(first, kit.Logout)
		visitor.SignIn("ada")
		require.Len(app.T, app.Listed("ada"), 2)
	})
}

// Who signs in again in a browser that is signed in has the place of the session that ends.
func TestOverLimit_TheOwnSessionDoesNotCount(t *testing.T) {
	kit.EachUserStore(t, refuseOver2, func(app *kit.App) {
		app.Login("ada")
		b := app.BrowserWith(app.Login("ada"))
		for range 3 {
			b.SignIn("ada")
			require.Len(app.T, app.Listed("ada"), 2)
		}
		// Also where another tab has given it a new ID meanwhile.
		f := app.Launch(0, b.Cookie, "handler", kit.Act(kit.LoginAda))
		app.Request(0, b.Cookie, kit.Act(kit.Regenerate))
		require.Equal(app.T, http.StatusOK, f.Land().StatusCode)
		require.Len(app.T, app.Listed("ada"), 2)
	})
}

// It costs a login what finds the place, and no second list.
func TestOverLimit_Calls(t *testing.T) {
	kit.EachUserStore(t, refuseOver2, func(app *kit.App) {
		app.Store().ForgetCalls()
		app.Request(0, "", kit.Act(kit.LoginAda))
		require.Equal(app.T, 1, app.Store().Count(sessiontest.List))
		require.Equal(app.T, 1, app.Store().Count(sessiontest.Load))
		require.Equal(app.T, 2, app.Store().Count(sessiontest.Swap))
	})
}

// A handler that commits by itself says so in its own words, with a session that works.
func TestOverLimit_TheHandlerAnswers(t *testing.T) {
	kit.EachUserStore(t, refuseOver2, func(app *kit.App) {
		app.Login("ada")
		app.Login("ada")
		b := app.BrowserWith(app.Start())
		resp := b.Do(func(s *session.Session) {
			require.NoError(app.T, s.Login("ada"))
			s.SetNote("of the login that is refused")
			err := s.Save(context.Background())
			require.ErrorIs(app.T, err, session.ErrTooManySessions)
			require.NotErrorIs(app.T, err, session.ErrSessionEnded)
			require.Empty(app.T, s.User())
			require.Empty(app.T, s.Note())
			s.Flash("error", "sign out somewhere else first")
		})
		require.Equal(app.T, http.StatusOK, resp.StatusCode)
		b.Must(func(s *session.Session) {
			require.Equal(app.T, []string{"cart"}, s.Keys())
			require.Len(app.T, s.Flashes(), 1)
		})
	})
}

// However many come at once, in however many processes: never more than the maximum, and never fewer where there is room.
func TestOverLimit_ParallelLogins(t *testing.T) {
	kit.EachUserStore(t, session.Config{MaxPerUser: 5, OverLimit: session.Refuse}, func(app *kit.App) {
		var all sync.WaitGroup
		statuses := make([]int, 50)
		for i := range statuses {
			all.Go(func() { statuses[i] = app.Request(i%len(app.Nodes), "", kit.Act(kit.LoginAda)).StatusCode })
		}
		all.Wait()
		in := 0
		for _, status := range statuses {
			if status == http.StatusOK {
				in++
			} else {
				require.Equal(app.T, http.StatusForbidden, status)
			}
		}
		require.Equal(app.T, 5, in)
		require.Len(app.T, app.Listed("ada"), 5)
		require.Len(app.T, app.Live(), 5)
	})
}

// A login that was counted and is not stored yet counts for another process.
func TestOverLimit_ALoginUnderWay(t *testing.T) {
	kit.EachUserStore(t, session.Config{MaxPerUser: 1, OverLimit: session.Refuse}, func(app *kit.App) {
		// The flight stops at its second swap, the login's own: the first one takes the seat.
		var gate sync.Once
		reached, goOn := make(chan struct{}), make(chan struct{})
		swaps := 0
		app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			if op == sessiontest.Swap {
				if swaps++; swaps == 2 {
					gate.Do(func() { close(reached); <-goOn })
				}
			}
			return call()
		})
		first := make(chan int)
		go func() { first <- app.Request(0, "", kit.Act(kit.LoginAda)).StatusCode }()
		<-reached
		app.Store().Mend()
		require.Equal(app.T, http.StatusForbidden, app.Request(len(app.Nodes)-1, "", kit.Act(kit.LoginAda)).StatusCode)
		close(goOn)
		require.Equal(app.T, http.StatusOK, <-first)
		require.Len(app.T, app.Live(), 1)
	})
}

// One that failed on the way holds its place for a minute, and not for ever.
func TestOverLimit_ALoginThatFailed(t *testing.T) {
	kit.EachUserStore(t, session.Config{MaxPerUser: 1, OverLimit: session.Refuse}, func(app *kit.App) {
		swaps := 0
		app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			if op == sessiontest.Swap {
				if swaps++; swaps > 1 { // the first one takes the seat
					return kit.ErrDown
				}
			}
			return call()
		})
		require.Equal(app.T, http.StatusServiceUnavailable, app.Do("", kit.LoginAda).StatusCode)
		app.Store().Mend()
		require.Equal(app.T, http.StatusForbidden, app.Do("", kit.LoginAda).StatusCode)
		app.Clock.Advance(2 * time.Minute)
		require.Equal(app.T, http.StatusOK, app.Do("", kit.LoginAda).StatusCode)
		require.Len(app.T, app.Listed("ada"), 1)
	})
}

// A lost answer, of the count or of the login, counts the login once.
func TestOverLimit_LostAnswers(t *testing.T) {
	for _, lost := range []int{1, 2} {
		kit.EachUserStore(t, session.Config{MaxPerUser: 1, OverLimit: session.Refuse}, func(app *kit.App) {
			swaps := 0
			app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
				err := call()
				if op == sessiontest.Swap {
					if swaps++; swaps == lost && err == nil {
						return errors.New("the reply was lost")
					}
				}
				return err
			})
			b := app.Browser()
			b.Do(func(s *session.Session) {
				require.NoError(app.T, s.Login("ada"))
				require.Error(app.T, s.Save(context.Background()))
			})
			require.Equal(app.T, "ada", app.User(b.Cookie), "the commit at the end has settled it")
			require.Len(app.T, app.Live(), 1)
		})
	}
}

// Where it can't be counted nobody is let in.
func TestOverLimit_StoreDown(t *testing.T) {
	kit.EachUserStore(t, refuseOver2, func(app *kit.App) {
		for _, op := range []sessiontest.Op{sessiontest.List, sessiontest.Swap} {
			app.Store().Break(kit.ErrDown, op)
			require.Equal(app.T, http.StatusServiceUnavailable, app.Do("", kit.LoginAda).StatusCode)
			app.Store().Mend()
			require.Empty(app.T, app.Listed("ada"))
		}
	})
}

func TestOverLimit_ALoweredMaximum(t *testing.T) {
	store := session.NewMemoryStore()
	app := kit.New(t, session.Config{}, store)
	for range 4 {
		app.Login("ada")
	}
	strict := kit.NewAt(t, app.Clock, session.Config{MaxPerUser: 2, OverLimit: session.Refuse}, store)
	require.Equal(t, http.StatusForbidden, strict.Do("", kit.LoginAda).StatusCode)
	require.Len(t, strict.Listed("ada"), 4, "nobody is signed out by it")
	lenient := kit.NewAt(t, app.Clock, session.Config{MaxPerUser: 2}, store)
	lenient.Login("ada")
	require.Len(t, lenient.Listed("ada"), 2, "the zero value ends the oldest")
}

func TestOverLimit_Config(t *testing.T) {
	_, err := session.New(session.NewMemoryStore(), session.Config{OverLimit: session.Refuse})
	require.ErrorContains(t, err, "OverLimit Refuse needs MaxPerUser")
	_, err = session.New(session.NewMemoryStore(), session.Config{MaxPerUser: 1, OverLimit: 2})
	require.ErrorContains(t, err, "OverLimit must be EndOldest or Refuse")
	require.Equal(t, "end oldest, refuse, OverLimit(7)", session.EndOldest.String()+", "+session.Refuse.String()+", "+session.OverLimit(7).String())
}
