//go:build !noservers

package adopt_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

func TestAdopt_TakesASessionOver(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		old := ada("t1")
		old.AuthenticatedAt = w.Clock.Now().Add(-40 * time.Minute)
		old.Deadline = w.Clock.Now().Add(50 * time.Minute)
		w.old.put(old)
		b := w.browser("t1")

		var isNew bool
		b.copy().lost(func(s *session.Session) { isNew = s.IsNew() })
		require.False(t, isNew)
		l := b.look()
		require.Equal(t, look{l.ID, "ada", "tea", old.AuthenticatedAt.UTC(), old.Deadline.UTC(), false, false}, utc(l))
		require.NotEmpty(t, l.ID)
		require.Empty(t, b.cookie(oldCookie), "the response has removed the old cookie")
		require.NotEmpty(t, b.ours())
		require.True(t, w.old.knows("t1"), "its answer may be lost")
		require.Contains(t, w.Happened(), "adopted: ")

		b.at(w.last())
		require.Equal(t, l.ID, b.look().ID)
		b.must(func(s *session.Session) {
			require.True(t, s.AuthenticatedWithin(41*time.Minute))
			require.False(t, s.AuthenticatedWithin(39*time.Minute))
			require.False(t, s.IsNew())
		})
	})
}

func utc(l look) look {
	l.Authenticated, l.ExpiresAt = l.Authenticated.UTC(), l.ExpiresAt.UTC()
	return l
}

func TestAdopt_ItIsForgottenWhenTheNewCookieArrives(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		late := b.copy()
		id := b.look().ID
		require.Zero(t, w.old.forgetCalls())

		require.Equal(t, id, b.look().ID)
		require.Equal(t, []string{"t1"}, w.old.done())
		require.True(t, late.peek().Visitor, "the claim is closed")

		w.Store().ForgetCalls()
		b.look()
		if w.Store().Count(sessiontest.Swap) > 0 { // a sealed cookie is sealed again in the answer
			w.Store().ForgetCalls()
			b.look()
		}
		require.Equal(t, 1, w.Store().Count(), "no request after it asks for the claim")
		require.Equal(t, 1, w.old.forgetCalls())
	})
}

func TestAdopt_EightRequestsAtOnceAdoptOnce(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		const requests = 8
		b := w.browser("t1")
		var flights []*flight
		for i := range requests {
			flights = append(flights, b.copy().at(i%len(w.Nodes)).launch("handler", func(s *session.Session) {
				s.Set(fmt.Sprint("key", i), i)
			}))
		}
		landAll(t, flights)
		require.Equal(t, 1, w.Count(session.EventAdopted))
		cookies := map[string]bool{}
		for _, f := range flights {
			require.Equal(t, http.StatusOK, f.resp.StatusCode, w.Log())
			b.receive(f.resp)
			cookies[b.ours()] = true
		}
		if w.sealed() {
			return // each answer has a copy of the one session
		}
		require.Len(t, cookies, 1, "all answers carry one cookie")
		b.must(func(s *session.Session) { require.Len(t, s.Keys(), requests+1) })
		require.Len(t, w.live("ada"), 1)
		w.Clock.Advance(2 * time.Minute)
		for node := range w.Nodes {
			require.Equal(t, "ada", b.at(node).user())
		}
		require.Equal(t, 1, w.old.forgetCalls(), "by the process that adopted it")
	})
}

func TestAdopt_EightRequestsThatRead(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		var flights []*flight
		for i := range 8 {
			flights = append(flights, b.copy().at(i%len(w.Nodes)).launch("handler", reads))
		}
		landAll(t, flights)
		values := map[string]bool{}
		for _, f := range flights {
			other := w.browser("")
			other.receive(f.resp)
			values[other.ours()] = true
			require.Equal(t, "ada", other.user())
		}
		require.Len(t, values, 1, "sealed cookies too: the claim keeps the one token")
		require.Equal(t, 1, w.Count(session.EventAdopted))
	})
}

func TestAdopt_TheOldCookieStandsForTheSessionForTwoMinutes(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		id := b.peek().ID // the answer is lost

		w.Clock.Advance(2*time.Minute - time.Microsecond)
		again := b.copy().at(w.last())
		require.Equal(t, id, again.look().ID)
		require.NotEmpty(t, again.ours(), "the answer carries the cookie again")
		require.Empty(t, again.cookie(oldCookie))
		require.Zero(t, w.old.forgetCalls())
		require.Equal(t, 1, w.Count(session.EventAdopted))

		w.Clock.Advance(time.Microsecond)
		late := b.copy()
		require.Equal(t, http.StatusConflict, late.do(func(s *session.Session) { s.Set("a", 1) }).StatusCode)
		require.True(t, late.look().Visitor)
		require.Equal(t, "t1", late.cookie(oldCookie), "a late answer has no cookies")
		require.Empty(t, late.ours())
		require.Equal(t, []string{"t1"}, w.old.done())

		w.Clock.Advance(time.Minute)
		b.must(func(s *session.Session) { s.Set("a", 1) })
		require.Empty(t, b.cookie(oldCookie), "a visitor's is removed")
		require.NotEqual(t, id, b.look().ID)
		require.Equal(t, "ada", again.user(), "the session itself goes on")
	})
}

