//go:build !noservers

package operation_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// each returns what Each says, by ID.
func each(app *kit.App) map[string]session.Info {
	app.T.Helper()
	all := map[string]session.Info{}
	for info, err := range app.Last().Manager.Each(app.Context()) {
		require.NoError(app.T, err)
		all[info.ID] = info
	}
	return all
}

func TestEach(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		require.Empty(app.T, each(app))
		visitor, ada, grace := app.Start(), app.Login("ada"), app.Login("grace")
		app.Do(ada, func(s *session.Session) { s.SetNote("phone"); s.SetTag("tag") })
		gone, ended := app.Login("ada"), app.Login("grace")
		app.Do(ended, kit.Logout)
		app.Do(gone, func(s *session.Session) { s.SetLifetime(time.Minute, 2*time.Minute) })
		b := app.BrowserWith(grace)
		b.Must(kit.Regenerate)
		app.Clock.Advance(2 * time.Minute)

		all := each(app)
		require.Len(app.T, all, 3, "neither what has ended, nor what has run out, nor what is no session")
		require.Equal(app.T, "", all[app.Look(visitor).ID].User)
		require.Equal(app.T, "grace", all[app.Look(b.Cookie).ID].User)
		info := all[app.Look(ada).ID]
		info.CreatedAt, info.AuthenticatedAt, info.LastUsedAt, info.ExpiresAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		require.Equal(app.T, session.Info{ID: app.Look(ada).ID, User: "ada", Note: "phone", Tag: "tag"}, info)
		require.Equal(app.T, app.Listed("ada")[0].ExpiresAt, all[app.Look(ada).ID].ExpiresAt.UTC())
	})
}

// Realms in one store do not meet.
func TestEach_OtherRealms(t *testing.T) {
	server := redistest.Start(t)
	for _, store := range []session.Store{session.NewMemoryStore(), kit.OpenRedis(t, server, session.RedisOptions{})} {
		clock := kit.NewClock()
		shop, admin := kit.NewAt(t, clock, session.Config{Name: "shop"}, store), kit.NewAt(t, clock, session.Config{Name: "admin"}, store)
		mine, theirs := shop.Login("ada"), admin.Login("ada")
		require.Len(t, each(shop), 1)
		n, err := shop.Manager().RevokeAll(shop.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.True(t, shop.Dead(mine))
		require.Equal(t, "ada", admin.User(theirs))
		require.Empty(t, each(shop))
		require.Len(t, each(admin), 1)
	}
}

// carelessStore shows another realm's sessions.
type carelessStore struct {
	*session.MemoryStore
	realm string
}

func (c carelessStore) All(ctx context.Context, _ string) iter.Seq2[*session.Record, error] {
	return c.MemoryStore.All(ctx, c.realm)
}

// A store's mistake does not reach another realm.
func TestEach_OfACarelessStore(t *testing.T) {
	store := carelessStore{session.NewMemoryStore(), "admin"}
	clock := kit.NewClock()
	shop, admin := kit.NewAt(t, clock, session.Config{Name: "shop"}, store), kit.NewAt(t, clock, session.Config{Name: "admin"}, store)
	theirs := admin.Login("ada")
	require.Len(t, each(admin), 1)
	require.Empty(t, each(shop))
	n, err := shop.Manager().RevokeAll(shop.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, "ada", admin.User(theirs))
}

// More than one page, prefixes that mean something in a pattern, other keys of the database, records that are longer than
// what a list reads at first, and a client that expects each key on another server.
func TestEach_InRedis(t *testing.T) {
	server := redistest.Start(t)
	client := kit.RedisClient(t, server)
	require.NoError(t, client.Set(t.Context(), "a*[b]?\\:foreign", "x", 0).Err())
	require.NoError(t, client.Set(t.Context(), "aXbY:not mine", "x", 0).Err())
	const prefix = `a*[b]?\:`
	for name, store := range map[string]session.Store{
		"standalone": kit.OpenRedis(t, server, session.RedisOptions{Prefix: prefix}),
		"across":     kit.RedisOn(t, kit.Across{UniversalClient: client}, session.RedisOptions{Prefix: "across" + prefix}),
	} {
		app := kit.New(t, session.Config{}, store)
		want := map[string]bool{}
		for i := range 1200 {
			b := app.Browser()
			b.Must(func(s *session.Session) {
				require.NoError(t, s.Login(fmt.Sprintf("user %d%s", i%7, strings.Repeat("x", i%3*400))))
			})
			want[b.View().ID] = true
		}
		all := each(app)
		require.Len(t, all, len(want), name)
		for id := range want {
			require.Contains(t, all, id, name)
		}
		n, err := app.Manager().RevokeAll(app.Context())
		require.NoError(t, err)
		require.Equal(t, len(want), n, name)
		require.Empty(t, each(app), name)
	}
}

func TestEach_LeftEarly(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		for range 5 {
			app.Login("ada")
		}
		n := 0
		for range app.Manager().Each(app.Context()) {
			if n++; n == 2 {
				break
			}
		}
		require.Equal(app.T, 2, n)
	})
}

