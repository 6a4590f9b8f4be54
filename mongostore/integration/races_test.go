package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

// processes are two clients of one server, as two processes have them.
type processes struct{ first, second *mongo.Client }

func newProcesses(t *testing.T) processes {
	address := sharedServer(t).address
	return processes{connect(t, address), connect(t, address)}
}

// newApp returns an application of two processes whose collection is empty.
func (p processes) newApp(t *testing.T, cfg session.Config) (*kit.App, *mongo.Collection) {
	collection := newCollection(t, p.first)
	return kit.New(t, cfg, newIndexedStore(t, collection), newStore(t, on(p.second, collection))), collection
}

// many requests of one session have all loaded it before the first one commits.
const many = 200

func together(app *kit.App, cookie string, do func(i int, s *session.Session)) {
	var loaded, done sync.WaitGroup
	loaded.Add(many)
	for i := range many {
		done.Go(func() {
			resp := app.Request(i%len(app.Nodes), cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Has("loads it")
				loaded.Done()
				loaded.Wait()
				do(i, s)
			})
			if resp.StatusCode != http.StatusOK || len(resp.Cookies()) > 0 {
				app.T.Errorf("request %d: %s %v", i, resp.Status, resp.Header)
			}
		})
	}
	done.Wait()
}

func TestGuarantee03_200WritersOfTwoProcesses(t *testing.T) {
	app, _ := newProcesses(t).newApp(t, session.Config{})
	cookie := app.Login("ada")
	together(app, cookie, func(i int, s *session.Session) { s.Set(fmt.Sprint("key", i), i) })
	require.Len(t, app.Look(cookie).Keys, many+1) // and the cart
}

func TestGuarantee03_200UpdatesOfTwoProcesses(t *testing.T) {
	app, _ := newProcesses(t).newApp(t, session.Config{})
	cookie := app.Login("ada")
	together(app, cookie, func(_ int, s *session.Session) { kit.CountUp(s) })
	require.Equal(t, many, kit.Value[int](app, cookie, "counter"))
}

// Requests that come one after the other from both processes, without a queue between them, lose nothing either.
func TestGuarantee03_AnUpdateOvertakenByAnother(t *testing.T) {
	app, _ := newProcesses(t).newApp(t, session.Config{})
	for name, slow := range map[string]func(*session.Session){
		"update":     kit.CountUp,
		"regenerate": func(s *session.Session) { kit.CountUp(s); kit.Regenerate(s) },
		"login":      func(s *session.Session) { kit.CountUp(s); _ = s.Login("ada", "counter") },
	} {
		b := app.BrowserWith(app.Start())
		late, first := app.Overtaken(b.Cookie, slow, kit.CountUp)
		b.Receive(first, late)
		require.Equal(t, http.StatusOK, late.StatusCode, name)
		require.Equal(t, 2, kit.Value[int](app, b.Cookie, "counter"), name)
	}
}

// Each Swap is sent twice, as a client does whose reply was lost.
func TestGuarantee03_SentTwice(t *testing.T) {
	app, _ := newProcesses(t).newApp(t, session.Config{})
	for _, n := range app.Nodes {
		n.Store.SendTwice()
	}
	b := app.Browser()
	for i, do := range []func(*session.Session){
		func(s *session.Session) { s.Set("cart", "tea") },
		kit.CountUp,
		kit.Regenerate,
		func(s *session.Session) { _ = s.Login("ada", "cart", "counter"); s.Flash("info", "once") },
		func(s *session.Session) { kit.CountUp(s); _ = s.Regenerate() },
	} {
		resp := app.Do(b.Cookie, do)
		require.Equal(t, http.StatusOK, resp.StatusCode, "change %d", i)
		b.Receive(resp)
	}
	require.Equal(t, 2, kit.Value[int](app, b.Cookie, "counter"))
	require.Len(t, app.Live(), 1)
	var flashes []session.Flash
	app.Do(b.Cookie, func(s *session.Session) { flashes = s.Flashes() })
	require.Equal(t, []session.Flash{{Category: "info", Message: "once"}}, flashes)
}

// ender ends the session that a request in flight has loaded, at the other process.
type ender struct {
	name string
	run  func(app *kit.App, cookie, id string) *http.Response // nil: no browser's doing
	next bool                                                 // a session of the same user goes on under a new ID
}

