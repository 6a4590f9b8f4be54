//go:build !noservers

package operation_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// atOnce is far more than a message takes, and far less than the look every 30 seconds, which the standing clock of the
// application never brings about by itself.
const atOnce = 10 * time.Second

// looks counts how often watched sessions are looked at, by watched.
var looks atomic.Int64

// watched is the configuration of applications whose looks are counted.
func watched(cfg session.Config) session.Config {
	cfg.Observe = func(_ context.Context, call session.StoreCall) func(error) {
		if call.Kind != session.CallCheck {
			return nil
		}
		return func(error) { looks.Add(1) }
	}
	return cfg
}

// lookedAt does what has watched sessions looked at, and waits until that is done.
func lookedAt(tb testing.TB, do func()) {
	tb.Helper()
	before := looks.Load()
	do()
	require.Eventually(tb, func() bool { return looks.Load() > before }, atOnce, time.Millisecond)
}

// connect returns the context of a connection that the browser has open at the first process.
func connect(b *kit.Browser) context.Context {
	b.App.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.App.T.Cleanup(cancel)
	var watching context.Context
	b.Must(func(s *session.Session) { watching = s.Watch(ctx) })
	return watching
}

// watch is connect, and waits until the new session has been looked at for the first time: what comes next is found by a
// message, or by the next look.
func watch(b *kit.Browser) (watching context.Context) {
	b.App.T.Helper()
	lookedAt(b.App.T, func() { watching = connect(b) })
	return watching
}

// endsWith waits for the end of a watched session.
func endsWith(tb testing.TB, watching context.Context, cause error) {
	tb.Helper()
	select {
	case <-watching.Done():
		require.Equal(tb, cause, context.Cause(watching))
		require.ErrorIs(tb, cause, session.ErrSessionEnded)
	case <-time.After(atOnce):
		require.Fail(tb, "the watched session goes on")
	}
}

var watchedEnds = []struct {
	name  string
	cause error
	end   func(app *kit.App, b *kit.Browser)
}{
	{"logout", session.ErrLoggedOut, func(app *kit.App, b *kit.Browser) { app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(kit.Logout)) }},
	{"login", session.ErrLoggedOut, func(app *kit.App, b *kit.Browser) {
		app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(kit.LoginAda))
	}},
	{"regenerate", session.ErrRegenerated, func(app *kit.App, b *kit.Browser) {
		app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(kit.Regenerate))
	}},
	{"reauthenticate", session.ErrRegenerated, func(app *kit.App, b *kit.Browser) {
		app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(reauthenticate))
	}},
	{"Revoke", session.ErrRevoked, func(app *kit.App, b *kit.Browser) {
		require.NoError(app.T, app.Last().Manager.Revoke(app.Context(), "ada", app.Look(b.Cookie).ID))
	}},
	{"RevokeUser", session.ErrRevoked, func(app *kit.App, _ *kit.Browser) { app.RevokeUser("ada") }},
	{"RevokeTag", session.ErrRevoked, func(app *kit.App, _ *kit.Browser) { revokeTag(app, "sid", 1) }},
	{"RevokeAll", session.ErrRevoked, func(app *kit.App, _ *kit.Browser) {
		_, err := app.Last().Manager.RevokeAll(app.Context())
		require.NoError(app.T, err)
	}},
}

// Whatever ends the session, in whatever process, ends the connection at once, and no other.
func TestWatch_EndsAtOnce(t *testing.T) {
	for _, end := range watchedEnds {
		kit.EachUserStore(t, watched(session.Config{}), func(app *kit.App) {
			b := begin(app, loginTagged("ada", "sid"))
			watching, again := watch(b), watch(b)
			other := watch(begin(app, func(s *session.Session) { _ = s.Login("grace") }))
			require.NoError(app.T, watching.Err(), end.name)
			end.end(app, b)
			endsWith(app.T, watching, end.cause)
			endsWith(app.T, again, end.cause)
			if end.name != "RevokeAll" {
				require.NoError(app.T, other.Err(), end.name)
			}
		})
	}
}

