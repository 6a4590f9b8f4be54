package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// Where the old and the new id live in different slots, a change of id takes two steps: the old session is handed over,
// with the new id in the user's index, and then the new one is created. These tests put a fault between the two.

// betweenSteps is a go-redis hook. The first step goes as a pipeline, the second as a command of its own, which the fault
// gets in place of the server.
type betweenSteps struct {
	fault func(ctx context.Context, send func() error) error // nil: none
}

func (b *betweenSteps) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *betweenSteps) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *betweenSteps) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if b.fault == nil || !strings.HasPrefix(cmd.Name(), "eval") {
			return next(ctx, cmd)
		}
		err := b.fault(ctx, func() error { return next(ctx, cmd) })
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

var errCut = errors.New("the connection was cut")

// stepFaults are what can happen to the second step.
var stepFaults = []struct {
	name  string
	fault func(ctx context.Context, send func() error) error
	made  bool // the server did it, and nobody got to know
}{
	{"never sent", func(context.Context, func() error) error { return errCut }, false},
	{"never answered", func(ctx context.Context, _ func() error) error { <-ctx.Done(); return ctx.Err() }, false},
	{"its reply lost", func(_ context.Context, send func() error) error { return errors.Join(send(), errCut) }, true},
}

// acrossWorld is a process whose store takes two steps, and the hook that breaks the second.
func acrossWorld(t *testing.T, cfg session.Config) (*world, *betweenSteps, *redis.Client) {
	server := redistest.Start(t)
	client, steps := redisClient(t, server), &betweenSteps{}
	client.AddHook(steps)
	return newWorld(t, cfg, session.NewRedisStore(across{client}, session.RedisOptions{})), steps, redisClient(t, server)
}

func TestGuarantee01_FaultBetweenTheSteps(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*session.Session)
	}{{"regenerate", regenerate}, {"login", login}, {"login as another", func(s *session.Session) { _ = s.Login("grace", "cart") }}} {
		for _, f := range stepFaults {
			t.Run(c.name+"/"+f.name, func(t *testing.T) {
				w, steps, _ := acrossWorld(t, session.Config{StoreTimeout: 300 * time.Millisecond})
				old := w.login("ada")
				w.do(old, func(s *session.Session) { s.Has("Redis knows the scripts") })
				steps.fault = f.fault
				resp := w.do(old, c.do)
				steps.fault = nil
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
				require.Equal(t, "Service Unavailable\n", bodyOf(resp))
				require.Empty(t, resp.Cookies(), "the new id reaches nobody")
				require.True(t, w.dead(old), "it fails to the safe side: signed out, not open twice")
				signedOutForGood(t, w, old, f.made)
			})
		}
	}
}

// signedOutForGood checks what a change of id that failed halfway leaves: nothing of the user's that could not be ended,
// and a browser that can sign in again.
func signedOutForGood(t *testing.T, w *world, old string, made bool) {
	listed := len(w.listed("ada")) + len(w.listed("grace"))
	live := 0
	for _, r := range w.live() { // by the tokens that the store was shown, which include the one that nobody was sent
		live++
		require.True(t, made, "%s is open, though it was never created", r.ID)
	}
	require.Equal(t, live, listed, "what is open is listed, and what is not is not")
	for _, user := range []string{"ada", "grace"} {
		_, err := w.last().manager.RevokeUser(context.Background(), user)
		require.NoError(t, err)
		require.Empty(t, w.listed(user))
	}
	require.Empty(t, w.live(), "whatever was open can be ended")

	require.Equal(t, http.StatusConflict, w.do(old, func(s *session.Session) { s.Set("new", 1) }).StatusCode)
	b := browser{w.name, old}
	b.receive(w.do(old, login))
	require.Equal(t, look{w.look(b.cookie).id, "ada", nil}, w.look(b.cookie), "signing in again works")
	require.Len(t, w.listed("ada"), 1)
}

