package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// eachUserStore runs a test on every kind of store that lists.
func eachUserStore(t *testing.T, cfg session.Config, test func(*world)) {
	for _, b := range append(memoryBackings(t), redisBackings(t)...) {
		if !b.sealed {
			t.Run(b.name, func(t *testing.T) { test(b.world(t, cfg)) })
		}
	}
}

// listed returns the user's sessions as the last process lists them.
func (w *world) listed(user string) []session.Info {
	infos, err := w.last().manager.Sessions(context.Background(), user)
	require.NoError(w.t, err)
	for i := range infos { // equal times are to be equal values
		for _, t := range []*time.Time{&infos[i].CreatedAt, &infos[i].AuthenticatedAt, &infos[i].LastUsedAt, &infos[i].ExpiresAt} {
			*t = t.UTC()
		}
	}
	return infos
}

func TestUsers_Sessions(t *testing.T) {
	eachUserStore(t, session.Config{}, func(w *world) {
		begin := w.clock.Now().UTC()
		w.start()
		w.login("grace")
		first := w.login("ada")
		w.clock.advance(10 * time.Minute)
		second := w.login("ada")
		w.do(second, func(s *session.Session) { s.SetNote("Firefox on Debian, 192.0.2.7") })
		w.clock.advance(10 * time.Minute)
		w.do(first, func(*session.Session) {}) // noted: more than a twentieth of an hour has passed
		at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
		require.Equal(w.t, []session.Info{
			{ID: w.look(second).id, User: "ada", Note: "Firefox on Debian, 192.0.2.7", CreatedAt: at(10), AuthenticatedAt: at(10), LastUsedAt: at(20), ExpiresAt: at(80)},
			{ID: w.look(first).id, User: "ada", CreatedAt: begin, AuthenticatedAt: begin, LastUsedAt: at(20), ExpiresAt: at(80)},
		}, w.listed("ada"), "the latest login first; looking at the second noted its use too")
		require.Len(w.t, w.listed("grace"), 1)
		require.Empty(w.t, w.listed("nobody"))

		w.clock.advance(time.Hour)
		require.Empty(w.t, w.listed("ada"), "past their idle limits")
	})
}

func TestUsers_SessionsFollowTheirIDs(t *testing.T) {
	eachUserStore(t, session.Config{}, func(w *world) {
		b := browser{w.name, w.login("ada")}
		for _, do := range []func(*session.Session){regenerate, login} {
			b.receive(w.do(b.cookie, do))
			require.Len(w.t, w.listed("ada"), 1)
			require.Equal(w.t, w.look(b.cookie).id, w.listed("ada")[0].ID)
		}
		b.receive(w.do(b.cookie, func(s *session.Session) { require.NoError(w.t, s.Login("grace")) }))
		require.Empty(w.t, w.listed("ada"))
		require.Len(w.t, w.listed("grace"), 1)
		w.do(b.cookie, func(s *session.Session) { s.SetLifetime(-1, 30*24*time.Hour) })
		w.clock.advance(20 * 24 * time.Hour)
		require.Len(w.t, w.listed("grace"), 1, "the index keeps a remembered session")
		w.do(b.cookie, logout)
		require.Empty(w.t, w.listed("grace"))
	})
}

func TestUsers_Revoke(t *testing.T) {
	eachUserStore(t, session.Config{}, func(w *world) {
		ctx := context.Background()
		ada, other, grace, nobody := w.login("ada"), w.login("ada"), w.login("grace"), w.start()
		for _, id := range []string{w.look(grace).id, w.look(nobody).id, "unknown", "", "user:ada"} {
			err := w.nodes[0].manager.Revoke(ctx, "ada", id)
			require.ErrorIs(w.t, err, session.ErrNotFound)
			require.Equal(w.t, session.ErrNotFound.Error(), err.Error(), "nothing is learnt from it")
		}
		require.Equal(w.t, "grace", w.user(grace))
		require.False(w.t, w.dead(nobody))

		require.NoError(w.t, w.nodes[0].manager.Revoke(ctx, "ada", w.look(ada).id))
		require.True(w.t, w.dead(ada), "at once, in every process")
		require.Equal(w.t, "ada", w.user(other))
		require.Len(w.t, w.listed("ada"), 1)
		require.Error(w.t, w.nodes[0].manager.Revoke(ctx, "", w.look(nobody).id), "nobody has no sessions to end")
	})
}