// In the cookie what this process ends is found at once.
func TestWatch_SealedInOneProcess(t *testing.T) {
	for _, end := range watchedEnds {
		if end.name == "RevokeAll" {
			continue
		}
		app := kit.New(t, watched(session.Config{}), kit.SealedWithList(t))
		b := begin(app, loginTagged("ada", "sid"))
		watching := watch(b)
		end.end(app, b)
		endsWith(t, watching, end.cause)
	}
}

// A message that is lost delays: the look every 30 seconds by the Manager's clock finds the end.
func TestWatch_LostMessages(t *testing.T) {
	backings := append(kit.MemoryBackings(t)[1:], kit.RedisBackings(t)[1]) // those with two processes
	for _, end := range watchedEnds {
		for _, backing := range backings {
			if end.name == "reauthenticate" || end.name == "login" || end.name == "RevokeAll" {
				continue // as regenerate, as logout, and not in the cookie
			}
			t.Run(end.name+" "+backing.Name, func(t *testing.T) {
				app := backing.New(t, watched(session.Config{}))
				app.Store().Deaf()
				b := begin(app, loginTagged("ada", "sid"))
				watching := watch(b)
				end.end(app, b)
				require.NoError(t, watching.Err(), "the clock stands")
				app.Clock.Advance(30 * time.Second)
				endsWith(t, watching, end.cause)
			})
		}
	}
}

// Limits hold for a connection too, and are told from what other requests do.
func TestWatch_Limits(t *testing.T) {
	kit.EachStore(t, watched(session.Config{IdleTimeout: 20 * time.Minute, Lifetime: 50 * time.Minute}), func(app *kit.App) {
		b := begin(app, loginTagged("ada", "sid"))
		watching := watch(b)
		app.Clock.Advance(20 * time.Minute)
		endsWith(app.T, watching, session.ErrExpired)
		require.True(app.T, b.SignedOut(), "to watch is no use")

		if _, inCookie := app.Store().Front().(session.UserEnder); inCookie {
			return
		}
		b = begin(app, loginTagged("ada", "sid"))
		watching = watch(b)
		for range 3 {
			lookedAt(app.T, func() { app.Clock.Advance(16 * time.Minute) })
			b.Reads()
			require.NoError(app.T, watching.Err(), "it is used elsewhere")
		}
		app.Clock.Advance(2 * time.Minute)
		endsWith(app.T, watching, session.ErrExpired)
	})
}

// A session that ends between the request's load and its Watch is found too.
func TestWatch_EndedBefore(t *testing.T) {
	for _, end := range watchedEnds {
		kit.EachUserStore(t, watched(session.Config{}), func(app *kit.App) {
			b := begin(app, loginTagged("ada", "sid"))
			var watching context.Context
			b.Do(func(s *session.Session) {
				require.Equal(app.T, "ada", s.User())
				end.end(app, b.Copy())
				watching = s.Watch(context.Background())
			})
			endsWith(app.T, watching, end.cause)
		})
	}
}

