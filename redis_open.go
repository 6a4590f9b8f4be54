package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// The recommended client settings: every wait fits into the default Config.StoreTimeout of a second, which the context's
// deadline enforces in any case, and a server that comes back is found within a second. What a URL says goes first.
const (
	redisDialTimeout  = 500 * time.Millisecond
	redisReadTimeout  = time.Second
	redisPoolTimeout  = time.Second
	redisMaxRetries   = 2
	redisMinBackoff   = 10 * time.Millisecond
	redisMaxBackoff   = 100 * time.Millisecond
	redisDialAttempts = 1
	redisIdleTime     = 5 * time.Minute
)

// OpenRedisStore returns a store on a client of its own, with the recommended settings; Close closes it. The URL is what
// redis.ParseURL takes: redis://user:password@host:6379/0, rediss:// for TLS, unix://. With the parameter addr for
// further nodes it is a cluster (redis.ParseClusterURL), and with master_name the sentinels of a master
// (redis.ParseFailoverURL). It asks the server for a sign of life, within the context's time.
//
// On one server, sentinels included, what requests ask at the same time goes there together, which costs both sides a
// fraction; each request still waits no longer than its own time.
func OpenRedisStore(ctx context.Context, url string, opts RedisOptions) (*RedisStore, error) {
	client, cache, err := openRedis(url, opts)
	if err != nil {
		return nil, err
	}
	s := NewRedisStore(client, opts)
	s.owned, s.cache = true, cache
	if err := s.Check(); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("session: Redis does not answer: %w", err), client.Close())
	}
	if s.standalone() {
		s.batches = &batcher{client: client}
	}
	return s, nil
}

func openRedis(address string, opts RedisOptions) (redis.UniversalClient, *nearCache, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, nil, errors.New("session: the Redis URL can't be parsed; it looks like redis://localhost:6379/0") // no password in errors
	}
	several := u.Query().Has("addr") || u.Query().Has("master_name")
	if opts.NearCache != (NearCache{}) {
		if err := opts.NearCache.fault(several); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case u.Query().Has("master_name"):
		client, err := openFailover(address)
		return client, nil, err
	case several:
		client, err := openCluster(address)
		return client, nil, err
	}
	return openStandalone(address, opts)
}

func openStandalone(address string, opts RedisOptions) (redis.UniversalClient, *nearCache, error) {
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, nil, fmt.Errorf("session: the Redis URL: %w", err)
	}
	o.ContextTimeoutEnabled = true
	recommend(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	retry(&o.MinRetryBackoff, &o.MaxRetryBackoff, &o.ConnMaxIdleTime, &o.DialerRetries)
	o.MaxRetries = cmp.Or(o.MaxRetries, redisMaxRetries)
	o.MaintNotificationsConfig, o.DisableIdentity = noMaintenance(), true
	if o.DB != 0 && opts.NearCache != (NearCache{}) {
		return nil, nil, fmt.Errorf("session: RedisOptions.NearCache works with database 0 only, and the Redis URL names %d", o.DB)
	}
	cache := opts.NearCache.open(o, cmp.Or(opts.Prefix, defaultPrefix))
	return redis.NewClient(o), cache, nil
}

func openCluster(address string) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(address)
	if err != nil {
		return nil, fmt.Errorf("session: the Redis URL: %w", err)
	}
	o.ContextTimeoutEnabled = true
	recommend(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	retry(&o.MinRetryBackoff, &o.MaxRetryBackoff, &o.ConnMaxIdleTime, &o.DialerRetries)
	o.MaintNotificationsConfig, o.DisableIdentity = noMaintenance(), true
	o.DisableRoutingPolicies = true // which would wait for a stalled node longer than the context allows
	return redis.NewClusterClient(o), nil
}

func openFailover(address string) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(address)
	if err != nil {
		return nil, fmt.Errorf("session: the Redis URL: %w", err)
	}
	o.ContextTimeoutEnabled = true
	recommend(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	retry(&o.MinRetryBackoff, &o.MaxRetryBackoff, &o.ConnMaxIdleTime, &o.DialerRetries)
	o.MaxRetries, o.DisableIdentity = cmp.Or(o.MaxRetries, redisMaxRetries), true
	return redis.NewFailoverClient(o), nil
}

// recommend fills in the timeouts that the URL does not set.
func recommend(dial, read, write, pool *time.Duration) {
	*dial = cmp.Or(*dial, redisDialTimeout)
	*read = cmp.Or(*read, redisReadTimeout)
	*write = cmp.Or(*write, redisReadTimeout)
	*pool = cmp.Or(*pool, redisPoolTimeout)
}

// retry fills in how the client tries again, as far as the URL does not say.
func retry(minBackoff, maxBackoff, idle *time.Duration, dials *int) {
	*minBackoff = cmp.Or(*minBackoff, redisMinBackoff)
	*maxBackoff = cmp.Or(*maxBackoff, redisMaxBackoff)
	*idle = cmp.Or(*idle, redisIdleTime)
	*dials = cmp.Or(*dials, redisDialAttempts)
}

// noMaintenance turns off notices of a hosted Redis's maintenance, which cost a round trip on each new connection, as the
// client's identity does.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
