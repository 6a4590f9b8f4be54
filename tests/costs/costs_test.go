package costs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// wire counts what a Redis client sends and gets.
type wire struct {
	trips, commands, sent, got atomic.Int64
	client                     *redis.Client
}

func newWire(t testing.TB, server *redistest.Server) *wire {
	w := &wire{}
	w.client = redis.NewClient(&redis.Options{
		Addr: server.Addr, PoolSize: 1, ContextTimeoutEnabled: true, MaxRetries: -1,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &wireConn{Conn: conn, wire: w}, err
		},
	})
	t.Cleanup(func() { require.NoError(t, w.client.Close()) })
	return w
}

// wireConn counts a round trip for each time that the client turns from reading to writing.
type wireConn struct {
	net.Conn
	wire    *wire
	writing atomic.Bool
}

func (c *wireConn) Write(p []byte) (int, error) {
	if !c.writing.Swap(true) {
		c.wire.trips.Add(1)
	}
	for _, command := range []string{"\r\n$4\r\neval\r\n", "\r\n$7\r\nevalsha\r\n", "\r\n$3\r\nget\r\n"} {
		c.wire.commands.Add(int64(bytes.Count(p, []byte(command))))
	}
	c.wire.sent.Add(int64(len(p)))
	return c.Conn.Write(p)
}

func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.writing.Store(false)
	c.wire.got.Add(int64(n))
	return n, err
}

// spent is what was counted while f ran.
type spent struct{ trips, commands, sent, got int64 }

func (w *wire) during(f func()) spent {
	before := spent{w.trips.Load(), w.commands.Load(), w.sent.Load(), w.got.Load()}
	f()
	return spent{w.trips.Load() - before.trips, w.commands.Load() - before.commands, w.sent.Load() - before.sent, w.got.Load() - before.got}
}

// costCase is a request and what it costs at a server store: round trips on a standalone Redis, and on a cluster at most.
type costCase struct {
	name          string
	begin         func(*session.Session) // makes the session that the request comes with; nil: it comes without a cookie
	wait          time.Duration          // before the request
	do            func(*session.Session)
	trips, across int64
	calls         int  // of the store
	setCookie     bool // where the session is not in the cookie itself
	sealed        bool // where it is
	vary          bool // it may still be used when the handler writes
}

func costCases() []costCase {
	begin := func(s *session.Session) { s.Set("a", 1) }
	signIn := func(s *session.Session) { _ = s.Login("ada"); s.Set("a", 1) }
	idle := func(*session.Session) {}
	get := func(s *session.Session) { s.Get("a", new(int)) }
	set := func(s *session.Session) { s.Set("a", 2) }
	count := func(s *session.Session) { session.Key[int]("a").Update(s, func(i int) int { return i + 1 }) }
	login := func(s *session.Session) { _ = s.Login("grace", "a") }
	several := func(s *session.Session) {
		s.Set("a", 3)
		s.Set("b", 4)
		s.Delete("c")
		s.Flash("info", "saved")
		s.SetNote("phone")
	}
	return []costCase{
		{"no cookie, untouched", nil, 0, idle, 0, 0, 0, false, false, true},
		{"no cookie, read", nil, 0, get, 0, 0, 0, false, false, true},
		{"no cookie, logged out", nil, 0, kit.Logout, 0, 0, 0, false, false, true},
		{"no cookie, written", nil, 0, set, 1, 1, 1, true, true, true},
		{"no cookie, login", nil, 0, login, 1, 3, 1, true, true, true},
		{"untouched", begin, 0, idle, 0, 0, 0, false, false, true},
		{"read", begin, 0, get, 1, 1, 1, false, false, true},
		{"read, a touch almost due", begin, time.Minute - time.Millisecond, get, 1, 1, 1, false, false, true},
		{"read, a touch due", begin, time.Minute, get, 2, 2, 2, false, true, true},
		{"read and write", begin, 0, count, 2, 2, 2, false, true, true},
		{"write", begin, 0, set, 2, 2, 2, false, true, true},
		{"several changes", signIn, 0, several, 2, 3, 2, false, true, true},
		{"regenerate", begin, 0, kit.Regenerate, 2, 4, 2, true, true, true},
		{"login", begin, 0, login, 2, 4, 2, true, true, true},
		{"login as another", signIn, 0, login, 2, 4, 2, true, true, true},
		{"logout", signIn, 0, kit.Logout, 2, 3, 2, true, true, true},
	}
}

// run makes the request on a new session, and returns the answer; counted is told when it begins and when it ends.
func (c costCase) run(s *kit.App, counted func(func())) (resp *http.Response) {
	v := s.Browser()
	if c.begin != nil {
		v.Must(c.begin)
	}
	s.Clock.Advance(c.wait)
	counted(func() { resp = v.Must(c.do) })
	return resp
}

