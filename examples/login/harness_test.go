package main

import (
	"database/sql"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/internal/sqltest"
	"github.com/doorman-go/session/sessiontest"
)

const cookieName = "__Host-session"

// onServer are the stores that the program offers, except the one in the cookie.
var onServer = []string{"memory", "redis", "sql", "postgres"}

// allStores runs a test once for each store that the program offers.
func allStores(t *testing.T, test func(t *testing.T, s *site)) {
	for _, store := range append([]string{"cookie"}, onServer...) {
		t.Run(store, func(t *testing.T) { test(t, newSite(t, store)) })
	}
}

// serverStores leaves the cookie store out.
func serverStores(t *testing.T, test func(t *testing.T, s *site)) {
	for _, store := range onServer {
		t.Run(store, func(t *testing.T) { test(t, newSite(t, store)) })
	}
}

// site is the application with its store and a clock to move.
type site struct {
	*app
	redis string // URL, with that store
	time  *sessiontest.Clock
}

func newSite(t *testing.T, kind string) *site {
	o := options{store: kind}
	switch kind {
	case "redis":
		o.redis = redistest.Start(t).URL()
	case "sql":
		o.db = filepath.Join(t.TempDir(), "login.db")
	case "postgres":
		o.dsn = newPostgresSchema(t)
	}
	users := newTestUsers(t, o.db)
	store, closeStore, err := openStore(t.Context(), o, users.db, logOf(t), io.Discard)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, closeStore()) })
	s := newSiteOf(t, store, users)
	s.redis = o.redis
	return s
}

// The PostgreSQL that all tests share. TestMain stops it.
var (
	sharedPostgres = sync.OnceValues(func() (*sqltest.Server, error) {
		server, err := sqltest.StartPostgres()
		if err == nil {
			stopPostgres = func() { _ = server.Close() }
		}
		return server, err
	})
	stopPostgres = func() {}
	schemas      atomic.Int64
)

// newPostgresSchema returns the data source name of a schema in which there is nothing yet.
func newPostgresSchema(t *testing.T) string {
	server, err := sharedPostgres()
	require.NoError(t, err)
	name := fmt.Sprintf("site_%d", schemas.Add(1))
	db, err := sql.Open("pgx", server.DSN())
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE SCHEMA "+name)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return server.DSN() + "&search_path=" + name
}

func newSiteOn(t *testing.T, store session.Store) *site {
	return newSiteOf(t, store, newTestUsers(t, ""))
}

func newSiteOf(t *testing.T, store session.Store, users *users) *site {
	clock := sessiontest.NewClock()
	return &site{app: newAppOf(t, store, session.Config{Clock: clock.Now}, users), time: clock}
}

// with returns the application with a route of the test's beside it, under the same sessions.
func (s *site) with(pattern string, handler http.HandlerFunc) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("/", s.handler)
	routes.Handle(pattern, s.sessions.Middleware(handler))
	return routes
}

func newTestUsers(t *testing.T, path string) *users {
	users, err := openUsers(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, users.close()) })
	return users
}

func logOf(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func newAppOf(t *testing.T, store session.Store, config session.Config, users *users) *app {
	a, err := newApp(store, config, users, logOf(t))
	require.NoError(t, err)
	return a
}

// person is somebody with a browser, as far as cookies and forms go. Redirects are not followed.
type person struct {
	t     *testing.T
	site  *site
	jar   *sessiontest.Jar
	agent string
}

func (s *site) visitor(t *testing.T) *person {
	return &person{t: t, site: s, jar: sessiontest.NewJar()}
}

// member is a visitor who has signed in.
func (s *site) member(t *testing.T, username, password string) *person {
	p := s.visitor(t)
	require.Equal(t, http.StatusSeeOther, p.login(username, password).status)
	return p
}

func (s *site) ada(t *testing.T) *person { return s.member(t, "ada", "analytical-engine") }

// id returns the ID of this person's session.
func (p *person) id() (id string) {
	p.t.Helper()
	sessiontest.Transaction(p.t, p.site.sessions, p.jar, "/", func(s *session.Session) { id = s.ID() })
	require.NotEmpty(p.t, id)
	return id
}

// answer is a response, read.
type answer struct {
	status   int
	header   http.Header
	location string
	body     string
}

func (p *person) get(path string) answer { return p.send(http.MethodGet, path, nil) }

// post sends a form of names and values.
func (p *person) post(path string, fields ...string) answer {
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return p.send(http.MethodPost, path, form)
}

func (p *person) login(username, password string) answer {
	return p.post("/login", "username", username, "password", password)
}

func (p *person) send(method, path string, form url.Values) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return p.do(r)
}

// do sends a request of the test's own.
func (p *person) do(r *http.Request) answer {
	r.Header.Set("User-Agent", p.agent)
	response := p.jar.Serve(p.site.handler, r).Result()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return answer{response.StatusCode, response.Header, response.Header.Get("Location"), html.UnescapeString(string(body))}
}

// home is where the jar keeps what the application sets.
var home = &url.URL{Path: "/"}

// cookie returns the session's cookie, or "".
func (p *person) cookie() string {
	for _, c := range p.jar.Cookies(home) {
		if c.Name == cookieName {
			return c.Value
		}
	}
	return ""
}

// takeCookie puts a cookie into this browser.
func (p *person) takeCookie(value string) {
	p.jar.SetCookies(home, []*http.Cookie{{Name: cookieName, Value: value, Path: "/", Secure: true}})
}

// signedIn tells whether the account page opens.
func (p *person) signedIn() bool {
	p.t.Helper()
	a := p.get("/account")
	if a.status == http.StatusSeeOther {
		assert.Equal(p.t, "/login?next=/account", a.location)
		assert.NotContains(p.t, a.body, "Lovelace")
		return false
	}
	require.Equal(p.t, http.StatusOK, a.status)
	assert.Contains(p.t, a.body, `id="change-password"`)
	return true
}

var listedID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// otherSessions returns the ids that the page of sessions offers to end.
func (p *person) otherSessions() (ids []string) {
	a := p.get("/account/sessions")
	require.Equal(p.t, http.StatusOK, a.status)
	for _, match := range listedID.FindAllStringSubmatch(a.body, -1) {
		ids = append(ids, match[1])
	}
	return ids
}
