package guarantees_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee01_Fixation_DeadBeforeTheResponseLeaves(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		for _, do := range []func(*session.Session){kit.Regenerate, kit.LoginAda, kit.Logout} {
			old := app.Login("ada")
			probe := &leaving{ResponseWriter: httptest.NewRecorder(), check: func() { require.True(app.T, app.Dead(old)) }}
			app.ServeTo(probe, old, kit.Act(do))
			require.True(app.T, probe.left)
		}
	})
}

// leaving is a ResponseWriter that makes a check at the moment the header leaves.
type leaving struct {
	http.ResponseWriter
	check func()
	left  bool
}

func (l *leaving) WriteHeader(status int) {
	if !l.left {
		l.left = true
		l.check()
	}
	l.ResponseWriter.WriteHeader(status)
}

func (l *leaving) Write(p []byte) (int, error) {
	l.WriteHeader(http.StatusOK)
	return l.ResponseWriter.Write(p)
}

func TestGuarantee01_Fixation_NeverAdopted(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		for _, foreign := range kit.ForeignCookies(app) {
			require.Empty(app.T, app.Look(foreign).ID, "%q", foreign)
			b := app.BrowserWith(foreign)
			b.Receive(app.Do(foreign, func(s *session.Session) { s.Set("cart", "tea") }))
			require.NotEqual(app.T, foreign, b.Cookie)
			require.Equal(app.T, []string{"cart"}, app.Look(b.Cookie).Keys)
			require.Empty(app.T, app.Look(foreign).ID, "nothing is stored under %q", foreign)
		}
		require.Len(app.T, app.Live(), len(kit.ForeignCookies(app)))
	})
}

func TestGuarantee01_Fixation_NoUserWithoutANewID(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Start())
		for _, user := range []string{"ada", "grace", "grace"} {
			before, old := app.Look(b.Cookie), b.Cookie
			b.Receive(app.Do(old, func(s *session.Session) { require.NoError(app.T, s.Login(user)) }))
			require.NotEqual(app.T, before.ID, app.Look(b.Cookie).ID)
			require.Equal(app.T, user, app.User(b.Cookie))
			require.True(app.T, app.Dead(old))
		}
	})
}

func TestGuarantee01_WithoutAListAsDocumented(t *testing.T) {
	for how, end := range kit.Endings {
		v := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne)).Browser()
		v.SignIn("ada")
		thief := v.Copy()
		v.Must(func(s *session.Session) { require.NoError(t, end(s)) })
		require.False(t, thief.SignedOut(), "%s: a copied cookie lives on, which nothing but a list can help", how)
		v.App.Clock.Advance(24 * time.Hour)
		require.True(t, thief.SignedOut(), "to its deadline")
	}
	manager := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne)).Manager()
	_, err := manager.RevokeUser(t.Context(), "ada")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorIs(t, manager.Revoke(t.Context(), "ada", "id"), errors.ErrUnsupported)
}

func TestGuarantee01_TokensAreRandom(t *testing.T) {
	seen := map[string]bool{}
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	for range 500 {
		v := app.Browser()
		v.Must(func(s *session.Session) { s.Set("k", 1); seen[s.ID()] = true })
		seen[v.Cookie] = true
	}
	require.Len(t, seen, 1000, "ids and tokens, all different")
}
