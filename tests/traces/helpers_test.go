package traces_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// The traces are the shortest interleavings that break a rule of the core when it is left out. Each test forces one of
// them, with flights that stop on their way and with a store that is held up.

// backing is a store that two processes share.
type backing struct {
	name   string
	atomic bool // several swaps are made all or none
	ends   bool // it ends a session in one step
	open   func(testing.TB) session.Store
}

// backings are a store with atomic swaps and one whose swaps go one by one, each with End and without.
func backings() []backing {
	return []backing{
		{"memory", true, true, func(testing.TB) session.Store {
			return session.NewMemoryStore()
		}},
		{"memory without End", true, false, func(testing.TB) session.Store {
			return withoutEnd(session.NewMemoryStore())
		}},
		{"one by one", false, true, func(testing.TB) session.Store {
			return kit.OneByOne(session.NewMemoryStore())
		}},
		{"one by one without End", false, false, func(testing.TB) session.Store {
			return kit.OneByOne(withoutEnd(session.NewMemoryStore()))
		}},
	}
}

// withRedis adds a Redis server, and one on which each key is in a slot of its own. Where other stores are to be tested
// (kit.RemoteStores), it is those alone.
func withRedis() []backing {
	if name := kit.RemoteName(); name != "" {
		return []backing{{name, true, true, kit.OpenRemote}}
	}
	open := func(tb testing.TB) session.Store {
		return kit.OpenRedis(tb, redistest.Start(tb), session.RedisOptions{})
	}
	across := func(tb testing.TB) session.Store {
		return kit.RedisOn(tb, kit.Across{UniversalClient: kit.RedisClient(tb, redistest.Start(tb))}, session.RedisOptions{})
	}
	return append(backings(), backing{"redis", true, true, open}, backing{"redis, several slots", false, true, across})
}

// withoutEnd hides that a store can end a session in one step.
func withoutEnd(store session.UserStore) session.Store { return struct{ session.UserStore }{store} }

// each runs a test with two processes on each of the stores.
func each(t *testing.T, all []backing, cfg session.Config, test func(*testing.T, *kit.App, backing)) {
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			store := b.open(t)
			test(t, kit.New(t, cfg, store, store), b)
		})
	}
}

// endings are the ways to end ada's session, which a request at a process asks for.
var endings = []struct {
	name string
	end  func(app *kit.App, node int, cookie, id string) int // returns the status
}{
	{"Destroy", func(app *kit.App, node int, cookie, _ string) int {
		return app.Request(node, cookie, kit.Act(kit.Logout)).StatusCode
	}},
	{"Revoke", func(app *kit.App, node int, _, id string) int {
		return statusOf(app.T, app.Nodes[node].Manager.Revoke(context.Background(), "ada", id))
	}},
	{"RevokeUser", func(app *kit.App, node int, _, _ string) int {
		_, err := app.Nodes[node].Manager.RevokeUser(context.Background(), "ada")
		return statusOf(app.T, err)
	}},
}

func statusOf(tb testing.TB, err error) int {
	tb.Helper()
	if err != nil {
		tb.Logf("an ending failed: %v", err)
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// countUp adds one to the counter.
var countUp = kit.Act(kit.CountUp)

// counted returns the counter.
func counted(app *kit.App, cookie string) int {
	return kit.Value[int](app, cookie, string(kit.Counter))
}

// hold has each of the first n calls of one kind wait before it is made, whatever its context says, until it is released.
func hold(store *kit.Store, op sessiontest.Op, n int) (release func()) {
	gate := make(chan struct{})
	var mu sync.Mutex
	store.Intercept(func(_ context.Context, asked sessiontest.Op, call func() error) error {
		mu.Lock()
		held := asked == op && n > 0
		if held {
			n--
		}
		mu.Unlock()
		if held {
			<-gate
		}
		return call()
	})
	return func() { close(gate) }
}

// endsOnly reports whether all that the latest Swap was asked for is tombstones.
func endsOnly(store *kit.Store) bool {
	return !slices.ContainsFunc(store.LastSwaps(), func(s session.Swap) bool { return !s.New.Ended })
}

// mustSave makes the session's Save return an error, since the answer to its next swap is lost.
func loseAtSave(t *testing.T, store *kit.Store, s *session.Session) {
	t.Helper()
	store.Lose()
	require.Error(t, s.Save(t.Context()))
	store.Mend()
}

// live returns whether the record that was to be stored under an ID is live now.
func live(app *kit.App, id string) bool { return app.Live()[id] != nil }
