package redisclient

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/redistest"
)

// lone is a cache without a server, on which nothing is lost.
func lone(options CacheOptions) *Cache {
	c := &Cache{options: options}
	c.empty(true)
	return c
}

func kept(c *Cache, key string) any {
	v, _ := c.Get(key)
	return v
}

func TestCache_KeepsWhatWasRead(t *testing.T) {
	c := lone(CacheOptions{10, time.Hour})
	c.End("a", c.Begin("a"), 1, "1")
	require.Equal(t, 1, kept(c, "a"))
	c.End("b", c.Begin("b"), nil, "1")
	_, ok := c.Get("b")
	require.False(t, ok, "nothing is not kept")
	require.Empty(t, c.reads)
}

func TestCache_AWriteVoidsReadsUnderWay(t *testing.T) {
	c := lone(CacheOptions{10, time.Hour})
	before, also := c.Begin("a"), c.Begin("a")
	other := c.Begin("b")
	c.Drop("a")
	after := c.Begin("a")
	c.End("a", before, "old", "1")
	require.Nil(t, kept(c, "a"))
	c.End("a", after, "new", "1")
	c.End("a", also, "as new", "1")
	require.Equal(t, "new", kept(c, "a"))
	c.End("b", other, "b", "1")
	require.Equal(t, "b", kept(c, "b"))

	lost := c.Begin("c")
	c.empty(false)
	c.End("c", lost, "c", "1")
	require.Nil(t, kept(c, "c"))
	require.Nil(t, c.Begin("c"), "while the server does not tell of writes")
	c.empty(true)
	c.End("c", nil, "c", "1")
	require.Nil(t, kept(c, "c"))
	require.Empty(t, c.reads)
}

// Of two reads at once, one may have found what was there before a write of which no notice has arrived yet.
func TestCache_KeepsNeitherOfTwoRevisions(t *testing.T) {
	c := lone(CacheOptions{10, time.Hour})
	one, two, three := c.Begin("a"), c.Begin("a"), c.Begin("a")
	c.End("a", one, "new", "2")
	c.End("a", two, "old", "1")
	require.Nil(t, kept(c, "a"))
	c.End("a", three, "old", "1")
	require.Nil(t, kept(c, "a"))
	require.Empty(t, c.reads)

	void := c.Begin("b")
	c.Drop("b")
	next := c.Begin("b")
	c.End("b", void, "new", "2")
	c.End("b", next, "old", "1")
	require.Nil(t, kept(c, "b"), "also where one of them is void")
	c.End("b", c.Begin("b"), "new", "2")
	require.Equal(t, "new", kept(c, "b"))
}

func TestCache_IsBounded(t *testing.T) {
	c := lone(CacheOptions{100, time.Hour})
	hot := func() { require.Equal(t, "hot", kept(c, "hot")) }
	c.End("hot", c.Begin("hot"), "hot", "1")
	for i := range 1000 {
		key := fmt.Sprint(i)
		c.End(key, c.Begin(key), i, "1")
		hot() // what is used stays
	}
	require.Len(t, c.entries, 100)
	for i := range 1000 {
		key := fmt.Sprint("none", i)
		c.End(key, c.Begin(key), nil, "")
	}
	require.Len(t, c.entries, 100, "what is not there pushes nothing out")
}

func TestCache_MaxStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lone(CacheOptions{10, time.Minute})
		read := c.Begin("a")
		time.Sleep(10 * time.Second)
		c.End("a", read, 1, "1")
		time.Sleep(50*time.Second - time.Nanosecond)
		require.Equal(t, 1, kept(c, "a"))
		time.Sleep(time.Nanosecond)
		require.Nil(t, kept(c, "a"), "counted from the beginning of the read")

		forever := lone(CacheOptions{10, 1<<63 - 1})
		forever.End("a", forever.Begin("a"), 1, "1")
		time.Sleep(time.Hour)
		require.Equal(t, 1, kept(forever, "a"))
	})
}

// cached returns a Client with a cache, by way of the proxy, and one without.
func cached(t *testing.T, server *redistest.Server, address string) (near, far *Client) {
	near = opened(t, address, Settings{Cache: CacheOptions{MaxEntries: 100, MaxStaleness: time.Hour}})
	return near, opened(t, server.URL(), Settings{})
}

// look reads by way of the cache, and reports whether it was the cache that answered.
func look(t *testing.T, c *Client, key string) (data string, near bool) {
	if v, ok := c.Cache().Get(prefix + key); ok {
		return string(v.(Value).Data()), true
	}
	read := c.Cache().Begin(prefix + key)
	v, err := c.Get(t.Context(), prefix+key)
	if err != nil {
		c.Cache().End(prefix+key, read, nil, "")
		return err.Error(), false
	}
	c.Cache().End(prefix+key, read, v, revisionOf(v))
	return string(v.Data()), false
}

