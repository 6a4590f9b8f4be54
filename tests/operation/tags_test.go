//go:build !noservers

package operation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// loginTagged signs in as an identity provider's callback does.
func loginTagged(user, tag string) func(*session.Session) {
	return func(s *session.Session) {
		_ = s.Login(user)
		s.SetTag(tag)
	}
}

func begin(app *kit.App, do func(*session.Session)) *kit.Browser {
	app.T.Helper()
	b := app.Browser()
	b.Must(do)
	return b
}

// revokeTag ends the sessions of a tag at the last process. Of sealed cookies it can't say how many.
func revokeTag(app *kit.App, tag string, want int) {
	app.T.Helper()
	n, err := app.Last().Manager.RevokeTag(app.Context(), tag)
	require.NoError(app.T, err)
	if _, inCookie := app.Last().Store.Front().(session.UserEnder); inCookie {
		want = 0
	}
	require.Equal(app.T, want, n)
}

func TestRevokeTag(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		first, second := begin(app, loginTagged("ada", "sid-1")), begin(app, loginTagged("grace", "sid-1"))
		other, none := begin(app, loginTagged("ada", "sid-2")), app.BrowserWith(app.Login("ada"))
		first.Must(func(s *session.Session) { require.Equal(app.T, "sid-1", s.Tag()) })
		app.Events()
		revokeTag(app, "sid-1", 2)
		events := app.Events()
		require.Equal(app.T, session.Event{Kind: session.EventRevoked, Reason: session.ReasonTag, EndReason: session.ReasonTag, Time: events[len(events)-1].Time}, events[len(events)-1])
		require.True(app.T, first.SignedOut())
		require.True(app.T, second.SignedOut())
		require.False(app.T, other.SignedOut())
		require.False(app.T, none.SignedOut())
		revokeTag(app, "sid-1", 0)
		revokeTag(app, "nobody's", 0)

		again := begin(app, loginTagged("ada", "sid-1"))
		require.False(app.T, again.SignedOut(), "a tag can be used again")
		revokeTag(app, "sid-1", 1)
		require.True(app.T, again.SignedOut())
	})
}

// A tag goes along with the session, however often it gets another ID, and also when the tombstones are forgotten.
func TestRevokeTag_FollowsTheSession(t *testing.T) {
	for name, do := range map[string]func(*session.Session){
		"Regenerate": kit.Regenerate, "Reauthenticate": reauthenticate, "RenameUser": func(s *session.Session) { _ = s.RenameUser("Ada") },
	} {
		kit.EachStore(t, session.Config{}, func(app *kit.App) {
			b := begin(app, loginTagged("ada", "sid"))
			for range 3 {
				b.Must(do)
				app.Clock.Advance(10 * time.Minute)
			}
			b.Must(func(s *session.Session) { require.Equal(app.T, "sid", s.Tag()) })
			revokeTag(app, "sid", 1)
			require.True(app.T, b.SignedOut(), name)
		})
	}
}

// As long as the session may last, and no longer than its own lifetime says.
func TestRevokeTag_LastsAsLongAsTheSession(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := begin(app, loginTagged("ada", "sid"))
		b.Must(func(s *session.Session) { s.SetLifetime(-1, 30*kit.Day) })
		app.Clock.Advance(29 * kit.Day)
		require.False(app.T, b.SignedOut())
		revokeTag(app, "sid", 1)
		require.True(app.T, b.SignedOut())
	})
}

func TestSetTag_AnotherTagTakesItsPlace(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		b := begin(app, loginTagged("ada", "old"))
		b.Must(func(s *session.Session) { s.SetTag("new") })
		revokeTag(app, "old", 0)
		require.False(app.T, b.SignedOut())
		revokeTag(app, "new", 1)
		require.True(app.T, b.SignedOut())

		b = begin(app, loginTagged("ada", "taken away"))
		b.Must(func(s *session.Session) { s.SetTag("") })
		revokeTag(app, "taken away", 0)
		require.False(app.T, b.SignedOut())

		b = begin(app, loginTagged("ada", "of the login before"))
		b.Must(kit.LoginAda)
		revokeTag(app, "of the login before", 0)
		require.False(app.T, b.SignedOut())
	})
}

// The order of SetTag and Login does not matter, and a tag without anybody signed in is an error.
func TestSetTag_NeedsALogin(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := begin(app, func(s *session.Session) { s.SetTag("sid"); _ = s.Login("ada") })
		revokeTag(app, "sid", 1)
		require.True(app.T, b.SignedOut())
		resp := app.Browser().Do(func(s *session.Session) { s.Set("cart", 1); s.SetTag("sid") })
		require.Equal(app.T, http.StatusInternalServerError, resp.StatusCode)
		require.Empty(app.T, resp.Cookies())
		require.Contains(app.T, app.Log(), "SetTag needs a session that is signed in")
	})
}

func TestSetTag_BadTags(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	for _, tag := range []string{"a\xff", strings.Repeat("x", 257)} {
		require.Equal(t, http.StatusInternalServerError, app.Browser().Do(loginTagged("ada", tag)).StatusCode)
		_, err := app.Manager().RevokeTag(t.Context(), tag)
		if len(tag) < 257 {
			require.Error(t, err)
		}
	}
	_, err := app.Manager().RevokeTag(t.Context(), "")
	require.Error(t, err)
	b := begin(app, loginTagged("ada", strings.Repeat("x", 256)))
	revokeTag(app, strings.Repeat("x", 256), 1)
	require.True(t, b.SignedOut())
}

