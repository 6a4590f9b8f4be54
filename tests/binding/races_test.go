package binding_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// outcome is what a browser makes of an answer that the renewal of its old registration gets.
func (d *device) outcome(resp *http.Response) string {
	switch body := kit.Body(resp); {
	case resp.StatusCode == http.StatusOK && strings.Contains(body, `"continue":false`):
		return "ended"
	case resp.StatusCode == http.StatusOK:
		return "renewed"
	case resp.StatusCode == http.StatusForbidden && resp.Header.Get("Secure-Session-Challenge") != "":
		return "asked again"
	case resp.StatusCode == http.StatusServiceUnavailable:
		return "later"
	}
	return resp.Status
}

// setsSession reports whether the answer has a session cookie: where the session has a new ID by now, it would push the
// browser off it.
func setsSession(resp *http.Response) bool {
	for _, c := range resp.Cookies() {
		if c.Name == "__Host-session" {
			return true
		}
	}
	return false
}

// A race of a renewal that is held up just before it is stored.
type race struct {
	name  string
	quick func(*device) // made meanwhile, at the last process

	// What the renewal gets, by kind of store; without a list a sealed session can't end.
	server, sealed, withoutList string
	want                        seen // what the browser sees afterwards, also if the renewal's answer comes last
}

func races(t *testing.T) []race {
	do := func(what func(*session.Session)) func(*device) {
		return func(d *device) { d.send(d.request("POST", "/"), kit.Act(what)) }
	}
	revoke := func(d *device) { _, _ = d.app.Last().Manager.RevokeUser(context.Background(), "ada") }
	return []race{
		{"logout", do(kit.Logout), "ended", "ended", "renewed", seen{}},
		{"regenerate", do(kit.Regenerate), "renewed", "later", "renewed", owned},
		{"rename", do(func(s *session.Session) { require.NoError(t, s.RenameUser("lady")) }), "renewed", "later", "renewed", seen{"lady", "tea", true}},
		{"login", do(func(s *session.Session) { require.NoError(t, s.Login("grace")) }), "ended", "ended", "renewed", seen{User: "grace"}},
		{"revocation", revoke, "ended", "ended", "renewed", seen{}},
		{"a change", do(func(s *session.Session) { s.Set("cart", "coffee") }), "renewed", "renewed", "renewed", seen{"ada", "coffee", true}},
		{"another renewal", func(d *device) {
			d.dropProof()
			require.Equal(t, "renewed", d.outcome(d.send(d.renewalRequest(d.key.proof(d.bound.challenge)), nil)))
		}, "asked again", "renewed", "renewed", owned},
	}
}

func (r race) expected(t *testing.T, app *kit.App) string {
	_, sealed := app.Store().Inner().(*session.CookieStore)
	switch {
	case strings.HasSuffix(t.Name(), strings.ReplaceAll(withoutList, " ", "_")):
		return r.withoutList
	case sealed:
		return r.sealed
	}
	return r.server
}

func TestBinding_ARenewalIsOvertaken(t *testing.T) {
	for _, r := range races(t) {
		for _, at := range []string{"load", "swap"} {
			t.Run(r.name+"/"+at, func(t *testing.T) {
				eachStore(t, func(t *testing.T, app *kit.App) { r.run(t, app, at) })
			})
		}
	}
}

func (r race) run(t *testing.T, app *kit.App, at string) {
	plain := r.name == "a change" || r.name == "another renewal"
	if plain && at == "swap" && len(app.Nodes) == 1 {
		return // in one process plain changes wait for each other
	}
	d := newDevice(t, app).signIn("ada")
	app.Clock.Advance(grace)
	d.node = len(app.Nodes) - 1
	withoutList := r.expected(t, app) == r.withoutList && r.expected(t, app) != r.sealed
	flight := app.LaunchAt(0, d.renewalRequest(d.key.proof(d.bound.challenge)), at, nil)
	r.quick(d)
	late := flight.Land()
	require.Equal(t, r.expected(t, app), d.outcome(copyBody(late)), app.Log())
	if withoutList {
		return // the last answer wins there, as always
	}
	if plain {
		d.bound.challenge = ""
	} else {
		require.False(t, setsSession(late), "it would push the browser off what it was given meanwhile")
	}
	if _, sealed := app.Store().Inner().(*session.CookieStore); !sealed || r.name != "a change" { // there the last answer wins
		d.receive(late)
	}
	d.dropProof()
	if r.want.Bound {
		require.Equal(t, r.want, d.look())
		return
	}
	require.Equal(t, r.want, d.bareLook())
}

