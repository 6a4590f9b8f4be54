package redistest

import (
	"cmp"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// Spawn starts a process that ends with this one at the latest. It returns a channel that is closed when the process
// has ended.
func Spawn(cmd *exec.Cmd, dir string) (<-chan struct{}, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	leash, err := hold(cmd.Process.Pid, dir)
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended does not matter: tests kill it
		_, _ = io.WriteString(leash, "\n")
		_ = leash.Close()
		close(exited)
	}()
	return exited, nil
}

// hold starts a shell that watches over the process. When this process has ended, the shell's input ends: then it kills
// the process and removes the directory. That is needed because cleanup functions do not run when a test times out or
// is interrupted, and servers would pile up. If the shell reads a line, it ends and does nothing.
func hold(pid int, dir string) (io.WriteCloser, error) {
	const script = `trap '' INT TERM HUP; read -r _ || { kill -9 "$1"; sleep 1; rm -rf "$2"; }`
	shell := exec.Command("/bin/sh", "-c", script, "sh", strconv.Itoa(pid), dir)
	leash, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := shell.Start(); err != nil {
		return nil, err
	}
	go func() { _ = shell.Wait() }()
	return leash, nil
}

// program returns the server's program.
func program() string { return cmp.Or(os.Getenv("REDIS_SERVER"), "redis-server") }

// announce makes the output of a test run name the version only once for each package.
var announce sync.Once

// version returns the output of the program's --version, for example "Redis server v=7.0.15 ...".
var version = sync.OnceValues(func() (string, error) {
	out, err := exec.Command(program(), "--version").Output()
	return strings.TrimSpace(string(out)), err
})

// before7 reports whether the server is Redis 6 or older.
func before7() bool {
	text, _ := version()
	_, number, found := strings.Cut(text, " v=")
	major, _, _ := strings.Cut(number, ".")
	n, err := strconv.Atoi(major)
	return found && err == nil && n < 7
}
