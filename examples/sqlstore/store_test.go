package sqlstore

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver "sqlite", in pure Go

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/storetest"
)

func open(t *testing.T, path string) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	require.NoError(t, err)
	db.SetMaxOpenConns(1) // transactions exclude each other; waiting for one here is fair, which SQLite's own waiting is not
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), Schema)
	require.NoError(t, err)
	return db
}

func TestStore_KeepsTheContract(t *testing.T) {
	store := New(open(t, filepath.Join(t.TempDir(), "sessions.db")))
	storetest.Run(t, func(*testing.T) session.Store { return store })
}

func TestStore_OutlivesTheProcess(t *testing.T) {
	path, jar := filepath.Join(t.TempDir(), "sessions.db"), sessiontest.NewJar()
	transaction := func(f func(*session.Session)) {
		sessions, err := session.New(New(open(t, path)), session.Config{})
		require.NoError(t, err)
		sessiontest.Transaction(t, sessions, jar, "/", f)
	}
	transaction(func(s *session.Session) { assert.NoError(t, s.Login("ada")) })
	transaction(func(s *session.Session) { sessiontest.LoggedInAs(t, s, "ada") })
}

func TestStore_SweepsWhatHasExpired(t *testing.T) {
	db, clock := open(t, filepath.Join(t.TempDir(), "sessions.db")), sessiontest.NewClock()
	sessions, err := session.New(New(db), session.Config{IdleTimeout: time.Hour, Clock: clock.Now})
	require.NoError(t, err)
	login := func() *sessiontest.Jar {
		jar := sessiontest.NewJar()
		sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) { assert.NoError(t, s.Login("ada")) })
		return jar
	}
	login()
	clock.Advance(30 * time.Minute)
	recent := login()
	clock.Advance(30 * time.Minute)
	require.NoError(t, New(db).Sweep(session.WithClock(t.Context(), clock.Now)))

	var left int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM sessions").Scan(&left))
	assert.Equal(t, 1, left)
	sessiontest.Transaction(t, sessions, recent, "/", func(s *session.Session) { sessiontest.LoggedInAs(t, s, "ada") })
}