func copyBody(resp *http.Response) *http.Response {
	kept := *resp
	return &kept
}

// Of two proofs for one challenge one is taken, and the other is answered with a new challenge, which is good although the
// clock has stood still all the time.
func TestBinding_TheSlowerOfTwoProofsGetsAGoodChallenge(t *testing.T) {
	for _, b := range backings(t) {
		app := b.New(t, config)
		if b.Sealed || len(app.Nodes) == 1 {
			continue // of sealed cookies the last answer wins, and in one process plain changes wait for each other
		}
		d := newDevice(t, app).signIn("ada")
		token := d.key.proof(d.bound.challenge)
		flight := app.LaunchAt(0, d.renewalRequest(token), "swap", nil)
		d.node = len(app.Nodes) - 1
		require.Equal(t, http.StatusOK, d.send(d.renewalRequest(token), nil).StatusCode)
		late := flight.Land()
		require.Equal(t, "asked again", d.outcome(late), b.Name)
		d.receive(late)
		resp := d.send(d.renewalRequest(d.key.proof(d.bound.challenge)), nil)
		require.Equal(t, "renewed", d.outcome(resp), b.Name)
	}
}

// The same the other way round: the others are held up, and the renewal is made meanwhile.
func TestBinding_ARenewalOvertakes(t *testing.T) {
	for name, c := range map[string]struct {
		slow func(*session.Session)
		want seen
	}{
		"logout":     {kit.Logout, seen{}},
		"regenerate": {kit.Regenerate, owned},
		"login":      {func(s *session.Session) { _ = s.Login("grace") }, seen{User: "grace"}},
		"a change":   {func(s *session.Session) { s.Set("cart", "coffee") }, seen{"ada", "coffee", true}},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, app *kit.App) {
				d := newDevice(t, app).signIn("ada")
				app.Clock.Advance(grace)
				flight := app.LaunchAt(0, d.request("POST", "/"), "handler", kit.Act(c.slow))
				d.node = len(app.Nodes) - 1
				used := d.key.proof(d.bound.challenge)
				require.Equal(t, http.StatusOK, d.send(d.renewalRequest(used), nil).StatusCode)
				late := flight.Land()
				require.Equal(t, http.StatusOK, late.StatusCode)
				d.receive(late)
				if c.want.Bound {
					resp := d.send(d.renewalRequest(used), nil)
					if _, sealed := app.Store().Inner().(*session.CookieStore); !sealed {
						require.Equal(t, "asked again", d.outcome(resp), "the proof stays used")
					}
					d.dropProof()
					require.Equal(t, c.want, d.look())
					return
				}
				require.Equal(t, c.want, d.bareLook())
			})
		})
	}
}

// A registration that is overtaken.
func TestBinding_ARegistrationIsOvertaken(t *testing.T) {
	for name, c := range map[string]struct {
		quick  func(*session.Session)
		server int // the status at a server store
		want   seen
	}{
		"logout":     {kit.Logout, http.StatusForbidden, seen{}},
		"login":      {func(s *session.Session) { _ = s.Login("grace") }, http.StatusForbidden, seen{User: "grace"}},
		"regenerate": {kit.Regenerate, http.StatusOK, owned},
		"a change":   {func(s *session.Session) { s.Set("cart", "tea") }, http.StatusOK, owned},
	} {
		t.Run(name, func(t *testing.T) {
			for _, b := range backings(t) {
				app := b.New(t, config)
				if b.Sealed || name == "a change" && len(app.Nodes) == 1 {
					continue // of sealed cookies the last answer wins, and in one process plain changes wait for each other
				}
				d := newDevice(t, app)
				d.node = len(app.Nodes) - 1
				require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { kit.LoginAda(s); s.Set("cart", "tea") }))))
				flight := app.LaunchAt(0, d.registrationRequest(d.key.registration(d.offer.challenge)), "swap", nil)
				d.send(d.request("POST", "/"), kit.Act(c.quick))
				resp := flight.Land()
				require.Equal(t, c.server, resp.StatusCode, b.Name)
				require.False(t, setsSession(resp), b.Name)
				d.receive(resp)
				require.Equal(t, c.want, d.bareLook(), b.Name)
			}
		})
	}
}

