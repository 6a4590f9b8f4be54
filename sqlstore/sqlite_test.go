package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

func TestSQLite_AConnectionWithoutABusyTimeoutIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	swap(t, sqlite.storeIn(t, sqlite.open(t, sqliteDSN(path)), "sessions"), session.Swap{New: newRecord("id", "ada")})

	s, err := sqlstore.New(sqlite.open(t, "file:"+path), sqlstore.SQLite, sqlstore.Options{})
	require.NoError(t, err)
	r := newRecord("id", "ada")
	for name, call := range map[string]func() error{
		"CreateTable": func() error { return s.CreateTable(t.Context()) },
		"Load":        func() error { _, err := s.Load(t.Context(), token(r)); return err },
		"Swap": func() error {
			_, err := s.Swap(t.Context(), token(r), session.Swap{Old: r, New: next(r, "2")})
			return err
		},
		"End":          func() error { _, err := s.End(t.Context(), tombstoneOf(r, "2")); return err },
		"UserSessions": func() error { _, err := s.UserSessions(t.Context(), "shop", "ada"); return err },
		"Sweep":        func() error { _, err := s.Sweep(t.Context(), 1); return err },
	} {
		require.ErrorContains(t, call(), "busy_timeout", name)
		require.NotErrorIs(t, call(), session.ErrNotFound, name)
	}
}

// The setting is each connection's: a statement that sets it on one of a pool does not set it on the next.
func TestSQLite_EachConnectionIsLookedAt(t *testing.T) {
	db := sqlite.open(t, "file:"+filepath.Join(t.TempDir(), "sessions.db"))
	db.SetMaxIdleConns(10)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 5000")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	s := sqlite.storeIn(t, db, "sessions")
	_, err = s.Load(t.Context(), session.NewToken("id", ""))
	require.ErrorIs(t, err, session.ErrNotFound)

	conn, err = db.Conn(t.Context()) // the one that is set up
	require.NoError(t, err)
	_, err = s.Load(t.Context(), session.NewToken("id", ""))
	require.ErrorContains(t, err, "busy_timeout", "on another one")
	require.NoError(t, conn.Close())
}

func TestSQLite_ConnectionsComeAndGo(t *testing.T) {
	s, db := sqlite.store(t)
	db.SetMaxIdleConns(0) // each call has a new one
	for i := range 50 {
		exerciseAs(t, s, fmt.Sprint(i))
	}
}

func exerciseAs(t *testing.T, s *sqlstore.Store, suffix string) {
	t.Helper()
	r := newRecord("id"+suffix, "ada")
	swap(t, s, session.Swap{New: r})
	swap(t, s, session.Swap{Old: r, New: tombstoneOf(r, "ended")}, session.Swap{New: newRecord("fresh"+suffix, "ada")})
}

// A transaction that reads first and becomes the writer afterwards fails at once if another one wrote meanwhile, whatever
// the busy_timeout: so those of two processes must be writers from their beginning.
func TestSQLite_TwoProcessesWriteWithoutFailures(t *testing.T) {
	path, count := filepath.Join(t.TempDir(), "sessions.db"), &counter{}
	var group sync.WaitGroup
	for process := range 2 {
		s := sqlite.storeIn(t, sqlite.openCounted(t, sqliteDSN(path), count), "sessions")
		for worker := range 4 {
			group.Go(func() {
				for i := range 25 {
					r := newRecord(fmt.Sprint(process, "-", worker, "-", i), "ada")
					if _, err := s.Swap(t.Context(), token(r), session.Swap{New: r}); err != nil {
						t.Error(err)
					}
					if _, err := s.End(t.Context(), tombstoneOf(r, "ended")); err != nil { // reads, then writes
						t.Error(err)
					}
				}
			})
		}
	}
	group.Wait()
	require.Zero(t, count.failed.Load(), "statements that had to be made again")
}

