// Package integration_test holds mongostore against a server: FerretDB, which speaks MongoDB's protocol and keeps its
// documents in SQLite. It runs as a process of its own, so that it can be killed. What it lacks is in front_test.go.
package integration_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/doorman-go/session/mongostore"
)

// The variables that make a server of a copy of the test program: where its data is, and where it listens.
const (
	serverDirectory = "MONGOSTORE_TEST_DIRECTORY"
	serverAddress   = "MONGOSTORE_TEST_ADDRESS"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverDirectory) != "" {
		if err := serve(os.Getenv(serverDirectory), os.Getenv(serverAddress)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if shared.server != nil {
		shared.server.kill()
		_ = os.RemoveAll(shared.server.directory)
	}
	os.Exit(code)
}

// socketName is that of FerretDB's socket in its directory.
const socketName = "socket"

// serve is the server's process. It ends with its input, which ends with the test's process, however that ends, and then
// takes its data with it.
func serve(directory, address string) error {
	socket := filepath.Join(directory, socketName)
	_ = os.Remove(socket) // of a server that was killed
	data := filepath.Join(directory, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	ferret, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{Unix: socket}, Handler: "sqlite", SQLiteURL: "file:" + data + "/",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	go func() { _ = ferret.Run(context.Background()) }()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go (&front{socket: socket, expires: map[string]int32{}}).serve(listener)
	fmt.Println(listener.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, os.RemoveAll(directory))
}

// server is a server's process.
type server struct {
	directory, address string
	command            *exec.Cmd
}

// startServer returns a server of the test's own.
func startServer(t *testing.T) *server {
	t.Helper()
	directory, err := os.MkdirTemp("", "mongostore") // short: a socket's name has a limit
	require.NoError(t, err)
	s := &server{directory: directory, address: "127.0.0.1:0"}
	t.Cleanup(func() { s.kill(); _ = os.RemoveAll(directory) })
	require.NoError(t, s.start())
	return s
}

var shared struct {
	once   sync.Once
	server *server
	err    error
}

// sharedServer returns the server of those tests that do it no harm.
func sharedServer(t *testing.T) *server {
	t.Helper()
	shared.once.Do(func() {
		var directory string
		if directory, shared.err = os.MkdirTemp("", "mongostore"); shared.err == nil {
			shared.server = &server{directory: directory, address: "127.0.0.1:0"}
			shared.err = shared.server.start()
		}
	})
	require.NoError(t, shared.err)
	return shared.server
}

// start starts the process, where it was if it was killed, and waits until it listens.
func (s *server) start() error {
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), serverDirectory+"="+s.directory, serverAddress+"="+s.address)
	command.Stderr = os.Stderr
	if _, err := command.StdinPipe(); err != nil { // closed by our end
		return err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	s.command = command
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	s.address = strings.TrimSpace(line)
	return nil
}

// kill is kill -9.
func (s *server) kill() {
	if s.command != nil {
		_ = s.command.Process.Kill()
		_ = s.command.Wait()
		s.command = nil
	}
}

// asSecondary returns another address of the server, where it says that it is a secondary.
func (s *server) asSecondary(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	address := listener.Addr().String()
	go (&front{socket: filepath.Join(s.directory, socketName), secondary: address}).serve(listener)
	return address
}

// connect returns a client as each process has one, of the server or of a proxy in front of it.
func connect(t *testing.T, address string, opts ...*options.ClientOptions) *mongo.Client {
	t.Helper()
	own := options.Client().ApplyURI("mongodb://" + address).SetHeartbeatInterval(time.Second)
	client, err := mongo.Connect(append([]*options.ClientOptions{own}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = client.Disconnect(ctx) // the server may be gone
	})
	return client
}

var collections struct {
	sync.Mutex
	made int
}

// newCollection returns a collection that is not there yet.
func newCollection(t *testing.T, client *mongo.Client) *mongo.Collection {
	t.Helper()
	collections.Lock()
	defer collections.Unlock()
	collections.made++
	return client.Database("app").Collection(fmt.Sprintf("sessions%d", collections.made))
}

// on returns the same collection on another client.
func on(client *mongo.Client, collection *mongo.Collection) *mongo.Collection {
	return client.Database(collection.Database().Name()).Collection(collection.Name())
}

func newStore(t *testing.T, collection *mongo.Collection) *mongostore.Store {
	t.Helper()
	store, err := mongostore.New(collection, mongostore.Options{})
	require.NoError(t, err)
	return store
}

// newIndexedStore is newStore with the indexes.
func newIndexedStore(t *testing.T, collection *mongo.Collection) *mongostore.Store {
	t.Helper()
	store := newStore(t, collection)
	require.NoError(t, store.CreateIndexes(t.Context()))
	return store
}

// watch is what the driver has sent.
type watch struct {
	mu       sync.Mutex
	commands []bson.Raw
	gate     func(command bson.Raw) // called before a command is sent, if set
}

// connectWatched is connect with a watch.
func connectWatched(t *testing.T, address string, opts ...*options.ClientOptions) (*mongo.Client, *watch) {
	t.Helper()
	w := &watch{}
	monitor := &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		command := append(bson.Raw(nil), e.Command...)
		w.mu.Lock()
		w.commands = append(w.commands, command)
		gate := w.gate
		w.mu.Unlock()
		if gate != nil {
			gate(command)
		}
	}}
	return connect(t, address, append(opts, options.Client().SetMonitor(monitor))...), w
}

// during returns the commands that were sent while f ran.
func (w *watch) during(f func()) []bson.Raw {
	w.mu.Lock()
	w.commands = nil
	w.mu.Unlock()
	f()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.commands
}

// setGate has gate called before each command, or nothing for nil.
func (w *watch) setGate(gate func(bson.Raw)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gate = gate
}

// nameOf returns a command's name.
func nameOf(command bson.Raw) string {
	first, err := command.IndexErr(0)
	if err != nil {
		return ""
	}
	return first.Key()
}

func namesOf(commands []bson.Raw) []string {
	names := []string{}
	for _, command := range commands {
		names = append(names, nameOf(command))
	}
	return names
}
