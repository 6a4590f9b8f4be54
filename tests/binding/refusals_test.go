package binding_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// rawJWT makes a token of a header and a payload as they stand.
func (s signer) rawJWT(header, payload string) string {
	return s.jwt(json.RawMessage(header), json.RawMessage(payload))
}

// unsigned makes a token that nobody has signed.
func unsigned(header, payload any) string {
	return b64(kit.Must(json.Marshal(header))) + "." + b64(kit.Must(json.Marshal(payload))) + "."
}

// spoiled are tokens that are good except for one thing. The good one is made by of.
func spoiled(t *testing.T, key signer, header members, payload members) map[string]string {
	with := func(m members, name string, value any) members {
		changed := members{}
		for k, v := range m {
			changed[k] = v
		}
		if changed[name] = value; value == nil {
			delete(changed, name)
		}
		return changed
	}
	good := key.jwt(header, payload)
	parts := strings.Split(good, ".")
	head, body := string(kit.Must(json.Marshal(header))), string(kit.Must(json.Marshal(payload)))
	other := newES256(t)
	tokens := map[string]string{
		"empty":                          "",
		"garbage":                        "x",
		"dots":                           "..",
		"two parts":                      parts[0] + "." + parts[1],
		"four parts":                     good + ".x",
		"not signed":                     parts[0] + "." + parts[1] + ".",
		"padding":                        good + "=",
		"a line end within":              parts[0] + "." + parts[1] + "\t." + parts[2],
		"spare bits":                     spareBits(good),
		"signed by another key":          other.jwt(header, payload),
		"of alg none":                    unsigned(with(header, "alg", "none"), payload),
		"of alg None, signed":            key.jwt(with(header, "alg", "None"), payload),
		"of alg HS256":                   key.jwt(with(header, "alg", "HS256"), payload),
		"of alg RS256 with a key for EC": key.jwt(with(header, "alg", "RS256"), payload),
		"of alg es256":                   key.jwt(with(header, "alg", "es256"), payload),
		"of alg ES384":                   key.jwt(with(header, "alg", "ES384"), payload),
		"without alg":                    key.jwt(with(header, "alg", nil), payload),
		"of alg null":                    key.rawJWT(strings.Replace(head, `"ES256"`, `null`, 1), body),
		"alg in capitals":                key.rawJWT(strings.Replace(head, `"alg"`, `"ALG"`, 1), body),
		"alg twice":                      key.rawJWT(strings.Replace(head, `"alg"`, `"alg":"none","alg"`, 1), body),
		"of typ JWT":                     key.jwt(with(header, "typ", "JWT"), payload),
		"without typ":                    key.jwt(with(header, "typ", nil), payload),
		"with critical extensions":       key.jwt(with(header, "crit", []string{"x"}), payload),
		"without jti":                    key.jwt(header, with(payload, "jti", nil)),
		"jti a number":                   key.jwt(header, with(payload, "jti", 7)),
		"jti empty":                      key.jwt(header, with(payload, "jti", "")),
		"jti another":                    key.jwt(header, with(payload, "jti", strings.Repeat("A", 32))),
		"jti longer":                     key.jwt(header, with(payload, "jti", payload["jti"].(string)+"A")),
		"JTI":                            key.rawJWT(head, strings.Replace(body, `"jti"`, `"JTI"`, 1)),
		"jti twice":                      key.rawJWT(head, strings.Replace(body, `"jti"`, `"jti":"x","jti"`, 1)),
		"payload a list":                 key.jwt(header, []any{payload}),
		"too large":                      key.jwt(header, with(payload, "more", strings.Repeat("x", 4<<10))),
	}
	return tokens
}

// spareBits changes the last character of the signature in bits that mean nothing.
func spareBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + alphabet[last^1:last^1+1]
}

func TestBinding_RegistrationsThatAreRefused(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d, other := newDevice(t, app), newDevice(t, app)
		other.seeOffer(other.send(other.request("POST", "/"), kit.Act(kit.LoginAda)))
		require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))))
		header := d.key.header()
		header["jwk"] = d.key.jwk
		tokens := spoiled(t, d.key, header, members{"jti": d.offer.challenge})
		for what, jwk := range badKeys(t, d.key) {
			tokens["a key that is "+what] = d.key.jwt(members{"typ": "dbsc+jwt", "alg": "ES256", "jwk": jwk}, members{"jti": d.offer.challenge})
		}
		tokens["no key"] = d.key.proof(d.offer.challenge)
		tokens["the challenge of another session"] = d.key.registration(other.offer.challenge)
		tokens["a challenge to renew"] = d.key.registration(newDevice(t, app).signIn("ada").bound.challenge)
		app.Store().ForgetCalls()
		for what, token := range tokens {
			app.Events()
			resp := d.register(token)
			require.Equal(t, http.StatusForbidden, resp.StatusCode, what)
			require.Empty(t, resp.Header["Set-Cookie"], what)
			require.Equal(t, []string{"unproven: bad proof"}, app.Happened(), what)
		}
		for what, change := range badRequests() {
			r := d.registrationRequest(d.key.registration(d.offer.challenge))
			change(r)
			resp := d.send(r, nil)
			require.GreaterOrEqual(t, resp.StatusCode, 400, what)
			require.Less(t, resp.StatusCode, 500, what)
			require.Empty(t, resp.Header["Set-Cookie"], what)
		}
		require.Zero(t, app.Store().Count(sessiontest.Swap, sessiontest.End))
		require.Equal(t, seen{User: "ada"}, d.bareLook())
		require.Equal(t, http.StatusOK, d.register(d.key.registration(d.offer.challenge)).StatusCode, "the good one")
	})
}

