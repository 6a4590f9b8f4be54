package guarantees_test

import (
	"encoding/json"
	"math"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// later sets a value in one request and reads it in the next.
func later[T any](t *testing.T, store session.Store, value T) T {
	t.Helper()
	v := kit.New(t, session.Config{}, store).Browser()
	key := session.Key[T]("k")
	v.Must(func(s *session.Session) { key.Set(s, value) })
	var got T
	v.Must(func(s *session.Session) {
		var ok bool
		got, ok = key.Get(s)
		require.True(t, ok, "%T %v: %v", value, value, s.Err())
	})
	return got
}

// comesBack compares what comes back with what was set.
func comesBack[T any](values ...T) func(*testing.T, session.Store) {
	return func(t *testing.T, store session.Store) {
		for _, value := range values {
			require.Equal(t, value, later(t, store, value))
		}
	}
}

type (
	address struct{ City, Zip string }
	timed   struct{ Seen time.Time }
	person  struct {
		address        // embedded, and its fields are promoted
		Name    string `json:"name"`
		Age     uint8
		Tags    []string
		Home    *address
		Scores  map[string]map[int64][]float64
		hidden  int
		Left    string `json:"-"`
		Any     any
	}
	level  int8
	secret struct{ text string }
)

func (s secret) MarshalJSON() ([]byte, error) { return json.Marshal("<" + s.text + ">") }

func (s *secret) UnmarshalJSON(raw []byte) error {
	var text string
	err := json.Unmarshal(raw, &text)
	s.text = strings.Trim(text, "<>")
	return err
}

func TestGuarantee12_ValuesComeBackAsTheyWere(t *testing.T) {
	home := &address{"Zürich", "8000"}
	cases := map[string]func(*testing.T, session.Store){
		"int64 beyond 2^53":   comesBack[int64](1<<53+1, -(1<<53 + 1), math.MaxInt64, math.MinInt64, 0),
		"uint64":              comesBack[uint64](math.MaxUint64, 1<<63, 0),
		"int":                 comesBack(math.MaxInt, math.MinInt),
		"small numbers":       comesBack[int8](-128, 127),
		"float64":             comesBack(0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21, math.Copysign(0, -1)),
		"float32":             comesBack[float32](0.1, math.MaxFloat32),
		"a type of one's own": comesBack(level(-3)),
		"bool":                comesBack(true, false),
		"string":              comesBack("", "tea", "<&>\u2028\u2029\x00\x7f\"\\", "\ufffd", `\ufffd`, `\\ufffd`, "日本語 🍵", "line\r\nline"),
		"[]byte":              comesBack([]byte{0, 255, 254, '\n', 128}, []byte{}),
		"array":               comesBack([3]int64{1, 1<<53 + 1, -1}),
		"slices":              comesBack([]string{}, []string{"a", ""}),
		"a nil slice":         comesBack[[]string](nil),
		"a nil map":           comesBack[map[string]int](nil),
		"a nil pointer":       comesBack[*address](nil),
		"nil":                 comesBack[any](nil),
		"a pointer":           comesBack(home),
		"a struct":            comesBack(*home),
		"an embedded struct":  comesBack(person{address: *home, Name: "ada", Age: 36, Tags: []string{"x"}, Home: home}),
		"typed maps in maps":  comesBack(map[string]map[int64][]uint64{"a": {1<<53 + 1: {math.MaxUint64}, -1: nil}, "": {}}),
		"maps of structs":     comesBack(map[string]person{"ada": {Home: home, Scores: map[string]map[int64][]float64{"x": {1: {0.1}}}}}),
		"a json.Marshaler":    comesBack(secret{"hush"}),
		"a list of them":      comesBack([]secret{{"hush"}, {""}}),
		"a json.Number":       comesBack[json.Number]("12345678901234567890.5"),
		"a json.RawMessage":   comesBack(json.RawMessage(`{"a":[1,2]}`)),
		"a duration":          comesBack(time.Duration(math.MaxInt64)),
		"a big.Int":           comesBack(new(big.Int).Lsh(big.NewInt(1), 200)),
		"a TextMarshaler":     comesBack(http.SameSite(3)),
		"any with no number":  comesBack[any](map[string]any{"a": []any{"x", true, nil}}),
	}
	for where, store := range kit.ValueStores(t) {
		for what, test := range cases {
			t.Run(where+"/"+what, func(t *testing.T) { test(t, store) })
		}
	}
}

func TestGuarantee12_TimesKeepNanosecondsAndOffset(t *testing.T) {
	kathmandu := time.FixedZone("NPT", 5*3600+45*60)
	for where, store := range kit.ValueStores(t) {
		for _, at := range []time.Time{
			time.Date(2031, 5, 6, 7, 8, 9, 123456789, kathmandu), time.Date(1969, 12, 31, 23, 59, 59, 1, time.UTC),
			time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", -12*3600)), {}, time.Now(),
		} {
			got := later(t, store, at)
			require.True(t, at.Equal(got), "%s: %v is not %v", where, got, at)
			_, want := at.Zone()
			_, offset := got.Zone()
			require.Equal(t, want, offset, "%s: %v", where, at)
			require.True(t, at.Equal(later(t, store, timed{at}).Seen), where)
			require.True(t, at.Equal(*later(t, store, &at)), where)
		}
	}
}

func TestGuarantee12_NothingThatIsUnexportedOrLeftOut(t *testing.T) {
	got := later(t, session.NewMemoryStore(), person{Name: "ada", hidden: 7, Left: "out"})
	require.Equal(t, person{Name: "ada"}, got)
}

func TestGuarantee12_NumbersIntoAnyAreNotRounded(t *testing.T) {
	for where, store := range kit.ValueStores(t) {
		v := kit.New(t, session.Config{}, store).Browser()
		v.Must(func(s *session.Session) {
			s.Set("n", uint64(math.MaxUint64))
			s.Set("deep", map[string]any{"list": []any{int64(1<<53 + 1), 0.5}, "in a struct": person{Any: int64(1<<53 + 3)}})
			s.Set("typed", person{Any: int64(1<<53 + 5)})
		})
		v.Must(func(s *session.Session) {
			var n any
			require.True(t, s.Get("n", &n))
			require.Equal(t, json.Number("18446744073709551615"), n, where)
			deep, ok := session.Key[map[string]any]("deep").Get(s)
			require.True(t, ok)
			require.Equal(t, []any{json.Number("9007199254740993"), json.Number("0.5")}, deep["list"], where)
			require.Equal(t, json.Number("9007199254740995"), deep["in a struct"].(map[string]any)["Any"], where)
			typed, ok := session.Key[person]("typed").Get(s)
			require.True(t, ok)
			require.Equal(t, json.Number("9007199254740997"), typed.Any, where)
			session.Key[any]("n").Update(s, func(n any) any {
				require.Equal(t, json.Number("18446744073709551615"), n)
				return n
			})
		})
		require.Equal(t, uint64(math.MaxUint64), kit.Read[uint64](v, "n"), where)
	}
}

func TestGuarantee12_ValuesAreEncodedAtOnce(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) {
		list := []string{"tea"}
		s.Set("list", list)
		list[0] = "coffee"
	})
	require.Equal(t, []string{"tea"}, kit.Read[[]string](v, "list"))
	v.Must(func(s *session.Session) {
		got, _ := session.Key[[]string]("list").Get(s)
		got[0] = "coffee" // a copy of one's own
	})
	require.Equal(t, []string{"tea"}, kit.Read[[]string](v, "list"))
}

