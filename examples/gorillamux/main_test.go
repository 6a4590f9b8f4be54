package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

func TestBasket(t *testing.T) {
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
	response, err := client.Get(server.URL + "/basket")
	assert.Equal(t, "0 in the basket: \n", read(response, err))
	assert.Empty(t, response.Cookies(), "looking creates no session")

	assert.Equal(t, "1 in the basket: tea\n", read(client.Post(server.URL+"/basket/tea", "", nil)))
	assert.Equal(t, "2 in the basket: tea, oat biscuits\n", read(client.Post(server.URL+"/basket/oat%20biscuits", "", nil)))
	assert.Equal(t, "Bought: tea, oat biscuits\n0 in the basket: \n", read(client.Post(server.URL+"/checkout", "", nil)))
	assert.Equal(t, "0 in the basket: \n", read(client.Get(server.URL+"/basket")))
}
