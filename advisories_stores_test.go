package session_test

import (
	"context"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// rack CVE-2013-0263: the MAC was compared in variable time. Here only securecookie compares one. (The check of a server
// token and the checksum of a sealed value are no secrets: who knows the rest can compute them.)
func TestAdvisory_MACComparedInVariableTime(t *testing.T) {
	for file, imports := range rootImports(t) {
		require.NotContains(t, imports, "crypto/hmac", "%s would compare a MAC of its own", file)
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

// rootImports returns what each file of the package imports.
func rootImports(t testing.TB) map[string][]string {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	imports := map[string][]string{}
	for _, file := range files {
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
	b := redisBackings(t)[0]
	for _, c := range []struct{ name, field, value string }{
		{"no id", "i", ""}, {"another's id", "i", "x"}, {"times cut short", "m", "17 18"}, {"times that are none", "m", "a b c d e f"},
		{"a use that is none", "t", "\x80\x04\x95pickle"}, {"times for ever", "m", strings.Repeat("9", 300)},
	} {
		w := b.world(t, session.Config{})
		cookie := w.login("ada")
		key := "session:" + w.look(cookie).id
		require.NoError(t, b.client.HSet(context.Background(), key, c.field, c.value).Err())
		w.takeEvents()
		require.True(t, w.dead(cookie), c.name)
		events := w.takeEvents()
		require.Len(t, events, 1, c.name)
		require.Equal(t, session.EventRejected, events[0].Kind, c.name)
		require.Equal(t, "unreadable", events[0].Reason, c.name)
		require.Equal(t, http.StatusOK, w.do(cookie, func(s *session.Session) { s.Set("new", 1) }).StatusCode, "a new session")
	}
	w := b.world(t, session.Config{})
	cookie := w.login("ada")
	w.do(cookie, func(s *session.Session) { s.Set("other", 1) })
	require.NoError(t, b.client.HSet(context.Background(), "session:"+w.look(cookie).id, ":cart", "cos\nsystem\n(S'id'").Err())
	require.Equal(t, 1, value[int](w, cookie, "other"), "one value that can't be read does not take the rest along")
	w.do(cookie, func(s *session.Session) {
		require.False(t, s.Get("cart", new(any)))
		require.ErrorContains(t, s.Err(), `"cart"`)
	})
}

// go-redis CVE-2025-29923: replies out of order gave one client another's session. That no version with the fault is used
// is looked at in TestAdvisory_OutOfOrderReplies_MinimumVersion; here a store gives another's.
func TestAdvisory_OutOfOrderReplies(t *testing.T) {
	swapped := &swappedStore{MemoryStore: session.NewMemoryStore()}
	w := newWorld(t, session.Config{}, swapped)
	ada, grace := w.login("ada"), w.login("grace")
	swapped.record = w.live()[w.look(grace).id]
	require.NotNil(t, swapped.record)
	require.True(t, w.dead(ada), "the record is not the one that was asked for")
	require.Equal(t, "grace", w.user(grace))
}

// swappedStore answers every question with the same record.
type swappedStore struct {
	*session.MemoryStore
	record *session.Record
}

func (s *swappedStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if s.record != nil {
		return s.record, nil
	}
	return s.MemoryStore.Load(ctx, token)
}

// Django CVE-2015-3982, PYSEC-2015-20, PYSEC-2015-22: an empty key was a session, and anonymous traffic made sessions.
func TestAdvisory_EmptyKeyAndAnonymousTraffic(t *testing.T) {
	for _, b := range append(memoryBackings(t), redisBackings(t)...) {
		store := b.stores()[0]
		_, err := store.Load(context.Background(), session.NewToken("", ""))
		require.ErrorIs(t, err, session.ErrNotFound, b.name)
		if !b.sealed {
			require.NoError(t, store.Delete(context.Background(), "", time.Now()))
		}
		w := b.world(t, session.Config{})
		w.start() // so that live has a token to look for
		before := len(w.live())
		for name, use := range accessors() {
			switch name {
			case "Set", "Flash", "Login", "Key.Update":
				continue
			}
			require.Empty(t, w.do("", use).Cookies(), name)
		}
		require.Len(t, w.live(), before)
	}
	w, store := brokenWorld(t, session.Config{})
	store.load, store.save, store.delete = errDown, errDown, errDown
	for _, use := range []func(*session.Session){logout, func(s *session.Session) { s.Keys(); s.Clear(); s.Flashes() }, regenerate} {
		require.Equal(t, http.StatusOK, w.do("", use).StatusCode, "the store is not asked about nobody")
	}
}

// CodeIgniter CVE-2022-46170: one application's session was good for another that shared the store.
func TestAdvisory_SharedNamespace(t *testing.T) {
	server := redistest.Start(t)
	open := func(prefix, name string) *world {
		return newWorld(t, session.Config{Name: name}, redisStore(t, server, session.RedisOptions{Prefix: prefix}))
	}
	worlds := []*world{open("", ""), open("", "admin"), open("admin:", ""), open("admin:", "admin")}
	for i, issuer := range worlds {
		cookie := issuer.login("ada")
		for j, other := range worlds {
			require.Equal(t, i != j, other.dead(cookie), "%d's at %d", i, j)
		}
	}
	sealed := func(name string) *world {
		store, err := session.NewCookieStore(worldSecret)
		require.NoError(t, err)
		return newWorld(t, session.Config{Name: name}, store)
	}
	require.True(t, sealed("admin").dead(sealed("").login("ada")), "the name is part of the seal")
}

// rack CVE-2020-8184, Werkzeug PYSEC-2023-57: names that were decoded or trimmed got round the prefix.
func TestAdvisory_NameDecoding(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		cookie := w.login("ada")
		require.Equal(w.t, "ada", w.userOf([]string{"__Host-session=" + cookie}))
		for _, name := range []string{
			"%5F_Host-session=", "=__Host-session=", "\u00a0__Host-session=", "__host-session=", "__HOST-SESSION=", "__Host-session =",
			"__Host-session%3D", "__Host%2Dsession=", "\"__Host-session\"=", "__Host-session[]=", "__Host-session==", "$__Host-session=",
			"__Secure-session=", "session=", "__Host-session\x00=", "\x0b__Host-session=", "__Host-session=\"",
		} {
			require.Empty(w.t, w.userOf([]string{name + cookie}), "%q", name)
			require.Empty(w.t, w.userOf([]string{"a=b; " + name + cookie}), "%q", name)
		}
		require.Empty(w.t, w.userOf([]string{`__Host-session="` + cookie + `"`}), "quotes are part of the value")
	})
}

// Skupper CVE-2024-6535: a static secret. TestGuarantee13_Secrets_WeakOnesAreRefused has the constructors' other cases.
func TestAdvisory_StaticSecret(t *testing.T) {
	for _, text := range []string{"", " , ", "secret", "keyboard cat keyboard cat keyboard cat", strings.Repeat("0", 64), string(worldSecret) + ",short"} {
		t.Setenv("SESSION_SECRETS", text)
		_, err := session.SecretsFromEnv("SESSION_SECRETS")
		require.ErrorIs(t, err, session.ErrWeakSecret, text)
		require.Contains(t, err.Error(), "openssl rand", "and how to do better")
		require.NotContains(t, err.Error(), string(worldSecret))
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
		store := session.NewMemoryStore()
		c.cfg.Clock = (&worldClock{now: time.Now()}).Now
		manager, err := session.New(store, c.cfg)
		require.NoError(t, err)
		rec := serveOnce(manager, func(s *session.Session) { s.Set("cart", "tea") })
		name, rest, _ := strings.Cut(rec.Get("Set-Cookie"), "=")
		_, attributes, _ := strings.Cut(rest, ";")
		require.Equal(t, c.want, name+"=V;"+attributes)
	}
}

// OliveTin CVE-2026-30224, oauth2-proxy CVE-2026-34454: a logout that left the session or the cookie.
func TestAdvisory_LogoutClearsBoth(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		b := browser{w.name, w.login("ada")}
		old := b.cookie
		b.receive(w.do(old, logout))
		require.Empty(w.t, b.cookie)
		require.True(w.t, w.dead(old))
		require.Empty(w.t, w.live())
	})
	w, store := brokenWorld(t, session.Config{})
	b := browser{w.name, w.login("ada")}
	store.delete = errDown
	resp := w.do(b.cookie, logout)
	b.receive(resp)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "Service Unavailable\n", bodyOf(resp), "and no page that says: signed out")
	store.delete = nil
	require.Equal(t, "ada", w.user(b.cookie), "so that signing out can be tried again")
	b.receive(w.do(b.cookie, logout))
	require.Empty(t, b.cookie)
	require.Empty(t, w.live())
}

// Spring Session CVE-2023-20866: the id was printed. TestGuarantee14_AtRest_TokensAreNotPrinted has the verbs and loggers.
func TestAdvisory_TokenOnStdout(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = write, write
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	b := browser{w.name, w.login("ada")}
	for _, do := range []func(*session.Session){regenerate, login, logout, regenerate, login} {
		b.receive(w.do(b.cookie, do))
	}
	os.Stdout, os.Stderr = stdout, stderr
	require.NoError(t, write.Close())
	printed, err := io.ReadAll(read)
	require.NoError(t, err)
	require.Empty(t, string(printed))
}
