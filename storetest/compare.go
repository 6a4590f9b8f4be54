package storetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// same fails the clause unless the records are alike in all that a store keeps.
func (x *trial) same(got, want *session.Record, what string) {
	x.Helper()
	if diff := append(differentAttributes(got, want), differentValues(got, want)...); len(diff) > 0 {
		x.Errorf("%s:\n\t%s", what, strings.Join(diff, "\n\t"))
	}
}

func differentAttributes(got, want *session.Record) (diff []string) {
	note := func(name string, got, want any) {
		diff = append(diff, fmt.Sprintf("%s is %v, and was saved as %v", name, got, want))
	}
	texts := [][3]string{{"ID", got.ID, want.ID}, {"User", got.User, want.User}, {"Note", got.Note, want.Note}}
	for _, f := range texts {
		if f[1] != f[2] {
			note(f[0], fmt.Sprintf("%q", f[1]), fmt.Sprintf("%q", f[2]))
		}
	}
	times := []struct {
		name      string
		got, want time.Time
	}{
		{"Created", got.Created, want.Created}, {"Authenticated", got.Authenticated, want.Authenticated},
		{"Issued", got.Issued, want.Issued}, {"Used", got.Used, want.Used}, {"Deadline", got.Deadline, want.Deadline},
	}
	for _, f := range times {
		if !f.got.Equal(f.want) {
			note(f.name, f.got, f.want)
		}
	}
	if got.Idle != want.Idle {
		note("Idle", got.Idle, want.Idle)
	}
	if got.Persistent != want.Persistent {
		note("Persistent", got.Persistent, want.Persistent)
	}
	return diff
}

func differentValues(got, want *session.Record) []string {
	return append(different("value", got.Values, want.Values), different("flash", got.Flashes, want.Flashes)...)
}

func different(kind string, got, want map[string]json.RawMessage) (diff []string) {
	keys := maps.Clone(want)
	if keys == nil {
		keys = map[string]json.RawMessage{}
	}
	maps.Copy(keys, got)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		g, there := got[key]
		w, saved := want[key]
		switch {
		case !there:
			diff = append(diff, fmt.Sprintf("the %s %q is missing", kind, key))
		case !saved:
			diff = append(diff, fmt.Sprintf("the %s %q is there, and should not be", kind, key))
		case !equal(g, w):
			diff = append(diff, fmt.Sprintf("the %s %q is %s, and should be %s", kind, key, short(g), short(w)))
		}
	}
	return diff
}

// equal compares JSON by what it says, so that a store may keep it in a column of its own type.
func equal(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	va, errA := parse(a)
	vb, errB := parse(b)
	return errA == nil && errB == nil && reflect.DeepEqual(va, vb)
}

func parse(raw json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

func short(raw json.RawMessage) string {
	if len(raw) > 60 {
		return fmt.Sprintf("%s... (%d bytes)", raw[:60], len(raw))
	}
	return string(raw)
}

// holds fails the clause unless the session has exactly these values, given as keys and JSON texts in turn.
func (x *trial) holds(r *session.Record, what string, pairs ...string) {
	x.Helper()
	var want map[string]json.RawMessage
	for pair := range slices.Chunk(pairs, 2) {
		put(&want, pair[0], pair[1])
	}
	if diff := different("value", r.Values, want); len(diff) > 0 {
		x.Errorf("%s:\n\t%s", what, strings.Join(diff, "\n\t"))
	}
}

// copyOf returns a copy of r that shares nothing with it.
func copyOf(r *session.Record) *session.Record {
	next := *r
	next.Values, next.Flashes = copyMap(r.Values), copyMap(r.Flashes)
	return &next
}

func copyMap(m map[string]json.RawMessage) map[string]json.RawMessage {
	next := make(map[string]json.RawMessage, len(m))
	for key, raw := range m {
		next[key] = slices.Clone(raw)
	}
	return next
}
