//go:build !noservers

package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/redistest"
)

// openedRedis returns a store on a client of its own, as each process has one.
func openedRedis(t testing.TB, server *redistest.Server, opts RedisOptions) *RedisStore {
	t.Helper()
	s, err := OpenRedisStore(t.Context(), server.URL(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// givenRedis is a client of a type that RedisStore does not know, so that it expects each key on another server.
type givenRedis struct{ redis.UniversalClient }

// redisStores are a store of one server, and one that makes swaps one by one.
func redisStores(t *testing.T) (*redistest.Server, map[string]*RedisStore) {
	server := redistest.Start(t)
	one := openedRedis(t, server, RedisOptions{})
	inTurn, err := NewRedisStore(givenRedis{one.Client()}, RedisOptions{Prefix: "in turn:"})
	require.NoError(t, err)
	near := openedRedis(t, server, RedisOptions{Prefix: "near:", NearCache: NearCache{100, time.Hour}})
	return server, map[string]*RedisStore{"one server": one, "in turn": inTurn, "near cache": near}
}

func redisRecord(id, revision, user string) *Record {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &Record{
		ID: id, Revision: revision, Realm: "realm", User: user, CreatedAt: now, IssuedAt: now, LastUsedAt: now,
		Deadline: now.Add(24 * time.Hour), IdleTimeout: time.Hour,
		Values: NewValues(map[string]json.RawMessage{"n": json.RawMessage("17")}),
	}
}

func redisTombstone(r *Record, revision string) *Record {
	return &Record{ID: r.ID, Revision: revision, Realm: r.Realm, User: r.User, Ended: true, Deadline: time.Now().UTC().Truncate(time.Microsecond).Add(tombstoneLife)}
}

func (r *Record) revised(revision string) *Record {
	next := *r
	next.Revision = revision
	return &next
}

func redisLoad(t testing.TB, s *RedisStore, id string) *Record {
	t.Helper()
	r, err := s.Load(t.Context(), NewToken(id, ""))
	require.NoError(t, err)
	return r
}

func redisSwap(t testing.TB, s *RedisStore, swaps ...Swap) {
	t.Helper()
	token := NewToken("any", "value")
	after, err := s.Swap(t.Context(), token, swaps...)
	require.NoError(t, err)
	require.Equal(t, token, after)
}

func redisConflict(t testing.TB, err error) *ConflictError {
	t.Helper()
	var conflict *ConflictError
	require.ErrorAs(t, err, &conflict)
	return conflict
}

func TestRedisStore_Records(t *testing.T) {
	_, stores := redisStores(t)
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			_, err := s.Load(t.Context(), NewToken("a", ""))
			require.ErrorIs(t, err, ErrNotFound)
			a := redisRecord("a", "1", "")
			redisSwap(t, s, Swap{New: a})
			require.Equal(t, "17", string(redisLoad(t, s, "a").Values.Get("n")))
			require.Equal(t, a.Deadline, redisLoad(t, s, "a").Deadline)

			redisSwap(t, s, Swap{Old: a, New: a.revised("2")})
			redisSwap(t, s, Swap{Old: a, New: a.revised("2")}) // sent again
			_, err = s.Swap(t.Context(), Token{}, Swap{Old: a, New: a.revised("3")})
			conflict := redisConflict(t, err)
			require.Equal(t, "a", conflict.ID)
			require.Equal(t, "2", conflict.Current.Revision)
			require.Equal(t, "2", redisLoad(t, s, "a").Revision)

			missing := redisRecord("missing", "1", "")
			_, err = s.Swap(t.Context(), Token{}, Swap{Old: missing, New: missing.revised("2")})
			require.Nil(t, redisConflict(t, err).Current)

			b := redisRecord("b", "1", "ada")
			redisSwap(t, s, Swap{Old: a.revised("2"), New: redisTombstone(a, "3")}, Swap{New: b})
			require.True(t, redisLoad(t, s, "a").Ended)
			_, err = s.Swap(t.Context(), Token{}, Swap{Old: b, New: redisTombstone(b, "2")}, Swap{New: redisRecord("a", "4", "")})
			require.Equal(t, "a", redisConflict(t, err).ID)
			require.Equal(t, s != stores["in turn"], !redisLoad(t, s, "b").Ended, "all or none, where that can be")
		})
	}
}

