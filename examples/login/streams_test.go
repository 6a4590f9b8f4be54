package main

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listen opens the stream of events, and returns what comes on it.
func (p *person) listen(server *httptest.Server) *bufio.Scanner {
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, server.URL+"/session/events", nil)
	require.NoError(p.t, err)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: p.cookie()})
	response, err := server.Client().Do(r)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(p.t, "text/event-stream", response.Header.Get("Content-Type"))
	require.Empty(p.t, response.Header.Values("Set-Cookie"))
	lines := bufio.NewScanner(response.Body)
	require.True(p.t, lines.Scan())
	require.Equal(p.t, ": watching", lines.Text())
	return lines
}

// rest returns what else comes, up to the end of the stream.
func rest(lines *bufio.Scanner) string {
	var all strings.Builder
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
	}
	return all.String()
}

func TestEventsTellHowTheSessionEnded(t *testing.T) {
	for want, end := range map[string]func(p, other *person){
		"revoked": func(_, other *person) { other.post("/account/sessions/revoke-others") },
		"over":    func(p, _ *person) { p.post("/logout") },
		"regenerated": func(p, _ *person) {
			p.post("/account/password", "current", "analytical-engine", "new", "punched-cards")
		},
		"expired": func(p, _ *person) { p.site.time.Advance(time.Hour) },
	} {
		allStores(t, func(t *testing.T, s *site) {
			server := httptest.NewServer(s.handler)
			defer server.Close()
			p, other := s.ada(t), s.ada(t)
			lines := p.listen(server)
			end(p, other)
			assert.Equal(t, "\nevent: ended\ndata: "+want+"\n\n", rest(lines))
		})
	}
}

// A visitor has nothing to watch, and the browser does not ask again.
func TestEventsOfAVisitor(t *testing.T) {
	s := newSite(t, "memory")
	assert.Equal(t, http.StatusNoContent, s.visitor(t).get("/session/events").status)
	assert.Contains(t, s.visitor(t).get("/session/time-left").body, `"signedIn":false`)
}

// Streams do not keep the server from shutting down, and say nothing of the session then.
func TestEventsEndWithTheServer(t *testing.T) {
	s := newSite(t, "memory")
	server := httptest.NewServer(s.handler)
	defer server.Close()
	lines := s.ada(t).listen(server)
	s.closeStreams()
	assert.Equal(t, "\n", rest(lines))
}

// A page that is left open is no use of the session.
func TestPollsDoNotKeepASession(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.ada(t)
		for range 11 {
			s.time.Advance(5 * time.Minute)
			assert.Contains(t, p.get("/session/time-left").body, `"signedIn":true`)
		}
		s.time.Advance(5 * time.Minute)
		assert.False(t, p.signedIn())
	})
}