// badKeys are keys that are good except for one thing.
func badKeys(t *testing.T, key signer) map[string]any {
	rs := newRS256(t).jwk
	ec := key.jwk
	return map[string]any{
		"a text": "x", "null": nil, "empty": members{}, "of no kind": members{"crv": "P-256", "x": ec["x"], "y": ec["y"]},
		"of another curve": members{"kty": "EC", "crv": "P-384", "x": ec["x"], "y": ec["y"]},
		"without y":        members{"kty": "EC", "crv": "P-256", "x": ec["x"]},
		"off the curve":    members{"kty": "EC", "crv": "P-256", "x": ec["x"], "y": ec["x"]},
		"at infinity":      members{"kty": "EC", "crv": "P-256", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))},
		"too short":        members{"kty": "EC", "crv": "P-256", "x": ec["x"].(string)[:20], "y": ec["y"]},
		"symmetric":        members{"kty": "oct", "k": ec["x"]},
		"RSA for ES256":    rs,
		"RSA and small":    members{"kty": "RSA", "n": rs["n"].(string)[:128], "e": "AQAB"},
		"RSA with e of 1":  members{"kty": "RSA", "n": rs["n"], "e": "AQ"},
		"RSA without n":    members{"kty": "RSA", "e": "AQAB"},
		"RSA and huge":     members{"kty": "RSA", "n": strings.Repeat("_", 1000), "e": "AQAB"},
	}
}

// badRequests make a good request one that no browser sends by itself from a page of this site.
func badRequests() map[string]func(*http.Request) {
	return map[string]func(*http.Request){
		"a GET":                  func(r *http.Request) { r.Method = "GET" },
		"a PUT":                  func(r *http.Request) { r.Method = "PUT" },
		"another site":           func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") },
		"another port":           func(r *http.Request) { r.Header.Set("Origin", site+":8443") },
		"another scheme":         func(r *http.Request) { r.Header.Set("Origin", "http://example.test") },
		"a host below":           func(r *http.Request) { r.Header.Set("Origin", "https://www.example.test") },
		"an opaque origin":       func(r *http.Request) { r.Header.Set("Origin", "null") },
		"an empty origin":        func(r *http.Request) { r.Header.Set("Origin", "") },
		"two origins":            func(r *http.Request) { r.Header.Add("Origin", site) },
		"a large body":           func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 2000))) },
		"two tokens":             func(r *http.Request) { r.Header.Add("Secure-Session-Response", "x") },
		"a quote left open":      func(r *http.Request) { r.Header.Set("Secure-Session-Response", `"abc`) },
		"a quote and something":  func(r *http.Request) { r.Header.Set("Secure-Session-Response", `"abc"d`) },
		"something and a quote":  func(r *http.Request) { r.Header.Set("Secure-Session-Response", `"a\bc"`) },
		"a token of bad letters": func(r *http.Request) { r.Header.Set("Secure-Session-Response", "\"a\x01\"") },
	}
}

// Once a key is registered no other takes its place, whoever has the offer.
func TestBinding_NoSecondKey(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { kit.LoginAda(s); s.Set("cart", "tea") }))))
		first := d.key.registration(d.offer.challenge)
		require.Equal(t, http.StatusOK, d.register(first).StatusCode)
		thief := d.copy()
		thief.offer = d.offer
		for what, token := range map[string]string{"another key": thief.key.registration(d.offer.challenge), "the same token again": first} {
			require.Equal(t, http.StatusForbidden, thief.register(token).StatusCode, what)
		}
		d.dropProof()
		require.Equal(t, owned, d.look())
	})
}

func TestBinding_WhoIsNotSignedInRegistersNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app)
		require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))))
		token := d.key.registration(d.offer.challenge)
		for what, cookies := range map[string]map[string]cookie{
			"no cookie": {}, "garbage": {"__Host-session": {value: "x"}}, "an anonymous session": {"__Host-session": {value: app.Start()}},
		} {
			nobody := newDevice(t, app)
			nobody.offer, nobody.cookies = d.offer, cookies
			require.Equal(t, http.StatusForbidden, nobody.register(token).StatusCode, what)
		}
		require.Equal(t, seen{User: "ada"}, d.bareLook())
	})
}

