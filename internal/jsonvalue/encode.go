// Package jsonvalue turns values into JSON and back without altering them: what would come back different, or could not be
// read again, is refused. Which release of encoding/json writes the JSON makes no difference: the value itself is looked
// at, and not only what became of it.
//
// The errors tell of types and of kinds of JSON, and never show a value, except for what an application's own MarshalJSON or
// MarshalText says. They name no key: who knows it puts it in front.
package jsonvalue

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how many arrays and objects may be one within the other. encoding/json writes more than it reads, which is
// 10,000; the rest is for what a store puts around a value.
const maxDepth = 9_990

var (
	errNoText    = errors.New("it is not valid UTF-8")
	errHoldsBad  = errors.New("it holds text that is not valid UTF-8, which JSON would alter")
	errDepth     = fmt.Errorf("it is nested more than %d levels deep, and could not be read again", maxDepth)
	errCycle     = errors.New("it holds itself: a cycle")
	errTimeZone  = errors.New("it holds a time whose offset has seconds, or is a day or more, which JSON would lose")
	errTimeYear  = errors.New("it holds a time that is not within the years 0 to 9999")
	errRaw       = errors.New("it holds a json.RawMessage that is not JSON")
	errNumber    = errors.New("it holds a json.Number that is not a number")
	errNotFinite = errors.New("it holds a number that JSON does not have")
)

// CheckText returns an error if text is not valid UTF-8, which JSON would alter.
func CheckText(text string) error {
	if !utf8.ValidString(text) {
		return errNoText
	}
	return nil
}

// Encode returns v as JSON as json.Marshal writes it, or an error if it can't be encoded without being altered, or would be
// nested too deep to be read again. It may call MarshalJSON and MarshalText of what v holds twice.
func Encode(v any) (json.RawMessage, error) {
	if raw, ok := encodePlain(v); ok {
		return raw, nil
	}
	if err := check(v); err != nil {
		return nil, err
	}
	raw, err := marshal(v)
	switch {
	case err != nil:
		return nil, explain(err, v)
	case !utf8.Valid(raw):
		return nil, errHoldsBad
	case tooDeep(raw):
		return nil, errDepth
	}
	return raw, nil
}

// encodePlain encodes what most sessions hold, numbers and short texts, without looking at types.
func encodePlain(v any) (raw json.RawMessage, ok bool) {
	switch v := v.(type) {
	case nil:
		return json.RawMessage("null"), true
	case bool:
		return strconv.AppendBool(nil, v), true
	case int:
		return strconv.AppendInt(nil, int64(v), 10), true
	case int64:
		return strconv.AppendInt(nil, v, 10), true
	case string:
		return encodePlainText(v)
	}
	return nil, false
}

// encodePlainText encodes a text in which nothing has to be escaped.
func encodePlainText(text string) (raw json.RawMessage, ok bool) {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return nil, false
		}
	}
	raw = append(make(json.RawMessage, 0, len(text)+2), '"')
	raw = append(raw, text...)
	return append(raw, '"'), true
}

// explain says in words of our own why v can't be encoded: another library's may show the value.
func explain(err error, v any) error {
	var badType *json.UnsupportedTypeError
	var badValue *json.UnsupportedValueError
	switch {
	case errors.As(err, &badType) && badType.Type != nil:
		return unsupported(badType.Type)
	case errors.As(err, &badValue) && notFinite(badValue.Str):
		return fmt.Errorf("%w: %s", errNotFinite, badValue.Str)
	}
	return fmt.Errorf("a %T can't be encoded as JSON, or not without being altered", v)
}

func unsupported(t reflect.Type) error { return fmt.Errorf("unsupported type: %v", t) }

func notFinite(text string) bool { return text == "NaN" || text == "+Inf" || text == "-Inf" }

// tooDeep reports whether raw has more arrays and objects one within the other than can be read.
func tooDeep(raw []byte) bool {
	if len(raw) <= 2*maxDepth {
		return false
	}
	depth, inText := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}
