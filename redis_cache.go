package session

import (
	"errors"
	"strings"
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
	MaxEntries   int           // sessions kept; must be set
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
	cache := &nearCache{prefix: prefix, LocalCache: redis.NewLocalCache(redis.CacheConfig{MaxEntries: n.MaxEntries, MaxStaleness: n.MaxStaleness})}
	o.Protocol = 3
	o.ClientSideCache = cache
	return cache
}

// nearCache is the client's cache, with a way to evict what this process wrote. Evicting also voids a read that is under
// way, so that what it brings can't be the old value.
type nearCache struct {
	*redis.LocalCache
	namespace atomic.Pointer[string] // what the client puts in front of keys, seen when it first caches one
	prefix    string
}

// Reserve implements redis.Cache.
func (c *nearCache) Reserve(cacheKey string, redisKeys []string) (uint64, bool) {
	if c.namespace.Load() == nil && len(redisKeys) == 1 {
		if namespace, _, found := strings.Cut(redisKeys[0], c.prefix); found {
			c.namespace.Store(&namespace)
		}
	}
	return c.LocalCache.Reserve(cacheKey, redisKeys)
}

// wrote drops the sessions from the cache. It is called when a change has been answered, whatever the answer.
func (c *nearCache) wrote(ids ...string) {
	namespace := c.namespace.Load()
	if namespace == nil {
		return // nothing was ever cached
	}
	for _, id := range ids {
		if id != "" {
			c.DeleteByRedisKey(*namespace + c.prefix + id)
		}
	}
}

var _ redis.Cache = (*nearCache)(nil)
