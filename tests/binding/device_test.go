// Package binding_test has the tests of sessions that are bound to a device, on every kind of store. The browser is played
// here, strictly after the draft of Device Bound Session Credentials; examples/login has the tests in a real one.
package binding_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

const (
	proofLife   = 10 * time.Minute
	grace       = time.Minute
	boundCookie = "__Host-session-bound"
	registerAt  = "/.well-known/device-bound-session/__Host-session/register"
	renewAt     = "/.well-known/device-bound-session/__Host-session/renew"
	site        = "https://example.test"
)

var config = session.Config{BindDevice: proofLife}

// eachStore runs a test on every kind of store, sealed cookies without a revocation list among them.
func eachStore(t *testing.T, test func(*testing.T, *kit.App)) {
	for _, b := range backings(t) {
		t.Run(b.Name, func(t *testing.T) { test(t, b.New(t, config)) })
	}
}

func backings(t *testing.T) []kit.Backing {
	sealed := func() []session.Store { c := kit.Sealed(t, kit.SecretOne); return []session.Store{c, c} }
	all := kit.Backings(t)
	return append(all, kit.Backing{Name: withoutList, Sealed: true, Stores: sealed})
}

const withoutList = "sealed without a list"

// A signer is a device's private key.
type signer struct {
	algorithm string
	jwk       map[string]any
	sign      func(digest []byte) []byte
}

var b64 = base64.RawURLEncoding.EncodeToString

func newES256(t testing.TB) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := key.PublicKey.Bytes()
	require.NoError(t, err)
	return signer{
		"ES256", map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		func(digest []byte) []byte {
			r, s, err := ecdsa.Sign(rand.Reader, key, digest)
			require.NoError(t, err)
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		},
	}
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return kit.Must(rsa.GenerateKey(rand.Reader, 2048)) })

func newRS256(t testing.TB) signer {
	key := rsaKey()
	return signer{
		"RS256", map[string]any{"kty": "RSA", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())},
		func(digest []byte) []byte {
			signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
			require.NoError(t, err)
			return signature
		},
	}
}

type members = map[string]any

// jwt makes a token of any header and payload.
func (s signer) jwt(header, payload any) string {
	signed := b64(kit.Must(json.Marshal(header))) + "." + b64(kit.Must(json.Marshal(payload)))
	digest := sha256.Sum256([]byte(signed))
	return signed + "." + b64(s.sign(digest[:]))
}

func (s signer) header() members { return members{"typ": "dbsc+jwt", "alg": s.algorithm} }

func (s signer) registration(challenge string) string {
	header := s.header()
	header["jwk"] = s.jwk
	return s.jwt(header, members{"jti": challenge})
}

func (s signer) proof(challenge string) string { return s.jwt(s.header(), members{"jti": challenge}) }

// A device is a browser that binds.
type device struct {
	t       testing.TB
	app     *kit.App
	node    int // the process that its requests go to
	key     signer
	cookies map[string]cookie
	id      string        // of the session, once stored has asked
	offer   *offer        // the last one that was made
	bound   *registration // nil: none

	refused  int // how many challenges it was sent
	renewals int // and how many proofs it made
}

type cookie struct {
	value string
	until time.Time // zero: until the browser is closed
}

type offer struct{ path, challenge string }

type registration struct {
	id, renewAt, cookie, challenge string
}

func newDevice(t testing.TB, app *kit.App) *device {
	return &device{t: t, app: app, key: newES256(t), cookies: map[string]cookie{}}
}

// copy is what a thief has who copied the cookies: a browser without the key.
func (d *device) copy() *device {
	thief := newDevice(d.t, d.app)
	for name, c := range d.cookies {
		thief.cookies[name] = cookie{value: c.value} // a thief keeps what has run out
	}
	return thief
}

// request makes a request as the browser sends it.
func (d *device) request(method, path string) *http.Request {
	r := httptest.NewRequest(method, site+path, nil)
	for name, c := range d.cookies {
		if c.until.IsZero() || d.app.Clock.Now().Before(c.until) {
			r.AddCookie(&http.Cookie{Name: name, Value: c.value})
		}
	}
	return r
}

