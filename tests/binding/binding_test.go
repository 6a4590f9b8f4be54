package binding_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// owned is what the owner's requests see, once the session is bound.
var owned = seen{User: "ada", Cart: "tea", Bound: true}

func TestBinding_FromSignInToSignOut(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		resp := d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) {
			require.NoError(t, s.Login("ada"))
			s.Set("cart", "tea")
			require.False(t, s.DeviceBound())
		}))
		require.Equal(t, seen{User: "ada", Cart: "tea"}, d.bareLook(), "unbound as long as no key is registered")
		app.Events()
		answer := d.takeOffer(resp)
		require.Equal(t, http.StatusOK, answer.StatusCode, app.Log())
		require.Equal(t, []string{"bound: "}, app.Happened())
		require.Equal(t, owned, d.look())

		for range 3 {
			app.Clock.Advance(proofLife + time.Second)
			require.Equal(t, owned, d.look(), "renewed")
		}
		require.Equal(t, 3, d.renewals)
		require.Zero(t, d.refused, "each answer brought the next challenge")

		resp = d.do(func(s *session.Session) { require.NoError(t, s.Destroy()) })
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Empty(t, d.cookies, "both cookies go")
		require.Equal(t, seen{}, d.look())
		require.Nil(t, d.bound, "the browser was told that it is over")
	})
}

// A panic's answer signs out like any other.
func TestBinding_ALogoutThatPanics(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	rec := httptest.NewRecorder()
	require.Panics(t, func() {
		app.Nodes[0].HandlerOf(kit.Act(func(s *session.Session) {
			require.NoError(t, s.Destroy())
			panic("the handler's")
		})).ServeHTTP(rec, d.request("POST", "/"))
	})
	d.receive(rec.Result())
	require.Empty(t, d.cookies)
}

func TestBinding_RS256(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		d.key = newRS256(t)
		d.signIn("ada")
		d.dropProof()
		require.Equal(t, owned, d.look())
		require.Equal(t, 1, d.renewals)
	})
}

// A copy of both cookies works until the short one runs out, and not after. The owner goes on.
func TestBinding_ACopyRunsOut(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		thief := d.copy()
		require.Equal(t, owned, thief.bareLook())
		app.Clock.Advance(proofLife - time.Microsecond)
		require.Equal(t, owned, thief.bareLook())
		app.Clock.Advance(time.Microsecond)
		app.Events()
		require.Equal(t, seen{}, thief.bareLook())
		require.Equal(t, []string{"unproven: proof expired"}, app.Happened())
		require.Equal(t, owned, d.look())
		require.Equal(t, seen{}, thief.bareLook(), "also now that the owner has renewed")
	})
}

func TestBinding_WithoutTheBoundCookieASessionReadsAsSignedOut(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		other := newDevice(t, app).signIn("ada")
		app.Clock.Advance(grace)
		app.Events()
		for what, proof := range map[string]string{
			"no proof": "", "bad proof: another session's": other.cookies[boundCookie].value, "bad proof: garbage": "x",
			"bad proof: of 32 characters": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
			"bad proof: a challenge":      d.bound.challenge, "bad proof: the offer's": d.offer.challenge,
		} {
			thief := d.copy()
			thief.cookies[boundCookie] = cookie{value: proof}
			if proof == "" {
				thief.dropProof()
			}
			require.Equal(t, seen{}, thief.bareLook(), what)
			happened := app.Happened()
			require.Len(t, happened, 1, what)
			require.Contains(t, "unproven: "+what, happened[0])
		}
		require.Equal(t, owned, d.look())
	})
}

// Browsers send what another host of the domain has set as well: a good proof is found among others.
func TestBinding_AGoodProofIsFoundAmongOthers(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(grace)
	good := d.cookies[boundCookie].value
	d.dropProof()
	for lines, want := range map[string]seen{
		boundCookie + "=x; " + boundCookie + "=" + good:      owned,
		boundCookie + "=" + good + "; " + boundCookie + "=x": owned,
		"a=1; b=2; " + boundCookie + "=" + good:              owned,
		boundCookie + "=\"" + good + "\"":                    {},
		"__host-session-bound=" + good:                       {},
		boundCookie + "=1; " + boundCookie + "=2; " + boundCookie + "=3; " + boundCookie + "=4; " + boundCookie + "=" + good: {},
	} {
		r := d.request("GET", "/")
		r.Header.Add("Cookie", lines)
		var got seen
		d.send(r, kit.Act(func(s *session.Session) { got = see(s) }))
		require.Equal(t, want, got, lines)
	}
}

