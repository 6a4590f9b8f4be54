package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/redistest"
)

// A server set up well has nothing to complain about but what one machine alone can't have.
func TestDoctor_OfAServerThatIsSetUpWell(t *testing.T) {
	server, _ := startRedis(t, "--maxmemory", "200mb", "--maxmemory-policy", "noeviction", "--appendonly", "yes")
	server.MustDo("ACL", "SETUSER", "default", ">hush")
	c := &terminal{T: t, url: strings.Replace(server.URL(), "redis://", "redis://:hush@", 1)}
	out := c.does("doctor")
	for _, topic := range []string{"reach", "clock", "speed", "version", "eviction", "memory", "persistence", "password"} {
		require.Regexp(t, `(?m)^ok +`+topic, out)
	}
	require.Regexp(t, `(?m)^warning +replication +it has no replica`, out)
	require.NotContains(t, out, "hush")
}

// Each wrong setting is named, with what to do.
func TestDoctor_NamesWhatIsWrong(t *testing.T) {
	for name, one := range map[string]struct {
		level, topic, action string
		set                  func(t *testing.T, c *terminal)
	}{
		"nobody there": {fault, "reach", "look whether the server runs", func(_ *testing.T, c *terminal) { c.url = "redis://127.0.0.1:1/0" }},
		"a wrong password": {fault, "password", "set the user and the password", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			server.MustDo("ACL", "SETUSER", "default", ">hush")
			c.url = strings.Replace(server.URL(), "redis://", "redis://:wrong@", 1)
		}},
		"a missing right": {fault, "rights", "rights that are missing", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			server.MustDo("ACL", "SETUSER", "shop", "on", ">hush", "~session:*", "+@all", "-zadd")
			c.url = strings.Replace(server.URL(), "redis://", "redis://shop:hush@", 1)
		}},
		"eviction": {fault, "eviction", "maxmemory-policy noeviction", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
			c.url = server.URL()
		}},
		"memory nearly full": {fault, "memory", "raise maxmemory", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			var used float64
			_, err := fmt.Sscanf(regexp.MustCompile(`used_memory:\d+`).FindString(server.MustDo("INFO", "memory")), "used_memory:%g", &used)
			require.NoError(t, err)
			server.MustDo("CONFIG", "SET", "maxmemory", fmt.Sprintf("%.0f", 1.15*used))
			c.url = server.URL()
		}},
		"memory full": {fault, "memory", "raise maxmemory", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			server.MustDo("CONFIG", "SET", "maxmemory", "1")
			c.url = server.URL()
		}},
		"no memory limit": {warning, "memory", "CONFIG SET maxmemory", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			c.url = server.URL()
		}},
		"no persistence": {warning, "persistence", "appendonly yes", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t, "--save", "")
			c.url = server.URL()
		}},
		"snapshots only": {warning, "persistence", "appendonly yes", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			server.MustDo("CONFIG", "SET", "save", "3600 1")
			c.url = server.URL()
		}},
		"a snapshot that fails": {fault, "persistence", "look at the disk", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t, "--enable-protected-configs", "yes")
			dir := t.TempDir() + "/gone"
			require.NoError(t, os.Mkdir(dir, 0o700))
			server.MustDo("CONFIG", "SET", "dir", dir)
			require.NoError(t, os.Remove(dir))
			server.MustDo("BGSAVE")
			require.Eventually(t, func() bool {
				return strings.Contains(server.MustDo("INFO", "persistence"), "rdb_last_bgsave_status:err")
			},
				10*time.Second, 10*time.Millisecond)
			server.MustDo("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
			c.url = server.URL()
		}},
		"a clock that is wrong": {fault, "clock", "NTP", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			c.url, c.now = server.URL(), func() time.Time { return time.Now().Add(time.Minute) }
		}},
		"no password": {warning, "password", "a Redis user of their own", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			c.url = server.URL()
		}},
		"INFO is forbidden": {warning, "info", "+info", func(t *testing.T, c *terminal) {
			server, _ := startRedis(t)
			server.MustDo("ACL", "SETUSER", "shop", "on", ">hush", "~session:*", "+@all", "-info")
			c.url = strings.Replace(server.URL(), "redis://", "redis://shop:hush@", 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &terminal{T: t}
			one.set(t, c)
			code, out, errs := c.run("-timeout", "3s", "doctor")
			require.Regexp(t, `(?m)^`+one.level+` +`+one.topic, out, errs)
			require.Contains(t, out, one.action)
			require.Equal(t, one.level == fault, code == exitFault, "%d %s%s", code, out, errs)
			require.Empty(t, errs)
			require.NotContains(t, out, "hush")
		})
	}
}

func TestDoctor_OfAReplicaAndACluster(t *testing.T) {
	_, replica, _ := redistest.Sentinel(t)
	c := &terminal{T: t, url: replica.URL()}
	code, out, _ := c.run("-timeout", "3s", "doctor")
	require.Equal(t, exitFault, code)
	require.Contains(t, out, "READONLY")

	nodes := redistest.Cluster(t, 3, 0)
	c.url = nodes[0].URL() + "?addr=" + nodes[1].Addr
	out = c.does("doctor")
	for _, node := range nodes {
		require.Contains(t, out, node.Addr+": ")
	}
	c.url = nodes[0].URL()
	code, out, _ = c.run("-timeout", "3s", "doctor")
	require.Equal(t, exitFault, code)
	require.Regexp(t, `(?m)^fault +cluster`, out)
}

func TestDoctor_OfWhatInfoSays(t *testing.T) {
	require.Equal(t, fault, examineVersion(serverInfo{"redis_version": "6.0.16"}).Level)
	require.Equal(t, good, examineVersion(serverInfo{"redis_version": "6.2.0"}).Level)
	require.Contains(t, examineVersion(serverInfo{"redis_version": "7.2.4", "valkey_version": "8.1.1"}).Text, "Valkey 8.1.1")
	require.Equal(t, fault, examineReplication(serverInfo{"role": "slave"}).Level)
	require.Equal(t, good, examineReplication(serverInfo{"role": "master", "connected_slaves": "2"}).Level)
	require.Equal(t, warning, examineEviction(serverInfo{"maxmemory_policy": "allkeys-lru", "maxmemory": "0"}).Level)
	require.Equal(t, fault, examinePersistence(t.Context(), redis.NewClient(&redis.Options{}), serverInfo{"aof_last_write_status": "err"})[0].Level)
	c := &command{url: "redis://redis.example.com/0"}
	require.Equal(t, "encryption", c.examineURL()[0].Topic)
	c.url = "rediss://redis.example.com/0"
	require.Empty(t, c.examineURL())
}
