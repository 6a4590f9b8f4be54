package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// What goes wrong in the middle of a load or a commit, and is not the store's fault alone.

// deaf is a store that does what it is told and says that it failed, once, or does not even that.
type deaf struct {
	session.Store
	lose, refuse bool
}

func (d *deaf) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if d.refuse {
		d.refuse = false
		return session.Token{}, errDown
	}
	saved, err := d.Store.Save(ctx, token, c)
	if d.lose && err == nil {
		d.lose = false
		return session.Token{}, errors.New("the reply was lost")
	}
	return saved, err
}

func TestGuarantee03_SaveTriedAgainByTheCommit(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*session.Session) error
		want   func(*visitor)
	}{
		"Update": {func(s *session.Session) error {
			session.Key[int]("n").Update(s, func(n int) int { return n + 1 })
			return nil
		}, func(v *visitor) { require.Equal(t, 1, read[int](v, "n")) }},
		"Login": {func(s *session.Session) error { return s.Login("ada") }, func(v *visitor) {
			require.Equal(t, "ada", v.view().user)
		}},
		"Regenerate": {(*session.Session).Regenerate, func(v *visitor) { require.False(t, v.signedOut()) }},
	} {
		t.Run(name, func(t *testing.T) {
			store := &deaf{Store: session.NewMemoryStore()}
			v := newSite(t, store, session.Config{}).visitor()
			v.must(func(s *session.Session) { s.Set("n", 0) })
			v.must(func(s *session.Session) {
				require.NoError(t, c.change(s))
				store.lose = true
				require.Error(t, s.Save(t.Context()))
			})
			c.want(v)
		})
	}
}

// What a Save did, and only its reply was lost, is done once also where the request goes on to change something else.
func TestGuarantee03_ChangedAfterAReplyWasLost(t *testing.T) {
	n := session.Key[int]("n")
	count := func(s *session.Session) error { n.Update(s, func(n int) int { return n + 1 }); return nil }
	loginAs := func(user string) func(*session.Session) error {
		return func(s *session.Session) error { return s.Login(user, "n") }
	}
	set := func(s *session.Session) error { n.Set(s, 5); return nil }
	flash := func(s *session.Session) error { s.Flash("error", "try again"); return nil }
	server := redistest.Start(t)
	client := redisClient(t, server)
	for _, c := range []struct {
		name        string
		first, then func(*session.Session) error
		n           int                          // counted, where there was 1 before
		user        string                       // signed in, and the only session that is left
		others      func(*session.Session) error // another request in between; nil: none
		new         bool                         // there was no session before
	}{
		{"an Update, and another value", count, flash, 2, "ada", nil, false},
		{"an Update, and another one", count, count, 3, "ada", nil, false},
		{"an Update, and its value", count, func(s *session.Session) error { n.Set(s, 9); return nil }, 9, "ada", nil, false},
		{"an Update, and a logout", count, (*session.Session).Destroy, 0, "", nil, false},
		{"an Update, and a login", count, loginAs("grace"), 2, "grace", nil, false},
		{"an Update, a login and an Update", count, func(s *session.Session) error { return errors.Join(loginAs("grace")(s), count(s)) }, 3, "grace", nil, false},
		{"a login, and a value", loginAs("grace"), flash, 1, "grace", nil, false},
		{"a login, and an Update", loginAs("grace"), count, 2, "grace", nil, false},
		{"a login, and another one", loginAs("grace"), loginAs("linus"), 1, "linus", nil, false},
		{"a login, and a new id", loginAs("grace"), (*session.Session).Regenerate, 1, "grace", nil, false},
		{"a login, and a logout", loginAs("grace"), (*session.Session).Destroy, 0, "", nil, false},
		{"a new id, and an Update", (*session.Session).Regenerate, count, 2, "ada", nil, false},
		{"a new id, and another one", (*session.Session).Regenerate, (*session.Session).Regenerate, 1, "ada", nil, false},
		{"a logout with a value, and a value", func(s *session.Session) error { err := s.Destroy(); n.Set(s, 5); return err }, flash, 5, "", nil, false},
		{"an Update, and a value, and another request's Update", count, flash, 3, "ada", count, false},
		{"an Update, and another one, and another request's", count, count, 4, "ada", count, false},
		{"a first login, and a logout", loginAs("ada"), (*session.Session).Destroy, 0, "", nil, true},
		{"a first login, and a value", loginAs("ada"), func(s *session.Session) error { n.Set(s, 7); return nil }, 7, "ada", nil, true},
		{"a first value, and its end", set, func(s *session.Session) error { n.Delete(s); return nil }, 0, "", nil, true},
		{"a first value, and the end of all", set, func(s *session.Session) error { s.Clear(); return nil }, 0, "", nil, true},
		{"a first value, and a logout", set, (*session.Session).Destroy, 0, "", nil, true},
	} {
		for name, inner := range map[string]session.UserStore{
			"memory": session.NewMemoryStore(), "redis": session.NewRedisStore(client, session.RedisOptions{}),
			"redis, several slots": session.NewRedisStore(across{client}, session.RedisOptions{}),
		} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				server.MustDo("FLUSHALL")
				store := &deaf{Store: inner}
				w := newWorld(t, session.Config{}, store)
				b := browser{w.name, ""}
				if !c.new {
					b.receive(w.do("", func(s *session.Session) { login(s); n.Set(s, 1) }))
				}
				resp := w.do(b.cookie, func(s *session.Session) {
					require.NoError(t, c.first(s))
					store.lose = true
					require.Error(t, s.Save(t.Context()))
					if c.others != nil {
						w.do(b.cookie, func(s *session.Session) { require.NoError(t, c.others(s)) })
					}
					require.NoError(t, c.then(s))
				})
				require.Equal(t, http.StatusOK, resp.StatusCode, w.log())
				b.receive(resp)
				require.Equal(t, c.n, value[int](w, b.cookie, "n"))
				require.Equal(t, c.user, w.user(b.cookie))
				for _, user := range []string{"ada", "grace", "linus"} {
					records, err := inner.UserSessions(w.seen.ctx, user)
					require.NoError(t, err)
					left := 0
					if user == c.user {
						left = 1
					}
					require.Len(t, records, left, user)
				}
			})
		}
	}
}

