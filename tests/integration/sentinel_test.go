package integration_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

const downAfter = 500 * time.Millisecond // of the sentinels of redistest

// TestSentinel_MasterKilled: nobody is logged out, no acknowledged change is lost, and service is back in time.
func TestSentinel_MasterKilled(t *testing.T) {
	master, _, sentinels := redistest.Sentinel(t)
	s := newSite(t, sentinels, "master_name="+redistest.SentinelMaster, session.RedisOptions{}, session.Config{StoreTimeout: 300 * time.Millisecond})
	life(t, s, 1)
	switched := make(chan time.Duration, 1)
	outage := underLoad(t, s, 30*time.Second, func() { go func() { switched <- killed(master, sentinels[0]) }() })
	elected := <-switched
	t.Logf("the sentinels took %v, and the longest wait for an answer was %v", elected, outage)
	require.Less(t, outage, max(elected, downAfter+1500*time.Millisecond)+500*time.Millisecond)
	life(t, s, users+2)
}

func TestSentinel_WaitReplicas(t *testing.T) {
	_, replica, sentinels := redistest.Sentinel(t)
	s := newSite(t, sentinels, "master_name="+redistest.SentinelMaster, session.RedisOptions{WaitReplicas: 1}, session.Config{StoreTimeout: 500 * time.Millisecond})
	life(t, s, 1)
	c := s.client()
	c.must("/login/ada")
	replica.Kill()
	watch := redistest.NewStopwatch()
	status, _ := c.ask("/logout")
	require.Equal(t, 503, status, "nobody is told that they are logged out before a replica has it")
	require.Less(t, watch.Stop(), 600*time.Millisecond)
}

// killed kills the master and returns how long the sentinels took to name another.
func killed(master, sentinel *redistest.Server) time.Duration {
	begun := time.Now()
	master.Kill()
	for {
		address, err := sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redistest.SentinelMaster)
		if err == nil && !strings.Contains(address, strconv.Itoa(master.Port)) || time.Since(begun) > time.Minute {
			return time.Since(begun)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestSentinel_MasterStopped: the master hangs (SIGSTOP), and its replica takes over. Every answer comes in time, also those
// given while nobody knows who is the master; and whoever was signed in is, once there is one.
func TestSentinel_MasterStopped(t *testing.T) {
	const storeTimeout = 500 * time.Millisecond
	master, _, sentinels := redistest.Sentinel(t)
	s := newSite(t, sentinels, "master_name="+redistest.SentinelMaster, session.RedisOptions{}, session.Config{StoreTimeout: storeTimeout})
	c := s.client()
	c.must("/login/ada")
	c.must("/set/kept")
	replicated(t, master)
	master.Pause()
	begun, refused := time.Now(), 0
	for {
		watch := redistest.NewStopwatch()
		status, body := c.ask("/")
		require.Less(t, watch.Stop(), storeTimeout+100*time.Millisecond)
		if status == 200 {
			require.Equal(t, "ada[kept]0", body)
			break
		}
		require.Equal(t, 503, status)
		require.Equal(t, "Service Unavailable\n", body)
		refused++
		require.Less(t, time.Since(begun), 20*time.Second)
		time.Sleep(20 * time.Millisecond) // the pace of the user
	}
	require.NotZero(t, refused)
	life(t, s, 1)
}

// replicated waits until the replica has what the master has.
func replicated(t *testing.T, master *redistest.Server) {
	require.Eventually(t, func() bool {
		info := master.MustDo("INFO", "replication")
		_, offset, _ := strings.Cut(info, "master_repl_offset:")
		offset, _, _ = strings.Cut(offset, "\r")
		return strings.Contains(info, ",offset="+offset+",")
	}, 10*time.Second, 10*time.Millisecond)
}
