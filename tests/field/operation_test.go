package field_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// H. Words and small doors that were missing.

// Two instances share the cookies of a user while a secret is changed, one after the other.
func TestField35_ARotationSignsNobodyOut(t *testing.T) {
	list := session.NewMemoryStore()
	instance := func(secrets ...[]byte) *kit.App {
		return kit.New(t, session.Config{}, kit.Sealed(t, secrets...).WithRevocations(list))
	}
	a, b := kit.SecretOne, kit.SecretTwo
	stages := [][][]byte{{a}, {a, b}, {b, a}, {b}}
	for i := range len(stages) - 1 {
		before, after := instance(stages[i]...), instance(stages[i+1]...)
		if i == 2 { // when what A sealed has ended, or was sealed again
			before.Login("ada")
		}
		for _, way := range [][2]*kit.App{{before, after}, {after, before}} {
			require.Equal(t, "ada", way[1].User(way[0].Login("ada")), "stage %d", i)
		}
	}
	shortcut := instance(b, a).Login("ada")
	require.True(t, instance(a).Dead(shortcut), "[A] beside [B, A] signs out, as documented")
	for _, file := range []string{"../../secrets.go", "../../docs/security.md"} {
		requireDocumented(t, file, "A,B")
		requireDocumented(t, file, "B,A")
	}
}

