package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/sessiontest"
)

// The README's first program is this one, and it counts.
func TestProgram(t *testing.T) {
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "```go\n"+string(source)+"```\n", "the README has another program")

	address := run(t, source)
	client := &http.Client{Jar: sessiontest.NewJar()}
	for _, want := range []string{"visit 1\n", "visit 2\n", "visit 3\n"} {
		response, err := client.Get("http://" + address + "/")
		require.NoError(t, err)
		page, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, string(page))
	}
}

// run builds the program with a port that is free, and returns its address once it answers.
func run(t *testing.T, source []byte) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	address = listener.Addr().String()
	require.NoError(t, listener.Close())

	path := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(path, bytes.ReplaceAll(source, []byte("localhost:8080"), []byte(address)), 0o600))
	program := filepath.Join(filepath.Dir(path), "visits")
	output, err := exec.Command("go", "build", "-o", program, path).CombinedOutput()
	require.NoError(t, err, "%s", output)

	command := exec.Command(program)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	require.Eventually(t, func() bool {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return connection.Close() == nil
	}, 10*time.Second, 10*time.Millisecond)
	return address
}
