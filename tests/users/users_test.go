package users_test

import (
	"github.com/doorman-go/session/sessiontest"

	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestUsers_AStoreThatCannotRevoke(t *testing.T) {
	app := kit.New(t, session.Config{}, struct{ session.Store }{session.NewMemoryStore()})
	cookie := app.Login("ada")
	_, err := app.Manager().Sessions(t.Context(), "ada")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = app.Manager().RevokeUser(t.Context(), "ada")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.NoError(t, app.Manager().Revoke(t.Context(), "ada", app.Look(cookie).ID), "that is a swap like any other")
	require.True(t, app.Dead(cookie))
}

// What was listed is ended while tombstones still tell what it was regenerated to meanwhile, which is a minute. If the store is
// slower than that, RevokeUser fails, also with the longest StoreTimeout.
func TestUsers_ARevocationEndsBeforeTombstonesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := kit.New(t, session.Config{StoreTimeout: 30 * time.Second}, session.NewMemoryStore())
		cookie, moved := app.Login("ada"), false
		app.Store().Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
			if op != sessiontest.End || moved {
				return call()
			}
			moved = true
			app.Do(cookie, kit.Regenerate)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(61 * time.Second):
			}
			app.Clock.Advance(61 * time.Second)
			return call()
		})
		_, err := app.Manager().RevokeUser(t.Context(), "ada")
		var failed *session.StoreError
		require.ErrorAs(t, err, &failed)
		require.Len(t, app.Listed("ada"), 1, "so it has to be called again")
		require.Equal(t, 1, app.RevokeUser("ada"))
		require.Empty(t, app.Listed("ada"))
	})
}

func TestUsers_Sessions(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		begin := app.Clock.Now().UTC()
		app.Start()
		app.Login("grace")
		first := app.Login("ada")
		app.Clock.Advance(10 * time.Minute)
		second := app.Login("ada")
		app.Do(second, func(s *session.Session) { s.SetNote("Firefox on Debian, 192.0.2.7") })
		app.Clock.Advance(10 * time.Minute)
		app.Do(first, func(*session.Session) {}) // noted: more than a twentieth of an hour has passed
		at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
		require.Equal(app.T, []session.Info{
			{ID: app.Look(second).ID, User: "ada", Note: "Firefox on Debian, 192.0.2.7", CreatedAt: at(10), AuthenticatedAt: at(10), LastUsedAt: at(20), ExpiresAt: at(80)},
			{ID: app.Look(first).ID, User: "ada", CreatedAt: begin, AuthenticatedAt: begin, LastUsedAt: at(20), ExpiresAt: at(80)},
		}, app.Listed("ada"), "the latest login first; looking at the second noted its use too")
		require.Len(app.T, app.Listed("grace"), 1)
		require.Empty(app.T, app.Listed("nobody"))

		app.Clock.Advance(time.Hour)
		require.Empty(app.T, app.Listed("ada"), "past their idle limits")
	})
}

func TestUsers_SessionsFollowTheirIDs(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		for _, do := range []func(*session.Session){kit.Regenerate, kit.LoginAda} {
			b.Receive(app.Do(b.Cookie, do))
			require.Len(app.T, app.Listed("ada"), 1)
			require.Equal(app.T, app.Look(b.Cookie).ID, app.Listed("ada")[0].ID)
		}
		b.Receive(app.Do(b.Cookie, func(s *session.Session) { require.NoError(app.T, s.Login("grace")) }))
		require.Empty(app.T, app.Listed("ada"))
		require.Len(app.T, app.Listed("grace"), 1)
		app.Do(b.Cookie, func(s *session.Session) { s.SetLifetime(-1, 30*24*time.Hour) })
		app.Clock.Advance(20 * 24 * time.Hour)
		require.Len(app.T, app.Listed("grace"), 1, "the index keeps a remembered session")
		app.Do(b.Cookie, kit.Logout)
		require.Empty(app.T, app.Listed("grace"))
	})
}

