package advisories_test

import (
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestAdvisory_AnonymousTrafficWritesNothing(t *testing.T) {
	for _, store := range []session.Store{session.NewMemoryStore(), kit.Sealed(t, kit.SecretOne)} {
		v := kit.New(t, session.Config{}, store).Browser()
		counting := v.App.Store()
		for _, idle := range []func(*session.Session){
			func(s *session.Session) { s.User() }, func(s *session.Session) { s.Flashes() }, func(s *session.Session) { s.Delete("k") },
			func(s *session.Session) { s.Clear() }, func(s *session.Session) { require.NoError(t, s.Destroy()) },
			func(s *session.Session) { require.NoError(t, s.Regenerate()) }, func(s *session.Session) { require.NoError(t, s.Save(t.Context())) },
			func(s *session.Session) { s.Set("k", 1); s.Delete("k") }, func(s *session.Session) { s.Set("k", 1); s.Clear() },
			func(s *session.Session) { s.Flash("c", "m"); s.Flashes() },
		} {
			require.Empty(t, v.Must(idle).Cookies())
		}
		require.Zero(t, counting.Count())
	}
}

func TestAdvisory_SharedNamespace_NameIsPartOfTheToken(t *testing.T) {
	shared := session.NewMemoryStore()
	one, two := kit.New(t, session.Config{Name: "one"}, shared), kit.New(t, session.Config{Name: "two"}, shared)
	v := one.Browser()
	v.SignIn("ada")
	require.True(t, two.BrowserWith(v.Cookie).SignedOut())
	require.Zero(t, two.Store().Count())
	require.False(t, v.SignedOut())
}