// What is changed after a Save that failed is another change, flashes that were only read included.
func TestGuarantee03_ChangedAfterASaveThatFailed(t *testing.T) {
	store := &deaf{Store: session.NewMemoryStore()}
	v := newSite(t, store, session.Config{}).visitor()
	v.must(func(s *session.Session) { s.Flash("info", "hello") })
	v.must(func(s *session.Session) {
		s.Set("n", 1)
		store.lose = true
		require.Error(t, s.Save(t.Context()))
		require.Len(t, s.Flashes(), 1)
	})
	v.must(func(s *session.Session) { require.Empty(t, s.Flashes()) })
	require.Equal(t, 1, read[int](v, "n"))
}

// A Save that failed is tried again first, and what has become of the session meanwhile is met as ever.
func TestGuarantee03_ChangedAfterASaveThatWasNotDone(t *testing.T) {
	n := session.Key[int]("n")
	count := func(s *session.Session) { n.Update(s, func(n int) int { return n + 1 }) }
	for name, c := range map[string]struct {
		meanwhile func(*brokenStore, *visitor)
		status    int
		n         int // where there was 1 before
	}{
		"nothing":              {func(*brokenStore, *visitor) {}, http.StatusOK, 3},
		"an Update":            {func(_ *brokenStore, v *visitor) { v.must(count) }, http.StatusOK, 4},
		"a logout":             {func(_ *brokenStore, v *visitor) { v.must(func(s *session.Session) { _ = s.Destroy() }) }, http.StatusConflict, 0},
		"the store stays away": {func(b *brokenStore, _ *visitor) { b.save = errDown }, http.StatusServiceUnavailable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			store := &brokenStore{MemoryStore: session.NewMemoryStore()}
			v := newSite(t, store, session.Config{}).visitor()
			v.must(func(s *session.Session) { n.Set(s, 1) })
			resp := v.do(func(s *session.Session) {
				count(s)
				store.save = errDown
				require.ErrorIs(t, s.Save(t.Context()), errDown)
				store.save = nil
				c.meanwhile(store, v.copied())
				count(s)
			})
			store.save = nil
			require.Equal(t, c.status, resp.StatusCode)
			require.Equal(t, c.n, read[int](v, "n"))
		})
	}
}

