package adopt_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// logout logs out with the browser's cookies; both are gone after it.
func (b *browser) logout() {
	b.w.T.Helper()
	b.must(kit.Logout)
	require.Empty(b.w.T, b.ours())
	require.Empty(b.w.T, b.cookie(oldCookie))
}

// closedToAll checks that neither cookie of these browsers opens anything, now or later.
func (w *world) closedToAll(browsers ...*browser) {
	w.T.Helper()
	for range 2 {
		for _, b := range browsers {
			require.Empty(w.T, b.user())
		}
		w.Clock.Advance(4 * time.Minute)
	}
	require.False(w.T, w.old.knows("t1"), "and the old store has forgotten it")
}

func TestLogout_InTheRequestThatWouldAdopt(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		thief := b.copy()
		b.logout()
		w.old.put(ada("t1")) // it is back, by a backup
		require.Empty(t, thief.user(), "the claim is closed all the same")
		require.NoError(t, w.old.forget("t1"))
		w.closedToAll(b, thief)
		require.Zero(t, w.Count(session.EventAdopted))
	})
}

func TestLogout_ByTheOldCookieWhileItStands(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		old, ours := b.copy().at(w.last()), w.browser("")
		ours.receive(b.do(reads))
		require.NotEmpty(t, ours.ours())
		old.must(kit.Logout)
		require.Empty(t, old.cookie(oldCookie))
		w.closedToAll(old, ours, b)
		require.Equal(t, 1, w.Count(session.EventDestroyed))
	})
}

func TestLogout_ByTheOldCookieWhenItIsLate(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		old := b.copy()
		id := b.look().ID
		b.look() // closes the claim
		old.must(kit.Logout)
		r, err := w.Store().Inner().Load(w.Context(), session.NewToken(id, "").WithRealm(w.Name))
		require.NoError(t, err)
		require.True(t, r.Ended)
		require.Equal(t, "ada", r.User, "a tombstone keeps its user")
		w.closedToAll(b, old)
	})
}

// A request of a visitor's must not end what the old cookie opened long ago.
func TestLogout_ByTheOldCookieWhenItIsOver(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		old := b.copy()
		b.look()
		w.Clock.Advance(4 * time.Minute)
		old.must(kit.Logout)
		require.Equal(t, "ada", b.user())
	})
}

func TestLogout_ByTheNewCookie(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		old := b.copy()
		b.look()
		ours := b.copy()
		b.logout()
		w.closedToAll(b, old, ours)
	})
}

// The process that adopted it forgets it, whoever logs out.
func TestLogout_ByTheNewCookieAtAnotherProcess(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		old := b.copy()
		b.look()
		b.at(w.last()).logout()
		require.Empty(t, old.user())
		w.Clock.Advance(2 * time.Minute)
		require.Empty(t, w.browser("").user()) // any request at that process
		w.closedToAll(b, old)
	})
}

func TestLogout_WithBothCookies(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("")
		b.must(kit.LoginAda)
		b.give(oldCookie, "t1") // which a login page of the old release has set, say
		both := b.copy()
		b.logout()
		w.closedToAll(b, both, w.browser("t1"))
		require.Zero(t, w.Count(session.EventAdopted))
	})
}

// Of a browser that has both cookies, each of another session, neither is left.
func TestLogout_WithBothCookiesAfterTheOldOneWasAdopted(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		adopted := w.browser("t1")
		adopted.peek()
		b := w.browser("")
		b.must(kit.LoginAda)
		b.give(oldCookie, "t1")
		b.logout()
		w.closedToAll(b, adopted)
		if !w.sealed() { // which can't know whether there was such a session
			require.Equal(t, 2, w.Count(session.EventDestroyed))
		}
	})
}

func TestLogout_TheOldStoreIsDown(t *testing.T) {
	prepared := map[string]func(*world) *browser{
		"nothing was adopted": func(w *world) *browser { return w.browser("t1") },
		"by the old cookie while it stands": func(w *world) *browser {
			b := w.browser("t1")
			b.peek()
			return b
		},
		"by the new cookie": func(w *world) *browser {
			b := w.browser("t1")
			b.look()
			return b
		},
		"by the new cookie, at the second request": func(w *world) *browser {
			b := w.browser("t1")
			b.look()
			w.old.fail(errOldDown)
			b.look()
			return b
		},
		"with both cookies": func(w *world) *browser {
			b := w.browser("")
			b.must(kit.LoginAda)
			b.give(oldCookie, "t1")
			return b
		},
	}
	for name, prepare := range prepared {
		t.Run(name, func(t *testing.T) {
			each(t, session.Config{}, func(t *testing.T, w *world) {
				b := prepare(w)
				hadOld := b.cookie(oldCookie) != ""
				w.old.fail(errOldDown)
				resp := b.do(kit.Logout)
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
				require.True(t, hadOld == (b.cookie(oldCookie) != ""), "it stays for another try")
				require.Empty(t, w.withoutOld(b).user(), "what is here has ended")

				w.old.fail(nil)
				b.must(kit.Logout)
				if !hadOld {
					w.Clock.Advance(2 * time.Minute) // nobody knows any more what the session was: the adopter's turn comes
					w.browser("").look()
				}
				w.closedToAll(b, w.browser("t1"))
			})
		})
	}
}

