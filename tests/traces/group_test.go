package traces_test

import (
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// writersAtOnce makes requests of one session at once, spread over the processes, which all have loaded it before the
// first of them goes on to do(i). It returns how many swaps that took.
func writersAtOnce(t *testing.T, app *kit.App, cookie string, requests int, do func(s *session.Session, i int)) (swaps int) {
	t.Helper()
	for _, n := range app.Nodes {
		n.Store.ForgetCalls()
		n.Store.Delay(5*time.Millisecond, sessiontest.Swap)
		defer n.Store.Mend()
	}
	var loaded, answered sync.WaitGroup
	loaded.Add(requests)
	for i := range requests {
		answered.Go(func() {
			resp := app.Request(i%len(app.Nodes), cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Has("loads it")
				loaded.Done()
				loaded.Wait()
				do(s, i)
			})
			if resp.StatusCode != http.StatusOK {
				t.Errorf("request %d was answered with %s", i, resp.Status)
			}
		})
	}
	answered.Wait()
	for _, n := range app.Nodes {
		swaps += n.Store.Count(sessiontest.Swap)
	}
	return swaps
}

// 200 writers of one session, and 200 Updates, take few swaps, and lose nothing.
func TestGroup_WritersGoTogether(t *testing.T) {
	for _, b := range withRedis() {
		for processes, most := range map[int]int{1: 10, 2: 20} {
			t.Run(fmt.Sprintf("%s, %d", b.name, processes), func(t *testing.T) {
				store := b.open(t)
				app := kit.New(t, session.Config{}, []session.Store{store, store}[:processes]...)
				cookie := app.Login("ada")
				written := writersAtOnce(t, app, cookie, 200, func(s *session.Session, i int) { s.Set(fmt.Sprint("key", i), i) })
				updated := writersAtOnce(t, app, cookie, 200, func(s *session.Session, _ int) { kit.CountUp(s) })
				t.Logf("%d and %d swaps", written, updated)
				require.LessOrEqual(t, written, most)
				require.LessOrEqual(t, updated, most)
				require.Equal(t, 200, counted(app, cookie))
				require.Len(t, app.Look(cookie).Keys, 200+2) // and the cart, and the counter
			})
		}
	}
}

// No goroutine stays, whatever there was to wait for.
func TestGroup_LeavesNoGoroutine(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	before := runtime.NumGoroutine()
	for range 10 {
		writersAtOnce(t, app, cookie, 50, func(s *session.Session, _ int) { kit.CountUp(s) })
	}
	const asking = 1 // Eventually's own
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+asking }, 10*time.Second, time.Millisecond)
}

// groupTimeout is the StoreTimeout of the tests that follow. They run in a bubble, where time costs nothing, and which does
// not let a goroutine stay behind.
const groupTimeout = time.Second

// inGroup runs a test on each store, in a bubble.
func inGroup(t *testing.T, test func(*testing.T, *group)) {
	for _, b := range backings() {
		t.Run(b.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := b.open(t)
				app := kit.New(t, session.Config{StoreTimeout: groupTimeout}, store)
				g := &group{App: app, cookie: app.Login("ada"), statuses: map[string]int{}, took: map[string]time.Duration{}}
				app.Store().ForgetCalls()
				test(t, g)
				g.requests.Wait()
			})
		})
	}
}

// group are requests of one session that commit together.
type group struct {
	*kit.App
	cookie   string
	requests sync.WaitGroup

	mu       sync.Mutex
	statuses map[string]int // by the requests' names; -1 for one that panicked, none for one that is not answered
	took     map[string]time.Duration
}

// begin makes a request and returns when it waits for something: for a gate, for the others, or for the time.
func (g *group) begin(name string, do func(*session.Session)) {
	began := time.Now()
	g.requests.Go(func() {
		status := -1
		defer func() {
			_ = recover()
			g.mu.Lock()
			defer g.mu.Unlock()
			g.statuses[name], g.took[name] = status, time.Since(began)
		}()
		status = g.Do(g.cookie, do).StatusCode
	})
	synctest.Wait()
}

// beginMany begins requests that count up.
func (g *group) beginMany(name string, n int) {
	for i := range n {
		g.begin(fmt.Sprint(name, i), kit.CountUp)
	}
}

// status returns a request's, or zero if it is not answered.
func (g *group) status(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.statuses[name]
}

// with returns how many requests were answered with a status.
func (g *group) with(status int) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.statuses {
		if s == status {
			n++
		}
	}
	return n
}

// atReplay is an Update whose function does something when it is called again, at the commit.
func atReplay[T any](key session.Key[T], change func(T) T, again func()) func(*session.Session) {
	return func(s *session.Session) {
		calls := 0
		key.Update(s, func(v T) T {
			if calls++; calls > 1 {
				again()
			}
			return change(v)
		})
	}
}

