package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"

	"github.com/alexedwards/scs/mysqlstore"
	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/doorman-go/session/internal/sqltest"
	"github.com/doorman-go/session/sqlstore"
)

// database is one of those that are measured. Peers get the same pool, with the same settings.
type database struct {
	name, driver string
	dialect      sqlstore.Dialect
	dsn          string
	db           *sql.DB
	close        func() error

	peer       string
	peerSchema string // as its documentation has it
	openPeer   func(*sql.DB) scs.Store
	peerSweep  string // what its cleanup sends
	peerFill   string // rows of the peer's, from a series; a third has expired
	fill       string // rows of ours
	settle     string // before sizes are read
	sizes      string // what the table and its indexes take, in bytes
}

const rowsOfSeries = "%[1]d"

func openDatabases(dir string) ([]*database, error) {
	postgres, err := sqltest.StartPostgres()
	if err != nil {
		return nil, err
	}
	mariaDB, err := sqltest.StartMariaDB()
	if err != nil {
		return nil, err
	}
	all := []*database{
		{
			name: "PostgreSQL", driver: "pgx", dialect: sqlstore.Postgres, dsn: postgres.DSN(), close: postgres.Close,
			peer:       "scs postgresstore",
			peerSchema: "CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL); CREATE INDEX sessions_expiry_idx ON sessions (expiry)",
			openPeer:   func(db *sql.DB) scs.Store { return postgresstore.NewWithCleanupInterval(db, 0) },
			peerSweep:  "DELETE FROM sessions WHERE expiry < current_timestamp",
			peerFill: "INSERT INTO sessions SELECT md5(i::text) || '12345678901', $1::bytea, now() + CASE WHEN i %% 3 = 0 THEN -1 ELSE 1 END * interval '2 days' " +
				"FROM generate_series(1, " + rowsOfSeries + ") i",
			fill: "INSERT INTO ours SELECT convert_to(md5(i::text), 'UTF8'), '\\x313233343536373839303132', decode(md5((i/2)::text), 'hex'), " +
				"$2::int + CASE WHEN i %% 3 = 0 THEN -48 ELSE 48 END + i %% 24, false, $1::bytea FROM generate_series(1, " + rowsOfSeries + ") i",
			settle: "VACUUM ANALYZE ours",
			sizes:  "SELECT pg_relation_size('ours') + coalesce(pg_relation_size(nullif((SELECT reltoastrelid FROM pg_class WHERE oid = 'ours'::regclass), 0)), 0), pg_indexes_size('ours')",
		},
		{
			name: "MariaDB", driver: "mysql", dialect: sqlstore.MySQL, dsn: mariaDB.DSN() + "&multiStatements=true&parseTime=true", close: mariaDB.Close,
			peer:       "scs mysqlstore",
			peerSchema: "CREATE TABLE sessions (token CHAR(43) PRIMARY KEY, data BLOB NOT NULL, expiry TIMESTAMP(6) NOT NULL); CREATE INDEX sessions_expiry_idx ON sessions (expiry)",
			openPeer:   func(db *sql.DB) scs.Store { return mysqlstore.NewWithCleanupInterval(db, 0) },
			peerSweep:  "DELETE FROM sessions WHERE expiry < UTC_TIMESTAMP(6)",
			peerFill: "INSERT INTO sessions SELECT CONCAT(MD5(seq), '12345678901'), ?, UTC_TIMESTAMP(6) + INTERVAL IF(seq %% 3 = 0, -2, 2) DAY " +
				"FROM seq_1_to_" + rowsOfSeries,
			fill: "INSERT INTO ours SELECT MD5(seq), '123456789012', UNHEX(MD5(seq DIV 2)), ? + IF(seq %% 3 = 0, -48, 48) + seq %% 24, false, ? " +
				"FROM seq_1_to_" + rowsOfSeries,
			settle: "ANALYZE TABLE ours",
			sizes:  "SELECT data_length, index_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'ours'",
		},
		{
			name: "SQLite", driver: "sqlite", dialect: sqlstore.SQLite, close: func() error { return nil },
			dsn:        "file:" + filepath.Join(dir, "sessions.db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)",
			peer:       "scs sqlite3store",
			peerSchema: "CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL); CREATE INDEX sessions_expiry_idx ON sessions (expiry)",
			openPeer:   func(db *sql.DB) scs.Store { return sqlite3store.NewWithCleanupInterval(db, 0) },
			peerSweep:  "DELETE FROM sessions WHERE expiry < julianday('now')",
			peerFill: "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < " + rowsOfSeries + ") " +
				"INSERT INTO sessions SELECT lower(hex(randomblob(21))), ?, julianday('now') + CASE WHEN i %% 3 = 0 THEN -2 ELSE 2 END FROM s",
			settle: "PRAGMA wal_checkpoint(TRUNCATE)",
			sizes: "SELECT coalesce(sum(CASE WHEN name = 'ours' THEN pgsize END), 0), coalesce(sum(CASE WHEN name <> 'ours' THEN pgsize END), 0) " +
				"FROM dbstat WHERE aggregate = TRUE AND (name = 'ours' OR name LIKE 'ours_%_idx' OR name = 'sqlite_autoindex_ours_1')",
			fill: "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < " + rowsOfSeries + ") " +
				"INSERT INTO ours SELECT CAST(lower(hex(randomblob(16))) AS BLOB), CAST('123456789012' AS BLOB), randomblob(16), " +
				"? + CASE WHEN i %% 3 = 0 THEN -48 ELSE 48 END + i %% 24, false, ? FROM s",
		},
	}
	for _, d := range all {
		if d.db, err = d.open(); err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return all, nil
}

func (d *database) open() (*sql.DB, error) {
	db, err := sql.Open(d.driver, d.dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(goroutines + 4)
	db.SetMaxIdleConns(goroutines + 4)
	return db, nil
}

// store returns a store in an empty table.
func (d *database) store() (*sqlstore.Store, error) {
	s, err := sqlstore.New(d.db, d.dialect, sqlstore.Options{Table: "ours"})
	if err != nil {
		return nil, err
	}
	if _, err := d.db.Exec("DROP TABLE IF EXISTS ours"); err != nil {
		return nil, err
	}
	return s, s.CreateTable(context.Background())
}
