//go:build !noservers

package guarantees_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
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

func TestGuarantee03_NoLostUpdates_RedisAcross(t *testing.T) {
	client := kit.Across{UniversalClient: kit.RedisClient(t, redistest.Start(t))}
	stores := func() []session.Store {
		return []session.Store{kit.RedisOn(t, client, session.RedisOptions{})}
	}
	keepAll(t, kit.Backing{Name: "redis, several slots", Stores: stores})
}

// An Update and a new ID in one request: if the value is a newer one meanwhile, the update is made again, and the new ID
// comes with it.
func TestGuarantee03_UpdateWithANewID(t *testing.T) {
	server := redistest.Start(t)
	for name, store := range map[string]session.Store{
		"memory": session.NewMemoryStore(), "redis": kit.OpenRedis(t, server, session.RedisOptions{}),
		"redis, several slots": kit.RedisOn(t, kit.Across{UniversalClient: kit.RedisClient(t, server)}, session.RedisOptions{Prefix: "across:"}),
	} {
		app := kit.New(t, session.Config{}, store)
		b := app.BrowserWith(app.Login("ada"))
		old := b.Cookie
		late, _ := app.Overtaken(old, func(s *session.Session) { kit.CountUp(s); kit.Regenerate(s) }, kit.CountUp)
		b.Receive(late)
		require.NotEqual(t, old, b.Cookie, name)
		require.True(t, app.Dead(old), name)
		require.Equal(t, 2, kit.Value[int](app, b.Cookie, "counter"), name)
	}
}

// Without a queue each of 200 updates would meet all that come before it, and 20,000 attempts do not fit into the
// StoreTimeout. The store makes one change at a time, each in a tenth of a millisecond, as a Redis does.
func TestGuarantee03_NoLostUpdates_InTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, turn := kit.New(t, session.Config{StoreTimeout: time.Second}, session.NewMemoryStore()), make(chan struct{}, 1)
		app.Store().Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
			if op != sessiontest.Swap {
				return call()
			}
			select {
			case turn <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			defer func() { <-turn }()
			time.Sleep(100 * time.Microsecond) // on the bubble's clock
			return call()
		})
		parallelUpdates(app)
	})
}

// What a cookie store does not promise of guarantee 3, as documented: of two responses the last one wins, as a whole.
func TestGuarantee03_SealedAsDocumented(t *testing.T) {
	for _, sealed := range []session.Store{kit.Sealed(t, kit.SecretOne), kit.SealedWithList(t)} {
		app := kit.New(t, session.Config{}, sealed)
		b := app.BrowserWith(app.Login("ada"))
		late, first := app.Overtaken(b.Cookie, func(s *session.Session) { s.Set("slow", 1) }, func(s *session.Session) { s.Set("quick", 1) })
		b.Receive(first)
		require.Equal(t, []string{"cart", "quick"}, app.Look(b.Cookie).Keys)
		b.Receive(late)
		require.Equal(t, []string{"cart", "slow"}, app.Look(b.Cookie).Keys)
	}
}

func TestGuarantee03_NoLostUpdates_Redis(t *testing.T) {
	for _, b := range kit.ServerBackings(t) {
		keepAll(t, b)
	}
}

func TestGuarantee03_NoLostUpdates(t *testing.T) {
	for _, b := range kit.MemoryBackings(t) {
		if !b.Sealed { // of sealed cookies the last response wins: documented
			keepAll(t, b)
		}
	}
}

// keepAll checks that concurrent requests of one session lose nothing of each other's.
func keepAll(t *testing.T, b kit.Backing) {
	for _, c := range []struct {
		name string
		test func(*kit.App)
	}{
		{"200 writers of different keys", parallelKeys},
		{"200 updates of one key", parallelUpdates},
		{"200 flashes", parallelFlashes},
		{"a set and a delete of different keys", setAndDelete},
		{"a deleted key does not come back", deletedStays},
		{"a read does not undo a write", readUndoesNothing},
		{"an update across a regeneration under way", updateWithRegenerate},
		{"an update across a login that keeps its value", updateWithLogin},
		{"a write sent twice", sentTwice},
		{"a change sent again after another's", sentAgainLater},
		{"a double-clicked sign-in", doubleLogin},
		{"a double-clicked regeneration", doubleRegenerate},
		{"a logout during a regeneration", logoutEndsSuccessor},
		{"a logout during a login over a regeneration", loginKeepsTheTrail},
		{"a stranger with the ID from before a regeneration", strangersOldID},
	} {
		t.Run(b.Name+"/"+c.name, func(t *testing.T) { c.test(b.New(t, session.Config{})) })
	}
}