func TestWatch_WithoutASession(t *testing.T) {
	kit.EachStore(t, watched(session.Config{}), func(app *kit.App) {
		visitor := connect(app.Browser())
		endsWith(app.T, visitor, session.ErrSessionEnded)
		b := app.BrowserWith(app.Login("ada"))
		late := b.Copy()
		b.Must(kit.Logout)
		endsWith(app.T, connect(late), session.ErrSessionEnded)
	})
	app := kit.New(t, watched(session.Config{}), session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	app.Store().Break(kit.ErrDown, sessiontest.Load)
	var watching context.Context
	b.Do(func(s *session.Session) { watching = s.Watch(t.Context()) })
	require.ErrorIs(t, context.Cause(watching), kit.ErrDown)
	require.NotErrorIs(t, context.Cause(watching), session.ErrSessionEnded, "nobody was signed out")
}

// One that its own request has begun, or is about to give a new ID, is watched under that.
func TestWatch_InTheRequestThatBeginsIt(t *testing.T) {
	kit.EachStore(t, watched(session.Config{}), func(app *kit.App) {
		b, watching := app.Browser(), context.Context(nil)
		b.Must(func(s *session.Session) {
			loginTagged("ada", "sid")(s)
			lookedAt(app.T, func() { watching = s.Watch(context.Background()) }) // it is not stored at this look
			require.NoError(app.T, watching.Err())
		})
		app.RevokeUser("ada")
		if _, inCookie := app.Store().Front().(session.UserEnder); inCookie {
			app.Clock.Advance(30 * time.Second)
		}
		endsWith(app.T, watching, session.ErrRevoked)

		b = app.BrowserWith(app.Login("ada"))
		b.Must(func(s *session.Session) {
			require.NoError(app.T, s.Regenerate())
			lookedAt(app.T, func() { watching = s.Watch(context.Background()) })
		})
		require.NoError(app.T, watching.Err())
		b.Must(kit.Logout)
		endsWith(app.T, watching, session.ErrLoggedOut)
	})
}

// A session that is never stored is not watched for ever.
func TestWatch_ASessionThatNeverBegins(t *testing.T) {
	app := kit.New(t, watched(session.Config{}), session.NewMemoryStore())
	app.Store().Break(kit.ErrDown, sessiontest.Swap)
	var watching context.Context
	app.Browser().Do(func(s *session.Session) {
		_ = s.Login("ada")
		lookedAt(t, func() { watching = s.Watch(context.Background()) })
	})
	require.NoError(t, watching.Err())
	app.Clock.Advance(time.Minute)
	endsWith(t, watching, session.ErrSessionEnded)
}

// While the store is away nothing is known, and nobody is signed out; what ended meanwhile is found when it is back.
func TestWatch_StoreDown(t *testing.T) {
	kit.EachUserStore(t, watched(session.Config{IdleTimeout: -1}), func(app *kit.App) {
		b := begin(app, loginTagged("ada", "sid"))
		watching := watch(b)
		app.Store().Deaf()
		for _, break1 := range []func(){
			func() { app.Store().Break(kit.ErrDown, sessiontest.Load) },
			func() {
				app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
					if op == sessiontest.Load {
						panic("a store's")
					}
					return call()
				})
			},
		} {
			break1()
			lookedAt(app.T, func() { app.Clock.Advance(30 * time.Second) })
			require.NoError(app.T, watching.Err())
		}
		app.Store().Mend()
		_, err := app.Last().Manager.RevokeUser(app.Context(), "ada")
		require.NoError(app.T, err)
		app.Clock.Advance(30 * time.Second)
		endsWith(app.T, watching, session.ErrRevoked)

		watching = watch(begin(app, loginTagged("ada", "sid")))
		app.Store().Break(kit.ErrDown, sessiontest.Load)
		app.Clock.Advance(kit.Day)
		endsWith(app.T, watching, session.ErrExpired)
		app.Store().Mend()
	})
}

// A store that has forgotten everything keeps no connection open.
func TestWatch_FlushedStore(t *testing.T) {
	for _, backing := range append(kit.MemoryBackings(t)[:1], kit.RedisBackings(t)[0]) {
		app := backing.New(t, watched(session.Config{}))
		watching := watch(begin(app, loginTagged("ada", "sid")))
		backing.Flush(app)
		app.Clock.Advance(30 * time.Second)
		endsWith(t, watching, session.ErrSessionEnded)
	}
}

// A clock that is set back does not stop the looks.
func TestWatch_ClockSetBack(t *testing.T) {
	app := kit.New(t, watched(session.Config{IdleTimeout: -1}), session.NewMemoryStore())
	app.Store().Deaf()
	b := begin(app, loginTagged("ada", "sid"))
	app.Clock.Advance(2 * time.Hour)
	watching := watch(b)
	app.Clock.Advance(-time.Hour)
	_, err := app.Store().Inner().(session.Ender).End(app.Context(), app.Tombstone(b.View().ID, "ada"))
	require.NoError(t, err)
	endsWith(t, watching, session.ErrLoggedOut)
}

