// Package sqltest starts SQL servers for tests: PostgreSQL, PgBouncer, MariaDB and MySQL, on free ports, with their data
// in a temporary folder. A power cut would lose their data, but they are quick.
package sqltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/doorman-go/session/internal/redistest"
)

const (
	patience = time.Minute // for a server to start or stop on a busy machine
	poll     = 10 * time.Millisecond
	attempts = 5 // to find a port that nobody else takes meanwhile
)

// Server is one server process and its data.
type Server struct {
	Dir  string
	Port int

	kind     kind
	settings []string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited <-chan struct{}
}

// kind has the differences between the servers.
type kind interface {
	name() string
	prepare(s *Server) error     // makes the data folder
	command(s *Server) *exec.Cmd // runs the server in the foreground
	ready(s *Server) bool        // reports whether this process takes connections
	dsn(s *Server) string
	stopSignal() syscall.Signal // for an orderly end that does not wait for clients
}

// StartPostgres starts PostgreSQL. Settings are as in its configuration file, "name=value". The error says what is missing.
func StartPostgres(settings ...string) (*Server, error) { return start(postgres{}, settings) }

// StartMariaDB starts MariaDB. Settings are as on its command line without the dashes, "name=value".
func StartMariaDB(settings ...string) (*Server, error) { return start(mariaDB{}, settings) }

// StartMySQL starts the program of MySQL that the variable MYSQL_SERVER names, or MariaDB where it is not set. Settings are as
// for StartMariaDB.
func StartMySQL(settings ...string) (*Server, error) { return start(mySQLKind(), settings) }

// MySQLName returns the name of what StartMySQL starts.
func MySQLName() string { return mySQLKind().name() }

func mySQLKind() kind {
	if program := os.Getenv("MYSQL_SERVER"); program != "" {
		return mySQL{program: program}
	}
	return mariaDB{}
}

func start(k kind, settings []string) (*Server, error) {
	dir, err := os.MkdirTemp("", "sqltest") // short: sockets have paths of at most 107 bytes
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, kind: k, settings: settings}
	if err := s.launch(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start; make deps installs it: %w\n%s", k.name(), err, s.log()), s.Close())
	}
	return s, nil
}

func (s *Server) launch() (err error) {
	if err := own(s.Dir, s.kind.name()); err != nil {
		return err
	}
	if err := s.kind.prepare(s); err != nil {
		return err
	}
	for range attempts {
		if s.Port, err = redistest.FreePort(); err != nil {
			return err
		}
		if err = s.run(); err == nil {
			return nil
		}
	}
	return err
}

// run starts the process and waits until it takes connections.
func (s *Server) run() error {
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := s.kind.command(s)
	cmd.Stdout, cmd.Stderr = log, log
	exited, err := redistest.Spawn(cmd, s.Dir)
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
		if s.kind.ready(s) {
			return nil
		}
		time.Sleep(poll)
	}
	return errors.Join(errors.New("it does not answer"), s.Kill())
}

func (s *Server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	return string(text[max(len(text)-2000, 0):])
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

// DSN returns the data source name of an administrator, for pgx or go-sql-driver.
func (s *Server) DSN() string { return s.kind.dsn(s) }

// Addr returns the address.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// PID returns the process ID.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Stop ends the server in an orderly way, with the connections cut, and waits for it.
func (s *Server) Stop() error { return s.end(s.kind.stopSignal()) }

// Kill ends the server at once and waits for it. Committed data is there again after Restart.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Pause stops the process. Connections stay open. PostgreSQL has a process for each connection, and these go on.
func (s *Server) Pause() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *Server) Resume() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

func (s *Server) end(signal syscall.Signal) error {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	select {
	case <-exited:
		return nil
	default:
		_ = cmd.Process.Signal(signal)
	}
	select {
	case <-exited:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the %s process %d did not end", s.kind.name(), cmd.Process.Pid)
	}
}

// Restart starts the server again on its port and its data, after Stop or Kill.
func (s *Server) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(poll) {
		if err = s.run(); err == nil { // child processes of the killed server may still run
			return nil
		}
	}
	return fmt.Errorf("%s did not start again: %w\n%s", s.kind.name(), err, s.log())
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	err := s.Stop()
	if err != nil {
		err = errors.Join(err, s.Kill())
	}
	return errors.Join(err, os.RemoveAll(s.Dir))
}
