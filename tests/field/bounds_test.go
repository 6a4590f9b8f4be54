package field_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// E. What had no budget in all.

// allocated returns how many bytes f has allocated.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// requireLinear runs f with a number and with four times that, which may take four times the time and memory, and far less
// than sixteen.
func requireLinear(t *testing.T, n int, f func(n int)) {
	t.Helper()
	f(n)
	measure := func(n int) (time.Duration, uint64) {
		watch := redistest.NewStopwatch()
		defer watch.Stop()
		bytes := allocated(func() { f(n) })
		return watch.Elapsed(), bytes
	}
	once, onceBytes := measure(n)
	more, moreBytes := measure(4 * n)
	require.Less(t, moreBytes, 8*onceBytes)
	require.Less(t, more, 8*once+100*time.Millisecond)
}

func TestField13_ManyFlashesAreNotQuadratic(t *testing.T) {
	requireLinear(t, 10_000, func(n int) {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		app.Do("", func(s *session.Session) {
			for range n {
				s.Flash("info", "hello")
			}
			require.Len(t, s.Flashes(), n)
		})
	})
	requireLinear(t, 5_000, func(n int) {
		app := kit.New(t, session.Config{MaxSize: 8 << 20}, session.NewMemoryStore())
		b := app.Browser()
		b.Must(func(s *session.Session) {
			for range n {
				s.Flash("info", "hello")
			}
		})
		b.Must(func(s *session.Session) { require.Len(t, s.Flashes(), n) })
	})
}

// Values and single messages are no different.
func TestField13_ManyChangesAreNotQuadratic(t *testing.T) {
	app := kit.New(t, session.Config{MaxSize: 8 << 20}, session.NewMemoryStore())
	for name, change := range map[string]func(s *session.Session, i int){
		"Set":               func(s *session.Session, i int) { s.Set(fmt.Sprint("k", i), i) },
		"Set of one":        func(s *session.Session, i int) { s.Set("k", i) },
		"Delete":            func(s *session.Session, i int) { s.Delete(fmt.Sprint("k", i)) },
		"Update":            func(s *session.Session, _ int) { kit.CountUp(s) },
		"Flash and Flashes": func(s *session.Session, _ int) { s.Flash("info", "hello"); s.Flashes() },
		"Has":               func(s *session.Session, _ int) { s.Set("k", 1); s.Has("k") },
	} {
		t.Run(name, func(t *testing.T) {
			requireLinear(t, 2_000, func(n int) {
				app.Do("", func(s *session.Session) {
					for i := range n {
						change(s, i)
					}
				})
			})
		})
	}
}

// What an anonymous visitor can make a session grow to ends at MaxSize, whatever the kind and however many the requests.
func TestField13_ASessionHasALimitInAll(t *testing.T) {
	text := strings.Repeat("x", 1000)
	eachStore(t, session.Config{MaxSize: 16 << 10}, func(t *testing.T, app *kit.App) {
		for name, grow := range map[string]func(s *session.Session, i int){
			"flashes": func(s *session.Session, _ int) { s.Flash("info", text) },
			"values":  func(s *session.Session, i int) { s.Set(fmt.Sprint("k", i), text) },
			"keys":    func(s *session.Session, i int) { s.Set(fmt.Sprint(text, i), 1) },
			"one": func(s *session.Session, _ int) {
				session.Key[string]("k").Update(s, func(old string) string { return old + text })
			},
		} {
			b := app.Browser()
			grown := 0
			for i := range 40 {
				if resp := b.Do(func(s *session.Session) { grow(s, i) }); resp.StatusCode == http.StatusOK {
					grown++
				}
			}
			require.Less(t, grown, 17, name)
			require.Greater(t, grown, 1, name)
			b.Must(func(s *session.Session) { s.Clear() })
			b.Must(func(s *session.Session) { grow(s, 0) })
		}
	})
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	require.Equal(t, http.StatusInternalServerError, app.Do(cookie, func(s *session.Session) { s.SetNote(strings.Repeat("x", 257)) }).StatusCode)
	require.Equal(t, http.StatusOK, app.Do(cookie, func(s *session.Session) { s.SetNote(strings.Repeat("x", 256)) }).StatusCode)
	app.Do(cookie, func(s *session.Session) {
		require.Error(t, s.Login(strings.Repeat("x", 1025)))
		require.Error(t, s.RenameUser(strings.Repeat("x", 1025)))
	})
}

// Lowered on a user with many sessions, MaxPerUser takes its time over several logins, and holds up nobody.
func TestField14_MaxPerUserOnManySessions(t *testing.T) {
	server := redistest.Start(t)
	store := kit.OpenRedis(t, server, session.RedisOptions{})
	app := kit.New(t, session.Config{}, store)
	b := app.BrowserWith(app.Login("ada"))
	const many = 20_000
	seed(t, app, store, b, many)
	server.MustDo("CONFIG", "SET", "slowlog-log-slower-than", "100000") // microseconds
	server.MustDo("SLOWLOG", "RESET")

	lowered := kit.NewAt(t, app.Clock, session.Config{MaxPerUser: 3}, store)
	for login := 1; login <= 2; login++ {
		lowered.Login("ada")
		require.Equal(t, 100*login, lowered.Count(session.EventEvicted))
	}
	require.Equal(t, "0", server.MustDo("SLOWLOG", "LEN"), "no command kept others waiting for long")
	require.Len(t, app.Listed("ada"), many+1+2-200)
}

