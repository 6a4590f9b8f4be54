package integration_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/mongostore"
	"github.com/doorman-go/session/tests/kit"
)

// Each command is a round trip.
func TestCost_RoundTrips(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	begin := func(s *session.Session) { s.Set("a", 1) }
	signIn := func(s *session.Session) { _ = s.Login("ada") }
	idle := func(*session.Session) {}
	read := func(s *session.Session) { s.Get("a", new(int)) }
	write := func(s *session.Session) { s.Set("a", 2) }
	for _, c := range []struct {
		name  string
		begin func(*session.Session) // makes the session that the request comes with; nil: it comes without a cookie
		wait  time.Duration          // before the request
		do    func(*session.Session)
		want  []string
	}{
		{"no cookie, read", nil, 0, read, nil},
		{"no cookie, written", nil, 0, write, []string{"update"}},
		{"no cookie, login", nil, 0, signIn, []string{"update"}},
		{"untouched", begin, 0, idle, nil},
		{"read", begin, 0, read, []string{"find"}},
		{"read, a touch due", begin, time.Minute, read, []string{"find", "update"}},
		{"read and write", begin, 0, kit.CountUp, []string{"find", "update"}},
		{"regenerate", begin, 0, kit.Regenerate, []string{"find", "update", "update"}},
		{"login", begin, 0, signIn, []string{"find", "update", "update"}},
		{"logout", signIn, 0, kit.Logout, []string{"find", "findAndModify"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := kit.New(t, kit.CostConfig, newStore(t, newCollection(t, client)))
			b := app.Browser()
			if c.begin != nil {
				b.Must(c.begin)
			}
			app.Clock.Advance(c.wait)
			require.Equal(t, append([]string{}, c.want...), namesOf(w.during(func() { b.Must(c.do) })))
		})
	}
}

func TestCost_OfAUser(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	app := kit.New(t, session.Config{MaxPerUser: 2}, newStore(t, newCollection(t, client)))
	app.Login("ada")
	app.Login("ada")
	require.Equal(t, []string{"find"}, namesOf(w.during(func() { require.Len(t, app.Listed("ada"), 2) })))
	require.Equal(t, []string{"update", "find", "findAndModify"}, namesOf(w.during(func() { app.Login("ada") })),
		"the new session, the list, and the end of the oldest")
	app.Login("grace")
	app.Login("grace")
	require.Equal(t, []string{"find", "findAndModify", "findAndModify"},
		namesOf(w.during(func() { require.Equal(t, 2, app.RevokeUser("grace")) })))
}

// What a conflict costs: the load, and the swap again.
func TestCost_OfAConflict(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	app := kit.New(t, session.Config{}, newStore(t, newCollection(t, client)))
	cookie := app.Start()
	f := app.Launch(0, cookie, "handler", kit.Act(kit.CountUp))
	app.Do(cookie, kit.CountUp)
	require.Equal(t, []string{"update", "find", "update"}, namesOf(w.during(func() { f.Land() })))
	require.Equal(t, 2, kit.Value[int](app, cookie, "counter"))
}

// carelessClient is configured for speed.
func carelessClient() *options.ClientOptions {
	return options.Client().SetWriteConcern(writeconcern.W1()).SetReadConcern(readconcern.Available()).
		SetReadPreference(readpref.SecondaryPreferred())
}

// useStore makes a call of each kind.
func useStore(t *testing.T, ctx context.Context, store *mongostore.Store) {
	now := time.Now()
	first := &session.Record{ID: "id", Revision: "1", Realm: "realm", User: "ada", Deadline: now.Add(time.Hour)}
	second := &session.Record{ID: "id", Revision: "2", Realm: "realm", User: "ada", Deadline: now.Add(time.Hour)}
	tombstone := &session.Record{ID: "id", Revision: "3", Realm: "realm", User: "ada", Deadline: now.Add(time.Minute), Ended: true}
	token := session.NewToken("id", "")
	_, err := store.Swap(ctx, token, session.Swap{New: first})
	require.NoError(t, err)
	_, err = store.Swap(ctx, token, session.Swap{Old: first, New: second})
	require.NoError(t, err)
	_, err = store.Load(ctx, token)
	require.NoError(t, err)
	records, err := store.UserSessions(ctx, "realm", "ada")
	require.NoError(t, err)
	require.Len(t, records, 1)
	_, err = store.End(ctx, tombstone)
	require.NoError(t, err)
}

