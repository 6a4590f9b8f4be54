package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doorman-go/session/internal/redisclient"
	"github.com/redis/go-redis/v9"
)

// RedisStore keeps sessions in Redis 6.2 or later, or in Valkey: on one server, with Sentinel, or in a cluster. It
// lists sessions by user, and ends a session in one step. Redis sees only the hash of a token.
//
// On one server and with Sentinel it makes several swaps all or none. In a cluster the keys are on different servers,
// and it makes the swaps one by one. Redis replicates asynchronously: a failover can lose the last writes, and a logout
// may be among them. RedisOptions.WaitReplicas makes that less likely.
//
// The command that ends a session also publishes its key on the channel PREFIXended, for Session.Watch.
//
// A Redis user for sessions needs these rights on the keys that begin with RedisOptions.Prefix:
//
//   - always: +get +getrange +set +pttl +pexpire +zadd +zscore +zrange +zremrangebyscore +time +eval +evalsha
//     +script|load
//   - for WaitReplicas: +wait
//   - for Manager.Each and RevokeAll: +scan
//   - for Session.Watch to end at once, and not within 30 seconds: +subscribe +publish and the channel &PREFIXended
//   - for NearCache: +subscribe +ping +client|id +client|tracking and the channel &__redis__:invalidate
//   - for OpenRedisStore to warn if the server may evict: +info
//   - in a cluster: +cluster +command
type RedisStore struct {
	client *redisclient.Client
	cache  *redisclient.Cache // nil without one
	prefix string
	ends   listeners
}

// RedisOptions are the options of a RedisStore. The zero value is good.
type RedisOptions struct {
	// Prefix begins every key. The default is "session:". Two applications on one Redis need different prefixes, or
	// different realms (Config.Realm).
	Prefix string

	// NearCache keeps sessions in this process too. It needs OpenRedisStore, and NewRedisStore refuses it. The default
	// is off.
	NearCache NearCache

	// WaitReplicas makes each change wait until this many replicas have it (WAIT). The change fails if that takes
	// longer than three quarters of the time that Config.StoreTimeout leaves; the master has the change even then. It
	// needs a *redis.Client or a *redis.ClusterClient, as OpenRedisStore makes them. The default is not to wait.
	WaitReplicas int

	// TLS is for a rediss:// URL. Set it if a private authority signed the server's certificate, or if the server asks
	// for a certificate of the client. It is for OpenRedisStore: a client that NewRedisStore gets has its own. The
	// default trusts the system's authorities.
	TLS *tls.Config

	// Credentials returns the user and the password. It is called for each new connection, for passwords that change,
	// and overrides those in the URL. It is for OpenRedisStore. The default is what the URL says.
	Credentials func(context.Context) (user, password string, err error)
}

// NearCache also keeps the sessions that this process reads in its memory. Then a read costs no round trip. It needs
// one standalone server and OpenRedisStore.
//
// A process never reads from the cache what it has changed or ended itself. It sees the changes of another process when
// the server reports them: usually within milliseconds, and at the latest after MaxStaleness. Until then it can read a
// session that another process has ended. It can't change such a session or bring it back, because changes go to the
// server. While the connection for these reports is down, the cache is off.
type NearCache struct {
	MaxEntries   int           // sessions kept; must be set
	MaxStaleness time.Duration // the longest a session is served from the cache after it was read; must be set
}

var (
	_ Ender       = (*RedisStore)(nil)
	_ UserStore   = (*RedisStore)(nil)
	_ AllStore    = (*RedisStore)(nil)
	_ EndNotifier = (*RedisStore)(nil)
)

const defaultPrefix = "session:"

// NewRedisStore returns a store on client. The caller closes the client.
//
// It refuses a client that can't keep the guarantees. The client must obey context deadlines (ContextTimeoutEnabled).
// It must read from masters, because a replica that lags opens sessions that have ended. It must not be a redis.Ring,
// which moves sessions to another server while one is away. The server may still be down, and NewRedisStore does not
// ask it for its rights: OpenRedisStore does.
//
// Commands of requests at the same time go to one server, or to a Sentinel's master, in one batch. That costs both
// sides less, and no request waits longer for it than its own deadline.
func NewRedisStore(client redis.UniversalClient, opts RedisOptions) (*RedisStore, error) {
	switch {
	case opts.NearCache != (NearCache{}):
		return nil, errors.New("session: RedisOptions.NearCache needs connections of its own; use OpenRedisStore")
	case opts.TLS != nil || opts.Credentials != nil:
		return nil, errors.New("session: RedisOptions.TLS and Credentials are for OpenRedisStore; a client has its own")
	}
	c, err := redisclient.New(client, opts.WaitReplicas)
	if err != nil {
		return nil, err
	}
	return newRedisStore(c, opts), nil
}

