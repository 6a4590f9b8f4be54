package jsonvalue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	errDestination = errors.New("the destination is not a pointer, or nil")
	errNotJSON     = errors.New("it is not valid JSON")
)

// Decode reads raw into dst, a pointer. If raw does not fit, dst stays as it is. A number that is read into an any
// becomes a json.Number, so that it is never rounded. The error has no part of raw.
func Decode(raw json.RawMessage, dst any) error {
	if Plain(raw, dst) {
		return nil
	}
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return errDestination
	}
	if !utf8.Valid(raw) { // some releases of Go would alter it
		return errNotJSON
	}
	fresh := reflect.New(v.Type().Elem())
	if err := unmarshal(raw, fresh.Interface()); err != nil {
		return misfit(raw, v.Type().Elem(), err)
	}
	v.Elem().Set(fresh.Elem())
	return nil
}

// unmarshal is json.Unmarshal, except that a number read into an any becomes a json.Number. The decoder reads from a
// copy, so that no UnmarshalJSON can keep raw or change it.
func unmarshal(raw json.RawMessage, dst any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(dst); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errNotJSON
	}
	return nil
}

// misfit says which kind of JSON does not fit the type, and which part of an array or object, if that is known. It does
// not use the text of err, because that may show the value.
func misfit(raw []byte, t reflect.Type, err error) error {
	if !json.Valid(raw) {
		return errNotJSON
	}
	kind := kindOf(raw)
	text := fmt.Sprintf("it is a JSON %s and does not fit %v", kind, t)
	var part *json.UnmarshalTypeError
	if (kind == "object" || kind == "array") && errors.As(err, &part) && part.Type != nil && part.Type != t {
		text += fmt.Sprintf(": a JSON %s in it does not fit %v", partKind(part.Value), part.Type)
	}
	return errors.New(text)
}

// kindOf returns the kind of a valid JSON text.
func kindOf(raw []byte) string {
	switch bytes.TrimLeft(raw, " \t\r\n")[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// partKind returns the kind of JSON that a json.UnmarshalTypeError names, without the number that it may show.
func partKind(value string) string {
	switch kind, _, _ := strings.Cut(value, " "); kind {
	case "string", "number", "array", "object", "null":
		return kind
	case "bool", "boolean", "true", "false":
		return "boolean"
	}
	return "value"
}

// Plain reads a whole number, a boolean, or a text without escapes: the values that most sessions have. The decoder
// would take ten times as long. For any other value it returns false, and leaves dst as it is. Then Decode must read
// it.
func Plain(raw json.RawMessage, dst any) bool {
	switch dst := dst.(type) {
	case *int64:
		n, ok := plainInt(raw)
		return assign(dst, n, ok)
	case *int:
		n, ok := plainInt(raw)
		return assign(dst, int(n), ok && int64(int(n)) == n)
	case *string:
		text, ok := plainText(raw)
		return assign(dst, text, ok)
	case *bool:
		return assign(dst, string(raw) == "true", string(raw) == "true" || string(raw) == "false")
	}
	return false
}

func assign[T any](dst *T, v T, ok bool) bool {
	if !ok || dst == nil {
		return false
	}
	*dst = v
	return true
}

// plainInt reads a number as Encode writes it.
func plainInt(raw []byte) (int64, bool) {
	var canonical [20]byte
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil && bytes.Equal(strconv.AppendInt(canonical[:0], n, 10), raw)
}

// plainText reads a text that has no escapes and nothing that JSON forbids.
func plainText(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	text := raw[1 : len(raw)-1]
	for _, c := range text {
		if c < ' ' || c == '"' || c == '\\' {
			return "", false
		}
	}
	return string(text), utf8.Valid(text)
}