func TestUsers_RevokeUser(t *testing.T) {
	eachUserStore(t, session.Config{}, func(w *world) {
		var cookies []string
		for range 5 {
			cookies = append(cookies, w.login("ada"))
		}
		grace := w.login("grace")
		n, err := w.nodes[0].manager.RevokeUser(context.Background(), "ada", w.look(cookies[1]).id, "unknown", w.look(grace).id)
		require.NoError(w.t, err)
		require.Equal(w.t, 4, n)
		for i, cookie := range cookies {
			require.Equal(w.t, i != 1, w.dead(cookie))
		}
		require.Equal(w.t, "grace", w.user(grace))
		n, err = w.nodes[0].manager.RevokeUser(context.Background(), "ada")
		require.NoError(w.t, err)
		require.Equal(w.t, 1, n)
		require.Empty(w.t, w.listed("ada"))
		require.Len(w.t, w.live(), 1)
		_, err = w.nodes[0].manager.RevokeUser(context.Background(), "")
		require.Error(w.t, err)
	})
}

// The recipe for a changed password: end the others, and give this one a new id.
func TestUsers_RevokeOthersAndRegenerate(t *testing.T) {
	for _, order := range []string{"revoke first", "regenerate first"} {
		eachUserStore(t, session.Config{}, func(w *world) {
			other := w.login("ada")
			b := browser{w.name, w.login("ada")}
			b.receive(w.request(0, b.cookie, func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				if order == "regenerate first" {
					require.NoError(w.t, s.Regenerate())
				}
				n, err := w.nodes[0].manager.RevokeUser(r.Context(), "ada", s.ID())
				require.NoError(w.t, err)
				require.Equal(w.t, 1, n)
				require.NoError(w.t, s.Regenerate())
			}))
			require.Equal(w.t, "ada", w.user(b.cookie), order)
			require.True(w.t, w.dead(other))
		})
	}
}

func TestUsers_MaxPerUser(t *testing.T) {
	eachUserStore(t, session.Config{MaxPerUser: 2}, func(w *world) {
		var cookies []string
		for range 4 {
			cookies = append(cookies, w.login("ada"))
			w.clock.advance(time.Second)
		}
		grace := w.login("grace")
		for i, cookie := range cookies {
			require.Equal(w.t, i < 2, w.dead(cookie), "the oldest go first")
		}
		require.Equal(w.t, "grace", w.user(grace))
		w.do(cookies[2], logout)
		w.login("ada")
		require.Equal(w.t, "ada", w.user(cookies[3]), "one that was signed out counts no more")
		b := browser{w.name, cookies[3]}
		b.receive(w.do(b.cookie, regenerate))
		require.Len(w.t, w.listed("ada"), 2, "a new id is no new session")
	})
}

func TestUsers_MaxPerUser_ParallelLogins(t *testing.T) {
	eachUserStore(t, session.Config{MaxPerUser: 5}, func(w *world) {
		var all sync.WaitGroup
		cookies := make([]string, 50)
		for i := range cookies {
			all.Go(func() {
				b := browser{name: w.name}
				b.receive(w.request(i%len(w.nodes), "", act(login)))
				cookies[i] = b.cookie
			})
		}
		all.Wait()
		alive := 0
		for _, cookie := range cookies {
			require.NotEmpty(w.t, cookie)
			if !w.dead(cookie) {
				alive++
			}
		}
		require.Equal(w.t, 5, alive)
		require.Len(w.t, w.listed("ada"), 5)
	})
}

