package field_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// F. Silent drops, and answers that say less than is known.

// A session that is first used after the header has left makes the response depend on the cookie all the same.
func TestField18_UsedAfterTheFirstByte(t *testing.T) {
	starts := map[string]func(w http.ResponseWriter){
		"Write":       func(w http.ResponseWriter) { _, _ = io.WriteString(w, "begun") },
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"Flush":       func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"ReadFrom":    func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("begun")) },
	}
	for name, start := range starts {
		eachStore(t, session.Config{}, func(t *testing.T, app *kit.App) {
			cookie := app.Login("ada")
			resp := app.Request(0, cookie, func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				w.Header().Set("Cache-Control", "public, max-age=60")
				w.Header().Set("Vary", "Accept")
				start(w)
				_, _ = io.WriteString(w, s.User())
			})
			require.Equal(t, []string{"Accept", "Cookie"}, resp.Header["Vary"], "%s: a cache must not show it to others", name)
			app.Events()
			app.Request(0, "", func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				start(w)
				s.Set("k", 1)
			})
			require.Equal(t, []string{"late write: not kept"}, app.Happened(), name)
			require.Contains(t, app.Log(), "changes made after the response had started are lost")
		})
	}
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	resp := app.Request(0, "", func(http.ResponseWriter, *http.Request, *session.Session) {})
	require.Empty(t, resp.Header["Vary"], "a handler that has returned and used no session needs none")
}

// A sealed cookie that has no room for the time of the last use: the user will be signed out, and that is told.
func TestField19_ATouchThatCannotBeSentIsTold(t *testing.T) {
	for name, newStore := range kit.CookieStores {
		app := kit.New(t, session.Config{}, kit.Must(newStore(kit.SecretOne)))
		b := app.Browser()
		full := 0
		for size := 1500; size < 3200; size++ { // the largest that fits, whose touch takes a byte or two more
			probe := app.Browser()
			resp := probe.Do(func(s *session.Session) { s.Set("k", strings.Repeat("x", size)) })
			if resp.StatusCode != http.StatusOK {
				break
			}
			full, b.Cookie = size, probe.Cookie
		}
		require.Greater(t, full, 1500, name)
		app.Clock.Advance(30 * time.Minute)
		app.Events()
		var resp *http.Response
		for range 2 {
			resp = b.Do(func(s *session.Session) { s.Has("k") })
			require.Equal(t, http.StatusOK, resp.StatusCode, name)
			if len(resp.Cookies()) == 0 {
				break
			}
			app.Clock.Advance(20 * time.Minute)
		}
		require.Empty(t, resp.Cookies(), "%s: it was to have no room", name)
		events := app.Events()
		require.Equal(t, []session.EventKind{session.EventStoreError}, kindsOf(events), name)
		require.ErrorIs(t, events[0].Err, session.ErrCookieTooLarge)
		require.Contains(t, app.Log(), "exceed 4096 bytes by ")
		require.Contains(t, app.Log(), "keep less in the session")
	}
}

func TestField20_ExpiredIsTold(t *testing.T) {
	eachStore(t, session.Config{IdleTimeout: time.Hour, Lifetime: 90 * time.Minute}, func(t *testing.T, app *kit.App) {
		expired := func(cookie string) (told bool) {
			requireStatus(t, http.StatusOK, app.Do(cookie, func(s *session.Session) { told = s.Expired() }), app)
			return told
		}
		cookie := app.Login("ada")
		require.False(t, expired(cookie))
		require.False(t, expired(""), "a first visit")
		require.False(t, expired(kit.ForeignWellFormed(app)[0]), "nor is one that never was")
		app.Events()
		app.Clock.Advance(time.Hour)
		require.True(t, expired(cookie))
		require.Equal(t, []string{"expired: idle"}, app.Happened())

		cookie = app.Login("ada")
		app.Clock.Advance(50 * time.Minute)
		b := app.BrowserWith(cookie)
		b.Reads()
		app.Clock.Advance(40 * time.Minute)
		app.Events()
		require.True(t, expired(b.Cookie))
		require.Equal(t, []string{"expired: absolute"}, app.Happened())

		app.Do(b.Cookie, func(s *session.Session) {
			require.True(t, s.Expired())
			require.NoError(t, s.Login("ada"))
			require.Equal(t, "ada", s.User())
		})
		out := app.Login("ada")
		app.Do(out, kit.Logout)
		require.False(t, expired(out), "who signed out did not run out")
		live := app.Login("ada")
		for _, cookie := range []string{b.Cookie + "; " + app.Name + "=" + live, live + "; " + app.Name + "=" + b.Cookie} {
			require.False(t, expired(cookie), "nor who has a live session beside it")
		}
	})
}