// The connection's own context ends the watch, and its cause is its own.
func TestWatch_TheConnectionEnds(t *testing.T) {
	app := kit.New(t, watched(session.Config{}), session.NewMemoryStore())
	hungUp := errors.New("the client hung up")
	ctx, cancel := context.WithCancelCause(context.Background())
	var watching context.Context
	b := begin(app, loginTagged("ada", "sid"))
	b.Must(func(s *session.Session) { watching = s.Watch(ctx) })
	cancel(hungUp)
	<-watching.Done()
	require.Equal(t, hungUp, context.Cause(watching))
}

// With a store of which nothing is known but Load and Swap, the looks alone do it; and in testing/synctest they are seen
// to come every 30 seconds.
func TestWatch_LooksEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := session.NewMemoryStore()
		front := kit.NewStore(struct{ session.Store }{inner})
		manager, err := session.New(front.Front(), session.Config{IdleTimeout: -1})
		require.NoError(t, err)
		var watching context.Context
		var id string
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		sessiontest.Transaction(t, manager, sessiontest.NewJar(), "/", func(s *session.Session) {
			require.NoError(t, s.Login("ada"))
			require.NoError(t, s.Save(t.Context()))
			id = s.ID()
			watching = s.Watch(ctx)
		})
		synctest.Wait()
		front.ForgetCalls()
		time.Sleep(10*time.Minute + time.Second)
		require.Equal(t, 20, front.Count(sessiontest.Load))
		require.NoError(t, watching.Err())
		_, err = inner.End(t.Context(), &session.Record{ID: id, Revision: "end", Realm: "__Host-session", Ended: true, Revoked: true, Deadline: time.Now().Add(time.Minute)})
		require.NoError(t, err)
		begun := time.Now()
		<-watching.Done()
		require.LessOrEqual(t, time.Since(begun), 30*time.Second)
		require.Equal(t, session.ErrRevoked, context.Cause(watching))
		time.Sleep(2 * time.Second) // for the Manager's goroutine to find that nothing is watched
	})
}

// Many sessions take one goroutine, of the Manager, and none when nothing is watched any more. Nothing is kept of them.
func TestWatch_Goroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		manager, err := session.New(session.NewMemoryStore(), session.Config{})
		require.NoError(t, err)
		before := ownGoroutines()
		ctx, cancel := context.WithCancel(context.Background())
		const many = 1000
		for range many {
			sessiontest.Transaction(t, manager, sessiontest.NewJar(), "/", func(s *session.Session) {
				require.NoError(t, s.Login("ada"))
				s.Watch(ctx)
			})
		}
		synctest.Wait()
		require.LessOrEqual(t, ownGoroutines(), before+1)
		cancel()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.LessOrEqual(t, ownGoroutines(), before)
	})
}

// ownGoroutines counts the goroutines that package session has started, in all tests. Others come and go.
func ownGoroutines() int {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "created by github.com/doorman-go/session.")
}

// Watches begin and end at the same time as their sessions.
func TestWatch_Races(t *testing.T) {
	kit.EachUserStore(t, watched(session.Config{}), func(app *kit.App) {
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				b := app.Browser()
				b.Receive(app.Request(0, "", kit.Act(loginTagged("ada", "sid"))))
				var own sync.WaitGroup
				for range 3 {
					own.Go(func() {
						ctx, cancel := context.WithCancel(context.Background())
						defer cancel()
						watching := make(chan context.Context, 1)
						app.Request(0, b.Cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { watching <- s.Watch(ctx) })
						if i%2 == 0 {
							cancel()
						}
						select {
						case <-(<-watching).Done():
						case <-time.After(atOnce):
							t.Error("the watched session goes on")
						}
					})
				}
				own.Go(func() { app.Request(len(app.Nodes)-1, b.Cookie, kit.Act(kit.Logout)) })
				own.Wait()
			})
		}
		all.Wait()
	})
}

