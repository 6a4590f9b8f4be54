package redisclient

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/redistest"
)

const prefix = "test:"

// opened returns a Client of the server, as each process has one.
func opened(t testing.TB, url string, s Settings) *Client {
	t.Helper()
	s.Prefix = prefix
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := Open(ctx, url, s)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// wire counts the round trips of a client's connections.
type wire struct {
	trips, sent, got atomic.Int64
	client           *redis.Client
}

func newWire(t testing.TB, server *redistest.Server) *wire {
	w := &wire{}
	w.client = redis.NewClient(&redis.Options{
		Addr: server.Addr, PoolSize: 1, ContextTimeoutEnabled: true, MaxRetries: -1,
		DisableIdentity: true, MaintNotificationsConfig: noMaintenance(),
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &wireConn{Conn: conn, wire: w}, err
		},
	})
	require.NoError(t, w.client.Ping(t.Context()).Err())
	_, err := w.client.Pipelined(t.Context(), func(p redis.Pipeliner) error { // which has connections of its own
		return p.Ping(t.Context()).Err()
	})
	require.NoError(t, err)
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
	c.wire.sent.Add(int64(len(p)))
	return c.Conn.Write(p)
}

func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.writing.Store(false)
	c.wire.got.Add(int64(n))
	return n, err
}

// during returns how many round trips f takes.
func (w *wire) during(f func()) int64 {
	before := w.trips.Load()
	f()
	return w.trips.Load() - before
}

// across is a client of a type that Client does not know, so that it expects each key on another server.
type across struct{ redis.UniversalClient }

func made(t testing.TB, client redis.UniversalClient, replicas int) *Client {
	t.Helper()
	c, err := New(client, replicas)
	require.NoError(t, err)
	return c
}

// kinds are a client of one server, and one that makes swaps one by one.
func kinds(t *testing.T) (*redistest.Server, map[string]*Client) {
	server := redistest.Start(t)
	one := opened(t, server.URL(), Settings{})
	return server, map[string]*Client{"one server": one, "in turn": made(t, across{one.Redis()}, 0)}
}

func value(revision, data string) Value { return append(probeValue(revision, false), data...) }

func revisionOf(v Value) string { return string(v[1 : v.dataAt()-1]) }

func first(key, revision, data string) Swap {
	return Swap{Key: prefix + key, Fresh: true, New: value(revision, data), Life: time.Hour}
}

func next(key, old, revision, data string) Swap {
	return Swap{Key: prefix + key, Old: old, New: value(revision, data), Life: time.Hour}
}

func (s Swap) in(list string) Swap {
	s.List, s.Member = prefix+"user:"+list, strings.TrimPrefix(s.Key, prefix)
	return s
}

func (s Swap) final(life time.Duration) Swap {
	s.New, s.Life = append(probeValue(revisionOf(s.New), true), s.New.Data()...), life
	return s
}

func swapped(t testing.TB, c *Client, swaps ...Swap) {
	t.Helper()
	conflict, err := c.Swap(t.Context(), swaps...)
	require.NoError(t, err)
	require.Nil(t, conflict)
}

func met(t testing.TB, c *Client, swaps ...Swap) *Conflict {
	t.Helper()
	conflict, err := c.Swap(t.Context(), swaps...)
	require.NoError(t, err)
	require.NotNil(t, conflict)
	return conflict
}

func got(t testing.TB, c *Client, key string) string {
	t.Helper()
	v, err := c.Get(t.Context(), prefix+key)
	if err != nil {
		require.ErrorIs(t, err, ErrMissing)
		return ""
	}
	return string(v.Data())
}