func TestField36_OpenWaitsForARedisThatIsNotThereYet(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	proxy := redistest.NewProxy(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	opened := make(chan error)
	go func() {
		store, err := session.OpenRedisStore(ctx, proxy.URL(), session.RedisOptions{})
		if err == nil {
			err = store.Close()
		}
		opened <- err
	}()
	require.Eventually(t, func() bool { return proxy.Accepted() > 4 }, 20*time.Second, time.Millisecond, "it tries again")
	server.Restart()
	require.NoError(t, <-opened)

	server.Stop()
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := session.OpenRedisStore(short, server.URL(), session.RedisOptions{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "does not answer")
}

func TestField37_TLSAndCredentialsReachTheClient(t *testing.T) {
	server := redistest.Start(t)
	redisUser(t, server, "app", rightsOf(t, "sessions"))
	asked := 0
	store := kit.OpenRedisAt(t, "redis://other:wrong@"+server.Addr, session.RedisOptions{
		Credentials: func(context.Context) (string, string, error) { asked++; return "app", "secret", nil },
	})
	app := kit.New(t, session.Config{}, store)
	require.Equal(t, "ada", app.User(app.Login("ada")))
	require.NotZero(t, asked)

	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "redis.test"}
	_, err := session.OpenRedisStore(t.Context(), server.URL(), session.RedisOptions{TLS: config})
	require.ErrorContains(t, err, "does not begin with rediss://")
	names := make(chan string, 100)
	private := tlsServer(t, names)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = session.OpenRedisStore(ctx, "rediss://"+private, session.RedisOptions{TLS: config})
	require.Error(t, err)
	require.Equal(t, "redis.test", <-names, "the name that the caller's configuration asks for")

	client := fromURL(t, server.URL())
	_, err = session.NewRedisStore(client, session.RedisOptions{TLS: config})
	require.ErrorContains(t, err, "are for OpenRedisStore")
}

// tlsServer listens for TLS, tells which name each client asks for, and has no certificate for it.
func tlsServer(t *testing.T, names chan<- string) (addr string) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		names <- hello.ServerName
		return nil, http.ErrAbortHandler
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestField38_RenameUser(t *testing.T) {
	eachStore(t, session.Config{}, func(t *testing.T, app *kit.App) {
		other := app.Login("ada@old")
		b := app.BrowserWith(app.Login("ada@old"))
		old, before := b.Cookie, b.View()
		app.Clock.Advance(time.Minute)
		app.Events()
		b.Must(func(s *session.Session) {
			require.NoError(t, s.RenameUser("ada@new"))
			require.Equal(t, "ada@new", s.User())
		})
		require.Equal(t, []session.EventKind{session.EventRegenerated}, kindsOf(app.Events()))
		after := b.View()
		require.Equal(t, "ada@new", after.User)
		require.NotEqual(t, before.ID, after.ID)
		require.Equal(t, before.Authenticated, after.Authenticated, "no password was asked for")
		require.Equal(t, before.Created, after.Created)
		require.Equal(t, []string{"cart"}, b.Keys())
		require.True(t, app.Dead(old))
		require.Equal(t, "ada@old", app.User(other), "other sessions keep the name")
		app.RevokeUser("ada@old", after.ID)
		require.True(t, app.Dead(other))
		require.Equal(t, "ada@new", b.View().User)
		app.RevokeUser("ada@new")
		require.True(t, b.SignedOut())
	})
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	app.Do(app.Start(), func(s *session.Session) { require.Error(t, s.RenameUser("ada"), "nobody is signed in") })
	app.Do(app.Login("ada"), func(s *session.Session) { require.Error(t, s.RenameUser("")) })
	late, _ := app.Overtaken(app.Login("ada"), func(s *session.Session) { _ = s.RenameUser("eve") }, kit.Logout)
	requireStatus(t, http.StatusConflict, late, app)
}

// A POST that comes from another site has no session's cookie. What is set then goes into a session of its own, and the
// user's stays.
func TestField39_APostFromAnotherSiteReplacesNoSession(t *testing.T) {
	store := session.NewMemoryStore()
	users, flows := newReturnManagers(store)
	pages := returnPages(users, flows)
	jar := sessiontest.NewJar()
	pages.ServeHTTP(httptest.NewRecorder(), kit.Fresh("/"))
	sessiontest.Transaction(t, users, jar, "https://example.com/", func(s *session.Session) { require.NoError(t, s.Login("ada", "cart")); s.Set("cart", 3) })
	before := cookieOf(jar, "__Host-session")

	jar.Serve(pages, httptest.NewRequest("GET", "/pay", nil))
	crossSite := httptest.NewRequest("POST", "/paid", strings.NewReader("order=17"))
	crossSite.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	crossSite.AddCookie(&http.Cookie{Name: "__Host-flow", Value: cookieOf(jar, "__Host-flow")}) // SameSite=Lax keeps the other one back
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, crossSite)
	require.Equal(t, http.StatusSeeOther, w.Code)
	for _, c := range w.Result().Cookies() {
		require.NotEqual(t, "__Host-session", c.Name, "the user's cookie is not replaced")
	}
	w = jar.Serve(pages, httptest.NewRequest("GET", w.Header().Get("Location"), nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "ada has paid order 17", w.Body.String())
	require.Equal(t, before, cookieOf(jar, "__Host-session"))
	w = jar.Serve(pages, httptest.NewRequest("GET", "/done", nil))
	require.Equal(t, http.StatusNotFound, w.Code, "it is told once")

	forged := httptest.NewRequest("POST", "/paid", strings.NewReader("order=17"))
	forged.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w = httptest.NewRecorder()
	pages.ServeHTTP(w, forged)
	require.Equal(t, http.StatusForbidden, w.Code, "nobody asked for it in this browser")
}

func cookieOf(jar *sessiontest.Jar, name string) string {
	r := httptest.NewRequest("GET", "https://example.com/", nil)
	for _, c := range jar.Cookies(r.URL) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// allSteps does all that a store is asked for.
func allSteps(t *testing.T, store session.Store) {
	t.Helper()
	app := kit.New(t, session.Config{MaxPerUser: 2}, store)
	b := app.BrowserWith(app.Start())
	for _, do := range []func(*session.Session){
		func(s *session.Session) { s.Set("n", 1) }, kit.CountUp, kit.Regenerate, kit.LoginAda, kit.LoginAda, kit.LoginAda,
		kit.Regenerate, func(s *session.Session) { _ = s.RenameUser("eve") }, kit.Logout,
	} {
		resp := b.Do(do)
		requireStatus(t, http.StatusOK, resp, app)
	}
	for range 4 {
		app.Login("ada")
	}
	app.Clock.Advance(10 * time.Minute)
	require.Len(t, app.Listed("ada"), 2)
	app.Overtaken(app.Login("ada"), kit.CountUp, kit.CountUp)
	require.NoError(t, app.Manager().Revoke(t.Context(), "ada", app.Listed("ada")[0].ID))
	require.Equal(t, 1, app.RevokeUser("ada"))

	sealed := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne).WithRevocations(store))
	cookie := sealed.Login("ada")
	sealed.RevokeUser("ada")
	require.True(t, sealed.Dead(cookie))
	cookie = sealed.Login("ada")
	sealed.Do(cookie, kit.Logout)
	require.True(t, sealed.Dead(cookie))
	require.NotContains(t, app.Log()+sealed.Log(), "lacks")
}

