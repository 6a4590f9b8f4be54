//go:build !(go1.27 && goexperiment.jsonv2)

package jsonvalue

import "encoding/json"

func marshal(v any) ([]byte, error) { return json.Marshal(v) }
