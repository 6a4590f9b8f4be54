package session_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// What the other tests of the guarantees would not notice.

// serialStore does one change at a time, each in a tenth of a millisecond, as a Redis does.
type serialStore struct {
	*session.MemoryStore
	turn chan struct{}
}

func (s *serialStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return session.Token{}, ctx.Err()
	}
	defer func() { <-s.turn }()
	time.Sleep(100 * time.Microsecond) // on the bubble's clock
	return s.MemoryStore.Save(ctx, token, c)
}

// Without a queue each of 200 updates would meet all that come before it, and 20,000 attempts do not fit into the
// StoreTimeout; with one, each is made twice at most.
func TestGuarantee03_NoLostUpdates_InTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &serialStore{session.NewMemoryStore(), make(chan struct{}, 1)}
		parallelUpdates(newWorld(t, session.Config{StoreTimeout: time.Second}, store))
	})
}

// A handler may hold the header from before the failure, and set trailers in it while the answer is sent.
func TestGuarantee05_NoTrailerOfTheHandlers(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		store := &failingStore{MemoryStore: session.NewMemoryStore()}
		store.down.Store(true)
		manager, err := session.New(store, session.Config{Logger: quietSlog(), ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "later")
			_ = http.NewResponseController(w).Flush() // so that the answer has no length, and could have trailers
		}})
		require.NoError(t, err)
		site := serve(manager.Middleware(setting(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Trailer", "X-Sum")
			w.WriteHeader(http.StatusCreated)
			h.Set("X-Sum", "its")
			h.Set(http.TrailerPrefix+"X-Late", "its")
		})))
		response, body := site.get("/")
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		require.Equal(t, "later", body)
		require.Empty(t, response.Trailer)
	})
}

// The client was told that nothing was saved, and nothing is, though the store is back before the handler returns.
func TestGuarantee05_AFailedCommitStaysFailed(t *testing.T) {
	w, store := brokenWorld(t, session.Config{})
	cookie := w.login("ada")
	resp := w.request(0, cookie, func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("new", 1)
		store.save = errDown
		_, err := io.WriteString(rw, "the handler's")
		require.ErrorIs(t, err, errDown)
		store.save = nil
		require.ErrorIs(t, s.Save(context.Background()), errDown)
	})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, []string{"cart"}, w.look(cookie).keys)
}

// stuckStore does not answer while it is stuck.
type stuckStore struct {
	*session.MemoryStore
	stuck atomic.Bool
}

func (s *stuckStore) wait(ctx context.Context) error {
	if !s.stuck.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *stuckStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.MemoryStore.Load(ctx, token)
}

func (s *stuckStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if err := s.wait(ctx); err != nil {
		return session.Token{}, err
	}
	return s.MemoryStore.Save(ctx, token, c)
}

func (s *stuckStore) Delete(ctx context.Context, id string, until time.Time) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, id, until)
}

// On the bubble's clock, so that a machine with other things to do makes no difference.
func TestGuarantee06_EachCallEndsInTime(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after func(*session.Session) // the store gets stuck
	}{
		{"load", nil, func(s *session.Session) { s.Keys() }},
		{"Set", func(s *session.Session) { s.Keys() }, func(s *session.Session) { s.Set("new", 1) }},
		{"Update", func(s *session.Session) { s.Keys() }, func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }},
		{"Regenerate", func(s *session.Session) { s.Keys() }, regenerate},
		{"Login", func(s *session.Session) { s.Keys() }, login},
		{"Destroy", func(s *session.Session) { s.Keys() }, logout},
		{"Save", func(s *session.Session) { s.Keys() }, func(s *session.Session) { s.Set("new", 1); _ = s.Save(context.Background()) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := &stuckStore{MemoryStore: session.NewMemoryStore()}
			w := newWorld(t, session.Config{StoreTimeout: time.Second}, store)
			cookie := w.login("ada")
			begun, calls := time.Now(), time.Duration(1)
			if c.name == "Save" {
				calls = 2 // the handler's own, and the one before the first byte
			}
			resp := w.request(0, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				if c.before != nil {
					c.before(s)
				}
				store.stuck.Store(true)
				c.after(s)
			})
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, c.name)
			require.Equal(t, calls*time.Second, time.Since(begun), c.name)
			store.stuck.Store(false)
			require.Equal(t, []string{"cart"}, w.look(cookie).keys, "%s: nothing was harmed", c.name)
		})
	}
}

