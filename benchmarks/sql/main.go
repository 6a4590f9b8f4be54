// The benchmarks of sqlstore beside the stores that other libraries have for SQL databases.
//
//	go -C benchmarks/sql run .         everything: about ten minutes
//	go -C benchmarks/sql run . -quick  the same with short passes and small tables: about a minute
//
// It starts a PostgreSQL and a MariaDB of its own, prints the tables, and writes them to ../RESULTS_SQL.md.
package main

import (
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"
)

type plan struct {
	passes   int
	turn     time.Duration
	rows     int // of the large table
	sessions int // that are used for a week
	days     int
}

var (
	full  = plan{passes: 7, turn: 500 * time.Millisecond, rows: 1_000_000, sessions: 32, days: 7}
	quick = plan{passes: 3, turn: 200 * time.Millisecond, rows: 30_000, sessions: 16, days: 1}
)

const writers = 200

func main() {
	short := flag.Bool("quick", false, "short passes and small tables")
	out := flag.String("out", "../RESULTS_SQL.md", "where the results go; with -quick they are only printed unless it is set")
	flag.Parse()
	p := full
	if *short {
		p = quick
		if !isSet("out") {
			*out = ""
		}
	}
	if err := benchmark(p, *out); err != nil {
		slog.Error("the benchmarks failed", "error", err)
		os.Exit(1)
	}
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func benchmark(p plan, out string) (err error) {
	gob.Register(int64(0)) // for pgstore
	dir, err := os.MkdirTemp("", "sqlbench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	databases, err := openDatabases(dir)
	if err != nil {
		return err
	}
	r := &report{plan: p, start: time.Now()}
	for _, d := range databases {
		defer func() { err = errors.Join(err, d.db.Close(), d.close()) }()
	}
	for _, d := range databases {
		fmt.Fprintln(os.Stderr, d.name)
		m, err := d.measure(p)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		r.all = append(r.all, m)
	}
	return r.write(out)
}

// measurement is all that was measured on one database.
type measurement struct {
	database *database
	version  string
	subjects []subject
	speeds   speeds
	lost     map[string]int
	size     sized
	sweeps   []sweeping
	week     week
}

func (d *database) measure(p plan) (m measurement, err error) {
	m = measurement{database: d, lost: map[string]int{}}
	query := "SELECT version()"
	if d.driver == "sqlite" {
		query = "SELECT 'SQLite ' || sqlite_version()"
	}
	if err := d.db.QueryRow(query).Scan(&m.version); err != nil {
		return m, err
	}
	if m.subjects, err = d.subjects(); err != nil {
		return m, err
	}
	if m.speeds, err = race(m.subjects, p.passes, p.turn); err != nil {
		return m, err
	}
	for _, s := range m.subjects {
		if m.lost[s.name], err = lost(s, writers); err != nil {
			return m, fmt.Errorf("%s, %d writers: %w", s.name, writers, err)
		}
	}
	own, size, err := d.sweepOwn(p.rows)
	if err != nil {
		return m, fmt.Errorf("the sweep: %w", err)
	}
	m.size = size
	if m.week, err = d.useForAWeek(p.sessions, p.days); err != nil {
		return m, fmt.Errorf("the week: %w", err)
	}
	peer, err := d.sweepPeer(p.rows)
	if err != nil {
		return m, fmt.Errorf("the peer's sweep: %w", err)
	}
	m.sweeps = []sweeping{own, peer}
	return m, nil
}
