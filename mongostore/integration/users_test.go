package integration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

func TestUsers_ListAndRevoke(t *testing.T) {
	app, _ := newProcesses(t).newApp(t, session.Config{})
	app.Start()
	first, second, other := app.Login("ada"), app.Login("ada"), app.Login("grace")
	require.Len(t, app.Listed("ada"), 2)
	require.NoError(t, app.Last().Manager.Revoke(context.Background(), "ada", app.Look(first).ID))
	require.True(t, app.Dead(first))
	require.Len(t, app.Listed("ada"), 1)
	third := app.Login("ada")
	require.Equal(t, 1, app.RevokeUser("ada", app.Look(third).ID))
	require.True(t, app.Dead(second))
	require.Equal(t, "ada", app.User(third))
	require.Equal(t, "grace", app.User(other))
	require.ErrorIs(t, app.Manager().Revoke(context.Background(), "ada", app.Look(other).ID), session.ErrNotFound)
	require.Len(t, app.Live(), 3)
}

func TestUsers_MaxPerUser(t *testing.T) {
	app, _ := newProcesses(t).newApp(t, session.Config{MaxPerUser: 2})
	oldest := app.Login("ada")
	app.Clock.Advance(time.Second)
	second := app.Login("ada")
	app.Clock.Advance(time.Second)
	third := app.Login("ada")
	require.True(t, app.Dead(oldest))
	require.Equal(t, "ada", app.User(second))
	require.Equal(t, "ada", app.User(third))
	require.Len(t, app.Listed("ada"), 2)
	require.Equal(t, 1, app.Count(session.EventEvicted))
}

// Names that differ by case, white space, accents or length only are different users, and so are realms.
func TestUsers_NamesAreComparedByteByByte(t *testing.T) {
	p := newProcesses(t)
	app, collection := p.newApp(t, session.Config{})
	long := strings.Repeat("u", 1023)
	names := []string{"ada", "Ada", "ada ", "ad\u00e4", "ada\u0308", "$ada", "a.da", "ada\x00", long + "a", long + "b"}
	for _, name := range names {
		app.Login(name)
	}
	elsewhere := kit.New(t, session.Config{Realm: "elsewhere"}, newStore(t, on(p.second, collection)))
	elsewhere.Login("ada")
	for _, name := range names {
		require.Len(t, app.Listed(name), 1, "%q", name)
	}
	require.Equal(t, 1, elsewhere.RevokeUser("ada"))
	for i, name := range names {
		require.Equal(t, 1, app.RevokeUser(name), "%q", name)
		require.Len(t, app.Live(), len(names)-i-1)
	}
}

// A list is whole, and one round trip, beyond MongoDB's first batch of 101.
func TestUsers_ManySessions(t *testing.T) {
	client, w := connectWatched(t, sharedServer(t).address)
	store := newIndexedStore(t, newCollection(t, client))
	const sessions = 150
	for i := range sessions {
		id := fmt.Sprint("id", i)
		r := &session.Record{ID: id, Revision: "1", User: "ada", Deadline: time.Now().Add(time.Hour)}
		_, err := store.Swap(t.Context(), session.NewToken(id, ""), session.Swap{New: r})
		require.NoError(t, err)
	}
	commands := w.during(func() {
		records, err := store.UserSessions(t.Context(), "", "ada")
		require.NoError(t, err)
		require.Len(t, records, sessions)
	})
	require.Equal(t, []string{"find"}, namesOf(commands))
}

// A Manager goes through all its sessions, those of visitors included, and ends them; those of other realms stay.
func TestUsers_EachAndRevokeAll(t *testing.T) {
	p := newProcesses(t)
	app, collection := p.newApp(t, session.Config{})
	elsewhere := kit.New(t, session.Config{Realm: "elsewhere"}, newStore(t, on(p.second, collection)))
	other := elsewhere.Login("ada")
	const users = 5
	for i := range users {
		app.Login(fmt.Sprint("user ", i))
	}
	app.Start()
	seen := 0
	for info, err := range app.Manager().Each(t.Context()) {
		require.NoError(t, err)
		require.NotEmpty(t, info.ID)
		seen++
	}
	require.Equal(t, users+1, seen)
	ended, err := app.Manager().RevokeAll(t.Context())
	require.NoError(t, err)
	require.Equal(t, users+1, ended)
	for range app.Manager().Each(t.Context()) {
		t.Fatal("all have ended")
	}
	require.Equal(t, "ada", elsewhere.User(other))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range app.Manager().Each(ctx) {
		require.Error(t, err)
	}
}
