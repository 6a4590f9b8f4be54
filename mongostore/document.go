package mongostore

import (
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/doorman-go/session"
)

// The fields of a document. The fields that are compared are binary, so that no collation takes two texts for the same.
const (
	fieldID        = "_id"
	fieldRevision  = "revision"
	fieldEnded     = "ended"
	fieldUser      = "user"      // the hash of realm and user; missing for visitors, who are in no list
	fieldKeepUntil = "keepUntil" // for the TTL index
	fieldRecord    = "record"    // Record.MarshalBinary
)

// onlyRecord is the projection of loads and lists.
var onlyRecord = bson.D{{Key: fieldID, Value: 0}, {Key: fieldRecord, Value: 1}}

// maxRecord is the largest document of MongoDB, less the room for the other fields.
const maxRecord = 16<<20 - 4<<10

var errUnreadable = errors.New("mongostore: a document can't be read")

func newDocument(r *session.Record) (bson.D, error) {
	data, err := r.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if len(data)+len(r.ID)+len(r.Revision) > maxRecord {
		return nil, fmt.Errorf("%w: MongoDB stores at most 16 MiB, and the record takes %d bytes", session.ErrTooLarge, len(data))
	}
	document := bson.D{
		{Key: fieldID, Value: text(r.ID)},
		{Key: fieldRevision, Value: text(r.Revision)},
		{Key: fieldEnded, Value: r.Ended},
		{Key: fieldKeepUntil, Value: bson.NewDateTimeFromTime(keepUntil(r))},
		{Key: fieldRecord, Value: bson.Binary{Data: data}},
	}
	if r.User != "" {
		document = append(document, bson.E{Key: fieldUser, Value: userHash(r.Realm, r.User)})
	}
	return document, nil
}

// keepUntil returns when the server may delete the record. For a session, the time is rounded up to the full hour, so
// that most touches do not change the index. For a tombstone it is rounded up to the millisecond, the precision of a
// date.
func keepUntil(r *session.Record) time.Time {
	if r.Ended {
		return roundUp(r.KeepUntil(), time.Millisecond)
	}
	return roundUp(r.KeepUntil(), time.Hour)
}

func roundUp(t time.Time, unit time.Duration) time.Time {
	if down := t.Truncate(unit); !down.Equal(t) {
		return down.Add(unit)
	}
	return t
}

// readRecordOf returns the record in a document that was asked for by its ID.
func readRecordOf(id string, document bson.Raw) (*session.Record, error) {
	r, err := readRecord(document)
	if err != nil {
		return nil, err
	}
	if r.ID != id {
		return nil, fmt.Errorf("%w: it is another session's", errUnreadable)
	}
	return r, nil
}

func readRecord(document bson.Raw) (*session.Record, error) {
	_, data, ok := document.Lookup(fieldRecord).BinaryOK()
	if !ok {
		return nil, fmt.Errorf("%w: it has no record", errUnreadable)
	}
	r := new(session.Record)
	if err := r.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	return r, nil
}
