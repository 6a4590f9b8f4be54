package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// MaxValueSize is the most bytes of JSON that one value may take. A larger one fails the commit with its key's name;
// the cookie store holds far less in all.
const MaxValueSize = 1 << 20

var (
	errInvalidUTF8 = errors.New("it holds text that is not valid UTF-8, which JSON would alter")
	errValueSize   = fmt.Errorf("it takes more than %d bytes of JSON", MaxValueSize)
	errTrailing    = errors.New("it is followed by other data")
	errDestination = errors.New("the destination is not a pointer, or nil")
)

// encode returns v as JSON, or an error if it can't be encoded without being altered.
func encode(key string, v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	switch {
	case !utf8.ValidString(key):
		err = errors.New("the key is not valid UTF-8")
	case err != nil:
	case len(raw) > MaxValueSize:
		err = errValueSize
	case replaced(raw) || !utf8.Valid(raw):
		err = errInvalidUTF8
	}
	if err != nil {
		return nil, fmt.Errorf("session: can't encode the value of key %q: %w", key, err)
	}
	return raw, nil
}

// replaced looks for the escape that encoding/json writes in place of invalid UTF-8. A replacement character that was in
// the text itself is written as it is.
func replaced(raw []byte) bool {
	const escape = "ufffd"
	for i := bytes.IndexByte(raw, '\\'); i >= 0 && i+1 < len(raw); {
		if bytes.HasPrefix(raw[i+1:], []byte(escape)) {
			return true
		}
		next := bytes.IndexByte(raw[i+2:], '\\')
		if next < 0 {
			return false
		}
		i += 2 + next
	}
	return false
}

// decode reads raw into dst, a pointer, which it leaves alone if raw does not fit. A number read into an any becomes a
// json.Number, so that it is never rounded.
func decode(key string, raw json.RawMessage, dst any) error {
	if plain(raw, dst) {
		return nil
	}
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("session: can't read the value of key %q: %w", key, errDestination)
	}
	fresh := reflect.New(v.Type().Elem())
	if err := fits(key, unmarshal(raw, fresh.Interface())); err != nil {
		return err
	}
	v.Elem().Set(fresh.Elem())
	return nil
}

// plain reads what most sessions hold, a whole number or a text without escapes, and so spares them the decoder, which
// takes ten times as long. Whatever else there is to read, it leaves to the decoder, and dst alone.
func plain(raw json.RawMessage, dst any) bool {
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

// plainInt reads a number as encode writes it.
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

func fits(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("session: the stored value of key %q does not fit: %w", key, err)
}

// unmarshal is json.Unmarshal with json.Number for numbers whose type is open.
func unmarshal(raw json.RawMessage, dst any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(dst); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errTrailing
	}
	return nil
}
