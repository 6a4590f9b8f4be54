package users_test

import (
	"strings"
	"testing/synctest"

	"github.com/doorman-go/session"

	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestRevocations_ListingIsUnsupported(t *testing.T) {
	_, err := kit.New(t, session.Config{}, kit.SealedWithList(t)).Manager().Sessions(t.Context(), "ada")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = session.New(kit.SealedWithList(t), session.Config{MaxPerUser: 1})
	require.ErrorContains(t, err, "MaxPerUser needs a store that can list")
}

// within makes a call as the Manager does, which gives the list its clock.
func within(t *testing.T, v *kit.Browser, f func(context.Context) error) {
	t.Helper()
	v.Visit(func(_ http.ResponseWriter, r *http.Request) { require.NoError(t, f(r.Context())) })
}

func TestRevocations_RevokeUser(t *testing.T) {
	app := kit.New(t, session.Config{}, kit.SealedWithList(t))
	one, two, kept, grace, nobody := app.Browser(), app.Browser(), app.Browser(), app.Browser(), app.Browser()
	for _, v := range []*kit.Browser{one, two, kept} {
		v.SignIn("ada")
	}
	grace.SignIn("grace")
	nobody.Must(func(s *session.Session) { s.Set("k", 1) })
	late := one.Copy()
	resp := late.Do(func(s *session.Session) {
		s.User()
		within(t, nobody, func(ctx context.Context) error {
			_, err := app.Manager().RevokeUser(ctx, "ada", kept.View().ID)
			return err
		})
		s.Set("k", 1)
	})
	require.Equal(t, http.StatusConflict, resp.StatusCode, "refused at commit")
	require.Empty(t, resp.Cookies())
	require.True(t, one.SignedOut() && two.SignedOut())
	require.False(t, kept.SignedOut() || grace.SignedOut() || nobody.SignedOut())

	// All within the same instant, so that nothing but the order tells the one from the other.
	again := app.Browser()
	again.SignIn("ada")
	require.False(t, again.SignedOut(), "a login after it stands")
	kept.Must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
	require.False(t, kept.SignedOut(), "the one that was excepted may go on under a new ID")
	within(t, nobody, func(ctx context.Context) error { _, err := app.Manager().RevokeUser(ctx, "ada"); return err })
	require.True(t, kept.SignedOut() && again.SignedOut(), "a second one counts, too")
	again.SignIn("ada")
	require.False(t, again.SignedOut())
	app.Clock.Advance(23 * time.Hour)
	require.True(t, two.SignedOut())
}

func TestRevocations_RevokeOne(t *testing.T) {
	app := kit.New(t, session.Config{}, kit.SealedWithList(t))
	ada, other, grace := app.Browser(), app.Browser(), app.Browser()
	ada.SignIn("ada")
	other.SignIn("ada")
	grace.SignIn("grace")
	within(t, grace, func(ctx context.Context) error { return app.Manager().Revoke(ctx, "ada", grace.View().ID) })
	require.False(t, grace.SignedOut(), "it is not ada's")
	within(t, grace, func(ctx context.Context) error { return app.Manager().Revoke(ctx, "ada", ada.View().ID) })
	require.True(t, ada.SignedOut())
	require.False(t, other.SignedOut())
}

func TestRevocations_AreForgottenInTime(t *testing.T) {
	list, clock := session.NewMemoryStore(), kit.NewClock()
	v := kit.NewAt(t, clock, session.Config{Lifetime: time.Hour}, kit.Sealed(t, kit.SecretOne).WithRevocations(list)).Browser()
	v.SignIn("ada")
	thief := v.Copy()
	v.Must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
	clock.Advance(time.Hour - time.Microsecond)
	require.True(t, thief.SignedOut(), "remembered as long as the cookie would be good")
}

// eachList runs a test on two processes with sealed cookies, for each kind of revocation list.
func eachList(t *testing.T, test func(*kit.App)) {
	client := kit.RedisClient(t, redistest.Start(t))
	memory := session.NewMemoryStore()
	for name, lists := range map[string][]session.Store{
		"memory":     {memory, memory},
		"one by one": {kit.OneByOne(memory), kit.OneByOne(memory)},
		"redis":      {kit.RedisOn(t, client, session.RedisOptions{}), kit.RedisOn(t, client, session.RedisOptions{})},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := kit.Sealed(t, kit.SecretOne)
			test(kit.New(t, session.Config{Lifetime: 48 * time.Hour, IdleTimeout: -1}, sealed.WithRevocations(lists[0]), sealed.WithRevocations(lists[1])))
		})
	}
}