// Redis keeps a session for a minute more, so that it can be told from one that never was.
func TestField20_RedisKeepsWhatHasRunOutForAMinute(t *testing.T) {
	server := redistest.Start(t)
	app := kit.New(t, session.Config{IdleTimeout: time.Hour}, kit.OpenRedis(t, server, session.RedisOptions{}))
	key := "session:" + app.Look(app.Login("ada")).ID
	left, err := time.ParseDuration(server.MustDo("PTTL", key) + "ms")
	require.NoError(t, err)
	require.InDelta(t, (time.Hour + time.Minute).Seconds(), left.Seconds(), 30)
}

func TestField21_EvictionsAreTold(t *testing.T) {
	for name, store := range map[string]session.Store{
		"memory": session.NewMemoryStore(), "redis": kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{}),
	} {
		app := kit.New(t, session.Config{MaxPerUser: 2}, store)
		first := app.Look(app.Login("ada")).ID
		app.Clock.Advance(time.Second)
		app.Login("ada")
		app.Clock.Advance(time.Second)
		app.Events()
		app.Login("ada")
		events := app.Events()
		require.Equal(t, []session.EventKind{session.EventLoggedIn, session.EventEvicted}, kindsOf(events), name)
		require.Equal(t, first, events[1].ID)
		require.Equal(t, "ada", events[1].User)
	}
}

// A client that sends the End again, since its reply was lost, meets its own tombstone.
func TestField22_AResentEndKnowsItsOwnTombstone(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	app := kit.New(t, session.Config{}, kit.OpenRedisAt(t, proxy.URL(), session.RedisOptions{}))
	loseOne := func() {
		app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			if op == sessiontest.End {
				proxy.Once(redistest.LoseReply, "evalsha")
			}
			return call()
		})
	}
	cookie := app.Login("ada")
	id := app.Look(cookie).ID
	loseOne()
	require.NoError(t, app.Manager().Revoke(t.Context(), "ada", id))
	app.Store().Mend()
	require.True(t, app.Dead(cookie))

	cookie = app.Login("ada")
	b := app.BrowserWith(cookie)
	app.Events()
	loseOne()
	resp := b.Do(kit.Logout)
	requireStatus(t, http.StatusOK, resp, app)
	app.Store().Mend()
	require.Empty(t, b.Cookie, "the browser is told")
	require.True(t, app.Dead(cookie))

	cookie = app.Login("ada")
	loseOne()
	_, err := app.Manager().RevokeUser(t.Context(), "ada")
	require.NoError(t, err)
	app.Store().Mend()
	require.True(t, app.Dead(cookie))
}

// Where the store passes the loss on, whoever asks again learns that it is done.
func TestField22_AskedAgain(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	b := app.BrowserWith(cookie)
	b.Do(func(s *session.Session) {
		require.NoError(t, s.Destroy())
		app.Store().Lose()
		require.Error(t, s.Save(t.Context()))
		app.Store().Mend()
		require.NoError(t, s.Save(t.Context()))
	})
	require.Empty(t, b.Cookie)
	require.True(t, app.Dead(cookie))
}