// Two applications' processes on one Redis: one subscription each, which is gone when nothing is watched.
func TestWatch_OneSubscriptionAProcess(t *testing.T) {
	server := redistest.Start(t)
	store := kit.OpenRedis(t, server, session.RedisOptions{})
	client := kit.RedisClient(t, server)
	subscribers := func() int64 {
		n, err := client.PubSubNumSub(t.Context(), "session:ended").Result()
		require.NoError(t, err)
		return n["session:ended"]
	}
	require.Zero(t, subscribers(), "nothing is watched")
	ctx, cancel := context.WithCancel(context.Background())
	for _, app := range []*kit.App{kit.New(t, session.Config{Name: "a"}, store), kit.New(t, session.Config{Name: "b"}, store)} {
		for range 20 {
			begin(app, loginTagged("ada", "sid")).Must(func(s *session.Session) { s.Watch(ctx) })
		}
	}
	require.Eventually(t, func() bool { return subscribers() == 1 }, atOnce, time.Millisecond)
	cancel()
	require.Eventually(t, func() bool { return subscribers() == 0 }, atOnce, time.Millisecond)
}

// A subscription that was cut is there again by itself, and what was missed is looked for without waiting.
func TestWatch_RedisConnectionLost(t *testing.T) {
	server := redistest.Start(t)
	app := kit.New(t, watched(session.Config{}), kit.OpenRedis(t, server, session.RedisOptions{}), kit.OpenRedis(t, server, session.RedisOptions{}))
	client := kit.RedisClient(t, server)
	b := begin(app, loginTagged("ada", "sid"))
	watching := watch(b)
	for range 3 {
		require.Eventually(t, func() bool {
			n, err := client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Result()
			return err == nil && n == 1
		}, atOnce, time.Millisecond)
	}
	app.RevokeUser("ada")
	endsWith(t, watching, session.ErrRevoked)
}

// A Redis user who may neither publish nor subscribe loses the messages, and nothing else.
func TestWatch_RedisWithoutTheRights(t *testing.T) {
	server := redistest.Start(t)
	server.MustDo("ACL", "SETUSER", "app", "on", ">secret", "resetchannels", "~session:*", "+@all", "-publish", "-subscribe")
	url := "redis://app:secret@" + server.Addr + "/0"
	app := kit.New(t, watched(session.Config{}), kit.OpenRedisAt(t, url, session.RedisOptions{}), kit.OpenRedisAt(t, url, session.RedisOptions{}))
	b := begin(app, loginTagged("ada", "sid"))
	watching := watch(b)
	require.Equal(t, 1, app.RevokeUser("ada"))
	require.True(t, b.SignedOut())
	app.Clock.Advance(30 * time.Second)
	endsWith(t, watching, session.ErrRevoked)
}

// The messages cost no round trip and name no secret: the key, which is a hash.
func TestWatch_TheMessage(t *testing.T) {
	server := redistest.Start(t)
	client := kit.RedisClient(t, server)
	subscription := client.Subscribe(t.Context(), "session:ended")
	defer func() { require.NoError(t, subscription.Close()) }()
	_, err := subscription.Receive(t.Context())
	require.NoError(t, err)
	for name, store := range map[string]session.Store{
		"standalone": kit.OpenRedis(t, server, session.RedisOptions{}),
		"across":     kit.RedisOn(t, kit.Across{UniversalClient: client}, session.RedisOptions{}),
	} {
		app := kit.New(t, watched(session.Config{}), store)
		for _, end := range watchedEnds {
			b := begin(app, loginTagged("ada", "sid"))
			id := b.View().ID
			end.end(app, b)
			require.Equal(t, "session:"+id, published(t, subscription), "%s: %s", name, end.name)
			_, err := app.Manager().RevokeAll(app.Context())
			require.NoError(t, err)
			if !errors.Is(end.cause, session.ErrRevoked) && end.name != "logout" { // another session was live, and told of
				published(t, subscription)
			}
		}
	}
}

func published(t *testing.T, subscription *redis.PubSub) string {
	t.Helper()
	message, err := subscription.ReceiveTimeout(t.Context(), atOnce)
	require.NoError(t, err)
	return message.(*redis.Message).Payload
}