// A login that races a revocation is ended by it or happened after: of those that had come before, none is left.
func TestUsers_LoginDuringRevokeUser(t *testing.T) {
	eachUserStore(t, session.Config{}, func(w *world) {
		for range 10 {
			before := []string{w.login("ada"), w.login("ada")}
			after := make([]string, 20)
			var all sync.WaitGroup
			for i := range after {
				all.Go(func() {
					b := browser{w.name, before[i%2]}
					b.receive(w.request(i%len(w.nodes), b.cookie, act([]func(*session.Session){login, regenerate}[i/2%2])))
					after[i] = b.cookie
				})
			}
			_, err := w.last().manager.RevokeUser(context.Background(), "ada")
			require.NoError(w.t, err)
			all.Wait()
			require.True(w.t, w.dead(before[0]) && w.dead(before[1]))
			listed := map[string]bool{}
			for _, info := range w.listed("ada") {
				listed[info.ID] = true
			}
			for id := range w.live() {
				require.True(w.t, listed[id], "every session that lives is listed, so that it can be ended")
			}
			_, err = w.last().manager.RevokeUser(context.Background(), "ada")
			require.NoError(w.t, err)
			require.Empty(w.t, w.live())
		}
	})
}

func TestUsers_AStoreThatDoesNotAnswer(t *testing.T) {
	store := &unanswering{session.NewMemoryStore()}
	m, err := session.New(store, session.Config{})
	require.NoError(t, err)
	_, listing := m.Sessions(context.Background(), "ada")
	_, revoking := m.RevokeUser(context.Background(), "ada")
	for _, err := range []error{listing, revoking, m.Revoke(context.Background(), "ada", "x")} {
		var failed *session.StoreError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, errDown)
	}
}

type unanswering struct{ *session.MemoryStore }

func (unanswering) EndUserSession(context.Context, string, string) error { return errDown }
func (unanswering) EndUserSessions(context.Context, string, []string) (int, error) {
	return 0, errDown
}
func (unanswering) UserSessions(context.Context, string) ([]*session.Record, error) {
	return nil, errDown
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
	eachStore(t, cfg, func(w *world) {
		verdict = nil
		cookie := w.login("ada")
		require.Equal(w.t, "ada", w.user(cookie))
		for _, unavailable := range []error{errors.New("no database"), context.DeadlineExceeded} {
			verdict = unavailable
			resp := w.do(cookie, func(s *session.Session) {
				require.Empty(w.t, s.User())
				require.ErrorIs(w.t, s.Err(), unavailable)
				require.ErrorIs(w.t, s.Login("grace"), unavailable)
			})
			require.Equal(w.t, http.StatusServiceUnavailable, resp.StatusCode)
			require.Empty(w.t, resp.Cookies())
		}
		verdict = nil
		require.Equal(w.t, "ada", w.user(cookie), "nothing has ended")

		verdict = fmt.Errorf("the password was changed: %w", session.ErrSessionEnded)
		require.True(w.t, w.dead(cookie))
		verdict = nil
		require.True(w.t, w.dead(cookie), "for good")
		require.Empty(w.t, w.live())
	})
}

func TestUsers_RevalidateAndAClientThatHangsUp(t *testing.T) {
	ctx, hangUp := context.WithCancel(context.Background())
	cfg := session.Config{Revalidate: func(ctx context.Context, _ *session.Session) error {
		hangUp()
		<-ctx.Done()
		return ctx.Err()
	}}
	w := newWorld(t, cfg, session.NewMemoryStore())
	cookie := w.login("ada")
	w.takeEvents()
	w.requestWith(ctx, 0, cookie, act(func(*session.Session) {}))
	require.Empty(t, w.takeEvents(), "that is no store error")
	require.Len(t, w.live(), 1)
}

func TestUsers_AuthenticatedWithin(t *testing.T) {
	eachStore(t, session.Config{IdleTimeout: -1}, func(w *world) {
		b := browser{w.name, w.start()}
		within := func(d time.Duration) (yes bool) {
			b.receive(w.do(b.cookie, func(s *session.Session) { yes = s.AuthenticatedWithin(d) }))
			return yes
		}
		require.False(w.t, within(1<<62), "nobody has signed in")
		b.receive(w.do(b.cookie, login))
		require.True(w.t, within(0))
		w.clock.advance(5 * time.Minute)
		require.True(w.t, within(5*time.Minute))
		require.False(w.t, within(5*time.Minute-1))
		b.receive(w.do(b.cookie, regenerate))
		require.False(w.t, within(5*time.Minute-1), "Regenerate keeps the time")
		b.receive(w.do(b.cookie, login)) // the password was asked for again
		require.True(w.t, within(0))
	})
}

