package sqlstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

// While a change of the session is under way, End waits for it, and returns what that made of the session; if it ended the
// session, its tombstone stays.
func TestEnd_DuringAChange(t *testing.T) {
	each(t, servers, func(t *testing.T, d database) {
		s, db := d.store(t)
		for what, changeOf := range map[string]func(*session.Record) *session.Record{
			"a change": func(r *session.Record) *session.Record { return next(r, "other") },
			"an end":   func(r *session.Record) *session.Record { return tombstoneOf(r, "other") },
		} {
			r := newRecord("id "+what, "ada")
			swap(t, s, session.Swap{New: r})
			changed := changeOf(r)
			data, err := changed.MarshalBinary()
			require.NoError(t, err)
			tx, err := db.Begin()
			require.NoError(t, err)
			query := "UPDATE " + tableOf(s) + " SET revision = ?, ended = ?, record = ? WHERE id = ?"
			if d.dialect == sqlstore.Postgres {
				query = "UPDATE " + tableOf(s) + " SET revision = $1, ended = $2, record = $3 WHERE id = $4"
			}
			_, err = tx.Exec(query, []byte(changed.Revision), changed.Ended, data, []byte(r.ID))
			require.NoError(t, err)

			type ending struct {
				replaced *session.Record
				err      error
			}
			done := make(chan ending)
			ctx := within(t, time.Minute)
			go func() { replaced, err := s.End(ctx, tombstoneOf(r, "ended")); done <- ending{replaced, err} }()
			d.waitForLockWait(t, db)
			require.NoError(t, tx.Commit())
			got := <-done
			if changed.Ended {
				requireConflict(t, got.err, r.ID, "other")
				require.Equal(t, "other", stored(t, s, r.ID))
				continue
			}
			require.NoError(t, got.err)
			require.Equal(t, "other", got.replaced.Revision, "and not what was there before")
			require.Equal(t, "ended", stored(t, s, r.ID))
		}
	})
}

// Who hangs up while a change waits leaves nothing in doubt: it is made, within its deadline.
func TestSwap_IsNotCutByWhoHangsUp(t *testing.T) {
	each(t, servers, func(t *testing.T, d database) {
		s, db := d.store(t)
		r := newRecord("id", "ada")
		swap(t, s, session.Swap{New: r})
		tx, err := db.Begin()
		require.NoError(t, err)
		d.lock(t, tx, tableOf(s), "id")
		ctx, hangUp := context.WithCancel(within(t, time.Minute))
		done := make(chan error)
		go func() { _, err := s.Swap(ctx, token(r), session.Swap{Old: r, New: next(r, "2")}); done <- err }()
		d.waitForLockWait(t, db)
		hangUp()
		require.NoError(t, tx.Rollback())
		require.NoError(t, <-done)
		require.Equal(t, "2", stored(t, s, "id"))
		_, err = s.Swap(ctx, token(r), session.Swap{Old: next(r, "2"), New: next(r, "3")})
		require.ErrorIs(t, err, context.Canceled, "one that has not begun is not made")
		require.Equal(t, "2", stored(t, s, "id"))
	})
}
