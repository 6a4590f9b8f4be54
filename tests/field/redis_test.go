package field_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// C. Check, then act; and what can't keep the promises found at the first user.

func TestField06_ParallelRegeneratesLeaveOneSession(t *testing.T) {
	eachStore(t, session.Config{}, func(t *testing.T, app *kit.App) {
		cookie := app.Login("ada")
		var begun, all sync.WaitGroup
		begun.Add(8)
		got := make([]*kit.Browser, 8)
		for i := range got {
			got[i] = app.BrowserWith("")
			all.Go(func() {
				got[i].Receive(app.Do(cookie, func(s *session.Session) {
					s.User()
					begun.Done()
					begun.Wait()
					_ = s.Regenerate()
				}))
			})
		}
		all.Wait()
		live := 0
		for _, b := range got {
			if b.Cookie != "" && !app.Dead(b.Cookie) {
				live++
			}
		}
		require.Equal(t, 1, live)
		require.True(t, app.Dead(cookie))
		require.Len(t, app.Live(), 1, "nor does a token that nobody was given open one")
	})
}

// A thief regenerates while the victim logs out: the logout ends the thief's branch too, whoever is first.
func TestField06_ALogoutEndsWhatAThiefRegenerated(t *testing.T) {
	eachStore(t, session.Config{}, func(t *testing.T, app *kit.App) {
		cookie := app.Login("ada")
		thief := app.BrowserWith(cookie)
		late, first := app.Overtaken(cookie, kit.Logout, kit.Regenerate)
		thief.Receive(first)
		requireStatus(t, http.StatusOK, late, app)
		require.NotEqual(t, cookie, thief.Cookie)
		require.True(t, app.Dead(thief.Cookie) && app.Dead(cookie))

		cookie = app.Login("ada")
		thief.Cookie = cookie
		late, first = app.Overtaken(cookie, kit.Regenerate, kit.Logout)
		thief.Receive(late)
		requireStatus(t, http.StatusOK, first, app)
		require.True(t, app.Dead(thief.Cookie) && app.Dead(cookie))
	})
}

func TestField07_ARingIsRefused(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "localhost:1", "b": "localhost:2"}})
	defer func() { require.NoError(t, ring.Close()) }()
	_, err := session.NewRedisStore(ring, session.RedisOptions{})
	require.ErrorContains(t, err, "redis.Ring")
	require.ErrorContains(t, err, "use one server, Sentinel or a cluster")
}

