//go:build !noservers

package guarantees_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// Where the old and the new ID can't be written together, as in a cluster, a change of ID takes two steps: the old session
// is ended, and then the new one is created. These tests put something between the two.

// steps is an application whose store makes swaps one by one. What stands in for the second step is called with it.
type steps struct {
	*kit.App
	inner *kit.Store
}

type stepFault func(ctx context.Context, send func() error) error

// eachSteps runs a test on a store in memory and on Redis.
func eachSteps(t *testing.T, cfg session.Config, test func(*testing.T, steps)) {
	for name, store := range map[string]session.Store{
		"memory": session.NewMemoryStore(), "redis": kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			inner := kit.NewStore(store)
			test(t, steps{kit.New(t, cfg, kit.OneByOne(inner.Front())), inner})
		})
	}
}

// breakSecond has fault stand in for each second step, until it is called with nil.
func (s steps) breakSecond(fault stepFault) {
	if fault == nil {
		s.inner.Mend()
		return
	}
	s.inner.Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
		if op != sessiontest.Swap || s.inner.LastSwaps()[0].Old != nil {
			return call()
		}
		return fault(ctx, call)
	})
}

// once has something happen before the next second step.
func (s steps) once(happen func()) {
	s.breakSecond(func(_ context.Context, send func() error) error {
		s.breakSecond(nil)
		happen()
		return send()
	})
}

var errCut = errors.New("the connection was cut")

// stepFaults are what can happen to the second step.
var stepFaults = []struct {
	name  string
	fault stepFault
	made  bool // the server did it, and nobody got to know
}{
	{"never sent", func(context.Context, func() error) error { return errCut }, false},
	{"never answered", func(ctx context.Context, _ func() error) error { <-ctx.Done(); return ctx.Err() }, false},
	{"its reply lost", func(_ context.Context, send func() error) error { return errors.Join(send(), errCut) }, true},
}

func TestGuarantee01_FaultBetweenTheSteps(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*session.Session)
	}{{"regenerate", kit.Regenerate}, {"login", kit.LoginAda}, {"login as another", func(s *session.Session) { _ = s.Login("grace", "cart") }}} {
		for _, f := range stepFaults {
			t.Run(c.name+"/"+f.name, func(t *testing.T) {
				eachSteps(t, session.Config{StoreTimeout: 300 * time.Millisecond}, func(t *testing.T, app steps) {
					old := app.Login("ada")
					app.breakSecond(f.fault)
					resp := app.Do(old, c.do)
					app.breakSecond(nil)
					require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
					require.Equal(t, "Service Unavailable\n", kit.Body(resp))
					require.Empty(t, resp.Cookies(), "the new ID reaches nobody")
					require.True(t, app.Dead(old), "it fails to the safe side: signed out, not open twice")
					signedOutForGood(t, app.App, old, f.made)
				})
			})
		}
	}
}

// signedOutForGood checks what a change of ID that failed halfway leaves: nothing of the user's that could not be ended,
// and a browser that can sign in again.
func signedOutForGood(t *testing.T, app *kit.App, old string, made bool) {
	listed := len(app.Listed("ada")) + len(app.Listed("grace"))
	live := 0
	for _, r := range app.Live() { // by the tokens that the store was shown, which include the one that nobody was sent
		live++
		require.True(t, made, "%s is open, though it was never created", r.ID)
	}
	require.Equal(t, live, listed, "what is open is listed, and what is not is not")
	for _, user := range []string{"ada", "grace"} {
		app.RevokeUser(user)
		require.Empty(t, app.Listed(user))
	}
	require.Empty(t, app.Live(), "whatever was open can be ended")

	require.Equal(t, http.StatusConflict, app.Do(old, func(s *session.Session) { s.Set("new", 1) }).StatusCode)
	b := app.BrowserWith(old)
	b.Receive(app.Do(old, kit.LoginAda))
	require.Equal(t, kit.Look{ID: app.Look(b.Cookie).ID, User: "ada"}, app.Look(b.Cookie), "signing in again works")
	require.Len(t, app.Listed("ada"), 1)
}

