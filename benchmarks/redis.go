package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// server is a redis-server of this program's own, on a free loopback port, that keeps nothing on disk.
type server struct {
	addr    string
	command *exec.Cmd
	dir     string
	admin   *redis.Client
}

func startRedis() (*server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("the benchmarks need redis-server: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "benchmark-redis")
	if err != nil {
		return nil, err
	}
	s := &server{addr: fmt.Sprintf("127.0.0.1:%d", port), dir: dir}
	s.admin = redis.NewClient(&redis.Options{Addr: s.addr})
	s.command = exec.Command(path, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := s.command.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.await(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for {
		err := s.admin.Ping(ctx).Err()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *server) url() string { return "redis://" + s.addr + "/0" }

func (s *server) stop() {
	_ = s.admin.Close()
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	_ = os.RemoveAll(s.dir)
}

// version returns what the server calls itself.
func (s *server) version() string {
	return "Redis " + s.admin.InfoMap(context.Background(), "server").Item("Server", "redis_version")
}

// time returns the processor time that this process and the server have taken.
func (s *server) time() time.Duration {
	info := s.admin.InfoMap(context.Background(), "cpu")
	total := ownTime()
	for _, kind := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, _ := strconv.ParseFloat(info.Item("CPU", kind), 64)
		total += time.Duration(seconds * float64(time.Second))
	}
	return total
}

// ownTime returns the processor time that this process has taken.
func ownTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it takes no argument that could be wrong
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