func TestUsers_Sealed_ReplayAfterTheEnd(t *testing.T) {
	eachList(t, func(app *kit.App) {
		for _, end := range []func(*session.Session){kit.Logout, kit.Regenerate, kit.LoginAda} {
			cookie := app.Login("ada")
			app.Do(cookie, end)
			for range 3 { // at once, after the tombstone's minute, and much later
				require.True(app.T, app.Dead(cookie))
				app.Clock.Advance(12 * time.Hour)
			}
		}
	})
}

func TestUsers_Sealed_Revoke(t *testing.T) {
	eachList(t, func(app *kit.App) {
		ctx, m := context.Background(), app.Manager()
		ada, other, grace := app.Login("ada"), app.Login("ada"), app.Login("grace")
		require.NoError(app.T, m.Revoke(ctx, "ada", app.Look(ada).ID))
		require.NoError(app.T, m.Revoke(ctx, "ada", app.Look(grace).ID), "a list can't know whose it is")
		require.True(app.T, app.Dead(ada))
		require.Equal(app.T, "ada", app.User(other))
		require.Equal(app.T, "grace", app.User(grace), "but it ends ada's sessions only")

		federated := app.Login("github:ada")
		for _, id := range []string{":github", ":", "\x00github"} {
			require.ErrorIs(app.T, m.Revoke(ctx, "ada", app.Look(federated).ID+id), session.ErrNotFound, "no ID looks like that")
		}
		require.Equal(app.T, "github:ada", app.User(federated), "nor does an ID reach into a user's name")
	})
}

func TestUsers_Sealed_RevokeUser(t *testing.T) {
	eachList(t, func(app *kit.App) {
		ctx, m := context.Background(), app.Manager()
		first, kept, grace, nobody := app.Login("ada"), app.Login("ada"), app.Login("grace"), app.Start()
		n, err := m.RevokeUser(ctx, "ada", app.Look(kept).ID)
		require.NoError(app.T, err)
		require.Zero(app.T, n, "it can't count")
		require.True(app.T, app.Dead(first))
		require.Equal(app.T, "ada", app.User(kept))
		again := app.Login("ada") // in the same microsecond, by a clock that stands
		require.Equal(app.T, "ada", app.User(again), "a later login")

		b := app.BrowserWith(kept)
		b.Receive(app.Do(kept, kit.Regenerate))
		require.Equal(app.T, "ada", app.User(b.Cookie), "an excepted session may change its ID")
		app.Clock.Advance(time.Hour)
		_, err = m.RevokeUser(ctx, "ada")
		require.NoError(app.T, err)
		app.Clock.Advance(time.Hour)
		for _, cookie := range []string{first, kept, b.Cookie, again} {
			require.True(app.T, app.Dead(cookie))
		}
		require.Equal(app.T, "grace", app.User(grace))
		require.False(app.T, app.Dead(nobody))
	})
}

// A login whose cookie was sealed by a process with a slow clock happened after the revocation that it comes after.
func TestUsers_Sealed_LoginWithASlowClock(t *testing.T) {
	eachList(t, func(app *kit.App) {
		old := app.Login("ada")
		_, err := app.Manager().RevokeUser(context.Background(), "ada")
		require.NoError(app.T, err)
		app.Clock.Advance(-5 * time.Second)
		b := app.BrowserWith(old)
		resp := app.Do(old, kit.LoginAda)
		b.Receive(resp)
		require.Equal(app.T, http.StatusOK, resp.StatusCode)
		require.Equal(app.T, "ada", app.User(b.Cookie))
		require.True(app.T, app.Dead(old))

		b.Cookie = app.Login("ada")
		for range 2 { // the second one in place of a session
			b.Receive(app.Do(b.Cookie, func(s *session.Session) {
				s.Has("loads it")
				_, err := app.Nodes[1].Manager.RevokeUser(context.Background(), "ada")
				require.NoError(app.T, err)
				app.Clock.Advance(-5 * time.Second)
				_ = s.Login("ada", "cart")
				require.NoError(app.T, s.Save(context.Background()))
				s.Set("n", 1)
			}))
			require.Equal(app.T, []string{"n"}, app.Look(b.Cookie).Keys)
			require.Equal(app.T, 1, kit.Value[int](app, b.Cookie, "n"), "a second commit of the same request is judged by the same time")
		}
	})
}

