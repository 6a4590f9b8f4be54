package sqltest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// find returns a program that may be outside PATH.
func find(name string, places ...string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, place := range places {
		found, _ := filepath.Glob(filepath.Join(place, name))
		if len(found) > 0 {
			return slices.Max(found)
		}
	}
	return name // the caller reports that it is missing
}

// servant returns the user that runs the server if this process runs as root: PostgreSQL refuses to run as root. If the
// server's own user does not exist, it returns nobody.
func servant(name string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, candidate := range []string{map[string]string{"PostgreSQL": "postgres", "PgBouncer": "postgres", "MariaDB": "mysql"}[name], "nobody"} {
		u, err := user.Lookup(candidate)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("root can't run %s, and there is no other user for it", name)
}

// own gives a folder to the user that runs the server.
func own(dir, name string) error {
	c, err := servant(name)
	if err != nil || c == nil {
		return err
	}
	return os.Chown(dir, int(c.Uid), int(c.Gid))
}

// command returns a command that runs in the server's folder as the server's user.
func command(s *Server, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.Dir
	if c, err := servant(s.kind.name()); err == nil && c != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c}
	}
	return cmd
}

func runOnce(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, out)
	}
	return nil
}

type postgres struct{}

const postgresPlaces = "/usr/lib/postgresql/*/bin"

func (postgres) name() string { return "PostgreSQL" }

func (postgres) prepare(s *Server) error {
	return runOnce(command(s, find("initdb", postgresPlaces), "-D", s.data(), "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync"))
}

func (postgres) command(s *Server) *exec.Cmd {
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.Port), "-k", s.Dir}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=128MB",
	}, s.settings...) {
		args = append(args, "-c", setting)
	}
	return command(s, find("postgres", postgresPlaces), args...)
}

// ready reads the file in which the server writes its process ID and its state.
func (postgres) ready(s *Server) bool {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	return err == nil && len(lines) > 7 && lines[0] == strconv.Itoa(s.PID()) && strings.TrimSpace(lines[7]) == "ready"
}

func (postgres) dsn(s *Server) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.Port)
}

func (postgres) stopSignal() syscall.Signal { return syscall.SIGINT }

type mariaDB struct{}

func (mariaDB) name() string { return "MariaDB" }

func (mariaDB) prepare(s *Server) error {
	return runOnce(command(s, find("mariadb-install-db", "/usr/local/bin", "/opt/homebrew/bin"), "--no-defaults",
		"--datadir="+s.data(), "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"))
}

func (mariaDB) command(s *Server) *exec.Cmd {
	args := append([]string{"--no-defaults", "--datadir=" + s.data()}, serverArguments(s)...)
	return command(s, find("mariadbd", "/usr/sbin", "/usr/libexec"), append(args, settingArguments(s)...)...)
}

// serverArguments are those that MariaDB and MySQL have in common.
func serverArguments(s *Server) []string {
	return []string{
		"--port=" + strconv.Itoa(s.Port), "--bind-address=127.0.0.1", "--socket=" + filepath.Join(s.Dir, "socket"),
		"--pid-file=" + filepath.Join(s.Dir, "pid"), "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2",
		"--innodb-buffer-pool-size=128M", "--max-connections=300",
	}
}

func settingArguments(s *Server) (args []string) {
	for _, setting := range s.settings {
		args = append(args, "--"+setting)
	}
	return args
}

// mySQL is a program of MySQL. It runs as root where this process is root's: it may lie in a folder that is root's alone.
type mySQL struct {
	mariaDB
	program string
}

func (mySQL) name() string { return "MySQL" }

// prepare makes a root who may come over TCP: without names, "localhost" stands for the socket only.
func (m mySQL) prepare(s *Server) error {
	first := filepath.Join(s.Dir, "first.sql")
	const users = "CREATE USER 'root'@'127.0.0.1';\nGRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n"
	if err := os.WriteFile(first, []byte(users), 0o600); err != nil {
		return err
	}
	return runOnce(m.run(s, "--initialize-insecure", "--init-file="+first))
}

func (m mySQL) command(s *Server) *exec.Cmd {
	args := []string{"--mysqlx=OFF", "--skip-log-bin", "--secure-file-priv=NULL"}
	return m.run(s, append(append(args, serverArguments(s)...), settingArguments(s)...)...)
}

// run returns a command that runs the program on the server's data. The files that it reads lie beside it, or where it was
// installed.
func (m mySQL) run(s *Server, args ...string) *exec.Cmd {
	all := []string{"--no-defaults", "--datadir=" + s.data()}
	if unpacked := filepath.Join(filepath.Dir(m.program), "root", "usr"); isFolder(unpacked) {
		all = append(all, "--basedir="+unpacked)
	}
	if os.Getuid() == 0 {
		all = append(all, "--user=root")
	}
	cmd := exec.Command(m.program, append(all, args...)...)
	cmd.Dir = s.Dir
	return cmd
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// ready reports whether the server sends its greeting, which it does when it takes connections.
func (mariaDB) ready(s *Server) bool {
	text, err := os.ReadFile(filepath.Join(s.Dir, "pid"))
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(s.PID()) {
		return false
	}
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, err = conn.Read(make([]byte, 1))
	return err == nil
}

func (mariaDB) dsn(s *Server) string {
	return fmt.Sprintf("root@tcp(127.0.0.1:%d)/mysql?interpolateParams=true", s.Port)
}

func (mariaDB) stopSignal() syscall.Signal { return syscall.SIGTERM }
