package session_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

// failure returns the error that a request's commit ended in, and checks that the handler's answer did not leave.
func failure(t *testing.T, store session.Store, what func(*session.Session)) error {
	t.Helper()
	var failed error
	v := newSite(t, store, session.Config{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		failed = err
		http.Error(w, "the error page", http.StatusInternalServerError)
	}}).visitor()
	resp := v.visit(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Handler", "was here")
		what(session.FromContext(r.Context()))
		_, _ = w.Write([]byte("done"))
	})
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, "the error page\n", text(t, resp))
	require.Empty(t, resp.Header["X-Handler"])
	require.Empty(t, resp.Header["Set-Cookie"])
	return failed
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
		"NaN":                      {math.NaN(), "NaN"},
		"infinity":                 {math.Inf(1), "+Inf"},
		"NaN within":               {m{"a": []float64{1, math.NaN()}}, "NaN"},
		"float32 infinity":         {struct{ F float32 }{float32(math.Inf(-1))}, "-Inf"},
		"invalid UTF-8":            {"caf\xe9", "not valid UTF-8"},
		"half a rune":              {"日本語"[:4], "not valid UTF-8"},
		"invalid within":           {m{"a": []string{"x", "\xff"}}, "not valid UTF-8"},
		"invalid key within":       {m{"\xff": 1}, "not valid UTF-8"},
		"invalid after a slash":    {`\` + "\xff", "not valid UTF-8"},
		"invalid after two":        {`\\` + "\xff", "not valid UTF-8"},
		"invalid after an escape":  {"\n\t\"\u2028<\xff", "not valid UTF-8"},
		"invalid after U+FFFD":     {"\ufffd\xff", "not valid UTF-8"},
		"a surrogate":              {"\xed\xa0\x80", "not valid UTF-8"},
		"a channel":                {make(chan int), "unsupported type"},
		"a function":               {func() {}, "unsupported type"},
		"a complex number":         {1i, "unsupported type"},
		"a cycle":                  {cyclic, "cycle"},
		"a map with odd keys":      {map[[2]int]int{{1, 2}: 3}, "unsupported type"},
		"a Marshaler that fails":   {unmarshalable{}, "it does not want to"},
		"a byte over the limit":    {strings.Repeat("x", session.MaxValueSize-1), "more than 1048576 bytes"},
		"a list of over the limit": {make([]int64, session.MaxValueSize), "more than 1048576 bytes"},
	} {
		t.Run(what, func(t *testing.T) {
			store := &countingStore{Store: session.NewMemoryStore()}
			check := func(err error) {
				require.ErrorContains(t, err, `session: can't encode the value of key "the key"`)
				require.ErrorContains(t, err, c.why)
			}
			check(failure(t, store, func(s *session.Session) {
				s.Set("good", 1)
				s.Set("the key", c.value)
				require.False(t, s.Has("the key"))
				check(s.Err())
				check(s.Save(context.Background()))
			}))
			check(failure(t, store, func(s *session.Session) { session.Key[any]("the key").Set(s, c.value) }))
			check(failure(t, store, func(s *session.Session) {
				session.Key[any]("the key").Update(s, func(any) any { return c.value })
			}))
			require.Zero(t, store.saves.Load())
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
		store := &countingStore{Store: session.NewMemoryStore()}
		require.ErrorContains(t, failure(t, store, f), "not valid UTF-8", what)
		require.Zero(t, store.saves.Load(), what)
	}
	newSite(t, session.NewMemoryStore(), session.Config{}).visitor().must(func(s *session.Session) {
		require.ErrorContains(t, s.Login("\xff"), "not valid UTF-8")
		require.ErrorContains(t, s.Login(""), "needs a user")
	})
}

func TestGuarantee12_ABadValueSparesTheStoredSession(t *testing.T) {
	site := newSite(t, session.NewMemoryStore(), session.Config{})
	v := site.visitor()
	v.must(func(s *session.Session) { s.Set("k", "good") })
	resp := v.do(func(s *session.Session) { s.Set("other", 1); s.Set("k", math.NaN()) })
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, "good", read[string](v, "k"))
	require.Equal(t, []string{"k"}, sortedKeys(v))
}

