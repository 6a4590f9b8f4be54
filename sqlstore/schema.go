package sqlstore

import (
	"context"
	"fmt"
)

// object is a part of the schema.
type object struct {
	exists string // a query that returns a row if the object exists
	args   []any
	create string
}

// objects returns the table and its indexes.
func (s *Store) objects() []object {
	t := s.table
	byUser, bySweep := t.index("user_idx"), t.index("sweep_idx")
	switch s.dialect {
	case Postgres:
		return []object{
			{postgresExists, []any{t.quoted()}, `CREATE TABLE IF NOT EXISTS ` + t.quoted() + ` (
	id bytea PRIMARY KEY,
	revision bytea NOT NULL,
	user_hash bytea,
	sweep_hour integer NOT NULL,
	ended boolean NOT NULL,
	record bytea NOT NULL
) WITH (fillfactor = 70)`},
			{postgresExists, []any{t.inSchema(byUser)}, "CREATE INDEX IF NOT EXISTS " + t.dialect.quote(byUser) + " ON " +
				t.quoted() + " (user_hash) WHERE user_hash IS NOT NULL"},
			{postgresExists, []any{t.inSchema(bySweep)}, "CREATE INDEX IF NOT EXISTS " + t.dialect.quote(bySweep) + " ON " +
				t.quoted() + " (sweep_hour)"},
		}
	case MySQL:
		quotedUser, quotedSweep := t.dialect.quote(byUser), t.dialect.quote(bySweep)
		return []object{
			{mysqlTableExists, []any{t.schema, t.name}, `CREATE TABLE IF NOT EXISTS ` + t.quoted() + ` (
	id VARBINARY(255) NOT NULL PRIMARY KEY,
	revision VARBINARY(255) NOT NULL,
	user_hash BINARY(16) NULL,
	sweep_hour INT NOT NULL,
	ended BOOLEAN NOT NULL,
	record MEDIUMBLOB NOT NULL,
	INDEX ` + quotedUser + ` (user_hash),
	INDEX ` + quotedSweep + ` (sweep_hour)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC`},
			{mysqlIndexExists, []any{t.schema, t.name, byUser}, "CREATE INDEX " + quotedUser + " ON " + t.quoted() + " (user_hash)"},
			{mysqlIndexExists, []any{t.schema, t.name, bySweep}, "CREATE INDEX " + quotedSweep + " ON " + t.quoted() + " (sweep_hour)"},
		}
	}
	master := t.inSchema("sqlite_master")
	exists := "SELECT 1 FROM " + master + " WHERE name = ? COLLATE NOCASE"
	return []object{
		{exists, []any{t.name}, `CREATE TABLE IF NOT EXISTS ` + t.quoted() + ` (
	id BLOB NOT NULL PRIMARY KEY,
	revision BLOB NOT NULL,
	user_hash BLOB,
	sweep_hour INTEGER NOT NULL,
	ended BOOLEAN NOT NULL,
	record BLOB NOT NULL
)`},
		{exists, []any{byUser}, "CREATE INDEX IF NOT EXISTS " + t.inSchema(byUser) + " ON " + t.dialect.quote(t.name) +
			" (user_hash) WHERE user_hash IS NOT NULL"},
		{exists, []any{bySweep}, "CREATE INDEX IF NOT EXISTS " + t.inSchema(bySweep) + " ON " + t.dialect.quote(t.name) + " (sweep_hour)"},
	}
}

const (
	postgresExists   = "SELECT 1 WHERE to_regclass($1::text) IS NOT NULL"
	mysqlTableExists = "SELECT 1 FROM information_schema.tables WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ?"
	mysqlIndexExists = "SELECT 1 FROM information_schema.statistics WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) " +
		"AND table_name = ? AND index_name = ? LIMIT 1"
)

// Schema returns the statements that create the table and its indexes, for your own migrations.
func (s *Store) Schema() []string {
	objects := s.objects()
	if s.dialect == MySQL {
		objects = objects[:1] // the table's statement has the indexes
	}
	statements := make([]string, len(objects))
	for i, o := range objects {
		statements[i] = o.create
	}
	return statements
}

// CreateTable creates the table and its indexes, if they are missing. Several processes may call it at the same time.
// If nothing is missing, it needs no right to create anything. A table with the same name that is not a Store's is an
// error.
func (s *Store) CreateTable(ctx context.Context) error {
	const tries = 10 // enough for processes that start at the same time and get in each other's way
	for try := 1; ; try++ {
		missing, err := s.missing(ctx)
		if err != nil {
			return fmt.Errorf("sqlstore: looking for the table %s: %w", s.table, err)
		}
		if len(missing) < len(s.objects()) { // the table comes first
			if err := s.checkColumns(ctx); err != nil || len(missing) == 0 {
				return err
			}
		}
		err = s.change(ctx, func(q querier) error {
			_, err := q.ExecContext(ctx, missing[0].create)
			return err
		})
		if err != nil && (try == tries || s.stillMissing(ctx, missing[0])) {
			return fmt.Errorf("sqlstore: creating the table %s: %w", s.table, err)
		}
	}
}

// missing returns the objects that do not exist.
func (s *Store) missing(ctx context.Context) (missing []object, err error) {
	for _, o := range s.objects() {
		there, err := s.exists(ctx, o)
		if err != nil {
			return nil, err
		}
		if !there {
			missing = append(missing, o)
		}
	}
	return missing, nil
}

func (s *Store) exists(ctx context.Context, o object) (there bool, err error) {
	err = s.read(ctx, func(q querier) error {
		rows, err := q.QueryContext(ctx, o.exists, o.args...)
		if err != nil {
			return err
		}
		there = rows.Next()
		if err := rows.Close(); err != nil {
			return err
		}
		return rows.Err()
	})
	return there, err
}

// stillMissing reports whether an object that could not be created is still missing. If not, another process created it.
func (s *Store) stillMissing(ctx context.Context, o object) bool {
	there, err := s.exists(ctx, o)
	return err != nil || !there
}

// checkColumns returns an error if the table belongs to another program.
func (s *Store) checkColumns(ctx context.Context) error {
	err := s.read(ctx, func(q querier) error {
		rows, err := q.QueryContext(ctx, "SELECT "+columns+" FROM "+s.table.quoted()+" WHERE 1 = 0")
		if err != nil {
			return err
		}
		return rows.Close()
	})
	if err != nil {
		return fmt.Errorf("sqlstore: the table %s exists, but can't be read as sessions (Options.Table names another one): %w", s.table, err)
	}
	return nil
}