// What an unproven request does is not kept, and ends nothing: it may be a thief's.
func TestBinding_AnUnprovenRequestChangesNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(proofLife)
		for what, do := range map[string]func(*session.Session){
			"it sets": func(s *session.Session) {
				s.Set("cart", "coffee")
				s.Flash("info", "hello")
				s.SetNote("mine")
				s.SetPersistent(true)
				require.Empty(t, s.ID())
			},
			"it removes":     func(s *session.Session) { s.Clear(); s.Delete("cart") },
			"it counts":      kit.CountUp,
			"it logs out":    func(s *session.Session) { require.ErrorIs(t, s.Destroy(), session.ErrUnproven) },
			"it regenerates": func(s *session.Session) { require.ErrorIs(t, s.Regenerate(), session.ErrUnproven) },
			"it steps up":    func(s *session.Session) { require.ErrorIs(t, s.Reauthenticate(), session.ErrUnproven) },
			"it renames":     func(s *session.Session) { require.ErrorIs(t, s.RenameUser("eve"), session.ErrUnproven) },
			"it saves": func(s *session.Session) {
				require.ErrorIs(t, s.Save(t.Context()), session.ErrUnproven)
				s.Set("cart", "coffee")
				require.ErrorIs(t, s.Save(t.Context()), session.ErrUnproven)
				require.ErrorIs(t, s.Save(t.Context()), session.ErrUnproven)
			},
			"it logs out after it set": func(s *session.Session) {
				s.Set("cart", "coffee")
				require.ErrorIs(t, s.Destroy(), session.ErrUnproven)
				s.Set("cart", "milk")
			},
		} {
			thief := d.copy()
			app.Store().ForgetCalls()
			resp := thief.send(thief.request("POST", "/"), kit.Act(do))
			require.Equal(t, http.StatusOK, resp.StatusCode, what)
			require.Empty(t, resp.Header["Set-Cookie"], what)
			require.Empty(t, resp.Header["Secure-Session-Registration"], what)
			require.Equal(t, []string{"Cookie"}, resp.Header["Vary"], what)
			require.Zero(t, app.Store().Count(sessiontest.Swap, sessiontest.End), what)
		}
		require.Equal(t, owned, d.look())
		require.Len(t, app.Live(), 1)
	})
}

func TestBinding_WhatAnUnprovenRequestSetsIsReported(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(proofLife)
	var id string
	d.do(func(s *session.Session) { id = s.ID() })
	app.Clock.Advance(proofLife)
	app.Events()
	thief := d.copy()
	thief.send(thief.request("POST", "/"), kit.Act(func(s *session.Session) { s.Set("a", 1) }))
	events := app.Events()
	require.Len(t, events, 2)
	for i, reason := range []session.Reason{session.ReasonProofExpired, session.ReasonNotKept} {
		require.Equal(t, session.EventUnproven, events[i].Kind)
		require.Equal(t, reason, events[i].Reason)
		require.Equal(t, []string{id, "ada"}, []string{events[i].ID, events[i].User})
	}
	require.ErrorIs(t, events[1].Err, session.ErrUnproven)
	thief.send(thief.request("POST", "/"), kit.Act(func(s *session.Session) { s.Delete("a") }))
	require.Equal(t, []string{"unproven: proof expired"}, app.Happened(), "nothing is lost")
}

// It does not count as use.
func TestBinding_AnUnprovenRequestKeepsNothingAlive(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		before := stored(t, app, d)
		app.Clock.Advance(30 * time.Minute) // of an hour
		thief := d.copy()
		thief.bound = d.bound
		thief.bareLook()
		thief.send(thief.renewalRequest(""), nil)
		thief.send(thief.renewalRequest(newES256(t).proof(d.bound.challenge)), nil)
		require.Equal(t, before, stored(t, app, d))
		app.Clock.Advance(30 * time.Minute)
		require.Equal(t, seen{}, d.look())
		require.Nil(t, d.bound)
	})
}

