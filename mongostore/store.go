// Package mongostore keeps sessions in a collection of MongoDB 4.4 or later.
//
// Each session is one document, and each change replaces one document on condition of its revision. No transaction is
// used, so that a single server will do.
package mongostore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/doorman-go/session"
)

// Store keeps sessions in a collection. It lists sessions by user, and ends a session in one step. MongoDB sees only
// the hash of a token.
//
// It makes several swaps one by one, in their order. A failover loses no change that a majority acknowledged. A primary
// that is cut off needs some seconds to notice that it was replaced. Until then it can answer a load with a session
// that has ended since. Options.Linearizable prevents that.
//
// It does not use the MongoDB session of a context (mongo.NewSessionContext). So sessions do not become part of an
// application's transaction.
type Store struct {
	collection *mongo.Collection
}

// Options are the options of a Store. The zero value is good.
type Options struct {
	// WriteConcern is what each change waits for, whatever the settings of the client are. The default waits for the
	// journals of a majority of the replica set, or for that of the single server. A named concern of the replica set
	// (getLastErrorModes) may ask for more. A number of members is refused, because it may be less than a majority. A
	// concern that does not wait is refused too.
	WriteConcern *writeconcern.WriteConcern

	// Linearizable makes each load and each list ask a majority whether the server is still the primary. That costs a
	// round trip between the servers, and needs a replica set or a sharded cluster. The default is to trust the primary
	// (read concern "local").
	Linearizable bool
}

var (
	_ session.UserStore = (*Store)(nil)
	_ session.AllStore  = (*Store)(nil)
	_ session.Ender     = (*Store)(nil)
)

// New returns a store in a collection that holds nothing else. It does not ask the server, so an application may start
// before its database. Store.CreateIndexes creates the indexes.
//
// It ignores the client's read concern, write concern and read preference, and settings that change how values are
// encoded. All reads go to the primary. If the collection is in a sharded cluster, the shard key must be _id or its
// hash.
func New(collection *mongo.Collection, opts Options) (*Store, error) {
	if collection == nil {
		return nil, errors.New("mongostore: the collection is nil")
	}
	concern, err := checkWriteConcern(opts.WriteConcern)
	if err != nil {
		return nil, err
	}
	reads := readconcern.Local()
	if opts.Linearizable {
		reads = readconcern.Linearizable()
	}
	return &Store{collection.Clone(options.Collection().
		SetWriteConcern(concern).
		SetReadConcern(reads).
		SetReadPreference(readpref.Primary()).
		SetRegistry(bson.NewRegistry()).
		SetBSONOptions(&options.BSONOptions{}))}, nil
}

func checkWriteConcern(concern *writeconcern.WriteConcern) (*writeconcern.WriteConcern, error) {
	if concern == nil {
		journal := true
		return &writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal}, nil
	}
	if name, ok := concern.W.(string); !ok || name == "" {
		return nil, fmt.Errorf("mongostore: Options.WriteConcern has w: %v, and must be a majority or a named concern of the replica set",
			concern.W)
	}
	if concern.Journal != nil && !*concern.Journal {
		return nil, errors.New("mongostore: Options.WriteConcern has j: false, which loses acknowledged changes in a crash")
	}
	return concern, nil
}

// String returns a name without addresses or secrets.
func (s *Store) String() string {
	return "mongostore(" + s.collection.Database().Name() + "." + s.collection.Name() + ")"
}

// Load implements session.Store.
func (s *Store) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	raw, err := s.collection.FindOne(alone(ctx), bson.D{{Key: fieldID, Value: text(token.ID())}},
		options.FindOne().SetProjection(onlyRecord)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, session.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("mongostore: %w", err)
	}
	return readRecordOf(token.ID(), raw)
}

// Swap implements session.Store. It makes several swaps one by one, in their order, and stops at the first that fails.
func (s *Store) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	documents := make([]bson.D, len(swaps))
	for i, swap := range swaps {
		var err error
		if documents[i], err = newDocument(swap.New); err != nil {
			return session.Token{}, err
		}
	}
	ctx = alone(ctx)
	for i, swap := range swaps {
		if err := s.replace(ctx, swap, documents[i]); err != nil {
			return session.Token{}, err
		}
	}
	return token, nil
}