func TestSwap_ComparesRevisions(t *testing.T) {
	_, clients := kinds(t)
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			key := strings.ReplaceAll(name, " ", "-")
			require.Equal(t, &Conflict{}, met(t, c, next(key, "1", "2", "b")), "nothing is there")
			require.Empty(t, got(t, c, key))

			swapped(t, c, first(key, "1", "a"))
			swapped(t, c, first(key, "1", "a")) // sent again
			require.Equal(t, "a", string(met(t, c, first(key, "other", "x")).Current.Data()))

			swapped(t, c, next(key, "1", "2", "b"))
			swapped(t, c, next(key, "1", "2", "b")) // sent again
			conflict := met(t, c, next(key, "1", "3", "c"))
			require.Equal(t, value("2", "b"), conflict.Current)
			require.Equal(t, "b", got(t, c, key))

			require.NotNil(t, met(t, c, next(key, "", "4", "d")), "a revision is not its beginning")
			swapped(t, c, next(key, "2", "22", "e"))
			require.NotNil(t, met(t, c, next(key, "2", "5", "f")))

			swapped(t, c, next(key, "22", "", "no revision"))
			require.NotNil(t, met(t, c, first(key, "6", "g")))
			swapped(t, c, next(key, "", "7", "h"))
		})
	}
}

func TestSwap_ARevisionHasItsLimit(t *testing.T) {
	_, clients := kinds(t)
	long := strings.Repeat("r", 255)
	swapped(t, clients["one server"], first("a", long, "a"))
	swapped(t, clients["one server"], next("a", long, "1", "b"))
	_, err := clients["one server"].Swap(t.Context(), next("a", long+"r", "2", "c"))
	require.ErrorContains(t, err, "longer than 255 bytes")
	_, err = NewValue(long+"r", false, 0)
	require.ErrorContains(t, err, "longer than 255 bytes")
}

func TestSwap_SeveralAreMadeAllOrNone(t *testing.T) {
	_, clients := kinds(t)
	c := clients["one server"]
	swapped(t, c, first("old", "1", "a"))
	swapped(t, c, first("taken", "1", "x"))
	conflict := met(t, c, next("old", "1", "2", "b").final(time.Minute), first("taken", "3", "c"))
	require.Equal(t, 1, conflict.Place)
	require.Equal(t, "x", string(conflict.Current.Data()))
	require.Equal(t, "a", got(t, c, "old"), "nothing is made")

	both := []Swap{next("old", "1", "2", "b").final(time.Minute), first("new", "3", "c").in("ada")}
	swapped(t, c, both...)
	swapped(t, c, both...) // sent again
	require.Equal(t, "b", got(t, c, "old"))
	require.Equal(t, "c", got(t, c, "new"))
	conflict = met(t, c, next("old", "1", "4", "d"), next("new", "3", "5", "e"))
	require.Zero(t, conflict.Place)
	require.True(t, conflict.Current.Final())
	require.Equal(t, "c", got(t, c, "new"))
}

func TestSwap_InTurnStopsAtTheFirstConflict(t *testing.T) {
	_, clients := kinds(t)
	c := clients["in turn"]
	swapped(t, c, first("old", "1", "a"))
	conflict := met(t, c, next("old", "other", "2", "b"), first("new", "3", "c").in("ada"))
	require.Zero(t, conflict.Place)
	require.Empty(t, got(t, c, "new"))

	swapped(t, c, first("taken", "1", "x"))
	both := []Swap{next("old", "1", "2", "b").final(time.Minute), first("taken", "3", "c")}
	require.Equal(t, 1, met(t, c, both...).Place)
	require.Equal(t, "b", got(t, c, "old"), "the first is made")
}

func TestSwap_MakesNothingOfSomethingElse(t *testing.T) {
	server, clients := kinds(t)
	server.MustDo("HSET", prefix+"hash", "f", "v")
	server.MustDo("SET", prefix+"text", "foreign")
	server.MustDo("SET", prefix+"empty", "")
	for name, c := range clients {
		_, err := c.Get(t.Context(), prefix+"hash")
		require.ErrorIs(t, err, ErrForeign, name)
		for _, key := range []string{"text", "empty"} {
			_, err = c.Get(t.Context(), prefix+key)
			require.ErrorIs(t, err, ErrForeign, name)
		}
		_, err = c.Swap(t.Context(), first("hash", "1", "a"))
		require.ErrorIs(t, err, ErrForeign, name)
		_, err = c.Swap(t.Context(), first("fresh", "1", "a"), first("hash", "1", "a"))
		require.ErrorIs(t, err, ErrForeign, name)
		require.Equal(t, &Conflict{}, met(t, c, first("text", "1", "a")), name)
		_, err = c.End(t.Context(), first("hash", "1", "a").final(time.Minute))
		require.ErrorIs(t, err, ErrForeign, name)
	}
}

