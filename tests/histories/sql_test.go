package histories_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/internal/sqltest"
	"github.com/doorman-go/session/sqlstore"
)

// ofWrite is in each request that stores a session: its owner's name. A tombstone and a question have none.
const ofWrite = "group "

// sqlServer is a server that writes all down before it answers, and an administrator's connections to it.
type sqlServer struct {
	*sqltest.Server
	t     *testing.T
	admin *sql.DB
}

// openPostgres is a PostgreSQL whose commits are synchronous, as they are by default.
func openPostgres(t *testing.T) ([]session.Store, []fault) {
	server, err := sqltest.StartPostgres("fsync=on", "full_page_writes=on", "synchronous_commit=on")
	s, stores, faults := openSQL(t, server, err, sqlstore.Postgres, "pgx")
	return stores, append(faults,
		fault{"the server killed and started again", s.restart},
		fault{"the server paused", s.pausePostgres},
		fault{"connections ended by an administrator", s.endBackends},
		fault{"a server process killed, and all with it", s.killBackend})
}

// openMariaDB is a MariaDB that writes its log at each commit, as it does by default. It is not killed: it shows a commit to
// others before its log is written, so that a kill may take back what they have read.
func openMariaDB(t *testing.T) ([]session.Store, []fault) {
	require.NoError(t, mysql.SetLogger(&mysql.NopLogger{})) // connections that are cut are part of the test
	server, err := sqltest.StartMariaDB("innodb-flush-log-at-trx-commit=1")
	s, stores, faults := openSQL(t, server, err, sqlstore.MySQL, "mysql")
	return stores, append(faults,
		fault{"the server paused", func() {
			s.Pause()
			time.Sleep(rand.N(2 * storeTimeout))
			s.Resume()
		}},
		fault{"the server stopped and started again", func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
			s.restart()
		}},
		fault{"connections ended by an administrator", s.killConnections})
}

// openSQL returns a store for each process, each behind a proxy of its own, and the faults of all SQL databases.
func openSQL(t *testing.T, server *sqltest.Server, err error, dialect sqlstore.Dialect, driver string) (
	s *sqlServer, stores []session.Store, faults []fault,
) {
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	s = &sqlServer{server, t, openPool(t, driver, server.DSN())}
	var proxies []*redistest.Proxy
	for range processes {
		proxy := redistest.ProxyTo(t, server.Addr())
		store, err := sqlstore.New(openPool(t, driver, strings.Replace(server.DSN(), server.Addr(), proxy.Addr, 1)), dialect, sqlstore.Options{})
		require.NoError(t, err)
		proxies, stores = append(proxies, proxy), append(stores, store)
	}
	require.NoError(t, stores[0].(*sqlstore.Store).CreateTable(t.Context()))
	return s, stores, proxyFaults(proxies, ofWrite)
}

// restart kills the server, if it still runs, and starts it again.
func (s *sqlServer) restart() {
	if err := s.Restart(); err != nil {
		s.t.Error(err)
	}
}

func openPool(t *testing.T, driver, dsn string) *sql.DB {
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// pausePostgres stops the server and the process that it has for each connection: what was sent is done afterwards.
func (s *sqlServer) pausePostgres() {
	s.onConn(func(ctx context.Context, conn *sql.Conn) error {
		s.Pause() // no more processes from here on
		defer s.Resume()
		pids, err := numbers(ctx, conn, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
		for _, pid := range pids {
			signal(pid, syscall.SIGSTOP)
			defer signal(pid, syscall.SIGCONT)
		}
		time.Sleep(rand.N(2 * storeTimeout))
		return err
	})
}

// killBackend kills the process of one connection. The server then ends all others too, and recovers.
func (s *sqlServer) killBackend() {
	s.onConn(func(ctx context.Context, conn *sql.Conn) error {
		pids, err := numbers(ctx, conn, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' LIMIT 1")
		for _, pid := range pids {
			signal(pid, syscall.SIGKILL)
		}
		return err
	})
}

// endBackends ends all other connections of a PostgreSQL.
func (s *sqlServer) endBackends() {
	s.onConn(func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
		return err
	})
}

// killConnections ends all other connections of a MariaDB.
func (s *sqlServer) killConnections() {
	s.onConn(func(ctx context.Context, conn *sql.Conn) error {
		ids, err := numbers(ctx, conn, "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'root'")
		for _, id := range ids {
			_, _ = conn.ExecContext(ctx, fmt.Sprintf("KILL CONNECTION %d", id)) // it may be gone already
		}
		return err
	})
}

// onConn does something on an administrator's connection. A server that was just killed may take a while to be back.
func (s *sqlServer) onConn(do func(context.Context, *sql.Conn) error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	conn, err := s.admin.Conn(ctx)
	for ; err != nil || conn.PingContext(ctx) != nil; conn, err = s.admin.Conn(ctx) {
		if conn != nil {
			_ = conn.Close()
		}
		if ctx.Err() != nil {
			s.t.Errorf("the server does not come back: %v", err)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	defer func() { _ = conn.Close() }()
	if err := do(ctx, conn); err != nil {
		s.t.Error(err)
	}
}

func numbers(ctx context.Context, conn *sql.Conn, query string) (all []int, err error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// signal sends a signal to a process, which may be gone.
func signal(pid int, what os.Signal) {
	if process, err := os.FindProcess(pid); err == nil {
		_ = process.Signal(what)
	}
}
