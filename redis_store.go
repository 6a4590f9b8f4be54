package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisStore keeps sessions in Redis 6.2 or later, or Valkey: standalone, with Sentinel or in a cluster. It lists and
// revokes by user. Redis sees the hash of a token only.
//
// Writes to one session are atomic scripts that never create what should exist. Standalone and with Sentinel, so are
// Regenerate and Login. In a cluster the old and the new id live in different slots: the old one ends first, so that a
// failure between the two signs out rather than leaving both open. Redis replicates asynchronously: a failover can lose
// what was written just before it, a logout included; RedisOptions.WaitReplicas narrows that.
type RedisStore struct {
	client  redis.UniversalClient
	options RedisOptions
	owned   bool // the store opened the client
	batches *batcher
	cache   *nearCache
}

// RedisOptions are the options of a RedisStore. The zero value is good.
type RedisOptions struct {
	// Prefix is in front of every key. The default is "session:". Two applications on one Redis need different ones.
	Prefix string

	// NearCache keeps sessions in this process too. It needs OpenRedisStore, which sets the client up for it; New refuses
	// it elsewhere. The default is off.
	NearCache NearCache

	// WaitReplicas makes each change wait until so many replicas have it (WAIT), and fail if they do not within three
	// quarters of the time that Config.StoreTimeout leaves; the master has the change even then. It costs a round trip.
	// It needs a *redis.Client or a *redis.ClusterClient, as OpenRedisStore makes them. The default is not to wait.
	WaitReplicas int
}

var _ UserStore = (*RedisStore)(nil)

const defaultPrefix = "session:"

// NewRedisStore returns a store on client, which stays the caller's to close. The client must honour context deadlines
// (ContextTimeoutEnabled) and read from masters, since a replica that lags opens what has ended; New refuses the store
// if it sees that it does not. OpenRedisStore makes one with the recommended settings.
func NewRedisStore(client redis.UniversalClient, opts RedisOptions) *RedisStore {
	opts.Prefix = cmp.Or(opts.Prefix, defaultPrefix)
	return &RedisStore{client: client, options: opts}
}

// Check tells whether the store can keep its promises. New calls it.
func (s *RedisStore) Check() error {
	honours, connects, replicas := true, false, false
	switch client := s.client.(type) {
	case nil:
		return errors.New("session: the Redis client is nil")
	case *redis.Client:
		honours, connects = client.Options().ContextTimeoutEnabled, true
	case *redis.ClusterClient:
		o := client.Options()
		honours, connects, replicas = o.ContextTimeoutEnabled, true, o.ReadOnly || o.RouteByLatency || o.RouteRandomly
	case *redis.Ring:
		honours = client.Options().ContextTimeoutEnabled
	}
	switch {
	case !honours:
		return errors.New("session: the Redis client ignores context deadlines, so that a hung Redis would hang requests; " +
			"set ContextTimeoutEnabled in its options, or use OpenRedisStore")
	case replicas:
		return errors.New("session: the Redis client reads from replicas, where a session that has ended goes on for a while; " +
			"leave ReadOnly, RouteByLatency and RouteRandomly off")
	case s.options.WaitReplicas < 0:
		return errors.New("session: RedisOptions.WaitReplicas is negative")
	case s.options.WaitReplicas > 0 && !connects:
		return fmt.Errorf("session: RedisOptions.WaitReplicas needs a *redis.Client or a *redis.ClusterClient, and got a %T", s.client)
	case s.options.NearCache != (NearCache{}) && s.cache == nil:
		return errors.New("session: RedisOptions.NearCache needs a client set up for it; use OpenRedisStore")
	}
	return nil
}

// Close closes the client if OpenRedisStore made it.
func (s *RedisStore) Close() error {
	if !s.owned {
		return nil
	}
	return s.client.Close()
}

// standalone tells whether one script may touch several keys.
func (s *RedisStore) standalone() bool {
	_, ok := s.client.(*redis.Client)
	return ok
}

func (s *RedisStore) key(id string) string     { return s.options.Prefix + id }
func (s *RedisStore) index(user string) string { return s.options.Prefix + "user:" + user }

