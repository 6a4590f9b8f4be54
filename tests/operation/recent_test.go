package operation_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func reauthenticate(s *session.Session) { _ = s.Reauthenticate() }

func TestReauthenticate(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		b.Must(func(s *session.Session) { s.SetNote("phone") })
		before, old := b.View(), b.Cookie
		app.Events()
		app.Clock.Advance(50 * time.Minute)
		b.Must(func(s *session.Session) {
			require.False(app.T, s.AuthenticatedWithin(time.Minute))
			require.NoError(app.T, s.Reauthenticate())
			require.True(app.T, s.AuthenticatedWithin(0), "at once, in the request too")
			s.Set("step", "up")
		})
		after := b.View()
		require.NotEqual(app.T, before.ID, after.ID)
		require.True(app.T, app.Dead(old))
		require.Equal(app.T, app.Clock.Now().UTC(), after.Authenticated)
		require.Equal(app.T, before.Created, after.Created, "the lifetime is the same")
		b.Must(func(s *session.Session) {
			require.Equal(app.T, "ada", s.User())
			require.Equal(app.T, "phone", s.Note())
			require.Equal(app.T, []string{"cart", "step"}, s.Keys())
			require.Len(app.T, s.Flashes(), 1)
		})
		require.Equal(app.T, 1, app.Count(session.EventReauthenticated))
		require.Zero(app.T, app.Count(session.EventRegenerated)+app.Count(session.EventLoggedIn))
		app.Clock.Advance(50 * time.Minute)
		require.Equal(app.T, "ada", app.User(b.Cookie), "it was used")
		for range 40 {
			app.Clock.Advance(35 * time.Minute)
			b.Must(reauthenticate)
		}
		require.True(app.T, app.Dead(b.Cookie), "a day is over, whatever it did")
	})
}

func TestReauthenticate_Refusals(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	b := app.Browser()
	b.Must(func(s *session.Session) { require.ErrorContains(t, s.Reauthenticate(), "signed in") })
	b.Must(func(s *session.Session) {
		s.Set("cart", 1)
		require.ErrorContains(t, s.Reauthenticate(), "signed in")
	})
	b.SignIn("ada")
	b.Visit(func(w http.ResponseWriter, r *http.Request) {
		kit.WriteOK(w, r)
		require.ErrorIs(t, session.FromContext(r.Context()).Reauthenticate(), session.ErrResponseStarted)
	})
	late := b.Copy()
	b.Must(kit.Regenerate)
	late.Must(func(s *session.Session) { require.ErrorIs(t, s.Reauthenticate(), session.ErrSessionEnded) })

	var inRevalidate error
	app = kit.New(t, session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		inRevalidate = s.Reauthenticate()
		return nil
	}}, session.NewMemoryStore())
	b = app.BrowserWith(app.Login("ada"))
	require.False(t, b.SignedOut())
	require.ErrorContains(t, inRevalidate, "Revalidate")
}

// Guarantee 2 holds for it: whoever ended the session meanwhile is not undone, and the answer is no silent 200.
func TestReauthenticate_DuringAnEnd(t *testing.T) {
	for name, end := range map[string]func(*session.Session){"logout": kit.Logout, "regenerate": kit.Regenerate, "login": kit.LoginAda} {
		kit.EachStore(t, session.Config{}, func(app *kit.App) {
			cookie := app.Login("ada")
			late, first := app.Overtaken(cookie, reauthenticate, end)
			require.Equal(app.T, http.StatusOK, first.StatusCode, name)
			require.Equal(app.T, http.StatusConflict, late.StatusCode, name)
			require.Empty(app.T, late.Cookies(), name)
		})
	}
}

func TestReauthenticate_ALostAnswer(t *testing.T) {
	kit.EachUserStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		app.Clock.Advance(time.Hour / 2)
		app.Store().Lose()
		b.Do(func(s *session.Session) {
			require.NoError(app.T, s.Reauthenticate())
			_ = s.Save(context.Background()) // its answer is lost, and the commit at the end finds out
		})
		app.Store().Mend()
		require.Equal(app.T, app.Clock.Now().UTC(), b.View().Authenticated)
		require.Len(app.T, app.Live(), 1)
	})
}

// page is what a browser asks for that goes to a page, and call what a script does.
var (
	page = []string{"Sec-Fetch-Mode", "navigate", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}
	call = []string{"Sec-Fetch-Mode", "cors", "Accept", "application/json"}
)

func TestRequireRecent(t *testing.T) {
	kit.EachTimed(t, session.Config{}, func(t *testing.T, b *kit.Browser) {
		h := b.App.Manager().RequireRecent(5*time.Minute, "/login?again=1")(http.HandlerFunc(kit.WriteOK))
		ask := func(headers []string) *http.Response {
			return through(b, h, "GET", "/account/email?x=1&y=2", headers...)
		}

		const next = "/login?again=1&next=%2Faccount%2Femail%3Fx%3D1%26y%3D2"
		resp := ask(page)
		require.Equal(t, http.StatusSeeOther, resp.StatusCode, "nobody is signed in")
		require.Equal(t, next, resp.Header.Get("Location"))
		require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		resp = ask(call)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(t, `Bearer max_age="300"`, resp.Header.Get("WWW-Authenticate"))

		b.SignIn("ada")
		b.App.Clock.Advance(5 * time.Minute)
		require.Equal(t, http.StatusOK, ask(page).StatusCode)
		require.Equal(t, http.StatusOK, ask(call).StatusCode)
		b.App.Clock.Advance(time.Microsecond)
		resp = ask(page)
		require.Equal(t, http.StatusSeeOther, resp.StatusCode)
		require.Equal(t, next, resp.Header.Get("Location"))
		require.NotContains(t, kit.Body(resp), "ok")
		resp = ask(call)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(t, `Bearer error="insufficient_user_authentication", error_description="A more recent authentication is required", max_age="300"`,
			resp.Header.Get("WWW-Authenticate"))
		require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		require.NotContains(t, kit.Body(resp), "ok")

		b.Must(reauthenticate)
		require.Equal(t, http.StatusOK, ask(page).StatusCode)
	})
}