func TestUsers_ClearSiteData(t *testing.T) {
	const all = `"cache", "cookies", "storage"`
	eachStore(t, session.Config{ClearSiteData: true}, func(w *world) {
		for _, do := range []func(*session.Session){logout, func(s *session.Session) { logout(s); s.Flash("info", "signed out") }} {
			require.Equal(w.t, []string{all}, w.do(w.login("ada"), do).Header["Clear-Site-Data"])
		}
		for _, do := range []func(*session.Session){regenerate, login, func(s *session.Session) { s.Clear() }} {
			require.NotContains(w.t, w.do(w.login("ada"), do).Header, "Clear-Site-Data")
		}
	})
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	require.NotContains(t, w.do(w.login("ada"), logout).Header, "Clear-Site-Data", "it is an option")
}

func TestUsers_NoteIsReadBack(t *testing.T) {
	s := new(session.Session)
	require.Empty(t, s.Note())
	s.SetNote("a phone")
	require.Equal(t, "a phone", s.Note())
}

// The client's cache answers more than loads: a list of sessions from it would miss those that have just begun.
func TestUsers_NearCacheListsWhatIsThere(t *testing.T) {
	store, err := session.OpenRedisStore(t.Context(), redistest.Start(t).URL(), session.RedisOptions{
		NearCache: session.NearCache{MaxEntries: 1000, MaxStaleness: time.Minute},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	now := time.Now() // a clock that stands: lists are asked for in the same words then, and could be answered from the cache
	sessions, err := session.New(store, session.Config{Clock: func() time.Time { return now }})
	require.NoError(t, err)
	login := sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, session.FromContext(r.Context()).Login("ada"))
	}))
	for range 20 {
		none, err := sessions.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Empty(t, none)
		login.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "http://localhost/", nil))
		one, err := sessions.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Len(t, one, 1)
		n, err := sessions.RevokeUser(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
}

// A user's index follows a deadline that another request moved while a new id was asked for.
func TestUsers_IndexFollowsTheDeadline(t *testing.T) {
	server := redistest.Start(t)
	for name, store := range map[string]session.Store{
		"redis":                redisStore(t, server, session.RedisOptions{}),
		"redis, several slots": session.NewRedisStore(across{redisClient(t, server)}, session.RedisOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			server.MustDo("FLUSHALL")
			v := newSite(t, store, session.Config{IdleTimeout: -1}).visitor()
			v.signIn("ada")
			v.must(func(s *session.Session) {
				s.Has("n")
				v.copied().must(func(s *session.Session) { s.SetLifetime(-1, 30*day) })
				require.NoError(t, s.Regenerate())
			})
			v.site.clock.move(25 * time.Hour)
			id := v.view().id
			for _, key := range strings.Fields(server.MustDo("KEYS", "*")) {
				if key != "session:"+id && key != "session:user:ada" { // the tombstone leads there for a minute
					server.MustDo("DEL", key)
				}
			}
			ended, err := v.site.manager.RevokeUser(t.Context(), "ada")
			require.NoError(t, err)
			require.Equal(t, 1, ended)
			require.True(t, v.signedOut())
		})
	}
}

// Signing out the other devices after a Login leaves what the Login keeps.
func TestUsers_RevokeTheOthersAfterALogin(t *testing.T) {
	for name, store := range valueStores(t) {
		if sealed, ok := store.(*session.CookieStore); ok {
			store = sealed.WithRevocations(session.NewMemoryRevocations())
		}
		t.Run(name, func(t *testing.T) {
			v := newSite(t, store, session.Config{}).visitor()
			v.signIn("ada")
			v.must(func(s *session.Session) { s.Set("cart", 1) })
			other := v.site.visitor()
			other.signIn("ada")
			v.visit(func(_ http.ResponseWriter, r *http.Request) {
				s := session.FromContext(r.Context())
				require.NoError(t, s.Login("ada", "cart"))
				_, err := v.site.manager.RevokeUser(r.Context(), "ada", s.ID())
				require.NoError(t, err)
			})
			require.Equal(t, 1, read[int](v, "cart"))
			require.True(t, other.signedOut())
		})
	}
}
