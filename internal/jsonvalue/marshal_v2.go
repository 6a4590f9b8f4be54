//go:build go1.27 && goexperiment.jsonv2

package jsonvalue

import (
	"encoding/json"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
)

// marshal is json.Marshal, except that it refuses text that is not valid UTF-8. check can't see the text that
// MarshalJSONTo writes, and this release of Go calls MarshalJSONTo.
func marshal(v any) ([]byte, error) {
	return jsonv2.Marshal(v, json.DefaultOptionsV1(), jsontext.AllowInvalidUTF8(false))
}
