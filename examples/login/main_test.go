//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// program is the program running, its output read line by line.
type program struct {
	command *exec.Cmd
	lines   chan string
	url     *url.URL
	before  []string // what it said before it served
}

// start runs a command in a process group of its own, and waits until it serves.
func start(t *testing.T, environment []string, name string, args ...string) *program {
	p := &program{command: exec.CommandContext(t.Context(), name, args...), lines: make(chan string, 1000)}
	p.command.Env = environment
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.command.Cancel = func() error { return syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) }
	output, err := p.command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.command.Start())
	t.Cleanup(func() { _ = p.command.Cancel() })
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	for line := range p.lines {
		if address, ok := strings.CutPrefix(line, "serving "); ok {
			p.url, err = url.Parse(address)
			require.NoError(t, err)
			return p
		}
		p.before = append(p.before, line)
	}
	t.Fatalf("it ended before it served: %v", p.before)
	return nil
}

// interrupt sends SIGINT to all of the group, as a terminal does.
func (p *program) interrupt(t *testing.T) {
	require.NoError(t, syscall.Kill(-p.command.Process.Pid, syscall.SIGINT))
}

// wait reads what is left of the output, and returns how the program ended.
func (p *program) wait() error {
	for range p.lines { // what it says is of no interest here
	}
	return p.command.Wait()
}

// without returns the environment less a variable.
func without(name string) (environment []string) {
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, name+"=") {
			environment = append(environment, entry)
		}
	}
	return environment
}

func TestGoRunWithoutSecret(t *testing.T) {
	p := start(t, without("SECRET_KEY"), "go", "run", ".", "-addr", "localhost:0")
	assert.Equal(t, []string{"SECRET_KEY is not set: using a random key, so sessions end with this process"}, p.before)
	assert.Equal(t, "localhost", p.url.Hostname())
	response, err := http.Get(p.url.String() + "/healthz")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode)
	p.interrupt(t)
	_ = p.wait() // go run itself says that it was interrupted
}

func buildProgram(t *testing.T) string {
	binary := filepath.Join(t.TempDir(), "login")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(output))
	return binary
}

// A request under way at SIGINT is answered, and the program ends well.
func TestGracefulShutdown(t *testing.T) {
	environment := append(without("SECRET_KEY"), "SECRET_KEY=v3ryL0ngAndOnlyForThisOneTest_8c1f")
	p := start(t, environment, buildProgram(t), "-addr", "localhost:0", "-insecure")
	assert.Empty(t, p.before)

	connection, err := net.Dial("tcp", p.url.Host)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	form := "username=ada&password=analytical-engine"
	_, err = fmt.Fprintf(connection, "POST /login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", p.url.Host, len(form))
	require.NoError(t, err)
	reader := bufio.NewReader(connection)
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} { // the handler has begun to read
		line, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
	p.interrupt(t)
	require.Eventually(t, func() bool {
		another, err := net.Dial("tcp", p.url.Host)
		if err == nil {
			_ = another.Close()
		}
		return err != nil
	}, 10*time.Second, 10*time.Millisecond, "no new connections are taken")

	_, err = io.WriteString(connection, form)
	require.NoError(t, err)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusSeeOther, response.StatusCode)
	assert.Equal(t, "session", response.Cookies()[0].Name, "-insecure gives a cookie without prefix")
	assert.NoError(t, p.wait())
}

func TestRunRefuses(t *testing.T) {
	cases := []struct {
		name   string
		args   []string
		secret string
		text   string
	}{
		{"unknown store", []string{"-store", "paper"}, "", `unknown store "paper": it is cookie, memory, redis, sql or postgres`},
		{"unknown flag", []string{"-colour"}, "", "flag provided but not defined"},
		{"argument", []string{"now"}, "", `unexpected argument "now"`},
		{"plain HTTP and TLS", []string{"-insecure", "-tls"}, "", "-insecure is for plain HTTP"},
		{"plain HTTP and binding", []string{"-insecure", "-bind"}, "", "-insecure is for plain HTTP"},
		{"weak secret", nil, "changeme", "weak secret"},
		{"bad URL", []string{"-store", "redis", "-redis", "http://localhost"}, "", "Redis"},
		{"bad data source name", []string{"-store", "postgres", "-dsn", "postgres://host:port"}, "", "invalid port"},
		{"no PostgreSQL", []string{"-store", "postgres", "-dsn", "postgres://" + unusedAddress(t)}, "", "refused"},
		{"a limit without a list", []string{"-store", "cookie", "-max-per-user", "2"}, "", "MaxPerUser"},
		{"address taken", []string{"-store", "memory", "-addr", "localhost:-1"}, "", "invalid port"},
		{"no database", []string{"-store", "memory", "-db", filepath.Join(t.TempDir(), "missing", "users.db")}, "", "database"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.secret != "" {
				t.Setenv("SECRET_KEY", c.secret)
			}
			var output bytes.Buffer
			err := run(t.Context(), c.args, &output)
			require.ErrorContains(t, err, c.text)
			if c.secret != "" {
				require.ErrorIs(t, err, session.ErrWeakSecret)
				assert.NotContains(t, err.Error(), c.secret)
			}
		})
	}
}

func TestRunRefusesWithoutRedis(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := run(ctx, []string{"-store", "redis", "-redis", "redis://" + unusedAddress(t)}, io.Discard)
	require.ErrorContains(t, err, "Redis does not answer")
}

// unusedAddress returns an address that nothing listens on.
func unusedAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-addr", ":0", "-store", "memory"}, writer)
		result <- errors.Join(err, writer.Close())
	}()
	lines := bufio.NewReader(reader)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(line, "serving http://localhost:"), line)
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "sign in as ada with the password analytical-engine\n", line)
	cancel()
	_, err = io.Copy(io.Discard, lines)
	assert.NoError(t, errors.Join(err, <-result))
}

// Users and their sessions are in one file: who is signed in stays so when the program is started again, and of more
// sessions than a user may have the oldest ends.
func TestSessionsInTheUsersFile(t *testing.T) {
	binary := buildProgram(t)
	args := []string{"-addr", "localhost:0", "-insecure", "-store", "sql", "-db", filepath.Join(t.TempDir(), "login.db"), "-max-per-user", "2"}
	p := start(t, os.Environ(), binary, args...)
	var browsers []*http.Client
	for range 3 {
		browsers = append(browsers, signInOver(t, p.url))
	}
	for range 2 {
		for i, want := range []int{http.StatusSeeOther, http.StatusOK, http.StatusOK} {
			response, err := browsers[i].Get(p.url.String() + "/account")
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, want, response.StatusCode, "browser %d", i)
		}
		p.interrupt(t)
		require.NoError(t, p.wait())
		address := p.url.Host
		args[1] = address // where the browsers' cookies are for
		p = start(t, os.Environ(), binary, args...)
	}
}

// signInOver returns a browser in which ada is signed in.
func signInOver(t *testing.T, site *url.URL) *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.PostForm(site.String()+"/login", url.Values{"username": {"ada"}, "password": {"analytical-engine"}})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	return client
}
