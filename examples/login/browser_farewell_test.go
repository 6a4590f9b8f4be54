package main

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// A logout that has the browser clear the site's data, and says good-bye on the next page: the cookie with the message, which
// the same response sets, outlives the clearing.
func TestBrowserKeepsTheFarewell(t *testing.T) {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{ClearSiteData: true})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /in", func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, session.FromContext(r.Context()).Login("ada"))
	})
	mux.HandleFunc("GET /out", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		assert.NoError(t, s.Destroy())
		s.Flash("info", "good-bye")
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /gone", func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, session.FromContext(r.Context()).Destroy())
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		_, _ = fmt.Fprintf(w, "%s %v", s.User(), s.Flashes())
	})
	b := (&plainSite{base: serveOnLocalhost(t, sessions.Middleware(mux))}).browser(t)
	b.open("/in")
	b.open("/")
	assert.Contains(t, b.text(), "ada")
	b.open("/out")
	assert.Contains(t, b.text(), "good-bye")
	assert.NotContains(t, b.text(), "ada")

	b.open("/in")
	b.open("/gone")
	assert.Nil(t, b.sessionCookie())
}
