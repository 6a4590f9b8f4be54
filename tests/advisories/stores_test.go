//go:build !noservers

package advisories_test

import (
	"context"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// rack CVE-2013-0263: the MAC was compared in variable time. Here only securecookie compares one. (The check of a server
// token and the checksum of a sealed value are no secrets: who knows the rest can compute them.)
func TestAdvisory_MACComparedInVariableTime(t *testing.T) {
	for file, imports := range rootImports(t) {
		if !slices.Contains(imports, "crypto/hmac") {
			continue
		}
		require.Equal(t, "stamp.go", filepath.Base(file), "it would compare a MAC of its own")
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(source), "!hmac.Equal(")
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/gorilla/securecookie").Output()
	require.NoError(t, err)
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "securecookie.go"))
	require.NoError(t, err)
	_, verify, found := strings.Cut(string(source), "\nfunc verifyMac(")
	require.True(t, found)
	verify, _, _ = strings.Cut(verify, "\n}")
	require.Contains(t, verify, "subtle.ConstantTimeCompare(")
}

// rootImports returns what each file of the library imports.
func rootImports(t testing.TB) map[string][]string {
	files, err := filepath.Glob("../../*.go")
	require.NoError(t, err)
	deeper, err := filepath.Glob("../../internal/*/*.go")
	require.NoError(t, err)
	imports := map[string][]string{}
	for _, file := range append(files, deeper...) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range parsed.Imports {
			imports[file] = append(imports[file], strings.Trim(spec.Path.Value, `"`))
		}
	}
	require.NotEmpty(t, imports)
	return imports
}

// redis-store CVE-2017-1000248, Flask-Caching CVE-2021-33026: what is stored was deserialised into code.
func TestAdvisory_UnsafeDeserialisation(t *testing.T) {
	for file, imports := range rootImports(t) {
		for _, unsafe := range []string{"encoding/gob", "encoding/xml", "plugin", "unsafe", "text/template"} {
			require.NotContains(t, imports, unsafe, file)
		}
	}
	b := kit.RedisBackings(t)[0]
	ctx := context.Background()
	for name, spoil := range map[string]func(stored, others string) string{
		"a pickle":      func(string, string) string { return "\x80\x04\x95pickle" },
		"nothing":       func(string, string) string { return "" },
		"JSON":          func(string, string) string { return `{"id":"x","user":"ada"}` },
		"a half":        func(stored, _ string) string { return stored[:len(stored)/2] },
		"another's":     func(_, others string) string { return others },
		"more than one": func(stored, others string) string { return stored + others },
	} {
		app := b.New(t, session.Config{})
		cookie, other := app.Login("ada"), app.Login("grace")
		key := func(cookie string) string { return "session:" + app.Look(cookie).ID }
		spoilt := spoil(b.Client.Get(ctx, key(cookie)).Val(), b.Client.Get(ctx, key(other)).Val())
		require.NoError(t, b.Client.Set(ctx, key(cookie), spoilt, time.Hour).Err())
		app.Events()
		require.True(t, app.Dead(cookie), name)
		events := app.Events()
		require.Len(t, events, 1, name)
		require.Equal(t, session.EventRejected, events[0].Kind, name)
		require.Equal(t, session.ReasonUnreadable, events[0].Reason, name)
		require.Equal(t, http.StatusOK, app.Do(cookie, func(s *session.Session) { s.Set("new", 1) }).StatusCode, "a new session")
	}
	app := b.New(t, session.Config{})
	cookie := app.Login("ada")
	app.Do(cookie, func(s *session.Session) { s.Set("other", 1) })
	app.Rewrite(cookie, func(r *session.Record) {
		r.Values = session.NewValues(map[string]json.RawMessage{"cart": []byte("cos\nsystem\n(S'id'"), "other": []byte("1")})
	})
	require.Equal(t, 1, kit.Value[int](app, cookie, "other"), "one value that can't be read does not take the rest along")
	app.Do(cookie, func(s *session.Session) {
		require.False(t, s.Get("cart", new(any)))
		require.ErrorContains(t, s.Err(), `"cart"`)
	})
}