// As long as it is not known what a Save did, nothing else is done.
func TestGuarantee03_StillInDoubt(t *testing.T) {
	n := session.Key[int]("n")
	count := func(s *session.Session) { n.Update(s, func(n int) int { return n + 1 }) }
	store := &deaf{Store: session.NewMemoryStore()}
	v := newSite(t, store, session.Config{}).visitor()
	v.must(func(s *session.Session) { n.Set(s, 1) })
	resp := v.do(func(s *session.Session) {
		count(s)
		store.lose = true
		require.Error(t, s.Save(t.Context()))
		count(s)
		store.refuse = true
	})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, 2, read[int](v, "n"))
}

// A message is read once, also where a Save added it and only its reply was lost.
func TestGuarantee03_MessageWhoseReplyWasLost(t *testing.T) {
	none, set := func(*session.Session) {}, func(s *session.Session) { s.Set("n", 1) }
	readIt := func(s *session.Session) { require.Len(t, s.Flashes(), 1) }
	for name, c := range map[string]struct {
		before, with func(*session.Session)
		then         func(*visitor, *session.Session)
		left         int
	}{
		"the first of a session": {none, none, func(_ *visitor, s *session.Session) { readIt(s) }, 0},
		"read by its request":    {set, none, func(_ *visitor, s *session.Session) { readIt(s) }, 0},
		"read by another request": {set, none, func(v *visitor, s *session.Session) {
			v.copied().must(readIt)
			set(s)
		}, 0},
		"read by none":           {set, none, func(_ *visitor, s *session.Session) { set(s) }, 1},
		"of a logout":            {set, func(s *session.Session) { _ = s.Destroy() }, func(_ *visitor, s *session.Session) { set(s) }, 1},
		"where all else goes":    {set, (*session.Session).Clear, func(_ *visitor, s *session.Session) { set(s) }, 1},
		"where all goes with it": {set, none, func(_ *visitor, s *session.Session) { s.Clear() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			store := &deaf{Store: session.NewMemoryStore()}
			v := newSite(t, store, session.Config{}).visitor()
			v.must(c.before)
			v.must(func(s *session.Session) {
				c.with(s)
				s.Flash("info", "hello")
				store.lose = true
				require.Error(t, s.Save(t.Context()))
				c.then(v, s)
			})
			v.must(func(s *session.Session) { require.Len(t, s.Flashes(), c.left) })
		})
	}
}

// panics returns what the request panics with.
func panics(v *visitor, h http.HandlerFunc) (with any) {
	defer func() { with = recover() }()
	v.visit(h)
	return nil
}

// An Update runs again at the commit, where the value may be gone: if it can't bear that, the request panics, and no more.
func TestGuarantee05_AnUpdateThatPanicsAtTheCommit(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	visits := session.Key[map[string]int]("visits")
	v.must(func(s *session.Session) { visits.Set(s, map[string]int{"x": 1}) })
	require.NotNil(t, panics(v, func(_ http.ResponseWriter, r *http.Request) {
		visits.Update(session.FromContext(r.Context()), func(m map[string]int) map[string]int { m["x"]++; return m })
		v.copied().must(func(s *session.Session) { visits.Delete(s) })
	}))
	v.must(func(s *session.Session) { require.False(t, s.Has("visits")) })
}

// A panic while the session is loaded goes on to the server, and a handler that has a recoverer of its own gets an error.
func TestGuarantee05_RevalidateThatPanics(t *testing.T) {
	broken := false
	v := newSite(t, session.NewMemoryStore(), session.Config{Revalidate: func(context.Context, *session.Session) error {
		if broken {
			panic("the application's fault")
		}
		return nil
	}}).visitor()
	v.signIn("ada")
	broken = true
	require.Equal(t, "the application's fault", panics(v, func(_ http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).User()
	}))
	resp := v.visit(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		func() {
			defer func() { _ = recover() }()
			s.User()
		}()
		require.Error(t, s.Err())
		require.Empty(t, s.User())
		_, _ = w.Write([]byte("the handler's page"))
	})
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	broken = false
	require.Equal(t, "ada", v.view().user)
}

// While an Update runs again another goroutine of the request may log out: what is done then is that.
func TestGuarantee05_DestroyWhileAnUpdateRunsAgain(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	n := session.Key[int]("n")
	v.must(func(s *session.Session) { n.Set(s, 0) })
	stale := v.copied()
	calls := 0
	v.must(func(s *session.Session) {
		n.Update(s, func(before int) int {
			if calls++; calls == 2 {
				require.NoError(t, s.Destroy())
			}
			return before + 1
		})
		v.copied().must(func(s *session.Session) { n.Set(s, 10) })
	})
	require.True(t, stale.signedOut())
}

