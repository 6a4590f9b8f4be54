// Package redisclient keeps values in Redis under compare-and-swap, and lists of their keys, with commands in batches and
// a cache in front. It knows keys, revisions and members of lists, and nothing about sessions.
package redisclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Client keeps values in Redis.
type Client struct {
	redis    redis.UniversalClient
	replicas int      // how many replicas to wait for after each write
	batches  *batcher // nil in a cluster
	cache    *Cache   // nil without one
	owned    bool     // Open made the client

	single node
	nodes  sync.Map // of a cluster: *node by address
}

// New returns a Client that uses client. The caller closes that client. New refuses a client that can't keep the
// guarantees.
func New(client redis.UniversalClient, replicas int) (*Client, error) {
	if err := checkClient(client, replicas); err != nil {
		return nil, err
	}
	c := &Client{redis: client, replicas: replicas}
	if c.isAtomic() {
		c.batches = newBatcher(client)
	}
	return c, nil
}

func checkClient(client redis.UniversalClient, replicas int) error {
	honours, connects, lags := true, false, false
	switch client := client.(type) {
	case nil:
		return errNoClient
	case *redis.Client:
		if client == nil {
			return errNoClient
		}
		honours, connects = client.Options().ContextTimeoutEnabled, true
	case *redis.ClusterClient:
		if client == nil {
			return errNoClient
		}
		o := client.Options()
		honours, connects, lags = o.ContextTimeoutEnabled, true, o.ReadOnly || o.RouteByLatency || o.RouteRandomly
	case *redis.Ring:
		return errors.New("session: a redis.Ring moves keys to other servers while one is away, so that a session that " +
			"has ended opens again when it is back; use one server, Sentinel or a cluster")
	}
	switch {
	case !honours:
		return errors.New("session: the Redis client ignores context deadlines, so that a hung Redis would hang requests; " +
			"set ContextTimeoutEnabled in its options, or use OpenRedisStore")
	case lags:
		return errors.New("session: the Redis client reads from replicas, where a session that has ended goes on for a while; " +
			"leave ReadOnly, RouteByLatency and RouteRandomly off")
	case replicas < 0:
		return errors.New("session: RedisOptions.WaitReplicas is negative")
	case replicas > 0 && !connects:
		return fmt.Errorf("session: RedisOptions.WaitReplicas needs a *redis.Client or a *redis.ClusterClient, and got a %T", client)
	}
	return nil
}

var errNoClient = errors.New("session: the Redis client is nil")

// Redis returns the go-redis client.
func (c *Client) Redis() redis.UniversalClient { return c.redis }

// Stats are counts of commands since the Client was made.
type Stats struct {
	Alone   uint64 // commands that were sent alone
	Batches uint64
	Batched uint64 // commands that were sent in batches
	Waiting int    // commands that wait for a batch at this moment
}

// Stats returns the counts. In a cluster they are zero, because there each command is sent alone.
func (c *Client) Stats() Stats {
	if c.batches == nil {
		return Stats{}
	}
	return c.batches.stats()
}

// Cache returns the cache, or nil if there is none.
func (c *Client) Cache() *Cache { return c.cache }

// Close closes what Open opened.
func (c *Client) Close() error {
	var errs []error
	if c.cache != nil {
		errs = append(errs, c.cache.close())
	}
	if c.owned {
		errs = append(errs, c.redis.Close())
	}
	return errors.Join(errs...)
}

// isAtomic reports whether a script may use several keys: on one server, and with Sentinel.
func (c *Client) isAtomic() bool {
	_, ok := c.redis.(*redis.Client)
	return ok
}

var (
	// ErrMissing means that nothing is stored.
	ErrMissing = errors.New("session: nothing is stored there")
	// ErrForeign means that something is stored which is not a Value.
	ErrForeign = errors.New("session: the Redis key holds something else")
)

// Get returns the value of key, which must not be modified.
func (c *Client) Get(ctx context.Context, key string) (Value, error) {
	cmd := redis.NewStringCmd(ctx, "get", key)
	if err := c.process(ctx, cmd); err != nil {
		if errors.Is(err, redis.Nil) {
			return nil, ErrMissing
		}
		return nil, c.explain(err)
	}
	raw, _ := cmd.Bytes()
	v := asValue(raw)
	if v == nil {
		return nil, ErrForeign
	}
	return v, nil
}

// Conflict says which of several swaps did not find the value that it expected. Current is the stored value. It is nil
// if nothing is stored, or something that is not a Value.
type Conflict struct {
	Place   int
	Current Value
}

