package traces_test

import (
	"net/http"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// withSealed adds sealed cookies with a list of what has ended. Flights stop at the list, too.
func withSealed() []backing {
	open := func(tb testing.TB) session.Store {
		list := kit.NewStore(session.NewMemoryStore())
		return kit.Sealed(tb, kit.SecretOne).WithRevocations(list.Front())
	}
	return append(withRedis(), backing{"sealed with a list", false, false, open})
}

// A login with the cookie of a revoked session takes the tombstone over with its own. A late request with the old cookie
// is then no visitor's, whose new cookie would push the browser off its login.
func TestTrace07_ALoginTakesARevokedTombstoneOver(t *testing.T) {
	revoke := func(t *testing.T, app *kit.App, id string) {
		require.NoError(t, app.Last().Manager.Revoke(t.Context(), "ada", id))
	}
	for name, login := range map[string]func(t *testing.T, app *kit.App, cookie, id string) *http.Response{
		"which it loads": func(t *testing.T, app *kit.App, cookie, id string) *http.Response {
			revoke(t, app, id)
			return app.Do(cookie, kit.LoginAda)
		},
		"which it meets at the commit": func(t *testing.T, app *kit.App, cookie, id string) *http.Response {
			f := app.Launch(0, cookie, "swap", kit.Act(kit.LoginAda))
			revoke(t, app, id)
			return f.Land()
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, withSealed(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
				b := app.BrowserWith(app.Login("ada"))
				old := b.Cookie
				resp := login(t, app, old, app.Look(old).ID)
				require.Equal(t, http.StatusOK, resp.StatusCode)
				b.Receive(resp)
				require.Equal(t, "ada", app.User(b.Cookie))

				late := app.Request(1, old, kit.Act(func(s *session.Session) { s.Flash("error", "sign in first") }))
				require.Equal(t, http.StatusConflict, late.StatusCode)
				require.Empty(t, late.Cookies())
				b.Receive(late)
				require.Equal(t, "ada", app.User(b.Cookie))
			})
		})
	}
}

// A logout that comes late, with the ID from before a Regenerate, ends what the session goes on as, and removes the cookie.
func TestTrace08_ALateLogoutEndsTheSuccessor(t *testing.T) {
	each(t, withSealed(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		for _, stop := range []string{"load", "handler", "swap", "end"} {
			b := app.BrowserWith(app.Login("ada"))
			f, landed := app.Send(0, b.Cookie, stop, kit.Act(kit.Logout))
			if landed { // this store has no such step
				f.Land()
				continue
			}
			b.Receive(app.Request(1, b.Cookie, kit.Act(kit.Regenerate)))
			successor := b.Cookie
			require.Equal(t, "ada", app.User(successor))
			resp := f.Land()
			require.Equal(t, http.StatusOK, resp.StatusCode)
			b.Receive(resp)
			require.Empty(t, b.Cookie, "the cookie is removed, late at its %s", stop)
			require.True(t, app.Dead(successor), "late at its %s", stop)
			require.Empty(t, app.Live(), stop)
		}
	})
}

// The same where the Regenerate is halfway: a successor that is not there yet can't begin any more.
func TestTrace08_ALateLogoutIsThereBeforeTheSuccessor(t *testing.T) {
	for _, b := range withRedis() {
		if b.atomic || b.name == "redis, several slots" { // whose steps are not stopped in between
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			store := b.open(t)
			app := kit.New(t, session.Config{}, store, store)
			cookie := app.Login("ada")
			late := app.Launch(1, cookie, "handler", kit.Act(kit.Logout))
			f := app.Launch(0, cookie, "between", kit.Act(kit.Regenerate))
			require.Equal(t, http.StatusOK, late.Land().StatusCode)
			resp := f.Land()
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			require.Empty(t, resp.Cookies())
			require.Empty(t, app.Live())
		})
	}
}

// Where a Login took over, the same logout ends nothing and removes no cookie: the browser has that of the login.
func TestTrace08_ALateLogoutLeavesALoginAlone(t *testing.T) {
	each(t, withSealed(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		for _, stop := range []string{"load", "handler", "swap", "end"} {
			b := app.BrowserWith(app.Login("ada"))
			f, landed := app.Send(0, b.Cookie, stop, kit.Act(kit.Logout))
			if landed {
				f.Land()
				continue
			}
			b.Receive(app.Request(1, b.Cookie, kit.Act(kit.LoginAda)))
			resp := f.Land()
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Empty(t, resp.Cookies(), "late at its %s", stop)
			b.Receive(resp)
			require.Equal(t, "ada", app.User(b.Cookie))
		}
	})
}

// A login whose answer was lost is sent again and meets a revocation of its own session. It does not begin another one:
// the handler has been told this ID.
func TestTrace09_ALoginThatMeetsItsOwnRevocationBeginsNothing(t *testing.T) {
	for _, before := range []bool{false, true} {
		for _, how := range endings[1:] {
			t.Run(how.name, func(t *testing.T) {
				each(t, withRedis(), session.Config{}, func(t *testing.T, app *kit.App, b backing) {
					cookie := ""
					if before {
						cookie = app.Login("ada")
					}
					resp := app.Do(cookie, func(s *session.Session) {
						kit.LoginAda(s)
						loseAtSave(t, app.Store(), s)
						require.Equal(t, http.StatusOK, how.end(app, 1, "", s.ID()))
					})
					want := http.StatusConflict
					if b.ends { // whose tombstone does not tell whether the login was there before it
						want = http.StatusServiceUnavailable
					}
					require.Equal(t, want, resp.StatusCode)
					require.Empty(t, resp.Cookies())
					require.Empty(t, app.Live())
				})
			})
		}
	}
}

// The same where the login was not answered yet at all, between the two of its swaps.
func TestTrace09_ALoginRevokedBetweenItsSwapsBeginsNothing(t *testing.T) {
	for _, b := range backings() {
		if b.atomic {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			store := b.open(t)
			app := kit.New(t, session.Config{}, store, store)
			cookie := app.Login("ada")
			id := app.Look(cookie).ID
			f := app.Launch(0, cookie, "between", kit.Act(kit.Regenerate))
			require.NoError(t, app.Last().Manager.Revoke(t.Context(), "ada", id))
			resp := f.Land()
			require.Equal(t, http.StatusConflict, resp.StatusCode)
			require.Empty(t, resp.Cookies())
			require.Empty(t, app.Live())
		})
	}
}

// Nor has a logout that loaded the tombstone of a revocation, before a Login took that over.
func TestTrace08_ALateLogoutOfARevokedSessionLeavesALoginAlone(t *testing.T) {
	each(t, backings(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		old := app.Login("ada")
		require.NoError(t, app.Manager().Revoke(t.Context(), "ada", app.Look(old).ID))
		late := app.Launch(0, old, "handler", kit.Act(kit.Logout))
		b := app.BrowserWith(old)
		b.Receive(app.Request(1, old, kit.Act(kit.LoginAda)))
		b.Receive(late.Land())
		require.Equal(t, "ada", app.User(b.Cookie))
	})
}
