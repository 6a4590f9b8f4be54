package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/sqltest"
	"github.com/doorman-go/session/sqlstore"
)

// The servers that tests share. They start at the first use, and stop when all tests are done.
var (
	mu      sync.Mutex
	started []*sqltest.Server

	sharedPostgres = sync.OnceValues(func() (*sqltest.Server, error) { return keep(sqltest.StartPostgres()) })
	sharedMySQL    = sync.OnceValues(func() (*sqltest.Server, error) { return keep(sqltest.StartMySQL()) })
)

func keep(s *sqltest.Server, err error) (*sqltest.Server, error) {
	if err == nil {
		mu.Lock()
		defer mu.Unlock()
		started = append(started, s)
	}
	return s, err
}

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // connections that are cut are part of the tests
	code := m.Run()
	var err error
	for _, s := range started {
		err = errors.Join(err, s.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A database is where a test keeps its table.
type database struct {
	name    string
	dialect sqlstore.Dialect
	driver  string
	shared  func() (*sqltest.Server, error)                   // nil for SQLite
	start   func(settings ...string) (*sqltest.Server, error) // a server of the test's own
}

var (
	postgres = database{"PostgreSQL", sqlstore.Postgres, "pgx", sharedPostgres, sqltest.StartPostgres}
	mySQL    = database{sqltest.MySQLName(), sqlstore.MySQL, "mysql", sharedMySQL, sqltest.StartMySQL} // or MariaDB
	sqlite   = database{"SQLite", sqlstore.SQLite, "sqlite", nil, nil}

	servers   = []database{postgres, mySQL}
	databases = append(servers, sqlite)
)

// onMySQL returns the text for MySQL where that stands in MariaDB's place, and otherwise MariaDB's.
func onMySQL(mariaDB, mySQL string) string {
	if sqltest.MySQLName() == "MySQL" {
		return mySQL
	}
	return mariaDB
}

// each runs a test on each of the databases.
func each(t *testing.T, on []database, test func(t *testing.T, d database)) {
	for _, d := range on {
		t.Run(d.name, func(t *testing.T) { test(t, d) })
	}
}

// dsn returns the shared server's data source name, or that of a new file.
func (d database) dsn(t testing.TB) string {
	t.Helper()
	if d.shared == nil {
		return sqliteDSN(filepath.Join(t.TempDir(), "sessions.db"))
	}
	s, err := d.shared()
	require.NoError(t, err)
	return s.DSN()
}

func sqliteDSN(path string) string {
	return "file:" + path + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
}

// own starts a server that a test may kill.
func (d database) own(t testing.TB, settings ...string) *sqltest.Server {
	t.Helper()
	s, err := d.start(settings...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// open opens a pool, as each process has one.
func (d database) open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

var tables atomic.Int64

// newTable returns a name that no other test has.
func newTable() string { return fmt.Sprintf("sessions_%d", tables.Add(1)) }

// store returns a store in a table of its own, which is there, and its pool.
func (d database) store(t testing.TB) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := d.open(t, d.dsn(t))
	return d.storeIn(t, db, newTable()), db
}

func (d database) storeIn(t testing.TB, db *sql.DB, table string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(db, d.dialect, sqlstore.Options{Table: table})
	require.NoError(t, err)
	require.NoError(t, s.CreateTable(t.Context()))
	return s
}

// within returns a context with a Manager's deadline.
func within(t testing.TB, timeout time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// newRecord returns a live session as a Manager makes one.
func newRecord(id, user string) *session.Record {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &session.Record{
		ID: id, Revision: id + "-1", Realm: "shop", User: user, CreatedAt: now, IssuedAt: now, LastUsedAt: now,
		Deadline: now.Add(24 * time.Hour), IdleTimeout: time.Hour,
	}
}

// next returns what takes r's place.
func next(r *session.Record, revision string) *session.Record {
	n := *r
	n.Revision = revision
	return &n
}

func tombstoneOf(r *session.Record, revision string) *session.Record {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &session.Record{
		ID: r.ID, Revision: revision, Realm: r.Realm, User: r.User, IssuedAt: now, Deadline: now.Add(time.Minute), Ended: true,
	}
}

func token(r *session.Record) session.Token { return session.NewToken(r.ID, "").WithRealm(r.Realm) }

// swap makes swaps, which must succeed.
func swap(t testing.TB, s *sqlstore.Store, swaps ...session.Swap) {
	t.Helper()
	_, err := s.Swap(t.Context(), token(swaps[0].New), swaps...)
	require.NoError(t, err)
}

// stored returns the revision that is stored under an ID, "" for nothing.
func stored(t testing.TB, s *sqlstore.Store, id string) string {
	t.Helper()
	r, err := s.Load(t.Context(), session.NewToken(id, ""))
	if errors.Is(err, session.ErrNotFound) {
		return ""
	}
	require.NoError(t, err)
	return r.Revision
}

func requireConflict(t testing.TB, err error, id, current string) {
	t.Helper()
	var conflict *session.ConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, id, conflict.ID)
	if current == "" {
		require.Nil(t, conflict.Current)
		return
	}
	require.NotNil(t, conflict.Current)
	require.Equal(t, current, conflict.Current.Revision)
}