// send makes a request without a look at the binding, and takes what the answer sets.
func (d *device) send(r *http.Request, h kit.Handler) *http.Response {
	rec := httptest.NewRecorder()
	d.app.Nodes[d.node].HandlerOf(h).ServeHTTP(rec, r)
	resp := rec.Result()
	d.receive(resp)
	return resp
}

func (d *device) receive(resp *http.Response) {
	for _, c := range resp.Cookies() {
		kept := cookie{value: c.Value}
		switch {
		case c.MaxAge < 0:
			delete(d.cookies, c.Name)
			continue
		case c.MaxAge > 0:
			kept.until = d.app.Clock.Now().Add(time.Duration(c.MaxAge) * time.Second)
		}
		d.cookies[c.Name] = kept
	}
	if line := resp.Header.Get("Secure-Session-Challenge"); line != "" && d.bound != nil {
		challenge, params := readItem(d.t, line)
		require.Equal(d.t, d.bound.id, params["id"])
		d.bound.challenge = challenge
	}
}

// do makes a request from a page of the site: the browser renews first where the bound cookie is missing, and registers
// after it where that is offered.
func (d *device) do(what func(*session.Session)) *http.Response {
	d.t.Helper()
	d.renewIfMissing()
	resp := d.send(d.request("POST", "/"), kit.Act(what))
	d.takeOffer(resp)
	return resp
}

func (d *device) renewIfMissing() {
	if d.bound == nil {
		return
	}
	if c, ok := d.cookies[d.bound.cookie]; !ok || !d.app.Clock.Now().Before(c.until) {
		d.renew()
	}
}

// takeOffer registers a key where the answer offers it.
func (d *device) takeOffer(resp *http.Response) *http.Response {
	d.t.Helper()
	if !d.seeOffer(resp) {
		return nil
	}
	return d.register(d.key.registration(d.offer.challenge))
}

func (d *device) seeOffer(resp *http.Response) bool {
	line := resp.Header.Get("Secure-Session-Registration")
	if line == "" {
		return false
	}
	rest, ok := strings.CutPrefix(line, "(ES256 RS256)")
	require.True(d.t, ok, line)
	_, params := readItem(d.t, `""`+rest)
	d.offer = &offer{params["path"], params["challenge"]}
	return true
}

// register sends a token to where the offer said.
func (d *device) register(token string) *http.Response {
	d.t.Helper()
	resp := d.send(d.registrationRequest(token), nil)
	if resp.StatusCode == http.StatusOK {
		d.instruct(resp, d.offer.path)
	}
	return resp
}

func (d *device) registrationRequest(token string) *http.Request {
	r := d.request("POST", d.offer.path)
	r.Header.Set("Origin", site)
	r.Header.Set("Secure-Session-Response", `"`+token+`"`)
	return r
}

// maxRefusals is how many challenges in a row Chromium takes for one renewal.
const maxRefusals = 4

// renew does what the draft has a browser do when the bound cookie is missing. It returns the last answer.
func (d *device) renew() (resp *http.Response) {
	d.t.Helper()
	for range maxRefusals {
		token := ""
		if d.bound.challenge != "" {
			token = d.key.proof(d.bound.challenge)
			d.renewals++
		}
		resp = d.send(d.renewalRequest(token), nil)
		if resp.StatusCode != http.StatusForbidden {
			break
		}
		d.refused++
		require.NotEmpty(d.t, resp.Header.Get("Secure-Session-Challenge"), "403 without a challenge ends the registration")
	}
	switch {
	case resp.StatusCode >= 500:
	case resp.StatusCode >= 300:
		d.bound = nil
	default:
		d.instruct(resp, d.bound.renewAt)
	}
	return resp
}

func (d *device) renewalRequest(token string) *http.Request {
	r := d.request("POST", renewAt)
	r.Header.Set("Origin", site)
	r.Header.Set("Sec-Secure-Session-Id", `"__Host-session"`)
	if token != "" {
		r.Header.Set("Secure-Session-Response", `"`+token+`"`)
	}
	return r
}