// indexOf returns the key of the index that the record belongs into, or "".
func (s *RedisStore) indexOf(r *Record) string {
	if r == nil || r.User == "" {
		return ""
	}
	return s.index(r.User)
}

// Load implements Store.
func (s *RedisStore) Load(ctx context.Context, token Token) (*Record, error) {
	id := token.ID()
	if id == "" {
		return nil, ErrNotFound
	}
	r, err := s.record(ctx, id)
	if err == nil {
		err = r.Live(Now(ctx))
	}
	if err != nil {
		return nil, s.failed(err)
	}
	return r, nil
}

// record returns the session as it is stored, or in the near cache.
func (s *RedisStore) record(ctx context.Context, id string) (*Record, error) {
	switch {
	case s.cache != nil:
		return s.cache.load(ctx, id, func(ctx context.Context, id string) (*Record, error) { return s.fetch(ctx, s.client.Process, id) })
	case s.batches != nil:
		return s.fetch(ctx, s.batches.process, id) // which a near cache would not answer
	}
	return s.fetch(ctx, s.client.Process, id)
}

// fetch reads the session with one command.
func (s *RedisStore) fetch(ctx context.Context, process func(context.Context, redis.Cmder) error, id string) (*Record, error) {
	all := redis.NewMapStringStringCmd(ctx, "hgetall", s.key(id))
	if err := process(ctx, all); err != nil {
		return nil, err
	}
	return readRecord(id, all.Val())
}

// Save implements Store.
func (s *RedisStore) Save(ctx context.Context, token Token, change *Change) (Token, error) {
	now := Now(ctx)
	if s.cache != nil {
		defer s.cache.wrote(change.Record.ID, change.Replaces())
	}
	var err error
	switch {
	case !change.Create:
		err = s.write(ctx, change, now)
	case s.standalone():
		err = s.create(ctx, change, now)
	default:
		err = s.createAcross(ctx, change, now)
	}
	return token, s.failed(err)
}

// write changes a session in place.
func (s *RedisStore) write(ctx context.Context, c *Change, now time.Time) error {
	keys := []string{s.key(c.Record.ID)}
	index := s.indexOf(c.Record)
	if c.Attributes && index != "" {
		if s.standalone() {
			keys = append(keys, index)
		} else if err := s.enlist(ctx, c.Record, now); err != nil {
			return err
		}
	}
	a := newArguments(c)
	a.add(micros(now), operation(c), micros(c.Record.Used), flag(c.Cleared))
	if c.Attributes {
		a.add(packLimits(c.Record), micros(c.Record.Deadline))
		a.change(c, attributePairs(c.Record, false))
	} else {
		a.add("", 0)
		a.change(c, nil)
	}
	reply, err := s.run(ctx, writeScript, keys, a...)
	if err != nil {
		return err
	}
	return verdict(c.Record.ID, reply)
}

// operation returns the change's mark, which a mere touch does not need.
func operation(c *Change) string {
	if !c.Cleared && !c.Attributes && len(c.Set)+len(c.Deleted)+len(c.FlashesAdded)+len(c.FlashesTaken) == 0 {
		return ""
	}
	return operationMark(c.Operation)
}

// create stores a session under a new id, and ends the one it takes over from, in one script.
func (s *RedisStore) create(ctx context.Context, c *Change, now time.Time) error {
	// For what is not there the prefix stands: a user of Redis may be allowed to use keys that begin with it, and no others.
	none := s.options.Prefix
	keys := []string{s.key(c.Record.ID), none, cmp.Or(s.indexOf(c.Record), none), cmp.Or(s.indexOf(c.Base), none)}
	if c.Replaces() != "" {
		keys[1] = s.key(c.Replaces())
	}
	reply, err := s.run(ctx, createScript, keys, s.creation(c, now)...)
	if err != nil {
		return err
	}
	if list, ok := reply.([]any); ok && len(list) > 0 && list[0] == "evicted" {
		s.evicted(list[1:])
		return nil
	}
	return verdict(c.Source(), reply)
}

