package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

func TestVisits(t *testing.T) {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	server := httptest.NewTLSServer(routes(sessions))
	defer server.Close()
	client := server.Client()
	client.Jar, err = cookiejar.New(nil)
	require.NoError(t, err)

	read := func(response *http.Response, err error) string {
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		assert.Equal(t, http.StatusOK, response.StatusCode)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	read(client.Get(server.URL + "/healthz"))
	assert.Equal(t, "Visits: 1\n", read(client.Get(server.URL)))

	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			response, err := client.Get(server.URL)
			if assert.NoError(t, err) {
				_ = response.Body.Close()
			}
		})
	}
	all.Wait()
	assert.Equal(t, "Visits: 22\n", read(client.Get(server.URL)))
	assert.Equal(t, "Visits: 1\n", read(client.Post(server.URL+"/forget", "", nil)), "and back on the page")
}
