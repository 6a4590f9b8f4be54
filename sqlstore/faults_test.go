package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sqlstore"
	"github.com/doorman-go/session/tests/kit"
)

// via returns the data source name of a server behind a proxy.
func via(dsn string, server, proxy string) string { return strings.Replace(dsn, server, proxy, 1) }

// The server is killed and started again while sessions are counted up: each answered increment is there, none is there
// twice, and soon after the start all is well.
func TestFaults_ServerKilledUnderLoad(t *testing.T) {
	each(t, servers, func(t *testing.T, d database) {
		server := d.own(t)
		a := d.storeIn(t, d.open(t, server.DSN()), "sessions")
		b := d.storeIn(t, d.open(t, server.DSN()), "sessions")
		app := kit.New(t, session.Config{StoreTimeout: time.Second, Logger: kit.QuietSlog()}, a, b)
		const workers = 8
		cookies := make([]string, workers)
		for i := range cookies {
			cookies[i] = app.Login(fmt.Sprint("user", i))
		}
		var stop atomic.Bool
		var group sync.WaitGroup
		answered, doubtful := make([]int, workers), make([]int, workers)
		underWay := make(chan struct{}, 10_000)
		for i := range workers {
			group.Go(func() {
				for !stop.Load() {
					if app.Request(i%2, cookies[i], kit.Act(kit.CountUp)).StatusCode == 200 {
						answered[i]++
					} else {
						doubtful[i]++
					}
					select {
					case underWay <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 50 {
			<-underWay
		}
		require.NoError(t, server.Kill())
		require.NoError(t, server.Restart())
		back := time.Now()
		tries := 0
		require.Eventually(t, func() bool {
			tries++
			return app.Request(0, cookies[0], kit.Act(kit.CountUp)).StatusCode == 200
		}, 20*time.Second, time.Millisecond)
		t.Logf("back after %v", time.Since(back))
		stop.Store(true)
		group.Wait()
		answered[0], doubtful[0] = answered[0]+1, doubtful[0]+tries // those that were waited for
		for i, cookie := range cookies {
			n := kit.Value[int](app, cookie, "counter")
			require.GreaterOrEqual(t, n, answered[i], "an increment that was answered is lost")
			require.LessOrEqual(t, n, answered[i]+doubtful[i], "one counts twice")
			require.Equal(t, fmt.Sprint("user", i), app.User(cookie))
		}
	})
}

// The connection is cut in the middle of the answer to what was made: the store sends it again, and finds that it was.
func TestFaults_AnswerCut(t *testing.T) {
	for _, c := range []struct {
		database
		what, match string
	}{
		{postgres, "change", "UPDATE"}, {postgres, "creation", "INSERT"}, {postgres, "login", "WITH ended"}, {postgres, "end", "WITH given"},
		{mySQL, "change", "UPDATE"}, {mySQL, "creation", "INSERT"}, {mySQL, "login", "COMMIT"}, {mySQL, "end", "COMMIT"},
		{postgres, "three", "commit"}, {mySQL, "three", "COMMIT"},
	} {
		for name, fault := range map[string]redistest.Fault{"reset within it": redistest.Reset, "lost": redistest.LoseReply} {
			t.Run(c.name+"/"+c.what+"/"+name, func(t *testing.T) {
				shared, err := c.shared()
				require.NoError(t, err)
				proxy := redistest.ProxyTo(t, shared.Addr())
				dsn := via(shared.DSN(), shared.Addr(), proxy.Addr)
				if c.dialect == sqlstore.Postgres {
					dsn += "&default_query_exec_mode=exec" // each statement's text is in its request
				}
				table := newTable()
				s, direct := c.storeIn(t, c.open(t, dsn), table), c.storeIn(t, c.open(t, shared.DSN()), table)
				old, fresh := newRecord("old", "ada"), newRecord("fresh", "ada")
				swap(t, s, session.Swap{New: old})
				ctx := within(t, 10*time.Second)
				proxy.Once(fault, c.match)
				switch c.what {
				case "change":
					_, err = s.Swap(ctx, token(old), session.Swap{Old: old, New: next(old, "old-2")})
					require.NoError(t, err)
					require.Equal(t, "old-2", stored(t, direct, "old"))
				case "creation":
					_, err = s.Swap(ctx, token(fresh), session.Swap{New: fresh})
					require.NoError(t, err)
				case "login":
					_, err = s.Swap(ctx, token(fresh), session.Swap{Old: old, New: tombstoneOf(old, "old-2")}, session.Swap{New: fresh})
					require.NoError(t, err)
					require.Equal(t, "old-2", stored(t, direct, "old"))
				case "three":
					_, err = s.Swap(ctx, token(fresh), session.Swap{Old: old, New: tombstoneOf(old, "old-2")}, session.Swap{New: fresh},
						session.Swap{New: newRecord("third", "ada")})
					require.NoError(t, err)
					require.Equal(t, "third-1", stored(t, direct, "third"))
				case "end": // what was replaced can't be told any more, so it is said that a tombstone is there: this one
					_, err = s.End(ctx, tombstoneOf(old, "old-2"))
					requireConflict(t, err, "old", "old-2")
					return
				}
				if c.what != "change" {
					require.Equal(t, "fresh-1", stored(t, direct, "fresh"))
				}
				require.GreaterOrEqual(t, proxy.Accepted(), int64(2), "the connection was cut")
			})
		}
	}
}

// An administrator cuts connections, idle ones and those at work.
func TestFaults_ConnectionsCutByAnAdministrator(t *testing.T) {
	each(t, servers, func(t *testing.T, d database) {
		server := d.own(t)
		db, admin := d.open(t, server.DSN()), d.open(t, server.DSN())
		s := d.storeIn(t, db, "sessions")
		admin.SetMaxOpenConns(1)
		r := newRecord("id", "ada")
		swap(t, s, session.Swap{New: r})
		fill(t, s, 20) // the pool has several connections
		for i := range 20 {
			d.cutOthers(t, admin)
			n := next(r, fmt.Sprint("r", i))
			_, err := s.Swap(within(t, 5*time.Second), token(r), session.Swap{Old: r, New: n})
			require.NoError(t, err)
			r = n
			got, err := s.Load(within(t, 5*time.Second), token(r))
			require.NoError(t, err)
			require.Equal(t, r.Revision, got.Revision)
		}
		tx, err := admin.Begin() // and one that waits for a lock
		require.NoError(t, err)
		d.lock(t, tx, "sessions", "id")
		done := make(chan error)
		n := next(r, "last")
		ctx := within(t, 20*time.Second)
		go func() { _, err := s.Swap(ctx, token(r), session.Swap{Old: r, New: n}); done <- err }()
		watch := d.open(t, server.DSN())
		watch.SetMaxOpenConns(1)
		d.waitForLockWait(t, watch)
		d.cutWaiting(t, watch)
		require.NoError(t, tx.Rollback())
		require.NoError(t, <-done)
		require.Equal(t, "last", stored(t, s, "id"))
	})
}

// lock has a transaction hold a row.
func (d database) lock(t *testing.T, tx *sql.Tx, table, id string) {
	t.Helper()
	placeholder := "?"
	if d.dialect == sqlstore.Postgres {
		placeholder = "$1"
	}
	_, err := tx.Exec("SELECT 1 FROM "+table+" WHERE id = "+placeholder+" FOR UPDATE", []byte(id))
	require.NoError(t, err)
}

func (d database) cutOthers(t *testing.T, admin *sql.DB) {
	t.Helper()
	d.cut(t, admin, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
		"SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'root'")
}

func (d database) cutWaiting(t *testing.T, admin *sql.DB) {
	t.Helper()
	d.cut(t, admin, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
		onMySQL("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
			"SELECT processlist_id FROM performance_schema.threads JOIN performance_schema.data_lock_waits ON thread_id = requesting_thread_id"))
}

// cut ends connections.
func (d database) cut(t *testing.T, admin *sql.DB, onPostgres, onTheOthers string) {
	t.Helper()
	query, end := onPostgres, "SELECT pg_terminate_backend(%d)"
	if d.dialect == sqlstore.MySQL {
		query, end = onTheOthers, "KILL CONNECTION %d"
	}
	rows, err := admin.Query(query)
	require.NoError(t, err)
	var ids []int
	for rows.Next() {
		var id int
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Close())
	for _, id := range ids {
		_, _ = admin.Exec(fmt.Sprintf(end, id)) // it may be gone already
	}
}

// Locks that are not free in time are waited for again, until the context ends: by its deadline the call is over.
func TestFaults_LockTimeouts(t *testing.T) {
	for _, c := range []struct {
		database
		setting string
	}{{postgres, "&options=-c%20lock_timeout%3D50"}, {mySQL, "&innodb_lock_wait_timeout=1"}} {
		t.Run(c.name, func(t *testing.T) {
			table := newTable()
			s := c.storeIn(t, c.open(t, c.dsn(t)+c.setting), table)
			other := c.open(t, c.dsn(t))
			r := newRecord("id", "ada")
			swap(t, s, session.Swap{New: r})
			tx, err := other.Begin()
			require.NoError(t, err)
			c.lock(t, tx, table, "id")

			start := time.Now()
			_, err = s.Swap(within(t, 300*time.Millisecond), token(r), session.Swap{Old: r, New: next(r, "given-up")})
			require.Error(t, err)
			require.Less(t, time.Since(start), 5*time.Second)

			fresh := newRecord("fresh", "ada")
			done := make(chan error)
			ctx := within(t, 20*time.Second)
			go func() {
				_, err := s.Swap(ctx, token(r), session.Swap{Old: r, New: tombstoneOf(r, "2")}, session.Swap{New: fresh})
				done <- err
			}()
			select {
			case err := <-done:
				t.Fatalf("it did not wait: %v", err)
			case <-time.After(1500 * time.Millisecond): // several timeouts
			}
			require.NoError(t, tx.Rollback())
			// The statement that was given up may be made still, as it waited in the server: then this is a conflict.
			var conflict *session.ConflictError
			if err := <-done; !errors.As(err, &conflict) {
				require.NoError(t, err)
				require.Equal(t, "fresh-1", stored(t, s, "fresh"))
			}
		})
	}
}

// Deadlocks and serialization failures are tried again: with every transaction of the program serializable, all is as ever.
func TestFaults_SerializationFailures(t *testing.T) {
	for _, c := range []struct {
		database
		setting string
	}{
		{postgres, "&default_transaction_isolation=serializable"},
		{postgres, "&default_transaction_isolation=repeatable%20read"},
		{mySQL, onMySQL("&tx_isolation=", "&transaction_isolation=") + url.QueryEscape("'SERIALIZABLE'")},
		{mySQL, onMySQL("&innodb_snapshot_isolation=ON", "&transaction_isolation="+url.QueryEscape("'REPEATABLE-READ'"))},
	} {
		t.Run(c.name+c.setting, func(t *testing.T) {
			table := newTable()
			a := c.storeIn(t, c.open(t, c.dsn(t)+c.setting), table)
			b := c.storeIn(t, c.open(t, c.dsn(t)+c.setting), table)
			r := newRecord("id", "ada")
			r.Values = session.NewValues(nil)
			swap(t, a, session.Swap{New: r})
			app := kit.New(t, session.Config{}, a, b)
			cookie := app.Login("ada")
			var group sync.WaitGroup
			for i := range 100 {
				group.Go(func() {
					if resp := app.Request(i%2, cookie, kit.Act(kit.CountUp)); resp.StatusCode != 200 {
						t.Errorf("%s: %s", resp.Status, app.Log())
					}
				})
			}
			group.Wait()
			require.Equal(t, 100, kit.Value[int](app, cookie, "counter"))
		})
	}
}

// Two transactions that take two rows in opposite orders: the database ends one of them, which is then tried again.
func TestFaults_Deadlocks(t *testing.T) {
	each(t, servers, func(t *testing.T, d database) {
		dsn, table := d.dsn(t), newTable()
		a, b := d.storeIn(t, d.open(t, dsn), table), d.storeIn(t, d.open(t, dsn), table)
		x, y := newRecord("x", ""), newRecord("y", "")
		swap(t, a, session.Swap{New: x})
		swap(t, a, session.Swap{New: y})
		deadlocks := d.deadlocks(t)
		for i := range 500 {
			nx, ny := next(x, fmt.Sprint("x", i)), next(y, fmt.Sprint("y", i))
			errs := make(chan error)
			go func() {
				_, err := a.Swap(t.Context(), token(x), session.Swap{Old: x, New: nx}, session.Swap{Old: y, New: ny})
				errs <- err
			}()
			go func() {
				_, err := b.Swap(t.Context(), token(x), session.Swap{Old: y, New: ny}, session.Swap{Old: x, New: nx})
				errs <- err
			}()
			require.NoError(t, <-errs)
			require.NoError(t, <-errs, "it made the same, so it is no conflict")
			x, y = nx, ny
			if i%20 == 19 && d.deadlocks(t) > deadlocks {
				return
			}
		}
		t.Fatal("there was no deadlock")
	})
}

// deadlocks returns how many the server has met.
func (d database) deadlocks(t *testing.T) (n int) {
	db := d.open(t, d.dsn(t))
	if d.dialect == sqlstore.Postgres {
		_, err := db.Exec("SELECT pg_stat_force_next_flush()")
		require.NoError(t, err)
		require.NoError(t, db.QueryRow("SELECT sum(deadlocks) FROM pg_stat_database").Scan(&n))
		return n
	}
	require.NoError(t, db.QueryRow(onMySQL(
		"SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'INNODB_DEADLOCKS'",
		"SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'")).Scan(&n))
	return n
}

// A primary that has become a replica, or any database that may only be read.
func TestFaults_ReadOnlyDatabase(t *testing.T) {
	for _, c := range []struct {
		database
		setting string
	}{{postgres, "&default_transaction_read_only=on"}, {mySQL, onMySQL("&tx_read_only=1", "&transaction_read_only=1")}} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := c.store(t)
			r := newRecord("id", "ada")
			swap(t, s, session.Swap{New: r})
			readOnly(t, c.database, c.dsn(t)+c.setting, tableOf(s), r)
		})
	}
}

// A server that is away is told at once, and one that does not answer by the deadline.
func TestFaults_ServerAway(t *testing.T) {
	each(t, servers, func(t *testing.T, d database) {
		shared, err := d.shared()
		require.NoError(t, err)
		proxy := redistest.ProxyTo(t, shared.Addr())
		s := d.storeIn(t, d.open(t, via(shared.DSN(), shared.Addr(), proxy.Addr)), newTable())
		swap(t, s, session.Swap{New: newRecord("id", "ada")})
		proxy.Set(redistest.Hang)
		start := time.Now()
		_, err = s.Load(within(t, 200*time.Millisecond), session.NewToken("id", ""))
		require.Error(t, err)
		require.NotErrorIs(t, err, session.ErrNotFound)
		require.Less(t, time.Since(start), 5*time.Second)
		proxy.Set(redistest.Pass)
		_, err = s.Load(within(t, 10*time.Second), session.NewToken("id", ""))
		require.NoError(t, err)

		away := d.open(t, via(shared.DSN(), shared.Addr(), "127.0.0.1:1"))
		gone, err := sqlstore.New(away, d.dialect, sqlstore.Options{})
		require.NoError(t, err)
		start = time.Now()
		_, err = gone.Load(within(t, time.Minute), session.NewToken("id", ""))
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(start), 20*time.Second)
	})
}
