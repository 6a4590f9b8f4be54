package guarantees_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// From the last commit that can send a cookie on none is promised any more, though the header is still to be written: an
// http.TimeoutHandler may have a handler left that goes on meanwhile.
func TestGuarantee07_LoginAfterTheLastCommit(t *testing.T) {
	var late error
	v := kit.New(t, session.Config{OnEvent: func(ctx context.Context, e session.Event) {
		if e.Kind == session.EventCreated {
			late = session.FromContext(ctx).Login("ada")
		}
	}}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) { s.Set("n", 1) })
	require.ErrorIs(t, late, session.ErrResponseStarted)
	require.Equal(t, 1, kit.Read[int](v, "n"))
}

// What OnEvent sets is kept, also if the event is one of the request's last commit.
func TestGuarantee07_SetByOnEvent(t *testing.T) {
	v := kit.New(t, session.Config{OnEvent: func(ctx context.Context, e session.Event) {
		if e.Kind == session.EventConflict {
			session.FromContext(ctx).Set("conflicts", 1)
		}
	}}, session.NewMemoryStore()).Browser()
	count := func(s *session.Session) { session.Key[int]("n").Update(s, func(n int) int { return n + 1 }) }
	v.Must(count)
	v.Visit(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		s.Has("n")
		w.WriteHeader(http.StatusOK)
		count(s)
		v.Copy().Must(count)
	})
	require.Equal(t, 3, kit.Read[int](v, "n"))
	require.Equal(t, 1, kit.Read[int](v, "conflicts"))
}

func TestGuarantee07_NothingLostSilently_SavedLate(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		cookie := app.Login("ada")
		app.Events()
		app.Request(0, cookie, kit.Begun(func(s *session.Session) { s.Set("late", 1) }))
		if _, sealed := app.Store().Inner().(*session.CookieStore); sealed { // which needs a cookie for that
			requireLate(app, "after the response had started")
			return
		}
		require.Contains(app.T, app.Look(cookie).Keys, "late")
		require.Empty(app.T, app.Events())
		require.Empty(app.T, app.Log())
	})
}

// requireLate checks that a late change was told of by an event and by a line in the log.
func requireLate(app *kit.App, line string) {
	events := app.Events()
	require.Len(app.T, events, 1)
	require.Equal(app.T, session.EventLateWrite, events[0].Kind)
	require.ErrorIs(app.T, events[0].Err, session.ErrResponseStarted)
	require.Contains(app.T, app.Log(), line)
}

func TestGuarantee07_NothingLostSilently_Reported(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*session.Session)
	}{
		{"Set", func(s *session.Session) { s.Set("late", 1) }},
		{"Update", kit.CountUp},
		{"Flash", func(s *session.Session) { s.Flash("info", "late") }},
	} {
		kit.EachStore(t, session.Config{}, func(app *kit.App) {
			app.Request(0, "", kit.Begun(c.do)) // a new session, which needs a cookie
			requireLate(app, "after the response had started")
			require.Empty(app.T, app.Live())
		})
	}
}

func TestGuarantee07_NothingLostSilently_Returned(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*session.Session) error
	}{
		{"Regenerate", (*session.Session).Regenerate},
		{"Login", func(s *session.Session) error { return s.Login("grace") }},
		{"Destroy", (*session.Session).Destroy},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, session.NewMemoryStore())
			app.Request(0, app.Login("ada"), kit.Begun(func(s *session.Session) { require.ErrorIs(t, c.do(s), session.ErrResponseStarted) }))
		})
	}
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	app.Request(0, "", kit.Begun(func(s *session.Session) {
		s.Set("late", 1)
		require.ErrorIs(t, s.Save(context.Background()), session.ErrResponseStarted)
	}))
}

func TestGuarantee07_NothingLostSilently_AfterTheHandler(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Events()
	var kept *session.Session
	app.Do(cookie, func(s *session.Session) { kept = s })
	kept.Set("late", 1)
	requireLate(app, "after the handler returned")
	for _, err := range []error{kept.Regenerate(), kept.Login("grace"), kept.Destroy()} {
		require.ErrorIs(t, err, session.ErrResponseStarted)
	}
	require.Equal(t, kit.Look{ID: app.Look(cookie).ID, User: "ada", Keys: []string{"cart"}}, app.Look(cookie))
}

