package traces_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// roundTrip is how long each call of a node's store takes.
func roundTrip(n *kit.Node, takes time.Duration) {
	n.Store.Delay(takes, sessiontest.Load, sessiontest.Swap, sessiontest.End, sessiontest.List)
}

// withEnd are the stores that end a session in one step.
func withEnd() []backing {
	return slices.DeleteFunc(withRedis(), func(b backing) bool { return !b.ends })
}

// countIfSignedIn changes a session of ada's: whose session was revoked is a visitor, and might begin another one.
func countIfSignedIn(s *session.Session) {
	if s.User() != "" {
		kit.CountUp(s)
	}
}

// loop makes requests at the last process, by so many goroutines, until stopped. Each keeps its cookie, and takes that of a
// response. It returns when each has had an answer.
func loop(app *kit.App, cookie string, goroutines int, do func(*session.Session)) (stop func() (requests int64)) {
	var (
		began, ended sync.WaitGroup
		over         atomic.Bool
		requests     atomic.Int64
	)
	began.Add(goroutines)
	for range goroutines {
		ended.Go(func() {
			b := app.BrowserWith(cookie)
			for first := true; first || !over.Load(); first = false {
				resp := app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(do))
				requests.Add(1)
				if b.Receive(resp); b.Cookie == "" {
					b.Cookie = cookie
				}
				if first {
					began.Done()
				}
			}
		})
	}
	began.Wait()
	return func() int64 {
		over.Store(true)
		ended.Wait()
		return requests.Load()
	}
}

// An ending gets through whatever a second process writes, also where its round trip is ten times theirs. It is meant to
// take 100 ms; a busy machine is given a second.
func TestEnding_GetsThroughAgainstWriters(t *testing.T) {
	for _, c := range []struct {
		name         string
		ender, other time.Duration
	}{
		{"no round trip", 0, 0},
		{"equal ones", 2 * time.Millisecond, 2 * time.Millisecond},
		{"ten times theirs", 20 * time.Millisecond, 2 * time.Millisecond},
	} {
		for _, how := range endings {
			t.Run(c.name+"/"+how.name, func(t *testing.T) {
				each(t, withEnd(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
					cookie := app.Login("ada")
					id := app.Look(cookie).ID
					if c.ender > 0 {
						roundTrip(app.Nodes[0], c.ender)
						roundTrip(app.Nodes[1], c.other)
					}
					stop := loop(app, cookie, 64, countIfSignedIn)
					began := time.Now()
					status := how.end(app, 0, cookie, id)
					took := time.Since(began)
					app.Nodes[1].Store.Mend()
					requests := stop()
					app.Nodes[0].Store.Mend()
					t.Logf("it took %v, against %d requests", took, requests)
					require.Equal(t, http.StatusOK, status)
					require.Less(t, took, time.Second)
					require.Empty(t, app.Live())
				})
			})
		}
	}
}

// Against one that regenerates in a loop, which goes on under new IDs, an ending gets through within a second.
func TestEnding_GetsThroughAgainstRegenerates(t *testing.T) {
	for _, c := range []struct {
		name         string
		ender, other time.Duration
	}{{"no round trip", 0, 0}, {"ten times theirs", 20 * time.Millisecond, 2 * time.Millisecond}} {
		for _, how := range endings {
			t.Run(c.name+"/"+how.name, func(t *testing.T) {
				each(t, withRedis(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
					cookie := app.Login("ada")
					id := app.Look(cookie).ID
					if c.ender > 0 {
						roundTrip(app.Nodes[0], c.ender)
						roundTrip(app.Nodes[1], c.other)
					}
					stop := loop(app, cookie, 1, kit.Regenerate)
					began := time.Now()
					status := how.end(app, 0, cookie, id)
					took := time.Since(began)
					app.Nodes[1].Store.Mend()
					requests := stop()
					app.Nodes[0].Store.Mend()
					t.Logf("it took %v, against %d requests", took, requests)
					require.Equal(t, http.StatusOK, status)
					require.Less(t, took, time.Second)
					require.Empty(t, app.Live())
				})
			})
		}
	}
}

// A login that is one too many ends the oldest session, which 64 writers at another process keep changing.
func TestEnding_MaxPerUserGetsThroughAgainstWriters(t *testing.T) {
	each(t, withEnd(), session.Config{MaxPerUser: 2}, func(t *testing.T, app *kit.App, _ backing) {
		oldest := app.Login("ada")
		app.Clock.Advance(time.Second)
		second := app.Login("ada")
		app.Clock.Advance(time.Second)
		roundTrip(app.Nodes[0], 20*time.Millisecond)
		roundTrip(app.Nodes[1], 2*time.Millisecond)
		stop := loop(app, oldest, 64, countIfSignedIn)
		began := time.Now()
		latest := app.Login("ada")
		took := time.Since(began)
		app.Nodes[1].Store.Mend()
		stop()
		app.Nodes[0].Store.Mend()
		t.Logf("it took %v", took)
		require.Less(t, took, time.Second)
		require.True(t, app.Dead(oldest))
		require.Equal(t, "ada", app.User(second))
		require.Equal(t, "ada", app.User(latest))
		require.Len(t, app.Listed("ada"), 2)
	})
}

// Revalidate ends a session in the same way.
func TestEnding_RevalidateGetsThroughAgainstWriters(t *testing.T) {
	each(t, withEnd(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		cookie := app.Login("ada")
		strict := kit.NewAt(t, app.Clock, session.Config{
			Revalidate: func(context.Context, *session.Session) error { return session.ErrSessionEnded },
		}, app.Nodes[0].Store.Inner())
		roundTrip(strict.Nodes[0], 20*time.Millisecond)
		roundTrip(app.Nodes[1], 2*time.Millisecond)
		stop := loop(app, cookie, 64, countIfSignedIn)
		began := time.Now()
		resp := strict.Do(cookie, func(s *session.Session) { s.User() })
		took := time.Since(began)
		app.Nodes[1].Store.Mend()
		stop()
		t.Logf("it took %v", took)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Less(t, took, time.Second)
		require.Empty(t, app.Live())
	})
}
