package session

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// The index of a user is a sorted set of the user's session ids by their deadlines, so that it cleans itself. An id is
// put there before its session exists, and may outlive it: what counts is the session.

// indexBatch is how many sessions one round trip asks about or ends.
const indexBatch = 1000

// UserSessions implements UserStore.
func (s *RedisStore) UserSessions(ctx context.Context, user string) ([]*Record, error) {
	ids, err := s.listed(ctx, user)
	if err != nil {
		return nil, err
	}
	now := Now(ctx)
	var records []*Record
	for batch := range slices.Chunk(ids, indexBatch) {
		replies, _ := s.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each reply has its own error
			for _, id := range batch {
				p.HMGet(ctx, s.key(id), fieldID, fieldUser, fieldNote, fieldLimits, fieldUsed, fieldEnded)
			}
			return nil
		})
		for i, reply := range replies {
			if err := reply.Err(); err != nil && !errors.Is(redisError(err), ErrNotFound) {
				return nil, err
			}
			if r := readAttributes(batch[i], reply); r != nil && r.User == user && r.Live(now) == nil {
				records = append(records, r)
			}
		}
	}
	return records, nil
}

// listed returns the ids in the user's index whose deadlines have not passed. It goes through a pipeline, which a near
// cache does not answer: that would miss the sessions that have just begun.
func (s *RedisStore) listed(ctx context.Context, user string) ([]string, error) {
	p := s.client.Pipeline()
	ids := p.ZRangeByScore(ctx, s.index(user), &redis.ZRangeBy{
		Min: strconv.FormatInt(micros(Now(ctx)), 10), Max: "+inf",
	})
	_, err := p.Exec(ctx)
	return ids.Val(), err
}

// readAttributes makes a Record without values of the reply to HMGET, or returns nil if it is none.
func readAttributes(id string, reply redis.Cmder) *Record {
	values, err := reply.(*redis.SliceCmd).Result()
	if err != nil {
		return nil
	}
	fields := make(map[string]string, len(values))
	for i, name := range []string{fieldID, fieldUser, fieldNote, fieldLimits, fieldUsed, fieldEnded} {
		if text, ok := values[i].(string); ok {
			fields[name] = text
		}
	}
	r, err := readRecord(id, fields)
	if err != nil {
		return nil
	}
	return r
}

// EndUserSessions implements Revoker. It looks again until nothing is left: a session that was just changing its id
// appears under the new one.
func (s *RedisStore) EndUserSessions(ctx context.Context, user string, except []string) (int, error) {
	seen := map[string]bool{}
	for _, id := range except {
		seen[id] = true
	}
	total := 0
	for {
		ids, err := s.listed(ctx, user)
		if err != nil {
			return total, err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return seen[id] })
		if len(ids) == 0 {
			return total, nil
		}
		for batch := range slices.Chunk(ids, indexBatch) {
			n, err := s.endListed(ctx, user, batch, seen)
			if total += n; err != nil {
				return total, err
			}
		}
	}
}

// endListed ends sessions from the user's index, and those they went on as meanwhile, and takes them off the index. It
// notes in seen what it was done with, and passes over what is there.
func (s *RedisStore) endListed(ctx context.Context, user string, ids []string, seen map[string]bool) (int, error) {
	ended, listed := 0, ids
	for len(ids) > 0 {
		replies, err := s.endAll(ctx, user, ids)
		if err != nil {
			return ended, err
		}
		var successors []string
		for i, id := range ids {
			seen[id] = true
			switch reply := replies[i]; {
			case reply == "live":
				ended++
			case reply != "none" && reply != "early" && reply != "-" && !seen[reply]:
				successors = append(successors, reply)
			}
		}
		ids = successors
	}
	members := make([]any, len(listed))
	for i, id := range listed {
		members[i] = id
	}
	return ended, s.client.ZRem(ctx, s.index(user), members...).Err()
}

