// Package operation_test holds what running a service with the library needs: requests that are no use, step-up, limits,
// observation, administration, and open connections that end with their sessions.
package operation_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// through makes the browser's request to a handler of the manager's, within the middleware.
func through(b *kit.Browser, h http.Handler, method, path string, headers ...string) *http.Response {
	b.App.T.Helper()
	r := httptest.NewRequest(method, "https://example.test"+path, nil)
	r.RequestURI = path // as a server has it
	if b.Cookie != "" {
		r.AddCookie(&http.Cookie{Name: b.App.Name, Value: b.Cookie})
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.App.Manager().Middleware(h).ServeHTTP(w, r)
	resp := w.Result()
	b.Receive(resp)
	return resp
}

func passive(b *kit.Browser, do func(*session.Session)) *http.Response {
	b.App.T.Helper()
	return through(b, b.App.Manager().Passive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		do(session.FromContext(r.Context()))
		_, _ = w.Write([]byte("polled"))
	})), "GET", "/poll")
}

func signedIn(in *bool) func(*session.Session) {
	return func(s *session.Session) { *in = s.User() != "" }
}

func TestPassive_IsNoUse(t *testing.T) {
	kit.EachTimed(t, kit.CostConfig, func(t *testing.T, b *kit.Browser) {
		b.SignIn("ada")
		var in bool
		for range 19 {
			b.App.Clock.Advance(time.Minute)
			resp := passive(b, signedIn(&in))
			require.True(t, in)
			require.Empty(t, resp.Header["Set-Cookie"], "also where the use would be in the cookie")
		}
		b.App.Clock.Advance(time.Minute)
		passive(b, signedIn(&in))
		require.False(t, in, "20 minutes without use")
		require.True(t, b.SignedOut())
	})
}

// The counterpart: the same requests, not passive, keep it.
func TestPassive_OtherRequestsAreUse(t *testing.T) {
	kit.EachTimed(t, kit.CostConfig, func(t *testing.T, b *kit.Browser) {
		b.SignIn("ada")
		for range 40 {
			b.App.Clock.Advance(time.Minute)
			b.Reads()
		}
		require.False(t, b.SignedOut())
	})
}

func TestPassive_ChangesAreStoredAndAreNoUse(t *testing.T) {
	kit.EachTimed(t, kit.CostConfig, func(t *testing.T, b *kit.Browser) {
		b.SignIn("ada")
		end := b.View().ExpiresAt
		for range 15 {
			b.App.Clock.Advance(time.Minute)
			passive(b, kit.CountUp)
		}
		passive(b, kit.Regenerate)
		var ends time.Time
		passive(b, func(s *session.Session) {
			n, _ := kit.Counter.Get(s)
			require.Equal(t, 15, n)
			ends = s.ExpiresAt().UTC()
		})
		require.Equal(t, end, ends)
		b.App.Clock.Advance(5 * time.Minute)
		require.True(t, b.SignedOut())
	})
}

// One that begins a session has it for the whole idle time.
func TestPassive_MayBeginASession(t *testing.T) {
	kit.EachTimed(t, kit.CostConfig, func(t *testing.T, b *kit.Browser) {
		passive(b, kit.LoginAda)
		require.Equal(t, b.App.Clock.Now().Add(20*time.Minute).UTC(), b.View().ExpiresAt)
	})
}

func TestPassive_OfAZeroSessionAndOfNone(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	h := app.Manager().Passive(http.HandlerFunc(kit.WriteOK))
	w := httptest.NewRecorder()
	r := kit.Fresh("/")
	h.ServeHTTP(w, r.WithContext(session.NewContext(r.Context(), new(session.Session))))
	require.Equal(t, "ok", w.Body.String())
	require.Panics(t, func() { h.ServeHTTP(httptest.NewRecorder(), kit.Fresh("/")) }, "without the middleware")
}

type left struct {
	SignedIn                   bool
	SecondsLeft, SecondsAtMost int64
}