// While an Update runs again other goroutines of the request may set values.
func TestGuarantee15_SetWhileUpdatesRunAgain(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	keys := []session.Key[int]{"first", "second", "third"}
	v.must(func(s *session.Session) { keys[0].Set(s, 0) })
	v.must(func(s *session.Session) {
		again, others := make(chan struct{}), sync.WaitGroup{}
		others.Go(func() {
			<-again
			for n := range 2000 {
				s.Set(fmt.Sprint("other ", n%100), n)
			}
		})
		calls := 0
		for _, key := range keys {
			key.Update(s, func(n int) int {
				if calls++; calls == len(keys)+1 { // at the commit
					close(again)
				}
				runtime.Gosched()
				return n + 1
			})
		}
		v.copied().must(func(s *session.Session) { keys[0].Set(s, 10) })
		require.NoError(t, s.Save(t.Context()))
		others.Wait()
	})
	require.Equal(t, 11, read[int](v, "first"))
	require.Equal(t, 1, read[int](v, "third"))
	require.Equal(t, 1999, read[int](v, "other 99"))
}

// slow takes its time for each session.
type slow struct {
	session.Store
	time.Duration
}

func (s slow) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	select {
	case <-time.After(s.Duration):
		return s.Store.Load(ctx, token)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A client that sends several cookies gets no more of the server's time than one that sends one.
func TestGuarantee06_OneBoundForAllCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemoryStore()
		site := newSite(t, slow{store, 700 * time.Millisecond}, session.Config{StoreTimeout: time.Second})
		quick := newSite(t, store, session.Config{})
		lines := []string{}
		for range 4 {
			v := quick.visitor()
			v.must(func(s *session.Session) { s.Set("n", 1) })
			cookie := v.cookie
			v.must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
			lines = append(lines, site.name+"="+cookie)
		}
		begun := time.Now()
		resp := site.serve(func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Has("n") }, lines...)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// reluctant takes its time for each change.
type reluctant struct {
	session.Store
	time.Duration
}

func (r reluctant) wait(ctx context.Context) error {
	select {
	case <-time.After(r.Duration):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r reluctant) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if err := r.wait(ctx); err != nil {
		return session.Token{}, err
	}
	return r.Store.Save(ctx, token, c)
}

func (r reluctant) Delete(ctx context.Context, id string, until time.Time) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	return r.Store.Delete(ctx, id, until)
}

// A commit that takes two calls of the store has no more time than one that takes one.
func TestGuarantee06_OneBoundForACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemoryStore()
		v := newSite(t, store, session.Config{}).visitor()
		v.signIn("ada")
		thief := v.copied()
		begun := time.Now()
		resp := newSite(t, reluctant{store, 700 * time.Millisecond}, session.Config{StoreTimeout: time.Second}).
			serve(func(_ http.ResponseWriter, r *http.Request) {
				s := session.FromContext(r.Context())
				require.NoError(t, s.Destroy())
				s.Flash("info", "signed out")
			}, "__Host-session="+v.cookie)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, time.Second, time.Since(begun))
		require.True(t, thief.signedOut())
	})
}

// forger is somebody's store whose tokens can't stand in a cookie.
type forger struct{ session.Store }

func (forger) Save(_ context.Context, _ session.Token, c *session.Change) (session.Token, error) {
	return session.NewToken(c.Record.ID, `a; Domain=evil.test "x"`), nil
}

func TestGuarantee10_ATokenThatCannotStandInACookie(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		resp := newSite(t, forger{session.NewMemoryStore()}, session.Config{Persistent: persistent}).visitor().
			do(func(s *session.Session) { s.Set("n", 1) })
		require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		require.Empty(t, resp.Header["Set-Cookie"])
	}
}

// Who stands outside may change the headers of one response, and only those.
func TestGuarantee10_HeadersAreOfOneResponse(t *testing.T) {
	manager, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	handler := manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("n", 1)
	}))
	for range 2 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "https://example.test/", nil))
		require.Equal(t, []string{"Cookie"}, w.Header()["Vary"])
		require.Equal(t, []string{"no-store"}, w.Header()["Cache-Control"])
		w.Header()["Vary"][0], w.Header()["Cache-Control"][0] = "Accept", "public"
	}
}

