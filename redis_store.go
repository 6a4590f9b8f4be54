package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/doorman-go/session/internal/redisclient"
	"github.com/redis/go-redis/v9"
)

// RedisStore keeps sessions in Redis 6.2 or later, or Valkey: on one server, with Sentinel or in a cluster. It lists by
// user, and ends sessions in one step. Redis sees the hash of a token only.
//
// On one server and with Sentinel several swaps are made all or none. In a cluster they live on different servers, and are
// made one by one. Redis replicates asynchronously: a failover can lose what was written just before it, a logout
// included; RedisOptions.WaitReplicas narrows that.
//
// What ends a session publishes its key on the channel PREFIXended, in the same command, for Session.Watch.
//
// A Redis user of its own needs these rights for the keys that begin with RedisOptions.Prefix: +get +getrange +set +pttl
// +pexpire +zadd +zscore +zrange +zremrangebyscore +time +eval +evalsha +script|load, and +wait for WaitReplicas. With
// Manager.Each and RevokeAll also need +scan. Session.Watch is told at once
// with +subscribe, +publish and the channel &PREFIXended, and otherwise looks every 30 seconds. With
// NearCache it also needs +subscribe +ping +client|id +client|tracking and the channel &__redis__:invalidate. With +info,
// OpenRedisStore sees whether the server may evict. In a cluster it needs +cluster and +command.
type RedisStore struct {
	client *redisclient.Client
	cache  *redisclient.Cache // nil without one
	prefix string
	ends   listeners
}

// RedisOptions are the options of a RedisStore. The zero value is good.
type RedisOptions struct {
	// Prefix is in front of every key. The default is "session:". Two applications on one Redis need different ones, or
	// different realms (Config.Realm).
	Prefix string

	// NearCache keeps sessions in this process too. It needs OpenRedisStore; NewRedisStore refuses it. The default is off.
	NearCache NearCache

	// WaitReplicas makes each change wait until so many replicas have it (WAIT), and fail if they do not within three
	// quarters of the time that Config.StoreTimeout leaves; the master has the change even then. It needs a *redis.Client
	// or a *redis.ClusterClient, as OpenRedisStore makes them. The default is not to wait.
	WaitReplicas int

	// TLS is for a rediss:// URL, where the server's certificate has a private authority, or wants one of the client's.
	// OpenRedisStore uses it; a client that is given to NewRedisStore has its own. The default is the system's authorities.
	TLS *tls.Config

	// Credentials is asked for the user and the password at each new connection, for passwords that change, and goes before
	// those in the URL. OpenRedisStore uses it. The default is what the URL says.
	Credentials func(context.Context) (user, password string, err error)
}

// NearCache keeps the sessions that this process reads in its memory too: a read then costs no round trip. It needs one
// standalone server and OpenRedisStore.
//
// What it means: a process never reads what it wrote or ended itself from the cache. What another process wrote or ended
// it sees when the server tells it, within milliseconds, and no later than MaxStaleness. A session ended elsewhere, by
// logout or revocation, can be read until then; it can't be changed or brought back, since changes go to the server. While
// the connection on which the server tells of changes is down, the cache is off.
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

// NewRedisStore returns a store on client, which stays the caller's to close. It refuses a client that can't keep the
// promises: it must honour context deadlines (ContextTimeoutEnabled) and read from masters, since a replica that lags
// opens what has ended; a redis.Ring moves sessions to another server while one is away. The server need not be there yet,
// and is not asked whether all can be done there; OpenRedisStore does that.
//
// What is asked of one server, or of a Sentinel's master, at the same time goes there together, which costs both sides a
// fraction; nobody waits longer than the own deadline for it.
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

// OpenRedisStore returns a store on a client of its own, with the recommended settings; Close closes it. The URL is what
// redis.ParseURL takes: redis://user:password@host:6379/0, rediss:// for TLS, unix://. With the parameter addr for
// further nodes it is a cluster (redis.ParseClusterURL), and with master_name the sentinels of a master
// (redis.ParseFailoverURL).
//
// It tries what sessions will need, on keys under the prefix that are gone a second later, so that a missing right or a
// wrong kind of server is an error here and not at the first user. If the server is not there, or not ready, it tries
// again until ctx ends. It logs a warning if the server may evict sessions.
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

