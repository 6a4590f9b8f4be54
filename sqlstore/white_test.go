package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

func TestSweepHour_IsNeverTooEarlyAndAtMostADayTooLate(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 34, 56, 789_000, time.UTC)
	for i := range 200 {
		r := &session.Record{
			ID: fmt.Sprint("id", i), LastUsedAt: start.Add(time.Duration(i) * 17 * time.Minute), IdleTimeout: 20 * time.Minute,
			Deadline: start.Add(30 * 24 * time.Hour),
		}
		at := time.Unix(sweepHour(r)*3600, 0)
		require.False(t, at.Before(r.KeepUntil()), "%v, and it is kept until %v", at, r.KeepUntil())
		require.Less(t, at.Sub(r.KeepUntil()), 24*time.Hour)
		r.Ended = true
		at = time.Unix(sweepHour(r)*3600, 0)
		require.False(t, at.Before(r.Deadline))
		require.Less(t, at.Sub(r.Deadline), time.Hour, "a tombstone's never moves")
	}
	before1970 := &session.Record{ID: "id", Ended: true, Deadline: time.Unix(-1, 0)}
	require.EqualValues(t, 0, sweepHour(before1970))
	before1970.Deadline = time.Unix(-3601, 0)
	require.EqualValues(t, -1, sweepHour(before1970))
}

func TestSweepHour_MovesOnceADayAndNotForAllAtOnce(t *testing.T) {
	start, moved := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), map[int]int{}
	for i := range 240 {
		r := &session.Record{ID: fmt.Sprint("id", i), IdleTimeout: time.Hour, Deadline: start.Add(30 * 24 * time.Hour)}
		moves := 0
		for minute := range 24 * 60 / 3 {
			r.LastUsedAt = start.Add(time.Duration(minute) * 3 * time.Minute)
			before := sweepHour(r)
			r.LastUsedAt = r.LastUsedAt.Add(3 * time.Minute)
			if sweepHour(r) != before {
				moves++
				moved[minute/20]++
			}
		}
		require.Equal(t, 1, moves)
	}
	require.Len(t, moved, 24, "in each hour some")
}

func TestUserHash_KeepsNamesApart(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range [][2]string{{"", "ada"}, {"", "Ada"}, {"", "ada "}, {"a", "da"}, {"ad", "a"}, {"a\x00", "da"}, {"a", "\x00da"}} {
		hash := string(userHash(n[0], n[1]))
		require.Len(t, hash, userHashSize)
		require.False(t, seen[hash], "%q", n)
		seen[hash] = true
	}
	require.Nil(t, userHash("shop", ""), "a visitor is nobody's")
}

func TestTableName(t *testing.T) {
	long := strings.Repeat("n", 63)
	for _, c := range []struct {
		dialect      Dialect
		text, quoted string
		fault        string
	}{
		{Postgres, "", `"sessions"`, ""},
		{MySQL, "app.Sessions", "`app`.`Sessions`", ""},
		{SQLite, "main.s-1$", `"main"."s-1$"`, ""},
		{Postgres, long, `"` + long + `"`, ""},
		{Postgres, long + "n", "", "at most 63 bytes"},
		{Postgres, long + "n.t", "", "at most 63 bytes"},
		{MySQL, long + "n", "`" + long + "n`", ""},
		{MySQL, long + "nn", "", "at most 64 bytes"},
		{SQLite, strings.Repeat(long, 3), `"` + strings.Repeat(long, 3) + `"`, ""},
		{SQLite, "sqlite_sessions", "", "keeps names"},
		{Postgres, "a.b.c", "", "letters"},
		{Postgres, ".t", "", "in front of its dot"},
		{Postgres, "s.", "", "no name"},
		{Postgres, "t; DROP TABLE users", "", "letters"},
		{MySQL, "a`b", "", "letters"},
		{Postgres, `a"b`, "", "letters"},
		{Postgres, "sesión", "", "letters"},
		{0, "t", "", "none of"},
		{4, "t", "", "none of"},
	} {
		name, err := parseTable(c.dialect, c.text)
		if c.fault != "" {
			assert.ErrorContains(t, err, c.fault, c.text)
			continue
		}
		assert.NoError(t, err)
		assert.Equal(t, c.quoted, name.quoted())
	}
}

