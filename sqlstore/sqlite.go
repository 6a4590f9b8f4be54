package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
)

// sqliteConns gives out connections to SQLite. It has checked each of them once.
//
// SQLite has one writer at a time, and a writer that waits in SQLite asks again and again. So the writers of this store
// take turns here. For the writers of other processes, and of the rest of the program, SQLite waits up to busy_timeout.
type sqliteConns struct {
	db   *sql.DB
	turn chan struct{} // holds a value while somebody writes

	mu      sync.Mutex
	checked map[any]struct{} // the driver's connections that were checked
}

// errNoBusyTimeout is the error of a connection without a busy_timeout.
var errNoBusyTimeout = errors.New("sqlstore: a connection to SQLite has no busy_timeout, so a write would fail whenever " +
	"another one is under way; every connection needs one: with modernc.org/sqlite add _pragma=busy_timeout(5000) to the " +
	"data source name, with mattn/go-sqlite3 _busy_timeout=5000")

func newSQLiteConns(db *sql.DB) *sqliteConns {
	return &sqliteConns{db: db, turn: make(chan struct{}, 1), checked: map[any]struct{}{}}
}

// inTurn calls do when no other writer of this store is at work.
func (c *sqliteConns) inTurn(ctx context.Context, do func() error) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	return do()
}

// with calls do with a connection.
func (c *sqliteConns) with(ctx context.Context, do func(*sql.Conn) error) error {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it goes back to the pool
	if err := c.check(ctx, conn); err != nil {
		return err
	}
	return do(conn)
}

// check checks a connection, unless it was checked before.
func (c *sqliteConns) check(ctx context.Context, conn *sql.Conn) error {
	var key any
	if err := conn.Raw(func(driverConn any) error { key = driverConn; return nil }); err != nil {
		return err
	}
	c.mu.Lock()
	_, known := c.checked[key]
	c.mu.Unlock()
	if known {
		return nil
	}
	var timeout int
	if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
		return err
	}
	if timeout <= 0 {
		return errNoBusyTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.checked) > c.db.Stats().OpenConnections {
		clear(c.checked) // most are closed
	}
	c.checked[key] = struct{}{}
	return nil
}

// immediately runs do in a transaction that is the writer from its beginning. A transaction that becomes the writer
// later fails if another one has written meanwhile. BEGIN IMMEDIATE is sent here, so that it does not depend on the
// driver's settings.
func immediately(ctx context.Context, conn *sql.Conn, do func(querier) error) error {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := do(conn)
	if err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		rollBack(ctx, conn)
	}
	return err
}

// rollBack ends a transaction, even if the context has ended. If that fails, the connection is not used again.
func rollBack(ctx context.Context, conn *sql.Conn) {
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}