// OpenRedisStore returns a store with a client of its own, with the recommended settings. Close closes it. The URL has
// the form that redis.ParseURL takes: redis://user:password@host:6379/0, rediss:// for TLS, or unix://. With the
// parameter addr, which names further nodes, it is a cluster (redis.ParseClusterURL). With master_name it names the
// Sentinels of a master (redis.ParseFailoverURL).
//
// It tries what sessions will need, with keys below the prefix that last for a second. So a missing right or a wrong
// kind of server is an error here, and not at the first user. While the server is down or not ready, it tries again
// until ctx ends. It logs a warning if the server may evict sessions.
func OpenRedisStore(ctx context.Context, url string, opts RedisOptions) (*RedisStore, error) {
	if err := opts.NearCache.check(); err != nil {
		return nil, err
	}
	c, err := redisclient.Open(ctx, url, redisclient.Settings{
		Prefix:      cmp.Or(opts.Prefix, defaultPrefix),
		Replicas:    opts.WaitReplicas,
		Cache:       redisclient.CacheOptions(opts.NearCache),
		TLS:         opts.TLS,
		Credentials: opts.Credentials,
	})
	if err != nil {
		return nil, err
	}
	return newRedisStore(c, opts), nil
}

func newRedisStore(c *redisclient.Client, opts RedisOptions) *RedisStore {
	s := &RedisStore{client: c, cache: c.Cache(), prefix: cmp.Or(opts.Prefix, defaultPrefix)}
	s.ends.open = s.subscribe
	return s
}

func (n NearCache) check() error {
	switch {
	case n == (NearCache{}):
		return nil
	case n.MaxEntries <= 0:
		return errors.New("session: NearCache.MaxEntries must be positive: it bounds the memory")
	case n.MaxStaleness <= 0:
		return errors.New("session: NearCache.MaxStaleness must be positive: it bounds how long a session that was revoked " +
			"elsewhere can be read")
	}
	return nil
}

// Client returns the client that the store uses, for hooks, pool statistics and readiness checks.
func (s *RedisStore) Client() redis.UniversalClient { return s.client.Redis() }

// RedisStats counts commands since the RedisStore was made, and how many of them went to the server in batches.
type RedisStats struct {
	Alone   uint64 // commands that went by themselves
	Batches uint64
	Batched uint64 // commands that went in batches
	Waiting int    // commands that wait for a batch at this moment
}

// Stats returns the counts, for metrics. In a cluster they are zero, because there each command goes by itself.
// Client().PoolStats() has the counts of the connections.
func (s *RedisStore) Stats() RedisStats { return RedisStats(s.client.Stats()) }

// Close closes the client that OpenRedisStore made. It does not close a client of the caller.
func (s *RedisStore) Close() error {
	s.ends.close()
	return s.client.Close()
}

// String returns a name without addresses or secrets.
func (s *RedisStore) String() string { return "RedisStore(" + s.prefix + ")" }

// usersPrefix follows the prefix in the keys of users' lists. No session ID begins with it.
const usersPrefix = "user:"

func (s *RedisStore) key(id string) string { return s.prefix + id }

// list returns the key of a user's list. It has a hash, so that it is short, and differs for other realms and users.
func (s *RedisStore) list(realm, user string) string {
	var room [128]byte
	b := strconv.AppendInt(room[:0], int64(len(realm)), 10)
	b = append(append(append(b, ':'), realm...), user...)
	sum := sha256.Sum256(b)
	return s.prefix + usersPrefix + base64url.EncodeToString(sum[:idSize])
}

func isSessionID(id string) bool { return id != "" && !strings.HasPrefix(id, usersPrefix) }