// stored returns what is stored of the device's session: in the cookie, or in the store.
func stored(t *testing.T, app *kit.App, d *device) session.Record {
	t.Helper()
	if _, sealed := app.Store().Inner().(*session.CookieStore); sealed {
		return session.Record{ID: d.cookies["__Host-session"].value}
	}
	if d.id == "" {
		d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { d.id = s.ID() }))
	}
	r := app.Live()[d.id]
	require.NotNil(t, r)
	kept := *r
	kept.Version = nil
	return kept
}

// Login begins a session of its own, and leaves the bound one to its owner.
func TestBinding_AnUnprovenLoginLeavesTheBoundSession(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(proofLife)
		thief := d.copy()
		app.Events()
		resp := thief.send(thief.request("POST", "/"), kit.Act(func(s *session.Session) {
			require.NoError(t, s.Login("eve", "cart"))
			require.NoError(t, s.Save(t.Context()))
			require.NoError(t, s.Regenerate())
		}))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, []string{"unproven: proof expired", "logged in: ", "regenerated: "}, app.Happened())
		require.Equal(t, seen{User: "eve"}, thief.bareLook(), "nothing is kept of what it could not read")
		thief.takeOffer(resp)
		require.Equal(t, seen{User: "eve", Bound: true}, thief.bareLook())
		require.Equal(t, owned, d.look())
		if !strings.HasSuffix(t.Name(), strings.ReplaceAll(withoutList, " ", "_")) { // there the ID from before Regenerate lives on
			require.Len(t, app.Live(), 2)
		}
	})
}

func TestBinding_AnUnprovenLoginAndLogoutLeavesTheBoundSession(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(proofLife)
		thief := d.copy()
		thief.send(thief.request("POST", "/"), kit.Act(func(s *session.Session) {
			require.NoError(t, s.Login("eve"))
			require.NoError(t, s.Destroy())
			s.Set("cart", "coffee")
		}))
		require.Equal(t, owned, d.look())
		require.Len(t, app.Live(), 1)
	})
}

func TestBinding_OnlyALoginOffers(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		offers := func(do func(*session.Session)) int {
			resp := d.send(d.request("POST", "/"), kit.Act(do))
			return len(resp.Header["Secure-Session-Registration"])
		}
		require.Zero(t, offers(func(s *session.Session) { s.Set("a", 1) }))
		require.Zero(t, offers(kit.Regenerate))
		require.Equal(t, 1, offers(kit.LoginAda))
		require.Zero(t, offers(func(s *session.Session) { s.Set("a", 2) }))
		app.Clock.Advance(time.Second) // two changes of ID are some time apart
		require.Zero(t, offers(kit.Regenerate))
		require.Equal(t, 1, offers(kit.LoginAda))
		require.Equal(t, 1, offers(func(s *session.Session) {
			require.NoError(t, s.Login("grace"))
			require.NoError(t, s.Save(t.Context()))
		}))
		require.Zero(t, offers(func(s *session.Session) {
			require.NoError(t, s.Login("grace"))
			require.NoError(t, s.Save(t.Context()))
			require.NoError(t, s.Destroy())
		}), "the cookie that it goes with was taken back")
		require.Zero(t, offers(kit.Logout))
	})
}

// A browser that was offered to bind and did not is unbound, and stays so.
func TestBinding_WhoDoesNotRegisterGoesOnUnbound(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		resp := d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { require.NoError(t, s.Login("ada")); s.Set("cart", "tea") }))
		require.True(t, d.seeOffer(resp))
		late := d.key.registration(d.offer.challenge)
		app.Clock.Advance(grace)
		require.Equal(t, seen{User: "ada", Cart: "tea"}, d.bareLook())
		require.Equal(t, http.StatusForbidden, d.register(late).StatusCode, "too late")
		app.Clock.Advance(30 * time.Minute)
		require.Equal(t, seen{User: "ada", Cart: "tea"}, d.bareLook())
	})
}