func TestIndexNames_FitAndAreTheirTables(t *testing.T) {
	prefix := strings.Repeat("n", 62)
	names := map[string]bool{}
	for _, table := range []string{"sessions", prefix + "a", prefix + "b"} {
		name, err := parseTable(Postgres, table)
		require.NoError(t, err)
		for _, suffix := range []string{"user_idx", "sweep_idx"} {
			index := name.index(suffix)
			require.LessOrEqual(t, len(index), 63)
			require.True(t, strings.HasPrefix(index, table[:min(len(table), 40)]), index)
			require.False(t, names[index])
			names[index] = true
		}
	}
	require.True(t, names["sessions_user_idx"])
}

func TestMayPass(t *testing.T) {
	postgres := func(code string) error { return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}) }
	mariaDB := func(n uint16) error { return fmt.Errorf("wrapped: %w", &mysql.MySQLError{Number: n}) }
	for _, err := range []error{
		postgres("40001"), postgres("40P01"), postgres("55P03"), postgres("57P01"), postgres("08006"),
		mariaDB(1213), mariaDB(1205), mariaDB(1927), mysql.ErrInvalidConn, driver.ErrBadConn, io.ErrUnexpectedEOF,
		&net.OpError{Err: syscall.ECONNRESET}, codeError(5), codeError(5 | 2<<8), mattnError{Code: 5}, errors.Join(io.EOF),
	} {
		require.True(t, mayPass(err), "%v", err)
	}
	for _, err := range []error{
		postgres("42P01"), postgres("25006"), postgres("53100"), mariaDB(1146), mariaDB(1290), codeError(8), codeError(13),
		&net.OpError{Err: syscall.ECONNREFUSED}, context.DeadlineExceeded, errors.New("another"), mattnError{Code: 13},
		&session.ConflictError{}, errNoBusyTimeout,
	} {
		require.False(t, mayPass(err), "%v", err)
	}
	require.True(t, isDuplicate(postgres("23505")))
	require.True(t, isDuplicate(mariaDB(1062)))
	require.False(t, isDuplicate(mariaDB(1213)))
	require.False(t, isDuplicate(nil))
}

type codeError int

func (e codeError) Error() string { return "code" }
func (e codeError) Code() int     { return int(e) }

// mattnError is an error as go-sqlite3 has it.
type mattnError struct{ Code mattnCode }
type mattnCode int

func (e mattnError) Error() string { return "code" }

func TestRetry_EndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start, tries := time.Now(), 0
		err := retry(ctx, func() error { tries++; return io.ErrUnexpectedEOF })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, time.Second, time.Since(start))
		require.Greater(t, tries, 20)

		tries = 0
		err = retry(t.Context(), func() error { tries++; return io.ErrUnexpectedEOF })
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "without a deadline it ends too")
		require.Equal(t, maxTries, tries)

		tries = 0
		require.NoError(t, retry(t.Context(), func() error {
			if tries++; tries < 3 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}))
		require.Error(t, retry(ctx, func() error { return errors.New("for good") }))

		tries = 0
		require.ErrorIs(t, retry(ctx, func() error { tries++; return io.ErrUnexpectedEOF }), io.ErrUnexpectedEOF)
		require.Equal(t, 1, tries, "the context has ended")
	})
}

// A transaction that only reads at first lets another process write in between, and fails then.
func TestImmediately_IsTheWriterFromItsBeginning(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "sessions.db")+"?_pragma=busy_timeout(1)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), "CREATE TABLE sessions (id BLOB)")
	require.NoError(t, err)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })

	writeElsewhere := func() error {
		_, err := db.ExecContext(t.Context(), "INSERT INTO sessions VALUES ('id')")
		return err
	}
	require.NoError(t, immediately(t.Context(), conn, func(querier) error {
		require.ErrorContains(t, writeElsewhere(), "locked")
		return nil
	}))
	require.NoError(t, writeElsewhere())
}

func TestWrite_RefusesWhatAColumnWouldCut(t *testing.T) {
	r := &session.Record{ID: "id", Revision: "1"}
	_, err := newWrite(session.Swap{New: r})
	require.NoError(t, err)
	for _, id := range []string{"", strings.Repeat("i", 256)} {
		_, err = newWrite(session.Swap{New: &session.Record{ID: id, Revision: "1"}})
		require.Error(t, err)
	}
	_, err = newWrite(session.Swap{New: &session.Record{ID: "id", Revision: strings.Repeat("r", 256)}})
	require.ErrorContains(t, err, "255 bytes")
}
