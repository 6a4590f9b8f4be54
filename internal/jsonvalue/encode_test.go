package jsonvalue

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// roundTrip encodes the value and reads it into another one of its type.
func roundTrip[T any](t *testing.T, value T) T {
	t.Helper()
	raw, err := Encode(value)
	require.NoError(t, err, "%T %v", value, value)
	var got T
	require.NoError(t, Decode(raw, &got), "%s", raw)
	return got
}

// comesBack compares what comes back with what was encoded.
func comesBack[T any](values ...T) func(*testing.T) {
	return func(t *testing.T) {
		for _, value := range values {
			require.Equal(t, value, roundTrip(t, value))
			raw, err := Encode(value)
			require.NoError(t, err)
			want, err := json.Marshal(value)
			require.NoError(t, err)
			require.Equal(t, string(want), string(raw), "as json.Marshal writes it")
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
	node   struct {
		Text string
		Next *node
	}
	byPointer   struct{ text string }
	upper       string
	words       string
	textual     struct{ text string }
	stampedTime struct {
		time.Time
		Name string
	}
)

func (s secret) MarshalJSON() ([]byte, error) { return json.Marshal("<" + s.text + ">") }
func (s *secret) UnmarshalJSON(raw []byte) error {
	var text string
	err := json.Unmarshal(raw, &text)
	s.text = strings.Trim(text, "<>")
	return err
}

func (p *byPointer) MarshalJSON() ([]byte, error) { return []byte(p.text), nil }

func (u upper) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(string(u))), nil }

func (x textual) MarshalText() ([]byte, error) { return []byte(x.text), nil }
func (x *textual) UnmarshalText(text []byte) error {
	x.text = string(text)
	return nil
}

// chained is an any that holds a pointer to an any, and so on.
func chained(links int) any {
	var v any
	for range links {
		held := v
		v = &held
	}
	return v
}

func nested(levels int) any {
	var v any
	for range levels {
		v = []any{v}
	}
	return v
}