// RedisStats are counts since a RedisStore was made: how what concurrent requests asked of one server went there together.
type RedisStats struct {
	Alone   uint64 // commands that went by themselves
	Batches uint64
	Batched uint64 // commands that went in batches
	Waiting int    // commands that wait for a batch at this moment
}

// Stats returns the counts, for metrics. In a cluster, where each command goes by itself, they are zero. Those of the
// connections are the client's: Client().PoolStats().
func (s *RedisStore) Stats() RedisStats { return RedisStats(s.client.Stats()) }

// Close closes what OpenRedisStore opened, and nothing of the caller's.
func (s *RedisStore) Close() error {
	s.ends.close()
	return s.client.Close()
}

// String returns a name without addresses or secrets.
func (s *RedisStore) String() string { return "RedisStore(" + s.prefix + ")" }

// usersPrefix stands after the prefix in keys of users' lists. No session ID begins with it.
const usersPrefix = "user:"

func (s *RedisStore) key(id string) string { return s.prefix + id }

// list returns the key of a user's list. A hash keeps it short, and different realms and users apart.
func (s *RedisStore) list(realm, user string) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(len(realm)) + ":" + realm + user))
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

// loadKept returns what the near cache has, or nil.
func (s *RedisStore) loadKept(ctx context.Context, token Token) *Record {
	if s.cache == nil || ctx.Err() != nil {
		return nil
	}
	kept, ok := s.cache.Get(s.key(token.ID()))
	if !ok {
		return nil
	}
	return kept.(*Record)
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

// redisError returns err in the store's words.
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

// dropKept drops what was written from the near cache, whatever became of it. A read that began before is void then too.
func (s *RedisStore) dropKept(swaps []Swap) {
	for _, swap := range swaps {
		s.cache.Drop(s.key(swap.New.ID))
	}
}

// write returns what is to be written for a swap. The user's list gets the ID whenever the record's end has moved, so that
// it heals; a write that moves nothing is cheaper.
func (s *RedisStore) write(ctx context.Context, swap Swap) (redisclient.Swap, error) {
	r := swap.New
	if !isSessionID(r.ID) {
		return redisclient.Swap{}, fmt.Errorf("session: %q is no session ID", r.ID)
	}
	value, err := redisValue(r)
	if err != nil {
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

// redisValue returns what is stored for r.
func redisValue(r *Record) (redisclient.Value, error) {
	v, err := redisclient.NewValue(r.Revision, r.Ended, r.size())
	if err != nil {
		return nil, err
	}
	return r.AppendBinary(v)
}

// conflictError returns a conflict with what is stored. What makes no sense is as good as not known.
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

// headSize is how much of each record a list reads at first. What it needs stands in front, and mostly fits.
const headSize = 512

// UserSessions implements UserStore. The near cache has no part in it. On one server it takes one round trip for up to
// 128 sessions, and otherwise one for each further thousand.
func (s *RedisStore) UserSessions(ctx context.Context, realm, user string) ([]*Record, error) {
	listed, err := s.client.List(ctx, s.list(realm, user), s.prefix, headSize)
	if err != nil {
		return nil, redisError(err)
	}
	var records []*Record
	var cut []string // IDs of which more must be read
	for _, one := range listed {
		if one.Head == nil {
			continue
		}
		if r, ok := readRedisHead(one.Head.Data()); !ok {
			cut = append(cut, one.Member)
		} else if r.ID == one.Member {
			records = append(records, r)
		}
	}
	whole, err := s.loadAll(ctx, cut)
	if err != nil {
		return nil, err
	}
	return ofUser(append(records, whole...), realm, user), nil
}

// readRedisHead returns what a list needs of a record, and reports whether that could be read. If not, the whole record
// tells why.
func readRedisHead(head []byte) (*Record, bool) {
	r, err := unmarshalHead(head)
	return r, err == nil
}

// loadAll returns the records that are there and make sense.
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

// ofUser returns those of the records that are the user's.
func ofUser(records []*Record, realm, user string) []*Record {
	var own []*Record
	for _, r := range records {
		if r.Realm == realm && r.User == user {
			own = append(own, r)
		}
	}
	return own
}