const many = 200

// together makes many requests with one cookie, at all processes, that have all loaded before the first one commits.
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

func parallelKeys(app *kit.App) {
	cookie := app.Login("ada")
	together(app, cookie, func(i int, s *session.Session) { s.Set(fmt.Sprint("key", i), i) })
	require.Len(app.T, app.Look(cookie).Keys, many+1) // and the cart
}

func parallelUpdates(app *kit.App) {
	cookie := app.Login("ada")
	together(app, cookie, func(_ int, s *session.Session) { kit.CountUp(s) })
	require.Equal(app.T, many, kit.Value[int](app, cookie, "counter"))
}

func parallelFlashes(app *kit.App) {
	cookie := app.Start()
	together(app, cookie, func(i int, s *session.Session) { s.Flash("info", fmt.Sprint(i)) })
	texts := map[string]bool{}
	app.Do(cookie, func(s *session.Session) {
		for _, f := range s.Flashes() {
			texts[f.Message] = true
		}
	})
	require.Len(app.T, texts, many)
}

func setAndDelete(app *kit.App) {
	cookie := app.Login("ada")
	app.Overtaken(cookie, func(s *session.Session) { s.Set("new", 1) }, func(s *session.Session) { s.Delete("cart") })
	require.Equal(app.T, []string{"new"}, app.Look(cookie).Keys)
	app.Overtaken(cookie, func(s *session.Session) { s.Delete("new") }, func(s *session.Session) { s.Set("other", 1) })
	require.Equal(app.T, []string{"other"}, app.Look(cookie).Keys)
}

func deletedStays(app *kit.App) {
	for _, late := range []func(*session.Session){
		func(s *session.Session) { s.Set("new", 1) },
		func(s *session.Session) { s.Flash("info", "new") },
		kit.CountUp,
		func(s *session.Session) { s.SetNote("phone") },
	} {
		cookie := app.Login("ada")
		app.Overtaken(cookie, late, func(s *session.Session) { s.Delete("cart") })
		require.NotContains(app.T, app.Look(cookie).Keys, "cart")
	}
	cookie := app.Login("ada")
	late, _ := app.Overtaken(cookie, kit.Regenerate, func(s *session.Session) { s.Delete("cart") })
	b := app.BrowserWith(cookie)
	b.Receive(late)
	require.NotEqual(app.T, cookie, b.Cookie)
	require.Empty(app.T, app.Look(b.Cookie).Keys, "nor with a new ID")
}

func readUndoesNothing(app *kit.App) {
	cookie := app.Login("ada")
	app.Clock.Advance(10 * time.Minute) // a touch is due
	app.Overtaken(cookie, func(*session.Session) {}, func(s *session.Session) { s.Set("cart", "coffee") })
	require.Equal(app.T, "coffee", kit.Value[string](app, cookie, "cart"))
}

// updateWithLogin: an Update before or after the login that keeps its value is made again as well.
func updateWithLogin(app *kit.App) {
	login := func(s *session.Session) { _ = s.Login("ada", "counter") }
	for _, do := range []func(*session.Session){
		func(s *session.Session) { kit.CountUp(s); login(s) },
		func(s *session.Session) { login(s); kit.CountUp(s) },
	} {
		cookie := app.Start()
		app.Do(cookie, kit.CountUp)
		late, _ := app.Overtaken(cookie, do, kit.CountUp)
		b := app.BrowserWith(cookie)
		b.Receive(late)
		require.Equal(app.T, "ada", app.User(b.Cookie))
		require.Equal(app.T, 3, kit.Value[int](app, b.Cookie, "counter"))
	}
}