// A time to live of zero or less must never become for ever.
func TestSwap_EverythingHasATimeToLive(t *testing.T) {
	server, clients := kinds(t)
	for name, c := range clients {
		for i, life := range []time.Duration{-time.Hour, 0, time.Nanosecond, time.Millisecond} {
			s := first(fmt.Sprintf("%s-%d", name, i), "1", "a").in("short")
			s.Life = life
			swapped(t, c, s)
			_, err := c.End(t.Context(), s.final(life))
			require.NoError(t, err)
		}
		forever := first(name, "1", "a").in("long")
		forever.Life = 1<<63 - 1
		swapped(t, c, forever)
	}
	require.Eventually(t, func() bool {
		for key := range strings.FieldsSeq(server.MustDo("KEYS", prefix+"*")) {
			if server.MustDo("PTTL", key) == "-1" {
				t.Fatalf("%s stays for ever", key)
			}
		}
		return !strings.Contains(server.MustDo("KEYS", prefix+"*"), "-0")
	}, 5*time.Second, time.Millisecond)
}

func TestEnd(t *testing.T) {
	_, clients := kinds(t)
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			key := strings.ReplaceAll(name, " ", "-")
			end := func(revision string) Value {
				v, err := c.End(t.Context(), first(key, revision, "ended").final(time.Minute).in("ada"))
				require.NoError(t, err)
				return v
			}
			swapped(t, c, first(key, "1", "a"))
			require.Equal(t, value("1", "a"), end("2"))
			require.Equal(t, "ended", got(t, c, key))
			found := end("3")
			require.True(t, found.Final(), "it was there already")
			require.Equal(t, "2", revisionOf(found), "and stays")
			require.Equal(t, "2", revisionOf(met(t, c, next(key, "1", "4", "b")).Current))

			found, err := c.End(t.Context(), first(key+"-none", "1", "ended").final(time.Minute))
			require.NoError(t, err)
			require.Nil(t, found)
			require.Equal(t, "ended", got(t, c, key+"-none"))
		})
	}
}

func TestEnd_GetsThroughWhateverOthersWrite(t *testing.T) {
	_, clients := kinds(t)
	c := clients["one server"]
	swapped(t, c, first("busy", "0", "a"))
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			v := value("0", "")
			for i := 0; !v.Final(); i++ {
				conflict, err := c.Swap(t.Context(), next("busy", revisionOf(v), fmt.Sprint(w, i), "x"))
				if err != nil {
					t.Error(err)
					return
				}
				v = value(fmt.Sprint(w, i), "")
				if conflict != nil {
					v = conflict.Current
				}
			}
		})
	}
	_, err := c.End(t.Context(), first("busy", "end", "ended").final(time.Minute))
	require.NoError(t, err)
	writers.Wait()
	require.Equal(t, "ended", got(t, c, "busy"))
}

// list returns a list's members with what their values hold, in no order.
func list(t testing.TB, c *Client, name string) map[string]string {
	t.Helper()
	listed, err := c.List(t.Context(), prefix+"user:"+name, prefix, 512)
	require.NoError(t, err)
	all := make(map[string]string)
	for _, one := range listed {
		all[one.Name] = ""
		if one.Head != nil {
			all[one.Name] = string(one.Head.Data())
		}
	}
	return all
}

func TestList(t *testing.T) {
	server, clients := kinds(t)
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			user := strings.ReplaceAll(name, " ", "-")
			require.Empty(t, list(t, c, user))
			want := make(map[string]string)
			for i := range 3 * listAtOnce {
				key := fmt.Sprint(user, i)
				swapped(t, c, first(key, "1", "data "+key).in(user))
				want[key] = "data " + key
			}
			server.MustDo("DEL", prefix+user+"7")
			server.MustDo("DEL", prefix+user+"8")
			server.MustDo("HSET", prefix+user+"8", "f", "v")
			want[user+"7"], want[user+"8"] = "", "" // a member is never dropped because its value is missing
			require.Equal(t, want, list(t, c, user))
			require.Equal(t, want, list(t, c, user))

			values, err := c.GetAll(t.Context(), []string{prefix + user + "6", prefix + user + "7", prefix + user + "8"})
			require.NoError(t, err)
			require.Equal(t, "data "+user+"6", string(values[0].Data()))
			require.Nil(t, values[1])
			require.Nil(t, values[2])
		})
	}
}