func (c costCase) once(s *kit.App) { c.run(s, func(f func()) { f() }) }

func TestCost_RoundTrips(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	standalone := kit.New(t, kit.CostConfig, kit.RedisOn(t, w.client, session.RedisOptions{}))
	cluster := kit.New(t, kit.CostConfig, kit.RedisOn(t, kit.Across{UniversalClient: w.client}, session.RedisOptions{Prefix: "across:"}))
	for _, c := range costCases() {
		c.once(standalone) // Redis learns the script
		c.once(cluster)
		var here, there spent
		c.run(standalone, func(f func()) { here = w.during(f) })
		c.run(cluster, func(f func()) { there = w.during(f) })
		require.Equal(t, c.trips, here.trips, c.name)
		require.Equal(t, c.trips, here.commands, c.name)
		require.LessOrEqual(t, there.trips, c.across, "%s, across slots", c.name)
	}
}

func TestCost_RoundTrips_WithoutIdleTimeout(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	s := kit.New(t, session.Config{IdleTimeout: -1}, kit.RedisOn(t, w.client, session.RedisOptions{}))
	v := s.Browser()
	v.Must(func(s *session.Session) { s.Set("a", 1) })
	s.Clock.Advance(23 * time.Hour)
	require.EqualValues(t, 1, w.during(func() { require.Equal(t, 1, kit.Read[int](v, "a")) }).trips)
}

func TestCost_RoundTrips_Garbage(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	s := kit.New(t, kit.CostConfig, kit.RedisOn(t, w.client, session.RedisOptions{}))
	for _, cookie := range []string{"x", strings.Repeat("A", 48), strings.Repeat("x", 300), "a.bcde"} {
		v := s.BrowserWith(cookie)
		require.Zero(t, w.during(func() { require.Zero(t, kit.Read[int](v, "a")) }), cookie)
	}
}

func TestCost_RoundTrips_NearCache(t *testing.T) {
	server := redistest.Start(t)
	near := session.NearCache{MaxEntries: 100, MaxStaleness: time.Hour}
	here := kit.New(t, kit.CostConfig, kit.OpenRedis(t, server, session.RedisOptions{NearCache: near}))
	elsewhere := kit.New(t, kit.CostConfig, kit.OpenRedis(t, server, session.RedisOptions{}))
	v := elsewhere.Browser()
	v.Must(func(s *session.Session) { s.Set("a", 1) })
	v.App = here
	require.Eventually(t, func() bool { // once the server tells of changes
		server.MustDo("CONFIG", "RESETSTAT")
		require.Equal(t, 1, kit.Read[int](v, "a"))
		return !strings.Contains(server.MustDo("INFO", "commandstats"), "cmdstat_get:")
	}, 5*time.Second, time.Millisecond)
	for range 1000 {
		require.Equal(t, 1, kit.Read[int](v, "a"))
	}
	require.NotContains(t, server.MustDo("INFO", "commandstats"), "cmdstat_get:")
}

// The near cache has replies; the session that one stands for is made of it once, and again when there is another.
func TestCost_NearCacheReadsAReplyOnce(t *testing.T) {
	server := redistest.Start(t)
	near := kit.OpenRedis(t, server, session.RedisOptions{NearCache: session.NearCache{MaxEntries: 1, MaxStaleness: time.Hour}})
	manager := kit.New(t, kit.CostConfig, near)
	v := manager.Browser()
	v.Must(func(s *session.Session) { s.Set("a", 1) })
	var token session.Token
	v.Must(func(s *session.Session) { token = session.NewToken(s.ID(), "") })
	ctx := session.WithClock(t.Context(), manager.Clock.Now)
	load := func() *session.Record {
		r, err := near.Load(ctx, token)
		require.NoError(t, err)
		return r
	}
	settled := func() (r *session.Record) { // once what the server says of the last write has arrived
		require.Eventually(t, func() bool { r = load(); return r == load() }, time.Minute, time.Millisecond)
		return r
	}
	first := settled()
	require.Equal(t, "1", string(first.Values.Get("a")))

	v.Must(func(s *session.Session) { s.Set("a", 2) })
	second := settled()
	require.Equal(t, "2", string(second.Values.Get("a")))

	other := manager.Browser()
	other.Must(func(s *session.Session) { s.Set("a", 3) })
	require.Eventually(t, func() bool { // there is room for one, and this takes its place
		for range 3 {
			require.Equal(t, 3, kit.Read[int](other, "a"))
		}
		return load() != second
	}, time.Minute, time.Millisecond)
}

