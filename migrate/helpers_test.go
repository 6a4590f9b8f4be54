package migrate_test

import (
	"encoding/gob"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/migrate"
)

// As applications do for what they keep in the old libraries' sessions.
func init() { gob.Register(time.Time{}) }

// adopter is what FromSCS and FromGorilla return.
type adopter = func(*http.Request) (*session.Adopted, error)

// keepAll is the Convert that many applications need: all values stay, and the user is one of them.
func keepAll(values map[string]any, a *session.Adopted) error {
	a.User, _ = values["user"].(string)
	a.AuthenticatedAt, _ = values["since"].(time.Time)
	delete(values, "user")
	delete(values, "since")
	a.Values = values
	return nil
}

// requestWith is a request with cookies.
func requestWith(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

// cookieNamed returns the cookie that an answer sets.
func cookieNamed(t *testing.T, w *httptest.ResponseRecorder, name string) *http.Cookie {
	t.Helper()
	for _, c := range w.Result().Cookies() {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "no cookie is set", name)
	return nil
}

// writeSCS has scs itself write a session, in its middleware, and returns the cookie.
func writeSCS(t *testing.T, manager *scs.SessionManager, write func(*http.Request)) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	h := manager.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { write(r) }))
	h.ServeHTTP(w, requestWith())
	require.Equal(t, http.StatusOK, w.Code)
	return cookieNamed(t, w, manager.Cookie.Name)
}

// readSCS has scs read a value of a session.
func readSCS(manager *scs.SessionManager, cookie *http.Cookie, key string) (value any) {
	h := manager.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		value = manager.Get(r.Context(), key)
	}))
	h.ServeHTTP(httptest.NewRecorder(), requestWith(cookie))
	return value
}

const gorillaName = "old"

// writeGorilla has gorilla write a session, and returns the cookie.
func writeGorilla(t *testing.T, store sessions.Store, write func(*sessions.Session)) *http.Cookie {
	t.Helper()
	r, w := requestWith(), httptest.NewRecorder()
	s, err := store.Get(r, gorillaName)
	require.NoError(t, err)
	write(s)
	require.NoError(t, s.Save(r, w))
	return cookieNamed(t, w, gorillaName)
}

// requireAdopted asks for the session of a cookie, which must be there.
func requireAdopted(t *testing.T, adopt adopter, cookie *http.Cookie) *session.Adopted {
	t.Helper()
	a, err := adopt(requestWith(cookie))
	require.NoError(t, err)
	require.NotNil(t, a)
	return a
}

// requireNothing asks for a session where no cookie names one.
func requireNothing(t *testing.T, adopt adopter, cookies ...*http.Cookie) {
	t.Helper()
	a, err := adopt(requestWith(cookies...))
	require.NoError(t, err)
	require.Nil(t, a)
}

// requireRefused asks for a session that can't be taken over: there is none, or it can't be read.
func requireRefused(t *testing.T, adopt adopter, cookie *http.Cookie) (*session.Adopted, error) {
	t.Helper()
	a, err := adopt(requestWith(cookie))
	require.ErrorIs(t, err, session.ErrNotFound)
	return a, err
}

// requireFailure asks a store that does not answer.
func requireFailure(t *testing.T, adopt adopter, cookie *http.Cookie) (*session.Adopted, error) {
	t.Helper()
	a, err := adopt(requestWith(cookie))
	require.Error(t, err)
	require.NotErrorIs(t, err, session.ErrNotFound)
	return a, err
}

// requireNamed asserts that a session is named beside an error, as before: it may have been taken over since.
func requireNamed(t *testing.T, before, a *session.Adopted) {
	t.Helper()
	require.NotNil(t, a)
	assert.Equal(t, before.Token, a.Token)
	assert.Equal(t, before.Cookies, a.Cookies)
	assert.Equal(t, before.Forget == nil, a.Forget == nil)
}

var _ migrate.Convert = keepAll
