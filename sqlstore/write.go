package sqlstore

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/doorman-go/session"
)

// write is a swap in the form that the table needs.
type write struct {
	id, revision, old string
	creates           bool // there must be no row with this ID
	user              []byte
	sweepAt           int64
	ended             bool
	record            []byte
}

// Texts that are too long for the columns are refused here, because in some modes MySQL cuts them without an error.
const (
	maxKey    = 255       // bytes of an ID or a revision; a Manager's have 32 and 12
	maxRecord = 1<<24 - 1 // bytes of a MEDIUMBLOB
)

func newWrite(swap session.Swap) (write, error) {
	r := swap.New
	data, err := r.MarshalBinary()
	switch {
	case err != nil:
		return write{}, err
	case r.ID == "" || len(r.ID) > maxKey:
		return write{}, fmt.Errorf("sqlstore: an ID must have 1 to %d bytes, and has %d", maxKey, len(r.ID))
	case len(r.Revision) > maxKey:
		return write{}, fmt.Errorf("sqlstore: a revision may have %d bytes, and has %d", maxKey, len(r.Revision))
	case len(data) > maxRecord:
		return write{}, fmt.Errorf("%w: a record may have %d bytes, and has %d", session.ErrTooLarge, maxRecord, len(data))
	}
	w := write{
		id: r.ID, revision: r.Revision, creates: swap.Old == nil,
		user: userHash(r.Realm, r.User), sweepAt: sweepHour(r), ended: r.Ended, record: data,
	}
	if swap.Old != nil {
		w.old = swap.Old.Revision
	}
	return w, nil
}

// The arguments of the statements, in their order.

func (w write) key() []byte { return []byte(w.id) }

func (w write) insertArgs() []any {
	return []any{w.key(), []byte(w.revision), w.user, w.sweepAt, w.ended, w.record}
}

func (w write) replaceArgs() []any {
	return []any{[]byte(w.revision), w.user, w.sweepAt, w.ended, w.record, w.key()}
}

func (w write) updateArgs() []any { return append(w.replaceArgs(), []byte(w.old)) }

const userHashSize = 16 // bytes

// userHash returns the hash by which a user's sessions are found, or nil without a user. A hash is short, whatever the
// name, and is compared byte by byte. The realm's length is hashed too, so that no other pair of realm and user has the
// same hash.
func userHash(realm, user string) []byte {
	if user == "" {
		return nil
	}
	text := binary.AppendUvarint(nil, uint64(len(realm)))
	sum := sha256.Sum256(append(append(text, realm...), user...))
	return sum[:userHashSize]
}

const hoursOfDay = 24

// sweepHour returns the hour since 1970 from which the row may be swept. An idle limit moves with each use, but the row
// should not move in its index each time. So the hour is rounded up to a full day: then the row of a session that is
// used all the time moves once a day. The day begins at another hour for each session. Otherwise all rows would move,
// and be swept, at the same time.
func sweepHour(r *session.Record) int64 {
	hour := hourOf(r.KeepUntil().Add(time.Hour - time.Microsecond))
	if r.Ended || r.IdleTimeout <= 0 {
		return hour // it never moves
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.ID))
	phase := int64(h.Sum32() % hoursOfDay)
	return hour + floorMod(phase-hour, hoursOfDay)
}

func hourOf(t time.Time) int64 {
	seconds := t.Unix()
	return (seconds - floorMod(seconds, 3600)) / 3600
}

func floorMod(a, b int64) int64 { return (a%b + b) % b }
