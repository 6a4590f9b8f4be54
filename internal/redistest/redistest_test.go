package redistest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session/internal/redistest"
)

func TestServer(t *testing.T) {
	s := redistest.Start(t)
	s.MustDo("SET", "k", "v")
	if got := s.MustDo("GET", "k"); got != "v" {
		t.Fatalf("got %q", got)
	}
	s.Kill()
	if _, err := s.Do("PING"); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart()
	if got := s.MustDo("EXISTS", "k"); got != "0" {
		t.Fatalf("after a restart: %q", got)
	}
	s.Stop()
}

func TestCluster(t *testing.T) {
	nodes := redistest.Cluster(t, 3, 1)
	if len(nodes) != 6 {
		t.Fatalf("%d nodes", len(nodes))
	}
	if got := nodes[0].MustDo("CLUSTER", "INFO"); !strings.Contains(got, "cluster_size:3") {
		t.Fatal(got)
	}
}

func TestSentinel(t *testing.T) {
	master, replica, sentinels := redistest.Sentinel(t)
	master.Kill()
	deadline := time.Now().Add(20 * time.Second)
	for {
		info, err := replica.Do("INFO", "replication") // sentinels cut the connections of what they promote
		if err == nil && strings.Contains(info, "role:master") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no failover")
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = sentinels
}

func TestProxy(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s)
	via := func(args ...string) (string, error) { return redistest.Via(p.Addr, time.Second, args...) }
	if got, err := via("INCR", "n"); err != nil || got != "1" {
		t.Fatal(got, err)
	}
	p.Once(redistest.LoseReply, "INCR")
	if got, err := via("INCR", "n"); err == nil {
		t.Fatal(got)
	}
	if got := s.MustDo("GET", "n"); got != "2" {
		t.Fatal("the server did not act: ", got)
	}
	p.Once(redistest.Reset, "GET")
	if got, err := via("GET", "n"); err == nil {
		t.Fatal(got)
	}
	for _, f := range []redistest.Fault{redistest.Refuse, redistest.Hang} {
		p.Set(f)
		if got, err := redistest.Via(p.Addr, 100*time.Millisecond, "PING"); err == nil {
			t.Fatal(f, got)
		}
	}
	p.Set(redistest.Mute)
	if got, err := redistest.Via(p.Addr, 100*time.Millisecond, "INCR", "n"); err == nil {
		t.Fatal(got)
	}
	if got := s.MustDo("GET", "n"); got != "3" {
		t.Fatal("the server did not act: ", got)
	}
	p.SetDelay(50 * time.Millisecond)
	start := time.Now()
	if got, err := via("PING"); err != nil || got != "PONG" || time.Since(start) < 50*time.Millisecond {
		t.Fatal(got, err, time.Since(start))
	}
	p.Set(redistest.Pass)
	if got, err := via("PING"); err != nil || got != "PONG" {
		t.Fatal(got, err)
	}
}