// go-redis CVE-2025-29923: replies out of order gave one client another's session. That no version with the fault is used
// is looked at in TestAdvisory_OutOfOrderReplies_MinimumVersion; here a store gives another's.
func TestAdvisory_OutOfOrderReplies(t *testing.T) {
	swapped := &kit.SwappedStore{MemoryStore: session.NewMemoryStore()}
	app := kit.New(t, session.Config{}, swapped)
	ada, grace := app.Login("ada"), app.Login("grace")
	swapped.Record = app.Live()[app.Look(grace).ID]
	require.NotNil(t, swapped.Record)
	require.True(t, app.Dead(ada), "the record is not the one that was asked for")
	require.Equal(t, "grace", app.User(grace))
}

// Django CVE-2015-3982, PYSEC-2015-20, PYSEC-2015-22: an empty key was a session, and anonymous traffic made sessions.
func TestAdvisory_EmptyKeyAndAnonymousTraffic(t *testing.T) {
	for _, b := range kit.Backings(t) {
		store := b.Stores()[0]
		_, err := store.Load(context.Background(), session.NewToken("", ""))
		require.True(t, errors.Is(err, session.ErrNotFound) || b.Sealed && errors.Is(err, errors.ErrUnsupported), "%s: %v", b.Name, err)
		app := b.New(t, session.Config{})
		app.Start() // so that Live has a token to look for
		before := len(app.Live())
		for name, use := range accessors() {
			switch name {
			case "Set", "Flash", "Login", "Key.Update":
				continue
			}
			require.Empty(t, app.Do("", use).Cookies(), name)
		}
		require.Len(t, app.Live(), before)
	}
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	store.Break(kit.ErrDown, sessiontest.Load, sessiontest.Swap, sessiontest.End)
	for _, use := range []func(*session.Session){kit.Logout, func(s *session.Session) { s.Keys(); s.Clear(); s.Flashes() }, kit.Regenerate} {
		require.Equal(t, http.StatusOK, app.Do("", use).StatusCode, "the store is not asked about nobody")
	}
}

// CodeIgniter CVE-2022-46170: one application's session was good for another that shared the store.
func TestAdvisory_SharedNamespace(t *testing.T) {
	server := redistest.Start(t)
	open := func(prefix, name string) *kit.App {
		return kit.New(t, session.Config{Name: name}, kit.OpenRedis(t, server, session.RedisOptions{Prefix: prefix}))
	}
	worlds := []*kit.App{open("", ""), open("", "admin"), open("admin:", ""), open("admin:", "admin")}
	for i, issuer := range worlds {
		cookie := issuer.Login("ada")
		for j, other := range worlds {
			require.Equal(t, i != j, other.Dead(cookie), "%d's at %d", i, j)
		}
	}
	sealed := func(name string) *kit.App {
		store, err := session.NewCookieStore(kit.SecretOne)
		require.NoError(t, err)
		return kit.New(t, session.Config{Name: name}, store)
	}
	require.True(t, sealed("admin").Dead(sealed("").Login("ada")), "the name is the realm, and the seal's key is the realm's")
}

// rack CVE-2020-8184, Werkzeug PYSEC-2023-57: names that were decoded or trimmed got round the prefix.
func TestAdvisory_NameDecoding(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		cookie := app.Login("ada")
		require.Equal(app.T, "ada", app.UserOf([]string{"__Host-session=" + cookie}))
		for _, name := range []string{
			"%5F_Host-session=", "=__Host-session=", "\u00a0__Host-session=", "__host-session=", "__HOST-SESSION=", "__Host-session =",
			"__Host-session%3D", "__Host%2Dsession=", "\"__Host-session\"=", "__Host-session[]=", "__Host-session==", "$__Host-session=",
			"__Secure-session=", "session=", "__Host-session\x00=", "\x0b__Host-session=", "__Host-session=\"",
		} {
			require.Empty(app.T, app.UserOf([]string{name + cookie}), "%q", name)
			require.Empty(app.T, app.UserOf([]string{"a=b; " + name + cookie}), "%q", name)
		}
		require.Empty(app.T, app.UserOf([]string{`__Host-session="` + cookie + `"`}), "quotes are part of the value")
	})
}

