package traces_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// onSwap has something stand in for the n-th Swap from now on, counted from 1.
func (g *group) onSwap(stand map[int]kit.Hook) {
	n := 0
	g.Store().Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
		if op != sessiontest.Swap {
			return call()
		}
		g.mu.Lock()
		n++
		hook := stand[n]
		g.mu.Unlock()
		if hook == nil {
			return call()
		}
		return hook(ctx, op, call)
	})
}

// after has a call take its time, whatever its context says.
func after(d time.Duration) kit.Hook {
	return func(_ context.Context, _ sessiontest.Op, call func() error) error {
		time.Sleep(d)
		return call()
	}
}

// until has a call wait for a gate, whatever its context says.
func until(gate <-chan struct{}) kit.Hook {
	return func(_ context.Context, _ sessiontest.Op, call func() error) error {
		<-gate
		return call()
	}
}

// Who has waited for half of its time goes by itself, and withdraws from the group: it is made once.
func TestGroup_WhoWaitsTooLongGoesByItself(t *testing.T) {
	inGroup(t, func(t *testing.T, g *group) {
		g.onSwap(map[int]kit.Hook{1: after(groupTimeout * 3 / 2)})
		g.beginMany("first", 1)
		g.begin("withdrawn", func(s *session.Session) { s.Set("withdrawn", 1); kit.CountUp(s) })
		time.Sleep(groupTimeout / 2)
		g.beginMany("later", 20) // whose time is over at the very moment: some are in time, and some withdraw
		time.Sleep(groupTimeout / 4)
		g.beginMany("good", 20)
		g.requests.Wait()
		require.Equal(t, http.StatusOK, g.status("withdrawn"))
		require.Less(t, g.took["withdrawn"], groupTimeout)
		require.Contains(t, g.Look(g.cookie).Keys, "withdrawn")
		require.GreaterOrEqual(t, g.with(http.StatusOK), 20)
		require.GreaterOrEqual(t, counted(g.App, g.cookie), g.with(http.StatusOK))
		require.LessOrEqual(t, counted(g.App, g.cookie), 1+40)
	})
}

// So does one that has replayed its log and can't wait for the others.
func TestGroup_WhoCannotWaitForTheRoundGoesByItself(t *testing.T) {
	inGroup(t, func(t *testing.T, g *group) {
		g.onSwap(map[int]kit.Hook{1: after(groupTimeout * 95 / 100)})
		g.begin("first", kit.CountUp)
		g.begin("withdrawn", func(s *session.Session) { s.Set("withdrawn", 1); kit.CountUp(s) })
		time.Sleep(groupTimeout / 2)
		g.begin("slow", atReplay(kit.Counter, addOne, func() { time.Sleep(groupTimeout * 9 / 100) }))
		g.beginMany("good", 20)
		g.requests.Wait()
		require.Equal(t, http.StatusOK, g.status("withdrawn"))
		require.Less(t, g.took["withdrawn"], groupTimeout)
		require.Contains(t, g.Look(g.cookie).Keys, "withdrawn")
		require.Equal(t, 23, g.with(http.StatusOK))
		require.Equal(t, 23, counted(g.App, g.cookie))
	})
}

// The one whose deadline is nearest leads, wherever it stands in the queue. When its time is over the others, whose is not,
// send the same swap again, with what it made in it.
func TestGroup_TheNearestDeadlineHolds(t *testing.T) {
	for name, c := range map[string]struct {
		hangs  bool
		leader int
	}{"and is kept": {false, http.StatusOK}, "and passes": {true, http.StatusServiceUnavailable}} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, g *group) {
				began := time.Now()
				var deadline time.Time
				g.onSwap(map[int]kit.Hook{
					1: func(context.Context, sessiontest.Op, func() error) error { return kit.ErrDown }, // the leader's Save
					2: after(groupTimeout * 3 / 10),                                                     // which it resolves first
					3: after(groupTimeout / 2),                                                          // the first of the queue
					4: func(ctx context.Context, _ sessiontest.Op, call func() error) error {
						deadline, _ = ctx.Deadline()
						if c.hangs {
							<-ctx.Done()
							return ctx.Err()
						}
						return call()
					},
				})
				g.begin("leader", func(s *session.Session) {
					kit.CountUp(s)
					require.ErrorIs(t, s.Save(t.Context()), kit.ErrDown)
					kit.CountUp(s)
				})
				time.Sleep(groupTimeout / 10)
				g.beginMany("first", 1)
				time.Sleep(groupTimeout / 10)
				g.beginMany("good", 20)
				g.requests.Wait()
				require.Equal(t, began.Add(groupTimeout), deadline)
				require.Equal(t, c.leader, g.status("leader"))
				require.LessOrEqual(t, g.took["leader"], groupTimeout)
				g.statuses["leader"] = 0
				require.Equal(t, 21, g.with(http.StatusOK))
				require.Equal(t, 2+21, counted(g.App, g.cookie), "with the leader's, which is in the swap that the others sent again")
			})
		})
	}
}

