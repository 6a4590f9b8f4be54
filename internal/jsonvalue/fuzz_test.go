package jsonvalue

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzDecode: what is read without the decoder is what the decoder reads, and an error leaves the destination alone.
func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		"0", "-0", "7", "-7", "007", "+7", " 7", "7 ", "7.0", "7e2", "1_0", "0x10", "9223372036854775807", "-9223372036854775808",
		"9223372036854775808", "null", " null\n", "true", "false", "tru", " true", "", "-", `""`, `"`, `"tea"`, `"te\u0061"`, `"a"b"`, `"a\"`,
		"\"a\tb\"", "\"\x7f\"", "\"\xff\"", `"日本"`, `"a" `, `"\ud800"`,
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		sameAsDecoder(t, raw, int64(42))
		sameAsDecoder(t, raw, 42)
		sameAsDecoder(t, raw, "before")
		sameAsDecoder(t, raw, true)
	})
}

func sameAsDecoder[T comparable](t *testing.T, raw string, before T) {
	want, got := before, before
	wrong := json.Unmarshal([]byte(raw), &want)
	if strings.Trim(raw, " \t\r\n") == "null" { // which the decoder leaves alone, and Decode makes zero
		var zero T
		want = zero
	}
	if wrong != nil || !utf8.ValidString(raw) { // which the decoder alters, and Decode refuses
		want = before
	}
	err := Decode(json.RawMessage(raw), &got)
	require.Equal(t, wrong == nil && utf8.ValidString(raw), err == nil, "%q: %v, and the decoder says %v", raw, err, wrong)
	require.Equal(t, want, got, "%q", raw)
}

// FuzzEncode: a text is refused, or comes back as it was, wherever it stands.
func FuzzEncode(f *testing.F) {
	for _, text := range []string{"", "tea", "\xff", "\ufffd", `\ufffd`, "<&>", "\u2028\x00\"\\", "日本語"[:4]} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sameOrRefused(t, text, text)
		sameOrRefused(t, text, []string{text})
		sameOrRefused(t, text, map[string]int{text: 1})
		sameOrRefused(t, text, map[string]any{"k": []any{text}})
		sameOrRefused(t, text, &node{"", &node{text, nil}})
		sameOrRefused(t, text, textual{text})
		sameOrRefused(t, text, map[textual]string{{text}: ""})
		if raw, err := Encode(json.RawMessage(text)); err == nil {
			require.True(t, text == "" || json.Valid([]byte(text)) && utf8.Valid(raw))
		}
	})
}

func sameOrRefused[T any](t *testing.T, text string, v T) {
	raw, err := Encode(v)
	require.Equal(t, utf8.ValidString(text), err == nil, "%q: %v", text, err)
	if err != nil {
		return
	}
	var got T
	require.NoError(t, Decode(raw, &got))
	require.Equal(t, v, got)
}