func TestRedisStore_End(t *testing.T) {
	_, stores := redisStores(t)
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			a := redisRecord("a", "1", "ada")
			redisSwap(t, s, Swap{New: a})
			require.Equal(t, "1", redisLoad(t, s, "a").Revision)
			replaced, err := s.End(t.Context(), redisTombstone(a, "2"))
			require.NoError(t, err)
			require.Equal(t, "17", string(replaced.Values.Get("n")))
			require.True(t, redisLoad(t, s, "a").Ended)

			replaced, err = s.End(t.Context(), redisTombstone(a, "3"))
			require.Nil(t, replaced)
			require.Equal(t, "2", redisConflict(t, err).Current.Revision)
			replaced, err = s.End(t.Context(), redisTombstone(a, "2"))
			require.Nil(t, replaced)
			require.Equal(t, "2", redisConflict(t, err).Current.Revision, "sent again")

			replaced, err = s.End(t.Context(), redisTombstone(redisRecord("none", "", "ada"), "1"))
			require.NoError(t, err)
			require.Nil(t, replaced)
			require.True(t, redisLoad(t, s, "none").Ended)
			_, err = s.Swap(t.Context(), Token{}, Swap{New: redisRecord("none", "2", "ada")})
			require.True(t, redisConflict(t, err).Current.Ended, "it can't be created any more")
		})
	}
}

// redisUser returns the IDs that are listed.
func redisUser(t testing.TB, s *RedisStore, realm, user string) []string {
	t.Helper()
	records, err := s.UserSessions(t.Context(), realm, user)
	require.NoError(t, err)
	ids := []string{}
	for _, r := range records {
		require.Equal(t, realm, r.Realm)
		require.Equal(t, user, r.User)
		ids = append(ids, r.ID)
	}
	return ids
}

func TestRedisStore_UserSessions(t *testing.T) {
	_, stores := redisStores(t)
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, redisUser(t, s, "realm", "ada"))
			live, ended, late, large := redisRecord("live", "1", "ada"), redisRecord("ended", "1", "ada"), redisRecord("late", "1", "ada"), redisRecord("large", "1", "ada")
			late.Deadline = time.Now().UTC().Add(-10 * time.Second).Truncate(time.Microsecond)
			large.Values = NewValues(map[string]json.RawMessage{"n": json.RawMessage(`"` + strings.Repeat("x", 5000) + `"`)})
			large.Note = strings.Repeat("n", 256)
			redisSwap(t, s, Swap{New: live})
			redisSwap(t, s, Swap{New: ended})
			redisSwap(t, s, Swap{New: late})
			redisSwap(t, s, Swap{New: large})
			_, err := s.End(t.Context(), redisTombstone(ended, "2"))
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"live", "ended", "late", "large"}, redisUser(t, s, "realm", "ada"))
			require.Empty(t, redisUser(t, s, "other realm", "ada"))
			require.Empty(t, redisUser(t, s, "realm", "grace"))
		})
	}
}

// Users and realms of any bytes meet neither each other nor the key of a session.
func TestRedisStore_UsersOfAnyBytes(t *testing.T) {
	server, stores := redisStores(t)
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			users := [][2]string{
				{"", "a"}, {"a", "\x00"}, {"1:a", "b"}, {"1", ":ab"}, {"a", "b"}, {"ab", ""}, {"", "ab"}, {"r", "user:\r\n*{}[]?"},
				{"r", strings.Repeat("é", 512)}, {strings.Repeat("r", 256), strings.Repeat("u", 1024)}, {"r", "日本"}, {"r", ":"},
			}
			for i, u := range users {
				r := redisRecord(fmt.Sprint("s", i), "1", u[1])
				r.Realm = u[0]
				redisSwap(t, s, Swap{New: r})
			}
			for i, u := range users {
				if u[1] != "" {
					require.Equal(t, []string{fmt.Sprint("s", i)}, redisUser(t, s, u[0], u[1]), "%q", u)
				}
			}
			for _, key := range strings.Fields(server.MustDo("KEYS", s.prefix+"*")) {
				require.Less(t, len(key), len(s.prefix)+50)
			}
			list := strings.TrimPrefix(s.list("a", "b"), s.prefix)
			_, err := s.Load(t.Context(), NewToken(list, ""))
			require.ErrorIs(t, err, ErrNotFound)
			_, err = s.Swap(t.Context(), Token{}, Swap{New: redisRecord(list, "1", "")})
			require.ErrorContains(t, err, "is no session ID")
			_, err = s.End(t.Context(), redisRecord(list, "1", ""))
			require.ErrorContains(t, err, "is no session ID")
			_, err = s.Load(t.Context(), NewToken("", ""))
			require.ErrorIs(t, err, ErrNotFound)
		})
	}
}

