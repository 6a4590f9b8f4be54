package jsonvalue

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDecode_NumbersIntoAnyAreNotRounded(t *testing.T) {
	require.Equal(t, json.Number("18446744073709551615"), roundTrip[any](t, uint64(math.MaxUint64)))
	deep := roundTrip(t, map[string]any{"list": []any{int64(1<<53 + 1), 0.5}, "in a struct": person{Any: int64(1<<53 + 3)}})
	require.Equal(t, []any{json.Number("9007199254740993"), json.Number("0.5")}, deep["list"])
	require.Equal(t, json.Number("9007199254740995"), deep["in a struct"].(map[string]any)["Any"])
	require.Equal(t, json.Number("9007199254740997"), roundTrip(t, person{Any: int64(1<<53 + 5)}).Any)
}

// A value whose type changed between two releases of the application.
func TestDecode_WhatDoesNotFitLeavesTheDestinationAlone(t *testing.T) {
	n := 42
	require.EqualError(t, Decode(json.RawMessage(`"three"`), &n), "it is a JSON string and does not fit int")
	require.Equal(t, 42, n)
	list := []string{"before"}
	require.Error(t, Decode(json.RawMessage(`{"name":"ada"}`), &list))
	require.Equal(t, []string{"before"}, list)
	half := struct {
		Name string `json:"name"`
		Age  []int
	}{"before", nil}
	require.Error(t, Decode(json.RawMessage(`{"name":"ada","Age":36}`), &half))
	require.Equal(t, "before", half.Name, "not half of it either")
}

func TestDecode_FieldsThatCameAndWent(t *testing.T) {
	raw, err := Encode(struct{ A, B int }{1, 2})
	require.NoError(t, err)
	var newer struct {
		B int
		C string
	}
	require.NoError(t, Decode(raw, &newer))
	require.Equal(t, 2, newer.B)
}

func TestDecode_DestinationsThatAreNone(t *testing.T) {
	for _, raw := range []string{"1", `"x"`, "true", "null"} {
		for _, dst := range []any{nil, 7, "x", (*int)(nil), (*int64)(nil), (*string)(nil), (*bool)(nil), (*any)(nil), person{}, []int{1}, func() {}} {
			require.ErrorIs(t, Decode(json.RawMessage(raw), dst), errDestination, "%T", dst)
		}
	}
}

type tells struct{}

func (*tells) UnmarshalJSON(raw []byte) error { return errors.New("can't read " + string(raw)) }

type tellsText struct{ Text string }

func (*tellsText) UnmarshalText(text []byte) error { return errors.New("can't read " + string(text)) }

