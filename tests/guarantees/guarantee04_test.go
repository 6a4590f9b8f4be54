//go:build !noservers

package guarantees_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// Login starts a session whatever has come into the place of the old one, in one slot and in several.
func TestGuarantee04_LoginOverAForeignRecord(t *testing.T) {
	server := redistest.Start(t)
	client := kit.RedisClient(t, server)
	for name, store := range map[string]session.Store{
		"one slot":      kit.RedisOn(t, client, session.RedisOptions{}),
		"several slots": kit.RedisOn(t, kit.Across{UniversalClient: client}, session.RedisOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, store)
			old := app.Login("ada")
			key := "session:" + app.Look(old).ID
			f := app.Launch(0, old, "swap", kit.Act(func(s *session.Session) { _ = s.Login("grace", "cart") }))
			require.NoError(t, client.Del(t.Context(), key).Err())
			require.NoError(t, client.Set(t.Context(), key, "text", 0).Err())
			b := app.BrowserWith(old)
			resp := f.Land()
			require.Equal(t, http.StatusOK, resp.StatusCode)
			b.Receive(resp)
			require.Equal(t, kit.Look{ID: app.Look(b.Cookie).ID, User: "grace"}, app.Look(b.Cookie))
		})
	}
}

func TestGuarantee04_NoLogOutByAccident(t *testing.T) {
	for _, e := range []string{"regenerate", "login", "logout", "revocation", "revocation of the user"} {
		t.Run(e, func(t *testing.T) {
			kit.EachStore(t, session.Config{}, func(app *kit.App) { lateRequests(app, e) })
		})
	}
}

// lateRequests makes requests with the ID of a session that ended a moment ago.
func lateRequests(app *kit.App, name string) {
	old := app.Login("ada")
	id := app.Look(old).ID
	for _, e := range enders(kit.Backing{}) {
		if e.name == name {
			e.run(app, old, id)
		}
	}
	left := len(app.Live())
	for _, r := range racers() {
		if (r.name == "Destroy" || r.name == "Login") && name == "regenerate" {
			continue // which end the session under its new ID too: TestGuarantee02_NoResurrection
		}
		left += lateRequest(app, old, r, name)
	}
	require.Len(app.T, app.Live(), left)
	app.Do(old, func(s *session.Session) { require.ErrorIs(app.T, s.Regenerate(), session.ErrSessionEnded) })
}

// lateRequest returns how many sessions it begins.
func lateRequest(app *kit.App, old string, r racer, end string) int {
	resp := app.Do(old, r.do)
	b := app.Browser()
	b.Receive(resp)
	switch {
	case r.name == "Login":
		require.Equal(app.T, "ada", app.User(b.Cookie), "Login always starts a session")
		return 1
	case strings.HasPrefix(end, "revocation") && r.begins():
		require.Equal(app.T, http.StatusOK, resp.StatusCode, r.name)
		require.NotEmpty(app.T, b.Cookie, "the browser was given nothing in its place, so it is a visitor's")
		return 1
	}
	status := http.StatusOK
	if r.sets && r.name != "Regenerate" && !strings.HasPrefix(end, "revocation") { // Regenerate told the handler
		status = http.StatusConflict
	}
	require.Equal(app.T, status, resp.StatusCode, r.name)
	require.Empty(app.T, resp.Cookies(), r.name)
	return 0
}

func TestGuarantee04_TombstoneIsForAMinute(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	old := app.Login("ada")
	app.Do(old, kit.Logout)
	set := func(s *session.Session) { s.Set("cart", "tea") }
	app.Clock.Advance(time.Minute - time.Microsecond)
	require.Equal(t, http.StatusConflict, app.Do(old, set).StatusCode)
	app.Clock.Advance(time.Microsecond)
	resp := app.Do(old, set)
	require.Equal(t, http.StatusOK, resp.StatusCode, "then it is an unknown cookie like any other")
	require.Len(t, resp.Cookies(), 1)
}

// A response that is on its way while another request changes the ID arrives last: the browser stays where it is, for
// the response has no cookie. Of sealed cookies it does not hold, since a use of one may seal it again.
func TestGuarantee04_AnsweredBeforeArrivedAfter(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		_, sealed := app.Store().Inner().(*session.CookieStore)
		for _, next := range []func(*session.Session){kit.Regenerate, kit.LoginAda} {
			for _, r := range racers() {
				if r.alone() {
					continue // these were what changed the ID, and first
				}
				b := app.BrowserWith(app.Login("ada"))
				if r.touch {
					app.Clock.Advance(10 * time.Minute)
				}
				answered := app.Do(b.Cookie, r.do)
				b.Receive(app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(next)))
				b.Receive(answered)
				if sealed && len(answered.Cookies()) > 0 {
					require.True(app.T, app.Dead(b.Cookie), "documented: signed out, and not back in the session that ended")
					continue
				}
				require.Empty(app.T, answered.Cookies(), r.name)
				require.Equal(app.T, "ada", app.User(b.Cookie), r.name)
			}
		}
	})
}

// What a response with a cookie does that arrives after the one with the new ID is documented: the browser is signed out.
func TestGuarantee04_AnsweredBeforeArrivedAfter_AsDocumented(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		answered := app.Do(b.Cookie, func(s *session.Session) { s.SetPersistent(true) })
		require.Len(app.T, answered.Cookies(), 1)
		b.Receive(app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(kit.Regenerate)))
		b.Receive(answered)
		require.True(app.T, app.Dead(b.Cookie))
	})
}

// What Save has done is done: a later failure answers with its error, and the browser still gets the session's cookie.
func TestGuarantee04_FailureAfterSave(t *testing.T) {
	app := newPages(t)
	b := app.BrowserOf(app.Pages(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		require.NoError(t, s.Login("ada"))
		require.NoError(t, s.Save(r.Context()))
		w.Header().Set("X-Leak", "1")
		s.Set("broken", func() {})
	}))
	b.Get("/seed")
	answer := b.Get("/")
	require.Equal(t, 500, answer.Code)
	require.Empty(t, answer.Header().Get("X-Leak"))
	require.Equal(t, "ada[]", b.Get("/read").Body.String(), "the login was saved, so it must reach the browser")
}