// Load implements Store.
func (s *RedisStore) Load(ctx context.Context, token Token) (*Record, error) {
	id := token.ID()
	if !isSessionID(id) {
		return nil, ErrNotFound
	}
	key := s.key(id)
	if s.cache == nil {
		return s.load(ctx, id, key)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if kept, ok := s.cache.Get(key); ok && !pastCache(ctx) {
		return kept.(*Record), nil
	}
	return s.loadAndKeep(ctx, id, key)
}

// loadKept returns the record that the near cache has, or nil.
func (s *RedisStore) loadKept(ctx context.Context, token Token) *Record {
	if s.cache == nil || ctx.Err() != nil {
		return nil
	}
	kept, _ := s.cache.Get(s.key(token.ID()))
	record, _ := kept.(*Record) // nil without one
	return record
}

func (s *RedisStore) loadAndKeep(ctx context.Context, id, key string) (*Record, error) {
	read := s.cache.Begin(key)
	r, err := s.load(ctx, id, key)
	if err != nil {
		s.cache.End(key, read, nil, "")
		if errors.Is(err, ErrNotFound) {
			s.cache.Drop(key)
		}
		return nil, err
	}
	s.cache.End(key, read, r, r.Revision)
	return r, nil
}

// load reads the record from the server.
func (s *RedisStore) load(ctx context.Context, id, key string) (*Record, error) {
	v, err := s.client.Get(ctx, key)
	if err != nil {
		return nil, redisError(err)
	}
	return readRedisValue(id, v)
}

// redisError returns err as the error that the contract of Store asks for.
func redisError(err error) error {
	switch {
	case errors.Is(err, redisclient.ErrMissing):
		return ErrNotFound
	case errors.Is(err, redisclient.ErrForeign):
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return err
}

// readRedisValue returns the record in a value.
func readRedisValue(id string, v redisclient.Value) (*Record, error) {
	r, err := parseRecord(v.Data())
	if err != nil {
		return nil, err
	}
	if r.ID != id {
		return nil, fmt.Errorf("%w: it is another session's", errUnreadable)
	}
	return r, nil
}

// Swap implements Store.
func (s *RedisStore) Swap(ctx context.Context, token Token, swaps ...Swap) (Token, error) {
	writes := make([]redisclient.Swap, len(swaps))
	for i, swap := range swaps {
		write, err := s.write(ctx, swap)
		if err != nil {
			return token, err
		}
		writes[i] = write
	}
	if s.cache != nil {
		defer s.dropKept(swaps)
	}
	conflict, err := s.client.Swap(ctx, writes...)
	if err != nil {
		return token, redisError(err)
	}
	if conflict == nil {
		return token, nil
	}
	return token, conflictError(swaps[conflict.Place].New.ID, conflict.Current)
}

// dropKept drops the swapped records from the near cache, whatever became of the swaps. It also voids reads of them
// that are under way.
func (s *RedisStore) dropKept(swaps []Swap) {
	for _, swap := range swaps {
		s.cache.Drop(s.key(swap.New.ID))
	}
}

// write returns the write for a swap. If the record's end has moved, the write puts the ID into the user's list again,
// so that a damaged list heals. Otherwise it leaves the list alone, which is cheaper.
func (s *RedisStore) write(ctx context.Context, swap Swap) (redisclient.Swap, error) {
	r := swap.New
	if !isSessionID(r.ID) {
		return redisclient.Swap{}, fmt.Errorf("session: %q is no session ID", r.ID)
	}
	value, err := redisclient.NewValue(r.Revision, r.Ended, r.size())
	if err != nil {
		return redisclient.Swap{}, err
	}
	if value, err = r.AppendBinary(value); err != nil {
		return redisclient.Swap{}, err
	}
	write := redisclient.Swap{
		Key:   s.key(r.ID),
		Fresh: swap.Old == nil,
		New:   value,
		Life:  r.KeepUntil().Sub(Now(ctx)),
	}
	if r.Ended {
		write.Channel = s.channel()
	}
	if swap.Old != nil {
		write.Old = swap.Old.Revision
	}
	if r.User != "" && (swap.Old == nil || r.Ended || !r.KeepUntil().Equal(swap.Old.KeepUntil())) {
		write.List, write.Member = s.list(r.Realm, r.User), r.ID
	}
	return write, nil
}

// conflictError returns a conflict with the stored record. If the stored value can't be read, the conflict has no
// record.
func conflictError(id string, stored redisclient.Value) error {
	conflict := &ConflictError{ID: id}
	if stored == nil {
		return conflict
	}
	current, err := readRedisValue(id, stored)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	conflict.Current = current
	return conflict
}

// End implements Ender.
func (s *RedisStore) End(ctx context.Context, tombstone *Record) (*Record, error) {
	write, err := s.write(ctx, Swap{New: tombstone})
	if err != nil {
		return nil, err
	}
	if s.cache != nil {
		defer s.cache.Drop(write.Key)
	}
	found, err := s.client.End(ctx, write)
	switch {
	case err != nil:
		return nil, redisError(err)
	case found == nil:
		return nil, nil
	case found.Final():
		return nil, conflictError(tombstone.ID, found)
	}
	replaced, err := readRedisValue(tombstone.ID, found)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return replaced, err
}

// headSize is how many bytes of each record a list reads at first. The head that it needs comes first, and mostly fits.
const headSize = 512

// UserSessions implements UserStore. It does not use the near cache. On one server it takes one round trip for up to
// 128 sessions, and otherwise one for each further thousand.
func (s *RedisStore) UserSessions(ctx context.Context, realm, user string) ([]*Record, error) {
	listed, err := s.client.List(ctx, s.list(realm, user), s.prefix, headSize)
	if err != nil {
		return nil, redisError(err)
	}
	var records []*Record
	var cut []string // IDs of records whose head is longer, or can't be read: reading the whole record tells why
	for _, one := range listed {
		if one.Head == nil {
			continue
		}
		if r, err := unmarshalHead(one.Head.Data()); err != nil {
			cut = append(cut, one.Name)
		} else if r.ID == one.Name {
			records = append(records, r)
		}
	}
	whole, err := s.loadAll(ctx, cut)
	if err != nil {
		return nil, err
	}
	isOther := func(r *Record) bool { return r.Realm != realm || r.User != user }
	return slices.DeleteFunc(append(records, whole...), isOther), nil
}

// loadAll returns the records of ids. It leaves out those that are missing or can't be read.
func (s *RedisStore) loadAll(ctx context.Context, ids []string) ([]*Record, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = s.key(id)
	}
	values, err := s.client.GetAll(ctx, keys)
	if err != nil {
		return nil, redisError(err)
	}
	var records []*Record
	for i, v := range values {
		if v == nil {
			continue
		}
		r, err := readRedisValue(ids[i], v)
		if err == nil {
			records = append(records, r)
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return records, nil
}
