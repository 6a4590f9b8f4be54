package session_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// endings are the ways in which a session's id ends by its own browser.
var endings = map[string]func(*session.Session) error{
	"Destroy":    (*session.Session).Destroy,
	"Login":      func(s *session.Session) error { return s.Login("grace") },
	"Regenerate": (*session.Session).Regenerate,
}

func revocable(t *testing.T) session.Store {
	return cookieStore(t, secretOne).WithRevocations(session.NewMemoryRevocations())
}

func TestAdvisory_DestroyedCookieReplayed_RefusedAtLoad(t *testing.T) {
	for how, end := range endings {
		v := newSite(t, revocable(t), session.Config{}).visitor()
		v.signIn("ada")
		thief := v.copied()
		v.must(func(s *session.Session) { require.NoError(t, end(s)) })
		for _, after := range []time.Duration{0, time.Second, 2 * time.Minute, 23 * time.Hour} {
			v.site.clock.move(after)
			require.True(t, thief.signedOut(), "%s, %v later", how, after)
		}
		late := v.copied()
		require.Equal(t, how == "Destroy", late.cookie == "", how)
	}
}

// A request that loaded the session before it ended.
func TestAdvisory_DestroyedCookieReplayed_RefusedAtCommit(t *testing.T) {
	for how, end := range endings {
		for what, late := range map[string]func(*session.Session){
			"Set":        func(s *session.Session) { s.Set("k", 1) },
			"Flash":      func(s *session.Session) { s.Flash("c", "m") },
			"Update":     func(s *session.Session) { session.Key[int]("n").Update(s, func(n int) int { return n + 1 }) },
			"Regenerate": func(s *session.Session) { _ = s.Regenerate() },
			"a touch":    func(*session.Session) {},
			"Delete":     func(s *session.Session) { s.Delete("n") },
		} {
			v := newSite(t, revocable(t), session.Config{}).visitor()
			v.signIn("ada")
			v.site.clock.move(5 * time.Minute) // a touch is due
			slow := v.copied()
			resp := slow.do(func(s *session.Session) {
				require.Equal(t, "ada", s.User())
				v.must(func(quick *session.Session) { require.NoError(t, end(quick)) })
				late(s)
			})
			want := http.StatusConflict
			if what == "a touch" || what == "Delete" {
				want = http.StatusOK
			}
			require.Equal(t, want, resp.StatusCode, "%s after %s", what, how)
			require.Empty(t, resp.Cookies(), "%s after %s", what, how)
			require.True(t, slow.signedOut())
		}
	}
}

func TestGuarantee01_WithoutAListAsDocumented(t *testing.T) {
	for how, end := range endings {
		v := newSite(t, cookieStore(t, secretOne), session.Config{}).visitor()
		v.signIn("ada")
		thief := v.copied()
		v.must(func(s *session.Session) { require.NoError(t, end(s)) })
		require.False(t, thief.signedOut(), "%s: a copied cookie lives on, which nothing but a list can help", how)
		v.site.clock.move(24 * time.Hour)
		require.True(t, thief.signedOut(), "to its deadline")
	}
	manager := newSite(t, cookieStore(t, secretOne), session.Config{}).manager
	_, err := manager.RevokeUser(t.Context(), "ada")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorIs(t, manager.Revoke(t.Context(), "ada", "id"), errors.ErrUnsupported)
}

func TestRevocations_ListingIsUnsupported(t *testing.T) {
	_, err := newSite(t, revocable(t), session.Config{}).manager.Sessions(t.Context(), "ada")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = session.New(revocable(t), session.Config{MaxPerUser: 1})
	require.ErrorContains(t, err, "MaxPerUser needs a store that can list")
}

// within makes a call as the Manager does, which gives the list its clock.
func within(t *testing.T, v *visitor, f func(context.Context) error) {
	t.Helper()
	v.visit(func(_ http.ResponseWriter, r *http.Request) { require.NoError(t, f(r.Context())) })
}