// updateWithRegenerate: an Update in the request that regenerates meets another's change, and is made again.
func updateWithRegenerate(app *kit.App) {
	cookie := app.Login("ada")
	late, _ := app.Overtaken(cookie, func(s *session.Session) { kit.CountUp(s); _ = s.Regenerate() }, kit.CountUp)
	b := app.BrowserWith(cookie)
	b.Receive(late)
	require.NotEqual(app.T, cookie, b.Cookie)
	require.Equal(app.T, 2, kit.Value[int](app, b.Cookie, "counter"))
}

// sentTwice: the reply to each change is lost, and the client sends it again.
func sentTwice(app *kit.App) {
	for _, n := range app.Nodes {
		n.Store.SendTwice()
	}
	b := app.Browser()
	for i, do := range []func(*session.Session){
		func(s *session.Session) { s.Set("cart", "tea") },
		kit.CountUp,
		func(s *session.Session) { s.Flash("info", "once") },
		kit.Regenerate,
		func(s *session.Session) { _ = s.Login("ada", "cart", "counter"); s.Flash("info", "once") },
		func(s *session.Session) { kit.CountUp(s); _ = s.Regenerate() },
	} {
		resp := app.Do(b.Cookie, do)
		require.Equal(app.T, http.StatusOK, resp.StatusCode, "change %d", i)
		b.Receive(resp)
	}
	require.Equal(app.T, 2, kit.Value[int](app, b.Cookie, "counter"))
	require.Len(app.T, app.Live(), 1)
	flashes := []session.Flash{}
	app.Do(b.Cookie, func(s *session.Session) { flashes = s.Flashes() })
	require.Equal(app.T, []session.Flash{{Category: "info", Message: "once"}}, flashes)
}

// sentAgainLater: between a change and its second copy another request's change was made, or the session ended.
func sentAgainLater(app *kit.App) {
	cookie := app.Login("ada")
	replay := app.Store().Recorded(func() { app.Do(cookie, func(s *session.Session) { kit.Counter.Set(s, 1); s.Delete("cart") }) })
	app.Do(cookie, func(s *session.Session) { kit.Counter.Set(s, 2); s.Set("cart", "coffee") })
	var conflict *session.ConflictError
	require.ErrorAs(app.T, replay(), &conflict)
	require.Equal(app.T, 2, kit.Value[int](app, cookie, "counter"))
	require.Equal(app.T, "coffee", kit.Value[string](app, cookie, "cart"))

	app.Do(cookie, kit.Logout)
	require.ErrorAs(app.T, replay(), &conflict)
	require.Empty(app.T, app.Live())

	replay = app.Store().Recorded(func() { cookie = app.Login("ada") })
	app.Do(cookie, kit.Logout)
	require.ErrorAs(app.T, replay(), &conflict)
	require.Empty(app.T, app.Live(), "a creation sent again after the logout")
}

func doubleLogin(app *kit.App) {
	cookie := app.Start()
	late, first := app.Overtaken(cookie, kit.LoginAda, kit.LoginAda)
	for _, order := range [][]*http.Response{{first, late}, {late, first}} {
		b := app.BrowserWith(cookie)
		b.Receive(order...)
		require.Equal(app.T, "ada", app.User(b.Cookie), "signed in, whichever response comes last")
	}
	require.True(app.T, app.Dead(cookie))
}

func doubleRegenerate(app *kit.App) {
	cookie := app.Login("ada")
	late, first := app.Overtaken(cookie, kit.Regenerate, kit.Regenerate)
	require.Equal(app.T, http.StatusConflict, late.StatusCode)
	for _, order := range [][]*http.Response{{first, late}, {late, first}} {
		b := app.BrowserWith(cookie)
		b.Receive(order...)
		require.Equal(app.T, "ada", app.User(b.Cookie))
	}
	require.Len(app.T, app.Live(), 1)
}