func timeLeft(b *kit.Browser, method string) (l left) {
	b.App.T.Helper()
	resp := through(b, b.App.Manager().TimeLeft(), method, "/time-left")
	require.Equal(b.App.T, http.StatusOK, resp.StatusCode)
	require.Equal(b.App.T, "application/json", resp.Header.Get("Content-Type"))
	require.Equal(b.App.T, "no-store", resp.Header.Get("Cache-Control"))
	require.Equal(b.App.T, "Cookie", resp.Header.Get("Vary"))
	d := json.NewDecoder(strings.NewReader(kit.Body(resp)))
	d.DisallowUnknownFields()
	require.NoError(b.App.T, d.Decode(&l))
	return l
}

func TestTimeLeft(t *testing.T) {
	cfg := session.Config{IdleTimeout: 20 * time.Minute, Lifetime: 30 * time.Minute}
	kit.EachTimed(t, cfg, func(t *testing.T, b *kit.Browser) {
		require.Equal(t, left{}, timeLeft(b, "GET"), "no session")
		require.Equal(t, left{}, timeLeft(b, "POST"))
		require.Empty(t, b.Cookie)

		b.SignIn("ada")
		b.App.Clock.Advance(18*time.Minute + 500*time.Millisecond)
		for range 3 {
			require.Equal(t, left{true, 119, 719}, timeLeft(b, "GET"), "asking changes nothing")
		}
		require.Equal(t, left{true, 719, 719}, timeLeft(b, "POST"), "the absolute limit comes first now")
		require.Equal(t, left{true, 719, 719}, timeLeft(b, "GET"))
		b.App.Clock.Advance(12 * time.Minute)
		require.Equal(t, left{}, timeLeft(b, "GET"))
	})
}

func TestTimeLeft_OfAVisitor(t *testing.T) {
	b := kit.New(t, kit.CostConfig, session.NewMemoryStore()).Browser()
	b.Must(kit.CountUp)
	require.Equal(t, left{false, 1200, 86400}, timeLeft(b, "GET"))
}

func TestTimeLeft_Refusals(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	resp := through(b, app.Manager().TimeLeft(), "DELETE", "/")
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, "GET, HEAD, POST", resp.Header.Get("Allow"))
	require.Equal(t, http.StatusOK, through(b, app.Manager().TimeLeft(), "HEAD", "/").StatusCode)

	app.Store().Break(kit.ErrDown, sessiontest.Load)
	resp = through(b, app.Manager().TimeLeft(), "GET", "/")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotContains(t, kit.Body(resp), "signedIn", "a page must not take it for the end")
}

// What another tab does meanwhile counts.
func TestTimeLeft_SeesUseElsewhere(t *testing.T) {
	app := kit.New(t, kit.CostConfig, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	app.Clock.Advance(19 * time.Minute)
	require.EqualValues(t, 60, timeLeft(b, "GET").SecondsLeft)
	b.Copy().Reads()
	require.EqualValues(t, 1200, timeLeft(b, "GET").SecondsLeft)
}

// A load that a clock or a store holds up is no use either: nothing is swapped.
func TestPassive_AsksTheStoreOnce(t *testing.T) {
	app := kit.New(t, kit.CostConfig, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	app.Clock.Advance(10 * time.Minute)
	app.Store().ForgetCalls()
	passive(b, func(s *session.Session) { s.User(); require.NoError(t, s.Save(context.Background())) })
	require.Zero(t, app.Store().Count(sessiontest.Swap))
}

// Inside what has used the session it has no effect, and says so; inside another Passive it has nothing to say.
func TestPassive_TooLate(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	b := app.Browser()
	b.SignIn("ada")
	use := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "ada", session.FromContext(r.Context()).User())
			next.ServeHTTP(w, r)
		})
	}
	const warning = "put it around everything that uses the session"
	for name, h := range map[string]http.Handler{
		"around":         app.Manager().Passive(use(app.Manager().TimeLeft())),
		"inside":         use(app.Manager().Passive(app.Manager().TimeLeft())),
		"inside, by GET": use(app.Manager().TimeLeft()),
	} {
		before := strings.Count(app.Log(), warning)
		through(b, h, "GET", "/poll")
		require.Equal(t, name != "around", strings.Count(app.Log(), warning) == before+1, name)
	}
}
