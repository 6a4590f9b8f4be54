package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// A sign-in is counted, and logged as before.
func TestMetrics_CountASignIn(t *testing.T) {
	store, config := session.NewMemoryStore(), session.Config{}
	metrics := newMetrics(store, &config)
	a := newAppOf(t, store, config, newTestUsers(t, ""))
	h := a.sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, session.FromContext(r.Context()).Login("ada"))
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
	w := httptest.NewRecorder()
	metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, w.Body.String(), `session_events_total{kind="logged in",reason=""} 1`)
	require.Contains(t, w.Body.String(), `session_operation_duration_seconds_count{kind="commit",result="ok",store="MemoryStore"} 1`)
}

func TestMetrics_AreServedOnAnAddressOfTheirOwn(t *testing.T) {
	var output bytes.Buffer
	config := session.Config{}
	stop, err := startMetrics(t.Context(), "127.0.0.1:0", session.NewMemoryStore(), &config, &output)
	require.NoError(t, err)
	resp, err := http.Get(regexp.MustCompile(`http://\S+`).FindString(output.String()))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, stop())

	_, err = startMetrics(t.Context(), "127.0.0.1:-1", session.NewMemoryStore(), &config, &output)
	require.Error(t, err)
	stop, err = startMetrics(context.Background(), "", session.NewMemoryStore(), &config, &output)
	require.NoError(t, err)
	require.NoError(t, stop())
}
