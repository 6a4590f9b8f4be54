// Package sqlstore shows how to write a store: it keeps sessions in a table of an SQL database.
package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/doorman-go/session"
)

// Schema is the table. Beside the record stands what SQL asks for. Texts must be compared byte by byte, as SQLite does.
const Schema = `
	CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, revision TEXT NOT NULL, record TEXT NOT NULL,
		realm TEXT NOT NULL, user TEXT NOT NULL, keep_until INTEGER NOT NULL);
	CREATE INDEX IF NOT EXISTS sessions_by_user ON sessions (realm, user);`

// Each changes one row, or none if another record is there. A record that is there already is written again.
const (
	insert = `INSERT INTO sessions (revision, record, realm, user, keep_until, id) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET record = record WHERE revision = excluded.revision`
	update = `UPDATE sessions SET revision = ?, record = ?, realm = ?, user = ?, keep_until = ?
		WHERE id = ? AND revision IN (?, ?)`
)

// Store is a session.Store that lists a user's sessions. It is written for SQLite.
type Store struct{ db *sql.DB }

var _ session.UserStore = (*Store)(nil)

// New returns a store in the table of Schema.
func New(db *sql.DB) *Store { return &Store{db} }

// Load implements session.Store.
func (s *Store) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	records, err := s.records(ctx, "SELECT record FROM sessions WHERE id = ?", token.ID())
	if err == nil && len(records) == 0 {
		err = session.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return records[0], nil
}

// Swap implements session.Store. Several swaps are made all or none.
func (s *Store) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return session.Token{}, err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	for _, w := range swaps {
		if err := swap(ctx, tx, w); err != nil {
			return session.Token{}, err
		}
	}
	return token, tx.Commit()
}

func swap(ctx context.Context, tx *sql.Tx, w session.Swap) error {
	raw, err := json.Marshal(w.New)
	if err != nil {
		return err
	}
	query, args := insert, []any{w.New.Revision, raw, w.New.Realm, w.New.User, w.New.KeepUntil().UnixMicro(), w.New.ID}
	if w.Old != nil {
		query, args = update, append(args, w.Old.Revision, w.New.Revision)
	}
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return &session.ConflictError{ID: w.New.ID}
}

// UserSessions implements session.UserStore.
func (s *Store) UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error) {
	return s.records(ctx, "SELECT record FROM sessions WHERE realm = ? AND user = ?", realm, user)
}

// Sweep deletes what nobody asks for any more. Call it now and then; nothing depends on when.
func (s *Store) Sweep(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM sessions WHERE keep_until <= ?", session.Now(ctx).UnixMicro())
	return err
}

func (s *Store) records(ctx context.Context, query string, args ...any) (records []*session.Record, err error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return nil, err
		}
		r := new(session.Record)
		if err := json.Unmarshal(raw, r); err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, rows.Err()
}