// A proof that is not taken is answered with a challenge: by any other refusal the browser would drop its registration, and
// the owner would be signed out.
func TestBinding_ProofsThatAreRefused(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d, other := newDevice(t, app).signIn("ada"), newDevice(t, app).signIn("ada")
		tokens := spoiled(t, d.key, d.key.header(), members{"jti": d.bound.challenge})
		withKey := d.key.header()
		withKey["jwk"] = d.key.jwk
		tokens["a key of its own"] = d.key.jwt(withKey, members{"jti": d.bound.challenge})
		tokens["another key, which it brings along"] = other.key.registration(d.bound.challenge)
		tokens["the challenge of another session"] = d.key.proof(other.bound.challenge)
		tokens["the offer's challenge"] = d.key.proof(d.offer.challenge)
		tokens["the bound cookie for a challenge"] = d.key.proof(d.cookies[boundCookie].value)
		tokens["the registration again"] = d.key.registration(d.offer.challenge)
		before := stored(t, app, d)
		app.Store().ForgetCalls()
		for what, token := range tokens {
			app.Events()
			r := d.renewalRequest("")
			r.Header["Secure-Session-Response"] = []string{`"` + token + `"`}
			challenge := d.bound.challenge
			resp := d.send(r, nil)
			require.Equal(t, http.StatusForbidden, resp.StatusCode, what)
			require.NotEmpty(t, resp.Header.Get("Secure-Session-Challenge"), what)
			require.Empty(t, resp.Header["Set-Cookie"], what)
			require.Equal(t, []string{"unproven: bad proof"}, app.Happened(), what)
			d.bound.challenge = challenge
		}
		requests := badRequests()
		requests["no identifier"] = func(r *http.Request) { r.Header.Del("Sec-Secure-Session-Id") }
		requests["another identifier"] = func(r *http.Request) { r.Header.Set("Sec-Secure-Session-Id", `"other"`) }
		requests["an empty identifier"] = func(r *http.Request) { r.Header.Set("Sec-Secure-Session-Id", `""`) }
		requests["two identifiers"] = func(r *http.Request) { r.Header.Add("Sec-Secure-Session-Id", `"__Host-session"`) }
		for what, change := range requests {
			r := d.renewalRequest(d.key.proof(d.bound.challenge))
			change(r)
			resp := d.send(r, nil)
			require.GreaterOrEqual(t, resp.StatusCode, 400, what)
			require.Less(t, resp.StatusCode, 500, what)
			require.Empty(t, resp.Header["Set-Cookie"], what)
		}
		require.Zero(t, app.Store().Count(sessiontest.Swap, sessiontest.End))
		require.Equal(t, before, stored(t, app, d))
		d.dropProof()
		require.Equal(t, seen{"ada", "tea", true}, d.look(), "the owner goes on")
	})
}

// Chromium sends both bare; the draft has strings, whose parameters mean nothing.
func TestBinding_BareAndQuotedHeadersAreTaken(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	for what, write := range map[string]func(string) string{
		"bare":            func(s string) string { return s },
		"quoted":          func(s string) string { return `"` + s + `"` },
		"with parameters": func(s string) string { return ` "` + s + `" ;a="b"` },
	} {
		d := newDevice(t, app)
		require.True(t, d.seeOffer(d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))))
		r := d.registrationRequest("")
		r.Header.Set("Secure-Session-Response", write(d.key.registration(d.offer.challenge)))
		resp := d.send(r, nil)
		require.Equal(t, http.StatusOK, resp.StatusCode, what)
		d.instruct(resp, "/")
		r = d.renewalRequest("")
		r.Header.Set("Secure-Session-Response", write(d.key.proof(d.bound.challenge)))
		r.Header.Set("Sec-Secure-Session-Id", write("__Host-session"))
		require.Equal(t, http.StatusOK, d.send(r, nil).StatusCode, what)
	}
}

func TestBinding_AnAbsentOriginIsTaken(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	for what, origin := range map[string][]string{"absent": nil, "with the port that goes without saying": {site + ":443"}, "in capitals": {"https://EXAMPLE.test"}} {
		r := d.renewalRequest(d.key.proof(d.bound.challenge))
		r.Header["Origin"] = origin
		require.Equal(t, http.StatusOK, d.send(r, nil).StatusCode, what)
	}
}

// A thief who fails proofs, again and again, does not sign the owner out.
func TestBinding_AThiefWhoFailsDoesNotSignTheOwnerOut(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(proofLife)
		thief := d.copy()
		bound := *d.bound
		for range 20 {
			thief.bound = &bound
			require.Equal(t, http.StatusForbidden, thief.renew().StatusCode)
			require.Equal(t, seen{}, thief.bareLook())
			thief.send(thief.request("POST", "/"), kit.Act(kit.Logout))
		}
		require.Equal(t, owned, d.look())
		require.Zero(t, d.refused, "what the thief was sent took nothing from the owner's challenge")
	})
}

// The right key with an old challenge gets a new one, and is at its goal.
func TestBinding_AnOldChallengeIsReplaced(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(2*proofLife - time.Microsecond)
		require.Equal(t, owned, d.look())
		require.Zero(t, d.refused, "a challenge lives longer than a proof")
		app.Clock.Advance(2 * proofLife)
		require.Equal(t, owned, d.look())
		require.Equal(t, 1, d.refused)
	})
}
