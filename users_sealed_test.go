package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// eachList runs a test on two processes with sealed cookies, for each kind of revocation list.
func eachList(t *testing.T, test func(*world)) {
	opts, err := redis.ParseURL(redistest.Start(t).URL())
	require.NoError(t, err)
	opts.ContextTimeoutEnabled = true
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	memory := session.NewMemoryRevocations()
	for name, lists := range map[string][]session.RevocationList{
		"memory": {memory, memory},
		"redis":  {session.NewRedisRevocations(client, session.RedisOptions{}), session.NewRedisRevocations(client, session.RedisOptions{})},
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := session.NewCookieStore(worldSecret)
			require.NoError(t, err)
			test(newWorld(t, session.Config{Lifetime: 48 * time.Hour, IdleTimeout: -1}, sealed.WithRevocations(lists[0]), sealed.WithRevocations(lists[1])))
		})
	}
}

func TestUsers_Sealed_ReplayAfterTheEnd(t *testing.T) {
	eachList(t, func(w *world) {
		for _, end := range []func(*session.Session){logout, regenerate, login} {
			cookie := w.login("ada")
			w.do(cookie, end)
			for range 3 { // at once, after the tombstone's minute, and much later
				require.True(w.t, w.dead(cookie))
				w.clock.advance(12 * time.Hour)
			}
		}
	})
}

func TestUsers_Sealed_Revoke(t *testing.T) {
	eachList(t, func(w *world) {
		ctx, m := context.Background(), w.nodes[0].manager
		ada, other, grace := w.login("ada"), w.login("ada"), w.login("grace")
		require.NoError(w.t, m.Revoke(ctx, "ada", w.look(ada).id))
		require.NoError(w.t, m.Revoke(ctx, "ada", w.look(grace).id), "a list can't know whose it is")
		require.True(w.t, w.dead(ada))
		require.Equal(w.t, "ada", w.user(other))
		require.Equal(w.t, "grace", w.user(grace), "but it ends ada's sessions only")

		federated := w.login("github:ada")
		for _, id := range []string{":github", ":", "\x00github"} {
			require.ErrorIs(w.t, m.Revoke(ctx, "ada", w.look(federated).id+id), session.ErrNotFound, "no handle looks like that")
		}
		require.Equal(w.t, "github:ada", w.user(federated), "nor does an id reach into a user's name")
	})
}

func TestUsers_Sealed_RevokeUser(t *testing.T) {
	eachList(t, func(w *world) {
		ctx, m := context.Background(), w.nodes[0].manager
		first, kept, grace, nobody := w.login("ada"), w.login("ada"), w.login("grace"), w.start()
		n, err := m.RevokeUser(ctx, "ada", w.look(kept).id)
		require.NoError(w.t, err)
		require.Zero(w.t, n, "it can't count")
		require.True(w.t, w.dead(first))
		require.Equal(w.t, "ada", w.user(kept))
		again := w.login("ada") // in the same microsecond, by a clock that stands
		require.Equal(w.t, "ada", w.user(again), "a later login")

		b := browser{w.name, kept}
		b.receive(w.do(kept, regenerate))
		require.Equal(w.t, "ada", w.user(b.cookie), "an excepted session may change its id")
		w.clock.advance(time.Hour)
		_, err = m.RevokeUser(ctx, "ada")
		require.NoError(w.t, err)
		w.clock.advance(time.Hour)
		for _, cookie := range []string{first, kept, b.cookie, again} {
			require.True(w.t, w.dead(cookie))
		}
		require.Equal(w.t, "grace", w.user(grace))
		require.False(w.t, w.dead(nobody))
	})
}

// A login whose cookie was sealed by a process with a slow clock happened after the revocation that it comes after.
func TestUsers_Sealed_LoginWithASlowClock(t *testing.T) {
	eachList(t, func(w *world) {
		old := w.login("ada")
		_, err := w.nodes[0].manager.RevokeUser(context.Background(), "ada")
		require.NoError(w.t, err)
		w.clock.advance(-5 * time.Second)
		b := browser{w.name, old}
		resp := w.do(old, login)
		b.receive(resp)
		require.Equal(w.t, http.StatusOK, resp.StatusCode)
		require.Equal(w.t, "ada", w.user(b.cookie))
		require.True(w.t, w.dead(old))

		b.cookie = w.login("ada")
		for range 2 { // the second one in place of a session
			b.receive(w.do(b.cookie, func(s *session.Session) {
				s.Has("loads it")
				_, err := w.nodes[1].manager.RevokeUser(context.Background(), "ada")
				require.NoError(w.t, err)
				w.clock.advance(-5 * time.Second)
				_ = s.Login("ada", "cart")
				require.NoError(w.t, s.Save(context.Background()))
				s.Set("n", 1)
			}))
			require.Equal(w.t, []string{"n"}, w.look(b.cookie).keys)
			require.Equal(w.t, 1, value[int](w, b.cookie, "n"), "a second commit of the same request is judged by the same time")
		}
	})
}