// instruct takes the JSON of an answer.
func (d *device) instruct(resp *http.Response, at string) {
	d.t.Helper()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(d.t, err)
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	var told struct {
		Continue   *bool
		ID         string `json:"session_identifier"`
		RefreshURL string `json:"refresh_url"`
		Scope      struct {
			IncludeSite *bool `json:"include_site"`
		}
		Credentials []struct{ Type, Name, Attributes string }
	}
	require.NoError(d.t, json.Unmarshal(raw, &told), "%s", raw)
	if told.Continue != nil && !*told.Continue {
		d.bound = nil
		return
	}
	require.Equal(d.t, "application/json", resp.Header.Get("Content-Type"))
	require.NotNil(d.t, told.Scope.IncludeSite)
	require.False(d.t, *told.Scope.IncludeSite)
	require.Len(d.t, told.Credentials, 1)
	require.Equal(d.t, "cookie", told.Credentials[0].Type)
	d.checkCookie(resp, told.Credentials[0].Name, told.Credentials[0].Attributes)
	d.bound = &registration{id: told.ID, renewAt: told.RefreshURL, cookie: told.Credentials[0].Name}
	require.NotEmpty(d.t, d.bound.id)
	require.NotEqual(d.t, at, "", "resolved against an address")
	d.receive(resp)
}

// checkCookie asserts that the answer sets the cookie as it is announced: else the browser finds it missing for ever.
func (d *device) checkCookie(resp *http.Response, name, attributes string) {
	d.t.Helper()
	for _, line := range resp.Header["Set-Cookie"] {
		announced, err := http.ParseSetCookie(name + "=x; " + attributes)
		require.NoError(d.t, err)
		set, err := http.ParseSetCookie(line)
		require.NoError(d.t, err)
		if set.Name != name {
			continue
		}
		require.Positive(d.t, set.MaxAge, "without a Max-Age a browser never renews")
		require.Equal(d.t, []any{announced.Domain, announced.Path, announced.Secure, announced.HttpOnly, announced.SameSite},
			[]any{set.Domain, set.Path, set.Secure, set.HttpOnly, set.SameSite})
		return
	}
	require.Fail(d.t, "the bound cookie is not set", "%v", resp.Header)
}

// readItem reads a string with parameters (RFC 9651).
func readItem(t testing.TB, line string) (text string, params map[string]string) {
	t.Helper()
	params = map[string]string{}
	for i, part := range strings.Split(line, ";") {
		name, value := "", part
		if i > 0 {
			name, value, _ = strings.Cut(part, "=")
		}
		require.GreaterOrEqual(t, len(value), 2, line)
		require.Equal(t, `""`, value[:1]+value[len(value)-1:], line)
		if value = value[1 : len(value)-1]; i == 0 {
			text = value
		}
		params[name] = value
	}
	return text, params
}

// signIn begins a session of user, and binds it.
func (d *device) signIn(user string) *device {
	d.t.Helper()
	require.Equal(d.t, http.StatusOK, d.do(func(s *session.Session) {
		require.NoError(d.t, s.Login(user))
		s.Set("cart", "tea")
	}).StatusCode)
	require.NotNil(d.t, d.bound, d.app.Log())
	return d
}

// seen is what a session looks like to a request.
type seen struct {
	User  string
	Cart  string
	Bound bool
}

// look makes a request that reads.
func (d *device) look() (l seen) {
	d.t.Helper()
	resp := d.do(func(s *session.Session) { l = see(s) })
	require.Equal(d.t, http.StatusOK, resp.StatusCode)
	return l
}

// bareLook is look of a browser that does not renew.
func (d *device) bareLook() (l seen) {
	d.t.Helper()
	resp := d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { l = see(s) }))
	require.Equal(d.t, http.StatusOK, resp.StatusCode)
	return l
}

func see(s *session.Session) (l seen) {
	l.User, l.Bound = s.User(), s.DeviceBound()
	s.Get("cart", &l.Cart)
	return l
}

// dropProof loses the bound cookie, as when it has run out.
func (d *device) dropProof() { delete(d.cookies, boundCookie) }
