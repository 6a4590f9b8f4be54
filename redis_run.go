package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// How scripts get to Redis: by their hashes, alone or several in one round trip, with a wait for the replicas if the
// options say so.

// call is one run of a script.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
}

// run runs a script.
func (s *RedisStore) run(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	if s.options.WaitReplicas == 0 {
		return s.runUnawaited(ctx, script, keys, args...)
	}
	replies, err := s.runAwaited(ctx, []call{{script, keys, args}})
	if err != nil {
		return nil, err
	}
	return replies[0], nil
}

// runAll runs several scripts, in one round trip unless replicas are to be waited for.
func (s *RedisStore) runAll(ctx context.Context, calls []call) ([]any, error) {
	if s.options.WaitReplicas == 0 {
		return runOn(ctx, s.client, calls)
	}
	return s.runAwaited(ctx, calls)
}

// runUnawaited runs a script, in a batch if there are batches. Where Redis does not know it, it is sent whole, as
// redis.Script does.
func (s *RedisStore) runUnawaited(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	if s.batches == nil {
		return script.Run(ctx, s.client, keys, args...).Result()
	}
	all := append(make([]any, 0, 3+len(keys)+len(args)), "evalsha", script.Hash(), len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	err := s.batches.process(ctx, cmd)
	switch {
	case err == nil:
		return cmd.Val(), nil
	case redis.HasErrorPrefix(err, "NOSCRIPT"):
		return script.Eval(ctx, s.client, keys, args...).Result()
	}
	return nil, err
}

// pipeliner is a client, or one connection of it.
type pipeliner interface {
	Pipelined(ctx context.Context, fill func(redis.Pipeliner) error) ([]redis.Cmder, error)
}

// runOn runs scripts in one round trip, and in a second one those that Redis did not know.
func runOn(ctx context.Context, client pipeliner, calls []call) ([]any, error) {
	replies := make([]any, len(calls))
	var unknown []int
	run := func(indexes []int, one func(redis.Pipeliner, call) *redis.Cmd) error {
		commands := make([]*redis.Cmd, len(indexes))
		_, _ = client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, at := range indexes {
				commands[i] = one(p, calls[at])
			}
			return nil
		})
		for i, at := range indexes {
			reply, err := commands[i].Result()
			switch {
			case err != nil && redis.HasErrorPrefix(err, "NOSCRIPT"):
				unknown = append(unknown, at)
			case err != nil:
				return err
			}
			replies[at] = reply
		}
		return nil
	}
	all := make([]int, len(calls))
	for i := range all {
		all[i] = i
	}
	err := run(all, func(p redis.Pipeliner, c call) *redis.Cmd { return c.script.EvalSha(ctx, p, c.keys, c.args...) })
	if err != nil || len(unknown) == 0 {
		return replies, err
	}
	again := unknown
	unknown = nil
	err = run(again, func(p redis.Pipeliner, c call) *redis.Cmd { return c.script.Eval(ctx, p, c.keys, c.args...) })
	return replies, err
}

// runAwaited runs scripts, master by master, and waits for the replicas of each.
func (s *RedisStore) runAwaited(ctx context.Context, calls []call) ([]any, error) {
	masters := make(map[*redis.Client][]int) // the places of their calls
	for i, c := range calls {
		master, err := s.master(ctx, c.keys[0])
		if err != nil {
			return nil, err
		}
		masters[master] = append(masters[master], i)
	}
	replies := make([]any, len(calls))
	for master, places := range masters {
		var part []call
		for _, at := range places {
			part = append(part, calls[at])
		}
		answers, err := s.runAndWait(ctx, master, part)
		if err != nil {
			return nil, err
		}
		for i, at := range places {
			replies[at] = answers[i]
		}
	}
	return replies, nil
}

// master returns the client of the master that has key.
func (s *RedisStore) master(ctx context.Context, key string) (*redis.Client, error) {
	switch client := s.client.(type) {
	case *redis.Client:
		return client, nil
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, key)
	}
	return nil, fmt.Errorf("session: RedisOptions.WaitReplicas does not work with a %T: %w", s.client, errors.ErrUnsupported)
}

var errNotReplicated = errors.New("session: the change has not reached RedisOptions.WaitReplicas replicas")

// runAndWait does both on one connection: WAIT waits for what its own wrote.
func (s *RedisStore) runAndWait(ctx context.Context, master *redis.Client, calls []call) ([]any, error) {
	conn := master.Conn()
	defer func() { _ = conn.Close() }()
	replies, err := runOn(ctx, conn, calls)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultStoreTimeout)
	}
	patience := max(time.Until(deadline)*3/4, time.Millisecond) // WAIT answers before the deadline, and zero is for ever
	n, err := conn.Wait(ctx, s.options.WaitReplicas, patience).Result()
	switch {
	case err != nil:
		return nil, err
	case n < int64(s.options.WaitReplicas):
		return nil, fmt.Errorf("%w: %d of %d", errNotReplicated, n, s.options.WaitReplicas)
	}
	return replies, nil
}