func logoutEndsSuccessor(app *kit.App) {
	for name, c := range map[string]struct {
		logout func(*session.Session)
		user   string // signed in afterwards
		left   int    // sessions
	}{
		"alone":        {kit.Logout, "", 0},
		"with a flash": {func(s *session.Session) { kit.Logout(s); s.Flash("info", "signed out") }, "", 1},
		"with a login": {func(s *session.Session) { kit.Logout(s); _ = s.Login("grace", "cart") }, "grace", 1},
	} {
		cookie := app.Login("ada")
		late, first := app.Overtaken(cookie, c.logout, kit.Regenerate)
		require.Equal(app.T, http.StatusOK, late.StatusCode, name)
		b := app.BrowserWith(cookie)
		b.Receive(first)
		next := b.Cookie
		require.True(app.T, app.Dead(next), "%s: signed out means signed out", name)
		b.Receive(late)
		require.Equal(app.T, c.left == 0, b.Cookie == "", name)
		require.Equal(app.T, c.user, app.User(b.Cookie), name)
		require.Len(app.T, app.Live(), c.left, name)
		app.Do(b.Cookie, kit.Logout)
	}
}

// strangersOldID: by the ID that a session had, nobody but its user can end it, or learn that there is one.
func strangersOldID(app *kit.App) {
	b := app.BrowserWith(app.Login("ada"))
	old := app.Look(b.Cookie).ID
	b.Receive(app.Do(b.Cookie, kit.Regenerate))
	require.ErrorIs(app.T, app.Last().Manager.Revoke(context.Background(), "mallory", old), session.ErrNotFound)
	require.Equal(app.T, "ada", app.User(b.Cookie))
	require.NoError(app.T, app.Last().Manager.Revoke(context.Background(), "ada", old))
	require.True(app.T, app.Dead(b.Cookie))
}

// loginKeepsTheTrail: a login over a session that was just regenerated does not hide where that went on from a logout.
func loginKeepsTheTrail(app *kit.App) {
	cookie := app.Login("ada")
	out := app.Launch(0, cookie, "end", kit.Act(kit.Logout))
	late, first := app.Overtaken(cookie, func(s *session.Session) { _ = s.Login("grace") }, kit.Regenerate)
	require.Equal(app.T, http.StatusOK, out.Land().StatusCode)
	b := app.BrowserWith(cookie)
	b.Receive(first)
	require.True(app.T, app.Dead(b.Cookie))
	b.Receive(late)
	require.Equal(app.T, "grace", app.User(b.Cookie))
	require.Len(app.T, app.Live(), 1)
}

// A HEAD request reads the messages and leaves them: its answer shows nobody one.
func TestGuarantee03_AHeadTakesNoMessage(t *testing.T) {
	app := newPages(t)
	b := app.BrowserOf(app.Pages(func(_ http.ResponseWriter, r *http.Request) {
		require.Len(t, session.FromContext(r.Context()).Flashes(), 1)
	}))
	b.Must(func(s *session.Session) { s.Flash("info", "hello") })
	for _, method := range []string{http.MethodHead, http.MethodHead, http.MethodGet} {
		r := kit.Fresh("/")
		r.Method = method
		b.Serve(httptest.NewRecorder(), r)
	}
	b.Must(func(s *session.Session) { require.Empty(t, s.Flashes()) })
}

// What is set while the commit of a touch looks at the session again is not lost with it.
func TestGuarantee03_SetDuringATouch(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Events()
	resp := app.Request(0, cookie, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		require.Equal(t, "ada", s.User())
		app.Clock.Advance(40 * time.Minute)
		require.Equal(t, "ada", app.User(cookie)) // another request uses it
		app.Clock.Advance(40 * time.Minute)
		set := false
		app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			err := call()
			if op == sessiontest.Load && !set {
				set = true
				s.Set("late", 1)
			}
			return err
		})
		kit.WriteOK(w, r)
		require.True(t, set)
	})
	require.Equal(t, http.StatusOK, resp.StatusCode)
	app.Store().Mend()
	require.Empty(t, app.Happened())
	require.Equal(t, []string{"cart", "late"}, app.Look(cookie).Keys)
}