func TestRevocations_RevokeUser(t *testing.T) {
	site := newSite(t, revocable(t), session.Config{})
	one, two, kept, grace, nobody := site.visitor(), site.visitor(), site.visitor(), site.visitor(), site.visitor()
	for _, v := range []*visitor{one, two, kept} {
		v.signIn("ada")
	}
	grace.signIn("grace")
	nobody.must(func(s *session.Session) { s.Set("k", 1) })
	late := one.copied()
	resp := late.do(func(s *session.Session) {
		s.User()
		within(t, nobody, func(ctx context.Context) error {
			_, err := site.manager.RevokeUser(ctx, "ada", kept.view().id)
			return err
		})
		s.Set("k", 1)
	})
	require.Equal(t, http.StatusConflict, resp.StatusCode, "refused at commit")
	require.Empty(t, resp.Cookies())
	require.True(t, one.signedOut() && two.signedOut())
	require.False(t, kept.signedOut() || grace.signedOut() || nobody.signedOut())

	// All within the same instant, so that nothing but the order tells the one from the other.
	again := site.visitor()
	again.signIn("ada")
	require.False(t, again.signedOut(), "a login after it stands")
	kept.must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
	require.False(t, kept.signedOut(), "the one that was excepted may go on under a new id")
	within(t, nobody, func(ctx context.Context) error { _, err := site.manager.RevokeUser(ctx, "ada"); return err })
	require.True(t, kept.signedOut() && again.signedOut(), "a second one counts, too")
	again.signIn("ada")
	require.False(t, again.signedOut())
	site.clock.move(23 * time.Hour)
	require.True(t, two.signedOut())
}

func TestRevocations_RevokeOne(t *testing.T) {
	site := newSite(t, revocable(t), session.Config{})
	ada, other, grace := site.visitor(), site.visitor(), site.visitor()
	ada.signIn("ada")
	other.signIn("ada")
	grace.signIn("grace")
	within(t, grace, func(ctx context.Context) error { return site.manager.Revoke(ctx, "ada", grace.view().id) })
	require.False(t, grace.signedOut(), "it is not ada's")
	within(t, grace, func(ctx context.Context) error { return site.manager.Revoke(ctx, "ada", ada.view().id) })
	require.True(t, ada.signedOut())
	require.False(t, other.signedOut())
}

// failingList is a list that can't be reached.
type failingList struct{ session.RevocationList }

func (failingList) Status(context.Context, string, string, time.Time) (session.RevocationStatus, error) {
	return session.RevocationStatus{}, errors.New("unreachable")
}

func (failingList) EndSession(context.Context, string, string, time.Time) error {
	return errors.New("unreachable")
}

func TestGuarantee05_AListThatCannotBeReachedFailsClosed(t *testing.T) {
	v := newSite(t, cookieStore(t, secretOne), session.Config{}).visitor()
	v.signIn("ada")
	broken := v.on(cookieStore(t, secretOne).WithRevocations(failingList{}))
	for _, what := range []func(*session.Session){
		func(s *session.Session) { require.Empty(t, s.User()) },
		func(s *session.Session) { s.Set("k", 1) },
		func(s *session.Session) { require.Error(t, s.Destroy()) },
	} {
		resp := broken.do(what)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Empty(t, resp.Cookies(), "the cookie stays for another try")
	}
}

func TestRevocations_AreForgottenInTime(t *testing.T) {
	list, clock := session.NewMemoryRevocations(), newManualClock()
	v := newSiteAt(t, clock, cookieStore(t, secretOne).WithRevocations(list), session.Config{Lifetime: time.Hour}).visitor()
	v.signIn("ada")
	thief := v.copied()
	v.must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
	clock.move(time.Hour - time.Microsecond)
	require.True(t, thief.signedOut(), "remembered as long as the cookie would be good")
}
