package adopt_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

func TestRules_MaxPerUser(t *testing.T) {
	each(t, session.Config{MaxPerUser: 2}, func(t *testing.T, w *world) {
		phone := w.browser("")
		phone.must(kit.LoginAda)
		w.Clock.Advance(time.Minute)
		unknown := w.browser("t1") // when she signed in is not known: by the adoption
		unknown.look()
		w.Clock.Advance(time.Minute)
		laptop := ada("t2")
		laptop.AuthenticatedAt = w.Clock.Now().Add(-30 * time.Second)
		w.old.put(laptop)
		third := w.browser("t2")
		third.look()
		require.Empty(t, phone.user(), "the oldest went")
		require.Equal(t, "ada", unknown.user())
		require.Equal(t, "ada", third.user())
		require.Equal(t, 1, w.Count(session.EventEvicted))

		oldest := ada("t3")
		oldest.AuthenticatedAt = w.Clock.Now().Add(-kit.Day)
		w.old.put(oldest)
		fourth := w.browser("t3")
		fourth.look()
		require.Empty(t, fourth.user(), "the adopted one itself, where it is the oldest")
		require.Len(t, w.live("ada"), 2)
	})
}

func TestRules_RevalidateRefuses(t *testing.T) {
	refuse := true
	cfg := session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		if refuse && s.User() == "ada" {
			return session.ErrSessionEnded
		}
		return nil
	}}
	each(t, cfg, func(t *testing.T, w *world) {
		refuse = true
		b := w.browser("t1")
		other := b.copy()
		require.True(t, b.look().Visitor)
		require.Empty(t, b.cookie(oldCookie))
		require.Equal(t, []string{"t1"}, w.old.done(), "it ended for good")
		require.Equal(t, 1, w.Count(session.EventRevoked))
		refuse = false
		w.old.put(ada("t1"))
		require.Empty(t, other.user())
		require.Zero(t, w.Count(session.EventAdopted))
	})
}

// The paths of Config.BindDevice, at which Revalidate is not asked, adopt nothing.
func TestRules_RevalidateIsNotEvaded(t *testing.T) {
	refuse := func(context.Context, *session.Session) error { return fmt.Errorf("no: %w", session.ErrSessionEnded) }
	w := onMemory(t, session.Config{BindDevice: 10 * time.Minute, Revalidate: refuse})
	for _, path := range []string{"register", "renew"} {
		r := w.browser("t1").request()
		r.URL.Path = "/.well-known/device-bound-session/" + w.Name + "/" + path
		r.Header.Set("Sec-Secure-Session-Id", w.Name)
		resp := w.browser("").serve(r, reads)
		require.Empty(t, resp.Cookies(), path)
		require.Zero(t, w.Count(session.EventAdopted)+w.old.forgetCalls(), path)
	}
}

func TestRules_RevalidateFails(t *testing.T) {
	cfg := session.Config{Revalidate: func(context.Context, *session.Session) error { return errOldDown }}
	w := onMemory(t, cfg)
	b := w.browser("t1")
	require.Equal(t, http.StatusServiceUnavailable, b.do(reads).StatusCode)
	require.Equal(t, "t1", b.cookie(oldCookie))
	require.Zero(t, w.Count(session.EventAdopted)+w.old.forgetCalls())
}

func TestRules_RevalidateChanges(t *testing.T) {
	cfg := session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		if !s.Has("role") {
			s.Set("role", "admin")
		}
		return nil
	}}
	each(t, cfg, func(t *testing.T, w *world) {
		b := w.browser("t1")
		b.must(func(s *session.Session) { require.Equal(t, []string{"cart", "role"}, s.Keys()) })
		require.Equal(t, 1, w.Count(session.EventAdopted))
		b.must(func(s *session.Session) { require.Equal(t, []string{"cart", "role"}, s.Keys()) })
	})
}

func TestRules_AnExpiredCookieDoesNotKeepFromAdopting(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("")
		b.must(func(s *session.Session) { s.Set("a", 1) })
		w.Clock.Advance(61 * time.Minute)
		b.give(oldCookie, "t1")
		l := b.look()
		require.Equal(t, "ada", l.User)
		require.False(t, l.Expired)
		require.Equal(t, "ada", b.user())
	})
}

// Who was revoked a moment ago is not signed in again by an older cookie of the same browser, and a late request is late.
func TestRules_AnEndedCookieKeepsFromAdopting(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("")
		b.must(kit.LoginAda)
		b.give(oldCookie, "t1")
		_, err := w.Manager().RevokeUser(w.Context(), "ada")
		require.NoError(t, err)
		require.True(t, b.peek().Visitor)

		out := w.browser("")
		out.must(kit.LoginAda)
		late := out.copy()
		out.must(kit.Logout)
		late.give(oldCookie, "t1")
		require.True(t, late.peek().Visitor)
		require.Zero(t, w.Count(session.EventAdopted))
	})
}

// A revocation of all comes before the adoption: the session begins after it. The guide says so.
func TestRules_ARevocationBeforeTheAdoption(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		_, err := w.Manager().RevokeUser(w.Context(), "ada")
		require.NoError(t, err)
		b := w.browser("t1")
		require.Equal(t, "ada", b.look().User)
		require.Equal(t, "ada", b.user())
	})
}

func TestRules_ARevocationAfterTheAdoption(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		old := b.copy()
		b.look()
		w.Clock.Advance(10 * time.Second)
		_, err := w.Manager().RevokeUser(w.Context(), "ada")
		require.NoError(t, err)
		for _, each := range []*browser{b, old} {
			require.Empty(t, each.user())
		}
	})
}

func TestRules_TwoRealmsAdoptEachForItself(t *testing.T) {
	memory := session.NewMemoryStore()
	var ids []string
	for _, realm := range []string{"shop", "blog"} {
		w := &world{old: &library{}}
		w.App = kit.New(t, session.Config{Realm: realm, Adopt: w.old.adopt}, memory)
		w.old.put(ada("t1"))
		ids = append(ids, w.browser("t1").look().ID)
	}
	require.NotEqual(t, ids[0], ids[1])
	require.NotEmpty(t, ids[1])
}

// The clocks of two servers differ: one that is behind does not take a closed claim for an open one.
func TestRules_AClaimThatWasClosedAMomentAhead(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		late := b.copy()
		b.look()
		w.Clock.Advance(4 * time.Second)
		b.look()
		w.Clock.Advance(-3 * time.Second)
		require.Equal(t, http.StatusConflict, late.do(func(s *session.Session) { s.Set("a", 1) }).StatusCode)
		require.True(t, late.peek().Visitor)
	})
}

// A request that is passive is no use of the session, also where it is the first with the new cookie.
func TestRules_APassiveRequestIsNoUse(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		want := b.look().ExpiresAt
		w.Clock.Advance(30 * time.Minute)
		manager := w.Manager()
		for range 2 {
			passive := manager.Middleware(manager.Passive(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				require.True(t, want.Equal(session.FromContext(r.Context()).ExpiresAt()))
			})))
			rec := httptest.NewRecorder()
			passive.ServeHTTP(rec, b.request())
			b.receive(rec.Result())
		}
		require.True(t, want.Before(b.look().ExpiresAt))
	})
}