// What OnEvent changes in the session is saved after the commit that it is told of.
func TestGuarantee07_ChangedByOnEvent(t *testing.T) {
	app := kit.New(t, session.Config{OnEvent: func(ctx context.Context, e session.Event) {
		if e.Kind == session.EventLoggedIn {
			session.FromContext(ctx).Set("welcomed", true)
		}
	}}, session.NewMemoryStore())
	for _, write := range []bool{false, true} {
		b := app.Browser()
		visit := func(do func(*session.Session)) {
			b.Visit(func(w http.ResponseWriter, r *http.Request) {
				do(session.FromContext(r.Context()))
				if write {
					_, _ = io.WriteString(w, "the handler's")
				}
			})
		}
		visit(kit.LoginAda)
		visit(func(s *session.Session) { require.True(t, s.Has("welcomed")) })
	}
}

func TestGuarantee07_LateWrites(t *testing.T) {
	for _, c := range []struct {
		name string
		late func(*session.Session)
	}{
		{"Set", func(s *session.Session) { s.Set("late", 1) }},
		{"Flash", func(s *session.Session) { s.Flash("info", "late") }},
		{"Update", func(s *session.Session) { session.Key[int]("late").Update(s, func(n int) int { return n + 1 }) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newPages(t)
			b := app.BrowserOf(app.Pages(func(w http.ResponseWriter, r *http.Request) {
				kit.WriteOK(w, r)
				s := session.FromContext(r.Context())
				c.late(s)
				if s.IsNew() {
					require.ErrorIs(t, s.Save(r.Context()), session.ErrResponseStarted)
				}
			}))
			require.Empty(t, b.Get("/").Header().Values("Set-Cookie"))
			require.Equal(t, 1, app.Count(session.EventLateWrite), "there is no cookie to keep it under")
			require.ErrorIs(t, app.Events()[0].Err, session.ErrResponseStarted)
			b.Get("/seed")
			b.Get("/")
			require.Zero(t, app.Count(session.EventLateWrite), "the session was there, so it was kept")
		})
	}
}

func TestGuarantee07_WritesAfterTheRequest(t *testing.T) {
	app := newPages(t)
	var s *session.Session
	b := app.BrowserOf(app.Pages(func(_ http.ResponseWriter, r *http.Request) { s = session.FromContext(r.Context()) }))
	b.Get("/seed")
	b.Get("/")
	s.Set("late", 1)
	s.Delete("seed")
	s.Clear()
	s.Flash("info", "late")
	require.Equal(t, 4, app.Count(session.EventLateWrite))
	require.ErrorIs(t, s.Regenerate(), session.ErrResponseStarted)
	require.ErrorIs(t, s.Login("ada"), session.ErrResponseStarted)
	require.Equal(t, "[seed]", b.Get("/read").Body.String())
}

// Of what is set after the response has started, what the cookie would have to say is told, and all else is kept.
func TestGuarantee07_LateAndNotPersistent(t *testing.T) {
	for name, save := range map[string]bool{"saved": true, "at the end": false} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, session.NewMemoryStore())
			cookie := app.Login("ada")
			app.Events()
			app.Request(0, cookie, kit.Begun(func(s *session.Session) {
				s.SetPersistent(true)
				s.Set("late", 1)
				if save {
					require.ErrorIs(t, s.Save(t.Context()), session.ErrResponseStarted)
				}
			}))
			if !save {
				requireLate(app, "after the response had started")
			}
			require.Contains(t, app.Look(cookie).Keys, "late")
			for _, r := range app.Live() {
				require.False(t, r.Persistent)
			}
		})
	}
}

// The same holds where the answer to the commit was lost, and another one finds out that it was made.
func TestGuarantee07_LateAndNotPersistentAfterALostAnswer(t *testing.T) {
	for name, save := range map[string]bool{"saved": true, "at the end": false} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, session.NewMemoryStore())
			cookie := app.Login("ada")
			app.Events()
			app.Request(0, cookie, kit.Begun(func(s *session.Session) {
				s.SetPersistent(true)
				s.Set("late", 1)
				app.Store().Lose()
				require.Error(t, s.Save(t.Context()))
				s.Set("later", 1)
				if save {
					require.ErrorIs(t, s.Save(t.Context()), session.ErrResponseStarted)
				}
			}))
			require.Equal(t, !save, app.Count(session.EventLateWrite) == 1)
			require.Equal(t, []string{"cart", "late", "later"}, app.Look(cookie).Keys)
		})
	}
}

