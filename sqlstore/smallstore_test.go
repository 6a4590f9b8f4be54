package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// The small store of docs/stores.md, word for word; TestDocumentation sees to that.

// SmallStore is a session.Store in a table of SQLite: (id BLOB PRIMARY KEY, revision TEXT, record BLOB, keep_until INTEGER).
type SmallStore struct{ db *sql.DB }

// Load returns what is stored, whether it has ended or not.
func (s *SmallStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	return loadSmall(ctx, s.db, token.ID())
}

func loadSmall(ctx context.Context, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, id string) (*session.Record, error) {
	var data []byte
	err := q.QueryRowContext(ctx, "SELECT record FROM small WHERE id = ?", []byte(id)).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, session.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	r := new(session.Record)
	return r, r.UnmarshalBinary(data)
}

// Swap makes all swaps or none.
func (s *SmallStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return session.Token{}, err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	for _, w := range swaps {
		if err := swapSmall(ctx, tx, w); err != nil {
			return session.Token{}, err
		}
	}
	return token, tx.Commit()
}

func swapSmall(ctx context.Context, tx *sql.Tx, w session.Swap) error {
	data, err := w.New.MarshalBinary()
	if err != nil {
		return err
	}
	query := "INSERT INTO small (revision, record, keep_until, id) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
	args := []any{w.New.Revision, data, w.New.KeepUntil().Unix(), []byte(w.New.ID)}
	if w.Old != nil {
		query = "UPDATE small SET revision = ?, record = ?, keep_until = ? WHERE id = ? AND revision = ?"
		args = append(args, w.Old.Revision)
	}
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	current, err := loadSmall(ctx, tx, w.New.ID) // why not?
	switch {
	case err != nil && !errors.Is(err, session.ErrNotFound):
		return err
	case err == nil && current.Revision == w.New.Revision:
		return nil // it was made before, and only its answer was lost
	}
	return &session.ConflictError{ID: w.New.ID}
}

func TestSmallStore(t *testing.T) {
	db := sqlite.open(t, sqlite.dsn(t)+"&_txlock=immediate")
	db.SetMaxOpenConns(1)
	_, err := db.Exec("CREATE TABLE small (id BLOB PRIMARY KEY, revision TEXT, record BLOB, keep_until INTEGER)")
	require.NoError(t, err)
	storetest.Run(t, func(*testing.T) session.Store { return &SmallStore{db} })
}
