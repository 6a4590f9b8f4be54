package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// clockTolerance is how far the clock that sweeps may be ahead of the clock that stored.
const clockTolerance = 10 * time.Second

// maxDelete is how many rows one statement deletes on MySQL, where the statement has their IDs.
const maxDelete = 1000

// Sweep deletes sessions and tombstones that nobody can use any more, at most limit of them. It returns how many it
// deleted. A number below limit means that nothing is left, or that others are changing or deleting the rest.
//
// Readers do not wait for it. A writer waits for it if it needs a row of this batch. SQLite has one writer at a time,
// so there every writer waits for the batch. A limit of 1000 is good for most databases, and less than 1 is an error.
//
// A session that nobody uses is deleted at most a day after its end, and a tombstone within an hour of its own.
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	if limit < 1 {
		return 0, fmt.Errorf("sqlstore: Sweep deletes at least one row, and its limit is %d", limit)
	}
	hour := hourOf(s.clock().Add(-clockTolerance))
	if s.dialect == MySQL {
		return s.sweepByName(ctx, hour, limit)
	}
	var n int64
	err := s.change(ctx, func(q querier) (err error) {
		n, err = affected(q.ExecContext(ctx, s.sql.sweepDelete, hour, limit))
		return err
	})
	return int(n), err
}

// sweepByName first reads the IDs, which locks nothing, and then deletes by ID. To delete by the hour would lock the
// gaps in that index, into which others insert.
func (s *Store) sweepByName(ctx context.Context, hour int64, limit int) (total int, err error) {
	for total < limit {
		batch := min(limit-total, maxDelete)
		ids, err := s.due(ctx, hour, batch)
		if err != nil || len(ids) == 0 {
			return total, err
		}
		query := fmt.Sprintf(s.sql.sweepDelete, strings.TrimSuffix(strings.Repeat("?, ", len(ids)), ", "))
		var n int64
		err = s.change(ctx, func(q querier) (err error) {
			n, err = affected(q.ExecContext(ctx, query, append([]any{hour}, ids...)...))
			return err
		})
		total += int(n)
		if err != nil || len(ids) < batch || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// due returns IDs of rows that may be swept.
func (s *Store) due(ctx context.Context, hour int64, limit int) (ids []any, err error) {
	err = s.read(ctx, func(q querier) error {
		ids = ids[:0]
		rows, err := q.QueryContext(ctx, s.sql.sweepFind, hour, limit)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // rows.Err has the error
		for rows.Next() {
			var id []byte
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	return ids, err
}