// The same change sent again, as a client does that got no answer, is completed: with the values, once, and in the index.
func TestGuarantee03_ResentBetweenTheSteps(t *testing.T) {
	for user, do := range map[string]func(*session.Session){
		"ada":   func(s *session.Session) { regenerate(s); s.Set("new", 1) },
		"grace": func(s *session.Session) { _ = s.Login("grace", "cart"); s.Set("new", 1) },
	} {
		t.Run(user, func(t *testing.T) {
			w, steps, client := acrossWorld(t, session.Config{})
			old := w.login("ada")
			steps.fault = stepFaults[0].fault
			again := w.recorded(func() { require.Equal(t, http.StatusServiceUnavailable, w.do(old, do).StatusCode) })
			steps.fault = nil
			require.Empty(t, w.live())
			for range 2 {
				require.NoError(t, again())
				live := w.live()
				require.Len(t, live, 1)
				for id, r := range live {
					require.Equal(t, user, r.User)
					require.Len(t, r.Values, 2, "the one it had, and the one it got")
					require.Contains(t, client.ZRange(t.Context(), "session:user:"+user, 0, -1).Val(), id)
				}
			}
			require.True(t, w.dead(old))
			require.Len(t, w.listed(user), 1)
		})
	}
}

// endedBetweenTheSteps has a session end, and checks what is left, after the first step of a change of its id.
func endedBetweenTheSteps(t *testing.T, change func(*session.Session), end func(w *world, id string) error) {
	w, steps, client := acrossWorld(t, session.Config{})
	b := browser{w.name, w.login("ada")}
	old, id := b.cookie, w.look(b.cookie).id
	other := w.launch(0, old, "delete", act(logout)) // has loaded the session
	steps.fault = func(_ context.Context, send func() error) error {
		steps.fault = nil
		require.NoError(t, end(w, id))
		return send()
	}
	b.receive(w.do(old, change))
	require.True(t, w.dead(old))
	require.True(t, w.dead(b.cookie), "the new id was ended before it was created")
	require.Empty(t, w.live())
	require.Equal(t, http.StatusOK, other.land().StatusCode)
	require.Empty(t, w.listed("ada"))
	require.Zero(t, client.Exists(t.Context(), "session:early", "session:none", "session:live").Val(), "an answer is no id")
}

// An end that comes between the steps ends the session that is about to be created.
func TestGuarantee02_EndedBetweenTheSteps(t *testing.T) {
	renewals := map[string]func(*session.Session){"regenerate": regenerate, "login": func(s *session.Session) { _ = s.Login("ada", "cart") }}
	for name, change := range renewals {
		t.Run("RevokeUser/"+name, func(t *testing.T) {
			endedBetweenTheSteps(t, change, func(w *world, _ string) error {
				_, err := w.last().manager.RevokeUser(context.Background(), "ada")
				return err
			})
		})
	}
	t.Run("Revoke", func(t *testing.T) {
		endedBetweenTheSteps(t, regenerate, func(w *world, id string) error {
			return w.last().manager.Revoke(context.Background(), "ada", id)
		})
	})
	t.Run("Destroy", func(t *testing.T) {
		endedBetweenTheSteps(t, regenerate, func(w *world, id string) error {
			return w.last().store.Delete(w.seen.ctx, id, w.clock.Now().Add(time.Hour))
		})
	})
}

// What is handed over is its user's still: another one can't end it by its old id.
func TestUsers_RevokedByAnotherBetweenTheSteps(t *testing.T) {
	for _, user := range []string{"ada", ""} {
		w, steps, _ := acrossWorld(t, session.Config{})
		b := browser{w.name, w.start()}
		if user != "" {
			b.cookie = w.login(user)
		}
		id := w.look(b.cookie).id
		steps.fault = func(_ context.Context, send func() error) error {
			steps.fault = nil
			require.ErrorIs(t, w.last().manager.Revoke(context.Background(), "mallory", id), session.ErrNotFound)
			return send()
		}
		b.receive(w.do(b.cookie, regenerate))
		require.ErrorIs(t, w.last().manager.Revoke(context.Background(), "mallory", id), session.ErrNotFound)
		require.Len(t, w.look(b.cookie).keys, 1)
		require.Equal(t, user, w.user(b.cookie))
	}
}
