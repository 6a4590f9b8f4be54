package binding_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

func TestBinding_OptionsThatAreRefused(t *testing.T) {
	bound := func(change func(*session.Config)) session.Config {
		cfg := config
		change(&cfg)
		return cfg
	}
	for fault, cfg := range map[string]session.Config{
		"BindDevice is negative":                       {BindDevice: -1},
		"BindDevice is under 5 minutes":                {BindDevice: 5*time.Minute - 1},
		"BindDevice is over 400 days":                  {BindDevice: 401 * kit.Day},
		"BindGrace is negative":                        {BindGrace: -1},
		"BindGrace is longer than BindDevice":          bound(func(c *session.Config) { c.BindGrace = proofLife + 1 }),
		"BindDevice needs Secure":                      bound(func(c *session.Config) { c.Secure = session.Off }),
		"BindDevice can't be used with Partitioned":    bound(func(c *session.Config) { c.Partitioned = true }),
		"BindDevice can't be used with a Domain":       bound(func(c *session.Config) { c.Domain = "example.test" }),
		`BindPath "bind" must be a clean path`:         bound(func(c *session.Config) { c.BindPath = "bind" }),
		`BindPath "/" must be a clean path`:            bound(func(c *session.Config) { c.BindPath = "/" }),
		`BindPath "/bind/" must be a clean path`:       bound(func(c *session.Config) { c.BindPath = "/bind/" }),
		`BindPath "/a/../b" must be a clean path`:      bound(func(c *session.Config) { c.BindPath = "/a/../b" }),
		`BindPath "//bind" must be a clean path`:       bound(func(c *session.Config) { c.BindPath = "//bind" }),
		`BindPath "/application" must be a clean path`: bound(func(c *session.Config) { c.Path, c.BindPath = "/app", "/application" }),
		`BindPath "https://x/y" must be a clean path`:  bound(func(c *session.Config) { c.BindPath = "https://x/y" }),
	} {
		_, err := session.New(session.NewMemoryStore(), cfg)
		require.ErrorContains(t, err, fault)
	}
	signed, err := session.NewSignedCookieStore(kit.SecretOne)
	require.NoError(t, err)
	for _, store := range []session.Store{signed, signed.WithRevocations(session.NewMemoryStore())} {
		_, err = session.New(store, config)
		require.ErrorContains(t, err, "BindDevice needs a store that hides its content")
		_, err = session.New(store, session.Config{})
		require.NoError(t, err)
	}
	for _, good := range []session.Config{
		{BindDevice: 5 * time.Minute}, {BindDevice: proofLife, BindPath: "/bind"}, {BindDevice: proofLife, Path: "/app", BindPath: "/app/bind"},
		{BindDevice: proofLife, Path: "/app/", BindPath: "/app/bind"}, {BindDevice: proofLife, BindGrace: proofLife}, {BindPath: "/bind"},
	} {
		_, err = session.New(session.NewMemoryStore(), good)
		require.NoError(t, err, "%+v", good)
	}
}

// The cookie has the session cookie's attributes, and always a Max-Age.
func TestBinding_TheBoundCookie(t *testing.T) {
	for line, cfg := range map[string]session.Config{
		"__Host-session-bound=V; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax":      {},
		"__Secure-session-bound=V; Path=/app; Max-Age=600; HttpOnly; Secure; SameSite=Lax": {Path: "/app"},
		"sid-bound=V; Path=/; Max-Age=600; Secure; SameSite=Strict":                        {Name: "sid", HttpOnly: session.Off, SameSite: http.SameSiteStrictMode},
		"__Host-Http-s-bound=V; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None":      {Name: "__Host-Http-s", SameSite: http.SameSiteNoneMode, Persistent: true},
	} {
		cfg.BindDevice = proofLife
		app := kit.New(t, cfg, session.NewMemoryStore())
		d := newDevice(t, app)
		resp := d.send(d.request("POST", "/app/x"), kit.Act(kit.LoginAda))
		require.True(t, d.seeOffer(resp))
		answer := d.register(d.key.registration(d.offer.challenge))
		require.Equal(t, http.StatusOK, answer.StatusCode)
		value := d.cookies[d.bound.cookie].value
		require.Len(t, value, 32)
		require.Equal(t, []string{replaceValue(line, value)}, answer.Header["Set-Cookie"])
		require.Equal(t, "no-store", answer.Header.Get("Cache-Control"))

		resp = d.do(func(s *session.Session) { require.True(t, s.DeviceBound()); kit.Logout(s) })
		require.Len(t, resp.Header["Set-Cookie"], 2)
		require.Empty(t, d.cookies)
	}
}

func replaceValue(line, value string) string {
	for i := range line {
		if line[i] == '=' {
			return line[:i+1] + value + line[i+2:]
		}
	}
	return line
}

func TestBinding_ItMeetsNoRouteOfTheApplication(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST"} {
		for _, path := range []string{registerAt, renewAt} {
			r := d.request(method, path)
			resp := d.send(r, func(http.ResponseWriter, *http.Request, *session.Session) { t.Error("the application is asked") })
			if method != "POST" {
				require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
				require.Equal(t, "POST", resp.Header.Get("Allow"))
			}
		}
	}
	for _, path := range []string{registerAt + "/", registerAt + "x", renewAt + "/", "/x" + renewAt, "/.well-known/device-bound-session/other/renew"} {
		require.Equal(t, "the handler's", kit.Body(d.send(d.request("POST", path), kit.Act(func(*session.Session) {}))), path)
	}
}

func TestBinding_OffIsOff(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	d := newDevice(t, app)
	resp := d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))
	require.Empty(t, resp.Header["Secure-Session-Registration"])
	for _, path := range []string{registerAt, renewAt} {
		require.Equal(t, "the handler's", kit.Body(d.send(d.request("POST", path), kit.Act(func(*session.Session) {}))), path)
	}
	require.Zero(t, stored(t, app, d).Binding)
}