// Sealed cookies without a list of what has ended can't be found: that is said when the tag is set, and not when it is needed.
func TestSetTag_WithoutRevocations(t *testing.T) {
	app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne))
	resp := app.Browser().Do(loginTagged("ada", "sid"))
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Empty(t, resp.Cookies())
	_, err := app.Manager().RevokeTag(t.Context(), "sid")
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// What may have been told of the login must be found: if the index can't be written nobody is signed in.
func TestSetTag_StoreDown(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		calls := 0
		app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			if op == sessiontest.Swap {
				if calls++; calls == 1 {
					return kit.ErrDown
				}
			}
			return call()
		})
		resp := app.Do("", loginTagged("ada", "sid"))
		require.Equal(app.T, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(app.T, 1, calls, "the session was not sent")
		app.Store().Mend()
		require.Empty(app.T, app.Listed("ada"))
	})
}

// A login that has been indexed and is not stored yet is ended by a revocation that comes between.
func TestRevokeTag_DuringALogin(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		swaps := 0
		app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			if op != sessiontest.Swap {
				return call()
			}
			if swaps++; swaps == 2 { // the first is the index's
				app.Store().Mend()
				n, err := app.Last().Manager.RevokeTag(app.Context(), "sid")
				require.NoError(app.T, err)
				require.Zero(app.T, n)
			}
			return call()
		})
		resp := app.Request(0, "", kit.Act(loginTagged("ada", "sid")))
		require.Equal(app.T, http.StatusConflict, resp.StatusCode)
		require.Empty(app.T, app.Live())
	})
}

// So is one that moves to a new ID meanwhile, at whichever of its calls.
func TestRevokeTag_DuringARegenerate(t *testing.T) {
	for at := 1; at <= 2; at++ {
		for _, moment := range []string{"before", "after"} {
			kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
				b := begin(app, loginTagged("ada", "sid"))
				swaps := 0
				revoke := func() {
					app.Store().Mend()
					_, err := app.Last().Manager.RevokeTag(app.Context(), "sid")
					require.NoError(app.T, err)
				}
				app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
					if op != sessiontest.Swap {
						return call()
					}
					swaps++
					if swaps == at && moment == "before" {
						revoke()
					}
					err := call()
					if swaps == at && moment == "after" {
						revoke()
					}
					return err
				})
				b.Receive(app.Request(0, b.Cookie, kit.Act(kit.Regenerate)))
				require.Empty(app.T, app.Live(), "%s swap %d", moment, at)
				require.True(app.T, b.SignedOut())
			})
		}
	}
}

// Logins of one tag at once are all found.
func TestRevokeTag_ParallelLogins(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				resp := app.Request(i%len(app.Nodes), "", kit.Act(loginTagged(fmt.Sprint("user", i%3), "sid")))
				require.Equal(app.T, http.StatusOK, resp.StatusCode)
			})
		}
		all.Wait()
		revokeTag(app, "sid", 30)
		require.Empty(app.T, app.Live())
	})
}

// A tag's record is bounded, and what does not fit is an error.
func TestSetTag_IsBounded(t *testing.T) {
	app := kit.New(t, session.Config{IdleTimeout: time.Hour, Lifetime: time.Hour}, session.NewMemoryStore())
	for range 1000 {
		app.Request(0, "", kit.Act(loginTagged("ada", "sid")))
	}
	require.Equal(t, http.StatusInternalServerError, app.Do("", loginTagged("ada", "sid")).StatusCode)
	require.Contains(t, app.Log(), "it has 1000 sessions already")
	require.Len(t, app.Listed("ada"), 1000)
	app.Clock.Advance(2 * time.Hour)
	b := begin(app, loginTagged("ada", "sid"))
	revokeTag(app, "sid", 1)
	require.True(t, b.SignedOut())
}

// What is stored of a tag is under a hash, and no list of sessions shows it.
func TestSetTag_IsNoSession(t *testing.T) {
	for _, backing := range kit.RedisBackings(t) {
		app := backing.New(t, session.Config{})
		begin(app, loginTagged("ada", "the-tag"))
		require.Len(t, each(app), 1)
		require.Len(t, app.Listed("ada"), 1)
		for _, stored := range kit.DumpRedis(t, backing.Client) {
			if strings.HasPrefix(stored, "session:") {
				require.NotContains(t, stored, "the-tag", "a key")
			}
		}
	}
}

// Realms do not meet in a tag.
func TestRevokeTag_OtherRealms(t *testing.T) {
	store, clock := session.NewMemoryStore(), kit.NewClock()
	shop, admin := kit.NewAt(t, clock, session.Config{Name: "shop"}, store), kit.NewAt(t, clock, session.Config{Name: "admin"}, store)
	b := begin(shop, loginTagged("ada", "sid"))
	revokeTag(admin, "sid", 0)
	require.False(t, b.SignedOut())
}
