package sqlstore

import (
	"context"
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
	db.SetMaxOpenConns(1) // who waits for one is served in turn, which SQLite's own waiting for a lock does not do
	_, err = db.ExecContext(t.Context(), Schema)
	require.NoError(t, err)
	return db
}

func TestStore_KeepsTheContract(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "sessions.db"))
	defer func() { assert.NoError(t, db.Close()) }()
	storetest.Run(t, func(*testing.T) session.Store { return New(db) })
}

func create(ctx context.Context, t *testing.T, s *Store, id string) session.Token {
	now := session.Now(ctx)
	record := &session.Record{ID: id, User: "ada", Used: now, Idle: time.Hour, Deadline: now.Add(24 * time.Hour)}
	token, err := s.Save(ctx, session.NewToken(id, ""), &session.Change{Create: true, Record: record})
	require.NoError(t, err)
	return token
}

func TestStore_OutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	db := open(t, path)
	token := create(t.Context(), t, New(db), "ada's")
	require.NoError(t, db.Close())

	db = open(t, path)
	defer func() { assert.NoError(t, db.Close()) }()
	record, err := New(db).Load(t.Context(), token)
	require.NoError(t, err)
	assert.Equal(t, "ada", record.User)
}

func TestStore_SweepsWhatHasExpired(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "sessions.db"))
	defer func() { assert.NoError(t, db.Close()) }()
	store, clock := New(db), sessiontest.NewClock()
	ctx := session.WithClock(t.Context(), clock.Now)
	create(ctx, t, store, "old")
	clock.Advance(30 * time.Minute)
	recent := create(ctx, t, store, "recent")
	clock.Advance(30 * time.Minute)
	require.NoError(t, store.Sweep(ctx))

	var left int
	require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM sessions").Scan(&left))
	assert.Equal(t, 1, left)
	_, err := store.Load(ctx, recent)
	assert.NoError(t, err)
}
