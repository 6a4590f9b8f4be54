package traces_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// runs is how often a race is forced.
const runs = 300

// writer is a goroutine that outlives its handler: it sets the counter to 1, 2, 3 and so on.
type writer struct {
	session *session.Session
	made    int
	asked   chan int // how many times it is to set it now
	done    chan struct{}
}

func newWriter(s *session.Session) *writer {
	w := &writer{session: s, asked: make(chan int), done: make(chan struct{})}
	go func() {
		for n := range w.asked {
			for range n {
				w.made++
				kit.Counter.Set(s, w.made)
			}
			w.done <- struct{}{}
		}
	}()
	return w
}

// set has the goroutine set the counter n times, and waits for that.
func (w *writer) set(n int) {
	w.asked <- n
	<-w.done
}

// requireNothingLost checks that each change that was made is stored or was reported: one report for those that a request
// could not keep at its end, and one for each that came later.
func requireNothingLost(t *testing.T, app *kit.App, cookie string, made int) {
	t.Helper()
	notKept, after := 0, 0
	for _, e := range app.Events() {
		switch {
		case e.Kind != session.EventLateWrite:
		case e.Reason == session.ReasonNotKept:
			notKept++
		case e.Reason == session.ReasonAfterRequest:
			after++
		}
	}
	stored := counted(app, cookie)
	unaccounted := made - after - stored
	require.GreaterOrEqual(t, unaccounted, 0, "%d made, %d stored, %d reported", made, stored, after)
	require.LessOrEqual(t, notKept, 1)
	require.Equal(t, notKept > 0, unaccounted > 0, "%d made, %d stored, %d reported, and %d at the end", made, stored, after, notKept)
}

// A goroutine sets a value after the store has made the last commit and before the request has ended, as often as that
// commits.
func TestLate_BetweenTheLastCommitAndTheEnd(t *testing.T) {
	for _, times := range []int{1, 2, 3, 4, 1000} {
		for _, b := range backings() {
			t.Run(fmt.Sprint(b.name, times), func(t *testing.T) {
				app := kit.New(t, session.Config{}, b.open(t))
				cookie := app.Login("ada")
				for range runs / 30 {
					var w *writer
					n := 0
					app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
						err := call()
						if op == sessiontest.Swap && w != nil && n < times {
							n++
							w.set(1)
						}
						return err
					})
					app.Request(0, cookie, func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
						kit.WriteOK(rw, nil)
						w = newWriter(s)
						w.set(1)
					})
					app.Store().Mend()
					require.Less(t, n, 20, "who goes on and on keeps no response waiting")
					w.set(3)
					requireNothingLost(t, app, cookie, w.made)
					close(w.asked)
					app.Do(cookie, func(s *session.Session) { kit.Counter.Delete(s) })
					app.Events()
				}
			})
		}
	}
}

// The same where the application is told something between the two: OnEvent and the logger have the goroutine set it.
func TestLate_WhileTheApplicationIsTold(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "each time": 1000} {
		t.Run(name, func(t *testing.T) {
			for range runs {
				var w *writer
				n, busy := 0, false
				told := func() {
					if w != nil && n < times && !busy {
						n++
						busy = true
						w.set(1)
						busy = false
					}
				}
				app := kit.New(t, session.Config{
					OnEvent: func(context.Context, session.Event) { told() },
					Logger:  slog.New(tellingHandler{slog.DiscardHandler, told}),
				}, session.NewMemoryStore())
				cookie := app.Login("ada")
				other := kit.NewAt(t, app.Clock, session.Config{}, app.Store().Inner())
				app.Events()
				app.Request(0, cookie, func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
					kit.WriteOK(rw, nil)
					w = newWriter(s)
					other.Do(cookie, func(s *session.Session) { s.Set("a", 1) })
					w.set(1) // which meets a conflict: an event
				})
				n = times
				w.set(3)
				requireNothingLost(t, app, cookie, w.made)
				close(w.asked)
			}
		})
	}
}

// tellingHandler calls a function at each line.
type tellingHandler struct {
	slog.Handler
	told func()
}

func (h tellingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h tellingHandler) Handle(context.Context, slog.Record) error {
	h.told()
	return nil
}

