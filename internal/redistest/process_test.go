package redistest_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session/internal/redistest"
)

// A test that times out or is interrupted runs no cleanup, as here the child that this test starts.
func TestServer_EndsWithTheProcess(t *testing.T) {
	if os.Getenv("REDISTEST_CHILD") != "" {
		s := redistest.Start(t)
		s.Pause()
		fmt.Println(s.Addr, s.Dir)
		os.Exit(0)
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "REDISTEST_CHILD=1")
	out, err := child.Output()
	if err != nil {
		t.Fatal(err)
	}
	addr, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, missing := os.Stat(dir)
		conn, refused := net.Dial("tcp", addr)
		if missing != nil && refused != nil {
			return
		}
		if refused == nil {
			_ = conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("server %s or its directory %s is still there", addr, dir)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestServer_StopWakesAPausedServer(t *testing.T) {
	s := redistest.Start(t)
	s.Pause()
	s.Stop()
	s.Restart()
	if got := s.MustDo("PING"); got != "PONG" {
		t.Fatalf("got %q", got)
	}
}