func TestEncode_ValuesComeBackAsTheyWere(t *testing.T) {
	home := &address{"Zürich", "8000"}
	kathmandu := time.FixedZone("", 5*3600+45*60)
	for what, test := range map[string]func(*testing.T){
		"int64 beyond 2^53":   comesBack[int64](1<<53+1, -(1<<53 + 1), math.MaxInt64, math.MinInt64, 0),
		"uint64":              comesBack[uint64](math.MaxUint64, 1<<63, 0),
		"int":                 comesBack(math.MaxInt, math.MinInt, 7, -7),
		"small numbers":       comesBack[int8](-128, 127),
		"float64":             comesBack(0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21, math.Copysign(0, -1)),
		"float32":             comesBack[float32](0.1, math.MaxFloat32),
		"a type of one's own": comesBack(level(-3)),
		"bool":                comesBack(true, false),
		"string":              comesBack("", "tea", "<&>\u2028\u2029\x00\x7f\"\\", "\ufffd", `\ufffd`, `\\ufffd`, "日本語 🍵", "line\r\nline"),
		"[]byte":              comesBack([]byte{0, 255, 254, '\n', 128}, []byte{}),
		"an array of bytes":   comesBack([2]byte{255, 0}),
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
		"a TextMarshaler":     comesBack(textual{"é"}, textual{"\ufffd"}),
		"keys of text":        comesBack(map[textual]int{{"é"}: 1}),
		"a json.Number":       comesBack[json.Number]("12345678901234567890.5", "-1e7"),
		"a json.RawMessage":   comesBack(json.RawMessage(`{"a":[1,2]}`), json.RawMessage(`"\ufffd"`), json.RawMessage(`"\uFFFD�"`), json.RawMessage("null")),
		"a duration":          comesBack(time.Duration(math.MaxInt64)),
		"a big.Int":           comesBack(new(big.Int).Lsh(big.NewInt(1), 200)),
		"a netip.Addr":        comesBack(netip.MustParseAddr("2001:db8::1")),
		"a status":            comesBack(http.SameSite(3)),
		"any with no number":  comesBack[any](map[string]any{"a": []any{"x", true, nil}}),
		"a list that is long": comesBack(&node{"a", &node{"b", &node{"c", nil}}}),
		"times":               comesBack(time.Date(2031, 5, 6, 7, 8, 9, 123456789, time.UTC), time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)),
		"an embedded time":    func(t *testing.T) { roundTrip(t, stampedTime{Time: time.Date(2031, 5, 6, 7, 8, 9, 0, kathmandu)}) },
		"what is not written": func(t *testing.T) {
			require.Equal(t, person{Name: "ada"}, roundTrip(t, person{Name: "ada", hidden: 7, Left: "\xff"}))
		},
		"levels up to a limit": func(t *testing.T) {
			require.Equal(t, nested(maxDepth), roundTrip(t, nested(maxDepth)))
			var raw json.RawMessage = []byte(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth))
			require.Equal(t, raw, roundTrip(t, raw))
		},
		"brackets in a text": func(t *testing.T) {
			text := strings.Repeat(`[{"\`, 20_000)
			require.Equal(t, []string{text}, roundTrip(t, []string{text}))
		},
	} {
		t.Run(what, test)
	}
}

func TestEncode_TimesKeepNanosecondsAndOffset(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(2031, 5, 6, 7, 8, 9, 123456789, time.FixedZone("NPT", 5*3600+45*60)), time.Date(1969, 12, 31, 23, 59, 59, 1, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", -12*3600)), time.Date(2031, 1, 1, 0, 0, 0, 0, time.FixedZone("", 86400-60)), {}, time.Now(),
	} {
		got := roundTrip(t, at)
		require.True(t, at.Equal(got), "%v is not %v", got, at)
		_, want := at.Zone()
		_, offset := got.Zone()
		require.Equal(t, want, offset, "%v", at)
		require.True(t, at.Equal(roundTrip(t, timed{at}).Seen))
		require.True(t, at.Equal(*roundTrip(t, &at)))
	}
}

type fails struct{}

func (fails) MarshalJSON() ([]byte, error) { return nil, errors.New("it does not want to") }

type failsAsText struct{}

func (failsAsText) MarshalText() ([]byte, error) { return nil, errors.New("nor does it") }

type fickle struct{ called *int }

func (f fickle) MarshalJSON() ([]byte, error) {
	if *f.called++; *f.called > 1 {
		return nil, errors.New("S3CRET")
	}
	return []byte("1"), nil
}

// promoted and embedded are found where json.Marshal finds them.
type (
	embedded         struct{ Text string }
	promoted         struct{ embedded }
	promotedPointer  struct{ *embedded }
	named            struct{ Text string }
	promotedExported struct {
		*named
		N int
	}
	underAName struct {
		address `json:"home"`
	}
	secretUnderAName struct {
		secret `json:"s"`
		N      int
	}
	selfEmbedded struct {
		*selfEmbedded
		Text string
	}
)

func TestEncode_WhatWouldBeAlteredIsRefused(t *testing.T) {
	type m = map[string]any
	halfMinute := time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 34*60+8))
	day := time.Date(2031, 1, 1, 0, 0, 0, 0, time.FixedZone("", 86400))
	late := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	const utf8, zone = "not valid UTF-8", "offset"
	many := make([]*int, 2*visitsUnnoted)
	for i := range many {
		many[i] = new(int)
	}
	for what, c := range map[string]struct {
		value any
		why   string
	}{
		"invalid UTF-8":            {"caf\xe9", utf8},
		"half a rune":              {"日本語"[:4], utf8},
		"in any":                   {m{"a": []string{"x", "\xff"}}, utf8},
		"in a key":                 {m{"\xff": 1}, utf8},
		"in a key of numbers":      {map[string]int{"\xff": 1}, utf8},
		"after a slash":            {`\` + "\xff", utf8},
		"after an escape":          {"\n\t\"\u2028<\xff", utf8},
		"after U+FFFD":             {"\ufffd\xff", utf8},
		"a surrogate":              {"\xed\xa0\x80", utf8},
		"in a type of one's own":   {words("\xff"), utf8},
		"in a key of one's own":    {map[upper]int{"\xff": 1}, utf8},
		"in a pointer":             {&[]string{"\xff"}, utf8},
		"in an array":              {[1]string{"\xff"}, utf8},
		"in a struct":              {address{Zip: "\xff"}, utf8},
		"in a promoted field":      {promoted{embedded{"\xff"}}, utf8},
		"in one behind a pointer":  {promotedExported{named: &named{"\xff"}}, utf8},
		"in an embedded pointer":   {promotedPointer{&embedded{"\xff"}}, utf8},
		"under a name":             {underAName{address{City: "\xff"}}, utf8},
		"deep in a list":           {&node{"a", &node{"b", &node{"\xff", nil}}}, utf8},
		"far in a list":            {append(make([]*node, 3000), &node{"\xff", nil}), utf8},
		"by a pointer's Marshaler": {&byPointer{"\"\xff\""}, utf8},
		"by one in a list":         {[]byPointer{{"\"\xff\""}}, utf8},
		"by a TextMarshaler":       {textual{"\xff"}, utf8},
		"by a key that is one":     {map[textual]int{{"\xff"}: 1}, utf8},
		"by one that is any":       {map[encoding.TextMarshaler]int{textual{"\xff"}: 1}, utf8},
		"in a map far down":        {append(make([]any, 0), many, m{"a": m{"b": []any{m{"c": "\xff"}}}}), utf8},
		"a chain of pointers":      {chained(50_000), "levels deep"},
		"by a RawMessage":          {json.RawMessage("\"\xff\""), utf8},
		"by one in any":            {m{"a": json.RawMessage("\"\xff\"")}, utf8},
		"by a json.Number":         {[]json.Number{"S3CRET"}, "json.Number"},
		"a RawMessage of no JSON":  {m{"a": json.RawMessage("S3CRET")}, "json.RawMessage"},
		"an empty RawMessage":      {json.RawMessage{}, "json.RawMessage"},
		"a Marshaler of no JSON":   {&byPointer{"S3CRET"}, "MarshalJSON of jsonvalue.byPointer returns what is not JSON"},
		"a Marshaler that fails":   {fails{}, "it does not want to"},
		"a TextMarshaler too":      {failsAsText{}, "nor does it"},
		"a key that fails":         {map[failsAsText]int{{}: 1}, "nor does it"},
		"a Marshaler that changes": {fickle{new(int)}, "jsonvalue.fickle can't be encoded"},
		"NaN":                      {math.NaN(), "NaN"},
		"infinity":                 {math.Inf(1), "+Inf"},
		"NaN within":               {m{"a": []float64{1, math.NaN()}}, "NaN"},
		"float32 infinity":         {struct{ F float32 }{float32(math.Inf(-1))}, "-Inf"},
		"a channel":                {make(chan int), "unsupported type: chan int"},
		"a function":               {func() {}, "unsupported type"},
		"a complex number":         {1i, "unsupported type"},
		"a channel within":         {m{"a": make(chan int)}, "unsupported type"},
		"a map with odd keys":      {map[[2]int]int{{1, 2}: 3}, "unsupported type"},
		"a map with keys of any":   {map[any]int{"a": 3}, "unsupported type"},
		"an offset in seconds":     {halfMinute, zone},
		"in a field":               {timed{halfMinute}, zone},
		"in a list":                {[]any{&halfMinute}, zone},
		"as a key":                 {map[time.Time]int{halfMinute: 1}, zone},
		"an embedded time":         {stampedTime{Time: halfMinute}, zone},
		"an offset of a day":       {day, zone},
		"the year 10000":           {late, "years"},
		"too many levels":          {nested(maxDepth + 1), "levels deep"},
		"10,001 levels":            {nested(10_001), "levels deep"},
		"many more":                {nested(1_000_000), "levels deep"},
		"in a RawMessage":          {json.RawMessage(strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)), "levels deep"},
		"in both": {[]any{json.RawMessage(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth))},
			"levels deep"},
		"by a Marshaler": {&byPointer{strings.Repeat(`{"":`, 10_001) + "1" + strings.Repeat("}", 10_001)}, "levels deep"},
	} {
		t.Run(what, func(t *testing.T) {
			raw, err := Encode(c.value)
			require.ErrorContains(t, err, c.why)
			require.Nil(t, raw)
			require.NotContains(t, err.Error(), "S3CRET")
		})
	}
}

// Of some of these json.Marshal does not return: it runs out of stack, which ends the process.
func TestEncode_CyclesAreRefused(t *testing.T) {
	byMap, wide := map[string]any{}, map[string]any{}
	byMap["self"] = byMap
	for i := range 10 {
		wide[fmt.Sprint(i)] = []any{wide, wide}
	}
	bySlice := make([]any, 2)
	bySlice[0], bySlice[1] = bySlice, bySlice
	byNode := &node{Text: "a"}
	byNode.Next = &node{"b", byNode}
	var byInterface any
	byInterface = &byInterface
	type pointer *pointer
	var byPointer pointer
	byPointer = &byPointer
	embeds := &selfEmbedded{}
	embeds.selfEmbedded = embeds
	type numbers struct {
		N    int
		Next *numbers
	}
	ofNumbers := &numbers{}
	ofNumbers.Next = ofNumbers
	for what, v := range map[string]any{
		"a map": byMap, "a wide map": wide, "a slice": bySlice, "a list": byNode, "an interface": byInterface, "a pointer": byPointer,
		"an embedded pointer": embeds, "no text in it": ofNumbers, "within": []any{1, "a", byNode},
	} {
		raw, err := Encode(v)
		require.ErrorContains(t, err, "cycle", what)
		require.Nil(t, raw)
	}
}

// What is there many times, but not in itself, is no cycle, and is looked at once.
func TestEncode_SharedPartsAreNoCycle(t *testing.T) {
	shared := &address{"Zürich", "8000"}
	list := make([]*address, 5000)
	for i := range list {
		list[i] = shared
	}
	require.Equal(t, list, roundTrip(t, list))
	raw, err := Encode([]any{list, list, map[string]any{"a": list}})
	require.NoError(t, err)
	require.True(t, json.Valid(raw))
}

// What json.Marshal writes as null or leaves out is no fault.
func TestEncode_WhatIsNotThere(t *testing.T) {
	for want, v := range map[string]any{
		`{}`:               promotedPointer{},
		`{"N":0}`:          promotedExported{},
		`{"":1}`:           map[*textual]int{nil: 1},
		`[null,null,null]`: []any{json.RawMessage(nil), (*byPointer)(nil), any(nil)},
		`{"Seen":null}`:    struct{ Seen json.Marshaler }{},
		`{"s":{"N":1}}`:    map[string]any{"s": map[string]any{"N": 1}},
		`[{"text":"unasked"}]`: []any{struct {
			Text string `json:"text"`
		}{"unasked"}},
	} {
		raw, err := Encode(v)
		require.NoError(t, err, want)
		require.Equal(t, want, string(raw))
	}
	_, _ = Encode(secretUnderAName{}) // whose method can't be called
}

func TestEncode_TypesAreLearntAtTheSameTime(t *testing.T) {
	type a struct {
		B    []map[string]*node
		Text string
	}
	type b struct {
		A    *a
		Next *b
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := Encode(&b{A: &a{B: []map[string]*node{{"k": {"\xff", nil}}}}})
			if err == nil {
				t.Error("it was not looked at")
			}
		})
	}
	all.Wait()
}

func TestCheckText(t *testing.T) {
	for _, text := range []string{"", "tea", "日本語", "\ufffd", "\x00"} {
		require.NoError(t, CheckText(text))
	}
	for _, text := range []string{"\xff", "a\xff", "日本語"[:4], "\xed\xa0\x80"} {
		require.ErrorContains(t, CheckText(text), "not valid UTF-8")
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, v := range map[string]any{
		"int": 1234567, "text": "a short text", "text-escaped": "a <short> text", "struct": address{"Zürich", "8000"},
		"numbers": []int64{1, 2, 3, 4, 5, 6, 7, 8},
		"any":     map[string]any{"id": 7, "name": "ada", "tags": []any{"a", "b", "c"}, "home": map[string]any{"city": "Zürich"}},
		"person":  person{address: address{"Zürich", "8000"}, Name: "ada", Tags: []string{"x", "y"}, Home: &address{"Bern", "3000"}},
	} {
		b.Run(name+"/encode", func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_, _ = Encode(v)
			}
		})
		b.Run(name+"/marshal", func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_, _ = json.Marshal(v)
			}
		})
	}
}
