package main

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

func TestCount(t *testing.T) {
	r, s := sessiontest.NewRequest(http.MethodGet, "/", nil, sessiontest.Seed{Values: sessiontest.Values{"visits": 2}})
	w := httptest.NewRecorder()
	count(w, r)
	assert.Equal(t, "Visits: 3\n", w.Body.String())
	sessiontest.Value(t, s, visits, 3)
}

func TestForget(t *testing.T) {
	r, s := sessiontest.NewRequest(http.MethodPost, "/forget", nil, sessiontest.Seed{Values: sessiontest.Values{"visits": 2}})
	forget(httptest.NewRecorder(), r)
	assert.True(t, s.Destroyed())
}

func TestVisits(t *testing.T) {
	store := sessiontest.NewStore()
	sessions, err := session.New(store, session.Config{})
	require.NoError(t, err)
	handler, browser := routes(sessions), sessiontest.NewJar()
	send := func(method, path string) *httptest.ResponseRecorder {
		return browser.Serve(handler, httptest.NewRequest(method, path, nil))
	}

	assert.Equal(t, http.StatusOK, send(http.MethodGet, "/healthz").Code)
	assert.Empty(t, store.Calls())
	assert.Equal(t, "Visits: 1\n", send(http.MethodGet, "/").Body.String())

	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { assert.Equal(t, http.StatusOK, send(http.MethodGet, "/").Code) })
	}
	all.Wait()
	assert.Equal(t, "Visits: 22\n", send(http.MethodGet, "/").Body.String())

	w := send(http.MethodPost, "/forget")
	assert.Equal(t, http.StatusSeeOther, w.Code)
	assert.Equal(t, "/", w.Header().Get("Location"))
	assert.Equal(t, "Visits: 1\n", send(http.MethodGet, "/").Body.String())
}
