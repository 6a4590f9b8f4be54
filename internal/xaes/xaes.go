// Package xaes is the AEAD XAES-256-GCM (https://c2sp.org/XAES-256-GCM). It is AES-256-GCM with a key of its own for
// each message, which is derived from the first half of a nonce of 192 bits. Such a long nonce can be random for as
// long as a secret is in use. The 96 bits of a nonce of AES-GCM are enough for 2^32 messages only.
package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
)

// The sizes of a key and of a nonce, and how much longer a sealed message is than its plaintext, in bytes.
const (
	KeySize   = 32
	NonceSize = 24
	Overhead  = 16
)

const (
	kdfNonce = 12   // bytes of the nonce that go into the message's key; the rest is AES-GCM's nonce
	kdfLabel = 'X'  // the label of NIST SP 800-108, which says what the derived keys are for
	cmacPoly = 0x87 // the polynomial of the field in which CMAC doubles (NIST SP 800-38B)
)

// AEAD seals and opens under one key. It is a cipher.AEAD, safe for use by several goroutines.
type AEAD struct {
	block  cipher.Block
	subkey [aes.BlockSize]byte // CMAC's K1
}

var _ cipher.AEAD = (*AEAD)(nil)

// New returns the AEAD under a key of KeySize bytes. It fails if AES-GCM can't be used, as in a FIPS 140-only mode.
func New(key []byte) (*AEAD, error) {
	if len(key) != KeySize {
		return nil, errors.New("xaes: the key does not have 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	a := &AEAD{block: block}
	block.Encrypt(a.subkey[:], a.subkey[:])
	double(&a.subkey)
	if _, err := a.messageAEAD(make([]byte, NonceSize)); err != nil {
		return nil, err
	}
	return a, nil
}

// double multiplies b by x, in constant time.
func double(b *[aes.BlockSize]byte) {
	var carry byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i], carry = b[i]<<1|carry, b[i]>>7
	}
	b[len(b)-1] ^= cmacPoly * carry
}

// messageAEAD returns AES-256-GCM under the key for messages with this nonce. The rest of the nonce is the one for
// AES-GCM.
func (a *AEAD) messageAEAD(nonce []byte) (cipher.AEAD, error) {
	key := make([]byte, KeySize)
	for i := range KeySize / aes.BlockSize {
		half := key[i*aes.BlockSize:][:aes.BlockSize]
		half[1], half[2] = byte(i+1), kdfLabel
		copy(half[aes.BlockSize-kdfNonce:], nonce[:kdfNonce])
		subtle.XORBytes(half, half, a.subkey[:])
		a.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// mustMessageAEAD is messageAEAD, which can't fail: New has tried it.
func (a *AEAD) mustMessageAEAD(nonce []byte) cipher.AEAD {
	if len(nonce) != NonceSize {
		panic("xaes: the nonce does not have 24 bytes")
	}
	gcm, err := a.messageAEAD(nonce)
	if err != nil {
		panic("xaes: " + err.Error())
	}
	return gcm
}

// NonceSize returns NonceSize.
func (a *AEAD) NonceSize() int { return NonceSize }

// Overhead returns Overhead.
func (a *AEAD) Overhead() int { return Overhead }

// Seal implements cipher.AEAD.
func (a *AEAD) Seal(dst, nonce, plaintext, additionalData []byte) []byte {
	return a.mustMessageAEAD(nonce).Seal(dst, nonce[kdfNonce:], plaintext, additionalData)
}

// Open implements cipher.AEAD.
func (a *AEAD) Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	return a.mustMessageAEAD(nonce).Open(dst, nonce[kdfNonce:], ciphertext, additionalData)
}
