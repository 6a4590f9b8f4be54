package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

func TestPut(t *testing.T) {
	r, s := sessiontest.NewRequest(http.MethodPost, "/basket/milk", nil, sessiontest.Seed{Values: sessiontest.Values{"basket": []string{"tea"}}})
	put(httptest.NewRecorder(), mux.SetURLVars(r, map[string]string{"item": "milk"}))
	sessiontest.Value(t, s, basket, []string{"tea", "milk"})
}

func TestCheckOut(t *testing.T) {
	r, s := sessiontest.NewRequest(http.MethodPost, "/checkout", nil, sessiontest.Seed{Values: sessiontest.Values{"basket": []string{"tea"}}})
	checkOut(httptest.NewRecorder(), r)
	sessiontest.NoValue(t, s, basket)
	assert.Equal(t, []session.Flash{{Category: "success", Message: "Bought: tea"}}, s.Flashes())
}

func TestBasket(t *testing.T) {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	server := httptest.NewServer(routes(sessions))
	defer server.Close()
	client := &http.Client{Jar: sessiontest.NewJar()}

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
	sessiontest.NoSetCookie(t, response.Header) // looking creates no session

	assert.Equal(t, "1 in the basket: tea\n", read(client.Post(server.URL+"/basket/tea", "", nil)))
	sessiontest.Transaction(t, sessions, client.Jar, server.URL, func(s *session.Session) {
		sessiontest.Value(t, s, basket, []string{"tea"})
		basket.Set(s, []string{"tea", "milk"})
	})
	assert.Equal(t, "3 in the basket: tea, milk, oat biscuits\n", read(client.Post(server.URL+"/basket/oat%20biscuits", "", nil)))
	assert.Equal(t, "Bought: tea, milk, oat biscuits\n0 in the basket: \n", read(client.Post(server.URL+"/checkout", "", nil)))
	assert.Equal(t, "0 in the basket: \n", read(client.Get(server.URL+"/basket")))
}