func TestList_ReadsOnlyTheHead(t *testing.T) {
	_, clients := kinds(t)
	for name, c := range clients {
		swapped(t, c, first(name, "1", strings.Repeat("x", 5000)).in(name))
		require.Len(t, list(t, c, name)[name], 512-3)
	}
}

// score returns until when a member is in its list, counted from now by the server's clock.
func score(t testing.TB, server *redistest.Server, name, member string) time.Duration {
	t.Helper()
	var at, now float64
	_, err := fmt.Sscan(server.MustDo("ZSCORE", prefix+"user:"+name, member), &at)
	require.NoError(t, err)
	_, err = fmt.Sscan(server.MustDo("TIME"), &now)
	require.NoError(t, err)
	return time.Duration(at-now*1000) * time.Millisecond
}

func TestList_EndingMovesTheTime(t *testing.T) {
	server, clients := kinds(t)
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			user := strings.ReplaceAll(name, " ", "-")
			near := func(key string, want time.Duration) {
				t.Helper()
				require.InDelta(t, want.Seconds(), score(t, server, user, key).Seconds(), 5)
			}
			for _, key := range []string{"a", "b", "c"} {
				swapped(t, c, first(user+key, "1", "a").in(user))
				near(user+key, time.Hour)
			}
			swapped(t, c, next(user+"a", "1", "2", "ended").final(time.Minute).in(user))
			near(user+"a", time.Minute)
			_, err := c.End(t.Context(), first(user+"b", "2", "ended").final(time.Minute).in(user))
			require.NoError(t, err)
			near(user+"b", time.Minute)
			swapped(t, c, next(user+"c", "1", "2", "ended").final(time.Minute).in(user), first(user+"d", "1", "new").in(user))
			near(user+"c", time.Minute)
			near(user+"d", time.Hour)
			require.Greater(t, server.MustDo("PTTL", prefix+"user:"+user), "3500000", "it lives as long as its longest member")
		})
	}
}

// A write that is overtaken must not shorten what another one has just lengthened.
func TestList_InTurnAConflictTakesNoTimeBack(t *testing.T) {
	server, clients := kinds(t)
	c := clients["in turn"]
	swapped(t, c, first("s", "1", "a").in("ada"))
	require.NotNil(t, met(t, c, next("s", "other", "2", "ended").final(time.Minute).in("ada")))
	short := next("s", "other", "2", "b").in("ada")
	short.Life = time.Second
	require.NotNil(t, met(t, c, short))
	require.Greater(t, score(t, server, "ada", "s"), 50*time.Minute)
}

func TestList_Heals(t *testing.T) {
	server, clients := kinds(t)
	for name, c := range clients {
		swapped(t, c, first(name, "1", "a").in(name))
		server.MustDo("DEL", prefix+"user:"+name)
		require.Empty(t, list(t, c, name))
		swapped(t, c, next(name, "1", "2", "b").in(name))
		require.Equal(t, map[string]string{name: "b"}, list(t, c, name))
	}
}

// Members go when their time was over a minute ago by the server's clock, and whatever else is there stays.
func TestList_IsTrimmedByTheServersClock(t *testing.T) {
	server, clients := kinds(t)
	now := time.Now().UnixMilli()
	for name, c := range clients {
		list := prefix + "user:" + name
		for member, score := range map[string]int64{"over": now - 61_000, "just over": now - 50_000, "live": now + 1000} {
			server.MustDo("ZADD", list, fmt.Sprint(score), member)
		}
		require.Equal(t, "-1", server.MustDo("PTTL", list))
		swapped(t, c, first(name, "1", "a").in(name))
		require.ElementsMatch(t, []string{"just over", "live", name}, strings.Split(server.MustDo("ZRANGE", list, "0", "-1"), "\n"))
		require.NotEqual(t, "-1", server.MustDo("PTTL", list), "one that had no time to live gets one")
	}
}

