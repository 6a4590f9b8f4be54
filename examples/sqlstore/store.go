// Package sqlstore shows how to write a store: it keeps sessions in a table of an SQL database.
package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/doorman-go/session"
)

// Schema is the table. Expires is for Sweep alone: what is still a session, Load decides.
const Schema = `CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, record TEXT NOT NULL, expires INTEGER NOT NULL)`

// Store is a session.Store. It is written for SQLite with _txlock=immediate, where a transaction that writes excludes all
// others from its beginning. Where rows are locked one by one, SELECT needs FOR UPDATE.
type Store struct{ db *sql.DB }

var _ session.Store = (*Store)(nil)

// New returns a store in the table of Schema.
func New(db *sql.DB) *Store { return &Store{db} }

// Load implements session.Store.
func (s *Store) Load(ctx context.Context, token session.Token) (r *session.Record, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		r, err = get(ctx, tx, token.ID())
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, r.Live(session.Now(ctx))
}

// Save implements session.Store.
func (s *Store) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	return token, s.transact(ctx, func(tx *sql.Tx) error {
		source, err := get(ctx, tx, c.Source())
		if err != nil {
			return err
		}
		target, err := get(ctx, tx, c.Record.ID)
		if err != nil {
			return err
		}
		now := session.Now(ctx)
		next, err := c.Apply(source, target, now)
		if err != nil {
			return err
		}
		if c.Replaces() != "" && source != nil && !source.Ended { // a tombstone knows where the session went on
			err = put(ctx, tx, c.Tombstone(now))
		}
		return errors.Join(err, put(ctx, tx, next))
	})
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, id string, _ time.Time) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		r, err := get(ctx, tx, id)
		for r != nil && r.Successor != "" { // regenerated a moment ago
			r, err = get(ctx, tx, r.Successor)
		}
		if r == nil {
			return err
		}
		return put(ctx, tx, session.Tombstone(r.ID, session.Now(ctx)))
	})
}

// Sweep deletes what has expired. Call it now and then; nothing depends on when.
func (s *Store) Sweep(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM sessions WHERE expires <= ?", session.Now(ctx).UnixMilli())
	return err
}

// transact makes f's changes, or none of them if it returns an error or the context ends.
func (s *Store) transact(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// get returns the record of id, or nil if there is none.
func get(ctx context.Context, tx *sql.Tx, id string) (*session.Record, error) {
	var raw []byte
	err := tx.QueryRowContext(ctx, "SELECT record FROM sessions WHERE id = ?", id).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(session.Record)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, err
	}
	return r, nil
}

func put(ctx context.Context, tx *sql.Tx, r *session.Record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", r.ID, raw, r.Expires().UnixMilli())
	return err
}
