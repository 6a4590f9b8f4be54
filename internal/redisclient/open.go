package redisclient

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// The recommended client settings. With them each wait fits into the default Config.StoreTimeout of a second, which the
// context's deadline enforces in any case. A server that comes back is found within a second. The parameters of a URL
// override these settings.
const (
	dialTimeout  = 500 * time.Millisecond
	readTimeout  = time.Second
	poolTimeout  = time.Second
	maxRetries   = 2
	minBackoff   = 10 * time.Millisecond
	maxBackoff   = 100 * time.Millisecond
	dialAttempts = 1
	idleTime     = 5 * time.Minute
)

// Settings are what Open needs beside a URL.
type Settings struct {
	Prefix      string       // all keys begin with it
	Replicas    int          // as in New
	Cache       CacheOptions // zero for none
	TLS         *tls.Config
	Credentials func(context.Context) (user, password string, err error)
}

// Open returns a Client with the recommended settings. First it checks that the server can do all that the Client will
// need. While the server can't be reached, it tries again until ctx ends.
func Open(ctx context.Context, address string, s Settings) (*Client, error) {
	client, err := openClient(address, s)
	if err != nil {
		return nil, err
	}
	c, err := New(client, s.Replicas)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	c.owned = true
	if s.Cache != (CacheOptions{}) {
		c.cache = newCache(client.(*redis.Client), s.Prefix, s.Cache) // openClient refuses a cache with any other client
	}
	if err := c.awaitServer(ctx, s.Prefix); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.warnOfEviction(ctx)
	return c, nil
}

// openClient makes the client. It hides errors of the parsers, because they show parts of the URL, which may have a
// password.
func openClient(address string, s Settings) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errBadURL
	}
	rest := u.EscapedPath() + u.RawQuery
	if strings.Contains(rest, "@") || strings.Contains(address, "#") {
		return nil, errBadURL // the parser would take a part of the password for something else
	}
	if s.TLS != nil && u.Scheme != "rediss" {
		return nil, errors.New("session: RedisOptions.TLS is set, but the Redis URL does not begin with rediss://")
	}
	sentinel, cluster := u.Query().Has("master_name"), u.Query().Has("addr")
	if s.Cache != (CacheOptions{}) && (sentinel || cluster) {
		return nil, errors.New("session: RedisOptions.NearCache works with one standalone server only")
	}
	switch {
	case sentinel:
		return openFailover(address, s)
	case cluster:
		return openCluster(address, s)
	}
	return openStandalone(address, s)
}

var errBadURL = errors.New("session: the Redis URL can't be parsed; it looks like redis://user:password@localhost:6379/0, " +
	"begins with redis://, rediss:// or unix://, and has parameters that go-redis knows; in a user's name and a password, " +
	"/ ? # and @ are written %2F %3F %23 and %40")

func openStandalone(address string, s Settings) (redis.UniversalClient, error) {
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, errBadURL
	}
	o.ContextTimeoutEnabled = true
	recommend(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	retry(&o.MinRetryBackoff, &o.MaxRetryBackoff, &o.ConnMaxIdleTime, &o.DialerRetries)
	o.MaxRetries = cmp.Or(o.MaxRetries, maxRetries)
	o.MaintNotificationsConfig, o.DisableIdentity = noMaintenance(), true
	o.TLSConfig, o.CredentialsProviderContext = s.tls(o.TLSConfig), s.Credentials
	return redis.NewClient(o), nil
}

func openCluster(address string, s Settings) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(address)
	if err != nil {
		return nil, errBadURL
	}
	o.ContextTimeoutEnabled = true
	recommend(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	retry(&o.MinRetryBackoff, &o.MaxRetryBackoff, &o.ConnMaxIdleTime, &o.DialerRetries)
	o.MaintNotificationsConfig, o.DisableIdentity = noMaintenance(), true
	o.DisableRoutingPolicies = true // they would wait for a stalled node longer than the context allows
	o.TLSConfig, o.CredentialsProviderContext = s.tls(o.TLSConfig), s.Credentials
	return redis.NewClusterClient(o), nil
}