// With NewRedisStore the first use of a script sends it whole, and after that its hash.
func TestScripts_TheFirstUseTakesNoRoundTripMore(t *testing.T) {
	server := redistest.Start(t)
	w := newWire(t, server)
	c := made(t, w.client, 0)
	for i := range 2 {
		n := fmt.Sprint(i)
		for name, step := range map[string]func(){
			"swap":     func() { swapped(t, c, first("a"+n, "1", "a")) },
			"swap all": func() { swapped(t, c, first("b"+n, "1", "a").in("ada"), first("c"+n, "1", "a")) },
			"end": func() {
				_, err := c.End(t.Context(), first("d"+n, "2", "x").final(time.Minute).in("ada"))
				require.NoError(t, err)
			},
			"list": func() { list(t, c, "ada") },
			"get":  func() { got(t, c, "a"+n) },
		} {
			require.EqualValues(t, 1, w.during(step), name)
		}
	}
	server.MustDo("SCRIPT", "FLUSH")
	require.EqualValues(t, 2, w.during(func() { swapped(t, c, first("e", "1", "a")) }), "the server is asked once")
	require.EqualValues(t, 1, w.during(func() { swapped(t, c, first("f", "1", "a")) }))
	require.NotContains(t, server.MustDo("INFO", "commandstats"), "cmdstat_script|load")
}

func TestScripts_OpenLoadsThem(t *testing.T) {
	server := redistest.Start(t)
	opened(t, server.URL(), Settings{})
	for _, s := range scripts {
		require.Equal(t, "1", server.MustDo("SCRIPT", "EXISTS", s.sha), "%d", s.place)
	}
	require.Len(t, scripts, len(new(node).known))
	for i, s := range scripts {
		require.Equal(t, i, s.place)
	}
}

func TestScripts_InTurn(t *testing.T) {
	server := redistest.Start(t)
	w := newWire(t, server)
	c := made(t, across{w.client}, 0)
	trips := func(want int64, swaps ...Swap) {
		t.Helper()
		require.EqualValues(t, want, w.during(func() { swapped(t, c, swaps...) }))
	}
	trips(1, first("a", "1", "a"))
	login := []Swap{next("a", "1", "2", "x").final(time.Minute), first("b", "1", "b").in("ada")}
	again := []Swap{next("b", "1", "2", "x").final(time.Minute).in("ada"), first("c", "1", "b").in("ada")}
	asAnother := []Swap{next("c", "1", "2", "x").final(time.Minute).in("ada"), first("d", "1", "b").in("grace")}
	trips(2, login...)
	trips(2, again...)
	trips(2, asAnother...)
	trips(2, next("d", "1", "2", "touched").in("grace"))
	require.EqualValues(t, 2, w.during(func() {
		_, err := c.End(t.Context(), first("d", "3", "x").final(time.Minute).in("grace"))
		require.NoError(t, err)
	}))
}

func TestClient_Refuses(t *testing.T) {
	honouring, hanging := redis.NewClient(&redis.Options{ContextTimeoutEnabled: true}), redis.NewClient(&redis.Options{})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{})
	lagging := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{"localhost:1"}, ContextTimeoutEnabled: true, RouteByLatency: true,
	})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "localhost:1"}, ContextTimeoutEnabled: true})
	for _, client := range []redis.UniversalClient{honouring, hanging, cluster, lagging, ring} {
		t.Cleanup(func() { require.NoError(t, client.Close()) })
	}
	for _, c := range []struct {
		client   redis.UniversalClient
		replicas int
		want     string
	}{
		{nil, 0, "client is nil"},
		{(*redis.Client)(nil), 0, "client is nil"},
		{(*redis.ClusterClient)(nil), 0, "client is nil"},
		{hanging, 0, "ignores context deadlines"},
		{cluster, 0, "ignores context deadlines"},
		{honouring, -1, "WaitReplicas is negative"},
		{lagging, 0, "reads from replicas"},
		{ring, 0, "redis.Ring"},
		{across{honouring}, 1, "WaitReplicas needs a *redis.Client"},
	} {
		_, err := New(c.client, c.replicas)
		require.ErrorContains(t, err, c.want)
	}
	made(t, honouring, 0) // it need not be there yet
}