// Swap makes the swaps. On one server and with Sentinel it makes all or none. In a cluster it makes them one by one, up
// to the first conflict. If the stored value already has New's revision, that is no conflict.
func (c *Client) Swap(ctx context.Context, swaps ...Swap) (*Conflict, error) {
	for _, s := range swaps {
		if len(s.Old) > maxRevision {
			return nil, errLongRevision
		}
	}
	switch {
	case len(swaps) == 0:
		return nil, nil
	case !c.isAtomic():
		return c.swapInTurn(ctx, swaps)
	case len(swaps) == 1 && swaps[0].List == "":
		reply, err := c.run(ctx, c.swapOne(swaps[0]))
		return conflictOf(0, reply), err
	}
	reply, err := c.run(ctx, c.swapAll(swaps))
	if met, ok := reply.([]any); ok && len(met) == 2 {
		place, _ := met[0].(int64)
		return conflictOf(int(place)-1, met[1]), err
	}
	return nil, err
}

// conflictOf reads the reply of a script to a swap: 1 if it was made, or else the stored value.
func conflictOf(place int, reply any) *Conflict {
	switch reply := reply.(type) {
	case int64:
		return nil
	case string:
		return &Conflict{place, asValue([]byte(reply))}
	}
	return &Conflict{Place: place}
}

// milliseconds returns a time to live. It is never zero, because for Redis zero is an error, or means for ever.
func milliseconds(life time.Duration) int64 {
	return max(int64((life+time.Millisecond-1)/time.Millisecond), 1)
}

func (c *Client) swapOne(s Swap) call {
	one := newCall(swapScript, []string{s.Key}, s.old(), []byte(s.New), milliseconds(s.Life))
	switch {
	case s.Channel != "":
		one.args = append(one.args, c.replicas, s.Channel)
	case c.replicas > 0:
		one.args = append(one.args, c.replicas)
	}
	return one
}

func (c *Client) swapAll(swaps []Swap) call {
	lists := listsOf(swaps)
	args := make([]any, 0, 5+8*len(swaps)+3*len(lists))
	args = append(args, nil, nil, len(swaps)+len(lists))
	for _, s := range swaps {
		args = append(args, s.Key)
	}
	for _, list := range lists {
		args = append(args, list)
	}
	args = append(args, len(swaps), c.replicas)
	for _, s := range swaps {
		args = append(args, s.old(), []byte(s.New), milliseconds(s.Life))
	}
	for _, list := range lists {
		args = appendMembers(args, swaps, list)
	}
	for i, s := range swaps {
		if s.Channel != "" {
			args = append(args, s.Channel, i+1)
		}
	}
	return call{swapAllScript, swaps[0].Key, args}
}

// listsOf returns the lists of swaps, each once.
func listsOf(swaps []Swap) (lists []string) {
	for _, s := range swaps {
		if s.List != "" && !slices.Contains(lists, s.List) {
			lists = append(lists, s.List)
		}
	}
	return lists
}

// appendMembers appends the arguments for a list: how long the list must live, how many members the swaps put into it,
// and each member with its time to live.
func appendMembers(args []any, swaps []Swap, list string) []any {
	at, members, longest := len(args), 0, time.Duration(0)
	args = append(args, nil, nil)
	for _, s := range swaps {
		if s.List == list {
			args = append(args, s.Member, milliseconds(s.Life))
			members, longest = members+1, max(longest, s.Life)
		}
	}
	args[at], args[at+1] = milliseconds(longest), members
	return args
}

// swapInTurn makes one swap after the other, because their keys are on different servers. It puts a member into its
// list before it stores the value. The shorter life of a final value comes into the list after that value is stored. If
// this order allows it, one round trip does both.
func (c *Client) swapInTurn(ctx context.Context, swaps []Swap) (*Conflict, error) {
	var before, after []call
	for _, s := range swaps {
		if s.List != "" && !s.New.Final() {
			before = append(before, enlist(s.List, s.Member, s.Life, false))
		}
	}
	for i, s := range swaps {
		if len(before) > 0 && !s.New.Final() {
			if _, err := c.runAll(ctx, before); err != nil {
				return nil, err
			}
			before = nil
		}
		calls := slices.Concat(before, after, []call{c.swapOne(s)})
		before, after = nil, nil
		replies, err := c.runAll(ctx, calls)
		if err != nil {
			return nil, err
		}
		if conflict := conflictOf(i, replies[len(replies)-1]); conflict != nil {
			return conflict, nil
		}
		if s.List != "" && s.New.Final() {
			after = append(after, enlist(s.List, s.Member, s.Life, true))
		}
	}
	if len(after) == 0 {
		return nil, nil
	}
	_, err := c.runAll(ctx, after)
	return nil, err
}

func enlist(list, member string, life time.Duration, final bool) call {
	return newCall(enlistScript, []string{list}, member, milliseconds(life), final)
}

