package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
)

// doctor checks whether the store is set up well.
func (c *command) doctor(ctx context.Context, _ []string) error {
	call, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	store, done, err := c.openStore(call)
	if usage := (usageError{}); errors.As(err, &usage) {
		return err
	}
	if err != nil {
		return c.report([]finding{reachFinding(err)})
	}
	defer done()
	findings := []finding{{good, "reach", "the store answers, and all that sessions need can be done there", ""}}
	switch store := store.(type) {
	case *session.RedisStore:
		findings = append(findings, c.examineRedis(call, store.Client())...)
	case sqlStore:
		findings = append(findings, c.examineSQL(call, store)...)
	}
	return c.report(findings)
}

// reachFinding returns the finding for a store that could not be opened.
func reachFinding(err error) finding {
	f := finding{fault, "reach", err.Error(), "look whether the server runs, and whether the URL and the firewall are right"}
	switch text := err.Error(); {
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "NOAUTH"):
		f.Topic, f.Action = "password", "set the user and the password in the URL"
	case strings.Contains(text, "lacks rights"), strings.Contains(text, "NOPERM"), strings.Contains(text, "permission"):
		f.Topic, f.Action = "rights", "give the Redis user the rights that are missing; docs/security.md has the whole ACL line"
	case strings.Contains(text, "does not exist"), strings.Contains(text, "doesn't exist"), strings.Contains(text, "no such table"):
		f.Topic, f.Action = "table", "make the table with Store.CreateTable, or by a migration with Store.Schema"
	case strings.Contains(text, "unable to open database file"):
		f.Action = "look whether the file is there, and may be read and written"
	case strings.Contains(text, "authentication failed"), strings.Contains(text, "Access denied"):
		f.Topic, f.Action = "password", "set the user and the password in the URL"
	case strings.Contains(text, "OOM command not allowed"):
		f.Topic, f.Action = "memory", "raise maxmemory, or shorten Config.Lifetime and IdleTimeout: nobody can sign in or out"
	case strings.Contains(text, "node of a cluster"):
		f.Topic, f.Action = "cluster", "name a second node in the URL: ?addr=host:port"
	}
	return f
}

// serverInfo is the answer to INFO, if the user may ask for it.
type serverInfo map[string]string

// readInfo asks one server.
func readInfo(ctx context.Context, server *redis.Client) (serverInfo, error) {
	text, err := server.Info(ctx, "everything").Result()
	if err != nil {
		return nil, err
	}
	info := serverInfo{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info, nil
}

func (i serverInfo) number(name string) (n float64) {
	_, _ = fmt.Sscanf(i[name], "%g", &n)
	return n
}

// examineRedis looks at a server, or at each master of a cluster.
func (c *command) examineRedis(ctx context.Context, client redis.UniversalClient) (findings []finding) {
	findings = append(findings, c.examineURL()...)
	if cluster, ok := client.(*redis.ClusterClient); ok {
		var mu sync.Mutex // the masters are checked at the same time
		var each []finding
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
			looked := c.examineServer(ctx, master)
			mu.Lock()
			defer mu.Unlock()
			for _, f := range looked {
				f.Text = master.Options().Addr + ": " + f.Text
				each = append(each, f)
			}
			return nil
		})
		if err != nil {
			each = append(each, finding{fault, "cluster", err.Error(), "look at the cluster's state: CLUSTER INFO"})
		}
		slices.SortStableFunc(each, func(a, b finding) int { return strings.Compare(a.Text, b.Text) })
		return append(findings, each...)
	}
	server, ok := client.(*redis.Client)
	if !ok {
		return findings
	}
	return append(findings, c.examineServer(ctx, server)...)
}

// examineURL returns the findings that the URL alone gives.
func (c *command) examineURL() []finding {
	u, err := url.Parse(c.url)
	if err != nil || u.Scheme != "redis" || isLocal(u.Hostname()) {
		return nil
	}
	return []finding{{warning, "encryption", "values and passwords cross the network in the clear", "use TLS: rediss://"}}
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || host == "" || ip != nil && ip.IsLoopback()
}

func (c *command) examineServer(ctx context.Context, server *redis.Client) []finding {
	findings := []finding{c.examineClock(ctx, server), examineSpeed(ctx, server)}
	info, err := readInfo(ctx, server)
	if err != nil {
		return append(findings, finding{warning, "info", "the user may not ask INFO, so version, eviction, persistence and replication were not looked at",
			"run the doctor as a user with +info, or allow it"})
	}
	findings = append(findings, examineVersion(info), examineEviction(info), examineMemory(info), examineReplication(info))
	findings = append(findings, examinePersistence(ctx, server, info)...)
	return append(findings, examinePassword(ctx, server)...)
}

// clockSkew is how far the clocks of two servers may differ for this library.
const clockSkew = 5 * time.Second

func (c *command) examineClock(ctx context.Context, server *redis.Client) finding {
	at, err := server.Time(ctx).Result()
	if err != nil {
		return finding{warning, "clock", "its clock can't be read: " + err.Error(), "allow +time"}
	}
	return clockFinding(at.Sub(c.now()).Abs())
}