// A value whose type changed between two releases of the application.
func TestGuarantee12_ATypeThatChanged(t *testing.T) {
	for where, store := range kit.ValueStores(t) {
		app := kit.New(t, session.Config{}, store)
		v := app.Browser()
		v.Must(func(s *session.Session) {
			s.Set("count", "three")
			s.Set("who", person{Name: "ada"})
			s.Set("fits", 7)
		})
		resp := v.Must(func(s *session.Session) {
			n := 42
			require.False(t, s.Get("count", &n), where)
			require.Equal(t, 42, n, "left alone")
			require.ErrorContains(t, s.Err(), `the stored value of key "count" does not fit`)
			list := []string{"before"}
			require.False(t, s.Get("who", &list))
			require.Equal(t, []string{"before"}, list)
			half := struct {
				Name string `json:"name"`
				Age  []int
			}{"before", nil}
			require.False(t, s.Get("who", &half))
			require.Equal(t, "before", half.Name, "not half of it either")
			got, ok := session.Key[int]("count").Get(s)
			require.False(t, ok)
			require.Zero(t, got)
			got, ok = session.Key[int]("fits").Get(s)
			require.True(t, ok, "the rest of the session is there")
			require.Equal(t, 7, got)
			s.Set("after", true)
		})
		require.Equal(t, "done", kit.Body(resp))
		require.Contains(t, app.Log(), "count", where)
		require.True(t, kit.Read[bool](v, "after"), "%s: it does not keep a commit from succeeding", where)
		v.Must(func(s *session.Session) { session.Key[int]("count").Set(s, 3) })
		require.Equal(t, 3, kit.Read[int](v, "count"), where)
		v.Must(func(s *session.Session) { session.Key[map[string]int]("count").Pop(s) })
		v.Must(func(s *session.Session) { require.Equal(t, []string{"after", "fits", "who"}, s.Keys()) })
	}
}

func TestGuarantee12_UpdateOfATypeThatChanged(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) { s.Set("count", "three") })
	v.Must(func(s *session.Session) {
		session.Key[int]("count").Update(s, func(n int) int { return n + 1 })
		require.ErrorContains(t, s.Err(), `key "count" does not fit`, "the value it replaces could not be read")
	})
	require.Equal(t, 1, kit.Read[int](v, "count"))
}

func TestGuarantee12_FieldsThatCameAndWent(t *testing.T) {
	type older struct{ A, B int }
	type newer struct {
		B int
		C string
	}
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) { s.Set("k", older{1, 2}) })
	require.Equal(t, newer{B: 2}, kit.Read[newer](v, "k"))
}

func TestGuarantee12_DestinationsThatAreNone(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	v.Must(func(s *session.Session) { s.Set("k", 1) })
	for _, dst := range []any{nil, 7, "x", (*int)(nil), (*any)(nil), person{}, []int{1}, func() {}} {
		v.Must(func(s *session.Session) {
			require.False(t, s.Get("k", dst), "%T", dst)
			require.ErrorContains(t, s.Err(), `key "k"`)
		})
	}
}
