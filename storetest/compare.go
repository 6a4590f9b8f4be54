package storetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// same fails the clause unless the records are alike in all that a store keeps, except for the fields named.
func (x *trial) same(got, want *session.Record, what string, except ...string) {
	x.Helper()
	if diff := differences(got, want, append(x.notKept(), except...)); len(diff) > 0 {
		x.Errorf("%s:\n\t%s", what, strings.Join(diff, "\n\t"))
	}
}

// notKept returns the fields that the store need not keep: a cookie has no revisions.
func (x *trial) notKept() []string {
	if x.can(inCookie) {
		return []string{"Revision", "Latest"}
	}
	return nil
}

// notStored are the fields of a record that do not belong to what is stored.
var notStored = []string{"Version", "Stale"}

// differences goes through all fields, so that none is forgotten that a Record may get later.
func differences(got, want *session.Record, except []string) (diff []string) {
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		field := g.Type().Field(i)
		if !field.IsExported() || slices.Contains(notStored, field.Name) || slices.Contains(except, field.Name) {
			continue
		}
		if field.Name == "Values" {
			diff = append(diff, valueDifferences(got.Values, want.Values)...)
			continue
		}
		if !equalFields(g.Field(i).Interface(), w.Field(i).Interface()) {
			diff = append(diff, fmt.Sprintf("%s is %+v, and was stored as %+v", field.Name, g.Field(i), w.Field(i)))
		}
	}
	return diff
}

func equalFields(got, want any) bool {
	switch got := got.(type) {
	case time.Time:
		return got.Equal(want.(time.Time))
	case []session.StoredFlash:
		return slices.Equal(got, want.([]session.StoredFlash))
	case session.Binding:
		want := want.(session.Binding)
		return bytes.Equal(got.Secret, want.Secret) && bytes.Equal(got.Key, want.Key) && got.ProvedAt.Equal(want.ProvedAt)
	case session.Revisions:
		return slices.Equal(slices.Collect(got.All()), slices.Collect(want.(session.Revisions).All()))
	}
	return reflect.DeepEqual(got, want)
}

func valueDifferences(got, want session.Values) (diff []string) {
	for key, raw := range want.All() {
		switch g := got.Get(key); {
		case g == nil:
			diff = append(diff, fmt.Sprintf("the value %q is missing", key))
		case !equalJSON(g, raw):
			diff = append(diff, fmt.Sprintf("the value %q is %s, and was stored as %s", key, shorten(g), shorten(raw)))
		}
	}
	for key := range got.All() {
		if want.Get(key) == nil {
			diff = append(diff, fmt.Sprintf("the value %q is there, and was not stored", key))
		}
	}
	if got.Len() != want.Len() {
		diff = append(diff, fmt.Sprintf("there are %d values, and were %d", got.Len(), want.Len()))
	}
	return diff
}

// equalJSON compares by what the texts say, so that a store may keep them in a column of its own type.
func equalJSON(a, b json.RawMessage) bool {
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

func shorten(raw json.RawMessage) string {
	if len(raw) > 60 {
		return fmt.Sprintf("%s... (%d bytes)", raw[:60], len(raw))
	}
	return string(raw)
}

// holds fails the clause unless the record has exactly these values, given as keys and JSON texts in turn.
func (x *trial) holds(r *session.Record, what string, pairs ...string) {
	x.Helper()
	if diff := valueDifferences(r.Values, session.NewValues(rawValues(pairs))); len(diff) > 0 {
		x.Errorf("%s:\n\t%s", what, strings.Join(diff, "\n\t"))
	}
}