// The list is written to when a session's end moves: so it heals, and a plain change stays cheap.
func TestRedisStore_TheListIsWrittenWhenTheEndMoves(t *testing.T) {
	server, stores := redisStores(t)
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			forget := func() { server.MustDo("DEL", s.list("realm", "ada")) }
			r := redisRecord("s", "1", "ada")
			redisSwap(t, s, Swap{New: r})
			forget()
			changed := r.revised("2")
			redisSwap(t, s, Swap{Old: r, New: changed})
			require.Empty(t, redisUser(t, s, "realm", "ada"))
			touched := changed.revised("3")
			touched.LastUsedAt = touched.LastUsedAt.Add(time.Minute)
			redisSwap(t, s, Swap{Old: changed, New: touched})
			require.Equal(t, []string{"s"}, redisUser(t, s, "realm", "ada"))
			forget()
			lengthened := touched.revised("4")
			lengthened.IdleTimeout *= 2
			redisSwap(t, s, Swap{Old: touched, New: lengthened})
			require.Equal(t, []string{"s"}, redisUser(t, s, "realm", "ada"))
			forget()
			_, err := s.End(t.Context(), redisTombstone(r, "5"))
			require.NoError(t, err)
			require.Equal(t, []string{"s"}, redisUser(t, s, "realm", "ada"))
		})
	}
}

// A process whose clock is a day off drops no entries of others, and its own live as long as their sessions.
func TestRedisStore_AClockADayOff(t *testing.T) {
	server, stores := redisStores(t)
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			redisSwap(t, s, Swap{New: redisRecord("here", "1", "ada")})
			for what, off := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
				clock := func() time.Time { return time.Now().Add(off) }
				r := redisRecord(what, "1", "ada")
				r.LastUsedAt, r.Deadline = r.LastUsedAt.Add(off), r.Deadline.Add(off)
				_, err := s.Swap(WithClock(t.Context(), clock), Token{}, Swap{New: r})
				require.NoError(t, err)
				require.InDelta(t, 61*60*1000, redisNumber(t, server.MustDo("PTTL", s.prefix+what)), 5000)
			}
			require.ElementsMatch(t, []string{"here", "ahead", "behind"}, redisUser(t, s, "realm", "ada"))
		})
	}
}

func redisNumber(t testing.TB, text string) (n float64) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &n))
	return n
}

// What makes no sense is as good as not there; what a newer release wrote is a failure.
func TestRedisStore_WhatIsNoRecord(t *testing.T) {
	server, stores := redisStores(t)
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			server.MustDo("HSET", s.prefix+"hash", "f", "v")
			server.MustDo("SET", s.prefix+"text", "foreign")
			redisSwap(t, s, Swap{New: redisRecord("s", "1", "ada")})
			server.MustDo("COPY", s.prefix+"s", s.prefix+"copied")
			for _, id := range []string{"hash", "text", "copied"} {
				_, err := s.Load(t.Context(), NewToken(id, ""))
				require.ErrorIs(t, err, errUnreadable, id)
			}
			_, err := s.Swap(t.Context(), Token{}, Swap{New: redisRecord("text", "1", "")})
			require.Nil(t, redisConflict(t, err).Current)
			_, err = s.Swap(t.Context(), Token{}, Swap{New: redisRecord("hash", "1", "")})
			require.ErrorIs(t, err, errUnreadable)
			replaced, err := s.End(t.Context(), redisTombstone(redisRecord("text", "", ""), "1"))
			require.NoError(t, err)
			require.Nil(t, replaced)

			server.MustDo("DEL", s.list("realm", "ada"))
			server.MustDo("SET", s.list("realm", "ada"), "foreign")
			_, err = s.UserSessions(t.Context(), "realm", "ada")
			require.ErrorIs(t, err, errUnreadable)
		})
	}
}

func TestRedisStore_AContextThatHasEnded(t *testing.T) {
	_, stores := redisStores(t)
	ended, end := context.WithCancel(t.Context())
	end()
	for name, s := range stores {
		redisSwap(t, s, Swap{New: redisRecord("s", "1", "")})
		redisLoad(t, s, "s")
		redisLoad(t, s, "s")
		_, err := s.Load(ended, NewToken("s", ""))
		require.ErrorIs(t, err, context.Canceled, name)
	}
}

func TestNewRedisStore_Refuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{ContextTimeoutEnabled: true})
	ring := redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, errors.Join(client.Close(), ring.Close())) })
	credentials := func(context.Context) (string, string, error) { return "", "", nil }
	for _, c := range []struct {
		client redis.UniversalClient
		opts   RedisOptions
		want   string
	}{
		{nil, RedisOptions{}, "client is nil"},
		{ring, RedisOptions{}, "redis.Ring"},
		{client, RedisOptions{WaitReplicas: -1}, "WaitReplicas is negative"},
		{client, RedisOptions{NearCache: NearCache{MaxEntries: 1}}, "use OpenRedisStore"},
		{client, RedisOptions{Credentials: credentials}, "for OpenRedisStore"},
	} {
		_, err := NewRedisStore(c.client, c.opts)
		require.ErrorContains(t, err, c.want)
	}
	s, err := NewRedisStore(client, RedisOptions{})
	require.NoError(t, err, "it need not be there yet")
	require.Same(t, client, s.Client())
	require.NoError(t, s.Close())
	require.NotErrorIs(t, client.Ping(t.Context()).Err(), redis.ErrClosed)

	for opts, want := range map[NearCache]string{{MaxStaleness: 1}: "MaxEntries must be positive", {MaxEntries: 1}: "MaxStaleness must be positive"} {
		_, err := OpenRedisStore(t.Context(), "redis://localhost:1", RedisOptions{NearCache: opts})
		require.ErrorContains(t, err, want)
	}
}