func TestAdopt_AClosedClaimIsLateForAMinute(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		late := b.copy()
		b.look()
		w.Clock.Advance(30 * time.Second)
		b.look() // closes it
		w.Clock.Advance(time.Minute - time.Microsecond)
		require.Equal(t, http.StatusConflict, late.do(func(s *session.Session) { s.Set("a", 1) }).StatusCode)
		w.Clock.Advance(time.Microsecond)
		require.Equal(t, http.StatusOK, late.do(func(s *session.Session) { s.Set("a", 1) }).StatusCode)
		require.Equal(t, 1, w.Count(session.EventAdopted))
	})
}

func TestAdopt_TheClaimHoldsUntilTheOldDeadline(t *testing.T) {
	for name, deadline := range map[string]time.Duration{"before any cut": 90 * kit.Day, "400 days": 0} {
		t.Run(name, func(t *testing.T) {
			each(t, session.Config{}, func(t *testing.T, w *world) {
				old := ada("t1")
				holds := 400 * kit.Day
				if deadline > 0 {
					old.Deadline, holds = w.Clock.Now().Add(deadline), deadline
				}
				w.old.put(old)
				b := w.browser("t1")
				b.peek()
				claim := w.Store().LastSwaps()[0].New
				w.Clock.Advance(holds - time.Second)
				w.old.put(old) // it was not forgotten, or came back by a backup
				require.True(t, b.peek().Visitor)
				require.Equal(t, 1, w.Count(session.EventAdopted))
				require.WithinDuration(t, w.Clock.Now().Add(time.Second), w.claim(claim).Deadline, 0)
			})
		})
	}
}

func TestAdopt_TheProcessDiesAfterIt(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		id := b.peek().ID
		next := w.restarted(w.Store().Inner())

		again := next.browser("t1")
		require.Equal(t, id, again.look().ID)
		require.Equal(t, id, again.look().ID, "and the claim is closed")
		require.True(t, next.browser("t1").peek().Visitor)
		require.Zero(t, next.Count(session.EventAdopted))
		require.Zero(t, w.old.forgetCalls(), "the process that adopted it would have")
	})
}

// A session that has ended is not put there again, however long its tombstone is gone.
func TestAdopt_ItIsNotAdoptedAgainAfterARevocation(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		b.peek()
		_, err := w.Manager().RevokeUser(w.Context(), "ada")
		require.NoError(t, err)
		require.True(t, b.peek().Visitor)
		for range 8 {
			w.Clock.Advance(15 * time.Second)
			require.True(t, b.peek().Visitor)
		}
		require.Equal(t, 1, w.Count(session.EventAdopted))
	})
}

// The old library gives the browser another token, on a server that has not moved yet: the new cookie is the one that
// counts.
func TestAdopt_TheOldCookieIsRotated(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		id := b.look().ID
		w.old.put(ada("t2"))
		b.give(oldCookie, "t2")
		asked := w.old.asked
		require.Equal(t, id, b.look().ID)
		require.Equal(t, asked, w.old.asked, "a request with a cookie that opens one of ours asks nobody")

		b.must(kit.Logout)
		require.Equal(t, []string{"t1", "t2"}, w.old.done())
		require.True(t, b.look().Visitor)
		require.True(t, w.browser("t2").peek().Visitor)
	})
}

func TestAdopt_NothingStoredOpensAnything(t *testing.T) {
	for _, b := range kit.RedisBackings(t) {
		t.Run(b.Name, func(t *testing.T) {
			const token = "an-old-token-that-is-long-enough-to-be-found"
			w := &world{old: &library{}}
			w.App = b.New(t, session.Config{Adopt: w.old.adopt})
			w.old.put(ada(token))
			browser := w.browser(token)
			browser.look()
			stored := strings.Join(kit.DumpRedis(t, b.Client), "\n")
			require.Contains(t, stored, "claim")
			require.NotContains(t, stored, token)
			require.NotContains(t, stored, browser.ours())
			claimed := regexp.MustCompile(`"token":"([^"]+)"`).FindAllStringSubmatch(stored, -1)
			require.Len(t, claimed, 1)
			sealed, err := base64.StdEncoding.DecodeString(claimed[0][1])
			require.NoError(t, err)
			require.NotContains(t, string(sealed), browser.ours())
			require.NotContains(t, w.Log(), token)
		})
	}
}

