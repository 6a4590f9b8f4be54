package redisclient

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// CacheOptions are the limits of a Cache.
type CacheOptions struct {
	MaxEntries   int
	MaxStaleness time.Duration
}

// Cache keeps objects that were made from the values of one server. The server reports each write to a key with the
// prefix (CLIENT TRACKING in broadcasting mode), on a connection that is used for nothing else. While that connection
// is not known to be alive, the cache is empty and takes nothing.
type Cache struct {
	options CacheOptions

	mu      sync.RWMutex
	alive   bool
	entries map[string]*entry
	reads   map[string]*Read // reads under way, by key; the value of a read that is not here any more must not be kept

	client  *redis.Client // for the notices only
	notices subscription
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

type entry struct {
	value    any
	revision string
	read     time.Duration // when it was read, since cacheEpoch
	used     atomic.Int64  // when it was used last, since cacheEpoch
}

// Read is a read that is under way. A write to its key meanwhile voids it.
type Read struct {
	readers  int
	begun    time.Duration // when the first of them began, since cacheEpoch
	isFound  bool          // one of them, or a void read that ended meanwhile, has found this revision:
	revision string
}

const (
	invalidations = "__redis__:invalidate" // a RESP2 connection gets its notices on this channel
	evictionTries = 8                      // how many entries are compared; the one that was not used for the longest time is dropped
)

var cacheEpoch = time.Now()

func newCache(client *redis.Client, prefix string, options CacheOptions) *Cache {
	o := *client.Options()
	o.Protocol, o.DB = 2, 0 // notices name keys of any database
	o.PoolSize, o.MinIdleConns = 1, 0
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		id, err := conn.ClientID(ctx).Result()
		if err != nil {
			return err
		}
		return conn.Do(ctx, "client", "tracking", "on", "redirect", id, "bcast", "prefix", prefix).Err()
	}
	c := &Cache{options: options}
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c.empty(false) // also if the client connects again by itself, because then it has lost its connection
		return dial(ctx, network, addr)
	}
	c.empty(false)
	c.client = redis.NewClient(&o)
	c.notices = subscription{
		client: c.client, channel: invalidations, beat: time.Second,
		began:   func() { c.empty(true) }, // the server reports each write from now on
		message: func(m *redis.Message) { c.Drop(m.PayloadSlice...) },
		lost:    func(error) { c.empty(false) },
	}
	return c
}

// Get returns what is kept for key.
func (c *Cache) Get(key string) (any, bool) {
	c.mu.RLock()
	e, ok := c.entries[key]
	c.mu.RUnlock()
	if !ok {
		return nil, false
	}
	now := time.Since(cacheEpoch)
	if now-e.read >= c.options.MaxStaleness {
		return nil, false
	}
	e.used.Store(int64(now))
	return e.value, true
}

// Begin is called before key is read from the server, and End, with what it returns, afterwards.
func (c *Cache) Begin(key string) *Read {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.alive {
		return nil
	}
	read, ok := c.reads[key]
	if !ok {
		read = &Read{begun: time.Since(cacheEpoch)}
		c.reads[key] = read
	}
	read.readers++
	return read
}

// End keeps the value that was read, unless it is nil or the key was written meanwhile. If reads at the same time found
// different revisions, nobody knows which one is newer, so none is kept: a reader that has seen the newer one must not
// see the older one later.
func (c *Cache) End(key string, read *Read, value any, revision string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	underWay := c.reads[key]
	isThis := read != nil && underWay == read
	if isThis {
		if read.readers--; read.readers == 0 {
			delete(c.reads, key)
		}
	}
	if value == nil {
		return
	}
	before, ok := c.entries[key]
	if ok && before.revision != revision || underWay != nil && !underWay.found(revision) {
		delete(c.entries, key)
		delete(c.reads, key)
		return
	}
	if !isThis {
		return
	}
	if !ok && len(c.entries) >= c.options.MaxEntries {
		c.evict()
	}
	e := &entry{value: value, revision: revision, read: read.begun}
	e.used.Store(int64(read.begun))
	c.entries[key] = e
}

// found notes the revision that a read at this time found, and reports whether all found the same.
func (r *Read) found(revision string) bool {
	if !r.isFound {
		r.isFound, r.revision = true, revision
	}
	return r.revision == revision
}

// evict looks at a few entries, in the random order of a map, and drops the one that was not used for the longest time.
func (c *Cache) evict() {
	oldest, used, tries := "", int64(0), 0
	for key, e := range c.entries {
		if at := e.used.Load(); tries == 0 || at < used {
			oldest, used = key, at
		}
		if tries++; tries == evictionTries {
			break
		}
	}
	delete(c.entries, oldest)
}

// Drop forgets keys that were written, or may have been, and voids reads of them that are under way.
func (c *Cache) Drop(keys ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		delete(c.entries, key)
		delete(c.reads, key)
	}
}

// empty drops all entries. Alive says whether values may be kept from now on.
func (c *Cache) empty(alive bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive, c.entries, c.reads = alive, make(map[string]*entry), make(map[string]*Read)
}

// start subscribes, and keeps the subscription up until close.
func (c *Cache) start(ctx context.Context) error {
	connection, err := c.notices.open(ctx)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.ended.Go(func() { c.notices.keep(running, connection) })
	return nil
}

func (c *Cache) close() error {
	if c.cancel != nil {
		c.cancel()
	}
	c.ended.Wait()
	return c.client.Close()
}