// endAll leaves tombstones for all ids in one round trip, also where there is no session yet.
func (s *RedisStore) endAll(ctx context.Context, user string, ids []string) ([]string, error) {
	if s.cache != nil {
		defer s.cache.wrote(ids...)
	}
	calls := make([]call, len(ids))
	for i, id := range ids {
		calls[i] = call{deleteScript, []string{s.key(id)}, s.deletion(user, id, true)}
	}
	replies, err := s.runAll(ctx, calls)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(replies))
	for i, reply := range replies {
		texts[i], _ = reply.(string)
	}
	return texts, nil
}

// enlist puts the session into its user's index, for topologies where the script that writes it can't.
func (s *RedisStore) enlist(ctx context.Context, r *Record, now time.Time) error {
	c := s.enlisting(r, now)
	_, err := s.run(ctx, c.script, c.keys, c.args...)
	return err
}

func (s *RedisStore) enlisting(r *Record, now time.Time) call {
	return call{enlistScript, []string{s.index(r.User)}, []any{micros(now), r.ID, micros(r.Deadline)}}
}

// createAcross stores a session under a new id where the old one, the new one and the index live in different slots: the
// index and the end of the old one in one round trip, then the new one. A failure between them signs out.
func (s *RedisStore) createAcross(ctx context.Context, c *Change, now time.Time) error {
	source, err := s.prepare(ctx, c, now)
	if err != nil {
		if c.Record.User != "" {
			_ = s.client.ZRem(ctx, s.index(c.Record.User), c.Record.ID).Err()
		}
		return err
	}
	next, err := c.Apply(source, nil, now)
	if err != nil {
		return err
	}
	if next.User != "" && next.Deadline.After(c.Record.Deadline) { // another request has lengthened it
		if err := s.enlist(ctx, next, now); err != nil {
			return err
		}
	}
	whole := &Change{Operation: c.Operation, Record: next, Create: true}
	for key := range next.Values {
		whole.Set = append(whole.Set, key)
	}
	for id := range next.Flashes {
		whole.FlashesAdded = append(whole.FlashesAdded, id)
	}
	reply, err := s.run(ctx, createScript, []string{s.key(next.ID)}, s.creation(whole, now)...)
	if err == nil {
		err = verdict(next.ID, reply)
	}
	if err != nil || c.MaxPerUser == 0 {
		return err
	}
	return s.evict(ctx, next, c.MaxPerUser)
}

// prepare puts the new id into the user's index, ends the old session and returns it; nil if there is none and none is
// needed.
func (s *RedisStore) prepare(ctx context.Context, c *Change, now time.Time) (*Record, error) {
	var calls []call
	if c.Replaces() != "" {
		args := arguments{operationMark(c.Operation), c.Record.ID, flag(c.Fresh)}
		args.list(expectations(c))
		calls = append(calls, call{handoverScript, []string{s.key(c.Replaces())}, args})
	}
	if c.Record.User != "" {
		calls = append(calls, s.enlisting(c.Record, now))
	}
	if len(calls) == 0 {
		return nil, nil
	}
	replies, err := s.runAll(ctx, calls)
	if err != nil || c.Replaces() == "" {
		return nil, err
	}
	source, err := handedOver(c.Replaces(), replies[0])
	if c.Fresh && errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return source, err
}

// handedOver reads the reply of the script that ends the old session.
func handedOver(id string, reply any) (*Record, error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2 {
		return nil, verdict(id, reply)
	}
	flat, _ := parts[1].([]any)
	if parts[0] == "conflict" {
		return nil, verdict(id, flat)
	}
	fields := pairs(flat)
	delete(fields, fieldEnded)
	return readRecord(id, fields)
}

// evict ends the user's oldest sessions over the maximum. It comes after the creation, and each process takes the same
// for the oldest, so that logins at the same time leave exactly the maximum.
func (s *RedisStore) evict(ctx context.Context, latest *Record, maximum int) error {
	records, err := s.UserSessions(ctx, latest.User)
	if err != nil || len(records) <= maximum {
		return err
	}
	slices.SortFunc(records, byLogin)
	var ids []string
	for _, r := range records[:len(records)-maximum] {
		ids = append(ids, r.ID)
	}
	_, err = s.endListed(ctx, latest.User, ids, map[string]bool{})
	return err
}