// tellTale returns a visitor of a site whose events go to told.
func tellTale(t *testing.T, store session.Store, told func(context.Context, session.Event)) *visitor {
	s := newSite(t, store, session.Config{})
	manager, err := session.New(store, session.Config{Clock: s.clock.Now, OnEvent: told, Logger: quietSlog()})
	require.NoError(t, err)
	s.manager, s.handler = manager, manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(visitKey{}).(http.HandlerFunc)(w, r)
	}))
	return s.visitor()
}

// From the last commit that can send a cookie on none is promised any more, though the header is still to be written: an
// http.TimeoutHandler may have a handler left that goes on meanwhile.
func TestGuarantee07_LoginAfterTheLastCommit(t *testing.T) {
	var late error
	v := tellTale(t, session.NewMemoryStore(), func(ctx context.Context, e session.Event) {
		if e.Kind == session.EventCreated {
			late = session.FromContext(ctx).Login("ada")
		}
	})
	v.must(func(s *session.Session) { s.Set("n", 1) })
	require.ErrorIs(t, late, session.ErrResponseStarted)
	require.Equal(t, 1, read[int](v, "n"))
}

// What OnEvent sets is kept, also if the event is one of the request's last commit.
func TestGuarantee07_SetByOnEvent(t *testing.T) {
	v := tellTale(t, session.NewMemoryStore(), func(ctx context.Context, e session.Event) {
		if e.Kind == session.EventConflict {
			session.FromContext(ctx).Set("conflicts", 1)
		}
	})
	count := func(s *session.Session) { session.Key[int]("n").Update(s, func(n int) int { return n + 1 }) }
	v.must(count)
	v.visit(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		s.Has("n")
		w.WriteHeader(http.StatusOK)
		count(s)
		v.copied().must(count)
	})
	require.Equal(t, 3, read[int](v, "n"))
	require.Equal(t, 1, read[int](v, "conflicts"))
}

// What has been done is told, and not what is asked for now.
func TestEvents_AfterAReplyWasLost(t *testing.T) {
	for _, c := range []struct {
		first, then func(*session.Session) error
		told        []string
	}{
		{func(s *session.Session) error { return s.Login("grace") }, (*session.Session).Destroy, []string{"logged in", "destroyed"}},
		{(*session.Session).Regenerate, func(s *session.Session) error { return s.Login("grace") }, []string{"regenerated", "logged in"}},
	} {
		store := &deaf{Store: session.NewMemoryStore()}
		var told []string
		v := tellTale(t, store, func(_ context.Context, e session.Event) {
			if e.Kind != session.EventStoreError {
				told = append(told, string(e.Kind))
			}
		})
		v.signIn("ada")
		told = nil
		v.must(func(s *session.Session) {
			require.NoError(t, c.first(s))
			store.lose = true
			require.Error(t, s.Save(t.Context()))
			require.NoError(t, c.then(s))
		})
		require.Equal(t, c.told, told)
	}
}

// A status that is none panics below, before anything is saved.
func TestGuarantee05_NoStatus(t *testing.T) {
	store := session.NewMemoryStore()
	v := newSite(t, store, session.Config{}).visitor()
	for _, status := range []int{0, 99, 1000} {
		require.NotNil(t, panics(v, func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, session.FromContext(r.Context()).Login("ada"))
			w.WriteHeader(status)
		}))
		require.Zero(t, store.Len())
	}
}

// What a Save did is not done again over what other requests did since.
func TestGuarantee03_NotAgainOverOthers(t *testing.T) {
	for name, first := range map[string]func(*session.Session){
		"Clear":   func(s *session.Session) { s.Clear() },
		"Set":     func(s *session.Session) { s.Set("x", "first") },
		"Delete":  func(s *session.Session) { s.Delete("x") },
		"SetNote": func(s *session.Session) { s.SetNote("first") },
	} {
		t.Run(name, func(t *testing.T) {
			store := &deaf{Store: session.NewMemoryStore()}
			v := newSite(t, store, session.Config{}).visitor()
			v.signIn("ada")
			v.must(func(s *session.Session) {
				first(s)
				store.lose = true
				require.Error(t, s.Save(t.Context()))
				v.copied().must(func(s *session.Session) { s.Set("x", "second"); s.SetNote("second") })
				s.Set("n", 1)
			})
			v.must(func(s *session.Session) {
				x, _ := session.Key[string]("x").Get(s)
				require.Equal(t, "second", x)
				require.Equal(t, "second", s.Note())
				require.True(t, s.Has("n"))
			})
		})
	}
}
