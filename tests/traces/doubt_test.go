package traces_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// A Login meets another request's change, ends the old session whatever it is, and is not told that it has. Its next try
// finds its own tombstone, and keeps what was there.
func TestLogin_KeepsWhatItEndedUnanswered(t *testing.T) {
	for _, b := range backings() {
		t.Run(b.name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, b.open(t))
			cookie, lost := app.Start(), false
			resp := app.Request(0, cookie, kit.Act(func(s *session.Session) {
				require.Equal(t, http.StatusOK, app.Do(cookie, kit.CountUp).StatusCode)
				app.Store().Intercept(loseEnd(app.Store(), &lost))
				require.NoError(t, s.Login("ada", string(kit.Counter)))
				require.ErrorIs(t, s.Save(t.Context()), io.ErrUnexpectedEOF)
			}))
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.True(t, lost)
			v := app.Browser()
			v.Receive(resp)
			require.Equal(t, 1, counted(app, v.Cookie))
		})
	}
}

// loseEnd loses the answer to the first call that ends a session, and does nothing else.
func loseEnd(store *kit.Store, lost *bool) kit.Hook {
	return func(_ context.Context, op sessiontest.Op, call func() error) error {
		err := call()
		if ends := op == sessiontest.End || op == sessiontest.Swap && endsOnly(store); err == nil && ends && !*lost {
			*lost = true
			return io.ErrUnexpectedEOF
		}
		return err
	}
}

// The same where another request has regenerated the session: what it goes on as is ended without being told so.
func TestLogin_KeepsWhatTheSuccessorHad(t *testing.T) {
	for _, b := range backings() {
		t.Run(b.name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, b.open(t))
			cookie, lost := app.Start(), false
			resp := app.Request(0, cookie, kit.Act(func(s *session.Session) {
				s.Has("loads it")
				require.Equal(t, http.StatusOK, app.Do(cookie, func(s *session.Session) {
					kit.CountUp(s)
					require.NoError(t, s.Regenerate())
				}).StatusCode)
				app.Store().Intercept(loseEnd(app.Store(), &lost))
				require.NoError(t, s.Login("ada", string(kit.Counter)))
				require.ErrorIs(t, s.Save(t.Context()), io.ErrUnexpectedEOF)
			}))
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.True(t, lost)
			require.Len(t, app.Live(), 1)
			v := app.Browser()
			v.Receive(resp)
			require.Equal(t, 1, counted(app, v.Cookie))
		})
	}
}

// A Login in a request whose session has ended elsewhere ends it once more: a failover may have brought it back. It keeps
// nothing of that session, which the request could not see.
func TestLogin_EndsWhatAFailoverBroughtBack(t *testing.T) {
	for _, b := range backings() {
		for name, late := range map[string]bool{"loaded as ended": true, "ended since": false} {
			t.Run(b.name+"/"+name, func(t *testing.T) {
				app := kit.New(t, session.Config{}, b.open(t))
				cookie := app.Login("ada")
				require.Equal(t, http.StatusOK, app.Do(cookie, kit.CountUp).StatusCode)
				stored, replica := app.Live()[app.Look(cookie).ID], b.open(t)
				_, err := replica.Swap(app.Context(), session.NewToken(stored.ID, ""), session.Swap{New: stored})
				require.NoError(t, err)
				logOut := func() { require.Equal(t, http.StatusOK, app.Do(cookie, kit.Logout).StatusCode) }
				if late {
					logOut()
				}
				resp := app.Request(0, cookie, kit.Act(func(s *session.Session) {
					s.Has("loads it")
					if !late {
						logOut()
					}
					require.ErrorIs(t, s.Save(t.Context()), session.ErrSessionEnded)
					app.Store().Replace(replica)
					require.NoError(t, s.Login("bob", string(kit.Counter)))
				}))
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Len(t, app.Live(), 1)
				require.Empty(t, app.User(cookie))
				v := app.Browser()
				v.Receive(resp)
				require.Zero(t, counted(app, v.Cookie))
			})
		}
	}
}

