package session_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
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

// What is given up is not done later by the client: not over what was saved since, and not over a login that took its place.
func TestGuarantee06_GivenUpForGood(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	store, err := session.OpenRedisStore(t.Context(), proxy.URL(), session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	site := newSite(t, store, session.Config{StoreTimeout: 300 * time.Millisecond, MaxPerUser: 1})
	patient := newSiteAt(t, site.clock, store, session.Config{MaxPerUser: 1})
	v, other := patient.visitor(), patient.visitor()
	v.must(func(s *session.Session) { s.Set("n", 0) })
	other.must(func(s *session.Session) { s.Set("n", 0) })
	v.site, other.site = site, site

	var ready, ended sync.WaitGroup
	hung := make(chan struct{})
	ready.Add(20)
	for i := range 20 { // some of which go together
		ended.Go(func() {
			resp := []*visitor{v, other}[i%2].copied().do(func(s *session.Session) {
				s.Has("n")
				ready.Done()
				<-hung
				if i%2 == 0 {
					s.Set("n", i)
				} else {
					_ = s.Login("ada")
				}
			})
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		})
	}
	ready.Wait()
	proxy.Set(redistest.Hang)
	close(hung)
	ended.Wait()
	proxy.Set(redistest.Pass)
	v.site, other.site = patient, patient
	v.must(func(s *session.Session) { s.Set("n", 100) })
	other.signIn("ada")
	for range 40 { // what a client sends again, it sends within two seconds
		require.Equal(t, 100, read[int](v, "n"))
		require.False(t, other.signedOut())
		time.Sleep(50 * time.Millisecond)
	}
}

// A URL may leave all waiting to the contexts: a batch does not wait for longer than what is in it.
func TestGuarantee06_NoTimeoutsButTheContexts(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Start(t))
	store, err := session.OpenRedisStore(t.Context(), proxy.URL()+"?read_timeout=0&write_timeout=0", session.RedisOptions{})
	require.NoError(t, err)
	load := func(within time.Duration) (failed int32) {
		var count atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), within)
				defer cancel()
				if _, err := store.Load(ctx, session.NewToken("none", "")); !errors.Is(err, session.ErrNotFound) {
					count.Add(1)
				}
			})
		}
		all.Wait()
		return count.Load()
	}
	require.Zero(t, load(time.Minute))
	proxy.Set(redistest.Hang)
	require.EqualValues(t, 50, load(200*time.Millisecond))
	proxy.Set(redistest.Pass)
	require.Eventually(t, func() bool { return load(time.Second) == 0 }, faultBack, time.Millisecond)
	require.NoError(t, store.Close())
}

// A server that has become a replica says so to each command, in a batch too, and the client then looks for another.
func TestGuarantee06_ReadOnlyInABatch(t *testing.T) {
	before, after := redistest.Start(t), redistest.Start(t)
	moving := redistest.ProxyTo(t, before.Addr)
	store, err := session.OpenRedisStore(t.Context(), moving.URL(), session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	site := newSite(t, store, session.Config{})
	begin := func(requests int) (failed int32) {
		var count atomic.Int32
		var all sync.WaitGroup
		for i := range requests {
			all.Go(func() {
				if i%10 != 0 { // most batches begin with a read, by which the client judges them
					_, _ = store.Load(t.Context(), session.NewToken("none", ""))
				} else if site.visitor().do(func(s *session.Session) { s.Set("n", 1) }).StatusCode != http.StatusOK {
					count.Add(1)
				}
			})
		}
		all.Wait()
		return count.Load()
	}
	require.Zero(t, begin(100))
	host, port, err := net.SplitHostPort(after.Addr)
	require.NoError(t, err)
	before.MustDo("REPLICAOF", host, port)
	moving.MoveTo(after.Addr)
	require.Less(t, begin(100), int32(5), "few meet nothing but old connections")
	require.Eventually(t, func() bool { return begin(100) == 0 }, faultBack, time.Millisecond)
}

func TestRedis_NearCacheKnowsWhenAContextHasEnded(t *testing.T) {
	store := redisStore(t, redistest.Start(t), session.RedisOptions{NearCache: session.NearCache{MaxEntries: 10, MaxStaleness: time.Hour}})
	v := newSite(t, store, session.Config{}).visitor()
	v.must(func(s *session.Session) { s.Set("n", 1) })
	token := session.NewToken(v.view().id, "")
	ctx := session.WithClock(t.Context(), v.site.clock.Now)
	for range 3 {
		_, err := store.Load(ctx, token)
		require.NoError(t, err)
	}
	ended, end := context.WithCancel(ctx)
	end()
	_, err := store.Load(ended, token)
	require.ErrorIs(t, err, context.Canceled)
}
