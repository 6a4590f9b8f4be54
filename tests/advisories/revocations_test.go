package advisories_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestAdvisory_DestroyedCookieReplayed_RefusedAtLoad(t *testing.T) {
	for how, end := range kit.Endings {
		v := kit.New(t, session.Config{}, kit.SealedWithList(t)).Browser()
		v.SignIn("ada")
		thief := v.Copy()
		v.Must(func(s *session.Session) { require.NoError(t, end(s)) })
		for _, after := range []time.Duration{0, time.Second, 2 * time.Minute, 23 * time.Hour} {
			v.App.Clock.Advance(after)
			require.True(t, thief.SignedOut(), "%s, %v later", how, after)
		}
		late := v.Copy()
		require.Equal(t, how == "Destroy", late.Cookie == "", how)
	}
}

// A request that loaded the session before it ended.
func TestAdvisory_DestroyedCookieReplayed_RefusedAtCommit(t *testing.T) {
	for how, end := range kit.Endings {
		for what, late := range map[string]func(*session.Session){
			"Set":        func(s *session.Session) { s.Set("k", 1) },
			"Flash":      func(s *session.Session) { s.Flash("c", "m") },
			"Update":     func(s *session.Session) { session.Key[int]("n").Update(s, func(n int) int { return n + 1 }) },
			"Regenerate": func(s *session.Session) { _ = s.Regenerate() },
			"a touch":    func(*session.Session) {},
			"Delete":     func(s *session.Session) { s.Delete("n") },
		} {
			v := kit.New(t, session.Config{}, kit.SealedWithList(t)).Browser()
			v.SignIn("ada")
			v.App.Clock.Advance(5 * time.Minute) // a touch is due
			slow := v.Copy()
			resp := slow.Do(func(s *session.Session) {
				require.Equal(t, "ada", s.User())
				v.Must(func(quick *session.Session) { require.NoError(t, end(quick)) })
				late(s)
			})
			want := http.StatusConflict
			if what == "a touch" || what == "Delete" {
				want = http.StatusOK
			}
			require.Equal(t, want, resp.StatusCode, "%s after %s", what, how)
			require.Empty(t, resp.Cookies(), "%s after %s", what, how)
			require.True(t, slow.SignedOut())
		}
	}
}
