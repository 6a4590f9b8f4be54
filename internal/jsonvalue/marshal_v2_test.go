//go:build go1.27 && goexperiment.jsonv2

package jsonvalue

import (
	"encoding/json/jsontext"
	"testing"

	"github.com/stretchr/testify/require"
)

type streams struct{ text string }

func (s streams) MarshalJSONTo(e *jsontext.Encoder) error {
	return e.WriteToken(jsontext.String(s.text))
}

// This release of Go asks for it, and nobody can look at what it writes but the encoder.
func TestEncode_WhatMarshalJSONToWritesIsChecked(t *testing.T) {
	raw, err := Encode(streams{"é"})
	require.NoError(t, err)
	require.Equal(t, `"é"`, string(raw))
	for _, v := range []any{streams{"S3CRET\xff"}, []any{1, streams{"\xff"}}, map[string]streams{"a": {"\xff"}}} {
		_, err := Encode(v)
		require.ErrorContains(t, err, "not without being altered")
		require.NotContains(t, err.Error(), "S3CRET")
	}
}
