package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestRedis_ClientsThatCannotKeepThePromises(t *testing.T) {
	honouring, hanging := redis.NewClient(&redis.Options{ContextTimeoutEnabled: true}), redis.NewClient(&redis.Options{})
	cluster, ring := redis.NewClusterClient(&redis.ClusterOptions{}), redis.NewRing(&redis.RingOptions{})
	lagging := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"localhost:1"}, ContextTimeoutEnabled: true, RouteByLatency: true})
	obedient := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "localhost:1"}, ContextTimeoutEnabled: true})
	for _, client := range []redis.UniversalClient{honouring, hanging, cluster, lagging, ring, obedient} {
		t.Cleanup(func() { require.NoError(t, client.Close()) })
	}
	for _, c := range []struct {
		client redis.UniversalClient
		want   string
		opts   session.RedisOptions
	}{
		{nil, "client is nil", session.RedisOptions{}},
		{hanging, "ignores context deadlines", session.RedisOptions{}},
		{cluster, "ignores context deadlines", session.RedisOptions{}},
		{ring, "ignores context deadlines", session.RedisOptions{}},
		{honouring, "WaitReplicas is negative", session.RedisOptions{WaitReplicas: -1}},
		{lagging, "reads from replicas", session.RedisOptions{}},
		{obedient, "WaitReplicas needs a *redis.Client", session.RedisOptions{WaitReplicas: 1}},
		{honouring, "NearCache needs a client set up", session.RedisOptions{NearCache: session.NearCache{MaxEntries: 1}}},
	} {
		_, err := session.New(session.NewRedisStore(c.client, c.opts), session.Config{})
		require.ErrorContains(t, err, c.want)
	}
	_, err := session.New(session.NewRedisStore(honouring, session.RedisOptions{}), session.Config{})
	require.NoError(t, err, "it need not be there yet")
}

func TestRedis_OpenRefuses(t *testing.T) {
	down := redistest.Start(t)
	down.Stop()
	near := func(entries int, stale time.Duration) session.RedisOptions {
		return session.RedisOptions{NearCache: session.NearCache{MaxEntries: entries, MaxStaleness: stale}}
	}
	for _, c := range []struct {
		url, want string
		opts      session.RedisOptions
	}{
		{"redis://:pass word@host\x7f/", "can't be parsed", session.RedisOptions{}},
		{"http://localhost:6379", "the Redis URL", session.RedisOptions{}},
		{"http://localhost:6379?addr=localhost:6380", "the Redis URL", session.RedisOptions{}},
		{"http://localhost:6379?master_name=m", "the Redis URL", session.RedisOptions{}},
		{down.URL(), "does not answer", session.RedisOptions{}},
		{down.URL() + "?addr=" + down.Addr, "does not answer", session.RedisOptions{}},
		{"redis://" + down.Addr + "/?master_name=m", "does not answer", session.RedisOptions{}},
		{down.URL(), "WaitReplicas is negative", session.RedisOptions{WaitReplicas: -1}},
		{down.URL(), "MaxEntries must be positive", near(0, time.Second)},
		{down.URL(), "MaxStaleness must be positive", near(1, 0)},
		{down.URL() + "?addr=" + down.Addr, "one standalone server only", near(1, 1)},
		{"redis://" + down.Addr + "/3", "database 0 only", near(1, 1)},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := session.OpenRedisStore(ctx, c.url, c.opts)
		cancel()
		require.ErrorContains(t, err, c.want, c.url)
		require.NotContains(t, err.Error(), "pass word")
	}
}

func TestRedis_CloseLeavesTheCallersClientAlone(t *testing.T) {
	server := redistest.Start(t)
	client := redisClient(t, server)
	require.NoError(t, session.NewRedisStore(client, session.RedisOptions{}).Close())
	require.NoError(t, client.Ping(context.Background()).Err())
	owned, err := session.OpenRedisStore(context.Background(), server.URL(), session.RedisOptions{})
	require.NoError(t, err)
	require.NoError(t, owned.Close())
	_, err = owned.Load(context.Background(), session.NewToken("id", "value"))
	require.ErrorIs(t, err, redis.ErrClosed)
}

