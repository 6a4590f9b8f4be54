package session_test

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
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// What a request costs, counted rather than timed: round trips and commands on the wire, bytes, calls of the store,
// allocations. benchmarks/ has the times.

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
	c.wire.commands.Add(int64(bytes.Count(p, []byte("\r\n$4\r\neval")) + bytes.Count(p, []byte("\r\n$7\r\nevalsha")) + bytes.Count(p, []byte("\r\n$7\r\nhgetall"))))
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

// costCase is a request and what it costs at a server store: round trips on a standalone Redis, and on a cluster.
type costCase struct {
	name          string
	begin         func(*session.Session) // makes the session that the request comes with; nil: it comes without a cookie
	wait          time.Duration          // before the request
	do            func(*session.Session)
	trips, across int64
	calls         int64 // of the store
	setCookie     bool  // where the session is not in the cookie itself
	sealed        bool  // where it is
	vary          bool
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
		{"no cookie, untouched", nil, 0, idle, 0, 0, 0, false, false, false},
		{"no cookie, read", nil, 0, get, 0, 0, 0, false, false, true},
		{"no cookie, logged out", nil, 0, logout, 0, 0, 0, false, false, true},
		{"no cookie, written", nil, 0, set, 1, 1, 1, true, true, true},
		{"no cookie, login", nil, 0, login, 1, 2, 1, true, true, true},
		{"untouched", begin, 0, idle, 0, 0, 0, false, false, false},
		{"read", begin, 0, get, 1, 1, 1, false, false, true},
		{"read, a touch almost due", begin, time.Minute - time.Millisecond, get, 1, 1, 1, false, false, true},
		{"read, a touch due", begin, time.Minute, get, 2, 2, 2, false, true, true},
		{"read and write", begin, 0, count, 2, 2, 2, false, true, true},
		{"write", begin, 0, set, 2, 2, 2, false, true, true},
		{"several changes", signIn, 0, several, 2, 3, 2, false, true, true},
		{"regenerate", begin, 0, regenerate, 2, 3, 2, true, true, true},
		{"login", begin, 0, login, 2, 3, 2, true, true, true},
		{"login as another", signIn, 0, login, 2, 3, 2, true, true, true},
		{"logout", signIn, 0, logout, 2, 2, 2, true, true, true},
	}
}

// run makes the request on a new session, and returns the answer; counted is told when it begins and when it ends.
func (c costCase) run(s *site, counted func(func())) (resp *http.Response) {
	v := s.visitor()
	if c.begin != nil {
		v.must(c.begin)
	}
	s.clock.move(c.wait)
	counted(func() { resp = v.must(c.do) })
	return resp
}

func (c costCase) once(s *site) { c.run(s, func(f func()) { f() }) }

// costConfig has a touch due after a minute.
var costConfig = session.Config{IdleTimeout: 20 * time.Minute}

func TestCost_RoundTrips(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	standalone := newSite(t, session.NewRedisStore(w.client, session.RedisOptions{}), costConfig)
	cluster := newSite(t, session.NewRedisStore(across{w.client}, session.RedisOptions{Prefix: "across:"}), costConfig)
	for _, c := range costCases() {
		c.once(standalone) // Redis learns the script
		c.once(cluster)
		var here, there spent
		c.run(standalone, func(f func()) { here = w.during(f) })
		c.run(cluster, func(f func()) { there = w.during(f) })
		require.Equal(t, c.trips, here.trips, c.name)
		require.Equal(t, c.trips, here.commands, c.name)
		require.Equal(t, c.across, there.trips, "%s, across slots", c.name)
	}
}

func TestCost_RoundTrips_WithoutIdleTimeout(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	s := newSite(t, session.NewRedisStore(w.client, session.RedisOptions{}), session.Config{IdleTimeout: -1})
	v := s.visitor()
	v.must(func(s *session.Session) { s.Set("a", 1) })
	s.clock.move(23 * time.Hour)
	require.EqualValues(t, 1, w.during(func() { require.Equal(t, 1, read[int](v, "a")) }).trips)
}

func TestCost_RoundTrips_Garbage(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	s := newSite(t, session.NewRedisStore(w.client, session.RedisOptions{}), costConfig)
	for _, cookie := range []string{"x", strings.Repeat("A", 48), strings.Repeat("x", 300), "a.bcde"} {
		v := &visitor{s, cookie}
		require.Zero(t, w.during(func() { require.Zero(t, read[int](v, "a")) }), cookie)
	}
}