// askedList calls meanwhile after it has answered about a session.
type askedList struct {
	session.RevocationList
	meanwhile func()
}

func (l *askedList) Status(ctx context.Context, user, id string, issued time.Time) (session.RevocationStatus, error) {
	status, err := l.RevocationList.Status(ctx, user, id, issued)
	if f := l.meanwhile; f != nil {
		l.meanwhile = nil
		f()
	}
	return status, err
}

// A revocation that comes after the commit's look at the list ends the session under its new id too.
func TestGuarantee02_RevokedWhileARegenerateIsSaved(t *testing.T) {
	sealed, err := session.NewCookieStore(worldSecret)
	require.NoError(t, err)
	list := &askedList{RevocationList: session.NewMemoryRevocations()}
	w := newWorld(t, session.Config{}, sealed.WithRevocations(list))
	b := browser{w.name, w.login("ada")}
	w.clock.advance(time.Minute)
	b.receive(w.do(b.cookie, func(s *session.Session) {
		regenerate(s)
		list.meanwhile = func() {
			_, err := w.last().manager.RevokeUser(context.Background(), "ada")
			require.NoError(t, err)
		}
	}))
	require.Nil(t, list.meanwhile)
	require.True(t, w.dead(b.cookie))
}

// An id may have cookies with two deadlines: however the session was ended, the list remembers it until the later one.
func TestRevocations_TheLaterDeadlineCounts(t *testing.T) {
	client := redisClient(t, redistest.Start(t))
	for name, list := range map[string]session.RevocationList{
		"memory": session.NewMemoryRevocations(), "redis": session.NewRedisRevocations(client, session.RedisOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			clock := newManualClock()
			end := func(id string, in time.Duration) {
				ctx := session.WithClock(t.Context(), clock.Now)
				require.NoError(t, list.EndSession(ctx, "", id, clock.Now().Add(in)))
			}
			for _, order := range [][]time.Duration{{time.Hour, 2 * time.Hour}, {2 * time.Hour, time.Hour}} {
				id := fmt.Sprint("id", order[0])
				end(id, order[0])
				end(id, order[1])
				if name == "redis" {
					left := client.PTTL(t.Context(), "session:ended:"+fmt.Sprint(len(id))+":"+id+":").Val()
					require.InDelta(t, 2*time.Hour, left, float64(time.Minute))
					continue
				}
				clock.move(90 * time.Minute)
				for i := range 10 { // which sweep what is over
					end(fmt.Sprint("other", order[0], i), time.Hour)
				}
				status, err := list.Status(t.Context(), "", id, clock.Now())
				require.NoError(t, err)
				require.False(t, status.EndedAt.IsZero())
			}
		})
	}
}

func TestUsers_Sealed_WithoutAList(t *testing.T) {
	sealed, err := session.NewCookieStore(worldSecret)
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
	_, err = session.New(sealed.WithRevocations(session.NewMemoryRevocations()), session.Config{MaxPerUser: 3})
	require.ErrorContains(t, err, "MaxPerUser")

	w := newWorld(t, session.Config{}, sealed)
	b := browser{w.name, w.login("ada")}
	old := b.cookie
	b.receive(w.do(old, logout))
	require.Empty(t, b.cookie, "the browser is signed out")
	require.Equal(t, "ada", w.user(old), "documented: a copy is not")
}

func TestUsers_Sealed_AListThatDoesNotAnswer(t *testing.T) {
	list := &brokenList{session.NewMemoryRevocations(), nil}
	sealed, err := session.NewCookieStore(worldSecret)
	require.NoError(t, err)
	w := newWorld(t, session.Config{}, sealed.WithRevocations(list))
	cookie := w.login("ada")
	list.err = errDown
	for _, do := range []func(*session.Session){func(*session.Session) {}, logout, login} {
		resp := w.do(cookie, do)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "it is not taken for an answer")
		require.Empty(t, resp.Cookies())
	}
	list.err = nil
	require.Equal(t, "ada", w.user(cookie))
}