func TestUsers_Sealed_WithoutAList(t *testing.T) {
	sealed, err := session.NewCookieStore(kit.SecretOne)
	require.NoError(t, err)
	m, err := session.New(sealed, session.Config{})
	require.NoError(t, err)
	ctx := context.Background()
	_, listing := m.Sessions(ctx, "ada")
	_, revoking := m.RevokeUser(ctx, "ada")
	for _, err := range []error{listing, revoking, m.Revoke(ctx, "ada", "x")} {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	_, err = session.New(sealed, session.Config{MaxPerUser: 3})
	require.ErrorContains(t, err, "MaxPerUser")
	_, err = session.New(sealed.WithRevocations(session.NewMemoryStore()), session.Config{MaxPerUser: 3})
	require.ErrorContains(t, err, "MaxPerUser")

	app := kit.New(t, session.Config{}, sealed)
	b := app.BrowserWith(app.Login("ada"))
	old := b.Cookie
	b.Receive(app.Do(old, kit.Logout))
	require.Empty(t, b.Cookie, "the browser is signed out")
	require.Equal(t, "ada", app.User(old), "documented: a copy is not")
}

func TestUsers_Sealed_AListThatDoesNotAnswer(t *testing.T) {
	list := sessiontest.NewStore()
	app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne).WithRevocations(list))
	cookie := app.Login("ada")
	list.Down(kit.ErrDown)
	for _, do := range []func(*session.Session){func(*session.Session) {}, kit.Logout, kit.LoginAda} {
		resp := app.Do(cookie, do)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "it is not taken for an answer")
		require.Empty(t, resp.Cookies())
	}
	list.Down(nil)
	require.Equal(t, "ada", app.User(cookie))
}

// What a load has to ask the list, the tombstone and what is kept of the user, it asks at the same time.
func TestUsers_Sealed_OneRoundTripALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := kit.NewStore(session.NewMemoryStore())
		app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne).WithRevocations(list.Front()))
		cookie := app.Login("ada")
		list.Delay(50*time.Millisecond, sessiontest.Load)
		begun := time.Now()
		require.Equal(t, "ada", app.User(cookie))
		require.Equal(t, 50*time.Millisecond, time.Since(begun))
	})
}

// A list in Redis that is gone is no permission, and keeps nothing for ever.
func TestRevocations_RedisThatIsGone(t *testing.T) {
	server := redistest.Start(t)
	list := kit.RedisOn(t, kit.RedisClient(t, server), session.RedisOptions{})
	app := kit.New(t, session.Config{StoreTimeout: time.Second}, kit.Sealed(t, kit.SecretOne).WithRevocations(list))
	cookie, other := app.Login("ada"), app.Login("ada")
	app.Do(cookie, kit.Logout)
	app.RevokeUser("grace")
	require.NoError(t, app.Manager().Revoke(t.Context(), "ada", app.Look(other).ID))
	keys := strings.Fields(server.MustDo("KEYS", "*"))
	require.NotEmpty(t, keys)
	for _, key := range keys {
		require.NotEqual(t, "-1", server.MustDo("PTTL", key), "%s stays for ever", key)
	}
	server.Stop()
	resp := app.Do(cookie, func(*session.Session) {})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Cookies())
}