func byBrowser(do func(*session.Session)) func(*kit.App, string, string) *http.Response {
	return func(app *kit.App, cookie, _ string) *http.Response {
		return app.Request(len(app.Nodes)-1, cookie, kit.Act(do))
	}
}

func byServer(do func(app *kit.App, id string) error) func(*kit.App, string, string) *http.Response {
	return func(app *kit.App, _, id string) *http.Response {
		require.NoError(app.T, do(app, id))
		return nil
	}
}

func enders() []ender {
	return []ender{
		{"logout", byBrowser(kit.Logout), false},
		{"regenerate", byBrowser(kit.Regenerate), true},
		{"login", byBrowser(kit.LoginAda), true},
		{"revocation", byServer(func(app *kit.App, id string) error {
			return app.Last().Manager.Revoke(context.Background(), "ada", id)
		}), false},
		{"revocation of the user", byServer(func(app *kit.App, _ string) error {
			_, err := app.Last().Manager.RevokeUser(context.Background(), "ada")
			return err
		}), false},
		{"end in the store", byServer(func(app *kit.App, id string) error {
			_, err := app.Last().Store.Inner().(session.Ender).End(app.Context(), app.Tombstone(id, "ada"))
			return err
		}), false},
		{"expiry", byServer(func(app *kit.App, _ string) error { app.Clock.Advance(25 * time.Hour); return nil }), false},
	}
}

// racer is a request in flight meanwhile.
type racer struct {
	name  string
	do    func(*session.Session)
	sets  bool // something would be lost: 409
	touch bool // by its time, the use is to be noted
	at    []string
}

func racers() []racer {
	both := []string{"handler", "swap"}
	return []racer{
		{"reader", func(*session.Session) {}, false, false, both[:1]},
		{"toucher", func(*session.Session) {}, false, true, both},
		{"Set", func(s *session.Session) { s.Set("new", 1) }, true, false, both},
		{"Update", kit.CountUp, true, false, both},
		{"Flash", func(s *session.Session) { s.Flash("info", "saved") }, true, false, both},
		{"Delete", func(s *session.Session) { s.Delete("cart") }, false, false, both},
		{"Regenerate", kit.Regenerate, true, false, both},
		{"Login", kit.LoginAda, false, false, both},
		{"Destroy", kit.Logout, false, false, []string{"handler", "end"}},
	}
}

// Whatever is under way while a session ends, at another process, brings it not back.
func TestGuarantee02_NoResurrection(t *testing.T) {
	p := newProcesses(t)
	for _, e := range enders() {
		for _, r := range racers() {
			for _, at := range r.at {
				if at == "swap" && e.name == "expiry" {
					continue // no call of a store takes as long as that
				}
				t.Run(fmt.Sprintf("%s/%s held at its %s", e.name, r.name, at), func(t *testing.T) {
					app, _ := p.newApp(t, session.Config{})
					race(app, e, r, at)
				})
			}
		}
	}
}

func race(app *kit.App, e ender, r racer, at string) {
	old := app.Login("ada")
	id := app.Look(old).ID
	if r.touch {
		app.Clock.Advance(10 * time.Minute)
	}
	f := app.Launch(0, old, at, kit.Act(r.do))
	ended := e.run(app, old, id)
	late := f.Land()

	wantStatus := http.StatusOK
	if r.sets {
		wantStatus = http.StatusConflict
	}
	require.Equal(app.T, wantStatus, late.StatusCode)
	b := app.BrowserWith(old)
	if ended != nil {
		b.Receive(ended)
	}
	kept := b.Cookie
	b.Receive(late)
	switch {
	case r.name == "Login":
		require.Equal(app.T, kit.Look{ID: app.Look(b.Cookie).ID, User: "ada"}, app.Look(b.Cookie), "always a new session, and empty")
	case r.name == "Destroy" && (e.name == "regenerate" || e.name == "expiry"):
		require.Empty(app.T, b.Cookie, "signed out means signed out")
	default:
		require.Equal(app.T, kept, b.Cookie, "a late response must not move the browser")
	}
	require.True(app.T, app.Dead(old), "the old cookie must open nothing")
	require.Len(app.T, app.Live(), liveAfter(e, r), "sessions left")
	require.Len(app.T, app.Listed("ada"), liveAfter(e, r), "and listed")
}

// liveAfter returns how many sessions are to be left.
func liveAfter(e ender, r racer) (n int) {
	if e.next {
		n++
	}
	if r.name == "Login" {
		n++
	}
	if (r.name == "Destroy" || r.name == "Login") && e.name == "regenerate" { // they end the session under its new ID too
		n--
	}
	return n
}