// A server cancels the context when the handler has returned, so that who uses the session first after that can't load it.
func TestGuarantee07_FirstUsedAfterTheHandler(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Events()
	ctx, cancel := context.WithCancel(t.Context())
	var kept *session.Session
	app.RequestWith(ctx, 0, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { kept = s })
	cancel()
	require.Empty(t, kept.Flashes())
	require.Empty(t, app.Events())
	kept.Set("late", 1)
	requireLate(app, "after the handler returned")
}

// After the response has started, no error handler answers that the session could not be loaded.
func TestGuarantee07_FirstUsedAfterTheStart(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Events()
	for name, fail := range map[string]func(){
		"the client hangs up": func() {},
		"the store fails":     func() { app.Store().Break(kit.ErrDown, sessiontest.Load) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		app.RequestWith(ctx, 0, cookie, kit.Begun(func(s *session.Session) {
			if fail(); name == "the client hangs up" {
				cancel()
			}
			require.Empty(t, s.Flashes())
			require.Zero(t, app.Count(session.EventLateWrite), name)
			s.Set("late", 1)
		}))
		require.Equal(t, 1, app.Count(session.EventLateWrite), name)
		require.Contains(t, app.Log(), "after the response had started", name)
		app.Store().Mend()
		app.Events()
	}
}

// A change that comes while OnEvent is busy with the one before is told of too.
func TestGuarantee07_LateWritesWhileOnEventIsBusy(t *testing.T) {
	const writes = 20
	busy, resume, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	app := kit.New(t, session.Config{OnEvent: func(_ context.Context, e session.Event) {
		if e.Kind == session.EventLateWrite {
			busy <- struct{}{}
			<-resume
		}
	}}, session.NewMemoryStore())
	var kept *session.Session
	app.Do(app.Login("ada"), func(s *session.Session) { kept = s })
	go func() {
		defer close(ended)
		kept.Set("late", 1)
	}()
	for n := 2; n <= writes; n++ {
		select {
		case <-busy:
		case <-ended:
			require.FailNow(t, "one was not told of", "after %d", n-2)
		}
		kept.Set("late", n)
		resume <- struct{}{}
	}
	<-busy
	resume <- struct{}{}
	<-ended
	require.Equal(t, writes, app.Count(session.EventLateWrite))
}

// An OnEvent whose every event causes another one does not run for ever.
func TestGuarantee07_OnEventThatCausesEvents(t *testing.T) {
	app := kit.New(t, session.Config{Logger: kit.QuietSlog(), OnEvent: func(ctx context.Context, e session.Event) {
		if e.Kind == session.EventLateWrite {
			session.FromContext(ctx).Set("late", 2)
		}
	}}, session.NewMemoryStore())
	var kept *session.Session
	app.Do(app.Login("ada"), func(s *session.Session) { kept = s })
	kept.Set("late", 1)
	require.Positive(t, app.Count(session.EventLateWrite))
}

// An OnEvent that panics keeps nothing else from being told.
func TestGuarantee07_OnEventThatPanics(t *testing.T) {
	foreign := kit.New(t, session.Config{}, session.NewMemoryStore()).Login("ada")
	var told []session.Reason
	manager, err := session.New(session.NewMemoryStore(), session.Config{OnEvent: func(_ context.Context, e session.Event) {
		if told = append(told, e.Reason); e.Reason == session.ReasonMalformed {
			panic("OnEvent's")
		}
	}})
	require.NoError(t, err)
	r := kit.Fresh("/")
	r.Header.Set("Cookie", "__Host-session=unreadable; __Host-session="+foreign)
	require.PanicsWithValue(t, "OnEvent's", func() {
		manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session.FromContext(r.Context()).Has("k")
		})).ServeHTTP(httptest.NewRecorder(), r)
	})
	require.Equal(t, []session.Reason{session.ReasonMalformed, session.ReasonUnknown}, told)
}
