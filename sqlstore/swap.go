package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/doorman-go/session"
)

// Swap implements [session.Store]. Several swaps are made all or none. Once it has begun it ends by the context's deadline
// only, not by its cancellation.
func (s *Store) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	writes := make([]write, len(swaps))
	for i, swap := range swaps {
		w, err := newWrite(swap)
		if err != nil {
			return session.Token{}, err
		}
		writes[i] = w
	}
	ctx, cancel, err := untilDeadline(ctx)
	if err != nil {
		return session.Token{}, err
	}
	defer cancel()
	if err := s.swap(ctx, writes); err != nil {
		return session.Token{}, err
	}
	return token, nil
}

func (s *Store) swap(ctx context.Context, writes []write) error {
	switch {
	case len(writes) == 1:
		return s.change(ctx, func(q querier) error { return s.swapOne(ctx, q, writes[0]) })
	case s.dialect == Postgres && len(writes) == 2 && !writes[0].creates && writes[1].creates:
		return s.swapLogin(ctx, writes)
	}
	return s.transact(ctx, func(q querier) error { return s.swapAll(ctx, q, writes) })
}

// swapOne makes one write by one statement, outside a transaction. If the write was not made, it finds out why.
func (s *Store) swapOne(ctx context.Context, q querier, w write) error {
	made, err := s.try(ctx, q, w)
	if err != nil || made {
		return err
	}
	return s.explain(ctx, q, s.sql.load, w)
}

// swapLogin ends one session and begins another by one statement. If the statement changes nothing, a transaction finds
// out why: the writes, or one of them, may have been made before.
func (s *Store) swapLogin(ctx context.Context, writes []write) error {
	made := false
	err := s.change(ctx, func(q querier) error {
		n, err := affected(q.ExecContext(ctx, s.sql.login, append(writes[0].updateArgs(), writes[1].insertArgs()...)...))
		made = n > 0
		if isDuplicate(err) {
			return nil
		}
		return err
	})
	if err != nil || made {
		return err
	}
	return s.transact(ctx, func(q querier) error { return s.swapAll(ctx, q, writes) })
}

// swapAll makes writes one after the other, within a transaction.
func (s *Store) swapAll(ctx context.Context, q querier, writes []write) error {
	for _, w := range writes {
		made, err := s.try(ctx, q, w)
		if err != nil {
			return err
		}
		if made {
			continue
		}
		if err := s.explain(ctx, q, s.sql.lock, w); err != nil {
			return err
		}
	}
	return nil
}

// try makes a write if what is stored is what it expects, and reports whether it was made.
func (s *Store) try(ctx context.Context, q querier, w write) (made bool, err error) {
	query, args := s.sql.update, w.updateArgs
	if w.creates {
		query, args = s.sql.insert, w.insertArgs
	}
	n, err := affected(q.ExecContext(ctx, query, args()...))
	if isDuplicate(err) {
		return false, nil
	}
	return n > 0, err
}

// explain returns the conflict that a write met, or nil if the write was made before.
func (s *Store) explain(ctx context.Context, q querier, query string, w write) error {
	current, err := s.load(ctx, q, query, w.id)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		return err
	}
	switch {
	case current != nil && current.Revision == w.revision:
		return nil
	case current == nil && err == nil && w.creates:
		return errGone
	}
	return &session.ConflictError{ID: w.id, Current: current}
}

// errGone is the error of a write that met a row which is gone now, for example because it was swept. The write is
// tried again.
var errGone = errors.New("sqlstore: the row that was in the way is gone")

// End implements [session.Ender].
func (s *Store) End(ctx context.Context, tombstone *session.Record) (*session.Record, error) {
	w, err := newWrite(session.Swap{New: tombstone})
	if err != nil {
		return nil, err
	}
	ctx, cancel, err := untilDeadline(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var replaced *session.Record
	if s.dialect == Postgres {
		err = s.change(ctx, func(q querier) (err error) {
			replaced, err = s.endAtOnce(ctx, q, w)
			return err
		})
	} else {
		err = s.transact(ctx, func(q querier) (err error) {
			replaced, err = s.endLocked(ctx, q, w)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return replaced, nil
}

// endAtOnce ends a session by one statement.
func (s *Store) endAtOnce(ctx context.Context, q querier, w write) (*session.Record, error) {
	var data []byte
	var made bool
	err := q.QueryRowContext(ctx, s.sql.end, w.insertArgs()...).Scan(&data, &made)
	if err != nil {
		return nil, err
	}
	if data == nil && !made {
		return nil, errGone // it was created meanwhile
	}
	return ended(w, data, made)
}

// endLocked ends a session within a transaction.
func (s *Store) endLocked(ctx context.Context, q querier, w write) (*session.Record, error) {
	var data []byte
	var over bool
	err := q.QueryRowContext(ctx, s.sql.lockForEnd, w.key()).Scan(&data, &over)
	query := s.sql.replace
	args := w.replaceArgs
	switch {
	case errors.Is(err, sql.ErrNoRows):
		query, args = s.sql.insert, w.insertArgs
	case err != nil:
		return nil, err
	case over:
		return ended(w, data, false)
	}
	n, err := affected(q.ExecContext(ctx, query, args()...))
	if isDuplicate(err) || err == nil && n == 0 {
		return nil, errGone // it was created, or deleted, meanwhile
	}
	if err != nil {
		return nil, err
	}
	return ended(w, data, true)
}

// ended returns the results of End: the record that was there, or a conflict with the tombstone that stays. A record
// that can't be read counts as not found.
func ended(w write, data []byte, made bool) (*session.Record, error) {
	if data == nil {
		return nil, nil
	}
	was, err := unmarshal(w.id, data)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		return nil, err
	}
	if !made {
		return nil, &session.ConflictError{ID: w.id, Current: was}
	}
	return was, nil
}

func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
