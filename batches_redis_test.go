package session_test

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// What requests ask of Redis at the same time goes there together.

// together makes requests of one session at once, all of which have begun when a Redis that stood still goes on.
func together(t *testing.T, server *redistest.Server, v *visitor, requests int, do func(*session.Session)) {
	server.Pause()
	var began, ended sync.WaitGroup
	began.Add(requests)
	for range requests {
		ended.Go(func() {
			resp := v.copied().do(func(s *session.Session) { began.Done(); do(s) })
			require.Equal(t, http.StatusOK, resp.StatusCode)
		})
	}
	began.Wait()
	server.Resume()
	ended.Wait()
}

// patientStore is a RedisStore whose client waits for a Redis that stands still.
func patientStore(t *testing.T, server *redistest.Server) session.Store {
	store, err := session.OpenRedisStore(context.Background(), server.URL()+"?read_timeout=1m", session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

var readsProcessed = regexp.MustCompile(`total_reads_processed:(\d+)`)

// reads returns how often the server has read from a connection.
func reads(t *testing.T, server *redistest.Server) int {
	n, err := strconv.Atoi(readsProcessed.FindStringSubmatch(server.MustDo("INFO", "stats"))[1])
	require.NoError(t, err)
	return n
}

func TestCost_RequestsAtOnceShareRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	v := newSite(t, patientStore(t, server), session.Config{IdleTimeout: -1}).visitor()
	v.must(func(s *session.Session) { s.Set("a", 1) })
	const requests = 100
	before := reads(t, server)
	together(t, server, v, requests, func(s *session.Session) { require.True(t, s.Has("a")) })
	require.Less(t, reads(t, server)-before, requests/2)
}

func TestGuarantee06_ScriptFlush_Together(t *testing.T) {
	server := redistest.Start(t)
	v := newSite(t, patientStore(t, server), session.Config{}).visitor()
	v.must(func(s *session.Session) { s.Set("n", 0) })
	server.MustDo("SCRIPT", "FLUSH")
	const requests = 20
	together(t, server, v, requests, func(s *session.Session) {
		session.Key[int]("n").Update(s, func(n int) int { return n + 1 })
	})
	require.Equal(t, requests, read[int](v, "n"))
}

// A command that is given up may be done later all the same, and is not looked at again (which -race would tell).
func TestGuarantee06_GivenUpInABatch(t *testing.T) {
	server := redistest.Start(t)
	store := patientStore(t, server)
	v := newSite(t, store, session.Config{}).visitor()
	v.must(func(s *session.Session) { s.Set("n", 0) })
	hasty := &visitor{newSite(t, store, session.Config{StoreTimeout: 50 * time.Millisecond}), v.cookie}
	server.Pause()
	var ended sync.WaitGroup
	for range 20 {
		ended.Go(func() {
			resp := hasty.copied().do(func(s *session.Session) { s.Set("n", 1) })
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		})
	}
	ended.Wait()
	server.Resume()
	require.Zero(t, read[int](v, "n"), "a failed load is followed by no commit")
}
