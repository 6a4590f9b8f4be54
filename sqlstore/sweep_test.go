package sqlstore_test

import (
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

// sweeper returns a store whose Sweep goes by the clock given.
func (d database) sweeper(t *testing.T, clock func() time.Time) *sqlstore.Store {
	t.Helper()
	db := d.open(t, d.dsn(t))
	s, err := sqlstore.New(db, d.dialect, sqlstore.Options{Table: newTable(), Clock: clock})
	require.NoError(t, err)
	require.NoError(t, s.CreateTable(t.Context()))
	return s
}

func sweep(t testing.TB, s *sqlstore.Store, limit int) int {
	t.Helper()
	n, err := s.Sweep(t.Context(), limit)
	require.NoError(t, err)
	return n
}

func TestSweep_DeletesWhatNobodyCanUse(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		start := time.Now().UTC().Truncate(time.Hour)
		now := start
		s := d.sweeper(t, func() time.Time { return now })
		idle, endless, tombstone := newRecord("idle", "ada"), newRecord("endless", ""), tombstoneOf(newRecord("ended", "ada"), "2")
		idle.LastUsedAt, endless.IdleTimeout, endless.Deadline = start, 0, start.Add(4*time.Hour)
		tombstone.Deadline = start.Add(time.Minute)
		for _, r := range []*session.Record{idle, endless, tombstone} {
			swap(t, s, session.Swap{New: r})
		}
		for _, step := range []struct {
			after time.Duration
			swept int
			left  []string
		}{
			{0, 0, []string{"idle", "endless", "ended"}},
			{time.Hour + 9*time.Second, 0, []string{"idle", "endless", "ended"}},
			{time.Hour + 10*time.Second, 1, []string{"idle", "endless"}},
			{4*time.Hour + time.Minute, -1, []string{"endless"}}, // idle may be gone
			{25*time.Hour + time.Minute + 10*time.Second, -1, nil},
		} {
			now = start.Add(step.after)
			n := sweep(t, s, 100)
			if step.swept >= 0 {
				require.Equal(t, step.swept, n, "after %v", step.after)
			}
			for _, id := range step.left {
				require.NotEmpty(t, stored(t, s, id), "%s after %v", id, step.after)
			}
		}
		for _, id := range []string{"idle", "endless", "ended"} {
			require.Empty(t, stored(t, s, id), "at most a day later")
		}
	})
}

func TestSweep_InBatches(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.sweeper(t, func() time.Time { return time.Now().Add(48 * time.Hour) })
		const rows = 2500
		fill(t, s, rows)
		require.Equal(t, 1, sweep(t, s, 1))
		require.Equal(t, 2200, sweep(t, s, 2200))
		require.Equal(t, rows-2201, sweep(t, s, 1000))
		require.Zero(t, sweep(t, s, 1000))
		for _, limit := range []int{0, -1} {
			_, err := s.Sweep(t.Context(), limit)
			require.ErrorContains(t, err, "at least one")
		}
	})
}

// fill stores sessions of nobody's.
func fill(t *testing.T, s *sqlstore.Store, rows int) {
	t.Helper()
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() {
			for i := worker; i < rows; i += 10 {
				r := newRecord(fmt.Sprint("filled-", i), "")
				if _, err := s.Swap(t.Context(), token(r), session.Swap{New: r}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// While another one has a row, the sweep takes the others, and readers and writers of others do not wait for it.
func TestSweep_BlocksNobody(t *testing.T) {
	d := postgres
	s := d.sweeper(t, func() time.Time { return time.Now().Add(48 * time.Hour) })
	fill(t, s, 100)
	db := d.open(t, d.dsn(t))
	tx, err := db.Begin()
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.Exec("SELECT 1 FROM "+tableOf(s)+" WHERE id = $1 FOR UPDATE", []byte("filled-7"))
	require.NoError(t, err)
	n, err := s.Sweep(within(t, 20*time.Second), 1000)
	require.NoError(t, err)
	require.Equal(t, 99, n, "the row that somebody has is left for the next sweep")
	require.NoError(t, tx.Rollback())
	require.Equal(t, 1, sweep(t, s, 1000))
}

// On MariaDB a sweep that waits for a row holds up nobody else: neither readers, nor who changes or creates a session.
func TestSweep_ThatWaitsBlocksNobody(t *testing.T) {
	d := mySQL
	s := d.sweeper(t, func() time.Time { return time.Now().Add(48 * time.Hour) })
	fill(t, s, 100)
	kept := newRecord("kept", "ada")
	kept.IdleTimeout, kept.Deadline = 0, time.Now().Add(300*24*time.Hour)
	swap(t, s, session.Swap{New: kept})
	db := d.open(t, d.dsn(t))
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("SELECT 1 FROM "+tableOf(s)+" WHERE id = ? FOR UPDATE", []byte("filled-7"))
	require.NoError(t, err)
	swept := make(chan int)
	go func() { n, _ := s.Sweep(t.Context(), 1000); swept <- n }()
	d.waitForLockWait(t, db)

	other := within(t, 5*time.Second)
	_, err = s.Load(other, session.NewToken("filled-8", ""))
	require.NoError(t, err)
	_, err = s.Swap(other, token(kept), session.Swap{Old: kept, New: next(kept, "kept-2")})
	require.NoError(t, err)
	for i := range 50 {
		r := newRecord(fmt.Sprint("new-", i), fmt.Sprint("user", i))
		r.LastUsedAt = r.LastUsedAt.Add(-48 * time.Hour) // into the part of the index that is swept
		_, err = s.Swap(other, token(r), session.Swap{New: r})
		require.NoError(t, err)
	}
	require.NoError(t, tx.Rollback())
	require.Equal(t, 100, <-swept)
}

// waitForLockWait returns when somebody waits for a lock.
func (d database) waitForLockWait(t *testing.T, db *sql.DB) {
	t.Helper()
	query := map[sqlstore.Dialect]string{
		sqlstore.Postgres: "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
		sqlstore.MySQL: onMySQL("SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
			"SELECT count(*) FROM performance_schema.data_lock_waits"),
	}[d.dialect]
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, db.QueryRow(query).Scan(&n))
		return n > 0
	}, 20*time.Second, 200*time.Millisecond) // InnoDB shows news to who has not looked for 100 ms
}

// A touch is to change no index: PostgreSQL then writes into the same page, and no index grows.
func TestTouch_ChangesNoIndex(t *testing.T) {
	s, db := postgres.store(t)
	table := tableOf(s)
	_, err := db.Exec("ALTER TABLE " + table + " SET (autovacuum_enabled = off)")
	require.NoError(t, err)
	r := newRecord("id", "ada")
	swap(t, s, session.Swap{New: r})
	for i := range 200 {
		touched := next(r, fmt.Sprint("r", i))
		touched.LastUsedAt = r.LastUsedAt.Add(3 * time.Second) // ten minutes altogether
		swap(t, s, session.Swap{Old: r, New: touched})
		r = touched
	}
	var updates, hot int
	require.Eventually(t, func() bool { // statistics come late
		require.NoError(t, db.QueryRow("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1", table).Scan(&updates, &hot))
		return updates == 200
	}, 20*time.Second, 50*time.Millisecond)
	require.GreaterOrEqual(t, hot, 199, "one may be the session's step into another day")
	var size int
	require.NoError(t, db.QueryRow("SELECT pg_relation_size($1::regclass)", table).Scan(&size))
	require.LessOrEqual(t, size, 2*8192)
}
