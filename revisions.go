package session

import (
	"encoding/binary"
	"encoding/json"
	"iter"
	"slices"
	"time"
	"unicode/utf8"
)

// Revisions are the latest revisions of a record, the oldest first. They are kept in the record's binary form, because
// most requests neither read nor change them. They never change. The zero Revisions is empty.
type Revisions struct {
	packed []byte // for each revision: the length of its text, the text, and the time
	n      int
}

// PastRevision is a revision that a record had, and the time when it got it, to the microsecond.
type PastRevision struct {
	Revision string    `json:"revision"`
	At       time.Time `json:"at"`
}

const timeSize = 8 // bytes of a packed time: microseconds since 1970, the lowest byte first

// NewRevisions returns Revisions with these revisions.
func NewRevisions(past ...PastRevision) (r Revisions) {
	for _, one := range past {
		r = r.add(one)
	}
	return r
}

// Len returns the number of revisions.
func (r Revisions) Len() int { return r.n }

// IsZero reports whether there are no revisions.
func (r Revisions) IsZero() bool { return r.n == 0 }

// All returns the revisions.
func (r Revisions) All() iter.Seq[PastRevision] {
	return func(yield func(PastRevision) bool) {
		for rest := r.packed; len(rest) > 0; {
			var text, at []byte
			text, at, rest = cutRevision(rest)
			if !yield(PastRevision{string(text), unpackTime(at)}) {
				return
			}
		}
	}
}

// has reports whether revision is among them.
func (r Revisions) has(revision string) bool {
	for rest := r.packed; len(rest) > 0; {
		var text []byte
		if text, _, rest = cutRevision(rest); string(text) == revision {
			return true
		}
	}
	return false
}

// cutRevision takes the first revision off packed, which holds at least one.
func cutRevision(packed []byte) (text, at, rest []byte) {
	text, rest = cutText(packed)
	return text, rest[:timeSize], rest[timeSize:]
}

func unpackTime(b []byte) time.Time { return time.UnixMicro(unpackMicro(b)).UTC() }

func unpackMicro(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

// add returns the revisions with one more.
func (r Revisions) add(past PastRevision) Revisions {
	packed := make([]byte, 0, len(r.packed)+textSize(len(past.Revision))+timeSize)
	packed = appendText(append(packed, r.packed...), past.Revision)
	packed = binary.LittleEndian.AppendUint64(packed, uint64(past.At.UnixMicro()))
	return Revisions{packed, r.n + 1}
}

// latest returns the revisions that are younger than doubtWindow, and no more than most. It removes revisions only from
// the front: different clocks have set their times, so the order of the times says little.
func (r Revisions) latest(now time.Time, most int) Revisions {
	for r.n > 0 {
		_, at, rest := cutRevision(r.packed)
		if r.n <= most && now.Sub(unpackTime(at)) < doubtWindow {
			break
		}
		r = Revisions{rest, r.n - 1}
	}
	return r
}

// fault says why the revisions could not be read again after they are written. It returns "" if they could.
func (r Revisions) fault() string {
	for rest := r.packed; len(rest) > 0; {
		var text, at []byte
		text, at, rest = cutRevision(rest)
		switch {
		case len(text) > maxHeadText || !utf8.Valid(text):
			return "one of its Latest revisions is too long, or not valid UTF-8"
		case !validMicro(unpackMicro(at)):
			return "the time of one of its Latest revisions is not within the years 1 to 9999"
		}
	}
	return ""
}

// MarshalJSON returns a JSON array.
func (r Revisions) MarshalJSON() ([]byte, error) {
	return json.Marshal(slices.AppendSeq(make([]PastRevision, 0, r.n), r.All()))
}

// UnmarshalJSON reads a JSON array.
func (r *Revisions) UnmarshalJSON(b []byte) error {
	var past []PastRevision
	if err := json.Unmarshal(b, &past); err != nil {
		return err
	}
	*r = NewRevisions(past...)
	return nil
}