// WaitReplicas: a change counts when a replica has it, and fails when none has.
func TestRedis_WaitReplicas(t *testing.T) {
	master, replica := redistest.Start(t), redistest.Start(t)
	store := redisStore(t, master, session.RedisOptions{WaitReplicas: 1})
	w := newWorld(t, session.Config{StoreTimeout: 400 * time.Millisecond}, store)
	resp := w.do("", login)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Cookies())
	require.Contains(t, w.log(), "has not reached RedisOptions.WaitReplicas replicas: 0 of 1")

	host, port, _ := strings.Cut(master.Addr, ":")
	_, err := replica.Do("REPLICAOF", host, port)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := replica.Do("INFO", "replication")
		return err == nil && strings.Contains(info, "master_link_status:up")
	}, 20*time.Second, 20*time.Millisecond)
	w = newWorld(t, session.Config{}, store)
	cookie := w.login("ada")
	exists, err := replica.Do("EXISTS", "session:"+w.look(cookie).id)
	require.NoError(t, err)
	require.Equal(t, "1", exists, "it is there when the response is")
	// Without a deadline of the caller's it waits for the default time.
	require.NoError(t, store.Delete(context.Background(), w.look(cookie).id, time.Now()))
	require.True(t, w.dead(cookie))

	w.login("grace")
	w.login("grace")
	n, err := w.nodes[0].manager.RevokeUser(t.Context(), "grace")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	w.login("grace")
	replica.Stop()
	w = newWorld(t, session.Config{StoreTimeout: 40 * time.Millisecond}, store)
	_, err = w.nodes[0].manager.RevokeUser(t.Context(), "grace")
	require.ErrorContains(t, err, "has not reached RedisOptions.WaitReplicas replicas", "nor do revocations count that no replica has")
}

func TestRedis_WaitReplicasNeedsAClientWithConnections(t *testing.T) {
	store := session.NewRedisStore(across{redisClient(t, redistest.Start(t))}, session.RedisOptions{WaitReplicas: 1})
	require.ErrorIs(t, store.Delete(t.Context(), "id", time.Time{}), errors.ErrUnsupported)
}

// A user of Redis who may use nothing but the keys with the prefix can do all there is to do.
func TestRedis_AUserOfThePrefixOnly(t *testing.T) {
	server := redistest.Start(t)
	server.MustDo("ACL", "SETUSER", "app", "on", ">secret", "~app:*", "+@all", "-@dangerous")
	opts, err := redis.ParseURL("redis://app:secret@" + server.Addr)
	require.NoError(t, err)
	opts.ContextTimeoutEnabled = true
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	for _, client := range []redis.UniversalClient{client, across{client}} {
		w := newWorld(t, session.Config{MaxPerUser: 2}, session.NewRedisStore(client, session.RedisOptions{Prefix: "app:"}))
		b := browser{w.name, w.start()}
		for _, do := range []func(*session.Session){
			func(s *session.Session) { s.Set("n", 1) }, regenerate, login, login, login, regenerate, logout,
		} {
			resp := w.do(b.cookie, do)
			require.Equal(t, http.StatusOK, resp.StatusCode, w.log())
			b.receive(resp)
		}
		w.login("ada")
		_, err := w.nodes[0].manager.RevokeUser(t.Context(), "ada")
		require.NoError(t, err)
		require.Empty(t, w.listed("ada"))
	}
}

// Nobody writes such a thing, but following it must come to an end.
func TestRedis_TombstonesInACircle(t *testing.T) {
	server := redistest.Start(t)
	store, client := redisStore(t, server, session.RedisOptions{}), redisClient(t, server)
	ctx := context.Background()
	require.NoError(t, client.HSet(ctx, "session:a", "x", "b").Err())
	require.NoError(t, client.HSet(ctx, "session:b", "x", "a").Err())
	require.ErrorContains(t, store.Delete(ctx, "a", time.Now()), "regenerations of a session went on")
}

func TestGuarantee03_NoLostUpdates_RedisAcross(t *testing.T) {
	client := across{redisClient(t, redistest.Start(t))}
	stores := func() []session.Store {
		return []session.Store{session.NewRedisStore(client, session.RedisOptions{})}
	}
	keepAll(t, backing{name: "redis, several slots", stores: stores})
}

