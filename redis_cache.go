package session

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// NearCache keeps the sessions that this process reads in its memory too, by go-redis's client-side caching (RESP3
// tracking), which is experimental there: a read then costs no round trip. It needs one standalone server of Redis 6 or
// later, database 0, and OpenRedisStore.
//
// What it means: a process never reads what it wrote or ended itself from the cache. What another process wrote or
// ended it sees when the server's invalidation arrives, within milliseconds, and no later than MaxStaleness. A session
// ended elsewhere, by logout or revocation, can be read until then; it can't be changed or brought back, since changes
// go to the server.
type NearCache struct {
	MaxEntries   int           // sessions kept, each as Redis sent it and as it was read; must be set
	MaxStaleness time.Duration // the longest a session is served from the cache after it was read; must be set
}

func (n NearCache) fault(several bool) error {
	switch {
	case several:
		return errors.New("session: RedisOptions.NearCache works with one standalone server only")
	case n.MaxEntries <= 0:
		return errors.New("session: NearCache.MaxEntries must be positive: it bounds the memory")
	case n.MaxStaleness <= 0:
		return errors.New("session: NearCache.MaxStaleness must be positive: it bounds how long a session that was revoked elsewhere can be read")
	}
	return nil
}

// open sets the client's options up for the cache, if there is to be one.
func (n NearCache) open(o *redis.Options, prefix string) *nearCache {
	if n == (NearCache{}) {
		return nil
	}
	cache := n.newCache(prefix)
	o.Protocol = 3
	o.ClientSideCache = cache
	return cache
}

func (n NearCache) newCache(prefix string) *nearCache {
	return &nearCache{
		LocalCache: redis.NewLocalCache(redis.CacheConfig{MaxEntries: n.MaxEntries, MaxStaleness: n.MaxStaleness}),
		prefix:     prefix,
		read:       make(map[string]readReply),
		most:       n.MaxEntries,
	}
}

// nearCache is the client's cache, with a way to evict what this process wrote, and the records that its replies were
// read as. Evicting also voids a read that is under way, so that what it brings can't be the old value.
//
// Whether there is a reply, and which, the client's cache alone decides; a record kept here only saves reading the same
// reply again.
type nearCache struct {
	*redis.LocalCache
	prefix string
	naming atomic.Pointer[cacheNaming] // seen when the client first caches a session

	mu   sync.RWMutex
	read map[string]readReply // by session id
	most int                  // entries of read
}

// readReply is a reply and the record that it is.
type readReply struct {
	reply  []byte
	record *Record
}

// cacheNaming is how the client names things in its cache, which is not documented: if it is not as expected, no records
// are kept, and each write drops the whole cache.
type cacheNaming struct {
	namespace     string // in front of keys
	before, after string // around the key, in the name of a reply
}

// newCacheNaming finds out how the client names things: the name of a reply and that of its key begin with the same
// namespace. It returns nil if they are not as expected.
func newCacheNaming(cacheKey, redisKey, prefix string) *cacheNaming {
	common := 0
	for common < min(len(cacheKey), len(redisKey)) && cacheKey[common] == redisKey[common] {
		common++
	}
	namespace, key := redisKey[:common], redisKey[common:]
	before, after, found := strings.Cut(cacheKey[common:], key)
	if !found || !strings.HasPrefix(key, prefix) {
		return nil
	}
	return &cacheNaming{namespace, namespace + before, after}
}

// Reserve implements redis.Cache.
func (c *nearCache) Reserve(cacheKey string, redisKeys []string) (uint64, bool) {
	if c.naming.Load() == nil && len(redisKeys) == 1 {
		c.naming.Store(newCacheNaming(cacheKey, redisKeys[0], c.prefix))
	}
	return c.LocalCache.Reserve(cacheKey, redisKeys)
}

// Get implements redis.Cache.
func (c *nearCache) Get(ctx context.Context, cacheKey string) ([]byte, bool) {
	reply, ok := c.LocalCache.Get(ctx, cacheKey)
	if asked, is := ctx.Value(cacheReadKey{}).(*cacheRead); is && ok {
		asked.reply = reply
	}
	return reply, ok
}

// cacheRead is the context of one read, in which it shows which reply of the cache it was answered with, if any.
type cacheRead struct {
	context.Context
	reply []byte
}

type cacheReadKey struct{}

// Value implements context.Context.
func (r *cacheRead) Value(key any) any {
	if _, ok := key.(cacheReadKey); ok {
		return r
	}
	return r.Context.Value(key)
}

// load returns the session by way of the cache. Fetch asks the client for it.
func (c *nearCache) load(ctx context.Context, id string, fetch func(context.Context, string) (*Record, error)) (*Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r := c.known(ctx, id); r != nil {
		return r, nil
	}
	asked := &cacheRead{Context: ctx}
	r, err := fetch(asked, id)
	if err == nil && asked.reply != nil && c.naming.Load() != nil {
		c.remember(id, readReply{asked.reply, r})
	}
	return r, err
}

// known returns the record of the reply in the cache, or nil if there is none or it has not been read yet.
func (c *nearCache) known(ctx context.Context, id string) *Record {
	c.mu.RLock()
	known, ok := c.read[id]
	c.mu.RUnlock()
	if !ok {
		return nil
	}
	naming := c.naming.Load() // there is one: nothing is remembered before something is cached, nor if names are not as expected
	reply, ok := c.LocalCache.Get(ctx, naming.before+c.prefix+id+naming.after)
	if !ok || !bytes.Equal(reply, known.reply) {
		c.forget(id)
		return nil
	}
	return known.record
}

// remember keeps a record, in place of any other if there is no more room.
func (c *nearCache) remember(id string, read readReply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.read[id]; !ok && len(c.read) >= c.most {
		for other := range c.read {
			delete(c.read, other)
			break
		}
	}
	c.read[id] = read
}

// wrote drops the sessions from the cache. It is called when a change has been answered, whatever the answer, or given up.
func (c *nearCache) wrote(ids ...string) {
	naming := c.naming.Load()
	if naming == nil { // nothing has been cached yet, or it can't be told what it is called
		c.Flush()
		return
	}
	for _, id := range ids {
		if id != "" {
			c.DeleteByRedisKey(naming.namespace + c.prefix + id)
			c.forget(id)
		}
	}
}

func (c *nearCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.read, id)
}

var _ redis.Cache = (*nearCache)(nil)
