package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

// openSQL opens the database that a URL names, and the store in it. The table must be there.
func (c *command) openSQL(ctx context.Context) (session.Store, func(), error) {
	db, dialect, err := openDatabase(c.url)
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = db.Close() }
	store, err := sqlstore.New(db, dialect, sqlstore.Options{Table: c.table, Clock: c.now})
	if err == nil {
		_, err = store.Load(ctx, session.NewToken("sessionctl looks for the table", ""))
	}
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		done()
		return nil, nil, fmt.Errorf("%v, table %s: %w", dialect, c.tableName(), err)
	}
	return sqlStore{store, db, dialect}, done, nil
}

// sqlStore is a store, and the database that the doctor asks.
type sqlStore struct {
	*sqlstore.Store
	db      *sql.DB
	dialect sqlstore.Dialect
}

func (c *command) tableName() string {
	if c.table == "" {
		return "sessions"
	}
	return c.table
}

func openDatabase(text string) (*sql.DB, sqlstore.Dialect, error) {
	switch scheme(text) {
	case "postgres", "postgresql":
		db, err := sql.Open("pgx", text)
		return db, sqlstore.Postgres, err
	case "mysql":
		dsn, err := mysqlDSN(text)
		if err != nil {
			return nil, 0, err
		}
		db, err := sql.Open("mysql", dsn)
		return db, sqlstore.MySQL, err
	}
	file := strings.TrimPrefix(strings.TrimPrefix(text, "sqlite:"), "//")
	if file == "" {
		return nil, 0, usageError{"name the file: sqlite:FILE"}
	}
	dsn := url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: "mode=rw&_pragma=busy_timeout(5000)"} // a missing file is not created
	db, err := sql.Open("sqlite", dsn.String())
	return db, sqlstore.SQLite, err
}

// mysqlDSN returns a URL in the form that the driver needs.
func mysqlDSN(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", usageError{"the URL of the MySQL database can't be read: write mysql://user:password@host:3306/database"}
	}
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", u.Host
	if u.Port() == "" {
		config.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	if socket := u.Query().Get("socket"); socket != "" {
		config.Net, config.Addr = "unix", socket
	}
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.DBName, config.InterpolateParams = strings.TrimPrefix(u.Path, "/"), true
	return config.FormatDSN(), nil
}

// examineSQL checks a database.
func (c *command) examineSQL(ctx context.Context, s sqlStore) []finding {
	findings := []finding{c.examineSQLClock(ctx, s), examineSQLVersion(ctx, s), c.examineBacklog(ctx, s)}
	if s.dialect == sqlstore.Postgres {
		findings = append(findings, examineStandby(ctx, s))
	}
	return findings
}

// ask returns the single value that a query gives.
func ask[T any](ctx context.Context, s sqlStore, query string, args ...any) (answer T, err error) {
	err = s.db.QueryRowContext(ctx, query, args...).Scan(&answer)
	return answer, err
}

func notAsked(topic string, err error) finding {
	return finding{warning, topic, "it could not be asked: " + err.Error(), "allow it, and run the doctor again"}
}

func (c *command) examineSQLClock(ctx context.Context, s sqlStore) finding {
	query := map[sqlstore.Dialect]string{
		sqlstore.Postgres: "SELECT extract(epoch FROM clock_timestamp())::float8",
		sqlstore.MySQL:    "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) AS DOUBLE)",
		sqlstore.SQLite:   "SELECT (julianday('now') - 2440587.5) * 86400.0",
	}[s.dialect]
	seconds, err := ask[float64](ctx, s, query)
	if err != nil {
		return notAsked("clock", err)
	}
	return clockFinding(time.UnixMicro(int64(seconds * 1e6)).Sub(c.now()).Abs())
}

// The oldest versions that package sqlstore supports.
var leastVersions = map[sqlstore.Dialect][2]int{sqlstore.Postgres: {12, 0}, sqlstore.MySQL: {8, 0}, sqlstore.SQLite: {3, 24}}

var leastMariaDB = [2]int{10, 6}

func examineSQLVersion(ctx context.Context, s sqlStore) finding {
	query := map[sqlstore.Dialect]string{
		sqlstore.Postgres: "SHOW server_version", sqlstore.MySQL: "SELECT VERSION()", sqlstore.SQLite: "SELECT sqlite_version()",
	}[s.dialect]
	version, err := ask[string](ctx, s, query)
	if err != nil {
		return notAsked("version", err)
	}
	return versionFinding(s.dialect, version)
}

func versionFinding(dialect sqlstore.Dialect, version string) finding {
	name, least := dialect.String(), leastVersions[dialect]
	if strings.Contains(version, "MariaDB") {
		name, least = "MariaDB", leastMariaDB
	}
	var major, minor int
	_, _ = fmt.Sscanf(version, "%d.%d", &major, &minor)
	if major < least[0] || major == least[0] && minor < least[1] {
		return finding{fault, "version", name + " " + version + " is too old", fmt.Sprintf("install %s %d.%d or later", name, least[0], least[1])}
	}
	return finding{good, "version", name + " " + version, ""}
}

// sweepLag is how long after its end a row should have been swept at the latest. The row of a session may wait for a
// day.
const sweepLag = 26 * time.Hour

// examineBacklog checks whether Sweep is called.
func (c *command) examineBacklog(ctx context.Context, s sqlStore) finding {
	table, err := quotedTable(s.dialect, c.tableName())
	if err != nil {
		return notAsked("sweep", err)
	}
	late := c.now().Add(-sweepLag).Unix() / 3600
	n, err := ask[int](ctx, s, fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE sweep_hour < %d", table, late))
	switch {
	case err != nil:
		return notAsked("sweep", err)
	case n > 0:
		return finding{warning, "sweep", fmt.Sprintf("%d rows should have been deleted for over %d hours", n, int(sweepLag.Hours())),
			"call Store.Sweep from a ticker; docs/stores.md has one"}
	}
	return finding{good, "sweep", "nothing waits to be deleted", ""}
}

// quotedTable quotes a name that package sqlstore has accepted.
func quotedTable(dialect sqlstore.Dialect, name string) (string, error) {
	if strings.ContainsAny(name, "`\"") {
		return "", errors.New("the table's name has quotes")
	}
	quote := `"`
	if dialect == sqlstore.MySQL {
		quote = "`"
	}
	return quote + strings.ReplaceAll(name, ".", quote+"."+quote) + quote, nil
}

func examineStandby(ctx context.Context, s sqlStore) finding {
	standby, err := ask[bool](ctx, s, "SELECT pg_is_in_recovery()")
	switch {
	case err != nil:
		return notAsked("replication", err)
	case standby:
		return finding{fault, "replication", "this is a standby: nothing can be written, and it opens sessions that have just ended", "connect to the primary (target_session_attrs=read-write)"}
	}
	return finding{good, "replication", "this is the primary", ""}
}
