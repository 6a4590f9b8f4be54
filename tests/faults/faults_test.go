package faults_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// back waits until a session can be read again, and returns what is in it.
func (s *faultSite) back(b *kit.Browser) string {
	s.Helper()
	watch := redistest.NewStopwatch()
	defer watch.Stop()
	for {
		if w := b.Get("/read"); w.Code == 200 {
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
	{"OOM", commanded("CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"), commanded("CONFIG SET maxmemory 0"), 200, 503, 503}, // a tombstone needs memory too
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
			reader, leaver, member, nobody := s.seeded(), s.seeded(), s.seeded(), s.app.BrowserOf(s.h)
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
			require.Equal(t, f.read == 503 || f.write == 503, s.app.Count(session.EventStoreError) > 0)
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
func burst(b *kit.Browser, requests int) (longest time.Duration, failed int) {
	type answer struct {
		took time.Duration
		code int
	}
	answers := make(chan answer, requests)
	for range requests {
		one := *b
		go func() {
			watch := redistest.NewStopwatch()
			w := one.Get("/read")
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
