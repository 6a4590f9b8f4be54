package jsonvalue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// DecodeObject returns the members of a JSON object, by their exact names. Unlike json.Unmarshal it refuses text that
// is not valid UTF-8, and a name that is there twice, which the error then shows.
func DecodeObject(raw []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("the JSON is not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return nil, errors.New("the JSON is not an object")
	}
	members := map[string]json.RawMessage{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("the JSON can't be read: %w", err)
		}
		var member json.RawMessage
		if err := decoder.Decode(&member); err != nil {
			return nil, fmt.Errorf("the JSON can't be read: %w", err)
		}
		if _, twice := members[name.(string)]; twice { // the decoder always returns a name as a string
			return nil, fmt.Errorf("the JSON has %q twice", name)
		}
		members[name.(string)] = member
	}
	if _, err := decoder.Token(); err != nil {
		return nil, fmt.Errorf("the JSON can't be read: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON")
	}
	return members, nil
}
