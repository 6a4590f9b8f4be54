package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
)

const (
	pipeline     = 2000
	sessionsEach = 4 // of a user
)

// crowd is a Redis full of sessions. Most are copies of one that the store made, by pipelines.
type crowd struct {
	population
	client *redis.Client
	redis  *session.RedisStore
}

func newCrowd(server *server) (*crowd, error) {
	store, err := openStore(server.url(), session.RedisOptions{})
	if err != nil {
		return nil, err
	}
	c := &crowd{client: redis.NewClient(&redis.Options{Addr: server.addr, ReadTimeout: time.Minute}), redis: store}
	c.store = store
	return c, c.client.FlushAll(context.Background()).Err()
}

// template returns the fields of a session as the store writes them.
func (c *crowd) template(ctx context.Context, user string) (map[string]string, *session.Record, error) {
	r := newRecord(user, 3)
	if err := create(ctx, c.store, r); err != nil {
		return nil, nil, err
	}
	fields, err := c.client.HGetAll(ctx, "session:"+r.ID).Result()
	return fields, r, err
}

// add makes n more sessions of users who have so many each.
func (c *crowd) add(n int, each int, user func(int) string) ([]string, error) {
	ctx := context.Background()
	fields, like, err := c.template(ctx, "template")
	if err != nil {
		return nil, err
	}
	ids := make([]string, n)
	for first := 0; first < n; first += pipeline {
		_, err := c.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := first; i < min(first+pipeline, n); i++ {
				ids[i] = newID()
				name := user(i / each)
				fields["i"], fields["u"] = ids[i], name
				p.HSet(ctx, "session:"+ids[i], fields)
				p.PExpire(ctx, "session:"+ids[i], time.Hour)
				p.ZAdd(ctx, "session:user:"+name, redis.Z{Score: float64(like.Deadline.UnixMicro()), Member: ids[i]})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, c.store.Delete(ctx, like.ID, like.Deadline)
}

func (c *crowd) usedMemory() float64 {
	var n float64
	_, _ = fmt.Sscan(c.client.InfoMap(context.Background(), "memory").Item("Memory", "used_memory"), &n)
	return n
}

// grow brings the crowd to the size, and tries the store.
func (c *crowd) grow(size, calls int) (growthRow, error) {
	row := growthRow{store: "Redis", sessions: size}
	before, had, start := c.usedMemory(), len(c.ids), time.Now()
	ids, err := c.add(size-had, sessionsEach, func(i int) string { return fmt.Sprintf("user-%d", had+i) })
	if err != nil {
		return row, err
	}
	c.ids = append(c.ids, ids...)
	row.took = time.Since(start)
	row.bytes = (c.usedMemory() - before) / float64(len(ids))
	found, err := c.store.UserSessions(context.Background(), fmt.Sprintf("user-%d", had))
	if err == nil && len(found) != min(sessionsEach, len(ids)) {
		err = fmt.Errorf("a user has %d sessions", len(found))
	}
	if err != nil {
		return row, err
	}
	row.calls, err = c.try(calls)
	return row, err
}

// revokeRow is how long it takes to end all sessions of a user.
type revokeRow struct {
	sessions, others int
	took             time.Duration
}

func (c *crowd) revoke(sessions, times int) (revokeRow, error) {
	ctx := context.Background()
	row := revokeRow{sessions: sessions, others: len(c.ids)}
	var all []time.Duration
	for i := range times {
		user := fmt.Sprintf("victim-%d-%d", sessions, i)
		if _, err := c.add(sessions, sessions, func(int) string { return user }); err != nil {
			return row, err
		}
		start := time.Now()
		n, err := c.redis.EndUserSessions(ctx, user, nil)
		if err != nil || n != sessions {
			return row, fmt.Errorf("ended %d of %d sessions: %w", n, sessions, err)
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	row.took = all[len(all)/2]
	return row, nil
}

// usageRow is what Redis says a session takes.
type usageRow struct {
	what  string
	bytes int64
}

func (c *crowd) usage() ([]usageRow, error) {
	ctx := context.Background()
	var rows []usageRow
	add := func(what, key string, divisor int64) error {
		n, err := c.client.MemoryUsage(ctx, key, 0).Result()
		rows = append(rows, usageRow{what, n / divisor})
		return err
	}
	for _, keys := range []int{3, 30, 300} {
		r := newRecord("", keys)
		if err := create(ctx, c.store, r); err != nil {
			return nil, err
		}
		if err := add(fmt.Sprintf("session of %d values", keys), "session:"+r.ID, 1); err != nil {
			return nil, err
		}
	}
	for _, sessions := range []int{1, 10, 1000} {
		user := fmt.Sprintf("owner-%d", sessions)
		if _, err := c.add(sessions, sessions, func(int) string { return user }); err != nil {
			return nil, err
		}
		what := fmt.Sprintf("index entry, for a user with %d", sessions)
		if err := add(what, "session:user:"+user, int64(sessions)); err != nil {
			return nil, err
		}
	}
	r := newRecord("", 3)
	if err := create(ctx, c.store, r); err != nil {
		return nil, err
	}
	if err := c.store.Delete(ctx, r.ID, r.Deadline); err != nil {
		return nil, err
	}
	return rows, add("tombstone, for a minute", "session:"+r.ID, 1)
}
