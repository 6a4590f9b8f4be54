// Package xaes is the AEAD XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM under a key that is derived for each
// message from the first half of a nonce of 192 bits. Such a nonce can be drawn at random for as long as a secret lives,
// where the 96 bits of AES-GCM are good for 2^32 messages.
package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
)

// The sizes of a key, of a nonce, and of what a sealed message has over its plaintext, in bytes.
const (
	KeySize   = 32
	NonceSize = 24
	Overhead  = 16
)

const (
	kdfNonce = 12   // bytes of the nonce that go into the message's key; the rest is AES-GCM's nonce
	kdfLabel = 'X'  // what the derived keys are for, in the words of NIST SP 800-108
	cmacPoly = 0x87 // of the field that CMAC doubles in, NIST SP 800-38B
)

// AEAD seals and opens under one key. It is a cipher.AEAD, safe for use by several goroutines.
type AEAD struct {
	block  cipher.Block
	subkey [aes.BlockSize]byte // CMAC's K1
}

var _ cipher.AEAD = (*AEAD)(nil)

// New returns the AEAD under a key of KeySize bytes. It fails where AES-GCM is not to be had, as in a FIPS 140-only mode.
func New(key []byte) (*AEAD, error) {
	if len(key) != KeySize {
		return nil, errors.New("xaes: the key has not 32 bytes")
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

// messageAEAD returns AES-256-GCM under the key of the messages with this nonce. Its own nonce is what is left of it.
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

// mustMessageAEAD does what New has seen to work.
func (a *AEAD) mustMessageAEAD(nonce []byte) cipher.AEAD {
	if len(nonce) != NonceSize {
		panic("xaes: the nonce has not 24 bytes")
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
