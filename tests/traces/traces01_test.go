package traces_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// Of 200 writers that have all loaded, those that find one under way go together with the next swap. With a queue that
// forms after the first conflict it would be over 200 swaps.
func TestTrace01_TheQueueFormsBeforeTheFirstTry(t *testing.T) {
	for _, c := range []struct {
		processes, most int
	}{{1, 2}, {2, 20}} {
		for _, b := range backings() {
			synctest.Test(t, func(t *testing.T) {
				store := b.open(t)
				app := kit.New(t, session.Config{}, []session.Store{store, store}[:c.processes]...)
				cookie := app.Login("ada")
				loaded := make(chan struct{})
				var answered sync.WaitGroup
				for i := range 200 {
					answered.Go(func() {
						resp := app.Request(i%c.processes, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
							s.Has("loads it")
							<-loaded
							kit.CountUp(s)
						})
						require.Equal(t, http.StatusOK, resp.StatusCode)
					})
				}
				synctest.Wait()
				var releases []func()
				for _, n := range app.Nodes {
					n.Store.ForgetCalls()
					releases = append(releases, hold(n.Store, sessiontest.Swap, 1))
				}
				close(loaded)
				synctest.Wait() // one of each process is at the store, and all others wait
				for _, release := range releases {
					release()
				}
				answered.Wait()
				swaps := 0
				for _, n := range app.Nodes {
					swaps += n.Store.Count(sessiontest.Swap)
				}
				require.LessOrEqual(t, swaps, c.most, "%s, %d processes", b.name, c.processes)
				require.Equal(t, 200, counted(app, cookie))
			})
		}
	}
}

// A writer at another process is faster each time. An unconditional end takes one try; one by compare-and-swap goes on
// until the writer rests.
func TestTrace02_AnEndingGetsThrough(t *testing.T) {
	const writes = 50
	for _, how := range endings {
		t.Run(how.name, func(t *testing.T) {
			each(t, withRedis(), session.Config{}, func(t *testing.T, app *kit.App, b backing) {
				cookie := app.Login("ada")
				id := app.Look(cookie).ID
				tries := 0
				app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
					if op == sessiontest.End || op == sessiontest.Swap && endsOnly(app.Store()) {
						if tries++; tries <= writes {
							require.Equal(t, http.StatusOK, app.Request(1, cookie, countUp).StatusCode)
						}
					}
					return call()
				})
				require.Equal(t, http.StatusOK, how.end(app, 0, cookie, id))
				app.Store().Mend()
				want := 1
				if !b.ends {
					want = writes + 1
				}
				require.Equal(t, want, tries)
				require.False(t, live(app, id))
			})
		})
	}
}

// A swap was made and its answer lost. Others push its revision out of the latest ones: then nobody knows whether it was
// made, and it fails rather than count twice.
func TestTrace03_ACommitWhoseRevisionWasPushedOutFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		others int
		later  time.Duration
		status int
	}{
		{"none", 0, 0, http.StatusOK},
		{"few", 31, 0, http.StatusOK},
		{"one too many", 32, 0, http.StatusServiceUnavailable},
		{"many", 40, 0, http.StatusServiceUnavailable},
		{"late", 1, 31 * time.Second, http.StatusServiceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, withRedis(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
				cookie := app.Login("ada")
				resp := app.Do(cookie, func(s *session.Session) {
					kit.CountUp(s)
					loseAtSave(t, app.Store(), s)
					app.Clock.Advance(c.later)
					for range c.others {
						require.Equal(t, http.StatusOK, app.Request(1, cookie, countUp).StatusCode)
					}
				})
				require.Equal(t, c.status, resp.StatusCode)
				require.Equal(t, 1+c.others, counted(app, cookie))
			})
		})
	}
}

// The clocks of two processes differ. The revision that a swap in doubt started from must not outlast its own in the list,
// or the swap would count as not made.
func TestTrace03_TheLatestRevisionsAreForgottenInTheirOrder(t *testing.T) {
	for _, b := range withRedis() {
		t.Run(b.name, func(t *testing.T) {
			store := b.open(t)
			app := kit.New(t, session.Config{}, store)
			ahead := kit.NewClock()
			ahead.Set(app.Clock.Now().Add(5 * time.Second))
			other := kit.NewAt(t, ahead, session.Config{}, store)
			cookie := other.Login("ada")
			require.Equal(t, http.StatusOK, other.Request(0, cookie, countUp).StatusCode)
			resp := app.Do(cookie, func(s *session.Session) {
				kit.CountUp(s)
				loseAtSave(t, app.Store(), s)
				app.Clock.Advance(31 * time.Second)
				require.Equal(t, http.StatusOK, app.Request(0, cookie, countUp).StatusCode)
			})
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, 3, counted(app, cookie))
		})
	}
}

// A login whose answer was lost, and whose session was revoked, is not sent again when the tombstone is gone.
func TestTrace04_DoubtDoesNotOutliveTheTombstone(t *testing.T) {
	for _, before := range []string{"", "ada"} {
		for _, b := range backings() {
			synctest.Test(t, func(t *testing.T) {
				store := b.open(t)
				app := kit.New(t, session.Config{}, store, store)
				cookie, begun := "", ""
				if before != "" {
					cookie = app.Login(before)
				}
				resp := app.Do(cookie, func(s *session.Session) {
					kit.LoginAda(s)
					begun = s.ID()
					loseAtSave(t, app.Store(), s)
					require.Equal(t, 1, app.RevokeUser("ada"))
					time.Sleep(2 * time.Minute)
					app.Clock.Advance(2 * time.Minute)
					for range 5 { // by which the store forgets the tombstone
						app.Start()
					}
				})
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, b.name)
				require.Empty(t, resp.Cookies(), b.name)
				require.False(t, live(app, begun), b.name)
				require.Empty(t, app.Listed("ada"), b.name)
			})
		}
	}
}