func TestEach_Failures(t *testing.T) {
	failure := func(seq iter.Seq2[session.Info, error]) (last error) {
		n := 0
		for info, err := range seq {
			n, last = n+1, err
			require.Zero(t, info)
		}
		require.Equal(t, 1, n)
		return last
	}
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		cookie := app.Login("ada")
		app.Last().Store.Break(kit.ErrDown, sessiontest.List)
		var store *session.StoreError
		require.ErrorAs(app.T, failure(app.Last().Manager.Each(app.Context())), &store)
		require.Equal(app.T, session.OpList, store.Op)
		_, err := app.Last().Manager.RevokeAll(app.Context())
		require.ErrorIs(app.T, err, kit.ErrDown)
		app.Last().Store.Break(kit.ErrDown, sessiontest.End, sessiontest.Swap)
		n, err := app.Last().Manager.RevokeAll(app.Context())
		require.ErrorAs(app.T, err, &store)
		require.Equal(app.T, session.OpEnd, store.Op)
		require.Zero(app.T, n)
		app.Last().Store.Mend()
		require.Zero(app.T, app.Count(session.EventRevoked), "it is told when it is done")
		require.Equal(app.T, "ada", app.User(cookie))

		ctx, cancel := context.WithCancel(app.Context())
		cancel()
		require.Error(app.T, failure(app.Manager().Each(ctx)))
		_, err = app.Manager().RevokeAll(ctx)
		require.Error(app.T, err)
		require.Equal(app.T, "ada", app.User(cookie))
	})
	for name, store := range map[string]session.Store{
		"in the cookie": kit.SealedWithList(t), "that can't": struct{ session.Store }{session.NewMemoryStore()},
	} {
		manager := kit.New(t, session.Config{}, store).Manager()
		require.ErrorIs(t, failure(manager.Each(t.Context())), errors.ErrUnsupported, name)
		_, err := manager.RevokeAll(t.Context())
		require.ErrorIs(t, err, errors.ErrUnsupported, name)
	}
}

// A server that goes away in the middle is an error and no end.
func TestEach_RedisGoesAway(t *testing.T) {
	server := redistest.Start(t)
	app := kit.New(t, session.Config{}, kit.OpenRedis(t, server, session.RedisOptions{}))
	for range 1100 {
		app.Login("ada")
	}
	n, last := 0, error(nil)
	for _, err := range app.Manager().Each(app.Context()) {
		if n++; n == 1 {
			server.Kill()
		}
		last = err
	}
	require.Error(t, last)
	require.Less(t, n, 1100)
}

func TestRevokeAll(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		cookies := []string{app.Start(), app.Login("ada"), app.Login("ada"), app.Login("grace")}
		ended := app.Login("ada")
		app.Do(ended, kit.Logout)
		app.Events()
		n, err := app.Last().Manager.RevokeAll(session.WithReason(app.Context(), "the keys were stolen"))
		require.NoError(app.T, err)
		require.Equal(app.T, 4, n)
		events := app.Events()
		require.Len(app.T, events, 1)
		require.Equal(app.T, session.Event{Kind: session.EventRevoked, Reason: session.ReasonEveryone, EndReason: "the keys were stolen", Time: events[0].Time}, events[0])
		for _, cookie := range cookies {
			require.True(app.T, app.Dead(cookie))
		}
		require.Empty(app.T, app.Live())
		again, err := app.Last().Manager.RevokeAll(app.Context())
		require.NoError(app.T, err)
		require.Zero(app.T, again)
		require.Equal(app.T, "ada", app.User(app.Login("ada")), "who signs in afterwards is in")
	})
}

// A request under way keeps nothing open, whatever it does to its session.
func TestRevokeAll_DuringRequests(t *testing.T) {
	for name, do := range map[string]func(*session.Session){"write": kit.CountUp, "regenerate": kit.Regenerate, "reauthenticate": reauthenticate} {
		kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
			cookie := app.Login("ada")
			f := app.Launch(0, cookie, "handler", kit.Act(do))
			n, err := app.Last().Manager.RevokeAll(app.Context())
			require.NoError(app.T, err)
			require.Equal(app.T, 1, n)
			require.NotEqual(app.T, http.StatusOK, f.Land().StatusCode, name)
			require.Empty(app.T, app.Live(), name)
		})
	}
}

// A session that moves to a new ID behind the list is followed there.
func TestRevokeAll_ARegeneratedSession(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		var once sync.Once
		app.Last().Store.Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			if op == sessiontest.End || op == sessiontest.Swap {
				once.Do(func() {
					app.Last().Store.Mend()
					b.Receive(app.Request(0, b.Cookie, kit.Act(kit.Regenerate)))
				})
			}
			return call()
		})
		n, err := app.Last().Manager.RevokeAll(app.Context())
		require.NoError(app.T, err)
		require.Equal(app.T, 1, n)
		require.Empty(app.T, app.Live())
	})
}

