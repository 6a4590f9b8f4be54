package promsession_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/promsession"
	"github.com/doorman-go/session/sessiontest"
)

// site is a Manager that is counted.
type site struct {
	*testing.T
	collector *promsession.Collector
	registry  *prometheus.Registry
	sessions  *session.Manager
	browser   *sessiontest.Jar
}

func newSite(t *testing.T, store session.Store, cfg session.Config, opts promsession.Options) *site {
	s := &site{T: t, collector: promsession.New(opts), registry: prometheus.NewPedanticRegistry(), browser: sessiontest.NewJar()}
	if redis, ok := store.(*session.RedisStore); ok {
		s.collector.WatchRedis("", redis)
	}
	require.NoError(t, s.registry.Register(s.collector))
	s.collector.Instrument(&cfg)
	var err error
	s.sessions, err = session.New(store, cfg)
	require.NoError(t, err)
	return s
}

func (s *site) do(handle func(*session.Session)) *http.Response {
	h := s.sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { handle(session.FromContext(r.Context())) }))
	return s.browser.Serve(h, httptest.NewRequest(http.MethodGet, "/", nil)).Result()
}

// value returns the sum of a metric's samples whose labels are these; a histogram's is its count.
func (s *site) value(name string, labels ...string) float64 {
	s.Helper()
	families, err := s.registry.Gather()
	require.NoError(s, err)
	total := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			got := map[string]string{}
			for _, pair := range m.GetLabel() {
				got[pair.GetName()] = pair.GetValue()
			}
			matches := true
			for i := 0; i < len(labels); i += 2 {
				matches = matches && got[labels[i]] == labels[i+1]
			}
			if matches {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return total
}

const operations = "session_operation_duration_seconds"

func TestCollector_CountsOperationsByKindAndResult(t *testing.T) {
	store := sessiontest.NewStore()
	s := newSite(t, store, session.Config{}, promsession.Options{})
	s.do(func(x *session.Session) { require.NoError(t, x.Login("ada")) })
	s.do(func(x *session.Session) { require.Equal(t, "ada", x.User()) })
	s.do(func(*session.Session) {})
	require.EqualValues(t, 1, s.value(operations, "kind", "commit", "result", "ok", "store", "Store"))
	require.EqualValues(t, 1, s.value(operations, "kind", "load", "result", "ok"), "a request that does not use its session costs nothing")
	require.EqualValues(t, 1, s.value("session_loads_total", "answered_by", "store"))

	store.Down(errors.New("refused"))
	require.Equal(t, http.StatusServiceUnavailable, s.do(func(x *session.Session) { x.User() }).StatusCode)
	store.Down(context.DeadlineExceeded)
	s.do(func(x *session.Session) { x.User() })
	store.Down(nil)
	require.EqualValues(t, 1, s.value(operations, "kind", "load", "result", "error"))
	require.EqualValues(t, 1, s.value(operations, "kind", "load", "result", "timeout"))

	_, err := s.sessions.Sessions(t.Context(), "ada")
	require.NoError(t, err)
	_, err = s.sessions.RevokeUser(t.Context(), "ada")
	require.NoError(t, err)
	require.EqualValues(t, 1, s.value(operations, "kind", "list", "result", "ok"))
	require.EqualValues(t, 1, s.value(operations, "kind", "revoke", "result", "ok"))
	require.Zero(t, s.value("session_operations_in_flight"))
}

func TestCollector_CountsWhatIsUnderWay(t *testing.T) {
	store := sessiontest.NewStore()
	s := newSite(t, store, session.Config{StoreTimeout: 20 * time.Second}, promsession.Options{})
	gate := store.Hold(sessiontest.Swap)
	var done sync.WaitGroup
	done.Go(func() { s.do(func(x *session.Session) { x.Set("k", 1) }) })
	<-gate.Reached()
	require.EqualValues(t, 1, s.value("session_operations_in_flight", "kind", "commit"))
	gate.Open()
	done.Wait()
	require.Zero(t, s.value("session_operations_in_flight"))
}

func TestCollector_CountsEvents(t *testing.T) {
	told := 0
	s := newSite(t, session.NewMemoryStore(), session.Config{OnEvent: func(context.Context, session.Event) { told++ }}, promsession.Options{})
	s.do(func(x *session.Session) { require.NoError(t, x.Login("ada")) })
	s.do(func(x *session.Session) { require.NoError(t, x.Destroy()) })
	require.EqualValues(t, 1, s.value("session_events_total", "kind", "logged in", "reason", ""))
	require.EqualValues(t, 1, s.value("session_events_total", "kind", "destroyed"))
	require.Equal(t, 2, told, "whom the application had told before is told too")
}

func TestCollector_CallsWhatObservedBefore(t *testing.T) {
	var begun, done []string
	observe := func(_ context.Context, call session.StoreCall) func(error) {
		begun = append(begun, call.Kind)
		if call.Kind == session.CallLoad {
			return nil
		}
		return func(error) { done = append(done, call.Kind) }
	}
	s := newSite(t, session.NewMemoryStore(), session.Config{Observe: observe}, promsession.Options{})
	s.do(func(x *session.Session) { x.Set("k", 1) })
	s.do(func(x *session.Session) { x.Has("k") })
	require.Equal(t, []string{"commit", "load"}, begun)
	require.Equal(t, []string{"commit"}, done)
}

// The labels tell nobody's name and no session's ID, whatever happens.
func TestCollector_TellsNobodysName(t *testing.T) {
	s := newSite(t, session.NewMemoryStore(), session.Config{}, promsession.Options{})
	var id string
	s.do(func(x *session.Session) { require.NoError(t, x.Login("ada-the-secret-name")); id = x.ID() })
	s.do(func(x *session.Session) { x.Set("k", 1) })
	_, err := s.sessions.RevokeUser(t.Context(), "ada-the-secret-name")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, w.Body.String(), `session_events_total{kind="revoked",reason="all"}`)
	require.NotContains(t, w.Body.String(), "ada-the-secret-name")
	require.NotContains(t, w.Body.String(), id)
}