func TestCost_RoundTrips_NearCache(t *testing.T) {
	server := redistest.Start(t)
	near := session.NearCache{MaxEntries: 100, MaxStaleness: time.Hour}
	here := newSite(t, redisStore(t, server, session.RedisOptions{NearCache: near}), costConfig)
	elsewhere := newSite(t, redisStore(t, server, session.RedisOptions{}), costConfig)
	v := elsewhere.visitor()
	v.must(func(s *session.Session) { s.Set("a", 1) })
	v.site = here
	require.Equal(t, 1, read[int](v, "a"))
	server.MustDo("CONFIG", "RESETSTAT")
	for range 1000 {
		require.Equal(t, 1, read[int](v, "a"))
	}
	require.NotContains(t, server.MustDo("INFO", "commandstats"), "hgetall")
}

// The near cache has replies; the session that one stands for is made of it once, and again when there is another.
func TestCost_NearCacheReadsAReplyOnce(t *testing.T) {
	server := redistest.Start(t)
	near := redisStore(t, server, session.RedisOptions{NearCache: session.NearCache{MaxEntries: 1, MaxStaleness: time.Hour}})
	manager := newSite(t, near, costConfig)
	v := manager.visitor()
	v.must(func(s *session.Session) { s.Set("a", 1) })
	var token session.Token
	v.must(func(s *session.Session) { token = session.NewToken(s.ID(), "") })
	ctx := session.WithClock(t.Context(), manager.clock.Now)
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
	require.Equal(t, "1", string(first.Values["a"]))

	v.must(func(s *session.Session) { s.Set("a", 2) })
	second := settled()
	require.Equal(t, "2", string(second.Values["a"]))

	other := manager.visitor()
	other.must(func(s *session.Session) { s.Set("a", 3) })
	require.Eventually(t, func() bool { // there is room for one, and this takes its place
		for range 3 {
			require.Equal(t, 3, read[int](other, "a"))
		}
		return load() != second
	}, time.Minute, time.Millisecond)
}

// A write sends what changed, however much there is; a touch sends no values; and what a session keeps to recognise
// changes sent twice does not grow with the changes.
func TestCost_BytesOnTheWire(t *testing.T) {
	w := newWire(t, redistest.Start(t))
	s := newSite(t, session.NewRedisStore(w.client, session.RedisOptions{}), costConfig)
	v := s.visitor()
	v.must(func(s *session.Session) {
		for i := range 300 {
			s.Set(fmt.Sprintf("key %d", i), strings.Repeat("x", 100))
		}
	})
	v.must(func(s *session.Session) { s.Set("a", 1) })
	write := w.during(func() { v.must(func(s *session.Session) { s.Set("a", 2) }) })
	require.Less(t, write.sent, int64(600))
	s.clock.move(time.Minute)
	touch := w.during(func() { read[int](v, "a") })
	require.EqualValues(t, 2, touch.trips)
	require.Less(t, touch.sent, int64(600))

	v = s.visitor()
	v.must(func(s *session.Session) { s.Set("a", 1) })
	quiet := w.during(func() { read[int](v, "a") })
	require.Less(t, quiet.got, int64(400))
	for i := range 500 {
		v.must(func(s *session.Session) { s.Set("a", i%10) })
	}
	require.Less(t, w.during(func() { read[int](v, "a") }).got, quiet.got+1200)
}

func TestCost_StoreCalls(t *testing.T) {
	for name, store := range map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": cookieStore(t, worldSecret)} {
		counting := &countingStore{Store: store}
		s := newSite(t, counting, costConfig)
		for _, c := range costCases() {
			var calls int64
			c.run(s, func(f func()) {
				calls = -counting.calls()
				f()
				calls += counting.calls()
			})
			require.Equal(t, c.calls, calls, "%s: %s", name, c.name)
		}
	}
}

func TestCost_SetCookieOnlyWhenNeeded(t *testing.T) {
	for _, store := range []session.Store{session.NewMemoryStore(), cookieStore(t, worldSecret), redisStore(t, redistest.Start(t), session.RedisOptions{})} {
		_, sealed := store.(*session.CookieStore)
		s := newSite(t, store, costConfig)
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

func (d *discarding) Header() http.Header             { return d.header }
func (*discarding) WriteHeader(int)                   {}
func (*discarding) Write(p []byte) (int, error)       { return len(p), nil }
func (*discarding) WriteString(s string) (int, error) { return len(s), nil }
func (*discarding) Flush()                            {}

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
		{"untouched, sealed", cookieStore(t, worldSecret), untouched, true, 4},
		{"no cookie, read", session.NewMemoryStore(), reading, false, 6},
		{"read", session.NewMemoryStore(), reading, true, 11},
		{"read, sealed", cookieStore(t, worldSecret), reading, true, 30},
	} {
		s := newSite(t, c.store, session.Config{})
		cookie := ""
		if c.cookie {
			v := s.visitor()
			v.must(func(s *session.Session) { s.Set("a", 1) })
			cookie = s.name + "=" + v.cookie
		}
		above := allocations(s.manager.Middleware(c.handler), cookie) - bare
		t.Logf("%s: %g", c.name, above)
		require.LessOrEqual(t, above, c.most, c.name)
	}
}
