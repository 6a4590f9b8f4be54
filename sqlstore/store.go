// Package sqlstore keeps sessions in PostgreSQL, MySQL, MariaDB or SQLite, through database/sql. It brings no driver.
//
//	db, err := sql.Open("pgx", "postgres://app@db/app")
//	store, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.Options{})
//	err = store.CreateTable(ctx)
//	sessions, err := session.New(store, session.Config{})
//
// The store runs nothing in the background. Call [Store.Sweep] regularly, or the table grows.
//
// A change is one statement, which replaces a record only if its revision is still the one that was read. A login ends one
// session and starts another. On PostgreSQL that is one statement too, and elsewhere a short transaction. The database must be
// the primary: a replica that lags opens sessions that have ended.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/doorman-go/session"
)

// Dialect is the kind of a database.
type Dialect int

// The dialects.
const (
	Postgres Dialect = iota + 1 // PostgreSQL 12 or later
	MySQL                       // MySQL 8 or MariaDB 10.6, or later
	SQLite                      // SQLite 3.24 or later
)

// Options are the options of a Store. The zero value is good.
type Options struct {
	// Table is the table's name, or schema.table (MySQL: database.table). It is quoted, so capitals count. It may have
	// ASCII letters, digits, "_", "-" and "$", and as many of them as the database allows: 63 on PostgreSQL, 64 on
	// MySQL. The default is "sessions".
	Table string

	// Clock tells Sweep the time. The default is time.Now.
	Clock func() time.Time
}

// Store keeps sessions in a table. It lists sessions by user, and ends a session in one step. Several goroutines may
// use it at the same time, and several processes may share a table. A statement is tried again until the context's
// deadline if it meets a deadlock, a serialization failure, a lock that is not free in time, or a broken connection.
//
// It makes a login, or any other change of two sessions, whole or not at all.
type Store struct {
	db      *sql.DB
	dialect Dialect
	table   tableName
	sql     statements
	clock   func() time.Time
	sqlite  *sqliteConns // nil for the other dialects
}

var (
	_ session.Ender     = (*Store)(nil)
	_ session.UserStore = (*Store)(nil)
	_ session.AllStore  = (*Store)(nil)
)

// New returns a store in db. The caller closes db. New does not ask the database, so an application may start before
// its database. CreateTable creates the table.
//
// On SQLite each connection needs a busy_timeout. A connection without one is refused when it is first used.
func New(db *sql.DB, dialect Dialect, opts Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlstore: no *sql.DB was given")
	}
	table, err := parseTable(dialect, opts.Table)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, dialect: dialect, table: table, sql: newStatements(dialect, table), clock: opts.Clock}
	if s.clock == nil {
		s.clock = time.Now
	}
	if dialect == SQLite {
		s.sqlite = newSQLiteConns(db)
	}
	return s, nil
}

// String returns the store's name for logs.
func (s *Store) String() string {
	return "sqlstore(" + s.dialect.String() + ", " + s.table.String() + ")"
}

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	var found *session.Record
	err := s.read(ctx, func(q querier) (err error) {
		found, err = s.load(ctx, q, s.sql.load, token.ID())
		return err
	})
	if err == nil && found == nil {
		err = session.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// load returns the record of id, or nil if there is none.
func (s *Store) load(ctx context.Context, q querier, query, id string) (*session.Record, error) {
	var data []byte
	err := q.QueryRowContext(ctx, query, []byte(id)).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return unmarshal(id, data)
}

// unmarshal returns the record in data. It must have this ID.
func unmarshal(id string, data []byte) (*session.Record, error) {
	r := new(session.Record)
	if err := r.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	if r.ID != id {
		return nil, fmt.Errorf("%w: the row has another session's record", session.ErrNotFound)
	}
	return r, nil
}

// UserSessions implements [session.UserStore].
func (s *Store) UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error) {
	var records []*session.Record
	err := s.read(ctx, func(q querier) (err error) {
		records, err = s.list(ctx, q, realm, user)
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

func (s *Store) list(ctx context.Context, q querier, realm, user string) (records []*session.Record, err error) {
	rows, err := q.QueryContext(ctx, s.sql.list, userHash(realm, user))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id, data []byte
		if err := rows.Scan(&id, &data); err != nil {
			return nil, err
		}
		r, err := unmarshal(string(id), data)
		if errors.Is(err, session.ErrNotFound) {
			continue // a record that can't be read counts as not found
		}
		if err != nil {
			return nil, err
		}
		if r.Realm == realm && r.User == user { // two users may have one hash
			records = append(records, r)
		}
	}
	return records, rows.Err()
}
