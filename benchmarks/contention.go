package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

// One session that many requests change at the same time. All have loaded it before the first changes it.

// contest is one such case, measured several times.
type contest struct {
	store     string
	what      string
	writers   int
	processes int       // Managers with stores of their own
	swaps     []float64 // that the store was asked for
	nanos     []float64 // until all were answered
	lost      int       // changes, in all passes
}

const (
	whatKeys   = "write a key each"
	whatUpdate = "Update one key"
)

// changer is a store that can end.
type changer interface {
	session.UserStore
	session.Ender
}

// countingStore counts swaps.
type countingStore struct {
	changer
	swaps *atomic.Int64
}

func (c countingStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	c.swaps.Add(1)
	return c.changer.Swap(ctx, token, swaps...)
}

// stores opens as many stores as there are processes, on the same sessions.
func (c *contest) stores(url string) ([]changer, error) {
	if c.store == nameMemory {
		return []changer{session.NewMemoryStore()}, nil
	}
	var all []changer
	for range c.processes {
		store, err := openStore(url, session.RedisOptions{})
		if err != nil {
			return nil, err
		}
		all = append(all, store)
	}
	return all, nil
}

func contests() []*contest {
	var all []*contest
	for _, name := range []string{nameMemory, nameRedis} {
		for processes := 1; processes <= 2 && (processes == 1 || name == nameRedis); processes++ {
			all = append(all,
				&contest{store: name, what: whatKeys, writers: 16, processes: processes},
				&contest{store: name, what: whatKeys, writers: 200, processes: processes},
				&contest{store: name, what: whatUpdate, writers: 200, processes: processes})
		}
	}
	return all
}

func runContention(r *report, server *server) error {
	r.contests = contests()
	for _, c := range r.contests {
		stores, err := c.stores(server.url())
		if err != nil {
			return err
		}
		for range r.plan.contests {
			if err := c.hold(stores); err != nil {
				return fmt.Errorf("%d writers, %s: %w", c.writers, c.what, err)
			}
		}
		closeAll(stores)
	}
	var err error
	r.endings, err = endings(server, r.plan.contests)
	return err
}

func closeAll(stores []changer) {
	for _, s := range stores {
		if s, ok := s.(*session.RedisStore); ok {
			_ = s.Close()
		}
	}
}

// hold has all writers change one new session.
func (c *contest) hold(stores []changer) error {
	var swaps atomic.Int64
	var loaded sync.WaitGroup
	loaded.Add(c.writers)
	begin := make(chan struct{})
	var handlers []http.Handler
	for _, store := range stores {
		manager, err := session.New(countingStore{store, &swaps}, session.Config{})
		if err != nil {
			return err
		}
		handlers = append(handlers, manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.serve(w, r, func() { loaded.Done(); <-begin })
		})))
	}
	visitor := newClient(handlers[0])
	visitor.with("Do", "seed")
	swaps.Store(0)
	var failed atomic.Int64
	var wg sync.WaitGroup
	for i := range c.writers {
		writer := &client{handler: handlers[i%len(handlers)], request: visitor.request}
		wg.Go(func() {
			if writer.with("Do", fmt.Sprintf("key-%03d", i)).Code != http.StatusOK {
				failed.Add(1)
			}
		})
	}
	loaded.Wait()
	start := time.Now()
	close(begin)
	wg.Wait()
	c.nanos = append(c.nanos, float64(time.Since(start)))
	c.swaps = append(c.swaps, float64(swaps.Load()))
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d were not answered", n)
	}
	var kept int
	if _, err := fmt.Sscan(visitor.with("Do", "count").Body.String(), &kept); err != nil {
		return err
	}
	c.lost += c.writers - kept
	return nil
}

func (c *contest) serve(w http.ResponseWriter, r *http.Request, await func()) {
	s := session.FromContext(r.Context())
	switch key := r.Header.Get("Do"); {
	case key == "seed":
		keyUser.Set(s, userID)
	case key == "count" && c.what == whatUpdate:
		n, _ := keyCounter.Get(s)
		_, _ = fmt.Fprint(w, n)
	case key == "count":
		_, _ = fmt.Fprint(w, len(s.Keys())-1)
	case c.what == whatUpdate:
		s.Has(string(keyUser))
		await()
		keyCounter.Update(s, func(n int) int { return n + 1 })
	default:
		s.Has(string(keyUser))
		await()
		s.Set(key, nonce)
	}
}

// loopingWriters keep changing the session that is to end.
const loopingWriters = 64

// endings logs out of a session that others keep changing through another client, and returns how long that took.
func endings(server *server, times int) ([]time.Duration, error) {
	h, _, err := counterApp(server.url())
	if err != nil {
		return nil, err
	}
	elsewhere, _, err := counterApp(server.url())
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for range times {
		took, err := endBesideWriters(h, elsewhere)
		if err != nil {
			return nil, err
		}
		all = append(all, took)
	}
	return all, nil
}

func endBesideWriters(h, elsewhere http.Handler) (time.Duration, error) {
	owner := newClient(h)
	owner.with("Login", "ada")
	var done atomic.Bool
	var writes atomic.Int64
	var wg sync.WaitGroup
	for range loopingWriters {
		writer := &client{handler: elsewhere, request: owner.request}
		wg.Go(func() {
			for !done.Load() {
				writer.with("Write", "text")
				writes.Add(1)
			}
		})
	}
	for writes.Load() < 4*loopingWriters { // until all are at it
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	answer := owner.with("Logout", "now")
	took := time.Since(start)
	done.Store(true)
	wg.Wait()
	if answer.Code != http.StatusOK {
		return 0, fmt.Errorf("a logout was answered with %d", answer.Code)
	}
	late := &client{handler: h, request: owner.request}
	if late.visit().Body.String() != "" {
		return 0, errors.New("a session that has ended is open")
	}
	return took, nil
}

func (r *report) contentionTable(b *bytes.Buffer) {
	t := table{head: []string{"one session", "writers", "processes", "swaps", "until all are answered", "spread", "lost"}}
	for _, c := range r.contests {
		took := summarise(c.nanos)
		t.add(c.store+", "+c.what, count(c.writers), count(c.processes), count(int(summarise(c.swaps).median)),
			duration(time.Duration(took.median)), percent(took), count(c.lost))
	}
	t.write(b, "One session, changed by many requests at once")
	if len(r.endings) == 0 {
		return
	}
	slowest := r.endings[0]
	for _, took := range r.endings {
		slowest = max(slowest, took)
	}
	fmt.Fprintf(b, "A logout beside %d writers of the session in another process took %s at most, of %d.\n\n",
		loopingWriters, duration(slowest), len(r.endings))
}

// contestTargets are about the numbers of swaps, which no other load on the machine changes much, and of lost changes.
func (r *report) contestTargets() []target {
	var all []target
	for _, c := range r.contests {
		if c.writers != 200 || c.store != nameRedis {
			continue
		}
		all = append(all, target{
			what:    "200 requests of one session " + c.what + map[int]string{1: ", one process", 2: ", two processes"}[c.processes],
			against: "swaps", limit: float64(10 * c.processes), measured: summarise(c.swaps),
		})
	}
	return all
}
