package sqlstore_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

func TestNew_AsksNothingOfTheDatabase(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		dsn := map[string]string{
			"pgx": "postgres://nobody@127.0.0.1:1/none", "mysql": "nobody@tcp(127.0.0.1:1)/none", "sqlite": "file:/no/such/folder/file",
		}[d.driver]
		s, err := sqlstore.New(d.open(t, dsn), d.dialect, sqlstore.Options{})
		require.NoError(t, err)
		require.Error(t, s.CreateTable(t.Context()))
		_, err = s.Load(t.Context(), session.NewToken("id", ""))
		require.Error(t, err)
		require.NotErrorIs(t, err, session.ErrNotFound)
		require.Contains(t, s.String(), "sessions")
	})
	_, err := sqlstore.New(nil, sqlstore.Postgres, sqlstore.Options{})
	require.ErrorContains(t, err, "no *sql.DB")
	_, err = sqlstore.New(&sql.DB{}, 0, sqlstore.Options{})
	require.ErrorContains(t, err, "none of")
}

func TestCreateTable_BySeveralProcessesAtOnce(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		dsn := d.dsn(t)
		for range 5 {
			table, created := newTable(), make(chan error)
			const processes = 8
			for range processes {
				s, err := sqlstore.New(d.open(t, dsn), d.dialect, sqlstore.Options{Table: table})
				require.NoError(t, err)
				go func() { created <- s.CreateTable(t.Context()) }()
			}
			for range processes {
				require.NoError(t, <-created)
			}
		}
	})
}

// indexesOf counts the indexes of a table, the primary key's apart.
func (d database) indexesOf(t *testing.T, db *sql.DB, table string) (n int) {
	query := map[sqlstore.Dialect]string{
		sqlstore.Postgres: "SELECT count(*) - 1 FROM pg_indexes WHERE tablename = '%s'",
		sqlstore.MySQL:    "SELECT count(*) - 1 FROM information_schema.statistics WHERE table_name = '%s'",
		sqlstore.SQLite:   "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = '%s'",
	}[d.dialect]
	require.NoError(t, db.QueryRow(fmt.Sprintf(query, table)).Scan(&n))
	return n
}

func TestCreateTable_CreatesWhatIsMissingOnly(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, db := d.store(t)
		table := tableOf(s)
		require.Equal(t, 2, d.indexesOf(t, db, table))
		swap(t, s, session.Swap{New: newRecord("id", "ada")})
		for _, suffix := range []string{"user_idx", "sweep_idx"} {
			drop := "DROP INDEX " + table + "_" + suffix
			if d.dialect == sqlstore.MySQL {
				drop += " ON " + table
			}
			_, err := db.Exec(drop)
			require.NoError(t, err)
			require.Equal(t, 1, d.indexesOf(t, db, table))
			require.NoError(t, s.CreateTable(t.Context()))
			require.Equal(t, 2, d.indexesOf(t, db, table))
		}
		require.Equal(t, "id-1", stored(t, s, "id"))
	})
}

func tableOf(s *sqlstore.Store) string {
	_, table, _ := strings.Cut(strings.TrimSuffix(s.String(), ")"), ", ")
	return table
}

func TestCreateTable_RefusesATableOfAnotherProgram(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		db, table := d.open(t, d.dsn(t)), newTable()
		_, err := db.Exec("CREATE TABLE " + table + " (token CHAR(43) PRIMARY KEY, expiry INTEGER)")
		require.NoError(t, err)
		s, err := sqlstore.New(db, d.dialect, sqlstore.Options{Table: table})
		require.NoError(t, err)
		require.ErrorContains(t, s.CreateTable(t.Context()), "can't be read as sessions")
		require.Zero(t, d.indexesOf(t, db, table), "nothing is added to it")
	})
}

func TestSchema_IsWhatCreateTableCreates(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		db := d.open(t, d.dsn(t))
		s, err := sqlstore.New(db, d.dialect, sqlstore.Options{Table: newTable()})
		require.NoError(t, err)
		tx, err := db.Begin()
		require.NoError(t, err)
		for range 2 { // it may be run again
			for _, statement := range s.Schema() {
				_, err := tx.Exec(statement)
				require.NoError(t, err)
			}
		}
		require.NoError(t, tx.Commit())
		require.Equal(t, 2, d.indexesOf(t, db, tableOf(s)))
		swap(t, s, session.Swap{New: newRecord("id", "ada")})
		require.Equal(t, "id-1", stored(t, s, "id"))
		require.NoError(t, s.CreateTable(t.Context()))
	})
}

