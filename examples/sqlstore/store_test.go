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
	path := filepath.Join(t.TempDir(), "sessions.db")
	r := &session.Record{ID: "id", Revision: "1", Deadline: time.Now().Add(time.Hour)}
	_, err := New(open(t, path)).Swap(t.Context(), session.NewToken("id", ""), session.Swap{New: r})
	require.NoError(t, err)
	loaded, err := New(open(t, path)).Load(t.Context(), session.NewToken("id", ""))
	require.NoError(t, err)
	assert.Equal(t, "1", loaded.Revision)
}

func TestStore_SweepsWhatIsOver(t *testing.T) {
	store := New(open(t, filepath.Join(t.TempDir(), "sessions.db")))
	start := time.Now()
	for id, life := range map[string]time.Duration{"brief": time.Minute, "long": time.Hour} {
		r := &session.Record{ID: id, Revision: "1", User: "ada", Deadline: start.Add(life)}
		_, err := store.Swap(t.Context(), session.NewToken(id, ""), session.Swap{New: r})
		require.NoError(t, err)
	}
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{time.Minute, 2}, {2 * time.Minute, 1}, {61 * time.Minute, 0}} {
		ctx := session.WithClock(t.Context(), func() time.Time { return start.Add(step.after) })
		require.NoError(t, store.Sweep(ctx))
		records, err := store.UserSessions(ctx, "", "ada")
		require.NoError(t, err)
		assert.Len(t, records, step.left, "after %v", step.after)
	}
}