// What the browser sent before it had the bound cookie arrives without.
func TestBinding_RequestsThatWereUnderWayAreServed(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		early := d.copy()
		early.dropProof()
		app.Clock.Advance(grace - time.Microsecond)
		require.Equal(t, seen{User: "ada", Cart: "tea"}, early.bareLook())
		app.Clock.Advance(time.Microsecond)
		require.Equal(t, seen{}, early.bareLook())
	})
}

func TestBinding_RegenerateKeepsTheKeyAndLoginDropsIt(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(grace)
		d.do(kit.Regenerate)
		require.Equal(t, owned, d.look())
		d.dropProof()
		require.Equal(t, owned, d.look())
		require.Equal(t, 1, d.renewals)
		app.Clock.Advance(time.Second)
		d.do(func(s *session.Session) { require.NoError(t, s.RenameUser("lady")) })
		d.dropProof()
		require.Equal(t, seen{User: "lady", Cart: "tea", Bound: true}, d.look())

		first := *d.bound
		resp := d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))
		require.Equal(t, seen{User: "ada"}, d.bareLook(), "the new session is not bound yet")
		d.key = newES256(t)
		require.Equal(t, http.StatusOK, d.takeOffer(resp).StatusCode)
		require.Equal(t, first.id, d.bound.id, "so that it takes the first one's place")
		d.dropProof()
		require.Equal(t, seen{User: "ada", Bound: true}, d.look())
	})
}

func TestBinding_SessionsAreListedAsBound(t *testing.T) {
	kit.EachUserStore(t, config, func(app *kit.App) {
		first := newDevice(t, app)
		first.key = newRS256(t) // with which the head of the record is longer than what a list reads at first
		first.signIn("ada")
		app.Clock.Advance(time.Second)
		d := newDevice(t, app)
		d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))
		listed := app.Listed("ada")
		require.Len(t, listed, 2)
		require.False(t, listed[0].DeviceBound)
		require.True(t, listed[1].DeviceBound)
	})
}

func TestBinding_ARestartInBetween(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		d.app = kit.NewAt(t, app.Clock, config, app.Store().Inner())
		app.Clock.Advance(proofLife)
		require.Equal(t, owned, d.look())
		require.Equal(t, 1, d.renewals)
	})
}

func TestBinding_OtherProcessesTakeTheProof(t *testing.T) {
	for _, b := range backings(t) {
		app := b.New(t, config)
		d := newDevice(t, app).signIn("ada")
		for i := range 4 {
			d.node = i % len(app.Nodes)
			app.Clock.Advance(proofLife)
			require.Equal(t, owned, d.look(), b.Name)
		}
		require.Equal(t, 4, d.renewals)
	}
}

func TestBinding_RevocationEndsRenewals(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		if _, err := app.Manager().RevokeUser(t.Context(), "ada"); errors.Is(err, errors.ErrUnsupported) {
			d.dropProof()
			require.Equal(t, owned, d.look(), "without a list nothing is revoked")
			return
		}
		d.dropProof()
		require.Equal(t, seen{}, d.look())
		require.Nil(t, d.bound)
		require.Zero(t, d.refused, "it was told at once")
	})
}

// A proof that was seen once is worth nothing, also where the clock stands still or goes back.
func TestBinding_AProofIsTakenOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		token := d.key.proof(d.bound.challenge) // the clock stands still all the time
		require.Equal(t, http.StatusOK, d.send(d.renewalRequest(token), nil).StatusCode)
		app.Events()
		resp := d.send(d.renewalRequest(token), nil)
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Empty(t, resp.Header["Set-Cookie"])
		require.Equal(t, []string{"unproven: old challenge"}, app.Happened())
		require.Equal(t, http.StatusOK, d.send(d.renewalRequest(d.key.proof(d.bound.challenge)), nil).StatusCode, "the new challenge is good")
		app.Clock.Advance(-time.Hour)
		require.Equal(t, http.StatusOK, d.send(d.renewalRequest(d.key.proof(d.bound.challenge)), nil).StatusCode, "also where the clock was put back")
	})
}
