package traces_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// patience is how long something may take that would otherwise hang.
const patience = 20 * time.Second

// answered makes a request that has to be answered in time.
func answered(t *testing.T, request func() *http.Response) *http.Response {
	t.Helper()
	done := make(chan *http.Response, 1)
	go func() { done <- request() }()
	select {
	case resp := <-done:
		return resp
	case <-time.After(patience):
		t.Fatal("the request hangs")
		return nil
	}
}

// A store's decorator does not find the session in its context, whatever it is called for, so that it can't wait for it.
func TestReach_AStoreDoesNotFindTheSession(t *testing.T) {
	each(t, withSealed(), session.Config{}, func(t *testing.T, app *kit.App, b backing) {
		var mu sync.Mutex // RevokeUser ends several at once
		calls := map[sessiontest.Op]int{}
		ask := func(ctx context.Context, op sessiontest.Op, call func() error) error {
			if s, ok := session.Lookup(ctx); ok {
				t.Errorf("%s finds the session of %q", op, s.User())
			}
			mu.Lock()
			calls[op]++
			mu.Unlock()
			return call()
		}
		app.Store().Intercept(ask)
		one := app.Manager()
		act := func(cookie string, do func(r *http.Request, s *session.Session)) string {
			b := app.BrowserWith(cookie)
			b.Receive(answered(t, func() *http.Response {
				return app.Request(0, cookie, func(_ http.ResponseWriter, r *http.Request, s *session.Session) { do(r, s) })
			}))
			return b.Cookie
		}
		cookie := act("", func(_ *http.Request, s *session.Session) { kit.LoginAda(s) })
		other := act("", func(_ *http.Request, s *session.Session) { kit.LoginAda(s) })
		cookie = act(cookie, func(r *http.Request, s *session.Session) {
			kit.CountUp(s)
			_ = s.Save(r.Context())
			_ = s.Save(r.Context())
		})
		cookie = act(cookie, func(_ *http.Request, s *session.Session) { kit.Regenerate(s) })
		cookie = act(cookie, func(r *http.Request, s *session.Session) {
			_, _ = one.Sessions(r.Context(), "ada")
			_, _ = one.RevokeUser(r.Context(), "ada", s.ID())
			_ = one.Revoke(r.Context(), "ada", s.ID())
		})
		act(cookie, func(_ *http.Request, s *session.Session) { kit.Logout(s) })
		act(other, func(_ *http.Request, s *session.Session) { kit.LoginAda(s) })
		require.NotZero(t, calls[sessiontest.Load])
		require.NotZero(t, calls[sessiontest.Swap])
		if b.ends {
			require.NotZero(t, calls[sessiontest.End])
			require.NotZero(t, calls[sessiontest.List])
		}
	})
}

// Nor does that of a group's swap, or of MaxPerUser's list and ends.
func TestReach_AStoreDoesNotFindTheSessionsOfAGroup(t *testing.T) {
	each(t, backings(), session.Config{MaxPerUser: 1}, func(t *testing.T, app *kit.App, _ backing) {
		cookie := app.Login("ada")
		app.Store().Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
			if _, ok := session.Lookup(ctx); ok {
				t.Errorf("%s finds the session", op)
			}
			if op == sessiontest.Swap {
				time.Sleep(time.Millisecond)
			}
			return call()
		})
		done := make(chan int)
		for range 20 {
			go func() { done <- app.Request(0, cookie, countUp).StatusCode }()
		}
		for range 20 {
			require.Equal(t, http.StatusOK, <-done)
		}
		app.Login("ada")
	})
}

// An Update's function that uses its session, against the documentation, neither hangs nor spins: when it is noted, made
// again after a conflict, and made again after another commit was found to have been made.
func TestReach_AnUpdateThatUsesItsSession(t *testing.T) {
	uses := map[string]func(*session.Session, int){
		"reads":            func(s *session.Session, _ int) { s.User(); s.Keys(); s.Get("cart", new(string)) },
		"sets another key": func(s *session.Session, n int) { s.Set("other", n) },
		"sets new keys":    func(s *session.Session, n int) { s.Set(fmt.Sprint("key", n), n) },
		"updates another":  func(s *session.Session, _ int) { session.Key[int]("other").Update(s, addOne) },
		"flashes":          func(s *session.Session, _ int) { s.Flash("info", "again") },
		"clears flashes":   func(s *session.Session, _ int) { s.Flashes() },
	}
	for name, use := range uses {
		for _, before := range []string{"nothing", "a conflict", "a lost answer", "a lost answer and a conflict"} {
			t.Run(name+"/"+before, func(t *testing.T) {
				each(t, backings(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
					cookie := app.Login("ada")
					resp := answered(t, func() *http.Response {
						return app.Do(cookie, func(s *session.Session) {
							if before == "a lost answer" || before == "a lost answer and a conflict" {
								s.Set("a", 1)
								app.Store().Lose()
								_ = s.Save(context.Background())
								app.Store().Mend()
							}
							calls := 0
							kit.Counter.Update(s, func(n int) int {
								calls++
								use(s, calls)
								return n + 1
							})
							if before != "nothing" && before != "a lost answer" {
								app.Request(1, cookie, countUp)
							}
						})
					})
					require.Equal(t, http.StatusOK, resp.StatusCode)
					want := 1
					if before != "nothing" && before != "a lost answer" {
						want = 2
					}
					require.Equal(t, want, counted(app, cookie))
				})
			})
		}
	}
}