// Of two Logins of one request, the second one keeps nothing of the session that the first one has ended, also where nobody
// knows what the session was that it has ended itself.
func TestLogin_KeepsNothingOfAnEarlierLogins(t *testing.T) {
	for _, b := range backings() {
		t.Run(b.name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, b.open(t))
			cookie := app.Login("ada")
			resp := app.Request(0, cookie, kit.Act(func(s *session.Session) {
				s.Has("loads it")
				require.Equal(t, http.StatusOK, app.Do(cookie, kit.CountUp).StatusCode) // so that the first one meets a conflict
				require.NoError(t, s.Login("bob"))
				require.NoError(t, s.Save(t.Context()))
				successor := regenerateElsewhere(t, app, s.ID())
				loads := 0
				app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
					if op == sessiontest.Load {
						loads++
						return io.ErrUnexpectedEOF
					}
					err := call()
					if ends := op == sessiontest.End || op == sessiontest.Swap && endsOnly(app.Store()); err == nil && ends {
						return io.ErrUnexpectedEOF
					}
					return err
				})
				require.NoError(t, s.Login("carol", string(kit.Counter)))
				require.Error(t, s.Save(t.Context()))
				require.NotZero(t, loads)
				app.Store().Intercept(nil)
				require.NoError(t, s.Save(t.Context()))
				require.NotContains(t, app.Live(), successor)
			}))
			require.Equal(t, http.StatusOK, resp.StatusCode)
			v := app.Browser()
			v.Receive(resp)
			require.Equal(t, "carol", app.User(v.Cookie))
			require.Zero(t, counted(app, v.Cookie))
		})
	}
}

// regenerateElsewhere does what another request's Regenerate does, and returns the new ID.
func regenerateElsewhere(t *testing.T, app *kit.App, id string) string {
	t.Helper()
	old := app.Live()[id]
	next := *old
	next.ID, next.Revision, next.Latest = "successor", "first", session.Revisions{}
	tombstone := app.Tombstone(id, old.User)
	tombstone.Successor = next.ID
	_, err := app.Store().Inner().Swap(app.Context(), session.NewToken(id, "").WithRealm(old.Realm),
		session.Swap{Old: old, New: tombstone}, session.Swap{New: &next})
	require.NoError(t, err)
	return next.ID
}

// A logout follows a Login whose answer was lost. The tombstone that it meets is the Login's own: no other request has given
// the browser a cookie, so this one is removed.
func TestLogout_AfterALoginInDoubt(t *testing.T) {
	each(t, backings(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		b := app.BrowserWith(app.Login("ada"))
		resp := app.Request(0, b.Cookie, kit.Act(func(s *session.Session) {
			require.NoError(t, s.Login("bob"))
			loseAtSave(t, app.Store(), s)
			kit.Logout(s)
		}))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Empty(t, app.Live())
		b.Receive(resp)
		require.Empty(t, b.Cookie)
	})
}

// Requests that have committed together go on from one record. What one of them adds to it is not the other's.
func TestGroup_FlashesOfEach(t *testing.T) {
	inGroup(t, func(t *testing.T, g *group) {
		gate := make(chan struct{})
		g.onSwap(map[int]kit.Hook{1: until(gate)})
		g.beginMany("first", 1)
		var more, end []chan struct{}
		for _, texts := range [][]string{{"a1", "a2", "a3", "a4"}, {"b1", "b2"}} {
			goOn, goOut := make(chan struct{}), make(chan struct{})
			more, end = append(more, goOn), append(end, goOut)
			g.begin(texts[0], func(s *session.Session) {
				last := len(texts) - 1
				for _, text := range texts[:last] {
					s.Flash("", text)
				}
				require.NoError(t, s.Save(t.Context()))
				<-goOn
				s.Flash("", texts[last])
				<-goOut
			})
		}
		close(gate)
		for _, gate := range append(more, end...) {
			synctest.Wait()
			close(gate)
		}
		g.requests.Wait()
		var texts []string
		g.Do(g.cookie, func(s *session.Session) {
			for _, f := range s.Flashes() {
				texts = append(texts, f.Message)
			}
		})
		require.ElementsMatch(t, []string{"welcome", "a1", "a2", "a3", "a4", "b1", "b2"}, texts)
	})
}

