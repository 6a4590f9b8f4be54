package faults_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"
)

const (
	faultTimeout = 500 * time.Millisecond // Config.StoreTimeout
	faultGrace   = 100 * time.Millisecond // over it, for each load and each commit
	faultBack    = 2 * time.Second        // service after the server's return
)

// faultSite is an application on a Redis server with a proxy between them.
type faultSite struct {
	*testing.T
	app    *kit.App
	server *redistest.Server
	proxy  *redistest.Proxy
	admin  *redis.Client // not through the proxy
	store  *session.RedisStore
	h      http.Handler
	hook   func() // called by /hooked, between the load and the commit
	watch  *redistest.Stopwatch
}

func newFaultSite(t *testing.T) *faultSite {
	s := &faultSite{T: t, server: redistest.Start(t)}
	s.proxy = redistest.NewProxy(t, s.server)
	s.admin = redis.NewClient(&redis.Options{
		Addr: s.server.Addr, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = s.admin.Close() })
	s.store = kit.OpenRedisAt(t, s.proxy.URL(), session.RedisOptions{})
	s.app = kit.New(t, session.Config{StoreTimeout: faultTimeout, Logger: kit.QuietSlog()}, s.store)
	s.h = s.app.Pages(s.serve)
	return s
}

func (s *faultSite) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/plain" {
		kit.WriteOK(w, r)
		return
	}
	var err error
	current := session.FromContext(r.Context())
	switch r.URL.Path {
	case "/write":
		current.Set("written", 1)
	case "/hooked":
		current.Keys()
		s.hook()
		s.watch.Restart()
		current.Set("hooked", 1)
	case "/count":
		session.Key[int]("count").Update(current, func(n int) int { return n + 1 })
	case "/logout":
		err = current.Destroy()
	case "/regenerate":
		err = current.Regenerate()
	case "/login":
		err = current.Login("ada", "seed")
	}
	if err == nil {
		kit.WriteOK(w, r)
	}
}

// ask sends a request and checks the answer: its status, that an error is all that comes, and that it came in time.
func (s *faultSite) ask(b *kit.Browser, path string, status int) string {
	s.Helper()
	before := b.Cookie
	w, took := s.timed(b, path)
	for try := 1; try < inTime && status == 503 && took >= faultTimeout+faultGrace; try++ {
		w, took = s.timed(b, path)
	}
	require.Equal(s, status, w.Code, "%s: %s", path, w.Body)
	require.Less(s, took, faultTimeout+faultGrace, path)
	if status == 503 {
		require.Equal(s, "Service Unavailable\n", w.Body.String())
		require.Empty(s, w.Header().Values("Set-Cookie"), path)
		require.Equal(s, before, b.Cookie)
	}
	return w.Body.String()
}

// inTime is how often a request that changes nothing is tried when it took too long: the Stopwatch does not see all that
// keeps this process from running, and a wait that is not bounded is too long each time.
const inTime = 3

// timed sends a request, and returns how long the answer took since the request began or the hook was through.
func (s *faultSite) timed(b *kit.Browser, path string) (*httptest.ResponseRecorder, time.Duration) {
	s.watch = redistest.NewStopwatch()
	w := b.Get(path)
	return w, s.watch.Stop()
}

// seeded returns a browser with a session in which "seed" is set.
func (s *faultSite) seeded() *kit.Browser {
	b := s.app.BrowserOf(s.h)
	s.ask(b, "/seed", 200)
	require.NotEmpty(s, b.Cookie)
	return b
}

// key returns the key of the browser's session in Redis.
func (s *faultSite) key(b *kit.Browser) string { return "session:" + b.View().ID }

// stored returns all that Redis holds.
func (s *faultSite) stored() map[string]any {
	s.Helper()
	all := map[string]any{}
	keys, err := s.admin.Keys(s.Context(), "session:*").Result()
	require.NoError(s, err)
	for _, key := range keys {
		if strings.HasPrefix(key, "session:probe") { // of OpenRedisStore, and soon gone
			continue
		}
		if s.admin.Type(s.Context(), key).Val() == "zset" { // a user's index
			all[key] = s.admin.ZRangeWithScores(s.Context(), key, 0, -1).Val()
			continue
		}
		value, err := s.admin.Get(s.Context(), key).Result()
		require.NoError(s, err)
		all[key] = value
	}
	return all
}

// command does something to the server itself.
func (s *faultSite) command(args ...string) {
	s.Helper()
	_, err := s.server.Do(args...)
	require.NoError(s, err)
}

// requireNoLeak closes the store: no connection of it may be left, and no goroutine.
func (s *faultSite) requireNoLeak() {
	s.Helper()
	s.requireGone(time.Second, "doorman-go/session.(") // those of the last answers may be on their way out
	require.NoError(s, s.store.Close())
	require.Eventually(s, func() bool {
		clients, err := s.admin.ClientList(s.Context()).Result()
		return err == nil && strings.Count(clients, "\n") == int(s.admin.PoolStats().TotalConns)
	}, 5*time.Second, 10*time.Millisecond)
	s.requireGone(5*time.Second, "doorman-go/session.(", "redis/go-redis")
}

// requireGone waits until no goroutine runs code of these packages.
func (s *faultSite) requireGone(patience time.Duration, packages ...string) {
	s.Helper()
	var left string
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(10 * time.Millisecond) {
		if left = strays(packages...); left == "" {
			return
		}
	}
	require.Empty(s, left, "goroutines left")
}

// strays returns the goroutines that run code of these packages, except those of this test.
func strays(packages ...string) string {
	all := make([]byte, 1<<20)
	stacks := strings.Split(string(all[:runtime.Stack(all, true)]), "\n\n")
	stacks = slices.DeleteFunc(stacks, func(stack string) bool {
		in := func(name string) bool { return strings.Contains(stack, name) }
		return !slices.ContainsFunc(packages, in) || in("testing.tRunner")
	})
	return strings.Join(stacks, "\n\n")
}
