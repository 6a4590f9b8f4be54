package session_test

import (
	"github.com/doorman-go/session"

	"context"
	"math"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What has been done is told, and not what is asked for now.
func TestEvents_AfterAReplyWasLost(t *testing.T) {
	for _, c := range []struct {
		first, then func(*session.Session) error
		told        []string
	}{
		{func(s *session.Session) error { return s.Login("grace") }, (*session.Session).Destroy, []string{"logged in", "destroyed"}},
		{(*session.Session).Regenerate, func(s *session.Session) error { return s.Login("grace") }, []string{"regenerated", "logged in"}},
	} {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		v := app.Browser()
		v.SignIn("ada")
		app.Events()
		v.Must(func(s *session.Session) {
			require.NoError(t, c.first(s))
			app.Store().Lose()
			require.Error(t, s.Save(t.Context()))
			require.NoError(t, c.then(s))
		})
		var told []string
		for _, e := range app.Events() {
			if e.Kind != session.EventStoreError {
				told = append(told, string(e.Kind))
			}
		}
		require.Equal(t, c.told, told)
	}
}

// A touch that fails loses nothing of the user's: it is told of, and the response is the handler's.
func TestTouch_AFailureIsToldAndTheAnswerIsTheHandlers(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	cookie := app.Login("ada")
	app.Clock.Advance(10 * time.Minute)
	app.Events()
	store.Break(kit.ErrDown, sessiontest.Swap)
	resp := app.Do(cookie, func(*session.Session) {})
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "the handler's", kit.Body(resp))
	events := app.Events()
	require.Len(t, events, 1)
	require.Equal(t, session.EventStoreError, events[0].Kind)
	require.Contains(t, app.Log(), "the store failed")
}

// An Update that is made again on a newer value, and makes something that can't be stored of it.
func TestUpdate_OfANewerValueThatFails(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	inverse := func(s *session.Session) {
		session.Key[float64]("n").Update(s, func(v float64) float64 { return math.Log(1 - v) })
	}
	late, _ := app.Overtaken(cookie, inverse, func(s *session.Session) { s.Set("n", 1.0) })
	require.Equal(t, http.StatusInternalServerError, late.StatusCode, "the store is not to blame")
	require.Equal(t, 1.0, kit.Value[float64](app, cookie, "n"))
	for _, e := range app.Events() {
		require.NotEqual(t, session.EventStoreError, e.Kind)
	}
}

// The other changes of a request stay what they are when its Updates are made again.
func TestUpdate_BesideASet(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Overtaken(cookie, func(s *session.Session) { kit.CountUp(s); s.Set("new", 1); s.Delete("cart") }, kit.CountUp)
	require.Equal(t, 2, kit.Value[int](app, cookie, "counter"))
	require.Equal(t, []string{"counter", "new"}, app.Look(cookie).Keys)
}

// Where somebody else is always quicker, a commit is tried as long as it has time.
func TestUpdate_GivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := kit.New(t, session.Config{StoreTimeout: time.Second}, session.NewMemoryStore())
		cookie := app.Login("ada")
		app.Store().Intercept(func(ctx context.Context, op sessiontest.Op, call func() error) error {
			if op != sessiontest.Swap {
				return call()
			}
			select {
			case <-time.After(time.Millisecond): // on the bubble's clock
				return &session.ConflictError{ID: app.Store().LastRecord().ID}
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		begun := time.Now()
		var all sync.WaitGroup
		for range 3 { // one tries, and the others wait for their turn
			all.Go(func() {
				resp := app.Do(cookie, kit.CountUp)
				assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			})
		}
		all.Wait()
		require.Less(t, time.Since(begun), time.Second+10*time.Millisecond) // the store takes its time
	})
}

func TestSave_WithoutAManagerAndWithAnEndedContext(t *testing.T) {
	var zero session.Session
	zero.Set("k", 1)
	require.NoError(t, zero.Save(context.Background()))
	zero.Set("bad", func() {})
	require.ErrorContains(t, zero.Save(context.Background()), `"bad"`)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	app.Browser().Must(func(s *session.Session) {
		s.Set("k", 1)
		require.ErrorIs(t, s.Save(ctx), context.Canceled)
		require.Zero(t, store.Count(sessiontest.Swap), "it was not begun")
	})
	require.Equal(t, 1, store.Count(sessiontest.Swap))
}

func TestKey_Delete(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) { kit.Counter.Set(s, 7); s.Set("other", 1) })
	v.Must(func(s *session.Session) { kit.Counter.Delete(s) })
	require.Equal(t, []string{"other"}, v.Keys())
}

// A Session that is printed while it loads, or by what it calls, says that it is one and does not wait for itself.
func TestSession_PrintedWhileItLoads(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.SignIn("ada")
	var printed string
	v.Must(func(s *session.Session) {
		v.App.Store().Intercept(func(_ context.Context, _ sessiontest.Op, call func() error) error {
			printed = s.LogValue().String()
			return call()
		})
		s.Keys()
	})
	require.Equal(t, "session", printed)
}

// nosy is a type whose decoding looks at the session that it is read from.
type nosy struct{ saw string }

var nosySession *session.Session

func (n *nosy) UnmarshalJSON([]byte) error {
	n.saw = nosySession.User()
	return nil
}

func TestValues_DecodingMayUseTheSession(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.SignIn("ada")
	v.Must(func(s *session.Session) { s.Set("k", 1) })
	v.Must(func(s *session.Session) {
		nosySession = s
		var read nosy
		require.True(t, s.Get("k", &read))
		require.Equal(t, "ada", read.saw)
	})
}
