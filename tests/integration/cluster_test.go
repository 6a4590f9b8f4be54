package integration_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

// life is one user's: a visit, a login, a change of ID, a logout, each checked, with what the IDs before must not open.
func life(t *testing.T, s *site, i int) {
	c := s.client()
	user := "user" + strconv.Itoa(i)
	c.must("/set/kept")
	c.must("/set/dropped")
	visitor := *c
	c.must("/login/" + user)
	require.Equal(t, user+"[kept]0", c.must("/"))
	require.Equal(t, "[]0", visitor.must("/"), "the ID before the login")
	c.must("/count")
	before := *c
	c.must("/regenerate")
	require.NotEqual(t, before.cookie, c.cookie)
	require.Equal(t, user+"[count kept]1", c.must("/"))
	require.Equal(t, "[]0", before.must("/"), "the ID before the change")
	sessions, err := s.Sessions(t.Context(), user)
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	if i%2 == 0 {
		last := *c
		c.must("/logout")
		require.Equal(t, "[]0", last.must("/"), "the ID before the logout")
		return
	}
	n, err := s.RevokeUser(t.Context(), user)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "[]0", c.must("/"))
}

// TestCluster_SlotsMigrating: 300 lives while slots move from node to node.
func TestCluster_SlotsMigrating(t *testing.T) {
	nodes := redistest.Cluster(t, 3, 1)
	s := newSite(t, nodes, "", session.RedisOptions{}, session.Config{})
	stop, moved := make(chan struct{}), make(chan int)
	go func() { moved <- migrate(t, nodes, stop) }()
	inParallel(300, 8, func(i int) { life(t, s, i) })
	close(stop)
	require.Positive(t, <-moved)
}

// do sends a node a command that can't fail.
func do(t *testing.T, node *redistest.Server, args ...string) string {
	t.Helper()
	reply, err := node.Do(args...)
	assert.NoError(t, err, args)
	return reply
}

// inParallel calls f for 0 to n-1, several at a time.
func inParallel(n, workers int, f func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}

// migrate moves slots of the first master to the second, one after the other, keys and all, and returns how many.
func migrate(t *testing.T, nodes []*redistest.Server, stop <-chan struct{}) (moved int) {
	from, to := nodes[0], nodes[1]
	fromID, toID := do(t, from, "CLUSTER", "MYID"), do(t, to, "CLUSTER", "MYID")
	for slot := range 5000 {
		select {
		case <-stop:
			return moved
		default:
		}
		number := strconv.Itoa(slot)
		do(t, to, "CLUSTER", "SETSLOT", number, "IMPORTING", fromID)
		do(t, from, "CLUSTER", "SETSLOT", number, "MIGRATING", toID)
		for {
			keys, err := from.Do("CLUSTER", "GETKEYSINSLOT", number, "10")
			if !assert.NoError(t, err) || keys == "" {
				break
			}
			for key := range strings.SplitSeq(keys, "\n") {
				do(t, from, "MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), key, "0", "1000")
			}
		}
		for _, node := range []*redistest.Server{to, from, nodes[2]} {
			do(t, node, "CLUSTER", "SETSLOT", number, "NODE", toID)
		}
		moved++
	}
	return moved
}

// TestCluster_MasterKilled: under load, one master is killed and its replica takes over. Nobody is logged out, and no
// acknowledged change is lost.
func TestCluster_MasterKilled(t *testing.T) {
	nodes := redistest.Cluster(t, 3, 1)
	s := newSite(t, nodes, "", session.RedisOptions{}, session.Config{StoreTimeout: 500 * time.Millisecond})
	underLoad(t, s, 15*time.Second, func() { nodes[0].Kill() })
}

const users = 24 // who are logged in under load, user0 to user23

// underLoad has logged-in users count while something happens to the servers. Whoever is told to try again does so.
func underLoad(t *testing.T, s *site, patience time.Duration, happen func()) (worst time.Duration) {
	const counts = 150
	clients := make([]*client, users)
	for i := range clients {
		clients[i] = s.client()
		clients[i].must(fmt.Sprintf("/login/user%d", i))
	}
	var done, longest atomic.Int64
	half := sync.OnceFunc(happen)
	inParallel(users, users, func(i int) {
		for range counts {
			if done.Add(1) == users*counts/3 {
				half()
			}
			_, outage, err := clients[i].insist("/count", patience)
			if !assert.NoError(t, err) {
				return
			}
			for {
				was := longest.Load()
				if int64(outage) <= was || longest.CompareAndSwap(was, int64(outage)) {
					break
				}
			}
			time.Sleep(10 * time.Millisecond) // so that the load lasts as long as the outage
		}
	})
	for i, c := range clients {
		body, _, err := c.insist("/", patience)
		require.NoError(t, err)
		var n int
		_, err = fmt.Sscanf(body, fmt.Sprintf("user%d[count]%%d", i), &n)
		require.NoError(t, err, body)
		require.GreaterOrEqual(t, n, counts, "an acknowledged count is lost")
	}
	return time.Duration(longest.Load())
}

func TestCluster_MaxPerUser(t *testing.T) {
	nodes := redistest.Cluster(t, 3, 0)
	s := newSite(t, nodes, "", session.RedisOptions{}, session.Config{MaxPerUser: 2})
	var clients []*client
	for range 4 {
		c := s.client()
		c.must("/login/ada")
		clients = append(clients, c)
	}
	for i, want := range []string{"[]0", "[]0", "ada[]0", "ada[]0"} {
		require.Equal(t, want, clients[i].must("/"), i)
	}
	sessions, err := s.Sessions(t.Context(), "ada")
	require.NoError(t, err)
	require.Len(t, sessions, 2)
	require.NoError(t, s.Revoke(t.Context(), "ada", sessions[0].ID))
	require.Error(t, s.Revoke(t.Context(), "grace", sessions[1].ID), "not hers")
	n, err := s.RevokeUser(t.Context(), "ada")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// TestCluster_WaitReplicas: with replicas each change waits for one, and without one it fails.
func TestCluster_WaitReplicas(t *testing.T) {
	nodes := redistest.Cluster(t, 1, 1)
	s := newSite(t, nodes, "", session.RedisOptions{WaitReplicas: 1}, session.Config{StoreTimeout: 500 * time.Millisecond})
	life(t, s, 1)
	c := s.client()
	c.must("/login/ada")
	nodes[1].Kill()
	watch := redistest.NewStopwatch()
	status, _ := c.ask("/set/kept")
	require.Equal(t, 503, status)
	require.Less(t, watch.Stop(), 600*time.Millisecond)
	require.Contains(t, c.must("/"), "ada[", "reading goes on")
}