func TestUsers_Revoke(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		ctx := context.Background()
		ada, other, grace, nobody := app.Login("ada"), app.Login("ada"), app.Login("grace"), app.Start()
		for _, id := range []string{app.Look(grace).ID, app.Look(nobody).ID, "unknown", "", "user:ada"} {
			err := app.Manager().Revoke(ctx, "ada", id)
			require.ErrorIs(app.T, err, session.ErrNotFound)
			require.Equal(app.T, session.ErrNotFound.Error(), err.Error(), "nothing is learnt from it")
		}
		require.Equal(app.T, "grace", app.User(grace))
		require.False(app.T, app.Dead(nobody))

		require.NoError(app.T, app.Manager().Revoke(ctx, "ada", app.Look(ada).ID))
		require.True(app.T, app.Dead(ada), "at once, in every process")
		require.Equal(app.T, "ada", app.User(other))
		require.Len(app.T, app.Listed("ada"), 1)
		require.Error(app.T, app.Manager().Revoke(ctx, "", app.Look(nobody).ID), "nobody has no sessions to end")
	})
}

func TestUsers_RevokeUser(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		var cookies []string
		for range 5 {
			cookies = append(cookies, app.Login("ada"))
		}
		grace := app.Login("grace")
		n, err := app.Manager().RevokeUser(context.Background(), "ada", app.Look(cookies[1]).ID, "unknown", app.Look(grace).ID)
		require.NoError(app.T, err)
		require.Equal(app.T, 4, n)
		for i, cookie := range cookies {
			require.Equal(app.T, i != 1, app.Dead(cookie))
		}
		require.Equal(app.T, "grace", app.User(grace))
		n, err = app.Manager().RevokeUser(context.Background(), "ada")
		require.NoError(app.T, err)
		require.Equal(app.T, 1, n)
		require.Empty(app.T, app.Listed("ada"))
		require.Len(app.T, app.Live(), 1)
		_, err = app.Manager().RevokeUser(context.Background(), "")
		require.Error(app.T, err)
	})
}

// The recipe for a changed password: end the others, and give this one a new id.
func TestUsers_RevokeOthersAndRegenerate(t *testing.T) {
	for _, order := range []string{"revoke first", "regenerate first"} {
		kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
			other := app.Login("ada")
			b := app.BrowserWith(app.Login("ada"))
			b.Receive(app.Request(0, b.Cookie, func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				if order == "regenerate first" {
					require.NoError(app.T, s.Regenerate())
				}
				n, err := app.Manager().RevokeUser(r.Context(), "ada", s.ID())
				require.NoError(app.T, err)
				require.Equal(app.T, 1, n)
				require.NoError(app.T, s.Regenerate())
			}))
			require.Equal(app.T, "ada", app.User(b.Cookie), order)
			require.True(app.T, app.Dead(other))
		})
	}
}

func TestUsers_MaxPerUser(t *testing.T) {
	kit.EachUserStore(t, session.Config{MaxPerUser: 2}, func(app *kit.App) {
		var cookies []string
		for range 4 {
			cookies = append(cookies, app.Login("ada"))
			app.Clock.Advance(time.Second)
		}
		grace := app.Login("grace")
		for i, cookie := range cookies {
			require.Equal(app.T, i < 2, app.Dead(cookie), "the oldest go first")
		}
		require.Equal(app.T, "grace", app.User(grace))
		app.Do(cookies[2], kit.Logout)
		app.Login("ada")
		require.Equal(app.T, "ada", app.User(cookies[3]), "one that was signed out counts no more")
		b := app.BrowserWith(cookies[3])
		b.Receive(app.Do(b.Cookie, kit.Regenerate))
		require.Len(app.T, app.Listed("ada"), 2, "a new id is no new session")
	})
}

func TestUsers_MaxPerUser_ParallelLogins(t *testing.T) {
	kit.EachUserStore(t, session.Config{MaxPerUser: 5}, func(app *kit.App) {
		var all sync.WaitGroup
		cookies := make([]string, 50)
		for i := range cookies {
			all.Go(func() {
				b := app.Browser()
				b.Receive(app.Request(i%len(app.Nodes), "", kit.Act(kit.LoginAda)))
				cookies[i] = b.Cookie
			})
		}
		all.Wait()
		alive := 0
		for _, cookie := range cookies {
			require.NotEmpty(app.T, cookie)
			if !app.Dead(cookie) {
				alive++
			}
		}
		require.Equal(app.T, 5, alive)
		require.Len(app.T, app.Listed("ada"), 5)
	})
}