// A write sends the session once, however much was changed in it, and what a session keeps to recognise changes that were
// sent twice is bounded.
func TestCost_BytesOnTheWire(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	s := kit.New(t, kit.CostConfig, kit.RedisOn(t, w.client, session.RedisOptions{}))
	large := s.Browser()
	large.Must(func(s *session.Session) {
		for i := range 300 {
			s.Set(fmt.Sprintf("key %d", i), strings.Repeat("x", 100))
		}
	})
	large.Must(func(s *session.Session) { s.Set("a", 1) })
	sent := w.during(func() { large.Must(func(s *session.Session) { s.Set("a", 2) }) })
	require.EqualValues(t, 2, sent.trips)
	require.Less(t, sent.sent, int64(40_000))
	s.Clock.Advance(3 * time.Minute)
	sent = w.during(func() { large.Must(func(s *session.Session) { s.Set("a", 2) }) })
	require.EqualValues(t, 3, sent.trips, "the use is due, and noted when the session is loaded")
	require.Less(t, sent.sent, int64(80_000))

	small := s.Browser()
	small.Must(func(s *session.Session) { s.Set("a", 1) })
	quiet := w.during(func() { kit.Read[int](small, "a") })
	require.Less(t, quiet.got, int64(400))
	write := w.during(func() { small.Must(func(s *session.Session) { s.Set("a", 2) }) })
	require.Less(t, write.sent, int64(700))
	for i := range 500 {
		small.Must(func(s *session.Session) { s.Set("a", i%10) })
	}
	require.Less(t, w.during(func() { kit.Read[int](small, "a") }).got, quiet.got+1500)
}

func TestCost_StoreCalls(t *testing.T) {
	for name, store := range map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": kit.Sealed(t, kit.SecretOne)} {
		s := kit.New(t, kit.CostConfig, store)
		counting := s.Store()
		for _, c := range costCases() {
			var calls int
			c.run(s, func(f func()) {
				calls = -counting.Count()
				f()
				calls += counting.Count()
			})
			require.Equal(t, c.calls, calls, "%s: %s", name, c.name)
		}
	}
}

func TestCost_SetCookieOnlyWhenNeeded(t *testing.T) {
	for _, store := range []session.Store{session.NewMemoryStore(), kit.Sealed(t, kit.SecretOne), kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{})} {
		_, sealed := store.(*session.CookieStore)
		s := kit.New(t, kit.CostConfig, store)
		for _, c := range costCases() {
			want := c.setCookie || sealed && c.sealed
			resp := c.run(s, func(f func()) { f() })
			require.Equal(t, want, len(resp.Header["Set-Cookie"]) == 1, "%T: %s", store, c.name)
			require.Equal(t, want, resp.Header.Get("Cache-Control") == "no-store", "%T: %s", store, c.name)
			require.Equal(t, c.vary, resp.Header.Get("Vary") == "Cookie", "%T: %s", store, c.name)
		}
	}
}

// allocations returns what a request that does this allocates, without what the test's own ResponseWriter does.
func allocations(h http.Handler, cookie string) float64 {
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	w := &discarding{header: http.Header{}}
	return testing.AllocsPerRun(200, func() {
		clear(w.header)
		h.ServeHTTP(w, r)
	})
}

// discarding is a ResponseWriter that allocates nothing.
type discarding struct{ header http.Header }

func (d *discarding) Header() http.Header { return d.header }

func (*discarding) WriteHeader(int) {}

func (*discarding) Write(p []byte) (int, error) { return len(p), nil }

func (*discarding) WriteString(s string) (int, error) { return len(s), nil }

func (*discarding) Flush() {}

func TestCost_Allocations(t *testing.T) {
	untouched := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }
	reading := func(w http.ResponseWriter, r *http.Request) {
		_, _ = session.Key[int]("a").Get(session.FromContext(r.Context()))
		_, _ = io.WriteString(w, "ok")
	}
	bare := allocations(http.HandlerFunc(untouched), "")
	for _, c := range []struct {
		name    string
		store   session.Store
		handler http.HandlerFunc
		cookie  bool
		most    float64 // above the bare handler
	}{
		{"no cookie, untouched", session.NewMemoryStore(), untouched, false, 4},
		{"untouched", session.NewMemoryStore(), untouched, true, 4},
		{"untouched, sealed", kit.Sealed(t, kit.SecretOne), untouched, true, 4},
		{"no cookie, read", session.NewMemoryStore(), reading, false, 6},
		{"read", session.NewMemoryStore(), reading, true, 11},
		{"read, sealed", kit.Sealed(t, kit.SecretOne), reading, true, 30},
	} {
		cookie := ""
		if c.cookie {
			v := kit.New(t, session.Config{}, c.store).Browser()
			v.Must(func(s *session.Session) { s.Set("a", 1) })
			cookie = v.App.Name + "=" + v.Cookie
		}
		manager, err := session.New(c.store, session.Config{}) // without the kit's gate in front of the store
		require.NoError(t, err)
		above := allocations(manager.Middleware(c.handler), cookie) - bare
		t.Logf("%s: %g", c.name, above)
		require.LessOrEqual(t, above, c.most, c.name)
	}
}
