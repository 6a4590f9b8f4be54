package mongostore

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// deleteAfter is how long after its time the server deletes a document, so that clocks may differ.
const deleteAfter = time.Minute

// CreateIndexes creates the two indexes, if they are missing: one by user, and one by the time after which the server
// deletes a document. Several processes may call it at the same time. If nothing is missing, it needs only the right to
// list indexes. An existing index that would do harm is an error.
//
// Without the first index a list reads the whole collection. Without the second the server deletes nothing. Neither
// lets anybody open a session that is over, because the Manager checks the limits.
func (s *Store) CreateIndexes(ctx context.Context) error {
	ctx = alone(ctx)
	there, err := s.listIndexes(ctx)
	if err != nil {
		return fmt.Errorf("mongostore: the indexes could not be listed: %w", err)
	}
	var missing []mongo.IndexModel
	if index, ok := there[fieldUser]; !ok {
		missing = append(missing, newIndex(fieldUser, options.Index().SetSparse(true)))
	} else if err := index.checkUser(); err != nil {
		return err
	}
	if index, ok := there[fieldKeepUntil]; !ok {
		missing = append(missing, newIndex(fieldKeepUntil, options.Index().SetExpireAfterSeconds(int32(deleteAfter.Seconds()))))
	} else if err := index.checkKeepUntil(); err != nil {
		return err
	}
	for _, index := range missing { // one by one, so that if one fails, the other is still created
		if _, err := s.collection.Indexes().CreateOne(ctx, index); err != nil {
			return fmt.Errorf("mongostore: an index could not be created: %w", err)
		}
	}
	return nil
}

func newIndex(field string, opts *options.IndexOptionsBuilder) mongo.IndexModel {
	return mongo.IndexModel{Keys: bson.D{{Key: field, Value: 1}}, Options: opts}
}

// index is an existing index, as the server describes it.
type index struct {
	name        string
	description bson.Raw
}

// listIndexes returns the ascending indexes of one field, by that field.
func (s *Store) listIndexes(ctx context.Context) (map[string]index, error) {
	cursor, err := s.collection.Indexes().List(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = cursor.Close(ctx) }()
	there := make(map[string]index)
	for cursor.Next(ctx) {
		description := append(bson.Raw(nil), cursor.Current...)
		key, _ := description.Lookup("key").DocumentOK()
		fields, err := key.Elements()
		if err != nil || len(fields) != 1 {
			continue
		}
		if order, ok := fields[0].Value().AsInt64OK(); ok && order == 1 {
			name, _ := description.Lookup("name").StringValueOK()
			there[fields[0].Key()] = index{name, description}
		}
	}
	return there, cursor.Err()
}

// has reports whether the index has the option.
func (i index) has(option string) bool {
	_, err := i.description.LookupErr(option)
	return err == nil
}

func (i index) checkUser() error {
	if unique, _ := i.description.Lookup("unique").BooleanOK(); unique || i.has("partialFilterExpression") {
		return fmt.Errorf("mongostore: the index %q is unique or partial, and must be neither: drop it", i.name)
	}
	return nil
}

func (i index) checkKeepUntil() error {
	after, _ := i.description.Lookup("expireAfterSeconds").AsInt64OK()
	if after < int64(deleteAfter.Seconds()) || i.has("partialFilterExpression") {
		return fmt.Errorf("mongostore: the index %q must delete %v after %s, or later, and all documents: drop it",
			i.name, deleteAfter, fieldKeepUntil)
	}
	return nil
}