// A goroutine sets a value in a loop, from before the handler returns until after the request has ended.
func TestLate_InALoopAroundTheReturn(t *testing.T) {
	for _, started := range []bool{false, true} {
		t.Run(fmt.Sprint("response started: ", started), func(t *testing.T) {
			app := kit.New(t, session.Config{Logger: kit.QuietSlog()}, session.NewMemoryStore())
			for range runs {
				cookie := app.Login("ada")
				app.Events()
				var over atomic.Bool
				began, ended := make(chan struct{}), make(chan int)
				app.Request(0, cookie, func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
					if started {
						kit.WriteOK(rw, nil)
					}
					s.Has("loads it")
					go func() {
						made := 0
						for last := false; !last; {
							last = over.Load() // one more after the end
							made++
							kit.Counter.Set(s, made)
							if made == 10 {
								close(began)
							}
						}
						ended <- made
					}()
					<-began
				})
				over.Store(true)
				requireNothingLost(t, app, cookie, <-ended)
			}
		})
	}
}

// Many goroutines that change the session in a loop keep no response waiting. Updates that come faster than they can be
// made again are a fault of the program.
func TestLate_ManyInALoopKeepNobodyWaiting(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*session.Session)
		statuses []int
	}{
		"Set":         {func(s *session.Session) { s.Set("a", 1) }, []int{http.StatusOK}},
		"SetLifetime": {func(s *session.Session) { s.SetLifetime(0, kit.Day) }, []int{http.StatusOK}},
		"Update":      {kit.CountUp, []int{http.StatusOK, http.StatusInternalServerError}},
	} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{Logger: kit.QuietSlog()}, session.NewMemoryStore())
			cookie := app.Login("ada")
			var over atomic.Bool
			var began, ended sync.WaitGroup
			resp := answered(t, func() *http.Response {
				return app.Request(0, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
					began.Add(64)
					for range 64 {
						ended.Go(func() {
							c.change(s)
							began.Done()
							for !over.Load() {
								c.change(s)
							}
						})
					}
					began.Wait()
				})
			})
			over.Store(true)
			ended.Wait()
			require.Contains(t, c.statuses, resp.StatusCode)
		})
	}
}

// A late request logs out and sets something. Between its load and its commit a failover brings the session back, so that
// its logout ends it once more. What it set is not lost in silence for that.
func TestLate_LogoutAfterAFailoverAndMore(t *testing.T) {
	for _, b := range backings() {
		t.Run(b.name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, b.open(t))
			cookie := app.Login("ada")
			stored, replica := app.Live()[app.Look(cookie).ID], b.open(t)
			_, err := replica.Swap(app.Context(), session.NewToken(stored.ID, ""), session.Swap{New: stored})
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, app.Do(cookie, kit.Logout).StatusCode)
			resp := app.Request(0, cookie, kit.Act(func(s *session.Session) {
				kit.Logout(s)
				s.Set("set", "after it")
				app.Store().Replace(replica)
			}))
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			require.Empty(t, app.Live())
		})
	}
}

type saver struct{}

// turnStore notes who makes each swap, and holds the first one until it is let go.
type turnStore struct {
	session.Store
	turns []string
	let   chan struct{}
}

func (s *turnStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	who, _ := ctx.Value(saver{}).(string)
	if s.turns = append(s.turns, who); len(s.turns) == 1 {
		<-s.let
	}
	return s.Store.Swap(ctx, token, swaps...)
}

// A goroutine that saves again and again does not keep the others of its request waiting. Without turns it would mostly
// be faster than another one that has to wake up, but not always.
func TestLate_SavesGoInTheirTurn(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			store := &turnStore{Store: session.NewMemoryStore(), let: make(chan struct{})}
			m, err := session.New(store, session.Config{})
			require.NoError(t, err)
			save := func(s *session.Session, who string) {
				s.Set(who, rand.Int())
				require.NoError(t, s.Save(context.WithValue(t.Context(), saver{}, who)))
			}
			m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				s := session.FromContext(r.Context())
				var all sync.WaitGroup
				all.Go(func() {
					for range 50 {
						save(s, "busy")
					}
				})
				synctest.Wait() // its first swap is held
				all.Go(func() { save(s, "other") })
				synctest.Wait() // the other one waits for its turn
				close(store.let)
				all.Wait()
			})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			require.Greater(t, len(store.turns), 1)
			require.Equal(t, "other", store.turns[1])
		})
	}
}
