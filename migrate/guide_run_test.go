package migrate_test

import (
	"bytes"
	"encoding/gob"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/migrate"
	"github.com/doorman-go/session/sessiontest"
)

// checkPassword is what the application of the guide has.
func checkPassword(*http.Request) (userID int) { return 7 }

var snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// TestGuide holds docs/migrating.md to code that is compiled and run.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../docs/migrating.md")
	require.NoError(t, err)
	code, err := os.ReadFile("guide_test.go")
	require.NoError(t, err)
	snippets := snippet.FindAllStringSubmatch(string(text), -1)
	require.GreaterOrEqual(t, len(snippets), 6)
	for _, s := range snippets {
		assert.True(t, strings.Contains(string(code), s[1]), "not in guide_test.go:\n%s", s[1])
	}
}

// guideHandler is the new application of the guide.
func guideHandler(manager *session.Manager, page http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign-in", signIn)
	mux.HandleFunc("POST /sign-out", signOut)
	mux.HandleFunc("GET /", page)
	return manager.Middleware(mux)
}

// visit makes one request of a browser, and returns the answer.
func visit(jar *sessiontest.Jar, h http.Handler, method, path string) *httptest.ResponseRecorder {
	return jar.Serve(h, httptest.NewRequest(method, path, nil))
}

// jarWith is a browser that has a cookie of the old program.
func jarWith(c *http.Cookie) *sessiontest.Jar {
	jar := sessiontest.NewJar()
	jar.SetCookies(requestWith().URL, []*http.Cookie{c})
	return jar
}

func TestGuide_FromSCS(t *testing.T) {
	old := newSCS(memstore.NewWithCleanupInterval(0))
	user := writeSCS(t, old, func(r *http.Request) {
		old.Put(r.Context(), "authenticatedUserID", 7)
		old.Put(r.Context(), "signedInAt", time.Now().Add(-time.Minute))
		old.Put(r.Context(), "cart", []string{"tea"})
	})
	visitor := writeSCS(t, old, func(r *http.Request) {
		old.Put(r.Context(), "cart", []string{"milk"})
		old.Put(r.Context(), "returnTo", "/checkout")
		old.Put(r.Context(), "seen", 3)
	})
	manager, err := newFromSCS(session.NewMemoryStore(), old)
	require.NoError(t, err)
	var s *session.Session
	var goods, messages []string
	app := guideHandler(manager, func(_ http.ResponseWriter, r *http.Request) {
		s = session.FromContext(r.Context())
		goods, _ = cart.Get(s)
		messages = takeFlashes(s)
	})

	browser := jarWith(user)
	w := visit(browser, app, "GET", "/")
	assert.Equal(t, "7", s.User())
	assert.Equal(t, []string{"tea"}, goods)
	assert.Equal(t, []string{"cart"}, s.Keys())
	assert.True(t, s.AuthenticatedWithin(2*time.Minute))
	assert.False(t, s.AuthenticatedWithin(30*time.Second))
	assert.Positive(t, cookieNamed(t, w, "__Host-app").MaxAge, "as persistent as it was")
	assert.Equal(t, http.StatusSeeOther, visit(browser, app, "POST", "/sign-out").Code)
	visit(browser, app, "GET", "/")
	assert.Empty(t, s.User())
	assert.Empty(t, goods)
	assert.Equal(t, []string{"You are signed out."}, messages)

	browser = jarWith(visitor)
	w = visit(browser, app, "POST", "/sign-in")
	assert.Equal(t, "/checkout", w.Header().Get("Location"))
	visit(browser, app, "GET", "/")
	assert.Equal(t, "7", s.User())
	assert.Equal(t, []string{"milk"}, goods, "it was named")
	assert.Equal(t, []string{"cart"}, s.Keys(), "and nothing else was")
	assert.Equal(t, []string{"You are signed in."}, messages)
}

func TestGuide_FromGorilla(t *testing.T) {
	gob.Register(userKey)
	old := sessions.NewCookieStore(hashKey)
	r, w := requestWith(), httptest.NewRecorder()
	s, err := old.Get(r, "session-name")
	require.NoError(t, err)
	s.Values[userKey], s.Values["cart"] = "ada", []string{"tea"}
	s.AddFlash("Welcome.")
	require.NoError(t, s.Save(r, w))

	manager, err := newFromGorilla(session.NewMemoryStore(), old)
	require.NoError(t, err)
	var user string
	var goods, messages []string
	app := guideHandler(manager, func(_ http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		goods, _ = cart.Get(s)
		user, messages = s.User(), takeFlashes(s)
	})
	browser := jarWith(cookieNamed(t, w, "session-name"))
	visit(browser, app, "GET", "/")
	assert.Equal(t, "ada", user)
	assert.Equal(t, []string{"tea"}, goods)
	assert.Equal(t, []string{"Welcome."}, messages)
	visit(browser, app, "GET", "/")
	assert.Empty(t, messages, "they are shown once")
}

