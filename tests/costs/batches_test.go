package costs_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

var readsProcessed = regexp.MustCompile(`total_reads_processed:(\d+)`)

// reads returns how often the server has read from a connection.
func reads(t *testing.T, server *redistest.Server) int {
	n, err := strconv.Atoi(readsProcessed.FindStringSubmatch(server.MustDo("INFO", "stats"))[1])
	require.NoError(t, err)
	return n
}

func TestCost_RequestsAtOnceShareRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	v := kit.New(t, session.Config{IdleTimeout: -1}, kit.PatientStore(t, server)).Browser()
	v.Must(func(s *session.Session) { s.Set("a", 1) })
	const requests = 100
	before := reads(t, server)
	kit.Together(t, server, v, requests, func(s *session.Session) { require.True(t, s.Has("a")) })
	require.Less(t, reads(t, server)-before, requests/2)
}
