package redisclient

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// scanAtOnce is how many keys a server looks at for each call. It is small, because all other clients wait meanwhile.
const scanAtOnce = 500

// Scan returns the keys that begin with prefix, and the first size bytes of their values, of all servers. A key may
// come twice. A key that exists during the whole scan is not left out, as long as no other server takes the place of
// its server. Scan does not use the cache.
func (c *Client) Scan(ctx context.Context, prefix string, size int) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		servers, err := c.servers(ctx)
		if err != nil {
			yield(Listed{}, c.explain(err))
			return
		}
		for _, server := range servers {
			if !c.scanServer(ctx, server, prefix, size, yield) {
				return
			}
		}
	}
}

// servers returns the clients of the masters that have the keys.
func (c *Client) servers(ctx context.Context) ([]redis.UniversalClient, error) {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		return []redis.UniversalClient{c.redis}, nil
	}
	var mu sync.Mutex
	var all []redis.UniversalClient
	err := cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, master)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = errors.New("session: the Redis cluster has no masters")
	}
	return all, err
}

// scanServer yields the keys of one server, and reports whether to go on.
func (c *Client) scanServer(
	ctx context.Context, server redis.UniversalClient, prefix string, size int, yield func(Listed, error) bool,
) bool {
	for cursor := uint64(0); ; {
		keys, next, err := server.Scan(ctx, cursor, patternEscapes.Replace(prefix)+"*", scanAtOnce).Result()
		if err != nil {
			yield(Listed{}, fmt.Errorf("going through the keys: %w", c.explain(err)))
			return false
		}
		heads, err := c.read(ctx, keys, size)
		if err != nil {
			yield(Listed{}, err)
			return false
		}
		for i, key := range keys {
			if !yield(Listed{strings.TrimPrefix(key, prefix), heads[i]}, nil) {
				return false
			}
		}
		if cursor = next; cursor == 0 {
			return true
		}
	}
}

// patternEscapes escapes the characters that have a meaning in a pattern of Redis.
var patternEscapes = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
