package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// ending is what became of a session that was to end.
type ending struct {
	replaced  *Record // the record whose place the tombstone took, or with an error may have taken; nil if there was none
	tombstone *Record // the tombstone that is stored now: the one that was put, or an earlier one
	put       bool    // the tombstone was put now
}

// endAs says how a session ends.
type endAs struct {
	revoked  bool            // from outside: the browser gets nothing in its place
	reason   Reason          // the tombstone keeps it, as its Note
	revision string          // the tombstone's; "" for a new one
	spared   map[string]bool // IDs at which it stops following successors
}

func (as endAs) tombstone(r *Record, now time.Time) *Record {
	t := newTombstone(r, now)
	t.Revoked, t.Note = as.revoked, string(as.reason)
	t.Revision = cmp.Or(as.revision, t.Revision)
	return t
}

// endSession ends the session whose record is known, and follows its successors. Known may also be a tombstone that
// names a successor. Token opens known.
func (m *Manager) endSession(ctx context.Context, token Token, known *Record, as endAs) (ending, error) {
	for {
		if known.Ended {
			if known.Successor == "" || as.spared[known.Successor] {
				return ending{tombstone: known}, nil
			}
			known = &Record{ID: known.Successor, Realm: known.Realm, User: known.User}
			token = idToken(known.ID, known.Realm)
		}
		tombstone := as.tombstone(known, m.config.Clock())
		result, err := m.putTombstone(ctx, token, known, tombstone)
		if err != nil || result.put {
			return result, err
		}
		known = result.tombstone
	}
}

// endLoaded is endSession for a record that was loaded or listed some time ago. It may be a tombstone.
func (m *Manager) endLoaded(ctx context.Context, token Token, known *Record, as endAs) (ending, error) {
	if !known.Ended {
		return m.endSession(ctx, token, known, as)
	}
	again, err := m.endAgain(ctx, token, known, as)
	if err != nil || known.Successor == "" {
		return again, err
	}
	next, err := m.endSession(ctx, token, known, as)
	if err == nil && again.put && !next.put {
		return again, nil
	}
	return next, err
}

// endAgain ends a session again that has a tombstone. The tombstone alone does not mean that the end is safe: it may be
// on no replica, and then a failover loses it.
func (m *Manager) endAgain(ctx context.Context, token Token, known *Record, as endAs) (ending, error) {
	if known.Revision == "" || known.condition(m.config.Clock()) == absent {
		return ending{tombstone: known}, nil
	}
	if _, ok := m.store.(Ender); !ok {
		_, err := m.store.Swap(ctx, token, Swap{known, known})
		conflict := conflictOf(err)
		if conflict == nil {
			return ending{tombstone: known}, err
		}
		met, err := m.met(ctx, token, known.ID, conflict)
		if err == nil && met.condition(m.config.Clock()) == live { // a failover has brought it back
			return m.swapTombstone(ctx, token, met, as.tombstone(met, m.config.Clock()))
		}
		return ending{tombstone: known}, err
	}
	result, err := m.putTombstone(ctx, token, known, as.tombstone(known, m.config.Clock()))
	if err == nil && result.put && result.replaced == nil { // the known tombstone's minute was over meanwhile
		result = ending{tombstone: known}
	}
	return result, err
}

// putTombstone stores tombstone in place of known, or of the record that is stored now. It does not replace another
// tombstone. The result says which tombstone is stored then.
func (m *Manager) putTombstone(ctx context.Context, token Token, known, tombstone *Record) (ending, error) {
	ender, ok := m.store.(Ender)
	defer m.watches.mayHaveEnded(tombstone.ID)
	if !ok {
		return m.swapTombstone(ctx, token, known, tombstone)
	}
	replaced, err := ender.End(ctx, tombstone)
	conflict := conflictOf(err)
	switch {
	case err == nil:
		return ending{replaced, tombstone, true}, nil
	case conflict == nil:
		return ending{}, err
	}
	met, err := m.met(ctx, token, tombstone.ID, conflict)
	switch {
	case err != nil:
		return ending{}, err
	case met != nil && met.Revision == tombstone.Revision: // put before, and only its answer was lost
		return ending{nil, met, true}, nil
	case met == nil || !met.Ended:
		return ending{}, fmt.Errorf("session: the store reports a tombstone of %s and has none: %w", tombstone.ID, conflict)
	}
	return ending{tombstone: met}, nil
}

// swapTombstone is putTombstone for stores that can only compare and swap. It tries again until it succeeds.
func (m *Manager) swapTombstone(ctx context.Context, token Token, known, tombstone *Record) (ending, error) {
	var old *Record
	if !known.Ended && (known.Revision != "" || !known.CreatedAt.IsZero()) { // else only its ID is known
		old = known
	}
	for {
		next := *tombstone
		stamp(&next, old, m.config.Clock())
		_, err := m.store.Swap(ctx, token, Swap{old, &next})
		conflict := conflictOf(err)
		switch {
		case err == nil:
			*tombstone = next
			return ending{old, tombstone, true}, nil
		case conflict == nil:
			return ending{replaced: old}, err
		}
		if old, err = m.met(ctx, token, tombstone.ID, conflict); err != nil {
			return ending{}, err
		}
		if old != nil && old.Ended {
			return ending{tombstone: old}, nil
		}
		if err := ctx.Err(); err != nil {
			return ending{}, err
		}
	}
}

// met returns the stored record that a conflict was about, or nil if there is none.
func (m *Manager) met(ctx context.Context, token Token, id string, conflict *ConflictError) (*Record, error) {
	if conflict.Current != nil {
		return conflict.Current, nil
	}
	if token.ID() != id {
		token = idToken(id, m.config.Realm)
	}
	return loadStored(ctx, m.store, token)
}

// swapPlanned makes the swap that plan returns. It plans again as long as another request was faster. A swap without New
// means that there is nothing to store.
func swapPlanned(ctx context.Context, store Store, token Token, plan func() (Swap, error)) error {
	for {
		swap, err := plan()
		if err != nil || swap.New == nil {
			return err
		}
		_, err = store.Swap(ctx, token, swap)
		if conflictOf(err) == nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// loadStored returns the record that token opens, or nil if there is none.
func loadStored(ctx context.Context, store Store, token Token) (*Record, error) {
	record, err := store.Load(ctx, token)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return record, err
}
