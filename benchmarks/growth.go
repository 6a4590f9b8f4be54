package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
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

// population is a store and the ids of the sessions in it.
type population struct {
	store session.UserStore
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

func newRecord(user string, keys int) *session.Record {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &session.Record{
		ID: newID(), User: user, Created: now, Authenticated: now, Issued: now, Used: now,
		Deadline: now.Add(24 * time.Hour), Idle: time.Hour, Values: values(keys),
	}
}

// create stores a new session.
func create(ctx context.Context, store session.Store, r *session.Record) error {
	change := &session.Change{Operation: newID()[:11], Record: r, Create: true, Fresh: r.User != ""}
	for key := range r.Values {
		change.Set = append(change.Set, key)
	}
	_, err := store.Save(ctx, session.NewToken(r.ID, ""), change)
	return err
}

func (p *population) random() string { return p.ids[p.at()] }

func (p *population) at() int { return mathrand.IntN(len(p.ids)) }

// alter saves a change of a session: a new value, or only a touch.
func (p *population) alter(ctx context.Context, id string, set bool) error {
	base, err := p.store.Load(ctx, session.NewToken(id, ""))
	if err != nil {
		return err
	}
	next := *base
	next.Used = time.Now().UTC().Truncate(time.Microsecond)
	change := &session.Change{Operation: newID()[:11], Record: &next, Base: base}
	if set {
		next.Values = values(len(base.Values))
		next.Values["locale"], change.Set = json.RawMessage(`"de-CH"`), []string{"locale"}
	}
	_, err = p.store.Save(ctx, session.NewToken(id, ""), change)
	return err
}

// try times calls of each kind on random sessions. A save and a touch include a load.
func (p *population) try(calls int) ([]latencies, error) {
	ctx := context.Background()
	kinds := []struct {
		name string
		call func() error
	}{
		{"load", func() error { _, err := p.store.Load(ctx, session.NewToken(p.random(), "")); return err }},
		{"load + save", func() error { return p.alter(ctx, p.random(), true) }},
		{"load + touch", func() error { return p.alter(ctx, p.random(), false) }},
		{"create", func() error { return create(ctx, p.store, newRecord("newcomer", 3)) }},
		{"revoke", func() error {
			last := len(p.ids) - 1
			at := p.at()
			id := p.ids[at]
			p.ids[at], p.ids = p.ids[last], p.ids[:last]
			return p.store.Delete(ctx, id, time.Now().Add(time.Hour))
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