// The longest names, whose indexes have to be told from each other still.
func TestTable_LongestNamesAndSchemas(t *testing.T) {
	longest := func(n int, last string) string { return strings.Repeat("L", n-1) + last }
	for _, c := range []struct {
		database
		prepare string
		tables  []string
	}{
		{postgres, "CREATE SCHEMA IF NOT EXISTS own", []string{"own.sessions", longest(63, "a"), longest(63, "b"), "own." + longest(63, "a")}},
		{mySQL, "CREATE DATABASE IF NOT EXISTS own", []string{"own.sessions", longest(64, "a"), longest(64, "b"), "own." + longest(64, "a")}},
		{sqlite, "", []string{"main.sessions", longest(200, "a"), longest(200, "b"), "Sessions-$"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := c.open(t, c.dsn(t))
			_, err := db.Exec(c.prepare)
			require.NoError(t, err)
			for i, table := range c.tables {
				s, revision := c.storeIn(t, db, table), fmt.Sprint("r", i)
				r := newRecord("id", "ada")
				r.Revision = revision
				swap(t, s, session.Swap{New: r})
				require.Equal(t, revision, stored(t, s, "id"), "each table has its own")
				if _, name, inSchema := strings.Cut(table, "."); !inSchema || c.dialect == sqlstore.SQLite {
					require.Equal(t, 2, c.indexesOf(t, db, table[strings.Index(table, ".")+1:]), name)
				}
				listed, err := s.UserSessions(t.Context(), "shop", "ada")
				require.NoError(t, err)
				require.Len(t, listed, 1)
			}
		})
	}
}

// grants are what docs/stores.md says a store needs.
var grants = map[sqlstore.Dialect][]string{
	sqlstore.Postgres: {
		"CREATE ROLE app LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO app",
	},
	sqlstore.MySQL: {"CREATE USER app", "GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO app"},
}

func TestRights_AreThoseOfTheDocuments(t *testing.T) {
	each(t, servers, func(t *testing.T, d database) {
		server := d.own(t)
		admin := d.open(t, server.DSN())
		owner := d.storeIn(t, admin, "sessions")
		for _, grant := range grants[d.dialect] {
			if strings.Contains(grant, "%s") {
				grant = fmt.Sprintf(grant, "sessions")
			}
			_, err := admin.Exec(grant)
			require.NoError(t, err)
		}
		app := d.open(t, strings.NewReplacer("postgres://postgres@", "postgres://app@", "root@", "app@").Replace(server.DSN()))
		s, err := sqlstore.New(app, d.dialect, sqlstore.Options{})
		require.NoError(t, err)
		require.NoError(t, s.CreateTable(t.Context()), "where nothing is missing")
		exercise(t, s)
		other, err := sqlstore.New(app, d.dialect, sqlstore.Options{Table: "other"})
		require.NoError(t, err)
		require.Error(t, other.CreateTable(t.Context()), "it may not create anything")
		require.Equal(t, "", stored(t, owner, "nobody"))
	})
}

// exercise does with a store all that can be done.
func exercise(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	old, fresh := newRecord("old", "ada"), newRecord("fresh", "ada")
	swap(t, s, session.Swap{New: old})
	swap(t, s, session.Swap{Old: old, New: next(old, "old-2")})
	swap(t, s, session.Swap{Old: next(old, "old-2"), New: tombstoneOf(old, "old-3")}, session.Swap{New: fresh})
	replaced, err := s.End(t.Context(), tombstoneOf(fresh, "fresh-2"))
	require.NoError(t, err)
	require.Equal(t, "fresh-1", replaced.Revision)
	listed, err := s.UserSessions(t.Context(), "shop", "ada")
	require.NoError(t, err)
	require.Len(t, listed, 2)
	_, err = s.Sweep(t.Context(), 10)
	require.NoError(t, err)
}

func TestTable_IsReadByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	swap(t, sqlite.storeIn(t, sqlite.open(t, sqliteDSN(path)), "sessions"), session.Swap{New: newRecord("id", "ada")})
	require.Equal(t, "id-1", stored(t, sqlite.storeIn(t, sqlite.open(t, sqliteDSN(path)), "sessions"), "id"))
}