// seed gives the user of the browser's session so many more of them.
func seed(t *testing.T, app *kit.App, store session.Store, b *kit.Browser, many int) {
	t.Helper()
	pattern, err := store.Load(app.Context(), session.NewToken(b.View().ID, ""))
	require.NoError(t, err)
	work := make(chan int)
	done := make(chan error)
	for range 64 {
		go func() {
			var failed error
			for i := range work {
				r := *pattern
				r.ID, r.Revision = fmt.Sprintf("%s%08d", pattern.ID[:16], i), fmt.Sprint(i)
				if _, err := store.Swap(app.Context(), session.Token{}, session.Swap{New: &r}); err != nil {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for i := range many {
		work <- i
	}
	close(work)
	for range 64 {
		require.NoError(t, <-done)
	}
}

// A list can't know whether an ID is a session's: made-up ones take a bounded place, and there is a way out.
func TestField15_MadeUpIDsAreBounded(t *testing.T) {
	list := session.NewMemoryStore()
	app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne).WithRevocations(list))
	cookie := app.Login("ada")
	elsewhere := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretTwo))
	revoke := func() error { return app.Manager().Revoke(t.Context(), "ada", elsewhere.Look(elsewhere.Start()).ID) }
	for i := range 1000 {
		require.NoError(t, revoke(), i)
	}
	require.Equal(t, 1, list.Len(), "all in one record of the user's")
	err := revoke()
	require.ErrorContains(t, err, "RevokeUser without exceptions ends them all")
	for _, made := range []string{"x", strings.Repeat("x", 10_000), "", "\x00"} {
		require.ErrorIs(t, app.Manager().Revoke(t.Context(), "ada", made), session.ErrNotFound, "no ID looks like that")
	}
	require.Equal(t, "ada", app.User(cookie))
	require.Equal(t, http.StatusOK, app.Do(cookie, kit.Logout).StatusCode, "a logout needs no place there")
	cookie = app.Login("ada")
	app.RevokeUser("ada")
	require.True(t, app.Dead(cookie))
	app.Clock.Advance(3 * time.Minute)
	app.RevokeUser("ada")
	require.NoError(t, revoke(), "and makes room")
}

func TestField16_AMemoryStoreIsBounded(t *testing.T) {
	store := session.NewMemoryStore()
	store.MaxSessions = 100
	app := kit.New(t, session.Config{}, store)
	ada := app.Login("ada")
	begun := 0
	for range 200 {
		if app.Do("", func(s *session.Session) { s.Set("k", 1) }).StatusCode == http.StatusOK {
			begun++
		}
	}
	require.Equal(t, 89, begun)
	require.LessOrEqual(t, store.Len(), 100)
	require.Contains(t, app.Log(), "see MemoryStore.MaxSessions")
	app.Login("grace")
	requireStatus(t, http.StatusOK, app.Do(ada, func(s *session.Session) { s.Set("k", 1) }), app)
	requireStatus(t, http.StatusOK, app.Do(ada, kit.Logout), app)
}

// The entries of sessions that have ended stay in an index for a minute more, and not to the sessions' deadlines.
func TestField17_AnIndexForgetsWhatHasEnded(t *testing.T) {
	server := redistest.Start(t)
	app := kit.New(t, session.Config{Lifetime: 30 * kit.Day, IdleTimeout: kit.Day}, kit.OpenRedis(t, server, session.RedisOptions{}))
	ends := map[string]func(cookie string){
		"Destroy":    func(c string) { app.Do(c, kit.Logout) },
		"Login":      func(c string) { app.Do(c, func(s *session.Session) { _ = s.Login("grace") }) },
		"Regenerate": func(c string) { app.Do(c, kit.Regenerate) },
		"Revoke":     func(c string) { require.NoError(t, app.Manager().Revoke(t.Context(), "ada", app.Look(c).ID)) },
		"RevokeUser": func(string) { app.RevokeUser("ada") },
	}
	for name, end := range ends {
		cookie := app.Login("ada")
		id := app.Look(cookie).ID
		end(cookie)
		require.Less(t, indexed(t, server, id), 2*time.Minute, name)
	}
	cookie := app.Login("ada")
	require.Greater(t, indexed(t, server, app.Look(cookie).ID), 23*time.Hour, "a session's own is as long as it may be unused")
	require.Less(t, indexed(t, server, app.Look(cookie).ID), 25*time.Hour)
}

// indexed returns how long the ID is still in a user's index.
func indexed(t *testing.T, server *redistest.Server, id string) time.Duration {
	t.Helper()
	for key := range strings.FieldsSeq(server.MustDo("KEYS", "session:user:*")) {
		if score := server.MustDo("ZSCORE", key, id); score != "" {
			var at int64
			_, err := fmt.Sscan(score, &at)
			require.NoError(t, err)
			return time.Until(time.UnixMilli(at))
		}
	}
	t.Fatalf("%s is in no index", id)
	return 0
}
