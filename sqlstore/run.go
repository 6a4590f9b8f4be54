package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// querier runs statements. It is the database, a connection or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// read runs statements that only read. It tries again after an error that may pass.
func (s *Store) read(ctx context.Context, do func(querier) error) error {
	return retry(ctx, func() error {
		if s.sqlite == nil {
			return do(s.db)
		}
		return s.sqlite.with(ctx, func(conn *sql.Conn) error { return do(conn) })
	})
}

// change runs one statement that changes something. It tries again after an error that may pass. That is safe: if the
// answer to a statement was lost, it changes nothing the second time.
func (s *Store) change(ctx context.Context, do func(querier) error) error {
	if s.sqlite == nil {
		return s.read(ctx, do)
	}
	return s.sqlite.inTurn(ctx, func() error { return s.read(ctx, do) })
}

// transact is change for several statements, which are made all or none.
func (s *Store) transact(ctx context.Context, do func(querier) error) error {
	if s.sqlite == nil {
		return retry(ctx, func() error { return s.inTransaction(ctx, do) })
	}
	return s.sqlite.inTurn(ctx, func() error {
		return retry(ctx, func() error {
			return s.sqlite.with(ctx, func(conn *sql.Conn) error { return immediately(ctx, conn, do) })
		})
	})
}

func (s *Store) inTransaction(ctx context.Context, do func(querier) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // err is returned; if a connection can't roll back, it is closed, which has the same effect
		return err
	}
	return tx.Commit()
}

// untilDeadline returns ctx without its cancellation, or its error if it has ended. If a statement is cancelled, the
// database may still make it a moment later. Only the deadline may leave a change in doubt like that, and not a client
// that hangs up. A context without a deadline stays as it is.
func untilDeadline(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}, nil
	}
	uncut, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	return uncut, cancel, nil
}

const (
	maxTries   = 100 // a limit for contexts without a deadline
	freeTries  = 3   // so many tries without a pause: mostly the second succeeds
	firstPause = time.Millisecond
	maxPause   = 50 * time.Millisecond
)

// retry calls do again after an error that may pass, until the context ends.
func retry(ctx context.Context, do func() error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == maxTries || !mayPass(err) || ctx.Err() != nil {
			return err
		}
		if try < freeTries {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w, after %d tries: %w", ctx.Err(), try, err)
		}
		pause = min(2*pause, maxPause)
	}
}