func warm(t *testing.T, c *Client, key string) {
	t.Helper()
	require.Eventually(t, func() bool { _, near := look(t, c, key); return near }, 10*time.Second, time.Millisecond)
}

func (c *Cache) isAlive() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.alive
}

func TestCache_TheServerTellsOfWrites(t *testing.T) {
	server := redistest.Start(t)
	near, far := cached(t, server, server.URL())
	for i, write := range []func(){
		func() { swapped(t, far, next("s0", "1", "2", "b")) },
		func() { _, _ = far.End(t.Context(), first("s1", "2", "b").final(time.Minute)) },
		func() { server.MustDo("DEL", prefix+"s2") },
		func() { server.MustDo("PEXPIRE", prefix+"s3", "1") },
		func() { server.MustDo("FLUSHALL") },
	} {
		key := fmt.Sprint("s", i)
		swapped(t, far, first(key, "1", "a"))
		warm(t, near, key)
		write()
		require.Eventually(t, func() bool { data, _ := look(t, near, key); return data != "a" }, 5*time.Second, time.Millisecond, i)
	}
}

// A read costs no round trip from the first one after Open on.
func TestCache_IsThereAtOnce(t *testing.T) {
	server := redistest.Start(t)
	swapped(t, opened(t, server.URL(), Settings{}), first("s", "1", "a")) // no notice of it is on its way to near
	near, _ := cached(t, server, server.URL())
	_, _ = look(t, near, "s")
	server.MustDo("CONFIG", "RESETSTAT")
	for range 1000 {
		_, ok := look(t, near, "s")
		require.True(t, ok)
	}
	require.NotContains(t, server.MustDo("INFO", "commandstats"), "cmdstat_get:")
}

// Whatever happens to the connection that the server tells of writes on: nothing is served from then on, and the cache comes
// back when the server does.
func TestCache_IsEmptyWhileItHearsNothing(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server, *redistest.Proxy){
		"the connection is cut":       func(s *redistest.Server, _ *redistest.Proxy) { s.MustDo("CLIENT", "KILL", "TYPE", "pubsub") },
		"the connection is dead":      func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Mute) },
		"the server is started again": func(s *redistest.Server, _ *redistest.Proxy) { s.Restart() },
		"the server is not reached":   func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Refuse) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server)
			near, far := cached(t, server, proxy.URL())
			swapped(t, far, first("s", "1", "a"))
			warm(t, near, "s")
			lose(server, proxy)
			require.Eventually(t, func() bool { return kept(near.Cache(), prefix+"s") == nil }, 5*time.Second, time.Millisecond)
			proxy.Set(redistest.Pass)
			require.Eventually(t, near.Cache().isAlive, 10*time.Second, time.Millisecond)
			_, _ = far.Swap(t.Context(), first("t", "1", "a"))
			warm(t, near, "t")
			swapped(t, far, next("t", "1", "2", "b"))
			require.Eventually(t, func() bool { data, _ := look(t, near, "t"); return data == "b" }, 5*time.Second, time.Millisecond)
		})
	}
}

// Notices name keys of any database.
func TestCache_OtherDatabases(t *testing.T) {
	server := redistest.Start(t)
	address, err := url.Parse(server.URL())
	require.NoError(t, err)
	address.Path = "/3"
	near, far := opened(t, address.String(), Settings{Cache: CacheOptions{10, time.Hour}}), opened(t, address.String(), Settings{})
	swapped(t, far, first("s", "1", "a"))
	warm(t, near, "s")
	swapped(t, far, next("s", "1", "2", "b"))
	require.Eventually(t, func() bool { data, _ := look(t, near, "s"); return data == "b" }, 5*time.Second, time.Millisecond)
}

func TestCache_CloseEndsItsGoroutine(t *testing.T) {
	for name, before := range map[string]func(*redistest.Proxy){
		"while it listens":  func(*redistest.Proxy) {},
		"while it connects": func(p *redistest.Proxy) { p.Set(redistest.Hang); p.Cut() },
	} {
		proxy := redistest.NewProxy(t, redistest.Start(t))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		c, err := Open(ctx, proxy.URL(), Settings{Prefix: prefix, Cache: CacheOptions{10, time.Hour}})
		cancel()
		require.NoError(t, err)
		before(proxy)
		begun := time.Now()
		require.NoError(t, c.Close(), name)
		require.Less(t, time.Since(begun), 5*time.Second, name)
		require.False(t, c.cache.isAlive())
	}
}