type brokenList struct {
	*session.MemoryRevocations
	err error
}

func (b *brokenList) Status(ctx context.Context, user, id string, issued time.Time) (session.RevocationStatus, error) {
	if b.err != nil {
		return session.RevocationStatus{}, b.err
	}
	return b.MemoryRevocations.Status(ctx, user, id, issued)
}

func TestUsers_Sealed_OneRoundTripALoad(t *testing.T) {
	opts, err := redis.ParseURL(redistest.Start(t).URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	sealed, err := session.NewCookieStore(worldSecret)
	require.NoError(t, err)
	w := newWorld(t, session.Config{}, sealed.WithRevocations(session.NewRedisRevocations(client, session.RedisOptions{})))
	cookie := w.login("ada")
	trips := &tripCounter{}
	client.AddHook(trips)
	require.Equal(t, "ada", w.user(cookie))
	require.Equal(t, 1, trips.n)
}

// tripCounter counts commands and pipelines.
type tripCounter struct{ n int }

func (c *tripCounter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *tripCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n++; return next(ctx, cmd) }
}

func (c *tripCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n++; return next(ctx, cmds) }
}

// TestUsers_Events: what happens is told with the handle, the user and a reason, and never with the token.
func TestUsers_Events(t *testing.T) {
	set := func(s *session.Session) { s.Set("new", 1) }
	for _, c := range []struct {
		name string
		run  func(w *world, cookie string)
		want []string // kind, user, reason; and "id" if the handle is the session's
	}{
		{"created", func(w *world, _ string) { w.start() }, []string{"created||"}},
		{"logged in", func(w *world, _ string) { w.login("grace") }, []string{"logged in|grace|"}},
		{"regenerated", func(w *world, c string) { w.do(c, regenerate) }, []string{"regenerated|ada|"}},
		{"destroyed", func(w *world, c string) { w.do(c, logout) }, []string{"destroyed|ada|id"}},
		{"revoked", func(w *world, c string) { _ = w.nodes[0].manager.Revoke(context.Background(), "ada", w.look(c).id) }, []string{"revoked|ada|one id"}},
		{"revoked all", func(w *world, _ string) { _, _ = w.nodes[0].manager.RevokeUser(context.Background(), "ada") }, []string{"revoked|ada|all"}},
		{"expired idle", func(w *world, c string) { w.clock.advance(time.Hour); w.do(c, set) }, []string{"expired|ada|idle id", "created||"}},
		{"expired absolute", func(w *world, c string) { w.clock.advance(24 * time.Hour); w.do(c, set) }, []string{"expired|ada|absolute id", "created||"}},
		{"malformed", func(w *world, _ string) { w.do("x", func(*session.Session) {}) }, []string{"rejected||malformed"}},
		{"unknown", func(w *world, _ string) { w.do(foreignWellFormed(w)[0], func(*session.Session) {}) }, []string{"rejected||unknown"}},
		{"ended", func(w *world, c string) { w.do(c, logout); w.takeEvents(); w.do(c, set) }, []string{"rejected||ended id"}},
		{"ended meanwhile", func(w *world, c string) { w.overtaken(c, set, logout) }, []string{"destroyed|ada|id", "rejected|ada|ended meanwhile id"}},
		{"conflict", func(w *world, c string) {
			up := func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }
			w.overtaken(c, up, up)
		}, []string{"conflict|ada|update id"}},
		{"late write", func(w *world, _ string) { w.request(0, "", begun(set)) }, []string{"late write||not kept"}},
		{"nothing", func(w *world, c string) { w.do(c, set); w.look(c) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, session.Config{}, session.NewMemoryStore())
			cookie := w.login("ada")
			id := w.look(cookie).id
			w.takeEvents()
			c.run(w, cookie)
			requireEvents(w, c.want, id, cookie)
		})
	}
	t.Run("store error", func(t *testing.T) {
		w, store := brokenWorld(t, session.Config{})
		cookie := w.login("ada")
		id := w.look(cookie).id
		w.takeEvents()
		store.save = errDown
		w.do(cookie, set)
		store.load = errDown
		w.do(cookie, set)
		requireEvents(w, []string{"store error|ada|save id", "store error||load id"}, id, cookie)
	})
	t.Run("bad seal", func(t *testing.T) {
		w := sealedWorld(t, session.Config{})
		other, err := session.NewCookieStore(newerSecret)
		require.NoError(t, err)
		cookie := newWorld(t, session.Config{}, other).login("ada")
		w.do(cookie, func(*session.Session) {})
		requireEvents(w, []string{"rejected||bad seal"}, "none", cookie)
	})
}