// Django CVE-2015-3982: what stood under the empty key was everybody's session. A sealed cookie has no id before it is
// opened, and may be sent to a server store.
func TestAdvisory_EmptyKey_OpensNothing(t *testing.T) {
	sealed := foreignCookies(newWorld(t, session.Config{}, session.NewMemoryStore()))[1]
	server := redistest.Start(t)
	store, client := redisStore(t, server, session.RedisOptions{}), redisClient(t, server)
	w := newWorld(t, session.Config{}, store)
	ctx := context.Background()
	fields := client.HGetAll(ctx, "session:"+w.look(w.login("ada")).id).Val()
	fields["i"] = ""
	require.NoError(t, client.HSet(ctx, "session:", fields).Err())
	_, err := store.Load(ctx, session.NewToken("", sealed))
	require.ErrorIs(t, err, session.ErrNotFound)
	require.True(t, w.dead(sealed))

	swapped := &swappedStore{MemoryStore: session.NewMemoryStore()}
	w = newWorld(t, session.Config{}, swapped)
	cookie := w.login("ada")
	nameless := *w.live()[w.look(cookie).id]
	nameless.ID = ""
	swapped.record = &nameless
	require.True(t, w.dead(sealed), "a store that answers with a session of no id")
	require.True(t, w.dead(cookie))
}

// A Flush that can't be done is no first byte: what needs a cookie can still be had.
func TestGuarantee08_FlushWhereTheServerCannot_SpendsNothing(t *testing.T) {
	w := plain{httptest.NewRecorder()}
	newStreamApp(t).handle(setting(func(w http.ResponseWriter, r *http.Request) {
		require.ErrorIs(t, http.NewResponseController(w).Flush(), http.ErrNotSupported)
		require.NoError(t, session.FromContext(r.Context()).Login("ada", "cart"))
	})).ServeHTTP(w, fresh("/"))
	requireSessionCookie(t, w.Header())
}

// Redis would keep a key without a time to live for ever.
func TestGuarantee09_NoTTLIsForever(t *testing.T) {
	b := redisBackings(t)[0]
	over := func(s *session.Session) { s.SetLifetime(0, 30*time.Minute) }
	for name, do := range map[string]func(*world, string){
		"a lifetime that is over": func(w *world, cookie string) { w.clock.advance(30 * time.Minute); w.do(cookie, over) },
		"a write past the deadline": func(w *world, cookie string) {
			f := w.launch(0, cookie, "save", act(func(s *session.Session) { s.Set("new", 1) }))
			w.clock.advance(25 * time.Hour)
			f.land()
		},
		"a touch past the idle limit": func(w *world, cookie string) {
			w.clock.advance(10 * time.Minute)
			f := w.launch(0, cookie, "save", act(func(*session.Session) {}))
			w.clock.advance(time.Hour)
			f.land()
		},
		"a regeneration past the deadline": func(w *world, cookie string) {
			f := w.launch(0, cookie, "save", act(regenerate))
			w.clock.advance(25 * time.Hour)
			f.land()
		},
		"a use at the last moment": func(w *world, cookie string) {
			w.clock.advance(59 * time.Minute)
			w.do(cookie, func(s *session.Session) { s.SetLifetime(0, 59*time.Minute+time.Microsecond) })
		},
	} {
		w := b.world(t, session.Config{})
		do(w, w.login("ada"))
		keys, err := b.client.Keys(context.Background(), "*").Result()
		require.NoError(t, err)
		for _, key := range keys {
			require.NotEqual(t, time.Duration(-1), b.client.TTL(context.Background(), key).Val(), "%s leaves %s for ever", name, key)
		}
	}
}

// What a cookie store does not promise of guarantee 3, as documented: of two responses the last one wins, as a whole.
func TestGuarantee03_SealedAsDocumented(t *testing.T) {
	for _, list := range []session.RevocationList{nil, session.NewMemoryRevocations()} {
		sealed, err := session.NewCookieStore(worldSecret)
		require.NoError(t, err)
		if list != nil {
			sealed = sealed.WithRevocations(list)
		}
		w := newWorld(t, session.Config{}, sealed)
		b := browser{w.name, w.login("ada")}
		late, first := w.overtaken(b.cookie, func(s *session.Session) { s.Set("slow", 1) }, func(s *session.Session) { s.Set("quick", 1) })
		b.receive(first)
		require.Equal(t, []string{"cart", "quick"}, w.look(b.cookie).keys)
		b.receive(late)
		require.Equal(t, []string{"cart", "slow"}, w.look(b.cookie).keys)
	}
}
