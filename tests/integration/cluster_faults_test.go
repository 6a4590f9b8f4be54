package integration_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

// TestCluster_NodeStopped: one node hangs (SIGSTOP). Those whose sessions it has are told so in time, and nobody else is
// concerned; when it goes on, all are who they were.
func TestCluster_NodeStopped(t *testing.T) {
	const storeTimeout, calls = 500 * time.Millisecond, 2 // a load and a commit
	nodes := redistest.Cluster(t, 3, 0)
	s := newSite(t, nodes, "", session.RedisOptions{}, session.Config{StoreTimeout: storeTimeout})
	clients := make([]*client, users)
	for i := range clients {
		clients[i] = s.client()
		clients[i].must(fmt.Sprintf("/login/user%d", i))
		clients[i].must("/set/kept")
	}
	nodes[0].Pause()
	answers := map[int]int{}
	for i, c := range clients {
		watch := redistest.NewStopwatch()
		status, body := c.ask("/")
		require.Less(t, watch.Stop(), storeTimeout+100*time.Millisecond)
		requireAnswer(t, i, status, body)
		answers[status]++
		watch = redistest.NewStopwatch()
		status, _ = c.ask("/set/more")
		require.Less(t, watch.Stop(), calls*(storeTimeout+100*time.Millisecond))
		require.Contains(t, []int{200, 503}, status)
	}
	require.NotZero(t, answers[200], "two nodes are well")
	require.NotZero(t, answers[503], "and one is not")

	nodes[0].Resume()
	resumed := redistest.NewStopwatch()
	defer resumed.Stop()
	for i, c := range clients {
		body, _, err := c.insist("/", 2*time.Second)
		require.NoError(t, err)
		requireAnswer(t, i, 200, body)
	}
	require.Less(t, resumed.Elapsed(), 2*time.Second)
}

// requireAnswer checks that a client is who it was, or gets the error and nothing else.
func requireAnswer(t *testing.T, i, status int, body string) {
	t.Helper()
	if status == 503 {
		require.Equal(t, "Service Unavailable\n", body)
		return
	}
	require.Equal(t, 200, status)
	require.True(t, strings.HasPrefix(body, fmt.Sprintf("user%d[kept", i)), body)
}

// TestCluster_FaultBetweenTheSteps: on a cluster a new ID takes two steps, and the second one does not come about, for
// users in all slots. The old ID is dead, nothing is open, and signing in again works.
func TestCluster_FaultBetweenTheSteps(t *testing.T) {
	nodes := redistest.Cluster(t, 3, 0)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	step := &secondStep{}
	client.AddHook(step)
	store, err := session.NewRedisStore(client, session.RedisOptions{})
	require.NoError(t, err)
	s := newSiteOn(t, store, session.Config{})
	for i := range users {
		user, command := fmt.Sprintf("user%d", i), "/regenerate"
		c := s.client()
		c.must("/login/" + user)
		c.must("/set/kept")
		if i%2 == 0 {
			command = "/login/" + user
		}
		sessions, err := s.Sessions(t.Context(), user)
		require.NoError(t, err)
		require.Len(t, sessions, 1)
		step.old = sessions[0].ID
		status, body := c.ask(command)
		step.old = ""
		require.Equal(t, 503, status)
		require.Equal(t, "Service Unavailable\n", body)
		require.Equal(t, "[]0", c.must("/"), "the old ID")
		sessions, err = s.Sessions(t.Context(), user)
		require.NoError(t, err)
		require.Empty(t, sessions, "an ID in the index is no session")
		c.must("/login/" + user)
		require.Equal(t, user+"[]0", c.must("/"))
		n, err := s.RevokeUser(t.Context(), user)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
}

var errCut = errors.New("cut")

// secondStep is a hook that keeps the second step, the script that writes a session other than the old one, from the server.
type secondStep struct{ old string } // its ID; "" for none

func (s *secondStep) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *secondStep) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if s.old != "" && slices.ContainsFunc(cmds, s.isSecond) {
			for _, cmd := range cmds {
				cmd.SetErr(errCut)
			}
			return errCut
		}
		return next(ctx, cmds)
	}
}

func (s *secondStep) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if s.old != "" && s.isSecond(cmd) {
			cmd.SetErr(errCut)
			return errCut
		}
		return next(ctx, cmd)
	}
}

// isSecond looks at the key: script, hash, number of keys, key.
func (s *secondStep) isSecond(cmd redis.Cmder) bool {
	if !strings.HasPrefix(cmd.Name(), "eval") || len(cmd.Args()) < 4 {
		return false
	}
	key := fmt.Sprint(cmd.Args()[3])
	return key != "session:"+s.old && !strings.HasPrefix(key, "session:user:")
}
