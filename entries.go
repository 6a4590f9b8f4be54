package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// This file has records of session IDs, which the Manager keeps in the store beside the sessions. They are changed by
// compare-and-swap, like all records. Their own IDs are hashes, so that no session has the same ID and no cookie opens
// them. They have no realm and no user, so that no list of sessions shows them.

// entries are the session IDs in such a record.
type entries map[string]entry

type entry struct {
	User  string `json:"user,omitempty"`
	Until micros `json:"until"` // its end; it stays even if its session is missing: a login may be about to store it
}

// changeEntries applies change to a record of entries. Change reports whether there is something to store.
func (m *Manager) changeEntries(ctx context.Context, store Store, id string, change func(entries, time.Time) (bool, error)) error {
	ctx = context.WithValue(ctx, pastCacheKey{}, true)
	return swapPlanned(ctx, store, NewToken(id, ""), func() (Swap, error) {
		old, set, err := m.loadEntries(ctx, store, id)
		if err != nil {
			return Swap{}, err
		}
		now := m.config.Clock()
		if changed, err := change(set, now); err != nil || !changed {
			return Swap{}, err
		}
		next, err := set.record(id, now)
		return Swap{old, next}, err
	})
}

// loadEntries returns a record of entries, which is nil if there is none, and those of its entries whose time is not
// over. Unlike elsewhere, a record that can't be read is an error: its sessions must not be forgotten.
func (m *Manager) loadEntries(ctx context.Context, store Store, id string) (*Record, entries, error) {
	set := make(entries)
	record, err := store.Load(ctx, NewToken(id, ""))
	switch {
	case errors.Is(err, errUnreadable):
		return nil, nil, fmt.Errorf("session: a record of session IDs: %v", err) //nolint:errorlint // it is not "not found"
	case errors.Is(err, ErrNotFound), err == nil && record == nil:
		return nil, set, nil
	case err != nil:
		return nil, nil, err
	}
	now := m.config.Clock()
	for id, raw := range record.Values.All() {
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, nil, fmt.Errorf("session: a record of session IDs can't be read: %w", err)
		}
		if e.Until.time().After(now.Add(-clockSkew)) {
			set[id] = e
		}
	}
	return record, set, nil
}

// record returns the record that is stored for the entries.
func (e entries) record(id string, now time.Time) (*Record, error) {
	values := make(map[string]json.RawMessage, len(e))
	last := now
	for id, one := range e {
		raw, err := json.Marshal(one)
		if err != nil {
			return nil, err
		}
		values[id] = raw
		if until := one.Until.time(); until.After(last) {
			last = until
		}
	}
	r := &Record{ID: id, CreatedAt: now, IssuedAt: now, LastUsedAt: now, Deadline: last.Add(clockSkew), Values: NewValues(values)}
	stamp(r, nil, now)
	return r, nil
}
