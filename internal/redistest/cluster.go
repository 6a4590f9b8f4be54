package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const slots = 16384

// Cluster starts a Redis Cluster. Each of the masters has this number of replicas. It returns the nodes, the masters
// first: node masters+i*replicas+k is the k-th replica of master i.
func Cluster(tb testing.TB, masters, replicas int) []*Server {
	tb.Helper()
	nodes := make([]*Server, masters*(1+replicas))
	for i := range nodes {
		nodes[i] = Start(tb, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
			"--cluster-node-timeout", "1500", "--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no")
	}
	for i, node := range nodes {
		node.MustDo("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if i < masters {
			first, last := i*slots/masters, (i+1)*slots/masters-1
			node.MustDo("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last))
		}
		if i > 0 {
			node.MustDo("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(nodes[0].Port))
		}
	}
	eventually(tb, "the nodes to know each other", func() bool { return all(nodes, knows(len(nodes))) })
	for i, node := range nodes[masters:] {
		id := nodes[i/max(replicas, 1)].MustDo("CLUSTER", "MYID")
		eventually(tb, "a replica to follow its master", func() bool {
			_, err := node.Do("CLUSTER", "REPLICATE", id)
			return err == nil
		})
	}
	eventually(tb, "the cluster to be well", func() bool { return all(nodes, well) && all(nodes[masters:], inSync) })
	return nodes
}

func all(nodes []*Server, ok func(*Server) bool) bool {
	for _, node := range nodes {
		if !ok(node) {
			return false
		}
	}
	return true
}

func knows(n int) func(*Server) bool {
	return func(s *Server) bool {
		text, err := s.Do("CLUSTER", "INFO")
		return err == nil && strings.Contains(text, fmt.Sprintf("cluster_known_nodes:%d\r", n))
	}
}

func well(s *Server) bool {
	text, err := s.Do("CLUSTER", "INFO")
	return err == nil && strings.Contains(text, "cluster_state:ok")
}

func inSync(s *Server) bool {
	text, err := s.Do("INFO", "replication")
	return err == nil && strings.Contains(text, "role:slave") && strings.Contains(text, "master_link_status:up")
}

// eventually waits until something holds, and fails the test if that takes too long.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.Now().Add(2 * patience)
	for !holds() {
		if time.Now().After(deadline) {
			tb.Fatalf("waited too long for %s", what)
		}
		time.Sleep(poll)
	}
}

// SentinelMaster is the name of the master for the sentinels of Sentinel.
const SentinelMaster = "main"

// Sentinel starts a master, a replica that is in sync, and three sentinels that know both and each other. For
// them, a master that does not answer for half a second is down.
func Sentinel(tb testing.TB) (master, replica *Server, sentinels []*Server) {
	tb.Helper()
	master = Start(tb)
	replica = Start(tb, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port))
	eventually(tb, "the replica to be in sync", func() bool { return inSync(replica) })
	for range 3 {
		sentinels = append(sentinels, startSentinel(tb, master))
	}
	eventually(tb, "the sentinels to know each other and the replica", func() bool {
		return all(sentinels, func(s *Server) bool {
			text, err := s.Do("INFO", "sentinel")
			return err == nil && strings.Contains(text, "status=ok") && strings.Contains(text, "slaves=1,sentinels=3")
		})
	})
	return master, replica, sentinels
}

func startSentinel(tb testing.TB, master *Server) *Server {
	tb.Helper()
	s := &Server{tb: tb, Dir: directory(tb), Port: freePort(tb), sentinel: true}
	s.Addr = "127.0.0.1:" + strconv.Itoa(s.Port)
	tb.Cleanup(func() { s.Kill(); _ = os.RemoveAll(s.Dir) })
	config := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 2\nsentinel down-after-milliseconds %[1]s 500\n"+
		"sentinel failover-timeout %[1]s 2000\nsentinel parallel-syncs %[1]s 1\n", SentinelMaster, master.Port)
	if err := os.WriteFile(filepath.Join(s.Dir, "sentinel.conf"), []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := s.run(); err != nil {
		tb.Fatalf("a sentinel did not start: %v\n%s", err, s.log())
	}
	return s
}
