package binding_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

// A sealed session is in the cookie, and the last answer wins: that of a page which was asked for before the key was
// registered puts the cookie from before back. These tests do so.

func eachSealedStore(t *testing.T, test func(*testing.T, *kit.App)) {
	for name, store := range map[string]session.Store{"with a list": kit.SealedWithList(t), "without": kit.Sealed(t, kit.SecretOne)} {
		t.Run(name, func(t *testing.T) { test(t, kit.New(t, config, store)) })
	}
}

// putBack signs ada in, binds the session, and puts the cookie from before back.
func putBack(t *testing.T, app *kit.App, key signer) *device {
	d := newDevice(t, app)
	d.key = key
	resp := d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { kit.LoginAda(s); s.Set("cart", "tea") }))
	before := d.cookies["__Host-session"]
	require.Equal(t, http.StatusOK, d.takeOffer(resp).StatusCode)
	d.cookies["__Host-session"] = before
	app.Clock.Advance(grace)
	return d
}

func keys(t *testing.T) []signer { return []signer{newES256(t), newRS256(t)} }

// The next request takes the bound cookie away, the browser renews, and the session is bound again.
func TestBinding_ALateAnswerIsMended(t *testing.T) {
	eachSealedStore(t, func(t *testing.T, app *kit.App) {
		for _, key := range keys(t) {
			d := putBack(t, app, key)
			require.Equal(t, owned, d.look(), "the proof says that there is a key")
			require.NotContains(t, d.cookies, boundCookie)
			require.Equal(t, owned, d.look())
			require.Equal(t, 1, d.renewals)
			require.Contains(t, d.cookies, boundCookie)
			thief := d.copy()
			thief.dropProof()
			require.Equal(t, seen{}, thief.bareLook(), "the key is in the session again")
			require.Equal(t, owned, d.look())
			require.Equal(t, 1, d.renewals)
		}
	})
}

// Where no request came in between, the renewal mends it, with an old challenge too.
func TestBinding_ARenewalBringsTheKeyBack(t *testing.T) {
	eachSealedStore(t, func(t *testing.T, app *kit.App) {
		for _, key := range keys(t) {
			for _, after := range []time.Duration{proofLife, 3 * proofLife} {
				d := putBack(t, app, key)
				app.Clock.Advance(after)
				require.Equal(t, owned, d.look())
				thief := d.copy()
				thief.dropProof()
				require.Equal(t, seen{}, thief.bareLook())
			}
		}
	})
}

// Another key is not brought in that way.
func TestBinding_NoOtherKeyIsBroughtBack(t *testing.T) {
	eachSealedStore(t, func(t *testing.T, app *kit.App) {
		d, other := putBack(t, app, newES256(t)), newDevice(t, app).signIn("ada")
		for what, token := range map[string]string{
			"another key for the challenge":    other.key.proof(d.bound.challenge),
			"another session's challenge":      other.key.proof(other.bound.challenge),
			"another key with its JWK":         other.key.registration(d.bound.challenge),
			"the registration's challenge":     d.key.proof(d.offer.challenge),
			"the bound cookie as a challenge":  d.key.proof(d.cookies[boundCookie].value),
			"a challenge with something added": d.key.proof(d.bound.challenge + "AAAA"),
			"a challenge without the key":      d.key.proof(d.bound.challenge[:32]),
		} {
			resp := d.send(d.renewalRequest(token), nil)
			require.Contains(t, []string{"asked again", "ended"}, d.outcome(resp), what)
			require.Empty(t, resp.Header["Set-Cookie"], what)
		}
	})
}

// After a second sign-in the browser may renew the first one's registration before it has made the second one's. It is told
// at once that that is over, and makes the second one.
func TestBinding_TheRegistrationFromBeforeASignInIsOver(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		resp := d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { require.NoError(t, s.Login("grace")) }))
		require.Equal(t, "ended", d.outcome(d.renew()))
		require.Nil(t, d.bound)
		require.Equal(t, http.StatusOK, d.takeOffer(resp).StatusCode)
		require.Equal(t, seen{User: "grace", Bound: true}, d.look())
	})
}

// A browser that has no challenge left is told that it is over, and goes on unbound.
func TestBinding_WithoutAChallengeItGoesOnUnbound(t *testing.T) {
	eachSealedStore(t, func(t *testing.T, app *kit.App) {
		d := putBack(t, app, newES256(t))
		d.bound.challenge = ""
		d.dropProof()
		require.Equal(t, seen{User: "ada", Cart: "tea"}, d.look())
		require.Nil(t, d.bound)
	})
}

func TestBinding_ACookieThatDoesNotFitStaysUnbound(t *testing.T) {
	eachSealedStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		d.key = newRS256(t)
		large := make([]byte, 2000)
		resp := d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { kit.LoginAda(s); s.Set("cart", large) }))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.True(t, d.seeOffer(resp))
		app.Events()
		answer := d.register(d.key.registration(d.offer.challenge))
		require.Equal(t, http.StatusForbidden, answer.StatusCode)
		require.Empty(t, answer.Header["Set-Cookie"])
		require.Equal(t, []string{"unproven: not kept"}, app.Happened())
		app.Clock.Advance(grace)
		require.Equal(t, "ada", d.bareLook().User)
	})
}
