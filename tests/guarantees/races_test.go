package guarantees_test

import (
	"context"
	"net/http"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// An ender ends the session that a request in flight has loaded.
type ender struct {
	name string
	run  func(app *kit.App, cookie, id string) *http.Response // nil: no browser's doing
	next bool                                                 // a session of the same user goes on under a new ID
}

func byBrowser(do func(*session.Session)) func(app *kit.App, cookie, id string) *http.Response {
	return func(app *kit.App, cookie, _ string) *http.Response {
		return app.Request(len(app.Nodes)-1, cookie, kit.Act(do))
	}
}

func byServer(do func(app *kit.App, id string) error) func(app *kit.App, cookie, id string) *http.Response {
	return func(app *kit.App, _, id string) *http.Response {
		require.NoError(app.T, do(app, id))
		return nil
	}
}

func enders(b kit.Backing) []ender {
	all := []ender{
		{"logout", byBrowser(kit.Logout), false},
		{"regenerate", byBrowser(kit.Regenerate), true},
		{"login", byBrowser(kit.LoginAda), true},
		{"revocation", byServer(func(app *kit.App, id string) error { return app.Last().Manager.Revoke(context.Background(), "ada", id) }), false},
		{"revocation of the user", byServer(func(app *kit.App, _ string) error {
			_, err := app.Last().Manager.RevokeUser(context.Background(), "ada")
			return err
		}), false},
		{"absolute expiry", byServer(func(app *kit.App, _ string) error { app.Clock.Advance(25 * time.Hour); return nil }), false},
	}
	if !b.Sealed { // nothing to flush, and a request that came in time is a use of the session
		all = append(all,
			ender{"end in the store", byServer(endInStore), false},
			ender{"idle expiry", byServer(func(app *kit.App, _ string) error { app.Clock.Advance(time.Hour); return nil }), false},
			ender{"FLUSHALL", byServer(func(app *kit.App, _ string) error { b.Flush(app); return nil }), false})
	}
	return all
}

// endInStore ends a session of ada's as another program would that shares the store.
func endInStore(app *kit.App, id string) error {
	_, err := app.Last().Store.Inner().(session.Ender).End(app.Context(), app.Tombstone(id, "ada"))
	return err
}

// A racer is a request in flight meanwhile.
type racer struct {
	name  string
	do    func(*session.Session)
	sets  bool // something would be lost: 409
	at    []string
	touch bool // by its time, the use is to be noted
}

// begins reports whether a visitor who does it gets a session.
func (r racer) begins() bool {
	return r.name == "Set" || r.name == "Update" || r.name == "Flash" || r.name == "Login"
}

// alone reports whether its commit goes alone. Others of its session, held at their swap, hold up those that come after.
func (r racer) alone() bool {
	return r.name == "Regenerate" || r.name == "Login" || r.name == "Destroy"
}

func racers() []racer {
	both := []string{"handler", "swap"}
	return []racer{
		{"reader", func(*session.Session) {}, false, both[:1], false},
		{"toucher", func(*session.Session) {}, false, both, true},
		{"Set", func(s *session.Session) { s.Set("new", 1) }, true, both, false},
		{"Update", kit.CountUp, true, both, false},
		{"Flash", func(s *session.Session) { s.Flash("info", "saved") }, true, both, false},
		{"SetNote", func(s *session.Session) { s.SetNote("phone") }, true, both, false},
		{"Regenerate", kit.Regenerate, true, both, false},
		{"Login", kit.LoginAda, false, both, false},
		{"Destroy", kit.Logout, false, []string{"handler", "end"}, false},
		{"Delete", func(s *session.Session) { s.Delete("cart") }, false, both, false},
		{"Pop", func(s *session.Session) { session.Key[string]("cart").Pop(s) }, false, both, false},
		{"Clear", func(s *session.Session) { s.Clear() }, false, both, false},
		{"Flashes", func(s *session.Session) { s.Flashes() }, false, both, false},
	}
}
