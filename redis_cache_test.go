package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCacheNaming(t *testing.T) {
	const reply = "*2\r\n$7\r\nhgetall\r\n$10\r\n"
	for _, c := range []struct {
		what, cacheKey, redisKey string
		want                     *cacheNaming
	}{
		{"as it is", "0\x00:\x00" + reply + "session:id\r\n", "0\x00:\x00session:id", &cacheNaming{"0\x00:\x00", "0\x00:\x00" + reply, "\r\n"}},
		{"the prefix in the namespace", "session:" + reply + "session:id\r\n", "session:session:id", &cacheNaming{"session:", "session:" + reply, "\r\n"}},
		{"no namespace", reply + "session:id\r\n", "session:id", &cacheNaming{"", reply, "\r\n"}},
		{"not a session's key", "0" + reply + "other:id\r\n", "0other:id", nil},
		{"names that have nothing in common", "a hash", "0session:id", nil},
		{"nothing", "", "", nil},
	} {
		require.Equal(t, c.want, newCacheNaming(c.cacheKey, c.redisKey, "session:"), c.what)
	}
}

// Where it can't be told what a reply is called, none may outlive a write.
func TestRedis_NearCacheWithUnknownNames(t *testing.T) {
	cache := NearCache{MaxEntries: 10, MaxStaleness: 1 << 40}.newCache("session:")
	token, ok := cache.Reserve("a hash", []string{"0session:id"})
	require.True(t, ok)
	require.True(t, cache.FulfillOwned("a hash", token, 1, []byte("reply")))
	_, ok = cache.Get(t.Context(), "a hash")
	require.True(t, ok)
	cache.wrote("id")
	_, ok = cache.Get(t.Context(), "a hash")
	require.False(t, ok)
}
