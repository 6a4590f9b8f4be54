package xaes

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors are those of https://c2sp.org/XAES-256-GCM.

func TestVectors(t *testing.T) {
	nonce, plaintext := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM")
	for name, c := range map[string]struct {
		key             byte
		data            string
		subkey, message string
	}{
		"MSB(L) = 0": {0x01, "", "e531954aca063d5b8d9c47a47d4cc6f0", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		"MSB(L) = 1": {0x03, "c2sp.org/XAES-256-GCM", "23810ec50edb99f374409466ed1f4b7b", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := New(bytes.Repeat([]byte{c.key}, KeySize))
			require.NoError(t, err)
			require.Equal(t, c.subkey, hex.EncodeToString(a.subkey[:]))
			sealed := a.Seal(nil, nonce, plaintext, []byte(c.data))
			require.Equal(t, c.message, hex.EncodeToString(sealed))
			opened, err := a.Open(nil, nonce, sealed, []byte(c.data))
			require.NoError(t, err)
			require.Equal(t, plaintext, opened)
		})
	}
}

func TestAccumulatedVectors(t *testing.T) {
	random, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	read := func(n int) []byte {
		b := make([]byte, n)
		_, err := io.ReadFull(random, b)
		require.NoError(t, err)
		return b
	}
	for range 10_000 {
		key, nonce := read(KeySize), read(NonceSize)
		plaintext := read(int(read(1)[0]))
		data := read(int(read(1)[0]))
		a, err := New(key)
		require.NoError(t, err)
		sealed := a.Seal(nil, nonce, plaintext, data)
		sum.Write(sealed)
		opened, err := a.Open(nil, nonce, sealed, data)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))
	}
	digest := make([]byte, 32)
	sum.Read(digest)
	require.Equal(t, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939", hex.EncodeToString(digest))
}

func TestWhatWasChangedDoesNotOpen(t *testing.T) {
	a, err := New(bytes.Repeat([]byte{7}, KeySize))
	require.NoError(t, err)
	require.Equal(t, NonceSize, a.NonceSize())
	require.Equal(t, Overhead, a.Overhead())
	nonce, data := bytes.Repeat([]byte{1}, NonceSize), []byte("data")
	sealed := a.Seal([]byte("kept"), nonce, []byte("plaintext"), data)
	require.Equal(t, "kept", string(sealed[:4]))
	sealed = sealed[4:]
	require.Len(t, sealed, len("plaintext")+Overhead)
	for _, text := range [][]byte{nonce, sealed, data} {
		for i := range text {
			text[i] ^= 1
			_, err := a.Open(nil, nonce, sealed, data)
			require.Error(t, err)
			text[i] ^= 1
		}
	}
	_, err = a.Open(nil, nonce, sealed, data)
	require.NoError(t, err)
}

func TestWrongSizes(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33} {
		_, err := New(make([]byte, size))
		require.Error(t, err)
	}
	a, err := New(make([]byte, KeySize))
	require.NoError(t, err)
	require.Panics(t, func() { a.Seal(nil, make([]byte, 12), nil, nil) })
	require.Panics(t, func() { _, _ = a.Open(nil, make([]byte, 25), nil, nil) })
}

func BenchmarkXAES(b *testing.B) {
	a, err := New(make([]byte, KeySize))
	require.NoError(b, err)
	nonce, plaintext := make([]byte, NonceSize), make([]byte, 1200)
	sealed := a.Seal(nil, nonce, plaintext, nil)
	buf := make([]byte, 0, len(sealed))
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			a.Seal(buf, nonce, plaintext, nil)
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			_, _ = a.Open(buf, nonce, sealed, nil)
		}
	})
}
