package main

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/sqltest"
	"github.com/doorman-go/session/sqlstore"
)

// database is one that a test has for itself.
type database struct {
	url     string
	db      *sql.DB
	dialect sqlstore.Dialect
	store   *sqlstore.Store
}

func (d *database) open(t *testing.T, driver, dsn string) {
	var err error
	d.db, err = sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.db.Close()) })
	d.store, err = sqlstore.New(d.db, d.dialect, sqlstore.Options{})
	require.NoError(t, err)
	require.NoError(t, d.store.CreateTable(t.Context()))
}

func startSQL(t *testing.T, start func(...string) (*sqltest.Server, error)) *sqltest.Server {
	server, err := start()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

var sqlDatabases = map[string]func(t *testing.T) *database{
	"PostgreSQL": func(t *testing.T) *database {
		server := startSQL(t, sqltest.StartPostgres)
		d := &database{url: server.DSN(), dialect: sqlstore.Postgres}
		d.open(t, "pgx", server.DSN())
		return d
	},
	"MariaDB": func(t *testing.T) *database {
		server := startSQL(t, sqltest.StartMariaDB)
		config, err := mysql.ParseDSN(server.DSN())
		require.NoError(t, err)
		d := &database{url: fmt.Sprintf("mysql://%s:%s@%s/%s", config.User, config.Passwd, config.Addr, config.DBName), dialect: sqlstore.MySQL}
		d.open(t, "mysql", server.DSN())
		return d
	},
	"SQLite": func(t *testing.T) *database {
		file := filepath.Join(t.TempDir(), "a b.db")
		d := &database{url: "sqlite:" + file, dialect: sqlstore.SQLite}
		d.open(t, "sqlite", "file:"+strings.ReplaceAll(file, " ", "%20")+"?_pragma=busy_timeout(5000)")
		return d
	},
}

func TestSQL_SessionsAreShownAndEnded(t *testing.T) {
	for name, start := range sqlDatabases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			c := &terminal{T: t, url: d.url}
			id, jar, sessions := signIn(t, d.store, "ada")
			signIn(t, d.store, "grace")
			require.Contains(t, c.does("list", "ada"), id)
			require.Regexp(t, `(?m)^user +ada$`, c.does("show", id))
			require.Equal(t, "2 sessions, 2 of them signed in, of 2 users.\n", c.does("count"))
			require.Equal(t, "Ended 1 session.\n", c.does("revoke", "ada", id))
			require.Empty(t, user(t, sessions, jar))
			require.Equal(t, "Ended 1 session.\n", c.does("-yes", "revoke-all"))
		})
	}
}

func TestSQL_Doctor(t *testing.T) {
	for name, start := range sqlDatabases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			c := &terminal{T: t, url: d.url}
			out := c.does("doctor")
			for _, topic := range []string{"reach", "clock", "version", "sweep"} {
				require.Regexp(t, `(?m)^ok +`+topic, out)
			}

			code, out, _ := c.run("-table", "nowhere", "doctor")
			require.Equal(t, exitFault, code)
			require.Regexp(t, `(?m)^fault +table`, out)
			require.Contains(t, out, "CreateTable")

			signIn(t, d.store, "ada")
			c.now = func() time.Time { return time.Now().Add(72 * time.Hour) }
			code, out, _ = c.run("doctor")
			require.Equal(t, exitFault, code)
			require.Regexp(t, `(?m)^fault +clock`, out)
			require.Regexp(t, `(?m)^warning +sweep +1 rows`, out)
		})
	}
}

func TestSQL_WhatCannotBeOpened(t *testing.T) {
	for text, url := range map[string]string{
		"unable to open": "sqlite:" + filepath.Join(t.TempDir(), "none.db"), "refused": "postgres://ada:hush@127.0.0.1:1/app", "reach": "mysql://ada:hush@127.0.0.1:1/app",
	} {
		c := &terminal{T: t, url: url}
		code, out, errs := c.run("-timeout", "2s", "doctor")
		require.Equal(t, exitFault, code, errs)
		require.Contains(t, out, text)
		require.NotContains(t, out+errs, "hush")
	}
	c := &terminal{T: t, url: "sqlite:"}
	code, _, errs := c.run("count")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "sqlite:FILE")
}

func TestSQL_Versions(t *testing.T) {
	for version, level := range map[string]string{"15.18 (Debian 15.18-0+deb12u1)": good, "11.2": fault} {
		require.Equal(t, level, versionFinding(sqlstore.Postgres, version).Level, version)
	}
	for version, level := range map[string]string{"8.4.3": good, "5.7.44": fault, "10.11.19-MariaDB": good, "10.5.2-MariaDB": fault} {
		require.Equal(t, level, versionFinding(sqlstore.MySQL, version).Level, version)
	}
}

func TestMySQLDSN(t *testing.T) {
	for url, want := range map[string]string{
		"mysql://ada:p%40ss@db/app":               "ada:p@ss@tcp(db:3306)/app",
		"mysql://ada@[::1]:3307/app":              "ada@tcp([::1]:3307)/app",
		"mysql://ada@localhost/app?socket=/run/s": "ada@unix(/run/s)/app",
	} {
		dsn, err := mysqlDSN(url)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(dsn, want), dsn)
	}
}
