// Package redistest starts real Redis servers for tests: on free ports of the loopback interface, in directories of
// their own, stopped by their process ids when the test ends. REDIS_SERVER names the program, which may be Valkey's; the
// default is redis-server.
package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	patience = 15 * time.Second // for a server to start or stop
	poll     = 10 * time.Millisecond
	attempts = 5 // at finding a port that is still free when the server binds it
)

// Server is a running server.
type Server struct {
	Addr string // host:port
	Port int
	Dir  string

	tb       testing.TB
	args     []string
	sentinel bool

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited <-chan struct{}
}

// Start starts a server that keeps nothing on disk. Further arguments are as in its configuration file. If the program
// is missing, the test fails.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	text, err := version()
	if err != nil {
		tb.Fatalf("%s does not start: run make test, or install redis-server: %v", program(), err)
	}
	announce.Do(func() { tb.Log("the servers are", text) })
	s := &Server{tb: tb, Dir: directory(tb), args: args}
	tb.Cleanup(func() { s.Kill(); _ = os.RemoveAll(s.Dir) })
	for range attempts {
		s.Port = freePort(tb)
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
		if err = s.run(); err == nil {
			return s
		}
	}
	tb.Fatalf("%s did not start: %v\n%s", program(), err, s.log())
	return nil
}

// directory is used instead of tb.TempDir, whose long name is too long for some files of a server.
func directory(tb testing.TB) string {
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// FreePort returns a free port. The port 10000 above it, which a cluster's bus uses, is free too. Both are below the
// range for outgoing connections: one of those could take the port while its server is restarted.
func FreePort() (int, error) {
	for range 1000 {
		port := 10240 + rand.IntN(11000) //nolint:gosec // a port is no secret
		if isFree(port) && isFree(port+10000) {
			return port, nil
		}
	}
	return 0, errors.New("no free port was found")
}

func freePort(tb testing.TB) int {
	tb.Helper()
	port, err := FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	return err == nil && l.Close() == nil
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	options := []string{"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--dir", s.Dir, "--logfile", filepath.Join(s.Dir, "log"), "--daemonize", "no"}
	if s.sentinel {
		options = append([]string{filepath.Join(s.Dir, "sentinel.conf"), "--sentinel"}, options...)
	} else {
		options = append(options, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
		if !before7() { // older servers do not start with a setting that they do not know
			options = append(options, "--enable-debug-command", "yes")
		}
	}
	cmd := exec.Command(program(), append(options, s.args...)...)
	exited, err := Spawn(cmd, s.Dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		select {
		case <-exited:
			return errors.New("it exited")
		default:
		}
		if s.answers(cmd.Process.Pid) {
			return nil
		}
		time.Sleep(poll)
	}
	return errors.New("it does not answer")
}

// answers reports whether this process answers on the port. If another test has taken the port first, its server would
// answer.
func (s *Server) answers(pid int) bool {
	info, err := s.Do("INFO", "server")
	if err != nil {
		return strings.HasPrefix(err.Error(), "NOAUTH") // the server has a password, so it is this test's own
	}
	return strings.Contains(info, fmt.Sprintf("process_id:%d\r", pid))
}

func (s *Server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	return string(text[max(len(text)-2000, 0):])
}

// URL returns the server's redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// PID returns the process id.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Stop ends the server in an orderly way (SIGTERM) and waits for it.
func (s *Server) Stop() { s.signal(syscall.SIGTERM, true) }

// Kill ends the server at once (SIGKILL) and waits for it. A server that has ended is left alone.
func (s *Server) Kill() { s.signal(syscall.SIGKILL, true) }

// Pause stops the process (SIGSTOP): connections stay open and nothing is answered.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP, false) }

// Resume lets a paused process go on (SIGCONT).
func (s *Server) Resume() { s.signal(syscall.SIGCONT, false) }

func (s *Server) signal(sig syscall.Signal, wait bool) {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	select {
	case <-exited:
		return
	default:
		_ = cmd.Process.Signal(sig)
	}
	if sig == syscall.SIGTERM {
		_ = cmd.Process.Signal(syscall.SIGCONT) // a paused process would not see it
	}
	if !wait {
		return
	}
	select {
	case <-exited:
	case <-time.After(patience):
		s.tb.Errorf("the Redis process %d did not end", cmd.Process.Pid)
	}
}

// Restart starts the server again on its port, after Stop or Kill, and waits until it answers. Its data is gone.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		s.tb.Fatalf("Redis did not start again on %s: %v\n%s", s.Addr, err, s.log())
	}
}

// Do sends one command and returns its reply as text, each element of an array on a line of its own. It works for
// errors and simple replies. Tests need no others.
func (s *Server) Do(args ...string) (string, error) { return Via(s.Addr, patience, args...) }

// Via sends one command to an address, which may be a Proxy's, as Server.Do does.
func Via(addr string, timeout time.Duration, args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(conn, request(args)); err != nil {
		return "", err
	}
	return reply(bufio.NewReader(conn))
}

// MustDo is Do for a command that can't fail.
func (s *Server) MustDo(args ...string) string {
	s.tb.Helper()
	text, err := s.Do(args...)
	if err != nil {
		s.tb.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return text
}

// request writes a command in the Redis protocol.
func request(args []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b.String()
}

// reply reads one reply.
func reply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 {
		return "", errors.Join(err, errors.New("no reply"))
	}
	kind, text := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return "", errors.New(text)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return "", err
	}
	if kind == '$' {
		buf := make([]byte, n+2)
		_, err := io.ReadFull(r, buf)
		return string(buf[:n]), err
	}
	elements := make([]string, n)
	for i := range elements {
		if elements[i], err = reply(r); err != nil {
			return "", err
		}
	}
	return strings.Join(elements, "\n"), nil
}
