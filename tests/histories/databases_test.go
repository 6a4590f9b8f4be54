package histories_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

var lasts = flag.Duration("histories.for", 20*time.Second, "how long the load on each database lasts")

// database is what the sessions are kept in. Another one takes a function like openRedis, and a line in databases. Of the four
// as many run at a time as there are processors.
type database struct {
	name string
	open func(*testing.T) ([]session.Store, []fault) // a store for each process, and what can happen
}

// fault is something that happens to a database. It returns when that is over.
type fault struct {
	name   string
	happen func()
}

var databases = []database{
	{"redis", openRedis},
	{"cluster", openCluster},
	{"postgresql", openPostgres},
	{"mariadb", openMariaDB},
}

// Each session is linearizable, whatever happens to the database.
func TestHistories(t *testing.T) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			stores, faults := d.open(t)
			l := newLoad(t, stores)
			stop := inject(t, faults)
			l.run(*lasts)
			stop()
			l.judge()
		})
	}
}

// inject has one fault after the other happen, with some quiet between, until stopped.
func inject(t *testing.T, faults []fault) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	happened := map[string]int{}
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			case <-time.After(200*time.Millisecond + rand.N(800*time.Millisecond)):
			}
			f := faults[rand.IntN(len(faults))]
			f.happen()
			happened[f.name]++
		}
	}()
	return func() {
		close(over)
		<-done
		t.Logf("faults: %v", happened)
		require.NotEmpty(t, happened)
	}
}

const processes = 2

// openRedis is one server that writes all down before it answers, so that it may be killed. Each process has a proxy of its
// own.
func openRedis(t *testing.T) (stores []session.Store, faults []fault) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	var proxies []*redistest.Proxy
	for range processes {
		proxy := redistest.NewProxy(t, server)
		proxies = append(proxies, proxy)
		stores = append(stores, openStore(t, proxy.URL()))
	}
	faults = proxyFaults(proxies, "evalsha")
	return stores, append(faults, pause(server), killClients(server), fault{"the server killed and started again", server.Restart})
}

// proxyFaults are what happens between a process and its server. Some happen to a request with the text: a change.
func proxyFaults(proxies []*redistest.Proxy, text string) (faults []fault) {
	for _, proxy := range proxies {
		faults = append(faults,
			fault{"connections cut", proxy.Cut},
			fault{"an answer lost", func() { proxy.Once(redistest.LoseReply, text) }},
			fault{"a connection reset within an answer", func() { proxy.Once(redistest.Reset, text) }},
			fault{"a process cut off", func() {
				proxy.Set(redistest.Hang)
				time.Sleep(rand.N(2 * storeTimeout))
				proxy.Set(redistest.Pass)
				proxy.Cut()
			}},
			fault{"late answers", func() {
				proxy.SetDelay(rand.N(2 * storeTimeout))
				time.Sleep(2 * storeTimeout)
				proxy.Set(redistest.Pass)
			}})
	}
	return faults
}

// openCluster is three masters.
func openCluster(t *testing.T) (stores []session.Store, faults []fault) {
	nodes := redistest.Cluster(t, 3, 0)
	url := nodes[0].URL() + "?addr=" + nodes[1].Addr + "&addr=" + nodes[2].Addr
	for range processes {
		stores = append(stores, openStore(t, url))
	}
	for _, node := range nodes {
		faults = append(faults, pause(node), killClients(node))
	}
	return stores, faults
}

func openStore(t *testing.T, url string) session.Store {
	store, err := session.OpenRedisStore(t.Context(), url, session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// pause stops the process for a while: what was sent to it is done afterwards.
func pause(s *redistest.Server) fault {
	return fault{"a server paused", func() {
		s.Pause()
		time.Sleep(rand.N(2 * storeTimeout))
		s.Resume()
	}}
}

func killClients(s *redistest.Server) fault {
	return fault{"clients killed", func() { _, _ = s.Do("CLIENT", "KILL", "TYPE", "normal") }}
}