func addOne(n int) int { return n + 1 }

// An Update that panics, that never returns or ends its goroutine harms its own request only, and so does a log that can't
// be stored.
func TestGroup_OneThatFailsHarmsNobodyElse(t *testing.T) {
	const bad session.Key[int] = "bad"
	big := func(key string) func(*session.Session) {
		return func(s *session.Session) { s.Set(key, string(make([]byte, 7<<10))) } // of which JSON makes 42 KiB
	}
	for name, c := range map[string]struct {
		do     func(*session.Session)
		status int
	}{
		"panics":  {atReplay(bad, addOne, func() { panic("an Update's") }), -1},
		"Goexit":  {atReplay(bad, addOne, runtime.Goexit), -1},
		"too big": {big("bad"), http.StatusInternalServerError},
		"fails": {func(s *session.Session) {
			calls := 0
			session.Key[any]("bad").Update(s, func(any) any {
				if calls++; calls > 1 {
					return func() {}
				}
				return calls
			})
		}, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, g *group) {
				release := hold(g.Store(), sessiontest.Swap, 1)
				g.begin("the first", func(s *session.Session) { big("big")(s); kit.CountUp(s) })
				g.beginMany("good", 100)
				for i := range 3 {
					g.begin(fmt.Sprint("bad", i), c.do)
				}
				g.beginMany("other", 100)
				release()
				g.requests.Wait()
				require.Equal(t, 201, g.with(http.StatusOK))
				require.Equal(t, 3, g.with(c.status))
				require.Equal(t, 201, counted(g.App, g.cookie))
				require.NotContains(t, g.Look(g.cookie).Keys, "bad")
				require.Equal(t, 2, g.Store().Count(sessiontest.Swap))
				require.Zero(t, g.took["other99"], "nobody waits for it")
			})
		})
	}
}

// An Update that does not return is left out after a tenth of StoreTimeout, and so are several.
func TestGroup_OneThatNeverReturnsHarmsNobodyElse(t *testing.T) {
	for _, bad := range []int{1, 3, 20} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			inGroup(t, func(t *testing.T, g *group) {
				over := make(chan struct{})
				release := hold(g.Store(), sessiontest.Swap, 1)
				g.beginMany("first", 1)
				for i := range bad {
					g.begin(fmt.Sprint("bad", i), atReplay("bad", addOne, func() { <-over }))
				}
				g.beginMany("good", 200)
				release()
				time.Sleep(groupTimeout)
				synctest.Wait()
				require.Equal(t, 201, g.with(http.StatusOK), "they are answered while the others hang")
				require.Equal(t, 201, len(g.statuses))
				require.Equal(t, 201, counted(g.App, g.cookie))
				close(over)
				g.requests.Wait()
				require.Equal(t, bad, g.with(http.StatusServiceUnavailable))
				require.Equal(t, 201, counted(g.App, g.cookie))
			})
		})
	}
}

// An Update that takes longer than a tenth of StoreTimeout is left out, goes alone, and is made. One that takes less goes
// with the others.
func TestGroup_OneThatIsSlowGoesAlone(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		swaps int // the first, the group, and the slow one's own
		least time.Duration
	}{
		"slow":     {groupTimeout / 5, 4, groupTimeout / 10},
		"not slow": {groupTimeout / 11, 2, groupTimeout / 11},
	} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, g *group) {
				release := hold(g.Store(), sessiontest.Swap, 1)
				g.beginMany("first", 1)
				g.begin("slow", atReplay(kit.Counter, addOne, func() { time.Sleep(c.takes) }))
				g.beginMany("good", 200)
				release()
				g.requests.Wait()
				require.Equal(t, 202, g.with(http.StatusOK))
				require.Equal(t, 202, counted(g.App, g.cookie))
				require.LessOrEqual(t, g.Store().Count(sessiontest.Swap), c.swaps)
				require.Equal(t, c.least, g.took["good0"], "the others wait no longer")
			})
		})
	}
}

// Many that are each just quick enough do not use up the others' time.
func TestGroup_ManyThatAreAlmostSlowHarmNobodyElse(t *testing.T) {
	inGroup(t, func(t *testing.T, g *group) {
		release := hold(g.Store(), sessiontest.Swap, 1)
		g.beginMany("first", 1)
		for i := range 20 {
			g.begin(fmt.Sprint("slow", i), atReplay("slow", addOne, func() { time.Sleep(groupTimeout / 11) }))
		}
		g.beginMany("good", 200)
		release()
		g.requests.Wait()
		require.Equal(t, 201, counted(g.App, g.cookie))
		for i := range 200 {
			require.Equal(t, http.StatusOK, g.status(fmt.Sprint("good", i)))
		}
	})
}