func openFailover(address string, s Settings) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(address)
	if err != nil {
		return nil, errBadURL
	}
	o.ContextTimeoutEnabled = true
	recommend(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	retry(&o.MinRetryBackoff, &o.MaxRetryBackoff, &o.ConnMaxIdleTime, &o.DialerRetries)
	o.MaxRetries, o.DisableIdentity = cmp.Or(o.MaxRetries, maxRetries), true
	o.TLSConfig, o.CredentialsProviderContext = s.tls(o.TLSConfig), s.Credentials
	return redis.NewFailoverClient(o), nil
}

// tls returns the configuration to use. Parsed is the one for the URL, or nil.
func (s Settings) tls(parsed *tls.Config) *tls.Config {
	if s.TLS == nil || parsed == nil {
		return parsed
	}
	config := s.TLS.Clone()
	config.ServerName = cmp.Or(config.ServerName, parsed.ServerName)
	config.MinVersion = cmp.Or(config.MinVersion, tls.VersionTLS12)
	return config
}

// recommend fills in the timeouts that the URL does not set.
func recommend(dial, read, write, pool *time.Duration) {
	*dial = cmp.Or(*dial, dialTimeout)
	*read = cmp.Or(*read, readTimeout)
	*write = cmp.Or(*write, readTimeout)
	*pool = cmp.Or(*pool, poolTimeout)
}

// retry fills in the settings for new tries that the URL does not set.
func retry(least, most, idle *time.Duration, dials *int) {
	*least = cmp.Or(*least, minBackoff)
	*most = cmp.Or(*most, maxBackoff)
	*idle = cmp.Or(*idle, idleTime)
	*dials = cmp.Or(*dials, dialAttempts)
}

// noMaintenance turns off the maintenance notices of a hosted Redis. They cost a round trip on each new connection,
// like the client's identity.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

const (
	attemptTimeout = 5 * time.Second // for one check of the server
	maxOpenPause   = time.Second     // between two checks
)

