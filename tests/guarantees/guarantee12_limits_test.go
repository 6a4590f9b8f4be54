//go:build !noservers

package guarantees_test

import (
	"github.com/doorman-go/session"

	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// What is left of a value that another program wrote is refused as a whole.
func TestGuarantee12_AValueFollowedByOther(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	app.Rewrite(cookie, func(r *session.Record) {
		r.Values = session.NewValues(map[string]json.RawMessage{"cart": json.RawMessage(`"tea" "coffee"`)})
	})
	app.Do(cookie, func(s *session.Session) {
		v := any("as it was")
		require.False(t, s.Get("cart", &v))
		require.Equal(t, "as it was", v)
		require.ErrorContains(t, s.Err(), "it is not valid JSON")
	})
}

type unmarshalable struct{}

func (unmarshalable) MarshalJSON() ([]byte, error) { return nil, errors.New("it does not want to") }

func TestGuarantee12_RefusedWithTheKeysName(t *testing.T) {
	type m = map[string]any
	cyclic := m{}
	cyclic["self"] = cyclic
	for what, c := range map[string]struct {
		value any
		why   string
	}{
		"NaN":                     {math.NaN(), "NaN"},
		"infinity":                {math.Inf(1), "+Inf"},
		"NaN within":              {m{"a": []float64{1, math.NaN()}}, "NaN"},
		"float32 infinity":        {struct{ F float32 }{float32(math.Inf(-1))}, "-Inf"},
		"invalid UTF-8":           {"caf\xe9", "not valid UTF-8"},
		"half a rune":             {"日本語"[:4], "not valid UTF-8"},
		"invalid within":          {m{"a": []string{"x", "\xff"}}, "not valid UTF-8"},
		"invalid key within":      {m{"\xff": 1}, "not valid UTF-8"},
		"invalid after a slash":   {`\` + "\xff", "not valid UTF-8"},
		"invalid after two":       {`\\` + "\xff", "not valid UTF-8"},
		"invalid after an escape": {"\n\t\"\u2028<\xff", "not valid UTF-8"},
		"invalid after U+FFFD":    {"\ufffd\xff", "not valid UTF-8"},
		"a surrogate":             {"\xed\xa0\x80", "not valid UTF-8"},
		"a channel":               {make(chan int), "unsupported type"},
		"a function":              {func() {}, "unsupported type"},
		"a complex number":        {1i, "unsupported type"},
		"a cycle":                 {cyclic, "cycle"},
		"a map with odd keys":     {map[[2]int]int{{1, 2}: 3}, "unsupported type"},
		"a Marshaler that fails":  {unmarshalable{}, "it does not want to"},
	} {
		t.Run(what, func(t *testing.T) {
			check := func(err error) {
				require.ErrorContains(t, err, `session: can't encode the value of key "the key"`)
				require.ErrorContains(t, err, c.why)
			}
			check(failure(t, func(s *session.Session) {
				s.Set("good", 1)
				s.Set("the key", c.value)
				require.False(t, s.Has("the key"))
				check(s.Err())
				check(s.Save(context.Background()))
			}))
			check(failure(t, func(s *session.Session) { session.Key[any]("the key").Set(s, c.value) }))
			check(failure(t, func(s *session.Session) {
				session.Key[any]("the key").Update(s, func(any) any { return c.value })
			}))
			require.NoError(t, (&session.Session{}).Err())
		})
	}
}

func TestGuarantee12_RefusedElsewhere(t *testing.T) {
	for what, f := range map[string]func(*session.Session){
		"a key":      func(s *session.Session) { s.Set("\xff", 1) },
		"a category": func(s *session.Session) { s.Flash("\xff", "m") },
		"a message":  func(s *session.Session) { s.Flash("c", "m\xff") },
		"a note":     func(s *session.Session) { s.Set("k", 1); s.SetNote("\xff") },
	} {
		require.ErrorContains(t, failure(t, f), "not valid UTF-8", what)
	}
	kit.New(t, session.Config{}, session.NewMemoryStore()).Browser().Must(func(s *session.Session) {
		require.ErrorContains(t, s.Login("\xff"), "not valid UTF-8")
		require.ErrorContains(t, s.Login(""), "needs a user")
	})
}

func TestGuarantee12_ABadValueSparesTheStoredSession(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	v := app.Browser()
	v.Must(func(s *session.Session) { s.Set("k", "good") })
	resp := v.Do(func(s *session.Session) { s.Set("other", 1); s.Set("k", math.NaN()) })
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, "good", kit.Read[string](v, "k"))
	require.Equal(t, []string{"k"}, v.Keys())
}

// What can't be encoded is gone with the session that it was set in.
func TestGuarantee12_ABadValueDoesNotStandInTheWayOfALogout(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.SignIn("ada")
	v.Must(func(s *session.Session) {
		s.Set("k", math.NaN())
		require.NoError(t, s.Destroy())
	})
	require.True(t, v.SignedOut())
}