// What can't be encoded is gone with the session that it was set in.
func TestGuarantee12_ABadValueDoesNotStandInTheWayOfALogout(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	v.signIn("ada")
	v.must(func(s *session.Session) {
		s.Set("k", math.NaN())
		require.NoError(t, s.Destroy())
	})
	require.True(t, v.signedOut())
}

func TestGuarantee12_ABadValueSetByRevalidate(t *testing.T) {
	bad := false
	v := newSite(t, session.NewMemoryStore(), session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		if bad {
			s.Set("k", math.NaN())
		}
		return nil
	}}).visitor()
	v.signIn("ada")
	bad = true
	resp := v.do(func(s *session.Session) { require.ErrorContains(t, s.Err(), `"k"`) })
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
}

// The client is told nothing of what was wrong, so the log is.
func TestGuarantee12_ABadValueIsLogged(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	require.Equal(t, http.StatusInternalServerError, v.do(func(s *session.Session) { s.Set("ratio", math.NaN()) }).StatusCode)
	require.Contains(t, v.site.log(), "level=ERROR")
	require.Contains(t, v.site.log(), "ratio")

	v = newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	v.signIn("ada")
	late := v.copied()
	require.Equal(t, http.StatusConflict, v.do(func(s *session.Session) {
		late.must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
		s.Set("n", 1)
	}).StatusCode)
	require.NotContains(t, v.site.log(), "level=ERROR", "that a session ends is no fault")
}

// A stored value that Revalidate can't read is told as one that the handler can't read.
func TestGuarantee12_AMisfitReadByRevalidate(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		session.Key[int]("k").Get(s)
		return nil
	}}).visitor()
	v.must(func(s *session.Session) { s.Set("k", "text") })
	v.must(func(s *session.Session) { require.ErrorContains(t, s.Err(), `"k"`) })
	require.Contains(t, v.site.log(), "can't be read")
}

func TestValues_OddKeys(t *testing.T) {
	odd := []string{
		"", " ", "\x00", "a\x00b", "line\nbreak", "\r\n", "\t", "\u2028", "日本語", "🍵", "\ufffd", `"quoted"`, `\`, "'", ":", "!", ":k", "!k", "i", "u", "x", "t", "m", "o",
		"=", ";", ",", "{a}", "*", "%", "..", "_", "__proto__", "Id", "id", "values", strings.Repeat("long", 500),
	}
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	checkKeys(t, v, odd)
	checkKeys(t, newSite(t, redisStore(t, redistest.Start(t), session.RedisOptions{}), session.Config{}).visitor(), odd)
	for i := range odd { // one cookie does not hold all of them
		if i+8 < len(odd) {
			checkKeys(t, newSite(t, cookieStore(t, secretOne), session.Config{}).visitor(), odd[i:i+8])
		}
	}
	var user string
	v.must(func(s *session.Session) { user = s.User() })
	require.Empty(t, user, "a key is no field of the session's own")
}

func checkKeys(t *testing.T, v *visitor, keys []string) {
	t.Helper()
	v.must(func(s *session.Session) {
		for i, key := range keys {
			s.Set(key, i)
		}
	})
	require.Equal(t, slices.Sorted(slices.Values(keys)), sortedKeys(v))
	v.must(func(s *session.Session) {
		for i, key := range keys {
			got, ok := session.Key[int](key).Get(s)
			if !ok || !s.Has(key) || got != i {
				t.Errorf("%q: %d, %v", key, got, ok)
			}
		}
		s.Delete(keys[0])
	})
	require.Equal(t, slices.Sorted(slices.Values(keys[1:])), sortedKeys(v))
}

func TestValues_TenThousandKeys(t *testing.T) {
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprint("key ", i)
	}
	for _, store := range []session.Store{session.NewMemoryStore(), redisStore(t, redistest.Start(t), session.RedisOptions{})} {
		checkKeys(t, newSite(t, store, session.Config{}).visitor(), keys)
	}
}

func TestValues_OneMegabyte(t *testing.T) {
	for _, store := range []session.Store{session.NewMemoryStore(), redisStore(t, redistest.Start(t), session.RedisOptions{})} {
		v := newSite(t, store, session.Config{}).visitor()
		most := strings.Repeat("x", session.MaxValueSize-len(`""`))
		v.must(func(s *session.Session) { s.Set("k", most); s.Set("other", most) })
		require.Equal(t, most, read[string](v, "k"))
		require.Equal(t, most, read[string](v, "other"), "it is a limit of each value")
	}
}