// An Update and a new id in one request: if the value is a newer one meanwhile, the update is made again, and the new id
// comes with it.
func TestGuarantee03_UpdateWithANewID(t *testing.T) {
	server := redistest.Start(t)
	up := func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }
	for name, store := range map[string]session.Store{
		"memory": session.NewMemoryStore(), "redis": redisStore(t, server, session.RedisOptions{}),
		"redis, several slots": session.NewRedisStore(across{redisClient(t, server)}, session.RedisOptions{Prefix: "across:"}),
	} {
		w := newWorld(t, session.Config{}, store)
		b := browser{w.name, w.login("ada")}
		old := b.cookie
		late, _ := w.overtaken(old, func(s *session.Session) { up(s); regenerate(s) }, up)
		b.receive(late)
		require.NotEqual(t, old, b.cookie, name)
		require.True(t, w.dead(old), name)
		require.Equal(t, 2, value[int](w, b.cookie, "counter"), name)
	}
}

func TestRevocations_RedisDetails(t *testing.T) {
	server := redistest.Start(t)
	client := redisClient(t, server)
	list := session.NewRedisRevocations(client, session.RedisOptions{})
	clock := &worldClock{now: time.Now().Truncate(time.Microsecond).UTC()}
	ctx := session.WithClock(context.Background(), clock.Now)
	status := func(user, id string) session.RevocationStatus {
		st, err := list.Status(ctx, user, id, clock.Now().Add(-time.Hour))
		require.NoError(t, err)
		return st
	}
	require.NoError(t, list.EndSession(ctx, "ada", "over", clock.Now()))
	require.NoError(t, list.EndUser(ctx, "ada", clock.Now(), nil, clock.Now()))
	require.Empty(t, client.Keys(ctx, "*").Val(), "what has ended by itself is not kept")

	first := clock.Now()
	require.NoError(t, list.EndSession(ctx, "ada", "id", first.Add(time.Hour)))
	clock.advance(time.Minute)
	require.NoError(t, list.EndSession(ctx, "ada", "id", first.Add(time.Hour)))
	require.Equal(t, first, status("ada", "id").EndedAt, "a session ends once")
	require.Zero(t, status("grace", "id").EndedAt)

	require.NoError(t, list.EndUser(ctx, "ada", clock.Now(), []string{"kept"}, first.Add(time.Hour)))
	require.NoError(t, list.EndUser(ctx, "ada", clock.Now(), []string{"other"}, first.Add(time.Hour)))
	require.NoError(t, client.HSet(ctx, "session:ended-user:ada", "foreign", "field", "17", "x").Err())
	require.NotZero(t, status("ada", "kept").EndedAt, "the second one does not except it")
	require.NotZero(t, status("ada", "any").EndedAt)

	require.NoError(t, client.Set(ctx, "session:ended:"+"3:bad:ada", "no time", 0).Err())
	_, err := list.Status(ctx, "ada", "bad", clock.Now())
	require.Error(t, err, "what can't be read is no permission")
	server.Stop()
	_, err = list.Status(ctx, "ada", "id", clock.Now())
	require.Error(t, err)
	require.False(t, errors.Is(err, session.ErrNotFound))
}

// How the client names what it caches has the user's name in front, which may look like a key.
func TestRedis_NearCacheOfAUserNamedLikeAKey(t *testing.T) {
	server := redistest.Start(t)
	server.MustDo("ACL", "SETUSER", "session:app", "on", ">secret", "~*", "&*", "+@all")
	near := session.RedisOptions{NearCache: session.NearCache{MaxEntries: 10, MaxStaleness: time.Hour}}
	store, err := session.OpenRedisStore(t.Context(), "redis://session%3Aapp:secret@"+server.Addr+"/0", near)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	v := newSite(t, store, session.Config{}).visitor()
	v.signIn("ada")
	for i := range 500 {
		v.must(func(s *session.Session) { s.Set("k", i) })
		require.Equal(t, i, read[int](v, "k"))
	}
}

// A process whose first call is a write has nothing in its near cache to drop, and then reads what it wrote.
func TestRedis_NearCacheWritesFirst(t *testing.T) {
	near := session.NearCache{MaxEntries: 10, MaxStaleness: time.Hour}
	v := newSite(t, redisStore(t, redistest.Start(t), session.RedisOptions{NearCache: near}), session.Config{}).visitor()
	v.signIn("ada")
	for i := range 3 {
		v.must(func(s *session.Session) { s.Set("k", i) })
		require.Equal(t, i, read[int](v, "k"))
	}
}