// TestUsers_Events: what happens is told with the ID, the user and a reason, and never with the token.
func TestUsers_Events(t *testing.T) {
	set := func(s *session.Session) { s.Set("new", 1) }
	for _, c := range []struct {
		name string
		run  func(app *kit.App, cookie string)
		want []string // kind, user, reason; and "id" if the ID is the session's
	}{
		{"created", func(app *kit.App, _ string) { app.Start() }, []string{"created||"}},
		{"logged in", func(app *kit.App, _ string) { app.Login("grace") }, []string{"logged in|grace|"}},
		{"regenerated", func(app *kit.App, c string) { app.Do(c, kit.Regenerate) }, []string{"regenerated|ada|"}},
		{"destroyed", func(app *kit.App, c string) { app.Do(c, kit.Logout) }, []string{"destroyed|ada|id"}},
		{"revoked", func(app *kit.App, c string) { _ = app.Manager().Revoke(context.Background(), "ada", app.Look(c).ID) }, []string{"revoked|ada|one id"}},
		{"revoked all", func(app *kit.App, _ string) { _, _ = app.Manager().RevokeUser(context.Background(), "ada") }, []string{"revoked|ada|all"}},
		{"expired idle", func(app *kit.App, c string) { app.Clock.Advance(time.Hour); app.Do(c, set) }, []string{"expired|ada|idle id", "created||"}},
		{"expired absolute", func(app *kit.App, c string) { app.Clock.Advance(24 * time.Hour); app.Do(c, set) }, []string{"expired|ada|absolute id", "created||"}},
		{"malformed", func(app *kit.App, _ string) { app.Do("x", func(*session.Session) {}) }, []string{"rejected||malformed"}},
		{"unknown", func(app *kit.App, _ string) { app.Do(kit.ForeignWellFormed(app)[0], func(*session.Session) {}) }, []string{"rejected||unknown"}},
		{"ended", func(app *kit.App, c string) { app.Do(c, kit.Logout); app.Events(); app.Do(c, set) }, []string{"rejected|ada|ended id"}},
		{"ended meanwhile", func(app *kit.App, c string) { app.Overtaken(c, set, kit.Logout) }, []string{"destroyed|ada|id", "rejected|ada|ended meanwhile id"}},
		{"conflict", func(app *kit.App, c string) {
			app.Overtaken(c, kit.CountUp, kit.CountUp)
		}, []string{"conflict|ada|id"}},
		{"late write", func(app *kit.App, _ string) { app.Request(0, "", kit.Begun(set)) }, []string{"late write||not kept"}},
		{"nothing", func(app *kit.App, c string) { app.Do(c, set); app.Look(c) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, session.NewMemoryStore())
			cookie := app.Login("ada")
			id := app.Look(cookie).ID
			app.Events()
			c.run(app, cookie)
			requireEvents(app, c.want, id, cookie)
		})
	}
	t.Run("store error", func(t *testing.T) {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		store := app.Store()
		cookie := app.Login("ada")
		id := app.Look(cookie).ID
		app.Events()
		store.Break(kit.ErrDown, sessiontest.Swap)
		app.Do(cookie, set)
		store.Break(kit.ErrDown, sessiontest.Load)
		app.Do(cookie, set)
		requireEvents(app, []string{"store error|ada|swap id", "store error||load id"}, id, cookie)
	})
	t.Run("bad seal", func(t *testing.T) {
		app := kit.New(t, session.Config{}, kit.SealedWithList(t))
		other, err := session.NewCookieStore(kit.SecretTwo)
		require.NoError(t, err)
		cookie := kit.New(t, session.Config{}, other).Login("ada")
		app.Do(cookie, func(*session.Session) {})
		requireEvents(app, []string{"rejected||bad seal"}, "none", cookie)
	})
}

func requireEvents(app *kit.App, want []string, id, cookie string) {
	var told []string
	for _, e := range app.Events() {
		line := fmt.Sprintf("%s|%s|%s", e.Kind, e.User, e.Reason)
		if e.ID == id {
			line += map[bool]string{true: " id", false: "id"}[e.Reason != ""]
		}
		told = append(told, line)
		require.NotContains(app.T, fmt.Sprintf("%+v", e), cookie)
		require.False(app.T, e.Time.IsZero())
		require.Equal(app.T, slices.Contains([]session.EventKind{session.EventStoreError, session.EventLateWrite}, e.Kind), e.Err != nil)
	}
	require.Equal(app.T, want, told)
}

// A login whose old session was revoked meanwhile starts empty: what it was to keep belonged to that session.
func TestUsers_Sealed_LoginKeepsNothingOfARevokedSession(t *testing.T) {
	app := kit.New(t, session.Config{}, kit.SealedWithList(t))
	v := app.Browser()
	v.SignIn("ada")
	v.Must(func(s *session.Session) { s.Set("cart", "tea") })
	v.Must(func(s *session.Session) {
		require.True(t, s.Has("cart"))
		app.RevokeUser("ada")
		require.NoError(t, s.Login("grace", "cart"))
		s.Set("own", 1)
	})
	v.Must(func(s *session.Session) {
		require.Equal(t, "grace", s.User())
		require.Equal(t, []string{"own"}, s.Keys())
	})
}

// What Revalidate refuses and the store can't end is no session: the next one begins as ever, or the cookie goes.
func TestUsers_Sealed_RevalidateWithoutAList(t *testing.T) {
	v := kit.New(t, session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		if s.User() == "deleted" {
			return session.ErrSessionEnded
		}
		return nil
	}}, kit.Sealed(t, kit.SecretOne)).Browser()
	v.SignIn("deleted")
	v.Copy().Must(func(s *session.Session) { s.Flash("error", "who are you?"); require.Empty(t, s.User()) })
	v.Must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
	require.Empty(t, v.Cookie)
}