// A session that was bound is an ordinary one where binding has been switched off, and bound again where it is on.
func TestBinding_SwitchedOffAndOn(t *testing.T) {
	store := session.NewMemoryStore()
	app := kit.New(t, config, store)
	d := newDevice(t, app).signIn("ada")
	off := kit.NewAt(t, app.Clock, session.Config{}, store)
	thief := d.copy()
	app.Clock.Advance(proofLife)
	thief.app = off
	require.Equal(t, seen{User: "ada", Cart: "tea"}, thief.bareLook())
	thief.app = app
	require.Equal(t, seen{}, thief.bareLook())
}

// Stacked Managers have paths and cookies of their own.
func TestBinding_StackedManagers(t *testing.T) {
	clock := kit.NewClock()
	cfg := session.Config{BindDevice: proofLife, Clock: clock.Now}
	outerConfig, innerConfig := cfg, cfg
	outerConfig.Name, innerConfig.Name = "__Host-outer", "__Host-inner"
	outer, err := session.New(session.NewMemoryStore(), outerConfig)
	require.NoError(t, err)
	inner, err := session.New(kit.SealedWithList(t), innerConfig)
	require.NoError(t, err)
	var do func(*http.Request)
	handler := outer.Middleware(inner.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { do(r) })))

	jar := map[string]string{}
	send := func(r *http.Request) *http.Response {
		for name, value := range jar {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		for _, c := range rec.Result().Cookies() {
			jar[c.Name] = c.Value
		}
		return rec.Result()
	}
	do = func(r *http.Request) {
		require.NoError(t, outer.Session(r.Context()).Login("ada"))
		require.NoError(t, inner.Session(r.Context()).Login("grace"))
	}
	offers := send(httptest.NewRequest("POST", site+"/", nil)).Header["Secure-Session-Registration"]
	require.Len(t, offers, 2)
	require.NotEqual(t, offers[0], offers[1])
	for _, line := range offers {
		d := &device{t: t, key: newES256(t)}
		require.True(t, d.seeOffer(&http.Response{Header: http.Header{"Secure-Session-Registration": {line}}}))
		r := httptest.NewRequest("POST", site+d.offer.path, nil)
		r.Header.Set("Secure-Session-Response", d.key.registration(d.offer.challenge))
		require.Equal(t, http.StatusOK, send(r).StatusCode)
	}
	require.Len(t, jar, 4)
	do = func(r *http.Request) {
		require.True(t, outer.Session(r.Context()).DeviceBound())
		require.True(t, inner.Session(r.Context()).DeviceBound())
	}
	send(httptest.NewRequest("POST", site+"/", nil))
}

// One Manager's session cookie must not be another one's bound cookie.
func TestBinding_StackedManagersWithOneCookieName(t *testing.T) {
	bound := kit.New(t, session.Config{Name: "sid", BindDevice: proofLife}, session.NewMemoryStore())
	plain := kit.New(t, session.Config{Name: "sid-bound"}, session.NewMemoryStore())
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, h := range []http.Handler{
		bound.Manager().Middleware(plain.Manager().Middleware(nothing)), plain.Manager().Middleware(bound.Manager().Middleware(nothing)),
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", site+"/", nil))
		require.Equal(t, http.StatusInternalServerError, rec.Code)
	}
}

func TestBinding_AHandlersBoundCookieIsDropped(t *testing.T) {
	app := kit.New(t, config, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	resp := d.send(d.request("POST", "/"), func(w http.ResponseWriter, _ *http.Request, _ *session.Session) {
		http.SetCookie(w, &http.Cookie{Name: boundCookie, Value: "x", Secure: true, Path: "/"})
		http.SetCookie(w, &http.Cookie{Name: "other", Value: "x"})
	})
	require.Equal(t, []string{"other=x"}, resp.Header["Set-Cookie"])
	require.Contains(t, app.Log(), "bound cookie's name was dropped")
}

func TestBinding_TestsOfHandlers(t *testing.T) {
	require.False(t, new(session.Session).DeviceBound())
	require.False(t, session.Detached(&session.Record{ID: "x", User: "ada"}).DeviceBound())
	require.True(t, session.Detached(&session.Record{ID: "x", User: "ada", Binding: session.Binding{Key: []byte("x")}}).DeviceBound())
}

// Revalidate is told whether the request has the proof, and isn't asked for what browsers send by themselves.
func TestBinding_Revalidate(t *testing.T) {
	var bound []bool
	cfg := config
	cfg.Revalidate = func(_ context.Context, s *session.Session) error { bound = append(bound, s.DeviceBound()); return nil }
	app := kit.New(t, cfg, session.NewMemoryStore())
	d := newDevice(t, app).signIn("ada")
	require.Empty(t, bound)
	early := d.copy()
	early.dropProof()
	early.bareLook()
	require.Equal(t, []bool{false}, bound)
	d.look()
	d.renew()
	require.Equal(t, []bool{false, true}, bound)
	app.Clock.Advance(proofLife)
	early.bareLook()
	require.Equal(t, []bool{false, true}, bound, "there is nothing to ask for without a proof")
}

// Whoever signs in again has a new session, of which nothing is proved yet.
func TestBinding_ALoginIsNotBoundYet(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) {
			require.True(t, s.DeviceBound())
			require.NoError(t, s.Regenerate())
			require.True(t, s.DeviceBound())
			require.NoError(t, s.Login("ada"))
			require.False(t, s.DeviceBound())
			require.NoError(t, s.Save(t.Context()))
			require.False(t, s.DeviceBound())
		}))
	})
}
