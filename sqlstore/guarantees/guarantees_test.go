// Package guarantees runs the root module's tests over sqlstore. They take minutes, so they are a package of their own.
package guarantees

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/doorman-go/session/internal/sqltest"
	"github.com/doorman-go/session/sqlstore"
	"github.com/doorman-go/session/tests/kit"
)

// TestGuarantees runs the tests of the guarantees, races and revocations that are run over every kind of store, on each
// database, with one process and with two, each with a pool of connections of its own.
func TestGuarantees(t *testing.T) {
	_ = mysql.SetLogger(&mysql.NopLogger{})
	suite := kit.BuildSuite(t, "../..")
	for _, d := range []struct {
		name, driver string
		dialect      sqlstore.Dialect
		dsn          func(t *testing.T) string
	}{
		{"PostgreSQL", "pgx", sqlstore.Postgres, served(sqltest.StartPostgres)},
		{sqltest.MySQLName(), "mysql", sqlstore.MySQL, served(sqltest.StartMySQL)},
		{"SQLite", "sqlite", sqlstore.SQLite, func(t *testing.T) string {
			return "file:" + filepath.Join(t.TempDir(), "db") + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			dsn := d.dsn(t)
			open := func() (*sqlstore.Store, *sql.DB) {
				db, err := sql.Open(d.driver, dsn)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, db.Close()) })
				db.SetMaxOpenConns(20)
				db.SetMaxIdleConns(20)
				s, err := sqlstore.New(db, d.dialect, sqlstore.Options{})
				require.NoError(t, err)
				require.NoError(t, s.CreateTable(t.Context()))
				return s, db
			}
			a, _ := open()
			b, db := open()
			socket := filepath.Join(t.TempDir(), "stores")
			kit.ServeStores(t, socket, func() error { _, err := db.Exec("DELETE FROM sessions"); return err }, a, b)
			suite.Run(t, d.name, socket)
		})
	}
}

// served starts a server for a test, and returns its data source name.
func served(start func(...string) (*sqltest.Server, error)) func(t *testing.T) string {
	return func(t *testing.T) string {
		server, err := start()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		return server.DSN()
	}
}