// End puts a final value in the place of any stored value, except another final one. It returns the value that it
// found, or nil if it found nothing, or something that is not a Value.
func (c *Client) End(ctx context.Context, s Swap) (Value, error) {
	ending := newCall(endScript, []string{s.Key}, []byte(s.New), milliseconds(s.Life), "", s.Channel)
	if s.List != "" && c.isAtomic() {
		ending = newCall(endScript, []string{s.Key, s.List}, []byte(s.New), milliseconds(s.Life), s.Member, s.Channel)
	}
	reply, err := c.run(ctx, ending)
	if err != nil {
		return nil, err
	}
	text, _ := reply.(string)
	found := asValue([]byte(text))
	if s.List == "" || c.isAtomic() || found != nil && found.Final() {
		return found, nil
	}
	_, err = c.run(ctx, enlist(s.List, s.Member, s.Life, true))
	return found, err
}

const (
	listAtOnce = 128  // values that a script reads; few, because all other clients wait meanwhile
	readAtOnce = 1000 // values that one round trip reads
)

// Listed is a key without its prefix, and the first bytes of its value. Head is nil if there is no value, or something
// else.
type Listed struct {
	Name string
	Head Value
}

// List returns the members of a list and the first size bytes of their values. The key of a value is prefix and member.
// List does not use the cache.
func (c *Client) List(ctx context.Context, list, prefix string, size int) ([]Listed, error) {
	members, heads, err := c.listMembers(ctx, list, prefix, size)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(members))
	for _, member := range members[len(heads):] {
		keys = append(keys, prefix+member)
	}
	rest, err := c.read(ctx, keys, size)
	if err != nil {
		return nil, err
	}
	listed := make([]Listed, len(members))
	for i, head := range append(heads, rest...) {
		listed[i] = Listed{members[i], head}
	}
	return listed, nil
}

// listMembers returns a list's members, and the first bytes of the values of the first members.
func (c *Client) listMembers(ctx context.Context, list, prefix string, size int) ([]string, []Value, error) {
	if !c.isAtomic() {
		cmd := redis.NewStringSliceCmd(ctx, "zrange", list, 0, -1)
		err := c.process(ctx, cmd)
		if err != nil {
			return nil, nil, c.explain(err)
		}
		return cmd.Val(), nil, nil
	}
	reply, err := c.runUnawaited(ctx, newCall(listScript, []string{list}, prefix, size-1, listAtOnce))
	if err != nil {
		return nil, nil, err
	}
	parts, _ := reply.([]any)
	if len(parts) != 2 {
		return nil, nil, fmt.Errorf("session: Redis answered %T for a list", reply)
	}
	members, heads := texts(parts[0]), texts(parts[1])
	values := make([]Value, len(heads))
	for i, head := range heads {
		values[i] = asValue([]byte(head))
	}
	return members, values, nil
}

func texts(reply any) []string {
	elements, _ := reply.([]any)
	all := make([]string, len(elements))
	for i, element := range elements {
		all[i], _ = element.(string)
	}
	return all
}

// GetAll returns the values of keys. A value is nil if it is missing, or if the key holds something else. GetAll does
// not use the cache.
func (c *Client) GetAll(ctx context.Context, keys []string) ([]Value, error) {
	return c.read(ctx, keys, 0)
}

// read returns the first size bytes of values, or the whole values if size is zero.
func (c *Client) read(ctx context.Context, keys []string, size int) ([]Value, error) {
	values := make([]Value, 0, len(keys))
	for some := range slices.Chunk(keys, readAtOnce) {
		replies, _ := c.redis.Pipelined(ctx, func(p redis.Pipeliner) error { // each reply has its own error
			for _, key := range some {
				p.GetRange(ctx, key, 0, int64(size)-1)
			}
			return nil
		})
		for _, reply := range replies {
			err := reply.Err()
			if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
				return nil, c.explain(err)
			}
			raw, _ := reply.(*redis.StringCmd).Bytes()
			values = append(values, asValue(raw))
		}
	}
	return values, nil
}

// process runs a command that uses one key. Except in a cluster, it may send the command in a batch.
func (c *Client) process(ctx context.Context, cmd redis.Cmder) error {
	if c.batches != nil {
		return c.batches.process(ctx, cmd)
	}
	return c.redis.Process(ctx, cmd)
}

// run runs a script. If replicas are set, it waits for them.
func (c *Client) run(ctx context.Context, one call) (any, error) {
	if c.replicas == 0 {
		return c.runUnawaited(ctx, one)
	}
	replies, err := c.runAll(ctx, []call{one})
	if err != nil {
		return nil, err
	}
	return replies[0], nil
}

func (c *Client) runUnawaited(ctx context.Context, one call) (any, error) {
	at := c.node(ctx, one.key)
	cmd := one.command(ctx, at.knows(one.script))
	err := c.process(ctx, cmd)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // the server was started again
		cmd = one.command(ctx, false)
		err = c.process(ctx, cmd)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, c.explain(err)
	}
	at.learn(one.script)
	return cmd.Val(), nil
}