// A login that races a revocation is ended by it or happened after: of those that had come before, none is left.
func TestUsers_LoginDuringRevokeUser(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		for range 10 {
			before := []string{app.Login("ada"), app.Login("ada")}
			after := make([]string, 20)
			var all sync.WaitGroup
			for i := range after {
				all.Go(func() {
					b := app.BrowserWith(before[i%2])
					b.Receive(app.Request(i%len(app.Nodes), b.Cookie, kit.Act([]func(*session.Session){kit.LoginAda, kit.Regenerate}[i/2%2])))
					after[i] = b.Cookie
				})
			}
			_, err := app.Last().Manager.RevokeUser(context.Background(), "ada")
			require.NoError(app.T, err)
			all.Wait()
			require.True(app.T, app.Dead(before[0]) && app.Dead(before[1]))
			listed := map[string]bool{}
			for _, info := range app.Listed("ada") {
				listed[info.ID] = true
			}
			for id := range app.Live() {
				require.True(app.T, listed[id], "every session that lives is listed, so that it can be ended")
			}
			_, err = app.Last().Manager.RevokeUser(context.Background(), "ada")
			require.NoError(app.T, err)
			require.Empty(app.T, app.Live())
		}
	})
}

func TestUsers_AStoreThatDoesNotAnswer(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	app.Store().Break(kit.ErrDown, sessiontest.Load, sessiontest.Swap, sessiontest.End, sessiontest.List)
	m := app.Manager()
	_, listing := m.Sessions(context.Background(), "ada")
	_, revoking := m.RevokeUser(context.Background(), "ada")
	for _, err := range []error{listing, revoking, m.Revoke(context.Background(), "ada", "x")} {
		var failed *session.StoreError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, kit.ErrDown)
	}
}

func TestUsers_Revalidate(t *testing.T) {
	verdict := error(nil)
	cfg := session.Config{Revalidate: func(ctx context.Context, s *session.Session) error {
		if s.User() == "" {
			return nil
		}
		same, _ := session.Lookup(ctx)
		require.Equal(t, s.ID(), same.ID())
		require.True(t, s.Has("cart"))
		return verdict
	}}
	kit.EachStore(t, cfg, func(app *kit.App) {
		verdict = nil
		cookie := app.Login("ada")
		require.Equal(app.T, "ada", app.User(cookie))
		for _, unavailable := range []error{errors.New("no database"), context.DeadlineExceeded} {
			verdict = unavailable
			resp := app.Do(cookie, func(s *session.Session) {
				require.Empty(app.T, s.User())
				require.ErrorIs(app.T, s.Err(), unavailable)
				require.ErrorIs(app.T, s.Login("grace"), unavailable)
			})
			require.Equal(app.T, http.StatusServiceUnavailable, resp.StatusCode)
			require.Empty(app.T, resp.Cookies())
		}
		verdict = nil
		require.Equal(app.T, "ada", app.User(cookie), "nothing has ended")

		verdict = fmt.Errorf("the password was changed: %w", session.ErrSessionEnded)
		require.True(app.T, app.Dead(cookie))
		verdict = nil
		require.True(app.T, app.Dead(cookie), "for good")
		require.Empty(app.T, app.Live())
	})
}

