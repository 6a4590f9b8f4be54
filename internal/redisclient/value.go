package redisclient

import (
	"errors"
	"time"
)

// Value is the value that is stored under a key: a byte with the length of the revision, the revision, a byte that says
// whether the value is final, and the data. So a script only compares the first bytes.
type Value []byte

const (
	isFinal  = 'T' // End never replaces it
	notFinal = 'R'

	maxRevision = 255 // bytes
)

var errLongRevision = errors.New("session: a revision is longer than 255 bytes")

// NewValue returns a value to which up to room bytes of data are appended.
func NewValue(revision string, final bool, room int) (Value, error) {
	if len(revision) > maxRevision {
		return nil, errLongRevision
	}
	v := append(make(Value, 0, 2+len(revision)+room), byte(len(revision)))
	v = append(v, revision...)
	if final {
		return append(v, isFinal), nil
	}
	return append(v, notFinal), nil
}

// asValue returns raw as a Value, or nil if it is not one.
func asValue(raw []byte) Value {
	v := Value(raw)
	if len(v) == 0 || len(v) < v.dataAt() {
		return nil
	}
	if flag := v[v.dataAt()-1]; flag != isFinal && flag != notFinal {
		return nil
	}
	return v
}

func (v Value) dataAt() int { return 2 + int(v[0]) }

// Final reports whether the value is never replaced by End.
func (v Value) Final() bool { return v[v.dataAt()-1] == isFinal }

// Data returns the data. It is a part of v.
func (v Value) Data() []byte { return v[v.dataAt():] }

// Swap replaces a value.
type Swap struct {
	Key   string
	Fresh bool   // nothing may be stored
	Old   string // otherwise the revision that must be stored
	New   Value
	Life  time.Duration

	Channel string // where the key is published; or ""

	List, Member string // a list that must have the member for as long as the value lives; or ""
}

// old returns what the stored value must begin with. That is the empty text if nothing may be stored.
func (s Swap) old() string {
	if s.Fresh {
		return ""
	}
	var room [64]byte
	return string(append(append(room[:0], byte(len(s.Old))), s.Old...))
}