// fromURL returns a client as an application makes it.
func fromURL(t *testing.T, url string) *redis.Client {
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	opts.ContextTimeoutEnabled = true
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func TestField08_AClustersNodeIsToldAtOpen(t *testing.T) {
	node := redistest.Cluster(t, 1, 0)[0]
	_, err := session.OpenRedisStore(t.Context(), node.URL(), session.RedisOptions{})
	require.ErrorContains(t, err, "is a node of a cluster; name a second one in the URL (?addr=host:port)")

	app := kit.New(t, session.Config{}, kit.RedisOn(t, fromURL(t, node.URL()), session.RedisOptions{}))
	resp := app.Do("", kit.LoginAda)
	requireStatus(t, http.StatusServiceUnavailable, resp, app)
	require.Contains(t, app.Log(), "is a node of a cluster", "and with a client of one's own, the log says it")
}

func TestField09_AMissingRightIsToldAtOpen(t *testing.T) {
	server := redistest.Start(t)
	url := redisUser(t, server, "app", strings.ReplaceAll(rightsOf(t, "sessions"), "+pexpire", ""))
	_, err := session.OpenRedisStore(t.Context(), url, session.RedisOptions{})
	require.ErrorContains(t, err, "the Redis user lacks rights: +pexpire")

	app := kit.New(t, session.Config{}, kit.RedisOn(t, fromURL(t, url), session.RedisOptions{}))
	requireStatus(t, http.StatusServiceUnavailable, app.Do("", kit.LoginAda), app)
	require.Contains(t, app.Log(), "the Redis user lacks a right")
	for key := range strings.FieldsSeq(server.MustDo("KEYS", "*")) {
		require.NotEqual(t, "-1", server.MustDo("PTTL", key), "%s stays for ever", key)
	}
}

func TestField09_AServerThatMayEvictIsToldOf(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
	text := defaultLog(t, func() { kit.OpenRedis(t, server, session.RedisOptions{}) })
	require.Contains(t, text, "set maxmemory-policy to noeviction")
}

// What no replica has is said again each time that it is asked for.
func TestField10_NotReplicatedIsSaidAgain(t *testing.T) {
	master := redistest.Start(t)
	plain := kit.New(t, session.Config{}, kit.OpenRedis(t, master, session.RedisOptions{}))
	waiting := kit.New(t, session.Config{StoreTimeout: time.Second}, kit.OpenRedis(t, master, session.RedisOptions{WaitReplicas: 1}))
	cookie, revoked, ended := plain.Login("ada"), plain.Login("ada"), plain.Login("grace")
	id := plain.Look(revoked).ID
	plain.Do(ended, kit.Logout)
	for range 3 {
		requireStatus(t, http.StatusServiceUnavailable, waiting.Do(ended, kit.Logout), waiting) // over a connection that has written nothing
		requireStatus(t, http.StatusServiceUnavailable, waiting.Do(cookie, kit.Logout), waiting)
		_, err := waiting.Manager().RevokeUser(t.Context(), "ada")
		require.ErrorContains(t, err, "has not reached RedisOptions.WaitReplicas replicas")
		require.ErrorContains(t, waiting.Manager().Revoke(t.Context(), "ada", id), "has not reached")
		requireStatus(t, http.StatusServiceUnavailable, waiting.Do(cookie, kit.LoginAda), waiting)
	}
	follow(t, master)
	requireStatus(t, http.StatusOK, waiting.Do(cookie, kit.Logout), waiting)
	_, err := waiting.Manager().RevokeUser(t.Context(), "ada")
	require.NoError(t, err)
	require.ErrorIs(t, waiting.Manager().Revoke(t.Context(), "ada", id), session.ErrNotFound)
}

// Where the list of what has ended waits for replicas, so do logouts of sealed sessions.
func TestField10_NotReplicatedIsSaidAgain_Sealed(t *testing.T) {
	master := redistest.Start(t)
	sealedWith := func(opts session.RedisOptions) session.Store {
		return kit.Sealed(t, kit.SecretOne).WithRevocations(kit.OpenRedis(t, master, opts))
	}
	plain := kit.New(t, session.Config{}, sealedWith(session.RedisOptions{}))
	waiting := kit.New(t, session.Config{StoreTimeout: time.Second}, sealedWith(session.RedisOptions{WaitReplicas: 1}))
	out, again := plain.Login("ada"), plain.Login("ada")
	for range 3 {
		requireStatus(t, http.StatusServiceUnavailable, waiting.Do(out, kit.Logout), waiting)
		_, err := waiting.Manager().RevokeUser(t.Context(), "grace")
		require.ErrorContains(t, err, "has not reached")
	}
	waiting.Do(again, func(s *session.Session) {
		require.NoError(t, s.Regenerate())
		for range 3 {
			require.ErrorContains(t, s.Save(t.Context()), "has not reached")
		}
	})
}

// A failover costs no request, though each connection of the pool still goes to a server that is a replica now.
func TestField10_AFailoverCostsNoRequest(t *testing.T) {
	before, after := redistest.Start(t), redistest.Start(t)
	moving := redistest.ProxyTo(t, before.Addr)
	store := kit.OpenRedisAt(t, moving.URL(), session.RedisOptions{WaitReplicas: 1})
	follow(t, after)
	app := kit.New(t, session.Config{}, store)
	host, port, err := net.SplitHostPort(after.Addr)
	require.NoError(t, err)
	fill(t, store.Client().(*redis.Client), 3)
	before.MustDo("REPLICAOF", host, port)
	moving.MoveTo(after.Addr)
	for range 5 {
		requireStatus(t, http.StatusOK, app.Do("", kit.LoginAda), app)
	}
}

// fill has so many connections stay in the pool.
func fill(t *testing.T, client *redis.Client, connections int) {
	var open []*redis.Conn
	for range connections {
		conn := client.Conn()
		require.NoError(t, conn.Ping(context.Background()).Err())
		open = append(open, conn)
	}
	for _, conn := range open {
		require.NoError(t, conn.Close())
	}
}
