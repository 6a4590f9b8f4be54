package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

// remoteVariable names the stores that the tests are to run over in place of their own: "NAME=SOCKET", where ServeStores
// listens on the socket. A store in a module of its own has its tests run those of this one so.
const remoteVariable = "SESSION_TEST_STORES"

// RemoteStores returns the environment variable that has the tests of the root module run over what is served on a socket.
func RemoteStores(name, socket string) string { return remoteVariable + "=" + name + "=" + socket }

// RemoteName returns the name of the stores that the environment names, "" if it names none.
func RemoteName() string {
	name, _, _ := strings.Cut(os.Getenv(remoteVariable), "=")
	return name
}

// remotes returns the stores of two processes.
func remotes(tb testing.TB) (a, b *remoteStore) {
	_, socket, _ := strings.Cut(os.Getenv(remoteVariable), "=")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}, MaxIdleConnsPerHost: 100}
	client := &http.Client{Transport: transport}
	tb.Cleanup(client.CloseIdleConnections)
	return &remoteStore{client, "http://store/0"}, &remoteStore{client, "http://store/1"}
}

// OpenRemote returns the store that the environment names, which holds nothing.
func OpenRemote(tb testing.TB) session.Store {
	tb.Helper()
	store, _ := remotes(tb)
	store.flush(tb)
	return store
}

func (s *remoteStore) flush(tb testing.TB) {
	tb.Helper()
	if _, err := s.call(context.Background(), remoteCall{Op: remoteFlush}); err != nil {
		tb.Fatal(err)
	}
}

// remoteBackings returns the backings that the environment names: a store under one Manager, and two processes. It is nil
// if it names none.
func remoteBackings(tb testing.TB) []Backing {
	name := RemoteName()
	if name == "" {
		return nil
	}
	a, b := remotes(tb)
	flush := func(app *App) { a.flush(app.T) }
	return []Backing{
		{Name: name, Stores: func() []session.Store { return []session.Store{a} }, Flush: flush, Shared: true},
		{Name: name + ", two processes", Stores: func() []session.Store { return []session.Store{a, b} }, Flush: flush, Shared: true},
	}
}

const remoteFlush sessiontest.Op = "flush"

// remoteCall is a call of a store, and remoteAnswer what it returned.
type (
	remoteCall struct {
		Op              sessiontest.Op
		ID, Realm, User string
		Swaps           []session.Swap
		Tombstone       *session.Record
	}
	remoteAnswer struct {
		Records  []*session.Record
		Conflict *session.ConflictError
		NotFound bool
		Err      string
	}
)

// remoteStore is a server store in another process.
type remoteStore struct {
	client *http.Client
	url    string
}

func (s *remoteStore) call(ctx context.Context, c remoteCall) ([]*session.Record, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var a remoteAnswer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		return nil, err
	}
	switch {
	case a.Conflict != nil:
		return nil, a.Conflict
	case a.NotFound && a.Err == session.ErrNotFound.Error():
		return nil, session.ErrNotFound
	case a.NotFound:
		return nil, fmt.Errorf("%w: %s", session.ErrNotFound, a.Err)
	case a.Err != "":
		return nil, errors.New(a.Err)
	}
	return a.Records, nil
}

// Load implements session.Store.
func (s *remoteStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	return first(s.call(ctx, remoteCall{Op: sessiontest.Load, ID: token.ID(), Realm: token.Realm()}))
}

// Swap implements session.Store.
func (s *remoteStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	if _, err := s.call(ctx, remoteCall{Op: sessiontest.Swap, ID: token.ID(), Realm: token.Realm(), Swaps: swaps}); err != nil {
		return session.Token{}, err
	}
	return token, nil
}

// End implements session.Ender.
func (s *remoteStore) End(ctx context.Context, tombstone *session.Record) (*session.Record, error) {
	return first(s.call(ctx, remoteCall{Op: sessiontest.End, Tombstone: tombstone}))
}

// UserSessions implements session.UserStore.
func (s *remoteStore) UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error) {
	return s.call(ctx, remoteCall{Op: sessiontest.List, Realm: realm, User: user})
}

func first(records []*session.Record, err error) (*session.Record, error) {
	if err != nil || len(records) == 0 {
		return nil, err
	}
	return records[0], nil
}

// ServedStore is what ServeStores serves.
type ServedStore interface {
	session.Ender
	session.UserStore
}

// ServeStores has two processes' stores, which share a database, answer on a socket. Flush is to have the database forget
// everything.
func ServeStores(tb testing.TB, socket string, flush func() error, a, b ServedStore) {
	tb.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/0", served{a, flush})
	mux.Handle("/1", served{b, flush})
	server := &http.Server{Handler: mux} //nolint:gosec // none but these tests ask it
	go func() { _ = server.Serve(listener) }()
	tb.Cleanup(func() { _ = server.Close() })
}

type served struct {
	store ServedStore
	flush func() error
}

// ServeHTTP makes one call.
func (s served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c remoteCall
	err := json.NewDecoder(r.Body).Decode(&c)
	var a remoteAnswer
	if err == nil {
		a.Records, err = s.call(r.Context(), c)
	}
	if err != nil {
		a.Err = err.Error()
		errors.As(err, &a.Conflict)
		a.NotFound = errors.Is(err, session.ErrNotFound)
	}
	_ = json.NewEncoder(w).Encode(a) // who hung up is told nothing
}

func (s served) call(ctx context.Context, c remoteCall) ([]*session.Record, error) {
	token := session.NewToken(c.ID, "").WithRealm(c.Realm)
	switch c.Op {
	case sessiontest.Load:
		return one(s.store.Load(ctx, token))
	case sessiontest.Swap:
		_, err := s.store.Swap(ctx, token, c.Swaps...)
		return nil, err
	case sessiontest.End:
		return one(s.store.End(ctx, c.Tombstone))
	case sessiontest.List:
		return s.store.UserSessions(ctx, c.Realm, c.User)
	case remoteFlush:
		return nil, s.flush()
	}
	return nil, fmt.Errorf("there is no call %q", c.Op)
}

func one(r *session.Record, err error) ([]*session.Record, error) {
	if err != nil || r == nil {
		return nil, err
	}
	return []*session.Record{r}, nil
}