// follows is what a master says of a replica that has confirmed something, which it does once a second.
var follows = regexp.MustCompile(`state=online,offset=[1-9]`)

// replicated starts a master, and a replica that follows it from start on.
func replicated(t *testing.T) (master *redistest.Server, start func() *redistest.Server) {
	master = redistest.Start(t)
	return master, func() *redistest.Server {
		host, port, err := net.SplitHostPort(master.Addr)
		require.NoError(t, err)
		replica := redistest.Start(t, "--replicaof", host+" "+port)
		require.Eventually(t, func() bool {
			master.MustDo("SET", "something", "to confirm")
			return strings.Contains(replica.MustDo("INFO", "replication"), "master_link_status:up") && // it has loaded all
				follows.MatchString(master.MustDo("INFO", "replication"))
		}, 20*time.Second, 10*time.Millisecond)
		return replica
	}
}

func TestWaitReplicas(t *testing.T) {
	master, follow := replicated(t)
	c := opened(t, master.URL(), Settings{Replicas: 1})
	within := func(d time.Duration, swaps ...Swap) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		_, err := c.Swap(ctx, swaps...)
		return err
	}
	begun := time.Now()
	err := within(time.Second, first("a", "1", "a"))
	require.ErrorContains(t, err, "has not reached RedisOptions.WaitReplicas replicas: 0 of 1")
	require.Less(t, time.Since(begun), 10*time.Second)
	replica := follow()
	require.NoError(t, within(5*time.Second, first("b", "1", "b").in("ada"), first("c", "1", "c")))
	require.Equal(t, "1", replica.MustDo("EXISTS", prefix+"b"), "it is there when the answer is")
	require.Equal(t, "c", got(t, c, "c"))
}

// What was made and is on no replica fails as often as it is asked for.
func TestWaitReplicas_AgainAndAgain(t *testing.T) {
	master, follow := replicated(t)
	c := opened(t, master.URL(), Settings{Replicas: 1})
	plain := opened(t, master.URL(), Settings{})
	swapped(t, plain, first("s", "1", "a"), first("t", "1", "a"))
	swapped(t, plain, next("s", "1", "2", "b"), next("t", "1", "2", "b").final(time.Minute))
	try := map[string]func(ctx context.Context) error{
		"swap":     func(ctx context.Context) error { _, err := c.Swap(ctx, next("s", "1", "2", "b")); return err },
		"conflict": func(ctx context.Context) error { _, err := c.Swap(ctx, next("s", "1", "3", "c")); return err },
		"of several": func(ctx context.Context) error {
			_, err := c.Swap(ctx, next("s", "1", "3", "c"), next("t", "1", "3", "c"))
			return err
		},
		"end": func(ctx context.Context) error {
			_, err := c.End(ctx, first("t", "2", "x").final(time.Minute))
			return err
		},
	}
	for range 2 {
		var all sync.WaitGroup
		for name, f := range try {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorContains(t, f(ctx), "has not reached", name)
			})
		}
		all.Wait()
	}
	follow()
	for name, f := range try {
		// A replica that has just come may take longer to answer than the client's time to read, which bounds the wait.
		require.Eventually(t, func() bool { return f(t.Context()) == nil }, 20*time.Second, 10*time.Millisecond, name)
	}
}

// A server that has become a replica says so on each connection that the pool has: that is no reason to fail.
func TestWaitReplicas_ReadOnlyConnections(t *testing.T) {
	for _, replicas := range []int{0, 1} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			before := redistest.Start(t)
			after, follow := replicated(t)
			follow()
			moving := redistest.ProxyTo(t, before.Addr)
			c := opened(t, moving.URL(), Settings{})
			c.replicas = replicas
			_, _ = c.Swap(t.Context(), first("old", "1", "a")) // on a connection that stays in the pool
			host, port, err := net.SplitHostPort(after.Addr)
			require.NoError(t, err)
			before.MustDo("REPLICAOF", host, port)
			moving.MoveTo(after.Addr)
			for i := range 5 {
				swapped(t, c, first(fmt.Sprint("s", i), "1", "a"))
			}
		})
	}
}
