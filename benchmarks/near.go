package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

// nearResult is what the near cache was seen to do.
type nearResult struct {
	pairs, stale int             // writes followed by a read, and reads that did not see the write
	failed       int             // pairs of which Redis did not answer one part in time
	asked, reads int             // reads that reached Redis, of all
	seen         []time.Duration // from the end of a revocation until the other process's cache knows, sorted
}

const nearWriters = 8

// readerPause keeps those who only read from taking the whole machine: what they read is in memory, so that they would
// never wait, and everyone else would wait for them.
const readerPause = 50 * time.Microsecond

func runNear(r *report, server *server) error {
	var err error
	if r.near.pairs, r.near.stale, r.near.failed, err = ownWrites(server, r.plan.pairs); err != nil {
		return err
	}
	if r.near.asked, r.near.reads, err = cachedReads(server, r.plan.pairs); err != nil {
		return err
	}
	r.near.seen, err = revocations(server, r.plan.revocations)
	return err
}

// counterApp does what the request's headers say, and tells the user and the text that is stored.
func counterApp(url string) (http.Handler, *session.Manager, error) {
	store, err := openStore(url, session.RedisOptions{NearCache: nearOptions})
	if err != nil {
		return nil, nil, err
	}
	manager, err := session.New(store, session.Config{})
	if err != nil {
		return nil, nil, err
	}
	return manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if user := r.Header.Get("Login"); user != "" {
			if err := s.Login(user); err != nil {
				panic(err)
			}
		}
		if r.Header.Get("Logout") != "" {
			if err := s.Destroy(); err != nil {
				panic(err)
			}
		}
		if text := r.Header.Get("Write"); text != "" {
			keyText.Set(s, text)
		}
		text, _ := keyText.Get(s)
		_, _ = fmt.Fprint(w, s.User(), text)
	})), manager, nil
}

// with makes a request with one more header.
func (c *client) with(name, value string) *httptest.ResponseRecorder {
	plain := c.request.Header
	c.request.Header = plain.Clone()
	c.request.Header.Set(name, value)
	w := c.visit()
	if len(w.Header()["Set-Cookie"]) == 0 {
		c.request.Header = plain
	}
	return w
}

// ownWrites writes and reads back, while others keep the cache full of what was there before.
func ownWrites(server *server, pairs int) (total, stale, failed int, err error) {
	h, _, err := counterApp(server.url())
	if err != nil {
		return 0, 0, 0, err
	}
	var misses, failures atomic.Int64
	var wg sync.WaitGroup
	for range nearWriters {
		wg.Go(func() {
			writer := newClient(h)
			writer.with("Write", "first")
			stop, reader := make(chan struct{}), newClient(h)
			reader.request.Header = writer.request.Header
			var reading sync.WaitGroup
			reading.Go(func() {
				for open := true; open; {
					select {
					case <-stop:
						open = false
					default:
						reader.visit()
						time.Sleep(readerPause)
					}
				}
			})
			for i := range pairs / nearWriters {
				text := fmt.Sprint(i)
				written, read := writer.with("Write", text), writer.visit()
				switch {
				case written.Code != http.StatusOK || read.Code != http.StatusOK:
					failures.Add(1)
				case read.Body.String() != text:
					misses.Add(1)
				}
			}
			close(stop)
			reading.Wait()
		})
	}
	wg.Wait()
	return pairs / nearWriters * nearWriters, int(misses.Load()), int(failures.Load()), nil
}

// cachedReads counts how many reads of an unchanging session Redis is asked about.
func cachedReads(server *server, reads int) (asked, total int, err error) {
	h, _, err := counterApp(server.url())
	if err != nil {
		return 0, 0, err
	}
	c := newClient(h)
	c.with("Write", "first")
	ctx := context.Background()
	if err := server.admin.ConfigResetStat(ctx).Err(); err != nil {
		return 0, 0, err
	}
	for range reads {
		c.visit()
	}
	stats := server.admin.InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_get")
	if stats != "" {
		if _, err := fmt.Sscanf(stats, "calls=%d", &asked); err != nil {
			return 0, 0, err
		}
	}
	return asked, reads, nil
}

// revocations ends sessions through one client and watches another one's cache.
func revocations(server *server, times int) ([]time.Duration, error) {
	h, _, err := counterApp(server.url())
	if err != nil {
		return nil, err
	}
	_, elsewhere, err := counterApp(server.url())
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	var seen []time.Duration
	for i := range times {
		user := fmt.Sprintf("revoked-%d", i)
		c := newClient(h)
		c.with("Login", user)
		for range 3 { // into the cache
			if c.visit().Body.String() != user {
				return nil, errors.New("the login is not seen")
			}
		}
		if n, err := elsewhere.RevokeUser(ctx, user); err != nil || n != 1 {
			return nil, fmt.Errorf("revoked %d sessions: %w", n, err)
		}
		start := time.Now()
		for c.visit().Body.String() == user {
			if time.Since(start) > 2*nearOptions.MaxStaleness {
				return nil, errors.New("a revocation is never seen")
			}
			time.Sleep(readerPause)
		}
		seen = append(seen, time.Since(start))
	}
	slices.Sort(seen)
	return seen, nil
}