// Skupper CVE-2024-6535: a static secret. TestGuarantee13_Secrets_WeakOnesAreRefused has the constructors' other cases.
func TestAdvisory_StaticSecret(t *testing.T) {
	for _, text := range []string{"", " , ", "secret", "keyboard cat keyboard cat keyboard cat", strings.Repeat("0", 64), string(kit.SecretOne) + ",short"} {
		t.Setenv("SESSION_SECRETS", text)
		_, err := session.SecretsFromEnv("SESSION_SECRETS")
		require.ErrorIs(t, err, session.ErrWeakSecret, text)
		require.Contains(t, err.Error(), "openssl rand", "and how to do better")
		require.NotContains(t, err.Error(), string(kit.SecretOne))
	}
	_, err := session.SecretsFromEnv("SESSION_SECRETS_NOT_SET")
	require.ErrorIs(t, err, session.ErrWeakSecret)
}

// macaron/csrf CVE-2018-25060: the option Secure had no effect.
func TestAdvisory_OptionsIgnored(t *testing.T) {
	for _, c := range []struct {
		cfg  session.Config
		want string
	}{
		{session.Config{}, "__Host-session=V; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{session.Config{Name: "__Host-x"}, "__Host-x=V; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{session.Config{Secure: session.Off}, "session=V; Path=/; HttpOnly; SameSite=Lax"},
		{session.Config{HttpOnly: session.Off}, "__Host-session=V; Path=/; Secure; SameSite=Lax"},
		{session.Config{Domain: "example.test"}, "__Secure-session=V; Path=/; Domain=example.test; HttpOnly; Secure; SameSite=Lax"},
		{session.Config{Path: "/app"}, "__Secure-session=V; Path=/app; HttpOnly; Secure; SameSite=Lax"},
		{session.Config{SameSite: http.SameSiteDefaultMode}, "__Host-session=V; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{session.Config{SameSite: http.SameSiteStrictMode}, "__Host-session=V; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{session.Config{SameSite: http.SameSiteNoneMode}, "__Host-session=V; Path=/; HttpOnly; Secure; SameSite=None"},
		{session.Config{SameSite: http.SameSiteNoneMode, Partitioned: true}, "__Host-session=V; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"},
		{session.Config{Persistent: true}, "__Host-session=V; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		{session.Config{Persistent: true, Lifetime: 400 * 24 * time.Hour}, "__Host-session=V; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Lax"},
	} {
		set := kit.New(t, c.cfg, session.NewMemoryStore()).Browser().Must(func(s *session.Session) { s.Set("cart", "tea") })
		name, rest, _ := strings.Cut(set.Header.Get("Set-Cookie"), "=")
		_, attributes, _ := strings.Cut(rest, ";")
		require.Equal(t, c.want, name+"=V;"+attributes)
	}
}

// OliveTin CVE-2026-30224, oauth2-proxy CVE-2026-34454: a logout that left the session or the cookie.
func TestAdvisory_LogoutClearsBoth(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		old := b.Cookie
		b.Receive(app.Do(old, kit.Logout))
		require.Empty(app.T, b.Cookie)
		require.True(app.T, app.Dead(old))
		require.Empty(app.T, app.Live())
	})
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	b := app.BrowserWith(app.Login("ada"))
	store.Break(kit.ErrDown, sessiontest.End)
	resp := app.Do(b.Cookie, kit.Logout)
	b.Receive(resp)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "Service Unavailable\n", kit.Body(resp), "and no page that says: signed out")
	store.Mend()
	require.Equal(t, "ada", app.User(b.Cookie), "so that signing out can be tried again")
	b.Receive(app.Do(b.Cookie, kit.Logout))
	require.Empty(t, b.Cookie)
	require.Empty(t, app.Live())
}

// Spring Session CVE-2023-20866: the id was printed. TestGuarantee14_AtRest_TokensAreNotPrinted has the verbs and loggers.
func TestAdvisory_TokenOnStdout(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = write, write
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	for _, do := range []func(*session.Session){kit.Regenerate, kit.LoginAda, kit.Logout, kit.Regenerate, kit.LoginAda} {
		b.Receive(app.Do(b.Cookie, do))
	}
	os.Stdout, os.Stderr = stdout, stderr
	require.NoError(t, write.Close())
	printed, err := io.ReadAll(read)
	require.NoError(t, err)
	require.Empty(t, string(printed))
}