func TestRedisStore_ShowsNoSecret(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "S3CRET")
	s, err := OpenRedisStore(t.Context(), "redis://:S3CRET@"+server.Addr, RedisOptions{NearCache: NearCache{1, time.Hour}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, s), "S3CRET")
		require.NotContains(t, fmt.Sprintf(verb, struct{ s *RedisStore }{s}), "S3CRET")
	}
	require.Equal(t, "RedisStore(session:)", s.String())
}

// nearRedis returns a store with a near cache, and one without.
func nearRedis(t *testing.T) (near, far *RedisStore) {
	server := redistest.Start(t)
	return openedRedis(t, server, RedisOptions{NearCache: NearCache{100, time.Hour}}), openedRedis(t, server, RedisOptions{})
}

// warmRedis reads until the near cache answers.
func warmRedis(t testing.TB, s *RedisStore, id string) *Record {
	t.Helper()
	var r *Record
	require.Eventually(t, func() bool {
		r = redisLoad(t, s, id)
		return r == redisLoad(t, s, id)
	}, 5*time.Second, time.Millisecond)
	return r
}

func TestNearCache_OfAnotherProcess(t *testing.T) {
	near, far := nearRedis(t)
	a := redisRecord("a", "1", "ada")
	redisSwap(t, far, Swap{New: a})
	warmRedis(t, near, "a")
	redisSwap(t, far, Swap{Old: a, New: a.revised("2")})
	require.Eventually(t, func() bool { return redisLoad(t, near, "a").Revision == "2" }, 5*time.Second, time.Millisecond)
	warmRedis(t, near, "a")
	_, err := far.End(t.Context(), redisTombstone(a, "3"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return redisLoad(t, near, "a").Ended }, 5*time.Second, time.Millisecond)
}

// What the process writes itself it does not read from its cache any more, though it hears no notice.
func TestNearCache_OwnWrites(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	near, err := OpenRedisStore(t.Context(), proxy.URL(), RedisOptions{NearCache: NearCache{100, time.Hour}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, near.Close()) })
	far := openedRedis(t, server, RedisOptions{})
	proxy.Set(redistest.Unheard)
	old := redisRecord("a", "0", "ada")
	redisSwap(t, near, Swap{New: old})
	for i := range 500 {
		next := old.revised(fmt.Sprint(i + 1))
		redisSwap(t, near, Swap{Old: old, New: next})
		require.Equal(t, next.Revision, redisLoad(t, near, "a").Revision)
		old = next
	}
	stale := warmRedis(t, near, "a")
	redisSwap(t, far, Swap{Old: old, New: old.revised("far")})
	require.Same(t, stale, redisLoad(t, near, "a"), "the notice is lost")

	pastIt, err := near.Load(context.WithValue(t.Context(), pastCacheKey{}, true), NewToken("a", ""))
	require.NoError(t, err)
	require.Equal(t, "far", pastIt.Revision)
	require.Len(t, redisUser(t, near, "realm", "ada"), 1)

	_, err = near.Swap(t.Context(), Token{}, Swap{Old: old, New: old.revised("near")})
	redisConflict(t, err)
	require.Equal(t, "far", redisLoad(t, near, "a").Revision, "a load after a conflict returns nothing older")

	_, err = near.End(t.Context(), redisTombstone(old, "end"))
	require.NoError(t, err)
	require.True(t, redisLoad(t, near, "a").Ended)
}

// A reader sees no revision that is older than one it has seen.
func TestNearCache_NeverGoesBack(t *testing.T) {
	near, _ := nearRedis(t)
	old := redisRecord("a", "0", "")
	redisSwap(t, near, Swap{New: old})
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			seen := 0.0
			for {
				select {
				case <-stop:
					return
				default:
				}
				now := redisNumber(t, redisLoad(t, near, "a").Revision)
				if now < seen {
					t.Errorf("%v after %v", now, seen)
					return
				}
				seen = now
			}
		})
	}
	for i := range 500 {
		next := old.revised(fmt.Sprint(i + 1))
		redisSwap(t, near, Swap{Old: old, New: next})
		old = next
	}
	close(stop)
	readers.Wait()
}
