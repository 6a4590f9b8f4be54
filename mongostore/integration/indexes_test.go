package integration_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

// indexesOf returns what the server lists, by the indexes' names.
func indexesOf(t *testing.T, collection *mongo.Collection) map[string]bson.Raw {
	cursor, err := collection.Indexes().List(t.Context())
	require.NoError(t, err)
	var listed []bson.Raw
	require.NoError(t, cursor.All(t.Context(), &listed))
	byName := map[string]bson.Raw{}
	for _, index := range listed {
		byName[index.Lookup("name").StringValue()] = index
	}
	return byName
}

func TestCreateIndexes(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	collection := newCollection(t, client)
	store := newStore(t, collection)
	commands := w.during(func() { require.NoError(t, store.CreateIndexes(t.Context())) })
	require.Equal(t, []string{"listIndexes", "createIndexes", "createIndexes"}, namesOf(commands))
	require.JSONEq(t, `[{"key": {"user": {"$numberInt": "1"}}, "name": "user_1", "sparse": true}]`,
		commands[1].Lookup("indexes").String())
	require.JSONEq(t, `[{"key": {"keepUntil": {"$numberInt": "1"}}, "name": "keepUntil_1", "expireAfterSeconds": {"$numberInt": "60"}}]`,
		commands[2].Lookup("indexes").String())
	indexes := indexesOf(t, collection)
	require.Len(t, indexes, 3)
	require.EqualValues(t, 60, indexes["keepUntil_1"].Lookup("expireAfterSeconds").AsInt64())
	require.Contains(t, indexes, "user_1")

	again := namesOf(w.during(func() { require.NoError(t, store.CreateIndexes(t.Context())) }))
	require.Equal(t, []string{"listIndexes"}, again, "where nothing is missing, no right to create is needed")
}

func TestCreateIndexes_CreatesWhatIsMissing(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	collection := newCollection(t, client)
	_, err := collection.Indexes().CreateOne(t.Context(), mongo.IndexModel{
		Keys: bson.D{{Key: "keepUntil", Value: 1}}, Options: options.Index().SetName("mine").SetExpireAfterSeconds(3600),
	})
	require.NoError(t, err)
	commands := w.during(func() { require.NoError(t, newStore(t, collection).CreateIndexes(t.Context())) })
	require.Equal(t, []string{"listIndexes", "createIndexes"}, namesOf(commands))
	require.Len(t, indexesOf(t, collection), 3)
	require.Contains(t, indexesOf(t, collection), "user_1")
}

func TestCreateIndexes_SeveralProcesses(t *testing.T) {
	server := sharedServer(t)
	collection := newCollection(t, connect(t, server.address))
	const processes = 8
	failed := make(chan error, processes)
	for range processes {
		store := newStore(t, on(connect(t, server.address), collection))
		go func() { failed <- store.CreateIndexes(t.Context()) }()
	}
	for range processes {
		require.NoError(t, <-failed)
	}
	require.Len(t, indexesOf(t, collection), 3)
}

func TestCreateIndexes_RefusesWhatDoesHarm(t *testing.T) {
	client := connect(t, sharedServer(t).address)
	for name, c := range map[string]struct {
		field string
		opts  *options.IndexOptionsBuilder
	}{
		"that deletes too early":   {"keepUntil", options.Index().SetExpireAfterSeconds(0)},
		"that deletes nothing":     {"keepUntil", options.Index()},
		"of one session to a user": {"user", options.Index().SetUnique(true)},
	} {
		t.Run(name, func(t *testing.T) {
			collection := newCollection(t, client)
			_, err := collection.Indexes().CreateOne(t.Context(), mongo.IndexModel{
				Keys: bson.D{{Key: c.field, Value: 1}}, Options: c.opts.SetName("mine"),
			})
			require.NoError(t, err)
			require.ErrorContains(t, newStore(t, collection).CreateIndexes(t.Context()), `the index "mine"`)
			require.Len(t, indexesOf(t, collection), 2, "nothing was created beside it")
		})
	}
}

func TestCreateIndexes_SaysWhatFailed(t *testing.T) {
	own := startServer(t)
	client := connect(t, own.address, options.Client().SetServerSelectionTimeout(100*time.Millisecond))
	own.kill()
	require.ErrorContains(t, newStore(t, newCollection(t, client)).CreateIndexes(t.Context()),
		"mongostore: the indexes could not be listed")
}

