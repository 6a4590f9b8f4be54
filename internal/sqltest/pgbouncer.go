package sqltest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// StartPgBouncer starts PgBouncer in front of a PostgreSQL. Each transaction may use another connection, so two
// statements of one client may go to two processes of the server.
func StartPgBouncer(server *Server) (*Server, error) { return start(pgBouncer{server}, nil) }

type pgBouncer struct{ server *Server }

func (pgBouncer) name() string { return "PgBouncer" }

func (pgBouncer) prepare(*Server) error { return nil }

func (p pgBouncer) command(s *Server) *exec.Cmd {
	config := fmt.Sprintf(`[databases]
postgres = host=127.0.0.1 port=%d user=postgres dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 100
`, p.server.Port, s.Port)
	path := filepath.Join(s.Dir, "pgbouncer.ini")
	_ = os.WriteFile(path, []byte(config), 0o644) //nolint:gosec // the server's user is another one; its absence is reported by the server
	return command(s, find("pgbouncer", "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"), path)
}

// ready reports whether a process listens on the port. The caller checks that it is the right one.
func (pgBouncer) ready(s *Server) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), time.Second)
	return err == nil && conn.Close() == nil
}

func (pgBouncer) dsn(s *Server) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable&default_query_exec_mode=exec", s.Port)
}

func (pgBouncer) stopSignal() syscall.Signal { return syscall.SIGTERM }