// Whatever the client is configured for, writes go to a majority, and reads are as the store's options say.
func TestStore_Concerns(t *testing.T) {
	for name, c := range map[string]struct {
		opts        mongostore.Options
		write, read string
	}{
		"by default": {mongostore.Options{}, `{"w": "majority", "j": true}`, `{"level": "local"}`},
		"linearizable": {mongostore.Options{Linearizable: true}, `{"w": "majority", "j": true}`,
			`{"level": "linearizable"}`},
		"named": {mongostore.Options{WriteConcern: writeconcern.Custom("twoSites")}, `{"w": "twoSites"}`, `{"level": "local"}`},
	} {
		t.Run(name, func(t *testing.T) {
			client, w := connectWatched(t, sharedServer(t).address, carelessClient())
			store, err := mongostore.New(newCollection(t, client), c.opts)
			require.NoError(t, err)
			commands := w.during(func() { useStore(t, t.Context(), store) })
			require.Equal(t, []string{"update", "update", "find", "find", "findAndModify"}, namesOf(commands))
			for _, command := range commands {
				if nameOf(command) == "find" {
					require.JSONEq(t, c.read, command.Lookup("readConcern").String())
				} else {
					require.JSONEq(t, c.write, command.Lookup("writeConcern").String())
				}
			}
		})
	}
}

// A client may be configured to read from secondaries. Sessions are read from the primary, or not at all.
func TestStore_ReadsFromThePrimary(t *testing.T) {
	address := sharedServer(t).asSecondary(t)
	client := connect(t, address, carelessClient(), options.Client().SetReplicaSet(replicaSet).
		SetServerAPIOptions(options.ServerAPI(options.ServerAPIVersion1)).SetServerSelectionTimeout(time.Second))
	collection := newCollection(t, client)
	require.ErrorIs(t, collection.FindOne(t.Context(), bson.D{}).Err(), mongo.ErrNoDocuments, "the client reads from it")
	store := newStore(t, collection)
	_, err := store.Load(t.Context(), session.NewToken("id", ""))
	require.ErrorContains(t, err, "server selection")
	_, err = store.UserSessions(t.Context(), "", "ada")
	require.ErrorContains(t, err, "server selection")
}

// A handler's context may carry a transaction. What becomes of a session must not depend on what becomes of that.
func TestStore_NotInTheApplicationsTransaction(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	store := newStore(t, newCollection(t, client))
	own, err := client.StartSession()
	require.NoError(t, err)
	defer own.EndSession(t.Context())
	require.NoError(t, own.StartTransaction())
	commands := w.during(func() { useStore(t, mongo.NewSessionContext(t.Context(), own), store) })
	require.Len(t, commands, 5)
	for _, command := range commands {
		require.NotEqual(t, own.ID().String(), command.Lookup("lsid").String(), nameOf(command))
		_, err := command.LookupErr("startTransaction")
		require.Error(t, err, nameOf(command))
	}
}

// typesIn returns the types of all values in a document that are compared, $in's included.
func typesIn(document bson.Raw) (types []bson.Type) {
	elements, _ := document.Elements()
	for _, e := range elements {
		switch v := e.Value(); v.Type {
		case bson.TypeEmbeddedDocument:
			types = append(types, typesIn(v.Document())...)
		case bson.TypeArray:
			types = append(types, typesIn(bson.Raw(v.Array()))...)
		default:
			types = append(types, v.Type)
		}
	}
	return types
}

// A collection may have a collation, by which Ada and ada are one. It is for texts, so nothing stored or asked for is one.
func TestStore_NoCollationApplies(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	collection := newCollection(t, client)
	allowed := []bson.Type{bson.TypeBinary, bson.TypeBoolean, bson.TypeDateTime}
	filters := 0
	for _, command := range w.during(func() { useStore(t, t.Context(), newStore(t, collection)) }) {
		asked := []string{"filter", "query"}
		if nameOf(command) == "update" {
			command, asked = command.Lookup("updates", "0").Document(), []string{"q"}
		}
		for _, field := range asked {
			if filter, ok := command.Lookup(field).DocumentOK(); ok {
				filters++
				require.Subset(t, allowed, typesIn(filter), command.String())
			}
		}
	}
	require.Equal(t, 5, filters)
	stored, err := collection.FindOne(t.Context(), bson.D{}).Raw()
	require.NoError(t, err)
	require.Subset(t, allowed, typesIn(stored), stored.String())
}

// A dump of the collection holds nothing that can be sent as a cookie.
func TestGuarantee14_NoTokenInTheCollection(t *testing.T) {
	app, collection := newProcesses(t).newApp(t, session.Config{})
	cookie := app.Login("ada")
	cursor, err := collection.Find(t.Context(), bson.D{})
	require.NoError(t, err)
	var documents []bson.Raw
	require.NoError(t, cursor.All(t.Context(), &documents))
	require.Len(t, documents, 1)
	for _, field := range must(documents[0].Elements()) {
		_, data, _ := field.Value().BinaryOK()
		require.Empty(t, kit.Leaks(string(data), cookie), field.Key())
	}
	require.True(t, slices.ContainsFunc(must(documents[0].Values()), func(v bson.RawValue) bool {
		_, data, _ := v.BinaryOK()
		return strings.Contains(string(data), "ada")
	}), "it is the record that was looked into")
}

func must[T any](v T, err error) T { return kit.Must(v, err) }
