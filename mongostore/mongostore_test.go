package mongostore_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/mongostore"
)

// Tests that need a server are in the folder integration, a module of its own.

// absent returns a collection whose server is not there.
func absent(t *testing.T) *mongo.Collection {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1").SetServerSelectionTimeout(50 * time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Disconnect(t.Context()) })
	return client.Database("app").Collection("sessions")
}

func TestNew_ChecksItsOptions(t *testing.T) {
	no := false
	for name, c := range map[string]struct {
		concern *writeconcern.WriteConcern
		want    string // in the error; "" for none
	}{
		"the default":           {nil, ""},
		"majority":              {writeconcern.Majority(), ""},
		"named":                 {writeconcern.Custom("twoSites"), ""},
		"one member":            {writeconcern.W1(), "w: 1"},
		"two members":           {&writeconcern.WriteConcern{W: 2}, "w: 2"},
		"unacknowledged":        {writeconcern.Unacknowledged(), "w: 0"},
		"the server's default":  {&writeconcern.WriteConcern{}, "w: <nil>"},
		"a journal only":        {writeconcern.Journaled(), "w: <nil>"},
		"an empty name":         {writeconcern.Custom(""), "w: "},
		"a number as text type": {&writeconcern.WriteConcern{W: 1.5}, "w: 1.5"},
		"without a journal":     {&writeconcern.WriteConcern{W: "majority", Journal: &no}, "j: false"},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := mongostore.New(absent(t), mongostore.Options{WriteConcern: c.concern})
			if c.want == "" {
				require.NoError(t, err)
				require.Equal(t, "mongostore(app.sessions)", store.String())
				return
			}
			require.ErrorContains(t, err, c.want)
			require.Nil(t, store)
		})
	}
	_, err := mongostore.New(nil, mongostore.Options{})
	require.ErrorContains(t, err, "nil")
}

// What MongoDB would refuse is refused before anything is sent, with the error of a session that is too large.
func TestStore_RefusesWhatMongoDBDoes(t *testing.T) {
	store, err := mongostore.New(absent(t), mongostore.Options{})
	require.NoError(t, err)
	small := &session.Record{ID: "small", Revision: "1", Deadline: time.Now().Add(time.Hour)}
	large := *small
	large.ID = "large"
	value := json.RawMessage(`"` + string(bytes.Repeat([]byte("x"), 16<<20)) + `"`)
	large.Values = session.NewValues(map[string]json.RawMessage{"large": value})
	_, err = store.Swap(t.Context(), session.NewToken("small", ""), session.Swap{New: small}, session.Swap{New: &large})
	require.ErrorIs(t, err, session.ErrTooLarge)
	_, err = store.End(t.Context(), &large)
	require.ErrorIs(t, err, session.ErrTooLarge)
}

// A server that is not there is a store's failure: nothing is "not found", and nothing a conflict.
func TestStore_WithoutAServer(t *testing.T) {
	store, err := mongostore.New(absent(t), mongostore.Options{})
	require.NoError(t, err)
	r := &session.Record{ID: "id", Revision: "1", Deadline: time.Now().Add(time.Hour)}
	token := session.NewToken("id", "")
	var conflict *session.ConflictError

	_, err = store.Load(t.Context(), token)
	require.Error(t, err)
	require.NotErrorIs(t, err, session.ErrNotFound)
	_, err = store.Swap(t.Context(), token, session.Swap{New: r})
	require.Error(t, err)
	require.NotErrorAs(t, err, &conflict)
	_, err = store.End(t.Context(), r)
	require.Error(t, err)
	require.NotErrorAs(t, err, &conflict)
	_, err = store.UserSessions(t.Context(), "", "ada")
	require.Error(t, err)
}