// The same change sent again, as a client does that got no answer, is completed: with the values, once, and listed.
func TestGuarantee03_ResentBetweenTheSteps(t *testing.T) {
	for user, do := range map[string]func(*session.Session){
		"ada":   func(s *session.Session) { kit.Regenerate(s); s.Set("new", 1) },
		"grace": func(s *session.Session) { _ = s.Login("grace", "cart"); s.Set("new", 1) },
	} {
		t.Run(user, func(t *testing.T) {
			eachSteps(t, session.Config{}, func(t *testing.T, app steps) {
				old := app.Login("ada")
				app.breakSecond(stepFaults[0].fault)
				again := app.Store().Recorded(func() { require.Equal(t, http.StatusServiceUnavailable, app.Do(old, do).StatusCode) })
				app.breakSecond(nil)
				require.Empty(t, app.Live())
				for range 2 {
					require.NoError(t, again())
					live := app.Live()
					require.Len(t, live, 1)
					for id, r := range live {
						require.Equal(t, user, r.User)
						require.Equal(t, 2, r.Values.Len(), "the one it had, and the one it got")
						require.Equal(t, id, app.Listed(user)[0].ID)
					}
				}
				require.True(t, app.Dead(old))
				require.Len(t, app.Listed(user), 1)
			})
		})
	}
}

// An end that comes between the steps ends the session that is about to be created.
func TestGuarantee02_EndedBetweenTheSteps(t *testing.T) {
	for name, end := range map[string]func(app *kit.App, old, id string){
		"RevokeUser": func(app *kit.App, _, _ string) { app.RevokeUser("ada") },
		"Revoke": func(app *kit.App, _, id string) {
			require.NoError(app.T, app.Manager().Revoke(context.Background(), "ada", id))
		},
		"Destroy": func(app *kit.App, old, _ string) {
			require.Equal(app.T, http.StatusOK, app.Do(old, kit.Logout).StatusCode)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachSteps(t, session.Config{}, func(t *testing.T, app steps) {
				b := app.BrowserWith(app.Login("ada"))
				old, id := b.Cookie, app.Look(b.Cookie).ID
				other := app.Launch(0, old, "end", kit.Act(kit.Logout)) // has loaded the session
				app.once(func() { end(app.App, old, id) })
				resp := app.Do(old, kit.Regenerate)
				require.Equal(t, http.StatusConflict, resp.StatusCode)
				b.Receive(resp)
				require.True(t, app.Dead(old))
				require.True(t, app.Dead(b.Cookie), "the new ID was ended before it was created")
				require.Empty(t, app.Live())
				require.Equal(t, http.StatusOK, other.Land().StatusCode)
				require.Empty(t, app.Listed("ada"))
			})
		})
	}
}

// A login that is not there yet when the user's sessions are revoked came after that.
func TestGuarantee02_LoginBetweenTheStepsOfWhichTheUserIsRevoked(t *testing.T) {
	eachSteps(t, session.Config{}, func(t *testing.T, app steps) {
		b := app.BrowserWith(app.Login("ada"))
		old := b.Cookie
		app.once(func() { app.RevokeUser("ada") })
		b.Receive(app.Do(old, kit.LoginAda))
		require.True(t, app.Dead(old))
		require.Equal(t, "ada", app.User(b.Cookie))
		require.Len(t, app.Live(), 1)
		require.Len(t, app.Listed("ada"), 1, "and the next revocation finds it")
	})
}

// Between the steps the session is its user's still: another one can't end it by its old ID.
func TestUsers_RevokedByAnotherBetweenTheSteps(t *testing.T) {
	for _, user := range []string{"ada", ""} {
		eachSteps(t, session.Config{}, func(t *testing.T, app steps) {
			b := app.BrowserWith(app.Start())
			if user != "" {
				b.Cookie = app.Login(user)
			}
			id := app.Look(b.Cookie).ID
			revoke := func() {
				require.ErrorIs(t, app.Manager().Revoke(context.Background(), "mallory", id), session.ErrNotFound)
			}
			app.once(revoke)
			b.Receive(app.Do(b.Cookie, kit.Regenerate))
			revoke()
			require.Len(t, app.Look(b.Cookie).Keys, 1)
			require.Equal(t, user, app.User(b.Cookie))
		})
	}
}