func TestUsers_RevalidateAndAClientThatHangsUp(t *testing.T) {
	ctx, hangUp := context.WithCancel(context.Background())
	cfg := session.Config{Revalidate: func(ctx context.Context, _ *session.Session) error {
		hangUp()
		<-ctx.Done()
		return ctx.Err()
	}}
	app := kit.New(t, cfg, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Events()
	app.RequestWith(ctx, 0, cookie, kit.Act(func(*session.Session) {}))
	require.Empty(t, app.Events(), "that is no store error")
	require.Len(t, app.Live(), 1)
}

func TestUsers_AuthenticatedWithin(t *testing.T) {
	kit.EachStore(t, session.Config{IdleTimeout: -1}, func(app *kit.App) {
		b := app.BrowserWith(app.Start())
		within := func(d time.Duration) (yes bool) {
			b.Receive(app.Do(b.Cookie, func(s *session.Session) { yes = s.AuthenticatedWithin(d) }))
			return yes
		}
		require.False(app.T, within(1<<62), "nobody has signed in")
		b.Receive(app.Do(b.Cookie, kit.LoginAda))
		require.True(app.T, within(0))
		app.Clock.Advance(5 * time.Minute)
		require.True(app.T, within(5*time.Minute))
		require.False(app.T, within(5*time.Minute-1))
		b.Receive(app.Do(b.Cookie, kit.Regenerate))
		require.False(app.T, within(5*time.Minute-1), "Regenerate keeps the time")
		b.Receive(app.Do(b.Cookie, kit.LoginAda)) // the password was asked for again
		require.True(app.T, within(0))
	})
}

func TestUsers_ClearSiteData(t *testing.T) {
	const all = `"cache", "cookies", "storage"`
	kit.EachStore(t, session.Config{ClearSiteData: true}, func(app *kit.App) {
		require.Equal(app.T, []string{all}, app.Do(app.Login("ada"), kit.Logout).Header["Clear-Site-Data"])
		farewell := func(s *session.Session) { kit.Logout(s); s.Flash("info", "signed out") }
		require.Equal(app.T, []string{`"cache", "storage"`}, app.Do(app.Login("ada"), farewell).Header["Clear-Site-Data"],
			"or it would take away the cookie that the same answer sets")
		for _, do := range []func(*session.Session){kit.Regenerate, kit.LoginAda, func(s *session.Session) { s.Clear() }} {
			require.NotContains(app.T, app.Do(app.Login("ada"), do).Header, "Clear-Site-Data")
		}
	})
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	require.NotContains(t, app.Do(app.Login("ada"), kit.Logout).Header, "Clear-Site-Data", "it is an option")
}

// The client's cache answers more than loads: a list of sessions from it would miss those that have just begun.
func TestUsers_NearCacheListsWhatIsThere(t *testing.T) {
	near := session.NearCache{MaxEntries: 1000, MaxStaleness: time.Minute}
	app := kit.New(t, session.Config{}, kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{NearCache: near}))
	for range 20 { // by a clock that stands: lists are asked for in the same words, and could be answered from the cache
		require.Empty(t, app.Listed("ada"))
		app.Do("", kit.LoginAda)
		require.Len(t, app.Listed("ada"), 1)
		require.Equal(t, 1, app.RevokeUser("ada"))
	}
}

// A user's index follows a deadline that another request moved while a new ID was asked for.
func TestUsers_IndexFollowsTheDeadline(t *testing.T) {
	server := redistest.Start(t)
	for name, store := range map[string]session.Store{
		"redis":                kit.OpenRedis(t, server, session.RedisOptions{}),
		"redis, several slots": kit.RedisOn(t, kit.Across{UniversalClient: kit.RedisClient(t, server)}, session.RedisOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			server.MustDo("FLUSHALL")
			v := kit.New(t, session.Config{IdleTimeout: -1}, store).Browser()
			v.SignIn("ada")
			v.Must(func(s *session.Session) {
				s.Has("n")
				v.Copy().Must(func(s *session.Session) { s.SetLifetime(-1, 30*kit.Day) })
				require.NoError(t, s.Regenerate())
			})
			v.App.Clock.Advance(25 * time.Hour)
			id := v.View().ID
			for _, key := range strings.Fields(server.MustDo("KEYS", "*")) {
				if key != "session:"+id && server.MustDo("TYPE", key) == "string" { // the tombstone leads there for a minute
					server.MustDo("DEL", key)
				}
			}
			ended, err := v.App.Manager().RevokeUser(t.Context(), "ada")
			require.NoError(t, err)
			require.Equal(t, 1, ended)
			require.True(t, v.SignedOut())
		})
	}
}

// Signing out the other devices after a Login leaves what the Login keeps.
func TestUsers_RevokeTheOthersAfterALogin(t *testing.T) {
	for name, store := range kit.ValueStores(t) {
		if sealed, ok := store.(*session.CookieStore); ok {
			store = sealed.WithRevocations(session.NewMemoryStore())
		}
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{}, store).Browser()
			v.SignIn("ada")
			v.Must(func(s *session.Session) { s.Set("cart", 1) })
			other := v.App.Browser()
			other.SignIn("ada")
			v.Visit(func(_ http.ResponseWriter, r *http.Request) {
				s := session.FromContext(r.Context())
				require.NoError(t, s.Login("ada", "cart"))
				_, err := v.App.Manager().RevokeUser(r.Context(), "ada", s.ID())
				require.NoError(t, err)
			})
			require.Equal(t, 1, kit.Read[int](v, "cart"))
			require.True(t, other.SignedOut())
		})
	}
}

// What had run out before is ended too, and not counted.
func TestUsers_RevokeUserCountsWhatWasLive(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		app.Login("ada")
		app.Clock.Advance(time.Hour + 30*time.Second)
		app.Login("ada")
		n, err := app.Manager().RevokeUser(context.Background(), "ada")
		require.NoError(app.T, err)
		require.Equal(app.T, 1, n)
	})
}
