package faults_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee06_ScriptFlush_Together(t *testing.T) {
	server := redistest.Start(t)
	v := kit.New(t, session.Config{}, kit.PatientStore(t, server)).Browser()
	v.Must(func(s *session.Session) { s.Set("n", 0) })
	server.MustDo("SCRIPT", "FLUSH")
	const requests = 20
	kit.Together(t, server, v, requests, func(s *session.Session) {
		session.Key[int]("n").Update(s, func(n int) int { return n + 1 })
	})
	require.Equal(t, requests, kit.Read[int](v, "n"))
}

// A command that is given up may be done later all the same, and is not looked at again (which -race would tell).
func TestGuarantee06_GivenUpInABatch(t *testing.T) {
	server := redistest.Start(t)
	store := kit.PatientStore(t, server)
	v := kit.New(t, session.Config{}, store).Browser()
	v.Must(func(s *session.Session) { s.Set("n", 0) })
	hasty := kit.New(t, session.Config{StoreTimeout: 50 * time.Millisecond}, store).BrowserWith(v.Cookie)
	server.Pause()
	var ended sync.WaitGroup
	for range 20 {
		ended.Go(func() {
			resp := hasty.Copy().Do(func(s *session.Session) { s.Set("n", 1) })
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		})
	}
	ended.Wait()
	server.Resume()
	require.Zero(t, kit.Read[int](v, "n"), "a failed load is followed by no commit")
}

// What is given up is not done later by the client: not over what was saved since, and not over a login that took its place.
func TestGuarantee06_GivenUpForGood(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	store := kit.OpenRedisAt(t, proxy.URL(), session.RedisOptions{})
	app := kit.New(t, session.Config{StoreTimeout: 300 * time.Millisecond, MaxPerUser: 1}, store)
	patient := kit.NewAt(t, app.Clock, session.Config{MaxPerUser: 1}, store)
	v, other := patient.Browser(), patient.Browser()
	v.Must(func(s *session.Session) { s.Set("n", 0) })
	other.Must(func(s *session.Session) { s.Set("n", 0) })
	v.App, other.App = app, app

	var ready, ended sync.WaitGroup
	hung := make(chan struct{})
	ready.Add(20)
	for i := range 20 { // some of which go together
		ended.Go(func() {
			resp := []*kit.Browser{v, other}[i%2].Copy().Do(func(s *session.Session) {
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
	v.App, other.App = patient, patient
	v.Must(func(s *session.Session) { s.Set("n", 100) })
	other.SignIn("ada")
	for range 40 { // what a client sends again, it sends within two seconds
		require.Equal(t, 100, kit.Read[int](v, "n"))
		require.False(t, other.SignedOut())
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
	store := kit.OpenRedisAt(t, moving.URL(), session.RedisOptions{})
	app := kit.New(t, session.Config{}, store)
	begin := func(requests int) (failed int32) {
		var count atomic.Int32
		var all sync.WaitGroup
		for i := range requests {
			all.Go(func() {
				if i%10 != 0 { // most batches begin with a read, by which the client judges them
					_, _ = store.Load(t.Context(), session.NewToken("none", ""))
				} else if app.Browser().Do(func(s *session.Session) { s.Set("n", 1) }).StatusCode != http.StatusOK {
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
