//go:build !noservers

package operation_test

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
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// observer notes what Config.Observe is told, as "kind" or "kind: error".
type observer struct {
	mu    sync.Mutex
	begun []session.StoreCall
	ended []string
	ctxs  []context.Context
}

func (o *observer) observe(ctx context.Context, call session.StoreCall) func(error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun, o.ctxs = append(o.begun, call), append(o.ctxs, ctx)
	return func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		text := call.Kind
		if call.NearCache {
			text += " near"
		}
		if err != nil {
			text += ": " + err.Error()
		}
		o.ended = append(o.ended, text)
	}
}

// take returns what ended since it was last called, which is all that began.
func (o *observer) take(tb testing.TB) []string {
	tb.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	ended := o.ended
	require.Len(tb, ended, len(o.begun), "all that begins ends")
	o.begun, o.ended, o.ctxs = nil, nil, nil
	return ended
}

func TestObserve_OneForEachOperation(t *testing.T) {
	o := &observer{}
	kit.EachStore(t, session.Config{Observe: o.observe, IdleTimeout: 20 * time.Minute}, func(app *kit.App) {
		o.take(app.T)
		b := app.Browser()
		is := func(what string, want ...string) {
			app.T.Helper()
			require.Equal(app.T, want, o.take(app.T), what)
		}
		b.Do(func(*session.Session) {})
		is("unused")
		b.Reads()
		is("no cookie, read")
		b.Must(func(s *session.Session) { s.Delete("x") })
		is("nothing comes of it")
		b.SignIn("ada")
		is("login", "commit")
		b.Do(func(*session.Session) {})
		is("unused, with a cookie")
		b.Reads()
		is("read", "load")
		b.Must(kit.CountUp)
		is("read and write", "load", "commit")
		b.Must(kit.Regenerate)
		is("new ID", "load", "commit")
		b.Must(func(s *session.Session) {
			require.NoError(app.T, s.Destroy())
			require.NoError(app.T, s.Login("ada"))
		})
		is("one commit that asks the store for two things", "load", "commit")
		app.Clock.Advance(10 * time.Minute)
		b.Reads()
		touched := o.take(app.T)
		require.Contains(app.T, [][]string{{"load"}, {"load", "commit"}}, touched, "the touch is part of the load, or in the response's cookie")
		b.Must(func(s *session.Session) { require.NoError(app.T, s.Save(context.Background())) })
		is("Save with nothing to commit", "load", "load")
		copied := b.Copy()
		b.Must(kit.Logout)
		is("logout", "load", "commit")
		copied.Reads()
		is("late", "load")
		copied.Do(kit.CountUp)
		is("late, refused without the store", "load")
	})
}

func TestObserve_Lists(t *testing.T) {
	o := &observer{}
	kit.EachUserStore(t, session.Config{Observe: o.observe, MaxPerUser: 3}, func(app *kit.App) {
		o.take(app.T)
		for range 4 {
			app.Login("ada")
		}
		require.Equal(app.T, []string{"commit", "commit", "commit", "commit"}, o.take(app.T), "what MaxPerUser needs is part of the commit")
		ids := app.Listed("ada")
		require.Equal(app.T, []string{"list"}, o.take(app.T))
		for range app.Manager().Each(app.Context()) {
			break
		}
		require.Equal(app.T, []string{"list"}, o.take(app.T), "also where it is left early")
		require.NoError(app.T, app.Manager().Revoke(app.Context(), "ada", ids[0].ID))
		app.RevokeUser("ada")
		_, err := app.Manager().RevokeTag(app.Context(), "tag")
		require.NoError(app.T, err)
		_, err = app.Manager().RevokeAll(app.Context())
		require.NoError(app.T, err)
		require.Equal(app.T, []string{"revoke", "revoke", "revoke", "revoke"}, o.take(app.T))
	})
}

func TestObserve_Errors(t *testing.T) {
	o := &observer{}
	kit.EachUserStore(t, session.Config{Observe: o.observe}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		o.take(app.T)
		down := errors.New("down")
		for op, want := range map[sessiontest.Op][]string{
			sessiontest.Load: {"load: session: load: down"},
			sessiontest.Swap: {"load", "commit: session: swap: down"},
		} {
			app.Store().Break(down, op)
			b.Do(kit.CountUp)
			require.Equal(app.T, want, o.take(app.T))
		}
		app.Last().Store.Break(down, sessiontest.List)
		_, err := app.Last().Manager.Sessions(app.Context(), "ada")
		require.Error(app.T, err)
		_, err = app.Last().Manager.RevokeUser(app.Context(), "ada")
		require.Error(app.T, err)
		for _, err := range app.Last().Manager.Each(app.Context()) {
			require.Error(app.T, err)
		}
		require.Equal(app.T, []string{"list: down", "revoke: down", "list: session: list: down"}, o.take(app.T))
		app.Store().Mend()
		app.Last().Store.Mend()

		late, _ := app.Overtaken(b.Cookie, kit.CountUp, kit.Logout)
		require.Equal(app.T, http.StatusConflict, late.StatusCode)
		ended := o.take(app.T)
		require.Len(app.T, ended, 4)
		require.Contains(app.T, ended[3], "commit: session: ended", "the end of a session is told as what it is")
	})
}