func clockFinding(skew time.Duration) finding {
	text := fmt.Sprintf("its clock and this machine's differ by %v", skew.Round(10*time.Millisecond))
	switch {
	case skew > clockSkew:
		return finding{fault, "clock", text, "let all machines take their time from NTP: sessions end early or late, and revocations may miss some"}
	case skew > time.Second:
		return finding{warning, "clock", text, "let all machines take their time from NTP"}
	}
	return finding{good, "clock", text, ""}
}

const (
	speedTries = 20
	slowAnswer = 20 * time.Millisecond
)

func examineSpeed(ctx context.Context, server *redis.Client) finding {
	var times []time.Duration
	for range speedTries {
		begun := time.Now()
		if err := server.Ping(ctx).Err(); err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
			return finding{fault, "speed", "it stopped answering: " + err.Error(), "look at the server's log"}
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	median := times[speedTries/2]
	text := fmt.Sprintf("it answers within %v", median.Round(10*time.Microsecond))
	if median > slowAnswer {
		return finding{warning, "speed", text, "put it nearer: each request that uses its session waits once or twice for it"}
	}
	return finding{good, "speed", text, ""}
}

func examineVersion(info serverInfo) finding {
	name, version := "Redis", info["redis_version"]
	if valkey := info["valkey_version"]; valkey != "" {
		name, version = "Valkey", valkey
	}
	var major, minor int
	_, _ = fmt.Sscanf(version, "%d.%d", &major, &minor)
	if major < 6 || major == 6 && minor < 2 {
		return finding{fault, "version", name + " " + version + " is too old", "install Redis 6.2 or later, or Valkey"}
	}
	return finding{good, "version", name + " " + version, ""}
}

func examineEviction(info serverInfo) finding {
	policy := info["maxmemory_policy"]
	if policy == "noeviction" {
		return finding{good, "eviction", "what does not fit is refused, and nothing is dropped", ""}
	}
	level, text := fault, "when memory is full the server drops sessions ("+policy+"): it signs users out, and forgets which sessions have ended"
	if info.number("maxmemory") == 0 {
		level, text = warning, "the policy is "+policy+"; it has no effect as long as maxmemory is not set"
	}
	return finding{level, "eviction", text, "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"}
}

// fullFrom is the share of its memory from which a server counts as nearly full.
const fullFrom = .8

func examineMemory(info serverInfo) finding {
	used, most := info.number("used_memory"), info.number("maxmemory")
	switch {
	case most == 0:
		return finding{warning, "memory", "maxmemory is not set: when the machine's memory is full, the system ends the server",
			"CONFIG SET maxmemory to what the machine can spare"}
	case used > fullFrom*most:
		return finding{fault, "memory", fmt.Sprintf("%.0f %% of maxmemory is used; when it is full, nobody can sign in or out", 100*used/most),
			"raise maxmemory, or shorten Config.Lifetime and IdleTimeout"}
	}
	return finding{good, "memory", fmt.Sprintf("%.0f %% of maxmemory is used", 100*used/most), ""}
}

func examineReplication(info serverInfo) finding {
	switch {
	case info["role"] == "slave":
		return finding{fault, "replication", "this is a replica: nothing can be written, and it opens sessions that have just ended",
			"connect to the master, or to Sentinel (?master_name=)"}
	case info["connected_slaves"] == "0":
		return finding{warning, "replication", "it has no replica: while it is down, requests that use a session get 503",
			"add a replica with Sentinel, or accept it"}
	}
	return finding{good, "replication", info["connected_slaves"] + " replicas; a failover can lose the last writes, see RedisOptions.WaitReplicas", ""}
}

func examinePersistence(ctx context.Context, server *redis.Client, info serverInfo) (findings []finding) {
	if info["rdb_last_bgsave_status"] == "err" {
		findings = append(findings, finding{fault, "persistence", "the last snapshot could not be written", "look at the disk, its rights, and the server's log"})
	}
	if info["aof_last_write_status"] == "err" {
		findings = append(findings, finding{fault, "persistence", "the append-only file can't be written", "look at the disk"})
	}
	switch {
	case len(findings) > 0:
		return findings
	case info["aof_enabled"] == "1":
		return []finding{{good, "persistence", "writes are kept in the append-only file", ""}}
	}
	save, err := server.ConfigGet(ctx, "save").Result()
	if err == nil && save["save"] == "" {
		return []finding{{warning, "persistence", "nothing is kept: a restart signs everybody out", "CONFIG SET appendonly yes, or accept it"}}
	}
	return []finding{{warning, "persistence", "only snapshots are kept: a crash brings back sessions that ended since the last one", "CONFIG SET appendonly yes"}}
}

func examinePassword(ctx context.Context, server *redis.Client) []finding {
	o := server.Options()
	if o.Password != "" || o.CredentialsProviderContext != nil || o.CredentialsProvider != nil || o.StreamingCredentialsProvider != nil {
		return []finding{{good, "password", "the server asks for one", ""}}
	}
	return []finding{{warning, "password", "anybody who reaches the server can read and end all sessions", "give sessions a Redis user of their own; docs/security.md has the ACL line"}}
}