// Where the answer to the swap of a group was lost, all are in doubt, and each change is made once.
func TestGroup_ALostAnswerIsMadeOnce(t *testing.T) {
	lost := errors.New("the reply was lost")
	for name, hook := range map[string]kit.Hook{
		"made": func(_ context.Context, _ sessiontest.Op, call func() error) error {
			return errors.Join(call(), lost)
		},
		"not made": func(context.Context, sessiontest.Op, func() error) error { return lost },
		"made, and then changed by another process": func(_ context.Context, _ sessiontest.Op, call func() error) error {
			return errors.Join(call(), lost)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, g *group) {
				other := kit.NewAt(t, g.Clock, session.Config{}, g.Store().Inner())
				overtakes := name == "made, and then changed by another process"
				release := make(chan struct{})
				g.onSwap(map[int]kit.Hook{
					1: until(release),
					2: func(ctx context.Context, op sessiontest.Op, call func() error) error {
						err := hook(ctx, op, call)
						if overtakes {
							other.Request(0, g.cookie, kit.Act(func(s *session.Session) { s.Set("other", 1) }))
						}
						return err
					},
				})
				g.begin("first", kit.CountUp)
				g.beginMany("good", 200)
				close(release)
				g.requests.Wait()
				require.Equal(t, 200, g.with(http.StatusOK))
				require.Equal(t, 1, g.with(http.StatusServiceUnavailable), "the leader's: it was told that the store failed")
				require.Equal(t, 201, counted(g.App, g.cookie))
				require.Equal(t, overtakes, len(g.Look(g.cookie).Keys) == 3)
			})
		})
	}
}

// A store that panics in a group's swap is a failure of the store there, and the process goes on.
func TestGroup_AStoreThatPanics(t *testing.T) {
	for name, c := range map[string]struct {
		at       int // the swap
		panicked int // requests: nobody else's goroutine made the first's swap
	}{"at the first's": {1, 1}, "at the group's": {2, 0}} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, g *group) {
				release := make(chan struct{})
				stand := map[int]kit.Hook{1: until(release)}
				stand[c.at] = func(context.Context, sessiontest.Op, func() error) error { <-release; panic("the store's") }
				g.onSwap(stand)
				g.begin("first", kit.CountUp)
				g.beginMany("good", 200)
				close(release)
				g.requests.Wait()
				require.Equal(t, 200, g.with(http.StatusOK))
				require.Equal(t, c.panicked, g.with(-1))
				require.Equal(t, 201-c.panicked, counted(g.App, g.cookie))
				require.NotContains(t, g.Log(), "the store's", "what it panicked with may hold a secret")
			})
		})
	}
}

// One that goes on panicking does so in the requests that are in doubt, and leaves the queue as it should be.
func TestGroup_AStoreThatGoesOnPanicking(t *testing.T) {
	inGroup(t, func(t *testing.T, g *group) {
		release := make(chan struct{})
		g.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			if op == sessiontest.Swap {
				<-release
				panic("the store's")
			}
			return call()
		})
		g.begin("first", kit.CountUp)
		g.beginMany("bad", 20)
		close(release)
		g.requests.Wait()
		require.Equal(t, 20, g.with(-1))
		require.Equal(t, 1, g.with(http.StatusServiceUnavailable))
		g.Store().Mend()
		g.beginMany("good", 20)
		g.requests.Wait()
		synctest.Wait()
		require.Equal(t, 20, g.with(http.StatusOK))
		require.Equal(t, 20, counted(g.App, g.cookie))
	})
}

// Who waits in the queue of a session that ends meanwhile has lost what it set.
func TestGroup_TheSessionEndsMeanwhile(t *testing.T) {
	for _, how := range endings {
		t.Run(how.name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, g *group) {
				id := g.Look(g.cookie).ID
				release := make(chan struct{})
				g.onSwap(map[int]kit.Hook{1: until(release)})
				g.begin("first", kit.CountUp)
				g.beginMany("others", 100)
				g.begin("slow", atReplay(kit.Counter, addOne, func() { time.Sleep(groupTimeout / 5) }))
				require.Equal(t, http.StatusOK, how.end(g.App, 0, g.cookie, id))
				close(release)
				g.requests.Wait()
				require.Equal(t, 102, g.with(http.StatusConflict))
				require.Empty(t, g.Live())
			})
		})
	}
}

// Who waits in the queue of a session that runs out meanwhile has lost what it set.
func TestGroup_TheSessionRunsOutMeanwhile(t *testing.T) {
	inGroup(t, func(t *testing.T, g *group) {
		release := make(chan struct{})
		g.onSwap(map[int]kit.Hook{1: until(release)})
		g.begin("first", kit.CountUp)
		g.beginMany("others", 20)
		g.Clock.Advance(2 * time.Hour)
		close(release)
		g.requests.Wait()
		require.Equal(t, 20, g.with(http.StatusConflict))
		require.Empty(t, g.Live())
	})
}

// Unless another process has used it since: the one before them has failed, so that the store is asked.
func TestGroup_TheSessionIsUsedElsewhereMeanwhile(t *testing.T) {
	inGroup(t, func(t *testing.T, g *group) {
		other := kit.NewAt(t, g.Clock, session.Config{}, g.Store().Inner())
		release := make(chan struct{})
		g.onSwap(map[int]kit.Hook{1: func(context.Context, sessiontest.Op, func() error) error {
			<-release
			return kit.ErrDown
		}})
		g.begin("first", kit.CountUp)
		g.beginMany("others", 20)
		for range 2 {
			g.Clock.Advance(40 * time.Minute)
			other.Look(g.cookie)
		}
		close(release)
		g.requests.Wait()
		require.Equal(t, 20, g.with(http.StatusOK))
		require.Equal(t, 20, counted(g.App, g.cookie))
	})
}
