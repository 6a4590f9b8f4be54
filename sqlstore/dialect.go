package sqlstore

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// String returns the dialect's name.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "PostgreSQL"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	}
	return "Dialect(" + strconv.Itoa(int(d)) + ")"
}

// maxName returns how many bytes a name may have in the database, or 0 if there is no limit.
func (d Dialect) maxName() int {
	switch d {
	case Postgres:
		return 63
	case MySQL:
		return 64
	}
	return 0
}

// tableName is a name that was checked.
type tableName struct {
	dialect      Dialect
	schema, name string // schema may be empty
}

func parseTable(dialect Dialect, text string) (tableName, error) {
	if dialect < Postgres || dialect > SQLite {
		return tableName{}, fmt.Errorf("sqlstore: %v is none of Postgres, MySQL and SQLite", dialect)
	}
	if text == "" {
		text = "sessions"
	}
	t := tableName{dialect: dialect, name: text}
	if schema, name, ok := strings.Cut(text, "."); ok {
		if schema == "" {
			return tableName{}, fmt.Errorf("sqlstore: the table %q has nothing in front of its dot", text)
		}
		t.schema, t.name = schema, name
	}
	for _, part := range []string{t.schema, t.name} {
		if err := dialect.checkName(part); err != nil {
			return tableName{}, fmt.Errorf("sqlstore: the table %q: %w", text, err)
		}
	}
	switch {
	case t.name == "":
		return tableName{}, fmt.Errorf("sqlstore: the table %q has no name", text)
	case dialect == SQLite && strings.HasPrefix(strings.ToLower(t.name), "sqlite_"):
		return tableName{}, fmt.Errorf("sqlstore: the table %q: SQLite keeps names that begin so for itself", text)
	}
	return t, nil
}

func (d Dialect) checkName(name string) error {
	if limit := d.maxName(); limit > 0 && len(name) > limit {
		return fmt.Errorf("a name in %v has at most %d bytes, and this one %d", d, limit, len(name))
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !allowedInName(r) }) {
		return errors.New("a name has letters, digits, _, - and $ only")
	}
	return nil
}

func allowedInName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '$'
}

func (t tableName) String() string {
	if t.schema == "" {
		return t.name
	}
	return t.schema + "." + t.name
}

// quoted returns the table's name as statements need it.
func (t tableName) quoted() string { return t.inSchema(t.name) }

// inSchema returns another name in the table's schema, as statements need it.
func (t tableName) inSchema(name string) string {
	if t.schema == "" {
		return t.dialect.quote(name)
	}
	return t.dialect.quote(t.schema) + "." + t.dialect.quote(name)
}

func (d Dialect) quote(name string) string {
	if d == MySQL {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

// index returns the name of an index of the table. It contains the table's name, because two tables in one schema must
// not have indexes with the same name. If it would be too long, a hash replaces the end of the table's name.
func (t tableName) index(suffix string) string {
	name, limit := t.name+"_"+suffix, t.dialect.maxName()
	if limit == 0 || len(name) <= limit {
		return name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.name))
	suffix = fmt.Sprintf("_%08x_%s", h.Sum32(), suffix)
	return t.name[:limit-len(suffix)] + suffix
}

// statements are all statements that a store sends, except the schema.
type statements struct {
	load, list, page       string
	lock                   string // load, within a transaction: the row does not change until its end
	insert, update         string // change one row, or none if another record is there
	login                  string // Postgres only: an update and an insert, or neither
	end                    string // Postgres only
	lockForEnd, replace    string // for the other dialects
	sweepFind, sweepDelete string
}

const columns = "id, revision, user_hash, sweep_hour, ended, record"

func newStatements(d Dialect, t tableName) statements {
	name := t.quoted()
	s := statements{
		load:        "SELECT record FROM " + name + " WHERE id = ?",
		list:        "SELECT id, record FROM " + name + " WHERE user_hash = ?",
		page:        "SELECT id, record FROM " + name + " WHERE id > ? ORDER BY id LIMIT ?",
		lockForEnd:  "SELECT record, ended FROM " + name + " WHERE id = ?",
		insert:      "INSERT INTO " + name + " (" + columns + ") VALUES (?, ?, ?, ?, ?, ?)",
		replace:     "UPDATE " + name + " SET revision = ?, user_hash = ?, sweep_hour = ?, ended = ?, record = ? WHERE id = ?",
		sweepFind:   "SELECT id FROM " + name + " WHERE sweep_hour <= ? ORDER BY sweep_hour LIMIT ?",
		sweepDelete: "DELETE FROM " + name + " WHERE sweep_hour <= ? AND id IN (%s)",
	}
	s.update = s.replace + " AND revision = ?"
	s.lock = s.load
	switch d {
	case MySQL:
		s.lock += " FOR UPDATE"
		s.lockForEnd += " FOR UPDATE"
	case SQLite:
		s.insert += " ON CONFLICT (id) DO NOTHING"
		s.sweepDelete = "DELETE FROM " + name + " WHERE id IN (" + s.sweepFind + ")"
	case Postgres:
		s.lock += " FOR UPDATE"
		s.login = "WITH ended AS (" + s.update + " RETURNING 1) INSERT INTO " + name + " (" + columns + ") " +
			"SELECT ?::bytea, ?::bytea, ?::bytea, ?::integer, ?::boolean, ?::bytea FROM ended"
		s.insert += " ON CONFLICT (id) DO NOTHING"
		s.end = endStatement(name)
		s.sweepDelete = "WITH due AS MATERIALIZED (" + s.sweepFind + " FOR UPDATE SKIP LOCKED) DELETE FROM " + name +
			" AS t USING due WHERE t.id = due.id"
		s.number()
	}
	return s
}

// endStatement locks the row, and replaces it unless it is a tombstone. If there is no row, it inserts the tombstone.
// It returns the record that was there, and whether the tombstone was put.
func endStatement(name string) string {
	return `WITH given (id, revision, user_hash, sweep_hour, ended, record) AS (
	VALUES ($1::bytea, $2::bytea, $3::bytea, $4::integer, $5::boolean, $6::bytea)
), was AS MATERIALIZED (
	SELECT id, ended, record FROM ` + name + ` WHERE id = $1 FOR UPDATE
), replaced AS (
	UPDATE ` + name + ` AS t SET revision = given.revision, user_hash = given.user_hash, sweep_hour = given.sweep_hour,
		ended = given.ended, record = given.record
	FROM given, was WHERE t.id = was.id AND NOT was.ended RETURNING 1
), created AS (
	INSERT INTO ` + name + ` (` + columns + `) SELECT * FROM given WHERE NOT EXISTS (SELECT 1 FROM was)
	ON CONFLICT (id) DO NOTHING RETURNING 1
)
SELECT (SELECT record FROM was), EXISTS (SELECT 1 FROM replaced) OR EXISTS (SELECT 1 FROM created)`
}

// number numbers the parameters, as PostgreSQL needs it.
func (s *statements) number() {
	for _, text := range []*string{&s.load, &s.list, &s.page, &s.lock, &s.insert, &s.update, &s.login, &s.replace, &s.sweepDelete} {
		parts := strings.Split(*text, "?")
		for i := range parts[1:] {
			parts[i] += "$" + strconv.Itoa(i+1)
		}
		*text = strings.Join(parts, "")
	}
}