func requireEvents(w *world, want []string, id, cookie string) {
	var told []string
	for _, e := range w.takeEvents() {
		line := fmt.Sprintf("%s|%s|%s", e.Kind, e.User, e.Reason)
		if e.ID == id {
			line += map[bool]string{true: " id", false: "id"}[e.Reason != ""]
		}
		told = append(told, line)
		require.NotContains(w.t, fmt.Sprintf("%+v", e), cookie)
		require.False(w.t, e.Time.IsZero())
		require.Equal(w.t, slices.Contains([]session.EventKind{session.EventStoreError, session.EventLateWrite}, e.Kind), e.Err != nil)
	}
	require.Equal(w.t, want, told)
}

// A login whose old session was revoked meanwhile starts empty: what it was to keep belonged to that session.
func TestUsers_Sealed_LoginKeepsNothingOfARevokedSession(t *testing.T) {
	store, err := session.NewCookieStore([]byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu"))
	require.NoError(t, err)
	sessions, err := session.New(store.WithRevocations(session.NewMemoryRevocations()), session.Config{})
	require.NoError(t, err)
	visit := func(cookies []*http.Cookie, do func(*session.Session)) []*http.Cookie {
		r := httptest.NewRequest("POST", "http://localhost/", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			do(session.FromContext(r.Context()))
		})).ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		return w.Result().Cookies()
	}
	first := visit(nil, func(s *session.Session) {
		require.NoError(t, s.Login("ada"))
		s.Set("cart", "tea")
	})
	again := visit(first, func(s *session.Session) {
		require.True(t, s.Has("cart"))
		_, err := sessions.RevokeUser(t.Context(), "ada")
		require.NoError(t, err)
		require.NoError(t, s.Login("grace", "cart"))
		s.Set("own", 1)
	})
	visit(again, func(s *session.Session) {
		require.Equal(t, "grace", s.User())
		require.Equal(t, []string{"own"}, s.Keys())
	})
}

// An id stays on the list as long as any cookie of it is good, also where SetLifetime has brought the deadline forward.
func TestGuarantee02_SealedWithSeveralDeadlines(t *testing.T) {
	for name, end := range map[string]func(*session.Session) error{
		"Destroy":    (*session.Session).Destroy,
		"Regenerate": (*session.Session).Regenerate,
		"Login":      func(s *session.Session) error { return s.Login("ada") },
		"a note, and Destroy": func(s *session.Session) error {
			s.SetNote("phone")
			return errors.Join(s.Save(context.Background()), s.Destroy())
		},
		"an hour more, and Destroy": func(s *session.Session) error {
			s.SetLifetime(-1, 2*time.Hour)
			return errors.Join(s.Save(context.Background()), s.Destroy())
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := cookieStore(t, secretOne).WithRevocations(session.NewMemoryRevocations())
			v := newSite(t, store, session.Config{IdleTimeout: -1}).visitor()
			v.signIn("ada")
			copied := v.copied() // good for a day
			v.must(func(s *session.Session) { s.SetLifetime(-1, time.Hour) })
			v.must(func(s *session.Session) { require.NoError(t, end(s)) })
			require.True(t, copied.signedOut())
			v.site.clock.move(23 * time.Hour)
			for range 3 { // others who sign out sweep the list
				other := v.site.visitor()
				other.signIn("grace")
				other.must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
			}
			require.True(t, copied.signedOut())
		})
	}
}

// What Revalidate refuses and the store can't end is no session: the next one begins as ever, or the cookie goes.
func TestUsers_Sealed_RevalidateWithoutAList(t *testing.T) {
	v := newSite(t, cookieStore(t, secretOne), session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		if s.User() == "deleted" {
			return session.ErrSessionEnded
		}
		return nil
	}}).visitor()
	v.signIn("deleted")
	v.copied().must(func(s *session.Session) { s.Flash("error", "who are you?"); require.Empty(t, s.User()) })
	v.must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
	require.Empty(t, v.cookie)
}
