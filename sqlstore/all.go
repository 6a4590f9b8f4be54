package sqlstore

import (
	"context"
	"errors"
	"iter"

	"github.com/doorman-go/session"
)

// atOnce is how many records All reads in one statement. Between two statements it holds no connection and no lock.
const atOnce = 500

// All implements [session.AllStore]. It reads the table in the order of its primary key, some hundred rows at a time, so that
// no statement runs long and nobody waits for it. Rows of other realms are read too.
func (s *Store) All(ctx context.Context, realm string) iter.Seq2[*session.Record, error] {
	return func(yield func(*session.Record, error) bool) {
		last := []byte{}
		for {
			page, next, err := s.page(ctx, last)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, r := range page {
				if r.Realm == realm && !yield(r, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			last = next
		}
	}
}

// page returns the records after the ID last. It also returns the last ID of this page, or nil at the end of the table.
func (s *Store) page(ctx context.Context, last []byte) (page []*session.Record, next []byte, err error) {
	err = s.read(ctx, func(q querier) error {
		page, next, err = s.readPage(ctx, q, last)
		return err
	})
	return page, next, err
}

func (s *Store) readPage(ctx context.Context, q querier, last []byte) (page []*session.Record, next []byte, err error) {
	rows, err := q.QueryContext(ctx, s.sql.page, last, atOnce)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := 0
	for ; rows.Next(); n++ {
		var data []byte
		next = nil // so that Scan makes a new one
		if err := rows.Scan(&next, &data); err != nil {
			return nil, nil, err
		}
		r, err := unmarshal(string(next), data)
		if errors.Is(err, session.ErrNotFound) {
			continue // a record that can't be read counts as not found
		}
		if err != nil {
			return nil, nil, err
		}
		page = append(page, r)
	}
	if n < atOnce {
		next = nil
	}
	return page, next, rows.Err()
}