// tokens stands for the type of a package that is gone: gob has its name from there.
type tokens map[string]string

func TestGuide_OldTypes(t *testing.T) {
	store := sessions.NewCookieStore(hashKey)
	codec := securecookie.New(hashKey, nil).SetSerializer(renamed{})
	value, err := codec.Encode(gorillaName, map[any]any{"user": "ada", "csrf": tokens{"/": "x"}})
	require.NoError(t, err)
	cookie := &http.Cookie{Name: gorillaName, Value: value}
	adopt := migrate.FromGorilla(store, gorillaName, keepAll)
	_, err = requireRefused(t, adopt, cookie)
	require.ErrorContains(t, err, "example.com/csrf.Tokens", "the error names what is missing")
	registerOldTypes()
	a := requireAdopted(t, adopt, cookie)
	assert.Equal(t, "ada", a.User)
	assert.Equal(t, map[string]any{"csrf": map[string]string{"/": "x"}}, a.Values)
}

// renamed writes tokens under the name that they had in their package. Names of one length leave all else in its place.
type renamed struct{ securecookie.GobEncoder }

func (renamed) Serialize(src any) ([]byte, error) {
	gob.RegisterName("example.com/csrf.TOKENS", tokens{})
	b, err := securecookie.GobEncoder{}.Serialize(src)
	return bytes.ReplaceAll(b, []byte("csrf.TOKENS"), []byte("csrf.Tokens")), err
}

// passwords are the accounts of the guide, each with the time at which its password was changed.
type passwords map[string]time.Time

var errNoDatabase = errors.New("the database is down")

func (p passwords) PasswordChangedAt(user string) (at time.Time, found bool, err error) {
	if p == nil {
		return at, false, errNoDatabase
	}
	at, found = p[user]
	return at, found, nil
}

func TestGuide_Checked(t *testing.T) {
	switched := time.Now()
	old := newSCS(memstore.NewWithCleanupInterval(0))
	adopt := func(users accounts, user any) (*session.Adopted, error) {
		cookie := writeSCS(t, old, func(r *http.Request) { old.Put(r.Context(), "user", user) })
		return migrate.FromSCS(old, checked(users, switched, keepAll))(requestWith(cookie))
	}
	users := passwords{"ada": switched.Add(-time.Hour), "grace": switched.Add(time.Hour)}
	a, err := adopt(users, "ada")
	require.NoError(t, err)
	assert.Equal(t, "ada", a.User)
	for _, gone := range []string{"grace", "charles"} {
		_, err = adopt(users, gone)
		require.ErrorIs(t, err, session.ErrNotFound, gone)
	}
	_, err = adopt(passwords(nil), "ada")
	require.ErrorIs(t, err, errNoDatabase)
	require.NotErrorIs(t, err, session.ErrNotFound)
	_, err = adopt(passwords(nil), nil)
	require.NoError(t, err, "a visitor has no password")
}

// storage keeps sessions as a fiber.Storage does.
type storage map[string][]byte

func (s storage) Get(id string) ([]byte, error) { return s[id], nil }

func (s storage) Delete(id string) error {
	delete(s, id)
	return nil
}

func TestGuide_FromFiber(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, gob.NewEncoder(&b).Encode(map[string]any{"user": "ada", "n": 7}))
	kept := storage{"id": b.Bytes(), "broken": []byte("x")}
	adopt := fromFiber(kept)
	a := requireAdopted(t, adopt, &http.Cookie{Name: "session_id", Value: "id"})
	assert.Equal(t, "ada", a.User)
	assert.Equal(t, map[string]any{"n": 7}, a.Values)
	requireNothing(t, adopt)
	requireRefused(t, adopt, &http.Cookie{Name: "session_id", Value: "broken"})
	requireRefused(t, adopt, &http.Cookie{Name: "session_id", Value: "unknown"})
	require.NoError(t, a.Forget(t.Context()))
	gone, _ := requireRefused(t, adopt, &http.Cookie{Name: "session_id", Value: "id"})
	requireNamed(t, a, gone)
}