// The index by user is sparse: visitors, of whom there may be many, are not in it.
func TestCreateIndexes_VisitorsAreInNoList(t *testing.T) {
	collection := newCollection(t, connect(t, sharedServer(t).address))
	app := kit.New(t, session.Config{}, newStore(t, collection))
	app.Start()
	stored, err := collection.FindOne(t.Context(), bson.D{}).Raw()
	require.NoError(t, err)
	_, err = stored.LookupErr("user")
	require.ErrorIs(t, err, bsoncore.ErrElementNotFound)
}

// deleteOverdue is what MongoDB's TTL thread does once a minute.
func deleteOverdue(t *testing.T, collection *mongo.Collection, now time.Time) int64 {
	t.Helper()
	after := indexesOf(t, collection)["keepUntil_1"].Lookup("expireAfterSeconds").AsInt64()
	overdue := now.Add(-time.Duration(after) * time.Second)
	result, err := collection.DeleteMany(t.Context(), bson.D{{Key: "keepUntil", Value: bson.D{{Key: "$lte", Value: overdue}}}})
	require.NoError(t, err)
	return result.DeletedCount
}

// The server deletes nothing that the Manager may need, also if its clock is ahead, and keeps nothing for long.
func TestTTL(t *testing.T) {
	const ahead = 30 * time.Second
	for name, c := range map[string]struct {
		record *session.Record
		soon   time.Duration // after KeepUntil it is gone by then
	}{
		"a session":                       {&session.Record{IdleTimeout: 20 * time.Minute}, time.Hour + time.Minute},
		"a session without an idle limit": {&session.Record{}, time.Hour + time.Minute},
		"a tombstone":                     {&session.Record{Ended: true}, time.Minute + time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			collection := newCollection(t, connect(t, sharedServer(t).address))
			store := newIndexedStore(t, collection)
			now := time.Now().Truncate(time.Hour).Add(time.Hour + 123456*time.Microsecond)
			r := c.record
			r.ID, r.Revision, r.User, r.LastUsedAt, r.Deadline = "id", "1", "ada", now, now.Add(2*time.Hour)
			_, err := store.Swap(t.Context(), session.NewToken("id", ""), session.Swap{New: r})
			require.NoError(t, err)
			require.Zero(t, deleteOverdue(t, collection, now))
			require.Zero(t, deleteOverdue(t, collection, r.KeepUntil().Add(ahead)))
			require.EqualValues(t, 1, deleteOverdue(t, collection, r.KeepUntil().Add(c.soon)))
			_, err = store.Load(t.Context(), session.NewToken("id", ""))
			require.ErrorIs(t, err, session.ErrNotFound)
			records, err := store.UserSessions(t.Context(), "", "ada")
			require.NoError(t, err)
			require.Empty(t, records)
		})
	}
}

// Limits are the Manager's: a document that is still there opens nothing.
func TestTTL_IsNoLimit(t *testing.T) {
	app, collection := newProcesses(t).newApp(t, session.Config{})
	cookie := app.Login("ada")
	app.Clock.Advance(2 * time.Hour)
	n, err := collection.CountDocuments(t.Context(), bson.D{})
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.True(t, app.Dead(cookie))
}

// A session that is used all the time moves its entry in the index once an hour, and not at each touch.
func TestTTL_ATouchMostlyChangesNoIndex(t *testing.T) {
	collection := newCollection(t, connect(t, sharedServer(t).address))
	app := kit.New(t, session.Config{}, newStore(t, collection))
	b := app.BrowserWith(app.Start())
	dates, records := map[time.Time]bool{}, map[string]bool{}
	const touches = 40
	for range touches {
		app.Clock.Advance(3 * time.Minute) // of an idle limit of an hour
		b.Reads()
		stored, err := collection.FindOne(t.Context(), bson.D{}).Raw()
		require.NoError(t, err)
		dates[stored.Lookup("keepUntil").Time()] = true
		records[stored.Lookup("revision").String()] = true
	}
	require.Len(t, records, touches, "each was a touch")
	require.LessOrEqual(t, len(dates), 3, "in two hours")
}