// What is stored is somebody's data, and an error goes into a log.
func TestDecode_ErrorsTellOfTypesAndShowNoValue(t *testing.T) {
	read := func(raw string, dst any) error { return Decode(json.RawMessage(raw), dst) }
	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"a text into a number":      {read(`"S3CRET"`, new(int)), "it is a JSON string and does not fit int"},
		"a text into a time":        {read(`"S3CRET"`, new(time.Time)), "it is a JSON string and does not fit time.Time"},
		"a time within":             {read(`{"Seen":"S3CRET"}`, new(timed)), "it is a JSON object and does not fit jsonvalue.timed"},
		"a number too large":        {read(`53537`, new(int8)), "it is a JSON number and does not fit int8"},
		"a number with a fraction":  {read(`5353.7`, new(int)), "it is a JSON number and does not fit int"},
		"a number beyond all":       {read(`1e53537`, new(float64)), "it is a JSON number and does not fit float64"},
		"a boolean":                 {read(`true`, new(string)), "it is a JSON boolean and does not fit string"},
		"a list":                    {read(` ["S3CRET"]`, new(string)), "it is a JSON array and does not fit string"},
		"a list of others":          {read(`["S3CRET"]`, new([]int)), "it is a JSON array and does not fit []int: a JSON string in it does not fit int"},
		"a map of others":           {read(`{"S3CRET":53537}`, new(map[string]int8)), "it is a JSON object and does not fit map[string]int8: a JSON number in it does not fit int8"},
		"a boolean within":          {read(`[true]`, new([]int)), "it is a JSON array and does not fit []int: a JSON boolean in it does not fit int"},
		"a list within":             {read(`[[]]`, new([]int)), "a JSON array in it does not fit int"},
		"a key that is no number":   {read(`{"S3CRET":1}`, new(map[int]int)), "it is a JSON object and does not fit map[int]int"},
		"a json.Number":             {read(`"S3CRET"`, new(json.Number)), "it is a JSON string and does not fit json.Number"},
		"bytes":                     {read(`"S3CRET!"`, new([]byte)), "it is a JSON string and does not fit []uint8"},
		"an UnmarshalJSON's words":  {read(`"S3CRET"`, new(tells)), "it is a JSON string and does not fit jsonvalue.tells"},
		"an UnmarshalText's words":  {read(`"S3CRET"`, new(tellsText)), "it is a JSON string and does not fit jsonvalue.tellsText"},
		"one within":                {read(`{"a":"S3CRET"}`, new(map[string]tells)), "it is a JSON object and does not fit map[string]jsonvalue.tells"},
		"null for what wants none":  {read(`null`, new(tells)), "it is a JSON null and does not fit jsonvalue.tells"},
		"no JSON":                   {read(`S3CRET`, new(any)), "it is not valid JSON"},
		"half of it":                {read(`"S3CRET`, new(string)), "it is not valid JSON"},
		"nothing":                   {read(``, new(string)), "it is not valid JSON"},
		"two of it":                 {read(`1 53537`, new(int)), "it is not valid JSON"},
		"with an end that is wrong": {read(`{"S3CRET":1}}`, new(any)), "it is not valid JSON"},
		"no UTF-8":                  {read("\"S3CRET\xff\"", new(string)), "it is not valid JSON"},
	} {
		t.Run(what, func(t *testing.T) {
			require.Error(t, c.err)
			require.Contains(t, c.err.Error(), c.want)
			for err := c.err; err != nil; err = errors.Unwrap(err) {
				require.NotContains(t, err.Error(), "S3CRET")
				require.NotContains(t, err.Error(), "5353")
			}
		})
	}
}

func TestDecode_ANullIsTheZeroValue(t *testing.T) {
	n, text, list := 7, "before", []int{1}
	require.NoError(t, Decode(json.RawMessage("null"), &n))
	require.NoError(t, Decode(json.RawMessage(" null\n"), &text))
	require.NoError(t, Decode(json.RawMessage("null"), &list))
	require.Zero(t, n)
	require.Zero(t, text)
	require.Nil(t, list)
}

type scribbler struct{}

func (*scribbler) UnmarshalJSON(raw []byte) error {
	for i := range raw {
		raw[i] = 'x'
	}
	return nil
}

// The stored bytes are shared by all who read them.
func TestDecode_NobodyGetsHoldOfTheStoredBytes(t *testing.T) {
	raw := json.RawMessage(`{"a":"b"}`)
	require.NoError(t, Decode(raw, new(scribbler)))
	var kept json.RawMessage
	require.NoError(t, Decode(raw, &kept))
	kept[0] = 'x'
	require.Equal(t, `{"a":"b"}`, string(raw))
}

func TestPlain(t *testing.T) {
	var text string
	var n int
	var n64 int64
	var b bool
	require.True(t, Plain(json.RawMessage(`"tea"`), &text) && text == "tea")
	require.True(t, Plain(json.RawMessage(`-7`), &n) && n == -7)
	require.True(t, Plain(json.RawMessage(`9223372036854775807`), &n64) && n64 == math.MaxInt64)
	require.True(t, Plain(json.RawMessage(`true`), &b) && b)
	for raw, dst := range map[string]any{`"t\u0065a"`: &text, "7.0": &n, "9223372036854775808": &n64, "null": &b, "1": new(int8), `"x"`: nil} {
		require.False(t, Plain(json.RawMessage(raw), dst), raw)
	}
	require.Equal(t, []any{"tea", -7, int64(math.MaxInt64), true}, []any{text, n, n64, b}, "left alone")
}