// Two devices with one offer: one is registered.
func TestBinding_OneOfTwoRegistrationsIsTaken(t *testing.T) {
	for _, b := range backings(t) {
		app := b.New(t, config)
		if b.Sealed || len(app.Nodes) == 1 {
			continue // likewise
		}
		d := newDevice(t, app)
		require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))))
		thief := d.copy()
		thief.offer = d.offer
		flight := app.LaunchAt(0, thief.registrationRequest(thief.key.registration(d.offer.challenge)), "swap", nil)
		d.node = len(app.Nodes) - 1
		require.Equal(t, http.StatusOK, d.register(d.key.registration(d.offer.challenge)).StatusCode)
		require.Equal(t, http.StatusForbidden, flight.Land().StatusCode, b.Name)
		app.Clock.Advance(proofLife)
		require.Equal(t, seen{User: "ada", Bound: true}, d.look(), b.Name)
	}
}

// A store that fails leaves the registration of the browser alone, and the browser tries again.
func TestBinding_AStoreThatFails(t *testing.T) {
	for name, ops := range map[string][]sessiontest.Op{"load": {sessiontest.Load}, "swap": {sessiontest.Swap}, "all": {sessiontest.Load, sessiontest.Swap, sessiontest.End}} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, app *kit.App) {
				d := newDevice(t, app).signIn("ada")
				app.Clock.Advance(proofLife)
				challenge := d.bound.challenge
				app.Store().Break(kit.ErrDown, ops...)
				resp := d.renew()
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
				require.Empty(t, resp.Header["Set-Cookie"])
				require.NotNil(t, d.bound)
				require.Empty(t, kit.Body(resp), "not the application's error page")
				app.Store().Mend()
				d.bound.challenge = challenge
				require.Equal(t, owned, d.look())
			})
		})
	}
}

// The answer of the store is lost: the browser proves again, and is at its goal.
func TestBinding_ALostAnswer(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(proofLife)
		app.Store().Lose()
		require.Equal(t, http.StatusServiceUnavailable, d.renew().StatusCode)
		app.Store().Mend()
		require.Equal(t, owned, d.look())
	})
}

// The key is stored, and only the store's answer is lost: the browser must not be told that it is unbound.
func TestBinding_ALostAnswerToARegistration(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))))
		app.Store().Lose()
		want := http.StatusOK
		if _, sealed := app.Store().Inner().(*session.CookieStore); sealed { // where nothing is stored but in the answer
			want = http.StatusServiceUnavailable
		}
		require.Equal(t, want, d.register(d.key.registration(d.offer.challenge)).StatusCode)
	})
}

func TestBinding_ARegistrationThatIsNotStored(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))))
		app.Store().Break(errors.New("down"), sessiontest.Swap)
		require.Equal(t, http.StatusServiceUnavailable, d.register(d.key.registration(d.offer.challenge)).StatusCode)
		app.Store().Mend()
		app.Clock.Advance(time.Hour / 2)
		require.Equal(t, seen{User: "ada"}, d.bareLook(), "unbound, and signed in")
	})
}

// The application's error handler would send the browser to a page, and the browser would drop its registration.
func TestBinding_TheErrorHandlerIsNotAsked(t *testing.T) {
	cfg := config
	cfg.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { t.Error("it is asked") }
	app := kit.New(t, cfg, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	app.Store().Break(errors.New("down"), sessiontest.Load)
	require.Equal(t, http.StatusServiceUnavailable, d.renew().StatusCode)
	app.Store().Mend()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	app.Store().Hang()
	require.Equal(t, http.StatusServiceUnavailable, d.send(d.renewalRequest("").WithContext(ctx), nil).StatusCode)
}

// The browser has not received the new cookie yet when it renews.
func TestBinding_TheOldCookieIsFollowed(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		old := d.copy()
		old.key, old.bound = d.key, d.bound
		d.do(kit.Regenerate)
		app.Clock.Advance(time.Second)
		d.do(kit.Regenerate)
		resp := old.send(old.renewalRequest(d.key.proof(d.bound.challenge)), nil)
		_, sealed := app.Store().Inner().(*session.CookieStore)
		noList := strings.HasSuffix(t.Name(), strings.ReplaceAll(withoutList, " ", "_"))
		switch {
		case noList:
			require.Equal(t, http.StatusOK, resp.StatusCode)
			return
		case sealed:
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "what it goes on as is in the browser only")
		default:
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Len(t, resp.Header["Set-Cookie"], 1, "the bound cookie only")
			d.cookies[boundCookie] = old.cookies[boundCookie]
			require.Equal(t, owned, d.look(), "which is the new session's too")
		}
		d.do(kit.Logout)
		require.Equal(t, "ended", old.outcome(old.send(old.renewalRequest(""), nil)))
	})
}