func TestGuarantee12_ABadValueSetByRevalidate(t *testing.T) {
	bad := false
	v := kit.New(t, session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		if bad {
			s.Set("k", math.NaN())
		}
		return nil
	}}, session.NewMemoryStore()).Browser()
	v.SignIn("ada")
	bad = true
	resp := v.Do(func(s *session.Session) { require.ErrorContains(t, s.Err(), `"k"`) })
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
}

// The client is told nothing of what was wrong, so the log is.
func TestGuarantee12_ABadValueIsLogged(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	require.Equal(t, http.StatusInternalServerError, v.Do(func(s *session.Session) { s.Set("ratio", math.NaN()) }).StatusCode)
	require.Contains(t, v.App.Log(), "level=ERROR")
	require.Contains(t, v.App.Log(), "ratio")

	v = kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.SignIn("ada")
	late := v.Copy()
	require.Equal(t, http.StatusConflict, v.Do(func(s *session.Session) {
		late.Must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
		s.Set("n", 1)
	}).StatusCode)
	require.NotContains(t, v.App.Log(), "level=ERROR", "that a session ends is no fault")
}

// A stored value that Revalidate can't read is told as one that the handler can't read.
func TestGuarantee12_AMisfitReadByRevalidate(t *testing.T) {
	v := kit.New(t, session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		session.Key[int]("k").Get(s)
		return nil
	}}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) { s.Set("k", "text") })
	v.Must(func(s *session.Session) { require.ErrorContains(t, s.Err(), `"k"`) })
	require.Contains(t, v.App.Log(), "can't be read")
}

func TestValues_OddKeys(t *testing.T) {
	odd := []string{
		"", " ", "\x00", "a\x00b", "line\nbreak", "\r\n", "\t", "\u2028", "日本語", "🍵", "\ufffd", `"quoted"`, `\`, "'", ":", "!", ":k", "!k", "i", "u", "x", "t", "m", "o",
		"=", ";", ",", "{a}", "*", "%", "..", "_", "__proto__", "Id", "id", "values", strings.Repeat("long", 500),
	}
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	checkKeys(t, v, odd)
	checkKeys(t, kit.New(t, session.Config{}, kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{})).Browser(), odd)
	for i := range odd { // one cookie does not hold all of them
		if i+8 < len(odd) {
			checkKeys(t, kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne)).Browser(), odd[i:i+8])
		}
	}
	var user string
	v.Must(func(s *session.Session) { user = s.User() })
	require.Empty(t, user, "a key is no field of the session's own")
}

func checkKeys(t *testing.T, v *kit.Browser, keys []string) {
	t.Helper()
	v.Must(func(s *session.Session) {
		for i, key := range keys {
			s.Set(key, i)
		}
	})
	require.Equal(t, slices.Sorted(slices.Values(keys)), v.Keys())
	v.Must(func(s *session.Session) {
		for i, key := range keys {
			got, ok := session.Key[int](key).Get(s)
			if !ok || !s.Has(key) || got != i {
				t.Errorf("%q: %d, %v", key, got, ok)
			}
		}
		s.Delete(keys[0])
	})
	require.Equal(t, slices.Sorted(slices.Values(keys[1:])), v.Keys())
}

func TestValues_TenThousandKeys(t *testing.T) {
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprint("key ", i)
	}
	for _, store := range []session.Store{session.NewMemoryStore(), kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{})} {
		checkKeys(t, kit.New(t, session.Config{MaxSize: 1 << 20}, store).Browser(), keys)
	}
}

func TestValues_OneMegabyte(t *testing.T) {
	for _, store := range []session.Store{session.NewMemoryStore(), kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{})} {
		v := kit.New(t, session.Config{MaxSize: 3 << 20}, store).Browser()
		most := strings.Repeat("x", 1<<20-len(`""`))
		v.Must(func(s *session.Session) { s.Set("k", most); s.Set("other", most) })
		require.Equal(t, most, kit.Read[string](v, "k"))
		require.Equal(t, most, kit.Read[string](v, "other"))
	}
}

// What a session may take is bounded, and who fills it is named.
func TestGuarantee06_TooLargeWithTheKeysName(t *testing.T) {
	for what, c := range map[string]struct {
		do  func(*session.Session)
		key string
	}{
		"a value":     {func(s *session.Session) { s.Set("small", 1); s.Set("the key", strings.Repeat("x", 64<<10)) }, "the key"},
		"a list":      {func(s *session.Session) { s.Set("the key", make([]int64, 64<<10)) }, "the key"},
		"many values": {fill(func(s *session.Session, i int) { s.Set(fmt.Sprint("key ", i), strings.Repeat("x", 1000)) }), "key "},
		"an update": {func(s *session.Session) {
			session.Key[string]("the key").Update(s, func(string) string { return strings.Repeat("x", 64<<10) })
		}, "the key"},
		"messages": {fill(func(s *session.Session, _ int) { s.Flash("info", strings.Repeat("x", 1000)) }), ""},
	} {
		err := failure(t, c.do)
		require.ErrorIs(t, err, session.ErrTooLarge, what)
		require.ErrorContains(t, err, c.key, what)
	}
}

func fill(add func(*session.Session, int)) func(*session.Session) {
	return func(s *session.Session) {
		for i := range 70 {
			add(s, i)
		}
	}
}