// movingStore takes its time to go through its sessions, and one moves behind the list meanwhile, so long ago that its
// tombstone is forgotten.
type movingStore struct {
	*session.MemoryStore
	passes int
	move   func()
}

func (m *movingStore) All(ctx context.Context, realm string) iter.Seq2[*session.Record, error] {
	if m.passes++; m.passes > 1 {
		return m.MemoryStore.All(ctx, realm)
	}
	return func(yield func(*session.Record, error) bool) {
		m.move()
		time.Sleep(2 * time.Minute)
	}
}

func TestRevokeAll_TakesLongerThanATombstone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &movingStore{MemoryStore: session.NewMemoryStore()}
		app := kit.New(t, session.Config{}, store)
		manager, err := session.New(store, session.Config{})
		require.NoError(t, err)
		b := app.BrowserWith(app.Login("ada"))
		store.move = func() { b.Must(kit.Regenerate) }
		n, err := manager.RevokeAll(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Greater(t, store.passes, 1)
	})
}

func TestWithReason(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		endReason := func(cookie string) session.Reason {
			app.Events()
			require.True(app.T, app.Dead(cookie))
			for _, e := range app.Events() {
				if e.Kind == session.EventRejected {
					require.Equal(app.T, session.ReasonEnded, e.Reason)
					return e.EndReason
				}
			}
			return "no event"
		}
		_, lists := app.Store().Front().(session.UserStore)
		for want, do := range map[session.Reason]func(*session.Session){
			session.ReasonLogout: kit.Logout, session.ReasonLogin: kit.LoginAda, session.ReasonRegenerated: kit.Regenerate,
		} {
			cookie := app.Login("ada")
			app.Do(cookie, do)
			require.Equal(app.T, want, endReason(cookie))
		}
		if !lists {
			return // of revocations the list of what has ended keeps none
		}
		ctx := session.WithReason(app.Context(), "password changed")
		cookie := app.Login("ada")
		require.NoError(app.T, app.Manager().Revoke(app.Context(), "ada", app.Look(cookie).ID))
		require.Equal(app.T, session.ReasonOne, endReason(cookie))
		cookie = app.Login("ada")
		require.NoError(app.T, app.Manager().Revoke(ctx, "ada", app.Look(cookie).ID))
		require.EqualValues(app.T, "password changed", endReason(cookie))
		cookie = app.Login("ada")
		app.RevokeUser("ada")
		require.Equal(app.T, session.ReasonAll, endReason(cookie))
		cookie = app.Login("ada")
		_, err := app.Manager().RevokeUser(ctx, "ada")
		require.NoError(app.T, err)
		require.EqualValues(app.T, "password changed", endReason(cookie))

		// One that was under way meanwhile shows it too.
		cookie = app.Login("ada")
		f := app.Launch(0, cookie, "handler", kit.Act(kit.CountUp))
		_, err = app.Last().Manager.RevokeUser(ctx, "ada")
		require.NoError(app.T, err)
		app.Events()
		require.Equal(app.T, http.StatusConflict, f.Land().StatusCode)
		events := app.Events()
		require.Equal(app.T, session.ReasonEndedMeanwhile, events[0].Reason)
		require.EqualValues(app.T, "password changed", events[0].EndReason)
		require.Equal(app.T, "ada", events[0].User)
	})
}

func TestWithReason_OfOtherEnds(t *testing.T) {
	refuse := false
	cfg := session.Config{MaxPerUser: 1, Revalidate: func(context.Context, *session.Session) error {
		if refuse {
			return session.ErrSessionEnded
		}
		return nil
	}}
	app := kit.New(t, cfg, session.NewMemoryStore())
	first := app.Login("ada")
	app.Clock.Advance(time.Second)
	second := app.Login("ada")
	evicted := app.Events()
	require.Equal(t, session.ReasonOverLimit, evicted[len(evicted)-1].EndReason)
	app.Look(first)
	require.Equal(t, session.ReasonOverLimit, app.Events()[0].EndReason)
	refuse = true
	app.Look(second)
	refuse = false
	app.Look(second)
	events := app.Events()
	require.Equal(t, session.ReasonRevalidation, events[0].EndReason)
	require.Equal(t, session.ReasonRevalidation, events[1].EndReason)
}

func TestWithReason_BadReasons(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	for _, reason := range []session.Reason{"", "a\xff", session.Reason(strings.Repeat("x", 257))} {
		ctx := session.WithReason(t.Context(), reason)
		require.ErrorContains(t, app.Manager().Revoke(ctx, "ada", app.Look(cookie).ID), "reason")
		_, err := app.Manager().RevokeUser(ctx, "ada")
		require.ErrorContains(t, err, "reason")
		_, err = app.Manager().RevokeTag(ctx, "ada")
		require.ErrorContains(t, err, "reason")
		_, err = app.Manager().RevokeAll(ctx)
		require.ErrorContains(t, err, "reason")
	}
	require.Equal(t, "ada", app.User(cookie))
}
