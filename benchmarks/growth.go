package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/doorman-go/session"
)

// latencies are the times of single calls.
type latencies struct {
	name             string
	median, p99, max time.Duration
	slow             int // calls over a millisecond
	calls            int
}

func summariseCalls(name string, times []time.Duration) latencies {
	slices.Sort(times)
	slow := 0
	for _, t := range times {
		if t > time.Millisecond {
			slow++
		}
	}
	return latencies{name, percentile(times, .5), percentile(times, .99), times[len(times)-1], slow, len(times)}
}

// growthRow is how a store does with that many sessions.
type growthRow struct {
	store    string
	sessions int
	bytes    float64 // for each session
	calls    []latencies
	took     time.Duration // to fill
}

// population is a store and the IDs of the sessions in it.
type population struct {
	store changer
	ids   []string
}

func newID() string {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// values are the workload's, and as many more as it takes to make n.
func values(n int) map[string]json.RawMessage {
	m := map[string]json.RawMessage{
		"uid": json.RawMessage(fmt.Sprint(userID)), "nonce": json.RawMessage(`"` + nonce + `"`), "locale": json.RawMessage(`"` + locale + `"`),
	}
	for i := len(m); i < n; i++ {
		m[fmt.Sprintf("key-%03d", i)] = json.RawMessage(`"` + nonce + `"`)
	}
	return m
}

// realm is a Manager's that is configured with nothing.
const realm = "__Host-session"

func newRecord(user string, keys int) *session.Record {
	now := time.Now().UTC().Truncate(time.Microsecond)
	r := &session.Record{
		ID: newID(), Revision: newID(), Realm: realm, User: user, CreatedAt: now, IssuedAt: now, LastUsedAt: now,
		Deadline: now.Add(24 * time.Hour), IdleTimeout: time.Hour, Values: session.NewValues(values(keys)),
	}
	if user != "" {
		r.AuthenticatedAt = now
	}
	return r
}

// create stores a new session.
func create(ctx context.Context, store session.Store, r *session.Record) error {
	return swap(ctx, store, nil, r)
}

func swap(ctx context.Context, store session.Store, old, next *session.Record) error {
	_, err := store.Swap(ctx, session.NewToken(next.ID, ""), session.Swap{Old: old, New: next})
	return err
}

// end puts a tombstone in the place of a session.
func end(ctx context.Context, store changer, id string) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	_, err := store.End(ctx, &session.Record{
		ID: id, Revision: newID(), Realm: realm, IssuedAt: now, LastUsedAt: now, Deadline: now.Add(time.Minute), Ended: true,
	})
	return err
}

func (p *population) random() string { return p.ids[p.at()] }

func (p *population) at() int { return mathrand.IntN(len(p.ids)) }

// alter swaps a session for one with a new value, or that was only used.
func (p *population) alter(ctx context.Context, id string, set bool) error {
	base, err := p.store.Load(ctx, session.NewToken(id, ""))
	if err != nil {
		return err
	}
	next := *base
	next.Revision = newID()
	next.LastUsedAt = time.Now().UTC().Truncate(time.Microsecond)
	if set {
		changed := maps.Collect(base.Values.All())
		changed["locale"] = json.RawMessage(`"de-CH"`)
		next.Values = session.NewValues(changed)
	}
	return swap(ctx, p.store, base, &next)
}

// try times calls of each kind on random sessions. A change and a touch include a load.
func (p *population) try(calls int) ([]latencies, error) {
	ctx := context.Background()
	kinds := []struct {
		name string
		call func() error
	}{
		{"load", func() error { _, err := p.store.Load(ctx, session.NewToken(p.random(), "")); return err }},
		{"load + change", func() error { return p.alter(ctx, p.random(), true) }},
		{"load + touch", func() error { return p.alter(ctx, p.random(), false) }},
		{"create", func() error { return create(ctx, p.store, newRecord("newcomer", 3)) }},
		{"end", func() error {
			last := len(p.ids) - 1
			at := p.at()
			id := p.ids[at]
			p.ids[at], p.ids = p.ids[last], p.ids[:last]
			return end(ctx, p.store, id)
		}},
	}
	var all []latencies
	for _, kind := range kinds {
		runtime.GC()
		n := min(calls, len(p.ids)/2)
		times := make([]time.Duration, n)
		for i := range n {
			start := time.Now()
			if err := kind.call(); err != nil {
				return nil, fmt.Errorf("%s: %w", kind.name, err)
			}
			times[i] = time.Since(start)
		}
		all = append(all, summariseCalls(kind.name, times))
	}
	return all, nil
}
