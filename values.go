package session

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/doorman-go/session/internal/jsonvalue"
)

// Values are the values of a session by key, each as a JSON text. They are kept in the record's binary form, and a
// value is looked up when it is read. They never change. The zero Values is empty.
type Values struct {
	packed []byte // sorted by key; for each value: the key and the JSON text, both with their length in front
	n      int
}

// NewValues returns the values of m. It keeps no reference to m. A nil value is left out.
func NewValues(m map[string]json.RawMessage) Values { return Values{}.edit(editsOf(m)) }

// Get returns the value of key, or nil if there is none. The result must not be changed, because it is a part of v.
func (v Values) Get(key string) json.RawMessage {
	for rest := v.packed; len(rest) > 0; {
		var name, raw []byte
		name, raw, rest = cutEntry(rest)
		if string(name) == key {
			return raw
		}
		if string(name) > key {
			return nil
		}
	}
	return nil
}

// Len returns the number of values.
func (v Values) Len() int { return v.n }

// IsZero reports whether there are no values.
func (v Values) IsZero() bool { return v.n == 0 }

// All returns the keys in order, with their values. The values must not be changed, because they are parts of v.
func (v Values) All() iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for rest := v.packed; len(rest) > 0; {
			var name, raw []byte
			name, raw, rest = cutEntry(rest)
			if !yield(string(name), raw) {
				return
			}
		}
	}
}

// cutEntry takes the first entry off packed, which holds at least one.
func cutEntry(packed []byte) (name, raw, rest []byte) {
	name, rest = cutText(packed)
	raw, rest = cutText(rest)
	return name, raw, rest
}

func cutText(b []byte) (text, rest []byte) {
	length, n := uint64(b[0]), 1
	if length >= 0x80 { // most are shorter
		length, n = binary.Uvarint(b)
	}
	end := n + int(length)
	return b[n:end:end], b[end:]
}

// edits are values that replace others, sorted by key.
type edits []edit

type edit struct {
	key string
	raw json.RawMessage // nil for a value that is deleted
}

func editsOf(m map[string]json.RawMessage) edits {
	all := make(edits, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, edit{key, m[key]})
	}
	return all
}

// find returns the place of key, and reports whether it is there.
func (e edits) find(key string) (int, bool) {
	return slices.BinarySearchFunc(e, key, func(e edit, key string) int { return strings.Compare(e.key, key) })
}

// with returns e, which it may modify, with the value of key.
func (e edits) with(key string, raw json.RawMessage) edits {
	i, there := e.find(key)
	if there {
		e[i].raw = raw
		return e
	}
	return slices.Insert(e, i, edit{key, raw})
}

// edit returns the values, with the edits applied.
func (v Values) edit(edits edits) Values {
	if len(edits) == 0 {
		return v
	}
	room := len(v.packed)
	for _, e := range edits {
		room += textSize(len(e.key)) + textSize(len(e.raw))
	}
	next := Values{packed: make([]byte, 0, room)}
	rest := v.packed
	for _, e := range edits {
		rest = next.moveUpTo(e.key, rest)
		next.add(e.key, e.raw)
	}
	next.packed = append(next.packed, rest...)
	for len(rest) > 0 {
		_, _, rest = cutEntry(rest)
		next.n++
	}
	return next.trimmed()
}

// moveUpTo appends the entries of packed that come before key. It skips the entry of key, and returns the entries after
// it.
func (v *Values) moveUpTo(key string, packed []byte) (rest []byte) {
	moved := 0
	for moved < len(packed) {
		name, _, rest := cutEntry(packed[moved:])
		if string(name) >= key {
			v.packed = append(v.packed, packed[:moved]...)
			if string(name) == key {
				return rest
			}
			return packed[moved:]
		}
		moved = len(packed) - len(rest)
		v.n++
	}
	v.packed = append(v.packed, packed...)
	return nil
}

func (v *Values) add(key string, raw json.RawMessage) {
	if len(raw) == 0 {
		return
	}
	v.packed = appendText(v.packed, key)
	v.packed = appendText(v.packed, raw)
	v.n++
}

// trimmed frees the memory of values that were replaced or deleted, if that is much.
func (v Values) trimmed() Values {
	switch spare := cap(v.packed) - len(v.packed); {
	case v.n == 0:
		return Values{}
	case spare > len(v.packed)/8:
		v.packed = bytes.Clone(v.packed)
	}
	v.packed = slices.Clip(v.packed)
	return v
}

func (v Values) fault() string {
	for rest := v.packed; len(rest) > 0; {
		var name, raw []byte
		name, raw, rest = cutEntry(rest)
		if !utf8.Valid(name) {
			return fmt.Sprintf("the key %q is not valid UTF-8", name)
		}
		if !utf8.Valid(raw) {
			return fmt.Sprintf("the value of key %q is not valid UTF-8", name)
		}
	}
	return ""
}

// MarshalJSON returns a JSON object.
func (v Values) MarshalJSON() ([]byte, error) {
	if fault := v.fault(); fault != "" {
		return nil, errors.New("session: the values can't be marshalled: " + fault)
	}
	b := append(make([]byte, 0, len(v.packed)+4*v.n+2), '{')
	for key, raw := range v.All() {
		if len(b) > 1 {
			b = append(b, ',')
		}
		name, _ := json.Marshal(key) // a text can always be encoded
		b = append(b, name...)
		b = append(b, ':')
		b = append(b, raw...)
	}
	return append(b, '}'), nil
}

var errNoValues = errors.New("session: the values are not a JSON object in which each key is there once")

// UnmarshalJSON reads a JSON object. Null means that there are no values. A key that occurs twice is an error.
func (v *Values) UnmarshalJSON(b []byte) error {
	if string(bytes.TrimSpace(b)) == "null" {
		*v = Values{}
		return nil
	}
	m, err := jsonvalue.DecodeObject(b)
	if err != nil {
		return errNoValues
	}
	*v = NewValues(m)
	return nil
}
