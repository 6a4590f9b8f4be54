package session_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

const (
	faultTimeout = 500 * time.Millisecond // Config.StoreTimeout
	faultGrace   = 100 * time.Millisecond // over it, for each load and each commit
	faultBack    = 2 * time.Second        // service after the server's return
)

// faultSite is an application on a Redis server with a proxy between them.
type faultSite struct {
	*testing.T
	*streamApp
	server *redistest.Server
	proxy  *redistest.Proxy
	admin  *redis.Client // not through the proxy
	store  *session.RedisStore
	h      http.Handler
	hook   func() // called by /hooked, between the load and the commit
	watch  *redistest.Stopwatch
}

func newFaultSite(t *testing.T) *faultSite {
	s := &faultSite{T: t, streamApp: &streamApp{}, server: redistest.Start(t)}
	s.proxy = redistest.NewProxy(t, s.server)
	s.admin = redis.NewClient(&redis.Options{Addr: s.server.Addr, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	t.Cleanup(func() { _ = s.admin.Close() })
	store, err := session.OpenRedisStore(t.Context(), s.proxy.URL(), session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	s.store = store
	manager, err := session.New(store, session.Config{StoreTimeout: faultTimeout, OnEvent: s.note, Logger: quietSlog()})
	require.NoError(t, err)
	s.Manager = manager
	s.h = s.handle(s.serve)
	return s
}

func (s *faultSite) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/plain" {
		write(w, r)
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
		write(w, r)
	}
}

// ask sends a request and checks the answer: its status, that an error is all that comes, and that it came in time.
func (s *faultSite) ask(b *surfer, path string, status int) string {
	s.Helper()
	before := b.cookie
	w, took := s.timed(b, path)
	for try := 1; try < inTime && status == 503 && took >= faultTimeout+faultGrace; try++ {
		w, took = s.timed(b, path)
	}
	require.Equal(s, status, w.Code, "%s: %s", path, w.Body)
	require.Less(s, took, faultTimeout+faultGrace, path)
	if status == 503 {
		require.Equal(s, "Service Unavailable\n", w.Body.String())
		require.Empty(s, w.Header().Values("Set-Cookie"), path)
		require.Equal(s, before, b.cookie)
	}
	return w.Body.String()
}

// inTime is how often a request that changes nothing is tried when it took too long: the Stopwatch does not see all that
// keeps this process from running, and a wait that is not bounded is too long each time.
const inTime = 3

// timed sends a request, and returns how long the answer took since the request began or the hook was through.
func (s *faultSite) timed(b *surfer, path string) (*httptest.ResponseRecorder, time.Duration) {
	s.watch = redistest.NewStopwatch()
	w := b.get(path)
	return w, s.watch.Stop()
}

// seeded returns a browser with a session in which "seed" is set.
func (s *faultSite) seeded() *surfer {
	b := newSurfer(s.h)
	s.ask(b, "/seed", 200)
	require.NotEmpty(s, b.cookie)
	return b
}

// stored returns all that Redis holds.
func (s *faultSite) stored() map[string]any {
	s.Helper()
	all := map[string]any{}
	keys, err := s.admin.Keys(s.Context(), "session:*").Result()
	require.NoError(s, err)
	for _, key := range keys {
		if s.admin.Type(s.Context(), key).Val() == "zset" { // a user's index
			all[key] = s.admin.ZRangeWithScores(s.Context(), key, 0, -1).Val()
			continue
		}
		fields, err := s.admin.HGetAll(s.Context(), key).Result()
		require.NoError(s, err)
		all[key] = fields
	}
	return all
}

// command does something to the server itself.
func (s *faultSite) command(args ...string) {
	s.Helper()
	_, err := s.server.Do(args...)
	require.NoError(s, err)
}

// back waits until a session can be read again, and returns what is in it.
func (s *faultSite) back(b *surfer) string {
	s.Helper()
	watch := redistest.NewStopwatch()
	defer watch.Stop()
	for {
		if w := b.get("/read"); w.Code == 200 {
			return w.Body.String()
		}
		require.Less(s, watch.Elapsed(), faultBack, "service should be back")
		time.Sleep(10 * time.Millisecond) // the pace of the clients that try again
	}
}

// serverFaults are what can go wrong, with what a request that reads the session, that changes it and that logs out is
// then answered.
var serverFaults = []struct {
	name                string
	begin, end          func(*faultSite)
	read, write, logout int
}{
	{"refuse", proxied(redistest.Refuse), passing, 503, 503, 503},
	{"reset", proxied(redistest.Reset), passing, 503, 503, 503},
	{"hang", proxied(redistest.Hang), passing, 503, 503, 503},
	{"late", func(s *faultSite) { s.proxy.SetDelay(time.Second) }, passing, 503, 503, 503},
	{"LOADING", loading, commanded("CONFIG SET key-load-delay 0"), 503, 503, 503},
	{"SIGSTOP", func(s *faultSite) { s.server.Pause() }, func(s *faultSite) { s.server.Resume() }, 503, 503, 503},
	{"kill", killed, func(s *faultSite) { s.server.Restart() }, 503, 503, 503},
	{"READONLY", commanded("REPLICAOF 127.0.0.1 1"), commanded("REPLICAOF NO ONE"), 200, 503, 503},
	{"MASTERDOWN", commanded("CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"), commanded("REPLICAOF NO ONE"), 503, 503, 503},
	{"NOREPLICAS", commanded("CONFIG SET min-replicas-to-write 1"), commanded("CONFIG SET min-replicas-to-write 0"), 200, 503, 503},
	{"OOM", commanded("CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"), commanded("CONFIG SET maxmemory 0"), 200, 503, 200}, // what ends frees memory
}

var passing = proxied(redistest.Pass)

func proxied(f redistest.Fault) func(*faultSite) { return func(s *faultSite) { s.proxy.Set(f) } }

func commanded(commands ...string) func(*faultSite) {
	return func(s *faultSite) {
		for _, command := range commands {
			s.command(strings.Fields(command)...)
		}
	}
}

// killed is kill -9, with what was written on disk.
func killed(s *faultSite) {
	s.command("SAVE")
	s.server.Kill()
}

// loading makes the server read its data again, slowly.
func loading(s *faultSite) {
	s.command("DEBUG", "POPULATE", "20000", "filler", "64")
	s.command("CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
	s.command("CONFIG", "SET", "key-load-delay", "500")
	go func() { _, _ = s.server.Do("DEBUG", "RELOAD") }()
	require.Eventually(s, func() bool {
		_, err := s.server.Do("GET", "filler:1")
		return err != nil && strings.HasPrefix(err.Error(), "LOADING")
	}, 5*time.Second, 5*time.Millisecond)
}

func TestGuarantee06_Faults(t *testing.T) {
	for _, f := range serverFaults {
		t.Run(f.name, func(t *testing.T) {
			s := newFaultSite(t)
			reader, leaver, member, nobody := s.seeded(), s.seeded(), s.seeded(), newSurfer(s.h)
			s.ask(member, "/login", 200)
			harmless := s.stored()
			f.begin(s)
			s.ask(reader, "/plain", 200) // the session is not used
			s.ask(nobody, "/read", 200)  // there is none
			s.ask(reader, "/read", f.read)
			s.ask(reader, "/write", f.write)
			s.ask(reader, "/count", f.write)
			s.ask(reader, "/login", f.write)
			s.ask(member, "/login", f.write)
			s.ask(member, "/regenerate", f.write)
			s.ask(nobody, "/write", f.write)
			s.ask(leaver, "/logout", f.logout)
			f.end(s)
			require.Equal(t, "[seed]", s.back(reader))
			require.Equal(t, "ada[seed]", s.back(member))
			if f.logout == 503 {
				require.Equal(t, "[seed]", s.back(leaver))
				require.Equal(t, harmless, s.stored())
			}
			s.ask(reader, "/write", 200)
			require.Equal(t, "[seed written]", s.ask(reader, "/read", 200))
			require.Equal(t, f.read == 503 || f.write == 503, s.count(session.EventStoreError) > 0)
			s.requireNoLeak()
		})
	}
}

// The server fails when the session has been read and is about to be written.
func TestGuarantee06_FaultsBeforeTheCommit(t *testing.T) {
	for _, f := range serverFaults {
		t.Run(f.name, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			s.hook = sync.OnceFunc(func() { f.begin(s) })
			s.ask(b, "/hooked", f.write)
			f.end(s)
			// A server that hangs may still do what it was asked; what was there stays.
			require.Contains(t, []string{"[seed]", "[hooked seed]"}, s.back(b))
			s.ask(b, "/write", 200)
			s.requireNoLeak()
		})
	}
}

// requireNoLeak closes the store: no connection of its may be left, and no goroutine.
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

// strays returns the goroutines that run code of these packages, but for those of this test.
func strays(packages ...string) string {
	all := make([]byte, 1<<20)
	stacks := strings.Split(string(all[:runtime.Stack(all, true)]), "\n\n")
	stacks = slices.DeleteFunc(stacks, func(stack string) bool {
		in := func(name string) bool { return strings.Contains(stack, name) }
		return !slices.ContainsFunc(packages, in) || in("testing.tRunner")
	})
	return strings.Join(stacks, "\n\n")
}

// Under load a server that fails must not gather goroutines or connections: all give up in time. What they asked for went
// there together, so that they wait for the same replies.
func TestGuarantee06_FaultsUnderLoad(t *testing.T) {
	for _, f := range serverFaults {
		if f.read != 503 {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			f.begin(s)
			longest, failed := burst(b, 50)
			for try := 1; try < inTime && longest >= faultTimeout+faultGrace; try++ {
				longest, failed = burst(b, 50)
			}
			require.Less(t, longest, faultTimeout+faultGrace)
			require.Equal(t, 50, failed)
			f.end(s)
			watch := redistest.NewStopwatch()
			for ; failed > 0; _, failed = burst(b, 50) {
				require.Less(t, watch.Elapsed(), faultBack, "service should be back for all")
			}
			watch.Stop()
			s.requireNoLeak()
		})
	}
}

// burst sends requests at once and returns how long the slowest answer took, and how many were errors.
func burst(b *surfer, requests int) (longest time.Duration, failed int) {
	type answer struct {
		took time.Duration
		code int
	}
	answers := make(chan answer, requests)
	for range requests {
		one := *b
		go func() {
			watch := redistest.NewStopwatch()
			w := one.get("/read")
			answers <- answer{watch.Stop(), w.Code}
		}()
	}
	for range requests {
		a := <-answers
		longest = max(longest, a.took)
		if a.code != http.StatusOK {
			failed++
		}
	}
	return longest, failed
}
