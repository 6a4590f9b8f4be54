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

// Store keeps sessions in a collection. It lists them by user, and ends them in one step. MongoDB sees the hash of a token
// only.
//
// Several swaps are made one by one, in their order. A failover can lose nothing that was acknowledged by a majority.
// Until a primary that is cut off notices that it was replaced, some seconds, it can still answer a load with what has
// ended since; Options.Linearizable closes that gap.
//
// A context that carries a MongoDB session ([mongo.NewSessionContext]) is used without it: sessions do not become part
// of an application's transaction.
type Store struct {
	collection *mongo.Collection
}

// Options are the options of a Store. The zero value is good.
type Options struct {
	// WriteConcern is what each change waits for, whatever the client is configured for. The default is the journals of a
	// majority of the replica set, or of the single server. A named concern of the replica set (getLastErrorModes) may ask
	// for more. A number of members is refused, since it need not be a majority, and so is a concern that does not wait.
	WriteConcern *writeconcern.WriteConcern

	// Linearizable makes each load and each list ask a majority whether the server is still the primary. It costs them a
	// round trip between the servers, and needs a replica set or a sharded cluster. The default is to believe the primary
	// (read concern "local").
	Linearizable bool
}

var (
	_ session.UserStore = (*Store)(nil)
	_ session.AllStore  = (*Store)(nil)
	_ session.Ender     = (*Store)(nil)
)

// New returns a store in a collection that holds nothing else. It asks the server nothing: an application may start before
// its database. [Store.CreateIndexes] makes the indexes.
//
// Of the client's settings, read and write concern, read preference, and what changes how values are encoded do not
// apply: all reads go to the primary. A shared collection in a sharded cluster needs _id, or its hash, as the shard key.
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

// Swap implements session.Store. Several swaps are made one by one, in their order, up to the first that fails.
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

// replace makes one swap. If it was made before, it is made again, which changes nothing. A new record is an upsert: where
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

// endUnlessEnded puts a tombstone in the place of a session, or of nothing. Where a tombstone is, the index of IDs refuses
// it. It returns what was there.
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

// text returns s as what MongoDB compares byte by byte, whatever the collection's collation.
func text(s string) bson.Binary { return bson.Binary{Data: []byte(s)} }

// userHash returns the key of a user's sessions. A hash keeps it short, and different realms and users apart.
func userHash(realm, user string) bson.Binary {
	sum := sha256.Sum256([]byte(strconv.Itoa(len(realm)) + ":" + realm + user))
	return bson.Binary{Data: sum[:]}
}