func TestAdopt_TheDeadlineIsNeverExtended(t *testing.T) {
	each(t, session.Config{Lifetime: 3 * time.Hour, IdleTimeout: -1}, func(t *testing.T, w *world) {
		start := w.Clock.Now().UTC()
		for token, wanted := range map[string]time.Time{
			"soon": start.Add(time.Hour), "late": start.Add(3 * time.Hour), "never": start.Add(3 * time.Hour),
			"very late": start.Add(3 * time.Hour),
		} {
			old := ada(strings.ReplaceAll(token, " ", "-"))
			switch token {
			case "soon":
				old.Deadline = start.Add(time.Hour)
			case "late":
				old.Deadline = start.Add(100 * kit.Day)
			case "very late":
				old.Deadline = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC) // which no record can hold
			}
			w.old.put(old)
			b := w.browser(strings.ReplaceAll(token, " ", "-"))
			require.Equal(t, wanted, b.look().ExpiresAt.UTC(), token)
			b.must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
			require.Equal(t, wanted, b.look().ExpiresAt.UTC(), token)
		}
		old := ada("past")
		old.Deadline = start
		w.old.put(old)
		require.True(t, w.browser("past").peek().Visitor)
		require.Equal(t, 4, w.Count(session.EventAdopted))
	})
}

func TestAdopt_TimesAndPersistence(t *testing.T) {
	w := onMemory(t, session.Config{Persistent: true})
	ahead := ada("ahead")
	ahead.AuthenticatedAt = w.Clock.Now().Add(time.Hour)
	w.old.put(ahead)
	require.Equal(t, w.Clock.Now().UTC(), w.browser("ahead").look().Authenticated.UTC())
	require.True(t, w.browser("t1").look().Authenticated.IsZero(), "it is not known")

	stays := ada("stays")
	stays.Persistent = true
	w.old.put(stays)
	require.Contains(t, w.setCookie(w.browser("stays").do(reads)), "Max-Age")
	w.old.put(ada("goes"))
	require.NotContains(t, w.setCookie(w.browser("goes").do(reads)), "Max-Age")
}

func TestAdopt_AVisitorsSession(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		w.old.put(session.Adopted{Token: "v", Values: map[string]any{"cart": "milk"}, AuthenticatedAt: w.Clock.Now()})
		b := w.browser("v")
		l := b.look()
		require.Equal(t, "milk", l.Cart)
		require.True(t, l.Authenticated.IsZero(), "nobody is")
		b.must(func(s *session.Session) { require.NoError(t, s.Login("ada", "cart")) })
		require.Equal(t, "milk", b.look().Cart)
	})
}

func TestAdopt_WhatIsClearedStaysCleared(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		w.old.put(session.Adopted{Token: "v", Values: map[string]any{"cart": "milk"}})
		b := w.browser("v")
		b.must((*session.Session).Clear)
		b.must(func(s *session.Session) { require.Empty(t, s.Keys()) })
	})
}

func TestAdopt_ChangesInTheSameRequest(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		b.must(func(s *session.Session) {
			s.Set("seen", true)
			require.NoError(t, s.Regenerate())
			s.SetPersistent(true)
		})
		b.must(func(s *session.Session) {
			require.Equal(t, []string{"cart", "seen"}, s.Keys())
			require.Equal(t, "ada", s.User())
		})
		require.Equal(t, []string{"t1"}, w.old.done())
	})
}

func TestAdopt_ARenameInTheSameRequest(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		b.must(func(s *session.Session) { require.NoError(t, s.RenameUser("countess")) })
		require.Equal(t, "countess", b.look().User)
	})
}

func TestAdopt_ARequestWithoutAnOldCookieCostsNothing(t *testing.T) {
	w := onMemory(t, session.Config{})
	require.True(t, w.browser("").look().Visitor)
	require.Zero(t, w.Store().Count())
}

func TestAdopt_ACookieOfTheSameName(t *testing.T) {
	w := &world{old: &library{}}
	w.App = kit.New(t, session.Config{Name: "sid", Adopt: func(r *http.Request) (*session.Adopted, error) {
		c, err := r.Cookie("sid")
		if err != nil || c.Value != "t1" {
			return nil, nil
		}
		a := ada("t1")
		a.Cookies = []*http.Cookie{{Name: "sid", Path: "/", Secure: true}}
		return &a, nil
	}}, session.NewMemoryStore())
	b := w.browser("")
	b.give("sid", "t1")
	resp := b.must(reads)
	require.Len(t, resp.Header["Set-Cookie"], 1, "the session's takes its place")
	require.Equal(t, "ada", b.look().User)

	gone := w.browser("")
	gone.give("sid", "t1")
	w.Clock.Advance(3 * time.Minute)
	require.True(t, gone.look().Visitor)
	require.Empty(t, gone.cookie("sid"), "and a visitor's is removed")
}