// MongoDB's documents can vanish: a collection is dropped, a backup restored. A request in flight does not bring one back.
func TestGuarantee02_NoResurrection_OfWhatIsGone(t *testing.T) {
	p := newProcesses(t)
	for _, r := range racers() {
		if r.name == "Login" || r.name == "Destroy" {
			continue // they need nothing to be there
		}
		app, collection := p.newApp(t, session.Config{})
		old := app.Login("ada")
		if r.touch {
			app.Clock.Advance(10 * time.Minute)
		}
		f := app.Launch(0, old, "handler", kit.Act(r.do))
		_, err := collection.DeleteMany(t.Context(), bson.D{})
		require.NoError(t, err)
		require.Empty(t, f.Land().Cookies(), r.name)
		require.True(t, app.Dead(old), r.name)
		require.Empty(t, app.Live(), r.name)
	}
}

// between has something happen between the two changes of a new ID: when the tombstone has been put, and the new session is
// about to be created.
func between(w *watch, happen func()) {
	var once sync.Once
	w.setGate(func(command bson.Raw) {
		if nameOf(command) == "update" && strings.Contains(command.String(), `"upsert": true`) {
			once.Do(happen)
		}
	})
}

// Several swaps are made one by one. An end that comes between the two ends the session that is about to be created.
func TestGuarantee02_EndedBetweenTheSwaps(t *testing.T) {
	address := sharedServer(t).address
	for name, end := range map[string]func(app *kit.App, old, id string){
		"RevokeUser": func(app *kit.App, _, _ string) { app.RevokeUser("ada") },
		"Revoke": func(app *kit.App, _, id string) {
			require.NoError(app.T, app.Last().Manager.Revoke(context.Background(), "ada", id))
		},
		"logout": func(app *kit.App, old, _ string) {
			require.Equal(app.T, http.StatusOK, app.Request(1, old, kit.Act(kit.Logout)).StatusCode)
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, w := connectWatched(t, address)
			app, _ := processes{client, connect(t, address)}.newApp(t, session.Config{})
			b := app.BrowserWith(app.Login("ada"))
			old, id := b.Cookie, app.Look(b.Cookie).ID
			happened := false
			between(w, func() { happened = true; end(app, old, id) })
			resp := app.Do(old, kit.Regenerate)
			w.setGate(nil)
			require.True(t, happened)
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			b.Receive(resp)
			require.True(t, app.Dead(old))
			require.True(t, app.Dead(b.Cookie), "the new ID was ended before it was created")
			require.Empty(t, app.Live())
			require.Empty(t, app.Listed("ada"))
		})
	}
}

// An End that finds nothing, and a session that is created before its insert: End goes back, and ends it.
func TestStore_EndOfASessionThatIsCreatedMeanwhile(t *testing.T) {
	server := sharedServer(t)
	client, w := connectWatched(t, server.address)
	collection := newCollection(t, client)
	store := newStore(t, collection)
	start := time.Now().Truncate(time.Microsecond)
	created := &session.Record{ID: "id", Revision: "1", User: "ada", Deadline: start.Add(time.Hour)}
	tombstone := &session.Record{ID: "id", Revision: "2", User: "ada", Deadline: start.Add(time.Minute), Ended: true}

	// FerretDB lets nothing in between its look and its insert, as the front has it. What MongoDB answers then is the answer
	// that FerretDB gives where a tombstone is; and at the second look there is the session.
	_, err := store.Swap(t.Context(), session.NewToken("id", ""), session.Swap{New: tombstone})
	require.NoError(t, err)
	w.setGate(func(command bson.Raw) {
		if nameOf(command) != "find" {
			return
		}
		w.setGate(nil)
		other := newStore(t, on(connect(t, server.address), collection))
		_, err := other.Swap(context.Background(), session.NewToken("id", ""), session.Swap{Old: tombstone, New: created})
		if err != nil {
			t.Error(err)
		}
	})
	again := *tombstone
	again.Revision = "3"
	replaced, err := store.End(t.Context(), &again)
	require.NoError(t, err)
	require.Equal(t, "1", replaced.Revision)
	r, err := store.Load(t.Context(), session.NewToken("id", ""))
	require.NoError(t, err)
	require.Equal(t, "3", r.Revision)
}