// replace makes one swap. If it was made before, it is made again, which changes nothing. A new record is an upsert: if
// another record has its ID, the index of IDs refuses it.
func (s *Store) replace(ctx context.Context, swap session.Swap, document bson.D) error {
	revisions := bson.A{text(swap.New.Revision)}
	if swap.Old != nil {
		revisions = append(revisions, text(swap.Old.Revision))
	}
	filter := bson.D{
		{Key: fieldID, Value: text(swap.New.ID)},
		{Key: fieldRevision, Value: bson.D{{Key: "$in", Value: revisions}}},
	}
	result, err := s.collection.ReplaceOne(ctx, filter, document, options.Replace().SetUpsert(swap.Old == nil))
	switch {
	case mongo.IsDuplicateKeyError(err):
		return &session.ConflictError{ID: swap.New.ID}
	case err != nil:
		return fmt.Errorf("mongostore: %w", err)
	case result.MatchedCount+result.UpsertedCount == 0:
		return &session.ConflictError{ID: swap.New.ID}
	}
	return nil
}

// End implements session.Ender.
func (s *Store) End(ctx context.Context, tombstone *session.Record) (*session.Record, error) {
	document, err := newDocument(tombstone)
	if err != nil {
		return nil, err
	}
	ctx = alone(ctx)
	for {
		replaced, err := s.endUnlessEnded(ctx, tombstone.ID, document)
		if !mongo.IsDuplicateKeyError(err) {
			return replaced, err
		}
		// A tombstone is there, or a session that was created between the server's look and its insert.
		current, err := s.Load(ctx, session.NewToken(tombstone.ID, ""))
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			return nil, err
		}
		if err == nil && current.Ended {
			return nil, &session.ConflictError{ID: tombstone.ID, Current: current}
		}
	}
}

// endUnlessEnded puts a tombstone in the place of a session, or if there is no record. If there is a tombstone already,
// the index of IDs refuses this one. It returns the record that was there.
func (s *Store) endUnlessEnded(ctx context.Context, id string, document bson.D) (*session.Record, error) {
	raw, err := s.collection.FindOneAndReplace(ctx, bson.D{{Key: fieldID, Value: text(id)}, {Key: fieldEnded, Value: false}}, document,
		options.FindOneAndReplace().SetUpsert(true).SetReturnDocument(options.Before)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mongostore: %w", err)
	}
	return readRecordOf(id, raw)
}

// listBatch is how many sessions a list gets in one round trip, as far as they fit into 16 MiB.
const listBatch = 1000

// UserSessions implements session.UserStore. The records are whole.
func (s *Store) UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error) {
	ctx = alone(ctx)
	cursor, err := s.collection.Find(ctx, bson.D{{Key: fieldUser, Value: userHash(realm, user)}},
		options.Find().SetProjection(onlyRecord).SetBatchSize(listBatch))
	if err != nil {
		return nil, fmt.Errorf("mongostore: %w", err)
	}
	defer func() { _ = cursor.Close(ctx) }() // what was read is whole, whatever becomes of the cursor
	var records []*session.Record
	for cursor.Next(ctx) {
		r, err := readRecord(cursor.Current)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	if err := cursor.Err(); err != nil {
		return nil, fmt.Errorf("mongostore: %w", err)
	}
	return records, nil
}

// All implements session.AllStore. Documents of other realms are read too. The cursor stays open meanwhile: the server forgets
// one that is not asked for ten minutes.
func (s *Store) All(ctx context.Context, realm string) iter.Seq2[*session.Record, error] {
	return func(yield func(*session.Record, error) bool) {
		ctx := alone(ctx)
		cursor, err := s.collection.Find(ctx, bson.D{}, options.Find().SetProjection(onlyRecord).SetBatchSize(listBatch))
		if err != nil {
			yield(nil, fmt.Errorf("mongostore: %w", err))
			return
		}
		defer func() { _ = cursor.Close(ctx) }() // what was read is whole, whatever becomes of the cursor
		for cursor.Next(ctx) {
			r, err := readRecord(cursor.Current)
			if err != nil {
				yield(nil, err)
				return
			}
			if r.Realm == realm && !yield(r, nil) {
				return
			}
		}
		if err := cursor.Err(); err != nil {
			yield(nil, fmt.Errorf("mongostore: %w", err))
		}
	}
}

// alone returns ctx without the MongoDB session that it may carry.
func alone(ctx context.Context) context.Context {
	if mongo.SessionFromContext(ctx) == nil {
		return ctx
	}
	return mongo.NewSessionContext(ctx, nil)
}

// text returns s as binary data. MongoDB compares that byte by byte, whatever the collection's collation is.
func text(s string) bson.Binary { return bson.Binary{Data: []byte(s)} }

// userHash returns the key of a user's sessions. A hash is short, and differs for other realms and users.
func userHash(realm, user string) bson.Binary {
	sum := sha256.Sum256([]byte(strconv.Itoa(len(realm)) + ":" + realm + user))
	return bson.Binary{Data: sum[:]}
}
