package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	sqlitedriver "modernc.org/sqlite"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/sqltest"
	"github.com/doorman-go/session/sqlstore"
	"github.com/doorman-go/session/tests/kit"
)

// counter counts round trips: what a client sends after it has received something, or first. On SQLite it counts
// statements, and those that failed.
type counter struct{ trips, failed atomic.Int64 }

func (c *counter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	counted := &countedConn{Conn: conn, counter: c}
	counted.answered.Store(true)
	return counted, nil
}

type countedConn struct {
	net.Conn
	*counter
	answered atomic.Bool
}

func (c *countedConn) Write(b []byte) (int, error) {
	if c.answered.Swap(false) {
		c.trips.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.answered.Store(true)
	return n, err
}

// openCounted opens a pool of one connection whose round trips are counted; on SQLite its statements are.
func (d database) openCounted(t *testing.T, dsn string, c *counter) *sql.DB {
	t.Helper()
	var db *sql.DB
	switch d.dialect {
	case sqlstore.Postgres:
		config, err := pgx.ParseConfig(dsn)
		require.NoError(t, err)
		config.DialFunc = c.dial
		noPing := stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }) // by default after a second
		db = stdlib.OpenDB(*config, noPing)
	case sqlstore.MySQL:
		config, err := mysql.ParseDSN(dsn)
		require.NoError(t, err)
		config.DialFunc = c.dial
		connector, err := mysql.NewConnector(config)
		require.NoError(t, err)
		db = sql.OpenDB(connector)
	case sqlstore.SQLite:
		db = sql.OpenDB(&countedConnector{&sqlitedriver.Driver{}, dsn, c})
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// countedConnector counts the statements of a driver.
type countedConnector struct {
	driver driver.Driver
	dsn    string
	*counter
}

func (c *countedConnector) Driver() driver.Driver { return c.driver }

func (c *countedConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &countedStatements{conn, c.counter}, nil
}

type countedStatements struct {
	driver.Conn
	*counter
}

func (c *countedStatements) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.trips.Add(1)
	result, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	if err != nil {
		c.failed.Add(1)
	}
	return result, err
}

func (c *countedStatements) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.trips.Add(1)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// costs are the round trips of each kind of request.
type costs struct{ visitor, read, write, touch, begin, login, regenerate, logout int }

func TestRoundTrips(t *testing.T) {
	one := costs{0, 1, 2, 2, 1, 2, 2, 2}
	transactions := costs{0, 1, 2, 2, 1, 5, 5, 5} // begin, two statements, commit
	for _, c := range []struct {
		name string
		database
		setting string
		want    costs
	}{
		{"default: each statement is prepared once for a connection", postgres, "", one},
		{"exec", postgres, "&default_query_exec_mode=exec", one},
		{"simple protocol", postgres, "&default_query_exec_mode=simple_protocol", one},
		{"cache describe", postgres, "&default_query_exec_mode=cache_describe", one},
		{"describe exec: twice as many", postgres, "&default_query_exec_mode=describe_exec", costs{0, 2, 4, 4, 2, 4, 4, 4}},
		{"interpolateParams=true", mySQL, "", transactions},
		{"statements", sqlite, "", transactions},
	} {
		t.Run(c.database.name+"/"+c.name, func(t *testing.T) {
			count := &counter{}
			store := c.storeIn(t, c.openCounted(t, c.dsn(t)+c.setting, count), newTable())
			measure(t, store, &counter{}) // statements are prepared, the connection is set up
			require.Equal(t, c.want, measure(t, store, count))
		})
	}
}

// Without interpolateParams each statement is prepared, made and closed; nobody waits for the answer to the last.
func TestRoundTrips_MySQLPreparesWithoutInterpolation(t *testing.T) {
	dsn := strings.Replace(mySQL.dsn(t), "interpolateParams=true", "interpolateParams=false", 1)
	count := &counter{}
	got := measure(t, mySQL.storeIn(t, mySQL.openCounted(t, dsn, count), newTable()), count)
	require.GreaterOrEqual(t, got.read, 2)
	require.GreaterOrEqual(t, got.write, 4)
	require.GreaterOrEqual(t, got.login, 7)
}

// measure makes one request of each kind.
func measure(t *testing.T, store session.Store, count *counter) costs {
	t.Helper()
	app := kit.New(t, kit.CostConfig, store)
	b := app.Browser()
	trips := func(do func(*session.Session)) int {
		before := count.trips.Load()
		resp := app.Do(b.Cookie, do)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		b.Receive(resp)
		return int(count.trips.Load() - before)
	}
	var c costs
	c.visitor = trips(func(*session.Session) {})
	c.begin = trips(func(s *session.Session) { s.Set("a", 1) })
	c.read = trips(func(*session.Session) {})
	c.write = trips(func(s *session.Session) { s.Set("a", 2) })
	c.login = trips(func(s *session.Session) { require.NoError(t, s.Login("ada")) })
	app.Clock.Advance(2 * time.Minute)
	c.touch = trips(func(*session.Session) {})
	c.regenerate = trips(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
	c.logout = trips(func(s *session.Session) { require.NoError(t, s.Destroy()) })
	return c
}

// Behind PgBouncer, which has each transaction made by another of the server's processes, statements can't be prepared
// for a connection: two of pgx's modes do without, and have the same costs.
func TestPgBouncer(t *testing.T) {
	server, err := sharedPostgres()
	require.NoError(t, err)
	bouncer, err := sqltest.StartPgBouncer(server)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, bouncer.Close()) })
	for _, mode := range []string{"exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			dsn := strings.Replace(bouncer.DSN(), "=exec", "="+mode, 1)
			count := &counter{}
			store := postgres.storeIn(t, postgres.openCounted(t, dsn, count), newTable())
			measure(t, store, &counter{})
			require.Equal(t, costs{0, 1, 2, 2, 1, 2, 2, 2}, measure(t, store, count))

			a, b := postgres.storeIn(t, postgres.open(t, dsn), tableOf(store)), postgres.storeIn(t, postgres.open(t, dsn), tableOf(store))
			app := kit.New(t, session.Config{}, a, b)
			cookie := app.Login("ada")
			done := make(chan int)
			const requests = 100
			for i := range requests {
				go func() { done <- app.Request(i%2, cookie, kit.Act(kit.CountUp)).StatusCode }()
			}
			for range requests {
				require.Equal(t, http.StatusOK, <-done)
			}
			require.Equal(t, requests, kit.Value[int](app, cookie, "counter"))
		})
	}
}
