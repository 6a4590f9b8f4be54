// Package jsonvalue turns values into JSON and back without altering them. It refuses a value that would come back
// different, or could not be read again. It makes no difference which release of encoding/json writes the JSON, because
// the value itself is checked, and not only its JSON.
//
// The errors name types and kinds of JSON. They never show a value, except if an application's own MarshalJSON or
// MarshalText does. They name no key: the caller puts that in front.
package jsonvalue

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects may be nested. encoding/json reads 10,000 levels, and writes more than that.
// The levels between are left for the JSON that a store puts around a value.
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

// Encode returns v as JSON, as json.Marshal writes it. It returns an error if JSON would alter v, or if it would be
// nested too deep to be read again. It may call each MarshalJSON and MarshalText in v twice.
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

// encodePlain encodes numbers and short texts, the values that most sessions have, without reflection.
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

// explain says why v can't be encoded. It does not use the text of err, because that may show the value.
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

// tooDeep reports whether the arrays and objects in raw are nested deeper than maxDepth.
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