func TestField40_TheRightsThatAreListed(t *testing.T) {
	sessions := rightsOf(t, "sessions")
	server := redistest.Start(t)
	t.Run("sessions", func(t *testing.T) {
		url := redisUser(t, server, "sessions", sessions)
		allSteps(t, kit.OpenRedisAt(t, url, session.RedisOptions{}))
		server.MustDo("SCRIPT", "FLUSH")
		allSteps(t, kit.RedisOn(t, fromURL(t, url), session.RedisOptions{}))
	})
	t.Run("WaitReplicas", func(t *testing.T) {
		follow(t, server)
		url := redisUser(t, server, "waiting", sessions+" "+rightsOf(t, "`WaitReplicas`, in addition"))
		allSteps(t, kit.OpenRedisAt(t, url, session.RedisOptions{WaitReplicas: 1}))
	})
	t.Run("NearCache", func(t *testing.T) {
		url := redisUser(t, server, "near", sessions+" "+rightsOf(t, "`NearCache`, in addition"))
		allSteps(t, kit.OpenRedisAt(t, url, session.RedisOptions{NearCache: session.NearCache{MaxEntries: 10, MaxStaleness: time.Second}}))
	})
	t.Run("eviction", func(t *testing.T) {
		evicting := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
		url := redisUser(t, evicting, "app", sessions+" "+rightsOf(t, "a warning if the server may evict, in addition"))
		require.Contains(t, defaultLog(t, func() { kit.OpenRedisAt(t, url, session.RedisOptions{}) }), "set maxmemory-policy to noeviction")
	})
	t.Run("cluster", func(t *testing.T) {
		nodes := redistest.Cluster(t, 3, 0)
		for _, node := range nodes {
			redisUser(t, node, "app", sessions+" "+rightsOf(t, "a cluster, in addition"))
		}
		url := "redis://app:secret@" + nodes[0].Addr + "?addr=" + nodes[1].Addr
		allSteps(t, kit.OpenRedisAt(t, url, session.RedisOptions{}))
		client := redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: []string{nodes[0].Addr}, Username: "app", Password: "secret", ContextTimeoutEnabled: true,
		})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		allSteps(t, kit.RedisOn(t, client, session.RedisOptions{}))
	})
}

// No right is listed that is not needed, and the one that is missing is named.
func TestField40_NoRightTooMany(t *testing.T) {
	server := redistest.Start(t)
	rights := strings.Fields(rightsOf(t, "sessions"))
	for i, right := range rights {
		rest := append(append([]string{}, rights[:i]...), rights[i+1:]...)
		_, err := session.OpenRedisStore(t.Context(), redisUser(t, server, "app", strings.Join(rest, " ")), session.RedisOptions{})
		name, _, _ := strings.Cut(right, "|")
		require.ErrorContains(t, err, "lacks rights: "+name)
	}
}

// The documentation of RedisStore lists the same rights.
func TestField40_TheRightsAreTheSameInBothPlaces(t *testing.T) {
	source, err := os.ReadFile("../../redis_store.go")
	require.NoError(t, err)
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "\n//", "")), " ")
	text, _, _ = strings.Cut(text, "type RedisStore struct")
	for _, feature := range []string{
		"sessions", "`WaitReplicas`, in addition", "`NearCache`, in addition", "a warning if the server may evict, in addition", "a cluster, in addition",
	} {
		for right := range strings.FieldsSeq(rightsOf(t, feature)) {
			require.Contains(t, text, strings.TrimSuffix(right, "."))
		}
	}
}

func TestField41_SecretsThatAPersonWouldTypeAreRefused(t *testing.T) {
	for _, typed := range []string{strings.Repeat("12345678", 4), strings.Repeat("ab", 20), "password-password-password-password"} {
		t.Setenv("SECRET_KEY", typed)
		_, err := session.SecretsFromEnv("SECRET_KEY")
		require.ErrorIs(t, err, session.ErrWeakSecret, typed)
		require.NotContains(t, err.Error(), typed)
		for name, newStore := range kit.CookieStores {
			_, err := newStore([]byte(typed))
			require.ErrorIs(t, err, session.ErrWeakSecret, name)
			_, err = newStore(kit.SecretOne, []byte(typed))
			require.ErrorIs(t, err, session.ErrWeakSecret, name)
		}
	}
}

// What CookieStore's documentation says that it can't hold: an older copy of a live session's cookie is accepted.
func TestField42_AnOlderCopyGoesBack(t *testing.T) {
	app := kit.New(t, session.Config{}, kit.SealedWithList(t))
	b := app.BrowserWith(app.Login("ada"))
	copied := b.Copy()
	b.Must(kit.CountUp)
	b.Must(kit.CountUp)
	require.Equal(t, 2, kit.Read[int](b, "counter"))
	require.Zero(t, kit.Read[int](copied, "counter"))
	b.Must(kit.Regenerate)
	require.True(t, copied.SignedOut(), "a new ID ends the copies")
	requireDocumented(t, "../../cookie_store.go", "An older copy of a live session's cookie is accepted")
	requireDocumented(t, "../../docs/security.md", "an older copy of a live session's cookie")
}

func requireDocumented(t *testing.T, file, words string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	plain := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\n//", "\n")), " ")
	require.True(t, strings.Contains(plain, words), "%s does not say %q", file, words)
}

func TestField43_GorillasPairOfKeysIsRefused(t *testing.T) {
	hash, block := make([]byte, 64), make([]byte, 32)
	for i := range hash {
		hash[i] = byte(i*37 + i*i)
	}
	for i := range block {
		block[i] = byte(i*91 + i*i + 7)
	}
	for name, newStore := range kit.CookieStores {
		_, err := newStore(hash, block)
		require.ErrorIs(t, err, session.ErrWeakSecret, name)
		require.ErrorContains(t, err, "hash key and block key", name)
		require.ErrorContains(t, err, "give one secret", name)
	}
}