// runAll runs several scripts. Without replicas to wait for, it takes one round trip.
func (c *Client) runAll(ctx context.Context, calls []call) ([]any, error) {
	if c.replicas == 0 {
		if len(calls) == 1 {
			reply, err := c.runUnawaited(ctx, calls[0])
			return []any{reply}, err
		}
		return c.runTogether(ctx, c.redis, calls, 0)
	}
	return c.runAwaited(ctx, calls)
}

// runTogether runs scripts in one round trip. If a server does not know some of them, these take a second round trip.
// If patience is not zero, it waits for the replicas of the server.
func (c *Client) runTogether(ctx context.Context, client redis.UniversalClient, calls []call, patience time.Duration) ([]any, error) {
	replies := make([]any, len(calls))
	places := make([]int, len(calls))
	for i := range places {
		places[i] = i
	}
	for known := true; len(places) > 0; known = false {
		var wait *redis.Cmd
		commands, _ := client.Pipelined(ctx, func(p redis.Pipeliner) error { // each reply has its own error
			for _, i := range places {
				at := c.node(ctx, calls[i].key)
				_ = p.Process(ctx, calls[i].command(ctx, known && at.knows(calls[i].script)))
			}
			if patience > 0 {
				wait = p.Do(ctx, "wait", c.replicas, patience.Milliseconds())
			}
			return nil
		})
		var unknown []int
		for at, i := range places {
			reply, err := commands[at].(*redis.Cmd).Result()
			switch {
			case known && redis.HasErrorPrefix(err, "NOSCRIPT"):
				unknown = append(unknown, i)
				continue
			case err != nil && !errors.Is(err, redis.Nil):
				return nil, c.explain(err)
			}
			c.node(ctx, calls[i].key).learn(calls[i].script)
			replies[i] = reply
		}
		if places = unknown; wait != nil && len(unknown) == 0 {
			if err := c.checkReplicas(wait); err != nil {
				return nil, err
			}
		}
	}
	return replies, nil
}

// runAwaited runs scripts, server by server, and waits for the replicas of each. WAIT only counts writes of its own
// connection. So it is sent in one pipeline with the scripts, and the scripts write even if their work was done before.
func (c *Client) runAwaited(ctx context.Context, calls []call) ([]any, error) {
	masters := make(map[*redis.Client][]int) // the places of their calls
	for i, one := range calls {
		master, err := c.master(ctx, one.key)
		if err != nil {
			return nil, c.explain(err)
		}
		masters[master] = append(masters[master], i)
	}
	replies := make([]any, len(calls))
	for master, places := range masters {
		var part []call
		for _, at := range places {
			part = append(part, calls[at])
		}
		answers, err := c.runTogether(ctx, master, part, patienceOf(ctx, master))
		if err != nil {
			return nil, err
		}
		for i, at := range places {
			replies[at] = answers[i]
		}
	}
	return replies, nil
}

// master returns the client of the server that has key.
func (c *Client) master(ctx context.Context, key string) (*redis.Client, error) {
	if cluster, ok := c.redis.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return c.redis.(*redis.Client), nil // New refuses replicas with any other client
}

// patienceOf returns how long replicas may take. The answer must come before the context or the client gives up.
func patienceOf(ctx context.Context, master *redis.Client) time.Duration {
	left := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	if timeout := master.Options().ReadTimeout; timeout > 0 {
		left = min(left, timeout)
	}
	return max(left*3/4, time.Millisecond) // zero means for ever
}

func (c *Client) checkReplicas(wait *redis.Cmd) error {
	n, err := wait.Int64()
	switch {
	case err != nil:
		return c.explain(err)
	case n < int64(c.replicas):
		return fmt.Errorf("session: the change has not reached RedisOptions.WaitReplicas replicas: %d of %d", n, c.replicas)
	}
	return nil
}

// explain adds to err, which may be nil, what can be done about it. It also tells the client of a cluster if a node does
// not answer, because a replica may have taken over, and the client itself looks for such changes only once a minute.
func (c *Client) explain(err error) error {
	var network net.Error // deadlines included
	if cluster, ok := c.redis.(*redis.ClusterClient); ok && errors.As(err, &network) {
		cluster.ReloadState(context.Background()) // in the background, and not more often than it takes
	}
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return fmt.Errorf("%w: %w", ErrForeign, err)
	case c.isAtomic() && isOfCluster(err):
		return fmt.Errorf("%w: %w", errClusterNode, err)
	case isForbidden(err):
		return fmt.Errorf("session: the Redis user lacks a right that RedisStore lists: %w", err)
	}
	return err
}