// While another process has the file, a commit ends with its deadline, and is made when the file is free again.
func TestSQLite_DeadlinesHoldWhileAnotherProcessWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s, other := sqlite.storeIn(t, sqlite.open(t, sqliteDSN(path)), "sessions"), sqlite.open(t, sqliteDSN(path))
	r := newRecord("id", "ada")
	swap(t, s, session.Swap{New: r})
	conn, err := other.Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	for name, call := range map[string]func(ctx context.Context) error{
		"Swap": func(ctx context.Context) error {
			_, err := s.Swap(ctx, token(r), session.Swap{Old: r, New: next(r, "2")})
			return err
		},
		"End": func(ctx context.Context) error { _, err := s.End(ctx, tombstoneOf(r, "2")); return err },
		"Swap of two": func(ctx context.Context) error {
			_, err := s.Swap(ctx, token(r), session.Swap{Old: r, New: tombstoneOf(r, "2")}, session.Swap{New: newRecord("x", "")})
			return err
		},
	} {
		start := time.Now()
		require.Error(t, call(within(t, 100*time.Millisecond)), name)
		require.Less(t, time.Since(start), 2*time.Second, name)
	}
	require.Equal(t, "id-1", stored(t, s, "id"), "readers do not wait")
	done := make(chan error)
	go func() { _, err := s.Swap(t.Context(), token(r), session.Swap{Old: r, New: next(r, "2")}); done <- err }()
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.NoError(t, conn.Close())
}

// A full disk: what can't be stored is an error, nothing is stored by half, and what is there can be read.
func TestSQLite_FullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	db := sqlite.open(t, sqliteDSN(path))
	s := sqlite.storeIn(t, db, "sessions")
	r := newRecord("id", "ada")
	swap(t, s, session.Swap{New: r})
	db.SetMaxOpenConns(1)
	var pages int
	require.NoError(t, db.QueryRow("PRAGMA page_count").Scan(&pages))
	_, err := db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
	require.NoError(t, err)
	large := newRecord("large", "ada")
	large.Note = strings.Repeat("n", 4000)
	swaps := []session.Swap{{Old: r, New: tombstoneOf(r, "2")}}
	for i := range 5 {
		next := *large
		next.ID = fmt.Sprint("large", i)
		swaps = append(swaps, session.Swap{New: &next})
	}
	_, err = s.Swap(t.Context(), token(r), swaps...)
	require.ErrorContains(t, err, "full")
	var conflict *session.ConflictError
	require.NotErrorAs(t, err, &conflict)
	require.Equal(t, "id-1", stored(t, s, "id"))
	require.Empty(t, stored(t, s, "large0"))
}

func TestSQLite_ReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	r := newRecord("id", "ada")
	swap(t, sqlite.storeIn(t, sqlite.open(t, sqliteDSN(path)), "sessions"), session.Swap{New: r})
	readOnly(t, sqlite, "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)", "sessions", r)
}

// readOnly checks that of a database that may be read only everything can be read, and that each change is an error.
func readOnly(t *testing.T, d database, dsn, table string, r *session.Record) {
	t.Helper()
	s, err := sqlstore.New(d.open(t, dsn), d.dialect, sqlstore.Options{Table: table})
	require.NoError(t, err)
	require.NoError(t, s.CreateTable(t.Context()), "nothing is missing")
	var conflict *session.ConflictError
	for name, err := range map[string]error{
		"Swap":     second(s.Swap(t.Context(), token(r), session.Swap{Old: r, New: next(r, "2")})),
		"creation": second(s.Swap(t.Context(), token(r), session.Swap{New: newRecord("new", "")})),
		"login":    second(s.Swap(t.Context(), token(r), session.Swap{Old: r, New: tombstoneOf(r, "2")}, session.Swap{New: newRecord("new", "")})),
		"End":      second(s.End(t.Context(), tombstoneOf(r, "2"))),
	} {
		require.Error(t, err, name)
		require.NotErrorAs(t, err, &conflict, name)
		require.NotErrorIs(t, err, session.ErrNotFound, name)
	}
	require.Equal(t, r.Revision, stored(t, s, r.ID))
	require.Empty(t, stored(t, s, "new"))
	listed, err := s.UserSessions(t.Context(), r.Realm, r.User)
	require.NoError(t, err)
	require.Len(t, listed, 1)
}

func second[T any](_ T, err error) error { return err }

func TestSQLite_InMemory(t *testing.T) {
	db, err := sql.Open("sqlite", "file::memory:?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	db.SetMaxOpenConns(1) // each connection has a database of its own
	exercise(t, sqlite.storeIn(t, db, "sessions"))
}