func TestCollector_CountsWhatARedisStoreDoes(t *testing.T) {
	server := redistest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	store, err := session.OpenRedisStore(ctx, server.URL(), session.RedisOptions{NearCache: session.NearCache{MaxEntries: 10, MaxStaleness: time.Minute}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := newSite(t, store, session.Config{}, promsession.Options{})
	s.do(func(x *session.Session) { x.Set("k", 1) })
	loads := 0
	require.Eventually(t, func() bool { // the cache is on as soon as its connection is there
		s.do(func(x *session.Session) { require.True(t, x.Has("k")) })
		loads++
		return s.value("session_loads_total", "answered_by", "near_cache") >= 2
	}, 10*time.Second, time.Millisecond)
	require.Positive(t, s.value("session_loads_total", "answered_by", "store"))
	require.EqualValues(t, loads, s.value("session_loads_total"))
	require.EqualValues(t, store.Stats().Alone, s.value("session_redis_commands_alone_total"))
	require.GreaterOrEqual(t, s.value("session_redis_pool_connections"), 1.0)
	require.Positive(t, s.value("session_redis_pool_hits_total")+s.value("session_redis_pool_misses_total"))
}

// What is scraped equals what was done, whoever does it at the same time.
func TestCollector_EqualsWhatWasDone(t *testing.T) {
	s := newSite(t, session.NewMemoryStore(), session.Config{}, promsession.Options{})
	var all sync.WaitGroup
	const writers, each = 8, 50
	for range writers {
		all.Go(func() {
			jar := sessiontest.NewJar()
			h := s.sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				session.Key[int]("n").Update(session.FromContext(r.Context()), func(n int) int { return n + 1 })
			}))
			for range each {
				jar.Serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
				_, err := s.registry.Gather()
				assertNoError(t, err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, writers*each, s.value(operations, "kind", "commit", "result", "ok"))
	require.EqualValues(t, writers*(each-1), s.value(operations, "kind", "load", "result", "ok"), "the first request has no cookie")
	require.EqualValues(t, writers, s.value("session_events_total", "kind", "created"))
}

func assertNoError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestCollector_Labels(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for _, name := range []string{"site", "admin"} {
		c := promsession.New(promsession.Options{Namespace: "shop", Labels: prometheus.Labels{"manager": name}, Buckets: []float64{1}})
		require.NoError(t, registry.Register(c))
		c.Observe(t.Context(), session.StoreCall{Kind: session.CallLoad, Store: "RedisStore"})(nil)
	}
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP shop_loads_total Loads of sessions, by who answered: the near cache or the store.
# TYPE shop_loads_total counter
shop_loads_total{answered_by="store",manager="admin"} 1
shop_loads_total{answered_by="store",manager="site"} 1
`), "shop_loads_total"))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func Example() {
	collector := promsession.New(promsession.Options{})
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)

	config := session.Config{}
	collector.Instrument(&config)
	sessions, err := session.New(session.NewMemoryStore(), config)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("seen", true) })

	site := sessions.Middleware(mux)
	site.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/", nil))
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "session_events_total") {
			fmt.Print(line)
		}
	}
	// Output: session_events_total{kind="created",reason=""} 1
}