// A goroutine sets a value at the very moment at which a request finds that nothing is left to commit, and ends. It is in
// time, and stored, or comes after the end, and is told so. There is nothing between.
func TestLate_AtTheEnd(t *testing.T) {
	var looks, returning, notKept atomic.Bool
	manager, err := session.New(session.NewMemoryStore(), session.Config{
		Clock: func() time.Time {
			if returning.Load() { // it looks whether the use is to be noted, which is the last of what may be left
				looks.Store(true)
				for until := time.Now().Add(10 * time.Microsecond); time.Now().Before(until); {
				}
			}
			return time.Now()
		},
		OnEvent: func(_ context.Context, e session.Event) {
			if e.Reason == session.ReasonNotKept {
				notKept.Store(true)
			}
		},
		Logger: kit.QuietSlog(),
	})
	require.NoError(t, err)
	var set chan struct{}
	handler := manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if r.URL.Path == "/login" {
			require.NoError(t, s.Login("ada"))
			return
		}
		s.Has("loads it")
		kit.WriteOK(w, nil)
		go func() {
			defer close(set)
			for !looks.Load() {
				runtime.Gosched()
			}
			s.Set("set", 1)
		}()
		returning.Store(true)
	}))
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "https://localhost/login", nil))
	r := httptest.NewRequest(http.MethodPost, "https://localhost/", nil)
	r.AddCookie(rec.Result().Cookies()[0])
	for range runs * 10 {
		set = make(chan struct{})
		handler.ServeHTTP(httptest.NewRecorder(), r)
		<-set
		returning.Store(false)
		looks.Store(false)
		require.False(t, notKept.Load())
	}
}

// untold makes a call and takes off a conflict what is stored, which a store need not tell.
func untold(_ context.Context, _ sessiontest.Op, call func() error) error {
	err := call()
	var conflict *session.ConflictError
	if errors.As(err, &conflict) {
		return &session.ConflictError{ID: conflict.ID, NotBefore: conflict.NotBefore}
	}
	return err
}

// A store does not tell what it has in a conflict. It is asked for the session that the conflict is about, which is not always
// the one that the request is about to store, or has loaded.
func TestConflict_Untold(t *testing.T) {
	each(t, backings(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		for name, do := range map[string]func(*session.Session, string){
			"a Login in doubt meets a change of the old session": func(s *session.Session, cookie string) {
				require.NoError(t, s.Login("bob"))
				app.Store().Refuse()
				require.Error(t, s.Save(t.Context()))
				app.Store().Intercept(untold)
				require.Equal(t, http.StatusOK, app.Request(1, cookie, countUp).StatusCode)
			},
			"a late logout meets the tombstone": func(s *session.Session, cookie string) {
				require.Equal(t, http.StatusOK, app.Request(1, cookie, kit.Act(kit.Logout)).StatusCode)
				require.ErrorIs(t, s.Save(t.Context()), session.ErrSessionEnded)
				kit.Logout(s)
			},
			"a Login meets a revocation": func(s *session.Session, _ string) {
				app.RevokeUser("ada")
				require.NoError(t, s.Login("bob"))
			},
		} {
			cookie := app.Login("ada")
			app.Store().Intercept(untold)
			resp := app.Request(0, cookie, kit.Act(func(s *session.Session) {
				s.Has("loads it")
				do(s, cookie)
			}))
			require.Equal(t, http.StatusOK, resp.StatusCode, name)
			require.Empty(t, app.User(cookie), name)
			app.Store().Mend()
		}
	})
}
