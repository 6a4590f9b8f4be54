//go:build unix

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// With -tls the program serves HTTPS with a certificate of its own, and with -bind a sign-in offers to bind the session.
func TestRunWithTLSAndBinding(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-addr", "localhost:0", "-store", "memory", "-tls", "-bind"}, writer)
		result <- errors.Join(err, writer.Close())
	}()
	lines := bufio.NewReader(reader)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	_, fingerprint, ok := strings.Cut(line, "the SHA-256 of its key is ")
	require.True(t, ok, line)
	assert.Len(t, strings.TrimSpace(fingerprint), 44)
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "serving ")
	require.True(t, ok, line)
	assert.True(t, strings.HasPrefix(base, "https://localhost:"), base)
	drained := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, lines); drained <- err }()

	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.PostForm(base+"/login", url.Values{"username": {"ada"}, "password": {"analytical-engine"}})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusSeeOther, response.StatusCode)
	assert.True(t, strings.HasPrefix(response.Header.Get("Secure-Session-Registration"), "(ES256 RS256);path="))
	assert.Equal(t, cookieName, response.Cookies()[0].Name)

	transport.CloseIdleConnections()
	cancel()
	assert.NoError(t, errors.Join(<-result, <-drained))
}
