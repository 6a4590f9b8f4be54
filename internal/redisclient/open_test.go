package redisclient

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/redistest"
)

// TestMain keeps go-redis's own log lines out of the tests' output.
func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	os.Exit(m.Run())
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// refused returns the error of Open.
func refused(t *testing.T, within time.Duration, url string, s Settings) error {
	t.Helper()
	s.Prefix = prefix
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c, err := Open(ctx, url, s)
	if err == nil {
		require.NoError(t, c.Close())
	}
	require.Error(t, err)
	return err
}

func TestOpen_Refuses(t *testing.T) {
	down := redistest.Start(t)
	down.Stop()
	near := Settings{Cache: CacheOptions{1, 1}}
	for _, c := range []struct {
		url, want string
		settings  Settings
	}{
		{"http://localhost:6379", "can't be parsed", Settings{}},
		{"http://localhost:6379?addr=localhost:6380", "can't be parsed", Settings{}},
		{"http://localhost:6379?master_name=m", "can't be parsed", Settings{}},
		{"redis://localhost/zero", "can't be parsed", Settings{}},
		{"redis://localhost/0?no_such=1", "can't be parsed", Settings{}},
		{down.URL(), "does not answer", Settings{}},
		{down.URL() + "?addr=" + down.Addr, "does not answer", Settings{}},
		{"redis://" + down.Addr + "/?master_name=m", "does not answer", Settings{}},
		{down.URL(), "connection refused", Settings{}},
		{down.URL(), "WaitReplicas is negative", Settings{Replicas: -1}},
		{down.URL() + "?addr=" + down.Addr, "one standalone server only", near},
		{down.URL() + "?master_name=m", "one standalone server only", near},
		{down.URL(), "does not begin with rediss://", Settings{TLS: &tls.Config{}}},
	} {
		require.ErrorContains(t, refused(t, time.Second, c.url, c.settings), c.want, c.url)
	}
}

// A character that is not escaped cuts a password in two, and the parsers then show a part of it.
func TestOpen_ShowsNoPassword(t *testing.T) {
	for _, url := range []string{
		"redis://:S3CRET word@host\x7f/", "redis://:S3CRET/S3CRET@localhost:6379/0", "redis://:S3CRET?S3CRET@localhost:6379/0",
		"redis://:S3CRET#S3CRET@localhost:6379/0", "redis://:123/S3CRET@localhost:6379/0", "redis://:123?S3CRET@localhost:6379/0",
		"redis://:123#S3CRET@localhost:6379/0", "redis://u:123?S3CRET=@localhost:6379/0", "redis://u:123/0?db=S3CRET@localhost",
		"redis://:123/S3CRET@localhost:6379/0?addr=localhost:1", "redis://:123/S3CRET@localhost:6379/0?master_name=m",
		"S3CRET://localhost", "redis://localhost/0?db=S3CRET", "redis://:%zzS3CRET@localhost:6379", "redis://:123@localhost/S3CRET",
		"redis://localhost/0?addr=S3CRET:::", "unix://S3CRET:1@/path#S3CRET",
	} {
		err := refused(t, 300*time.Millisecond, url, Settings{})
		require.NotContains(t, err.Error(), "S3CRET", url)
		require.NotContains(t, err.Error(), "123/", url)
		require.ErrorContains(t, err, "can't be parsed", url)
	}
	server := redistest.Start(t, "--requirepass", "other")
	err := refused(t, 5*time.Second, "redis://:S3CRET@"+server.Addr, Settings{})
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "S3CRET")
}

func TestOpen_WaitsForTheServer(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	type result struct {
		c   *Client
		err error
	}
	opened := make(chan result)
	proxy := redistest.NewProxy(t, server)
	go func() {
		c, err := Open(t.Context(), proxy.URL(), Settings{Prefix: prefix, Cache: CacheOptions{1, 1}})
		opened <- result{c, err}
	}()
	require.Eventually(t, func() bool { return proxy.Accepted() > 3 }, 20*time.Second, time.Millisecond)
	server.Restart()
	r := <-opened
	require.NoError(t, r.err)
	require.NoError(t, r.c.Close())
}

func TestOpen_SaysWhatItSawLast(t *testing.T) {
	server, master := redistest.Start(t), redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr)
	require.NoError(t, err)
	server.MustDo("REPLICAOF", host, port)
	err = refused(t, time.Second, server.URL(), Settings{})
	require.ErrorContains(t, err, "READONLY")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// What waiting does not help is said at once, however much time there is.
func TestOpen_GivesUpAtOnceWhereWaitingDoesNotHelp(t *testing.T) {
	node := redistest.Cluster(t, 1, 0)[0]
	err := refused(t, time.Minute, node.URL(), Settings{})
	require.ErrorContains(t, err, "is a node of a cluster")
	require.ErrorContains(t, err, "?addr=")

	server := redistest.Start(t)
	require.ErrorContains(t, refused(t, time.Minute, "redis://"+server.Addr+"/99", Settings{}), "DB index is out of range")
	server = redistest.Start(t, "--requirepass", "secret")
	require.ErrorContains(t, refused(t, time.Minute, "redis://:wrong@"+server.Addr, Settings{}), "session: Redis can't be used: WRONGPASS")
}

