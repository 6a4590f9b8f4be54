package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

// sized is what a table takes, in bytes.
type sized struct{ rows, table, indexes int }

func (d *database) size(rows int) (s sized, err error) {
	s.rows = rows
	if err := d.discard(d.settle); err != nil {
		return s, err
	}
	return s, d.db.QueryRow(d.sizes).Scan(&s.table, &s.indexes)
}

// discard makes a statement that may return rows.
func (d *database) discard(statement string) error {
	rows, err := d.db.Query(statement)
	if err != nil {
		return err
	}
	for rows.Next() { // what it says does not matter
	}
	return errors.Join(rows.Err(), rows.Close())
}

// week is what a week of touches did to a table.
type week struct {
	sessions, touches int
	before, after     sized
	hot               float64 // the share of PostgreSQL's updates that changed no index; negative elsewhere
}

func (d *database) managed(store *sqlstore.Store, config session.Config) (http.Handler, error) {
	manager, err := session.New(store, config)
	if err != nil {
		return nil, err
	}
	return manager.Middleware(handlerOf()), nil
}

// useForAWeek uses sessions without a pause for a week by their clock, in a table that has other rows: each is touched
// every three minutes. It is the table that sweepOwn has left.
func (d *database) useForAWeek(sessions int, days int) (w week, err error) {
	store, err := sqlstore.New(d.db, d.dialect, sqlstore.Options{Table: "ours"})
	if err != nil {
		return w, err
	}
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	handler, err := d.managed(store, session.Config{
		IdleTimeout: time.Hour, Lifetime: 30 * 24 * time.Hour, Clock: func() time.Time { return time.Unix(0, now.Load()) },
	})
	if err != nil {
		return w, err
	}
	clients := make([]*client, sessions)
	for i := range clients {
		if clients[i], err = newClient(handler); err != nil {
			return w, err
		}
	}
	if w.before, err = d.size(0); err != nil {
		return w, err
	}
	updates, hot, err := d.updates()
	if err != nil {
		return w, err
	}
	rounds := days * 24 * 20
	for range rounds {
		now.Add(int64(3*time.Minute + time.Second))
		if err := readAll(clients); err != nil {
			return w, err
		}
	}
	w.sessions, w.touches = sessions, sessions*rounds
	time.Sleep(time.Second) // PostgreSQL's statistics come late
	moreUpdates, moreHot, err := d.updates()
	if err != nil {
		return w, err
	}
	w.hot = -1
	if n := moreUpdates - updates; n > 0 {
		w.hot = float64(moreHot-hot) / float64(n)
	}
	w.after, err = d.size(0)
	return w, err
}

func (d *database) updates() (updates, hot int, err error) {
	if d.driver != "pgx" {
		return 0, 0, nil
	}
	err = d.db.QueryRow("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'ours'").Scan(&updates, &hot)
	return updates, hot, err
}

func readAll(clients []*client) error {
	var group sync.WaitGroup
	errs := make([]error, goroutines)
	for worker := range goroutines {
		group.Go(func() {
			for i := worker; i < len(clients) && errs[worker] == nil; i += goroutines {
				errs[worker] = clients[i].do(context.Background(), "read", nil)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s sized) String() string {
	return fmt.Sprintf("%.1f MB table, %.1f MB indexes", float64(s.table)/1e6, float64(s.indexes)/1e6)
}