func TestObserve_Revalidate(t *testing.T) {
	o := &observer{}
	refuse := false
	app := kit.New(t, session.Config{Observe: o.observe, Revalidate: func(context.Context, *session.Session) error {
		if refuse {
			return session.ErrSessionEnded
		}
		return nil
	}}, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	o.take(t)
	refuse = true
	b.Reads()
	require.Equal(t, []string{"load", "revoke"}, o.take(t))
}

type valueKey struct{}

// What is told names no session and no user; its context has the request's values, and not the session, which is being
// loaded.
func TestObserve_WhatItIsTold(t *testing.T) {
	o := &observer{}
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	manager, err := session.New(session.NewMemoryStore(), session.Config{Observe: func(ctx context.Context, call session.StoreCall) func(error) {
		_, there := session.Lookup(ctx)
		require.False(t, there)
		require.Equal(t, "value", ctx.Value(valueKey{}))
		_, timed := ctx.Deadline()
		require.True(t, timed)
		return o.observe(ctx, call)
	}})
	require.NoError(t, err)
	h := manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("a", 1) }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, kit.Fresh("/").WithContext(context.WithValue(t.Context(), valueKey{}, "value")))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, []session.StoreCall{{Kind: session.CallCommit, Store: "MemoryStore"}}, o.begun)
	require.NotContains(t, fmt.Sprint(o.begun), app.Name)
}

// Nil is nothing to call.
func TestObserve_ReturningNil(t *testing.T) {
	kit.EachStore(t, session.Config{Observe: func(context.Context, session.StoreCall) func(error) { return nil }}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		b.Must(kit.CountUp)
		require.Equal(app.T, 1, kit.Value[int](app, b.Cookie, "counter"))
	})
}

// A store's panic ends the operation too, as a failure.
func TestObserve_APanic(t *testing.T) {
	o := &observer{}
	app := kit.New(t, session.Config{Observe: o.observe}, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	o.take(t)
	for op, want := range map[sessiontest.Op]string{sessiontest.Load: "load: ", sessiontest.Swap: "commit: "} {
		app.Store().Intercept(func(_ context.Context, asked sessiontest.Op, call func() error) error {
			if asked == op {
				panic("a store's")
			}
			return call()
		})
		require.Panics(t, func() { b.Do(func(s *session.Session) { s.Set("a", 1); _ = s.Save(context.Background()) }) })
		ended := o.take(t)
		require.NotEmpty(t, ended)
		require.Contains(t, ended[len(ended)-1], want)
	}
	app.Store().Intercept(func(_ context.Context, asked sessiontest.Op, call func() error) error {
		if asked == sessiontest.List {
			panic("a store's")
		}
		return call()
	})
	require.Panics(t, func() { _, _ = app.Manager().Sessions(t.Context(), "ada") })
	ended := o.take(t)
	require.Len(t, ended, 1)
	require.Contains(t, ended[0], "list: ")
}

// calls returns how often the server ran a command.
func calls(tb testing.TB, server *redistest.Server, command string) (n int) {
	tb.Helper()
	for line := range strings.Lines(server.MustDo("INFO", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			_, err := fmt.Sscanf(rest, "%d", &n)
			require.NoError(tb, err)
		}
	}
	return n
}

// Each load says truly whether the near cache answered: as often as it says no, the server was asked.
func TestObserve_NearCache(t *testing.T) {
	server := redistest.Start(t)
	o := &observer{}
	store := kit.OpenRedis(t, server, session.RedisOptions{NearCache: session.NearCache{MaxEntries: 100, MaxStaleness: time.Hour}})
	manager, err := session.New(store, session.Config{Observe: o.observe}) // without the kit's gate, which hides the cache
	require.NoError(t, err)
	app := kit.New(t, session.Config{}, kit.OpenRedis(t, server, session.RedisOptions{}))
	cookie := app.Login("ada")
	h := manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, session.FromContext(r.Context()).User())
	}))
	read := func() {
		r := kit.Fresh("/")
		r.AddCookie(&http.Cookie{Name: app.Name, Value: cookie})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, "ada", w.Body.String())
	}
	gets := func() int { return calls(t, server, "get") }
	require.Eventually(t, func() bool { // once the server tells of changes
		read()
		return o.take(t)[0] == "load near"
	}, 10*time.Second, time.Millisecond)
	before, far := gets(), 0
	for i := range 300 {
		if i%10 == 0 {
			app.Do(cookie, kit.CountUp) // by another process, which asks the server too
			before += 1
		}
		read()
		if o.take(t)[0] == "load" {
			far++
		}
	}
	require.Equal(t, far, gets()-before)
	require.Positive(t, far)
	require.Less(t, far, 300)
}

// Nobody who does not observe pays for it: the allocations of tests/costs hold, and an observer that allocates nothing
// costs few.
func TestObserve_Allocations(t *testing.T) {
	allocations := func(cfg session.Config) float64 {
		manager, err := session.New(session.NewMemoryStore(), cfg)
		require.NoError(t, err)
		h := manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).User() }))
		w := httptest.NewRecorder()
		manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("a", 1) })).ServeHTTP(w, kit.Fresh("/"))
		r := kit.Fresh("/")
		r.AddCookie(w.Result().Cookies()[0])
		return testing.AllocsPerRun(100, func() { h.ServeHTTP(httptest.NewRecorder(), r) })
	}
	done := func(error) {}
	off := allocations(session.Config{})
	on := allocations(session.Config{Observe: func(context.Context, session.StoreCall) func(error) { return done }})
	t.Logf("a read: %g, observed: %g", off, on)
	require.LessOrEqual(t, on, off+1)
}

// Who waits for the end of the operation does not wait for ever, even if nobody else has asked the context for it before.
func TestObserve_ItsContextEnds(t *testing.T) {
	o := &observer{}
	app := kit.New(t, session.Config{Observe: o.observe}, session.NewMemoryStore())
	app.Do(app.Start(), func(s *session.Session) { s.Set("cart", 2) })
	require.NotEmpty(t, o.ctxs)
	for _, ctx := range o.ctxs {
		require.ErrorIs(t, ctx.Err(), context.Canceled)
		<-ctx.Done()
	}
}