func TestField23_TwoManagersOfOneName(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	outer := kit.Must(session.New(session.NewMemoryStore(), session.Config{Realm: "shop", Logger: logger}))
	inner := kit.Must(session.New(kit.Sealed(t, kit.SecretOne), session.Config{Realm: "admin", Logger: logger}))
	var told error
	asked := kit.Must(session.New(session.NewMemoryStore(), session.Config{
		Logger: logger, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { told = err; w.WriteHeader(http.StatusTeapot) },
	}))
	serve := func(h http.Handler) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, kit.Fresh("/"))
		return w
	}
	unreached := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a handler was reached") })
	w := serve(outer.Middleware(inner.Middleware(unreached)))
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Empty(t, w.Result().Cookies())
	require.Equal(t, http.StatusTeapot, serve(outer.Middleware(asked.Middleware(unreached))).Code)
	for _, part := range []string{"__Host-session", `"shop"`, `"admin"`, "*session.MemoryStore", "*session.CookieStore", "Config.Names"} {
		require.Contains(t, strings.ReplaceAll(log.String(), `\"`, `"`), part)
	}
	require.ErrorContains(t, told, "two Managers in one request")
	require.Equal(t, http.StatusOK, serve(outer.Middleware(outer.Middleware(http.HandlerFunc(kit.WriteOK)))).Code, "one Manager may be there twice")
	other := kit.Must(session.New(session.NewMemoryStore(), session.Config{Name: "__Host-other", Logger: logger}))
	require.Equal(t, http.StatusInternalServerError, serve(outer.Middleware(other.Middleware(inner.Middleware(unreached)))).Code, "with another between them")
}

const planted = "S3CRET-in-a-value"

// What another library's error says may hold the value: it is not passed on.
func TestField24_NoValueInErrorsAndLogs(t *testing.T) {
	for name, read := range map[string]func(s *session.Session){
		"time":     func(s *session.Session) { session.Key[time.Time]("k").Get(s) },
		"number":   func(s *session.Session) { session.Key[int]("k").Get(s) },
		"duration": func(s *session.Session) { var d time.Duration; s.Get("k", &d) },
		"struct":   func(s *session.Session) { session.Key[struct{ At time.Time }]("o").Get(s) },
		"map":      func(s *session.Session) { session.Key[map[int]int]("o").Get(s) },
		"bytes":    func(s *session.Session) { session.Key[[]byte]("k").Get(s) },
		"update": func(s *session.Session) {
			session.Key[time.Time]("k").Update(s, func(v time.Time) time.Time { return v })
		},
	} {
		app := kit.New(t, session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
			session.Key[time.Time]("k").Get(s)
			return nil
		}}, session.NewMemoryStore())
		b := app.Browser()
		b.Must(func(s *session.Session) {
			s.Set("k", planted)
			s.Set("o", map[string]string{"At": planted, planted: "1"})
		})
		var told error
		b.Do(func(s *session.Session) { read(s); told = s.Err() })
		require.Error(t, told, name)
		require.NotContains(t, told.Error(), planted, name)
		require.Contains(t, app.Log(), "a stored value can't be read")
		require.NotContains(t, app.Log(), planted, name)
	}
	for name, value := range map[string]any{
		"channel": map[string]any{planted: make(chan int)}, "raw": rawMessage(`{"` + planted + `"`), "bad text": planted + "\xff",
	} {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		require.Equal(t, http.StatusInternalServerError, app.Do("", func(s *session.Session) { s.Set("k", value) }).StatusCode)
		require.NotContains(t, app.Log(), planted, name)
	}
}

func TestField24_NoPasswordInTheErrorOfAURL(t *testing.T) {
	for _, url := range []string{
		"redis://app:" + planted + "/x@localhost:6379/0", "redis://app:" + planted + "?x=1@localhost:6379/0", "redis://app:" + planted + "#@localhost:6379/0",
		"redis://app:%zz" + planted + "@localhost:6379/0", "redis://app:" + planted + "@localhost:port/0", "redis://app:pass@localhost:6379/" + planted,
		"redis://app:" + planted + "@localhost:6379?nonsense=1", planted + "://localhost", "redis://:" + planted + " @localhost", "redis://[" + planted,
		"redis://app:pass@localhost:6379?master_name=m&addr=" + planted + "/x@y", "rediss://app:pass@localhost:6379?db=" + planted,
	} {
		_, err := session.OpenRedisStore(t.Context(), url, session.RedisOptions{})
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), planted)
		require.Contains(t, err.Error(), "%2F %3F %23 and %40", "it says how to write one")
	}
}

type rawMessage string

func (r rawMessage) MarshalJSON() ([]byte, error) { return []byte(r), nil }