// withoutOld is the browser without the old cookie.
func (w *world) withoutOld(b *browser) *browser {
	other := w.browser("")
	if value := b.ours(); value != "" {
		other.give(w.Name, value)
	}
	return other
}

func TestLogout_AfterAPanic(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		require.Panics(t, func() {
			b.do(func(s *session.Session) {
				_ = s.Destroy()
				panic("the handler's")
			})
		})
		w.closedToAll(b)
	})
}

func TestLogout_WhileOthersAdopt(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		slow := b.copy().at(w.last()).launch("handler", kit.Logout)
		adopted := b.copy()
		adopted.peek()
		ours := w.browser("")
		ours.receive(adopted.lost(reads))
		require.Equal(t, "ada", ours.copy().user())
		require.Equal(t, http.StatusOK, slow.land().StatusCode, w.Log())
		w.closedToAll(ours, adopted, b)
	})
}

func TestLogout_BeforeOthersAdopt(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		slow := b.copy().at(w.last()).launch("handler", func(s *session.Session) { s.Set("a", 1) })
		b.copy().logout()
		require.Equal(t, http.StatusConflict, slow.land().StatusCode)
		require.Empty(t, slow.resp.Cookies())
		w.closedToAll(b)
	})
}

func TestLogout_BeforeOthersThatRead(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		slow := b.copy().at(w.last()).launch("handler", reads)
		b.copy().logout()
		require.Equal(t, http.StatusOK, slow.land().StatusCode, "it loses nothing")
		require.Empty(t, slow.resp.Cookies())
	})
}

func TestLogout_WhatIsOverIsNotStored(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		past := ada("t1")
		past.Deadline = w.Clock.Now().Add(-time.Second)
		w.old.put(past)
		b := w.browser("t1")
		b.logout()
		require.Zero(t, w.Store().Count(sessiontest.Swap, sessiontest.End))
		require.Equal(t, []string{"t1"}, w.old.done())
	})
}

// Anybody can make up old cookies and log out with them: what that leaves goes within minutes.
func TestLogout_OfWhatTheOldStoreDoesNotHaveLeavesNothing(t *testing.T) {
	store := session.NewMemoryStore()
	w := &world{old: &library{}}
	w.App = kit.New(t, session.Config{Adopt: w.old.adopt}, store)
	const times = 20
	for i := range times {
		w.browser(fmt.Sprint("made up ", i)).must(kit.Logout)
	}
	require.Equal(t, times, store.Len())
	w.Clock.Advance(time.Minute)
	for range times {
		w.browser("").must(func(s *session.Session) { s.Set("a", 1) })
	}
	require.Equal(t, times, store.Len(), "the new ones")
}

func TestLogin_InTheRequestThatWouldAdopt(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		old := b.copy()
		b.must(func(s *session.Session) { require.NoError(t, s.Login("grace", "cart")) })
		l := b.look()
		require.Equal(t, []string{"grace", "tea"}, []string{l.User, l.Cart})
		require.Equal(t, []string{"t1"}, w.old.done())
		require.Zero(t, w.Count(session.EventAdopted))
		require.Equal(t, http.StatusConflict, old.do(func(s *session.Session) { s.Set("a", 1) }).StatusCode, "a late one")
		require.Empty(t, old.user())
		require.Equal(t, "grace", b.user())
	})
}

func TestLogin_WhileOthersAdopt(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		slow := b.copy().at(w.last()).launch("handler", func(s *session.Session) { _ = s.Login("grace", "cart") })
		adopted := w.browser("")
		adopted.receive(b.lost(func(s *session.Session) { s.Set("cart", "coffee") }))
		require.Equal(t, http.StatusOK, slow.land().StatusCode, w.Log())
		b.receive(slow.resp)
		l := b.look()
		require.Equal(t, []string{"grace", "coffee"}, []string{l.User, l.Cart}, "it goes on from what was adopted")
		require.Empty(t, adopted.user())
		require.Empty(t, w.browser("t1").user())
	})
}

func TestLogin_AfterOthersHaveLoggedOut(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		slow := b.copy().at(w.last()).launch("handler", func(s *session.Session) { _ = s.Login("grace", "cart") })
		b.copy().logout()
		require.Equal(t, http.StatusOK, slow.land().StatusCode, w.Log())
		b.receive(slow.resp)
		require.Equal(t, "grace", b.user())
	})
}

func TestLogin_WhileTheOldCookieStands(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		ours := w.browser("")
		ours.receive(b.lost(reads))
		b.must(func(s *session.Session) { require.NoError(t, s.Login("grace")) })
		require.Equal(t, "grace", b.user())
		require.Empty(t, ours.user())
		require.Empty(t, w.browser("t1").user())
	})
}