// A session that expires between its load and a swap is not written back to life, though the store still has it.
func TestTrace05_AnExpiredSessionIsNotWrittenBackToLife(t *testing.T) {
	set := func(s *session.Session) { s.Set("a", 1) }
	for _, c := range []struct {
		name   string
		do     func(*session.Session)
		status int
	}{
		{"a value", set, http.StatusConflict},
		{"an Update", kit.CountUp, http.StatusConflict},
		{"Regenerate", kit.Regenerate, http.StatusConflict},
		{"a new lifetime", func(s *session.Session) { s.SetLifetime(0, 2*kit.Day) }, http.StatusConflict},
		{"a touch", func(*session.Session) {}, http.StatusOK},
	} {
		for _, stop := range []string{"handler", "swap", "swap, and met"} {
			t.Run(c.name+"/"+stop, func(t *testing.T) {
				each(t, backings(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
					cookie := app.Login("ada")
					app.Clock.Advance(30 * time.Minute)
					status := c.status
					f := app.Launch(0, cookie, strings.TrimSuffix(stop, ", and met"), kit.Act(c.do))
					if stop == "swap, and met" {
						require.Equal(t, http.StatusOK, app.Request(1, cookie, countUp).StatusCode)
					}
					app.Clock.Advance(2 * time.Hour)
					resp := f.Land()
					require.Equal(t, status, resp.StatusCode)
					require.Empty(t, app.Live())
					if status != http.StatusOK {
						require.Empty(t, resp.Cookies())
					}
				})
			})
		}
	}
}

// A new session is in the index before it is stored. Who lists in between must leave the entry there, or nobody finds the
// session any more.
func TestTrace06_TheIndexIsNotPrunedOfASessionThatIsAboutToBegin(t *testing.T) {
	client := kit.RedisClient(t, redistest.Start(t))
	client.AddHook(indexHook{})
	redisStore := kit.RedisOn(t, kit.Across{UniversalClient: client}, session.RedisOptions{})
	for name, store := range map[string]session.Store{"redis, several slots": redisStore, "with an index": newIndexed()} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, store, store)
			f := app.Launch(0, "", "indexed", kit.Act(kit.LoginAda))
			require.Empty(t, app.Listed("ada"))
			b := app.Browser()
			b.Receive(f.Land())
			require.Equal(t, "ada", app.User(b.Cookie))
			require.Len(t, app.Listed("ada"), 1)
			require.Equal(t, 1, app.RevokeUser("ada"))
			require.True(t, app.Dead(b.Cookie))
		})
	}
}

// indexHook stops a flight when the index has its session and nothing else has.
type indexHook struct{}

func (indexHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (indexHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (indexHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.HasPrefix(cmd.Name(), "eval") && strings.Contains(fmt.Sprint(cmd.Args()...), "session:user:") {
			kit.PauseAt(ctx, "indexed")
		}
		return err
	}
}

// indexed is a store with an index of its own, as a database may have it: entries are made before records, and a list
// reads the index first and then one record after the other.
type indexed struct {
	*session.MemoryStore
	mu    sync.Mutex
	users map[string][]string
}

func newIndexed() *indexed {
	return &indexed{MemoryStore: session.NewMemoryStore(), users: make(map[string][]string)}
}

// Swap implements session.Store. A flight stops at "indexed", and at "between" two swaps.
func (x *indexed) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	x.mu.Lock()
	for _, s := range swaps {
		if s.Old == nil {
			x.users[s.New.User] = append(x.users[s.New.User], s.New.ID)
		}
	}
	x.mu.Unlock()
	kit.PauseAt(ctx, "indexed")
	for i, s := range swaps {
		if i > 0 {
			kit.PauseAt(ctx, "between")
		}
		if _, err := x.MemoryStore.Swap(ctx, token, s); err != nil {
			return session.Token{}, err
		}
	}
	return token, nil
}

// UserSessions implements session.UserStore. A flight stops at "listing", when the first record was read.
func (x *indexed) UserSessions(ctx context.Context, _, user string) (records []*session.Record, err error) {
	x.mu.Lock()
	ids := append([]string(nil), x.users[user]...)
	x.mu.Unlock()
	for i, id := range ids {
		if i > 0 {
			kit.PauseAt(ctx, "listing")
		}
		switch r, err := x.Load(ctx, session.NewToken(id, "")); {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, session.ErrNotFound):
			return nil, err
		}
	}
	return records, nil
}

// Nor does anybody know where the store has lost the session since.
func TestTrace03_ACommitWhoseSessionIsGoneFails(t *testing.T) {
	each(t, backings(), session.Config{}, func(t *testing.T, app *kit.App, b backing) {
		cookie := app.Login("ada")
		resp := app.Do(cookie, func(s *session.Session) {
			kit.CountUp(s)
			loseAtSave(t, app.Store(), s)
			app.Store().Replace(b.open(t))
		})
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Empty(t, app.Live())
	})
}