// awaitServer tries until the server can do all that is needed. It gives up at once if waiting does not help.
func (c *Client) awaitServer(ctx context.Context, prefix string) error {
	var last error
	for pause := minBackoff; ; pause = min(2*pause, maxOpenPause) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := c.checkServer(attempt, prefix)
		cancel()
		switch {
		case err == nil:
			return nil
		case isLasting(err):
			return sayWho(err)
		case last == nil || ctx.Err() == nil: // an error because ctx has ended says less
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("session: Redis does not answer: %w (%w)", last, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// sayWho puts in front of a server's error that it comes from Redis.
func sayWho(err error) error {
	if strings.HasPrefix(err.Error(), "session: ") {
		return err
	}
	return fmt.Errorf("session: Redis can't be used: %w", err)
}

// isLasting reports whether trying again does not help.
func isLasting(err error) bool {
	return isTLSRefusal(err) || errors.Is(err, errMissingRights) || isAnswer(err)
}

// isTLSRefusal reports whether one side did not accept the other's certificate.
func isTLSRefusal(err error) bool {
	var certificate *tls.CertificateVerificationError
	var alert *net.OpError
	return errors.As(err, &certificate) || errors.As(err, &alert) && alert.Op == "remote error"
}

// checkServer returns the error that the first session would meet.
func (c *Client) checkServer(ctx context.Context, prefix string) error {
	if err := c.checkRights(ctx, prefix); err != nil {
		return err
	}
	if err := c.loadScripts(ctx); err != nil {
		return c.explain(err)
	}
	if err := c.tryScripts(ctx, prefix); err != nil || c.cache == nil {
		return err
	}
	return c.explain(c.cache.start(ctx))
}

// probe returns keys that nothing else uses. Values there last for probeLife.
func probe(prefix string) (value, list string) {
	name := prefix + "probe:" + rand.Text()
	return name, name + ":list"
}

const probeLife = time.Second

var errMissingRights = errors.New("session: the Redis user lacks rights")

// checkRights tries each command alone, so that the error can name all missing rights.
func (c *Client) checkRights(ctx context.Context, prefix string) error {
	value, list := probe(prefix)
	life := probeLife.Milliseconds()
	replies, _ := c.redis.Pipelined(ctx, func(p redis.Pipeliner) error { // each reply has its own error
		for _, args := range [][]any{
			{"get", value}, {"getrange", value, 0, 0}, {"set", value, "", "px", life},
			{"pttl", list}, {"pexpire", list, life}, {"zadd", list, "xx", 1, "probe"}, {"zscore", list, "probe"},
			{"zrange", list, 0, -1}, {"zremrangebyscore", list, "-inf", 1},
			{"time"}, {"eval", "return 1", 1, value}, {"evalsha", strings.Repeat("0", 40), 1, value}, {"script", "load", "return 1"},
		} {
			p.Do(ctx, args...)
		}
		return nil
	})
	if c.replicas > 0 { // WAIT has no key, so a cluster's client might ask a replica, which refuses
		master, err := c.master(ctx, value)
		if err != nil {
			return c.explain(err)
		}
		replies = append(replies, master.Do(ctx, "wait", 0, 1))
	}
	missing, forbidden, other := "", error(nil), error(nil)
	for _, reply := range replies {
		switch err := reply.Err(); {
		case isForbidden(err):
			missing, forbidden = missing+" +"+reply.Name(), err
		case errors.Is(err, redis.Nil), redis.HasErrorPrefix(err, "NOSCRIPT"), other != nil:
		case err != nil:
			other = err
		}
	}
	if forbidden != nil {
		return fmt.Errorf("%w:%s, for keys that begin with %q: %w", errMissingRights, missing, prefix, forbidden)
	}
	return c.explain(other)
}

// tryScripts stores values, ends one, and reads the list that it is in. It does not wait for replicas, because they may
// still be starting.
func (c *Client) tryScripts(ctx context.Context, prefix string) error {
	unawaited := &Client{redis: c.redis}
	value, list := probe(prefix)
	first := Swap{Key: value, Fresh: true, New: probeValue("1", false), Life: probeLife, List: list, Member: "1"}
	second := Swap{Key: value + ":second", Fresh: true, New: probeValue("1", false), Life: probeLife}
	if _, err := unawaited.Swap(ctx, first, second); err != nil {
		return err
	}
	if _, err := unawaited.Swap(ctx, second); err != nil {
		return err
	}
	first.New = probeValue("2", true)
	if _, err := unawaited.End(ctx, first); err != nil {
		return err
	}
	_, err := unawaited.List(ctx, list, prefix, 1)
	return err
}

func probeValue(revision string, final bool) Value {
	v, _ := NewValue(revision, final, 0) // fails only for a long revision
	return v
}

var forbiddenText = regexp.MustCompile(`^NOPERM|has no permissions|The user executing the script can't|ACL failure in script`)

// isForbidden reports whether err says that the Redis user lacks a right, in a script or outside.
func isForbidden(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && forbiddenText.MatchString(answer.Error())
}

var errClusterNode = errors.New("session: the Redis server is a node of a cluster; name a second one in the URL " +
	"(?addr=host:port), or use a redis.ClusterClient")

// isOfCluster reports whether only a node of a cluster returns such an error.
func isOfCluster(err error) bool {
	return redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "CROSSSLOT") ||
		redis.HasErrorPrefix(err, "ASK") || redis.HasErrorPrefix(err, "CLUSTERDOWN")
}

// warnOfEviction logs a warning if the server may evict sessions. Without the right to ask it logs nothing.
func (c *Client) warnOfEviction(ctx context.Context) {
	servers, _ := c.servers(ctx)
	for _, server := range servers {
		info, _ := server.Info(ctx, "memory").Result()
		_, policy, found := strings.Cut(info, "maxmemory_policy:")
		policy, _, _ = strings.Cut(policy, "\r")
		if found && policy != "noeviction" {
			slog.WarnContext(ctx, "session: Redis may evict sessions, and the lists by which a user's sessions are revoked; "+
				"set maxmemory-policy to noeviction", "policy", policy)
		}
	}
}
