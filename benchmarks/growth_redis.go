package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
)

const (
	fillers      = 64 // goroutines that make sessions
	sessionsEach = 4  // of a user
)

// crowd is a Redis full of sessions.
type crowd struct {
	population
	client   *redis.Client
	sessions *session.Manager
}

func newCrowd(server *server) (*crowd, error) {
	store, err := openStore(server.url(), session.RedisOptions{})
	if err != nil {
		return nil, err
	}
	manager, err := session.New(store, session.Config{StoreTimeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	c := &crowd{client: redis.NewClient(&redis.Options{Addr: server.addr, ReadTimeout: time.Minute}), sessions: manager}
	c.store = store
	return c, c.client.FlushAll(context.Background()).Err()
}

// add makes n more sessions of users who have so many each.
func (c *crowd) add(n int, each int, user func(int) string) ([]string, error) {
	ids, errs := make([]string, n), make([]error, fillers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range fillers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[worker] == nil; i = int(next.Add(1)) - 1 {
				r := newRecord(user(i/each), 3)
				ids[i], errs[worker] = r.ID, create(context.Background(), c.store, r)
			}
		})
	}
	wg.Wait()
	return ids, errors.Join(errs...)
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
	found, err := c.store.UserSessions(context.Background(), realm, fmt.Sprintf("user-%d", had))
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
		n, err := c.sessions.RevokeUser(ctx, user)
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

// usage asks what sessions and lists of users take. It empties the server.
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
		list, err := c.onlyList(ctx, sessions)
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("entry in a user's list of %d", sessions)
		if err := add(what, list, int64(sessions)); err != nil {
			return nil, err
		}
	}
	r := newRecord("", 3)
	if err := errors.Join(create(ctx, c.store, r), end(ctx, c.store, r.ID)); err != nil {
		return nil, err
	}
	return rows, add("tombstone, for a minute", "session:"+r.ID, 1)
}

// onlyList makes a user with so many sessions, and returns the key of the list.
func (c *crowd) onlyList(ctx context.Context, sessions int) (string, error) {
	if err := c.client.FlushAll(ctx).Err(); err != nil {
		return "", err
	}
	if _, err := c.add(sessions, sessions, func(int) string { return "owner" }); err != nil {
		return "", err
	}
	lists, err := c.client.Keys(ctx, "session:user:*").Result()
	if err != nil || len(lists) != 1 {
		return "", fmt.Errorf("a user has %d lists: %w", len(lists), err)
	}
	return lists[0], nil
}