// One that sets the key that it updates never ends by itself. It is a fault of the program, which is told.
func TestReach_AnUpdateThatSetsItsOwnKey(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	resp := answered(t, func() *http.Response {
		return app.Do(cookie, func(s *session.Session) {
			calls := 0
			kit.Counter.Update(s, func(n int) int {
				calls++
				kit.Counter.Set(s, -calls)
				return n + 1
			})
		})
	})
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Contains(t, app.Log(), "must not change the session")
}

// Nor do Updates end of which each notes another one whenever it is made again.
func TestReach_AnUpdateThatNotesMoreAndMore(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	resp := answered(t, func() *http.Response {
		return app.Do(cookie, func(s *session.Session) {
			var more func() func(int) int
			more = func() func(int) int {
				calls := 0
				return func(n int) int {
					if calls++; calls > 1 {
						session.Key[int](fmt.Sprint("key", n)).Update(s, more())
					}
					return n + 1
				}
			}
			s.Set("a", 1)
			loseAtSave(t, app.Store(), s)
			kit.Counter.Update(s, more())
		})
	})
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
}

// OnEvent and a log handler may use the session, in every way: nothing is told while a lock is held.
func TestReach_WhoIsToldUsesTheSession(t *testing.T) {
	const busy = "busy"
	faults := map[string]func(app *kit.App, cookie string, s *session.Session){
		"nothing":      func(*kit.App, string, *session.Session) {},
		"a load fails": func(app *kit.App, _ string, _ *session.Session) { app.Store().Break(kit.ErrDown, sessiontest.Load) },
		"a swap fails": func(app *kit.App, _ string, s *session.Session) {
			app.Store().Break(kit.ErrDown, sessiontest.Swap, sessiontest.End)
			kit.CountUp(s)
		},
		"a touch fails": func(app *kit.App, _ string, s *session.Session) {
			app.Store().Break(kit.ErrDown, sessiontest.Swap)
			app.Clock.Advance(30 * time.Minute)
			s.User()
		},
		"an end fails": func(app *kit.App, _ string, s *session.Session) {
			app.Store().Break(kit.ErrDown, sessiontest.Swap, sessiontest.End)
			kit.Logout(s)
		},
		"a conflict": func(app *kit.App, cookie string, s *session.Session) {
			kit.CountUp(s)
			app.Request(1, cookie, countUp)
		},
		"a value that does not fit": func(_ *kit.App, _ string, s *session.Session) { s.Get("cart", new(int)) },
		"a login":                   func(_ *kit.App, _ string, s *session.Session) { kit.LoginAda(s) },
		"a logout":                  func(_ *kit.App, _ string, s *session.Session) { kit.Logout(s) },
		"after the start": func(_ *kit.App, _ string, s *session.Session) {
			_ = s.Save(context.Background())
			kit.Regenerate(s)
			s.SetPersistent(true)
		},
	}
	for name, fault := range faults {
		for _, b := range backings() {
			t.Run(name+"/"+b.name, func(t *testing.T) {
				var s *session.Session
				using, times := false, 0
				use := func() {
					if s == nil || using {
						return
					}
					using = true
					times++
					defer func() { using = false }()
					s.User()
					s.Set(busy, true)
					s.Delete(busy)
					s.Flashes()
					s.SetPersistent(true)
					_ = s.Err()
					_ = s.Save(context.Background())
				}
				store := b.open(t)
				app := kit.New(t, session.Config{
					MaxPerUser: 1, StoreTimeout: time.Second,
					OnEvent: func(context.Context, session.Event) { use() },
					Logger:  slog.New(tellingHandler{slog.DiscardHandler, use}),
				}, store, store)
				cookie := app.Login("ada")
				began := time.Now()
				answered(t, func() *http.Response {
					rec, r := httptest.NewRecorder(), httptest.NewRequest("GET", "http://example.test/", nil)
					r.Header.Set("Cookie", app.Name+"="+cookie)
					app.Nodes[0].HandlerOf(func(_ http.ResponseWriter, _ *http.Request, own *session.Session) {
						s = own
						fault(app, cookie, own)
						own.User()
					}).ServeHTTP(rec, r)
					return rec.Result()
				})
				require.Less(t, time.Since(began), time.Second, "nothing waits for its own commit")
				require.Equal(t, name != "nothing", times > 0, "there is something to tell")
			})
		}
	}
}

// A Save inside an Update's function waits for the commit that it is part of, and for no longer than StoreTimeout.
func TestReach_ASaveInsideAnUpdate(t *testing.T) {
	for _, b := range backings() {
		synctest.Test(t, func(t *testing.T) {
			store := b.open(t)
			app := kit.New(t, session.Config{StoreTimeout: groupTimeout}, store, store)
			cookie := app.Login("ada")
			var took []time.Duration
			began := time.Now()
			resp := app.Do(cookie, func(s *session.Session) {
				kit.Counter.Update(s, func(n int) int {
					began := time.Now()
					_ = s.Save(context.Background())
					took = append(took, time.Since(began))
					return n + 1
				})
				app.Request(1, cookie, countUp)
			})
			require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, resp.StatusCode)
			require.Greater(t, len(took), 1, "at the commit, too")
			for _, d := range took {
				require.LessOrEqual(t, d, groupTimeout)
			}
			require.LessOrEqual(t, time.Since(began), 3*groupTimeout)
		})
	}
}