// evicted drops from the near cache what the script ended because the user had too many sessions.
func (s *RedisStore) evicted(ids []any) {
	if s.cache == nil {
		return
	}
	for _, id := range ids {
		s.cache.wrote(fmt.Sprint(id))
	}
}

// creation returns the arguments of the script that creates.
func (s *RedisStore) creation(c *Change, now time.Time) []any {
	taken := c.Base != nil && !c.Fresh // over from the old session, with all that it is
	limits, pairs := "", []any(nil)
	if !taken || c.Attributes {
		limits, pairs = packLimits(c.Record), attributePairs(c.Record, !taken)
	}
	a := newArguments(c)
	a.add(micros(now), operationMark(c.Operation), c.Record.ID, c.Replaces(), issuedAt(c.Record), micros(c.Record.Used))
	a.add(limits, flag(c.Fresh), flag(c.Cleared), micros(c.Record.Deadline), c.MaxPerUser, s.options.Prefix)
	a.change(c, pairs)
	return a
}

// Delete implements Store.
func (s *RedisStore) Delete(ctx context.Context, id string, _ time.Time) error {
	if id == "" {
		return nil
	}
	_, err := s.end(ctx, "", id)
	return s.failed(err)
}

// maxSuccessors is how many regenerations of a session that are under way an end follows.
const maxSuccessors = 16

// end leaves a tombstone for the session, or for the one it goes on as, and tells whether there was one. It must be
// user's unless user is "".
func (s *RedisStore) end(ctx context.Context, user, id string) (bool, error) {
	for followed := range maxSuccessors {
		force := followed > 0 // a session that is about to be created, since its predecessor was handed over, must not be
		reply, err := s.run(ctx, deleteScript, []string{s.key(id)}, s.deletion(user, id, force)...)
		if s.cache != nil {
			s.cache.wrote(id)
		}
		if err != nil {
			return false, err
		}
		switch reply {
		case "live", "early":
			return true, nil
		case "none", "-":
			return false, nil
		}
		id = reply.(string)
	}
	return false, fmt.Errorf("session: %d regenerations of a session went on while it was to end", maxSuccessors)
}

func (s *RedisStore) deletion(user, id string, force bool) []any {
	indexes := ""
	if s.standalone() {
		indexes = s.index("")
	}
	return []any{user, flag(force), indexes, id}
}

// EndUserSession implements Revoker.
func (s *RedisStore) EndUserSession(ctx context.Context, user, id string) error {
	ended, err := s.end(ctx, user, id)
	if err = s.failed(err); err == nil && !ended || errors.Is(err, ErrNotFound) {
		return ErrNotFound // also for a key that holds something else: the user gave the id, and learns nothing of it
	}
	return err
}

// failed returns err as the store returns it. The client of a cluster looks for changes once a minute only, unless it is
// told that a node does not answer: a replica may have taken over.
func (s *RedisStore) failed(err error) error {
	var network net.Error // deadlines included
	if cluster, ok := s.client.(*redis.ClusterClient); ok && errors.As(err, &network) {
		cluster.ReloadState(context.Background()) // in the background, and not more often than it takes
	}
	return redisError(err)
}

// redisError makes ErrNotFound of what Redis says about a key that holds something else.
func redisError(err error) error {
	if err != nil && redis.HasErrorPrefix(err, "WRONGTYPE") {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return err
}

// verdict turns a script's reply into Save's error.
func verdict(id string, reply any) error {
	switch reply := reply.(type) {
	case string:
		switch reply {
		case "ok":
			return nil
		case "ended":
			return errEnded
		case "gone":
			return ErrNotFound
		}
	case []any:
		current, err := readRecord(id, pairs(reply))
		if err != nil {
			return err
		}
		return &ConflictError{Current: current}
	}
	return fmt.Errorf("session: Redis answered %v", reply)
}

// pairs makes a map of what HGETALL returns inside a script.
func pairs(flat []any) map[string]string {
	fields := make(map[string]string, len(flat)/2)
	for pair := range slices.Chunk(flat, 2) {
		if len(pair) == 2 {
			fields[fmt.Sprint(pair[0])] = fmt.Sprint(pair[1])
		}
	}
	return fields
}
