// Package field_test holds what people run into in the field, and what a hostile reader would try. A test's number is that
// of the report; the files are the kinds of faults.
package field_test

import (
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// eachStore runs a test on a new application for each kind of store: in memory, in Redis, and sealed with a list.
func eachStore(t *testing.T, cfg session.Config, test func(t *testing.T, app *kit.App)) {
	stores := map[string]session.Store{
		"memory": session.NewMemoryStore(), "sealed": kit.SealedWithList(t),
		"redis": kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{}),
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) { test(t, kit.New(t, cfg, store)) })
	}
}

// requireStatus compares the status of an answer.
func requireStatus(t *testing.T, want int, resp *http.Response, app *kit.App) {
	t.Helper()
	require.Equal(t, want, resp.StatusCode, "the log: %s", app.Log())
}

// kindsOf returns the kinds of events that there were.
func kindsOf(events []session.Event) (kinds []session.EventKind) {
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// defaultLog returns what f has slog.Default log.
func defaultLog(t *testing.T, f func()) string {
	t.Helper()
	var text strings.Builder
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	defer slog.SetDefault(before)
	f()
	return text.String()
}

// rightsOf returns the rights of a Redis user that docs/security.md lists for a feature.
func rightsOf(t *testing.T, feature string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	require.NoError(t, err)
	_, row, found := strings.Cut(string(text), "\n| "+feature+" | `")
	require.True(t, found, "docs/security.md has no rights for %s", feature)
	rights, _, _ := strings.Cut(row, "`")
	return strings.ReplaceAll(rights, `\|`, "|")
}

// redisUser makes a user who has these rights for session's keys, and no others, and returns the URL.
func redisUser(t *testing.T, server *redistest.Server, name, rights string) string {
	t.Helper()
	server.MustDo(append([]string{"ACL", "SETUSER", name, "reset", "on", ">secret", "~session:*"}, strings.Fields(rights)...)...)
	return "redis://" + name + ":secret@" + server.Addr
}

// follow starts a replica, and returns when what the master writes arrives there.
func follow(t *testing.T, master *redistest.Server) {
	t.Helper()
	host, port, err := net.SplitHostPort(master.Addr)
	require.NoError(t, err)
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	require.Eventually(t, func() bool {
		return strings.Contains(master.MustDo("INFO", "replication"), "state=online")
	}, 20*time.Second, 10*time.Millisecond)
	master.MustDo("SET", "probe", "1", "PX", "60000")
	require.Eventually(t, func() bool { return replica.MustDo("EXISTS", "probe") == "1" }, 20*time.Second, 10*time.Millisecond)
	waiting := kit.New(t, session.Config{}, kit.OpenRedis(t, master, session.RedisOptions{WaitReplicas: 1, Prefix: "probe:"}))
	require.Eventually(t, func() bool {
		return waiting.Do("", kit.LoginAda).StatusCode == http.StatusOK
	}, 20*time.Second, 10*time.Millisecond)
}