func TestRequireRecent_PagesAndCalls(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	h := app.Manager().RequireRecent(time.Minute, "/login")(http.HandlerFunc(kit.WriteOK))
	for _, c := range []struct {
		name    string
		headers []string
		page    bool
	}{
		{"a browser", page, true},
		{"a script", call, false},
		{"a script that asks for HTML", []string{"Sec-Fetch-Mode", "same-origin", "Accept", "text/html"}, false},
		{"an older browser", []string{"Accept", "image/png, Text/HTML;q=0.9"}, true},
		{"an older script", []string{"Accept", "application/json"}, false},
		{"curl", []string{"Accept", "*/*"}, false},
		{"nothing", nil, false},
		{"a stream of events", []string{"Accept", "text/event-stream"}, false},
	} {
		resp := through(app.Browser(), h, "GET", "/", c.headers...)
		require.Equal(t, c.page, resp.StatusCode == http.StatusSeeOther, c.name)
		require.Equal(t, !c.page, resp.StatusCode == http.StatusUnauthorized, c.name)
	}
	onlyCalls := app.Manager().RequireRecent(time.Minute, "")(http.HandlerFunc(kit.WriteOK))
	require.Equal(t, http.StatusUnauthorized, through(app.Browser(), onlyCalls, "GET", "/", page...).StatusCode)
}

// Where to come back to is a path of this site or nothing.
func TestRequireRecent_ReturnPath(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	h := app.Manager().RequireRecent(time.Minute, "/login")(http.HandlerFunc(kit.WriteOK))
	next := func(method, path string, headers ...string) string {
		resp := through(app.Browser(), h, method, path, append(headers, page...)...)
		require.Equal(t, http.StatusSeeOther, resp.StatusCode)
		u, err := url.Parse(resp.Header.Get("Location"))
		require.NoError(t, err)
		require.Equal(t, "/login", u.Path)
		require.Empty(t, u.Host)
		return u.Query().Get("next")
	}
	for path, want := range map[string]string{
		"/a/b?c=d%2F": "/a/b?c=d%2F", "/": "/", "/a%0d%0aSet-Cookie:x": "/a%0d%0aSet-Cookie:x",
		"//evil.test": "", "//evil.test/x": "", `/\evil.test`: "/%5Cevil.test", `/a\b`: "/a%5Cb", "/%2F/evil.test": "", "///evil.test": "",
	} {
		require.Equal(t, want, next("GET", path), path)
	}
	require.Equal(t, "/form?x=1", next("POST", "/change", "Referer", "https://example.test/form?x=1#end"), "the page with the form")
	require.Empty(t, next("POST", "/change"), "a POST can't be come back to")
	require.Empty(t, next("POST", "/change", "Referer", "https://evil.test/form"))
	require.Empty(t, next("POST", "/change", "Referer", "https://example.test//evil.test"))
	require.Empty(t, next("DELETE", "/change", "Referer", "::"))

	stripped := http.StripPrefix("/app", h)
	resp := through(app.Browser(), stripped, "GET", "/app/page", page...)
	require.Equal(t, "/login?next=%2Fapp%2Fpage", resp.Header.Get("Location"), "as the browser asked for it")
	elsewhere := app.Manager().RequireRecent(time.Minute, "https://id.example.test/authorize?prompt=login")(http.HandlerFunc(kit.WriteOK))
	resp = through(app.Browser(), elsewhere, "GET", "/x", page...)
	require.Equal(t, "https://id.example.test/authorize?next=%2Fx&prompt=login", resp.Header.Get("Location"))
}

func TestRequireRecent_BadOptions(t *testing.T) {
	m := kit.New(t, session.Config{}, session.NewMemoryStore()).Manager()
	for _, signIn := range []string{"login", "//evil.test", `/\x`, "javascript:alert(1)", "https://", "ftp://x/y", "::"} {
		require.Panics(t, func() { m.RequireRecent(time.Minute, signIn) }, signIn)
	}
	require.Panics(t, func() { m.RequireRecent(0, "/login") })
	require.Panics(t, func() { m.RequireRecent(-time.Hour, "/login") })
}

// A session that can't be loaded is the error handler's answer, and no redirect.
func TestRequireRecent_StoreDown(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	app.Store().Break(kit.ErrDown, "load")
	h := app.Manager().RequireRecent(time.Minute, "/login")(http.HandlerFunc(kit.WriteOK))
	resp := through(b, h, "GET", "/", page...)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Header.Get("Location"))
}

func TestLocalPath(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/a?b=c": "/a?b=c", "/a#b": "/a", "": "else", "a": "else", "//a": "else", "/%2f/a": "else", `/\a`: "else", `\\a`: "else",
		"https://a/b": "else", "javascript:a": "else", "/a\nb": "else", "/\t/a": "else", "/%zz": "else", "?x": "else",
	} {
		require.Equal(t, want, session.LocalPath(path, "else"), "%q", path)
	}
	resp := httptest.NewRecorder()
	http.Redirect(resp, kit.Fresh("/"), session.LocalPath("//evil.test", "/"), http.StatusSeeOther)
	require.Equal(t, "/", resp.Header().Get("Location"))
}
