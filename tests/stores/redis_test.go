package stores_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestRedis_NearCacheKnowsWhenAContextHasEnded(t *testing.T) {
	store := kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{NearCache: session.NearCache{MaxEntries: 10, MaxStaleness: time.Hour}})
	v := kit.New(t, session.Config{}, store).Browser()
	v.Must(func(s *session.Session) { s.Set("n", 1) })
	token := session.NewToken(v.View().ID, "")
	ctx := session.WithClock(t.Context(), v.App.Clock.Now)
	for range 3 {
		_, err := store.Load(ctx, token)
		require.NoError(t, err)
	}
	ended, end := context.WithCancel(ctx)
	end()
	_, err := store.Load(ended, token)
	require.ErrorIs(t, err, context.Canceled)
}

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
		{ring, "redis.Ring", session.RedisOptions{}},
		{obedient, "redis.Ring", session.RedisOptions{}},
		{honouring, "WaitReplicas is negative", session.RedisOptions{WaitReplicas: -1}},
		{lagging, "reads from replicas", session.RedisOptions{}},
		{kit.Across{UniversalClient: honouring}, "WaitReplicas needs a *redis.Client", session.RedisOptions{WaitReplicas: 1}},
		{honouring, "NearCache needs connections of its own", session.RedisOptions{NearCache: session.NearCache{MaxEntries: 1}}},
	} {
		_, err := session.NewRedisStore(c.client, c.opts)
		require.ErrorContains(t, err, c.want)
	}
	_, err := session.New(kit.RedisOn(t, honouring, session.RedisOptions{}), session.Config{})
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
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		_, err := session.OpenRedisStore(ctx, c.url, c.opts)
		cancel()
		require.ErrorContains(t, err, c.want, c.url)
		require.NotContains(t, err.Error(), "pass word")
	}
}

func TestRedis_CloseLeavesTheCallersClientAlone(t *testing.T) {
	server := redistest.Start(t)
	client := kit.RedisClient(t, server)
	require.NoError(t, kit.RedisOn(t, client, session.RedisOptions{}).Close())
	require.NoError(t, client.Ping(context.Background()).Err())
	owned, err := session.OpenRedisStore(t.Context(), server.URL(), session.RedisOptions{})
	require.NoError(t, err)
	require.NoError(t, owned.Close())
	_, err = owned.Load(context.Background(), session.NewToken("id", "value"))
	require.ErrorIs(t, err, redis.ErrClosed)
}

// WaitReplicas: a change counts when a replica has it, and fails when none has.
func TestRedis_WaitReplicas(t *testing.T) {
	master, replica := redistest.Start(t), redistest.Start(t)
	store := kit.OpenRedis(t, master, session.RedisOptions{WaitReplicas: 1})
	app := kit.New(t, session.Config{StoreTimeout: 2 * time.Second}, store) // a quarter of it is for the answer
	resp := app.Do("", kit.LoginAda)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Cookies())
	require.Contains(t, app.Log(), "has not reached RedisOptions.WaitReplicas replicas: 0 of 1")

	host, port, _ := strings.Cut(master.Addr, ":")
	_, err := replica.Do("REPLICAOF", host, port)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := replica.Do("INFO", "replication")
		return err == nil && strings.Contains(info, "master_link_status:up")
	}, 20*time.Second, 20*time.Millisecond)
	app = kit.New(t, session.Config{}, store)
	cookie := app.Login("ada")
	exists, err := replica.Do("EXISTS", "session:"+app.Look(cookie).ID)
	require.NoError(t, err)
	require.Equal(t, "1", exists, "it is there when the response is")
	// Without a deadline of the caller's it waits for the default time.
	_, err = store.End(app.Context(), app.Tombstone(app.Look(cookie).ID, "ada"))
	require.NoError(t, err)
	require.True(t, app.Dead(cookie))

	app.Login("grace")
	app.Login("grace")
	n, err := app.Manager().RevokeUser(t.Context(), "grace")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	app.Login("grace")
	replica.Stop()
	app = kit.New(t, session.Config{StoreTimeout: 2 * time.Second}, store)
	_, err = app.Manager().RevokeUser(t.Context(), "grace")
	require.ErrorContains(t, err, "has not reached RedisOptions.WaitReplicas replicas", "nor do revocations count that no replica has")
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
	for _, client := range []redis.UniversalClient{client, kit.Across{UniversalClient: client}} {
		app := kit.New(t, session.Config{MaxPerUser: 2}, kit.RedisOn(t, client, session.RedisOptions{Prefix: "app:"}))
		b := app.BrowserWith(app.Start())
		for _, do := range []func(*session.Session){
			func(s *session.Session) { s.Set("n", 1) }, kit.Regenerate, kit.LoginAda, kit.LoginAda, kit.LoginAda, kit.Regenerate, kit.Logout,
		} {
			resp := app.Do(b.Cookie, do)
			require.Equal(t, http.StatusOK, resp.StatusCode, app.Log())
			b.Receive(resp)
		}
		app.Login("ada")
		app.RevokeUser("ada")
		require.Empty(t, app.Listed("ada"))
	}
}

// Nobody writes such a thing, but following it must come to an end.
func TestRedis_TombstonesInACircle(t *testing.T) {
	store := kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{})
	app := kit.New(t, session.Config{StoreTimeout: 200 * time.Millisecond}, store)
	cookie, other := app.Login("ada"), app.Login("ada")
	a, b := app.Look(cookie).ID, app.Look(other).ID
	for id, successor := range map[string]string{a: b, b: a} {
		tombstone := app.Tombstone(id, "ada")
		tombstone.Successor = successor
		_, err := store.End(app.Context(), tombstone)
		require.NoError(t, err)
	}
	begun := time.Now()
	app.Do(cookie, kit.Logout)
	require.Less(t, time.Since(begun), 5*time.Second)
	require.True(t, app.Dead(cookie))
	require.Empty(t, app.Listed("ada"))
}

// How the client names what it caches has the user's name in front, which may look like a key.
func TestRedis_NearCacheOfAUserNamedLikeAKey(t *testing.T) {
	server := redistest.Start(t)
	server.MustDo("ACL", "SETUSER", "session:app", "on", ">secret", "~*", "&*", "+@all")
	near := session.RedisOptions{NearCache: session.NearCache{MaxEntries: 10, MaxStaleness: time.Hour}}
	store := kit.OpenRedisAt(t, "redis://session%3Aapp:secret@"+server.Addr+"/0", near)
	v := kit.New(t, session.Config{}, store).Browser()
	v.SignIn("ada")
	for i := range 500 {
		v.Must(func(s *session.Session) { s.Set("k", i) })
		require.Equal(t, i, kit.Read[int](v, "k"))
	}
}

// A process whose first call is a write has nothing in its near cache to drop, and then reads what it wrote.
func TestRedis_NearCacheWritesFirst(t *testing.T) {
	near := session.NearCache{MaxEntries: 10, MaxStaleness: time.Hour}
	v := kit.New(t, session.Config{}, kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{NearCache: near})).Browser()
	v.SignIn("ada")
	for i := range 3 {
		v.Must(func(s *session.Session) { s.Set("k", i) })
		require.Equal(t, i, kit.Read[int](v, "k"))
	}
}
