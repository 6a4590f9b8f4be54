package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

// sweeping is what a sweep of a large table did.
type sweeping struct {
	name            string
	deleted         int
	took            time.Duration
	calm, beside    []float64 // milliseconds that reads took without the sweep, and beside it
	writes, blocked []float64 // and writes
}

// batch is how many rows a sweep deletes at a time. SQLite's writers wait for all of it.
func (d *database) batch() int {
	if d.driver == "sqlite" {
		return 100
	}
	return 1000
}

// sweepOwn fills the table up to so many rows, of which a third has expired, and sweeps it beside readers and writers.
func (d *database) sweepOwn(rows int) (sweeping, sized, error) {
	store, err := d.store()
	if err != nil {
		return sweeping{}, sized{}, err
	}
	handler, err := d.managed(store, session.Config{StoreTimeout: 30 * time.Second}) // how long a write waits is to be seen
	if err != nil {
		return sweeping{}, sized{}, err
	}
	args := []any{time.Now().Unix() / 3600, sampleRecord()}
	if d.driver == "pgx" {
		args[0], args[1] = args[1], args[0]
	}
	if _, err := d.db.Exec(fmt.Sprintf(d.fill, rows), args...); err != nil {
		return sweeping{}, sized{}, err
	}
	size, err := d.size(rows)
	if err != nil {
		return sweeping{}, sized{}, err
	}
	s, err := d.besideSweep("session, sqlstore", handler, func() (int, error) { return sweepAll(store, d.batch()) })
	return s, size, err
}

func sweepAll(store *sqlstore.Store, batch int) (total int, err error) {
	for {
		n, err := store.Sweep(context.Background(), batch)
		total += n
		if err != nil || n < batch {
			return total, err
		}
	}
}

// sweepPeer does the same with the peer's table, and sends what its cleanup sends.
func (d *database) sweepPeer(rows int) (sweeping, error) {
	handler, err := d.scs()
	if err != nil {
		return sweeping{}, err
	}
	if _, err := d.db.Exec(fmt.Sprintf(d.peerFill, rows), sampleRecord()); err != nil {
		return sweeping{}, err
	}
	return d.besideSweep(d.peer, handler, func() (int, error) {
		result, err := d.db.Exec(d.peerSweep)
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected()
		return int(n), err
	})
}

// besideSweep times reads and writes first without the sweep and then beside it.
func (d *database) besideSweep(name string, handler http.Handler, sweep func() (int, error)) (sweeping, error) {
	s := sweeping{name: name}
	var clients []*client
	for range 200 {
		c, err := newClient(handler)
		if err != nil {
			return s, err
		}
		clients = append(clients, c)
	}
	var err error
	calm := make(chan struct{})
	time.AfterFunc(2*time.Second, func() { close(calm) })
	if s.calm, s.writes, err = latencies(clients, calm); err != nil {
		return s, err
	}
	swept := make(chan struct{})
	var sweepErr error
	go func() {
		defer close(swept)
		start := time.Now()
		s.deleted, sweepErr = sweep()
		s.took = time.Since(start)
	}()
	s.beside, s.blocked, err = latencies(clients, swept)
	<-swept
	return s, errors.Join(err, sweepErr)
}

// latencies has two readers and a writer make requests until the end, and returns how long they took.
func latencies(clients []*client, end <-chan struct{}) (reads, writes []float64, err error) {
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	took := make([][]float64, 3)
	for worker := range took {
		own := clients[worker*60 : worker*60+60]
		op := "read"
		if worker == 2 {
			op = "write"
		}
		group.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				start := time.Now()
				if err := own[rand.IntN(len(own))].do(context.Background(), op, nil); err != nil {
					failed.Store(&err)
					return
				}
				took[worker] = append(took[worker], time.Since(start).Seconds()*1000)
				time.Sleep(time.Millisecond) // a site that is not at its limit
			}
		})
	}
	group.Wait()
	if e := failed.Load(); e != nil {
		return nil, nil, *e
	}
	return append(took[0], took[1]...), took[2], nil
}

func percentile(figures []float64, p float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[min(int(float64(len(sorted))*p), len(sorted)-1)]
}

// sampleRecord is one of the workload's, for rows that are there and not asked for.
func sampleRecord() []byte {
	now := time.Now()
	r := &session.Record{
		ID: "0123456789abcdef0123456789abcdef", Revision: "123456789012", Realm: "__Host-session", User: "ada.lovelace", CreatedAt: now,
		AuthenticatedAt: now, IssuedAt: now, LastUsedAt: now, Deadline: now.Add(24 * time.Hour), IdleTimeout: time.Hour,
		Values: session.NewValues(map[string]json.RawMessage{
			"uid": []byte("9007199254740993"), "nonce": []byte(`"` + nonce + `"`), "locale": []byte(`"` + locale + `"`),
		}),
		Latest: session.NewRevisions(session.PastRevision{Revision: "123456789012", At: now}),
	}
	data, _ := r.MarshalBinary() // it is valid
	return data
}