// A client of one server, given a cluster's node, says so at the first use.
func TestClient_SaysThatTheServerIsANodeOfACluster(t *testing.T) {
	node := redistest.Cluster(t, 1, 0)[0]
	client := redis.NewClient(&redis.Options{Addr: node.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	_, err := made(t, client, 0).Swap(t.Context(), first("a", "1", "a"), first("b", "1", "b").in("ada"))
	require.ErrorContains(t, err, "is a node of a cluster")
}

// The rights that RedisStore's documentation lists.
const (
	needed     = "+get +getrange +set +pttl +pexpire +zadd +zscore +zrange +zremrangebyscore +time +eval +evalsha +script|load"
	forWaiting = " +wait"
	forCache   = " +subscribe +ping +client|id +client|tracking &__redis__:invalidate"
	forCluster = " +cluster +command"
)

// user makes a user with no other rights, and returns the URL.
func user(t *testing.T, server *redistest.Server, name, rights string) string {
	args := append([]string{"ACL", "SETUSER", name, "reset", "on", ">secret", "~" + prefix + "*"}, strings.Fields(rights)...)
	server.MustDo(args...)
	return "redis://" + name + ":secret@" + server.Addr
}

func TestOpen_TheRightsThatAreListedAreEnough(t *testing.T) {
	server := redistest.Start(t)
	for name, c := range map[string]struct {
		rights   string
		settings Settings
	}{
		"plain":   {needed, Settings{}},
		"waiting": {needed + forWaiting, Settings{Replicas: 1}},
		"cache":   {needed + forCache, Settings{Cache: CacheOptions{1, time.Hour}}},
	} {
		client := opened(t, user(t, server, name, c.rights), c.settings)
		if name == "waiting" {
			continue
		}
		swapped(t, client, first(name, "1", "a").in(name))
		swapped(t, client, next(name, "1", "2", "b").in(name), first(name+"2", "1", "a").in(name))
		_, err := client.End(t.Context(), first(name, "3", "x").final(time.Minute).in(name))
		require.NoError(t, err)
		require.Len(t, list(t, client, name), 2)
		_, err = client.GetAll(t.Context(), []string{prefix + name})
		require.NoError(t, err)
		server.MustDo("SCRIPT", "FLUSH")
		swapped(t, client, first(name+"3", "1", "a"))
	}
}

func TestOpen_NamesEachRightThatIsMissing(t *testing.T) {
	server := redistest.Start(t)
	all := strings.Fields(needed)
	for i, right := range all {
		rest := strings.Join(append(append([]string{}, all[:i]...), all[i+1:]...), " ")
		err := refused(t, time.Minute, user(t, server, "app", rest), Settings{})
		name, _, _ := strings.Cut(right, "|")
		require.ErrorContains(t, err, "the Redis user lacks rights: "+name+", for keys that begin with")
	}
	require.ErrorContains(t, refused(t, time.Minute, user(t, server, "app", "+get"), Settings{}), " +set +pttl")
	user(t, server, "app", needed)
	server.MustDo("ACL", "SETUSER", "app", "resetkeys", "~other:*")
	require.ErrorContains(t, refused(t, time.Minute, "redis://app:secret@"+server.Addr, Settings{}), `for keys that begin with "test:"`)
	require.ErrorContains(t, refused(t, time.Minute, user(t, server, "app", needed), Settings{Replicas: 1}), "lacks rights: +wait")
	near := strings.Fields(forCache)
	for i, right := range near {
		if right == "+ping" {
			continue // for silence only
		}
		rest := needed + " " + strings.Join(append(append([]string{}, near[:i]...), near[i+1:]...), " ")
		require.ErrorContains(t, refused(t, time.Minute, user(t, server, "app", rest), Settings{Cache: CacheOptions{1, 1}}), "lacks a right", right)
	}
}

// With NewRedisStore the first login fails, and leaves no list without a time to live.
func TestClient_ARightThatIsMissingLeavesNoListForEver(t *testing.T) {
	server := redistest.Start(t)
	opts, err := redis.ParseURL(user(t, server, "app", strings.ReplaceAll(needed, "+pexpire", "")))
	require.NoError(t, err)
	opts.ContextTimeoutEnabled = true
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	for _, c := range []*Client{made(t, client, 0), made(t, across{client}, 0)} {
		_, err = c.Swap(t.Context(), first("a", "1", "a").in("ada"))
		require.ErrorContains(t, err, "the Redis user lacks a right")
		require.Equal(t, "0", server.MustDo("EXISTS", prefix+"user:ada"))
	}
}

// logged returns what f logs.
func logged(t *testing.T, f func()) string {
	var text bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	f()
	slog.SetDefault(before)
	return text.String()
}

func TestOpen_WarnsOfEviction(t *testing.T) {
	keeping, evicting := redistest.Start(t), redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
	text := logged(t, func() { opened(t, evicting.URL(), Settings{}) })
	require.Contains(t, text, "set maxmemory-policy to noeviction")
	require.Contains(t, text, "policy=volatile-lru")
	require.Empty(t, logged(t, func() { opened(t, keeping.URL(), Settings{}) }))
	require.Empty(t, logged(t, func() { opened(t, user(t, evicting, "app", needed), Settings{}) }), "who may not ask is silent")
}

// authority returns files with a certificate for the loopback interface and its key.
func authority(t *testing.T) (certificate, key string, pool *x509.CertPool) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	parsed, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return certificate, key, pool
}

func TestOpen_TLSWithAPrivateAuthority(t *testing.T) {
	certificate, key, pool := authority(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	redistest.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
	url := "rediss://127.0.0.1:" + strconv.Itoa(port)

	require.ErrorContains(t, refused(t, time.Minute, url, Settings{}), "certificate", "at once")
	require.ErrorContains(t, refused(t, time.Minute, url, Settings{TLS: &tls.Config{RootCAs: pool}}), "certificate required", "it wants a certificate of the client's")

	own, err := tls.LoadX509KeyPair(certificate, key)
	require.NoError(t, err)
	config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}
	c := opened(t, url, Settings{TLS: config, Cache: CacheOptions{10, time.Hour}})
	swapped(t, c, first("a", "1", "a"))
	require.Empty(t, config.ServerName, "the caller's stays as it is")
}

func TestOpen_CredentialsThatChange(t *testing.T) {
	server := redistest.Start(t)
	user(t, server, "app", needed)
	var password atomic.Value
	password.Store("secret")
	c := opened(t, "redis://other:wrong@"+server.Addr, Settings{Credentials: func(context.Context) (string, string, error) {
		return "app", password.Load().(string), nil
	}})
	server.MustDo("ACL", "SETUSER", "app", "resetpass", ">changed")
	password.Store("changed")
	server.MustDo("CLIENT", "KILL", "TYPE", "normal")
	swapped(t, c, first("a", "1", "a"))

	err := refused(t, 200*time.Millisecond, server.URL(), Settings{Credentials: func(context.Context) (string, string, error) {
		return "", "", errors.New("the vault is sealed")
	}})
	require.ErrorContains(t, err, "the vault is sealed")
}

func TestOpen_CloseLeavesTheCallersClientAlone(t *testing.T) {
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	require.NoError(t, made(t, client, 0).Close())
	require.NoError(t, client.Ping(t.Context()).Err())
	owned, err := Open(t.Context(), server.URL(), Settings{Prefix: prefix})
	require.NoError(t, err)
	require.NoError(t, owned.Close())
	_, err = owned.Get(t.Context(), "key")
	require.ErrorIs(t, err, redis.ErrClosed)
}

// What Open tried is gone a second later.
func TestOpen_LeavesNothingBehind(t *testing.T) {
	server := redistest.Start(t)
	opened(t, server.URL(), Settings{})
	require.Eventually(t, func() bool { return server.MustDo("DBSIZE") == "0" }, 5*time.Second, 10*time.Millisecond)
}

func TestCluster(t *testing.T) {
	nodes := redistest.Cluster(t, 3, 0)
	for _, node := range nodes {
		user(t, node, "app", needed+forCluster)
	}
	c := opened(t, "redis://app:secret@"+nodes[0].Addr+"?addr="+nodes[1].Addr, Settings{})
	for _, node := range nodes {
		for _, s := range scripts {
			require.Equal(t, "1", node.MustDo("SCRIPT", "EXISTS", s.sha))
		}
	}
	old, end := first("old", "1", "a"), next("old", "1", "2", "x").final(time.Minute)
	swapped(t, c, old)
	swapped(t, c, end, first("new", "1", "b").in("ada"))
	swapped(t, c, end, first("new", "1", "b").in("ada")) // sent again
	conflict := met(t, c, end, first("new", "other", "b").in("ada"))
	require.Equal(t, 1, conflict.Place)
	require.Equal(t, "b", string(conflict.Current.Data()))
	require.Zero(t, met(t, c, next("old", "1", "3", "y"), first("other", "1", "b").in("ada")).Place)
	require.Empty(t, got(t, c, "other"))
	require.Equal(t, map[string]string{"new": "b", "other": ""}, list(t, c, "ada"))
	for _, node := range nodes {
		node.MustDo("SCRIPT", "FLUSH")
	}
	swapped(t, c, next("new", "1", "2", "x").final(time.Minute).in("ada"), first("newer", "1", "c").in("ada"))
	found, err := c.End(t.Context(), first("newer", "2", "x").final(time.Minute).in("ada"))
	require.NoError(t, err)
	require.Equal(t, "c", string(found.Data()))
	require.Len(t, list(t, c, "ada"), 3)
}

// Which node a cluster's client asks what names no key is chance.
func TestCluster_WaitReplicas(t *testing.T) {
	nodes := redistest.Cluster(t, 1, 1)
	for range 10 {
		opened(t, nodes[0].URL()+"?addr="+nodes[1].Addr, Settings{Replicas: 1})
	}
}
