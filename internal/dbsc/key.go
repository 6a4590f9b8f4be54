package dbsc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// A Key is the public key of a browser, for ES256 (ECDSA on P-256) or RS256 (RSA, PKCS #1 v1.5), both with SHA-256.
type Key struct {
	public any // *ecdsa.PublicKey or *rsa.PublicKey
}

// The bits of an RSA key. Keys of devices have 2048; the upper bound keeps a proof cheap to verify.
const (
	minRSABits = 2048
	maxRSABits = 4096
	exponent   = "AQAB" // 65537, the only one in use for keys of devices
)

const coordinateSize = 32 // bytes of a coordinate on P-256, and of each half of its signatures

// ParseKey reads what Marshal returned.
func ParseKey(der []byte) (*Key, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("the key can't be read: %w", err)
	}
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P256() {
			return &Key{public}, nil
		}
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); minRSABits <= bits && bits <= maxRSABits {
			return &Key{public}, nil
		}
	}
	return nil, fmt.Errorf("the key is a %T, and not one for ES256 or RS256", public)
}

// Marshal returns the key in its PKIX form (SubjectPublicKeyInfo, RFC 5280).
func (k *Key) Marshal() ([]byte, error) { return x509.MarshalPKIXPublicKey(k.public) }

// verify reports whether signature is the key's of what was signed. The algorithm must be the key's own.
func (k *Key) verify(algorithm, signed string, signature []byte) bool {
	digest := sha256.Sum256([]byte(signed))
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		if algorithm != "ES256" || len(signature) != 2*coordinateSize {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:coordinateSize]), new(big.Int).SetBytes(signature[coordinateSize:])
		return ecdsa.Verify(public, digest[:], r, s)
	case *rsa.PublicKey:
		return algorithm == "RS256" && rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	}
	return false
}

// readJWK reads a public key from the header of a token (RFC 7517). It ignores members that it does not know.
func readJWK(raw json.RawMessage) (*Key, error) {
	members, err := readObject(raw)
	if err != nil {
		return nil, err
	}
	kind, err := members.text("kty")
	if err != nil {
		return nil, err
	}
	switch kind {
	case "EC":
		return readEC(members)
	case "RSA":
		return readRSA(members)
	}
	return nil, fmt.Errorf("the key's kty is %q", kind)
}

func readEC(members object) (*Key, error) {
	if curve, err := members.text("crv"); err != nil || curve != "P-256" {
		return nil, errors.New("the key's crv is not P-256")
	}
	point := []byte{4} // uncompressed (SEC 1, section 2.3.3)
	for _, name := range []string{"x", "y"} {
		coordinate, err := members.bytes(name)
		if err != nil {
			return nil, err
		}
		if len(coordinate) != coordinateSize {
			return nil, fmt.Errorf("the key's %s has %d bytes", name, len(coordinate))
		}
		point = append(point, coordinate...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("the key is no point on the curve: %w", err)
	}
	return &Key{public}, nil
}

func readRSA(members object) (*Key, error) {
	modulus, err := members.bytes("n")
	if err != nil {
		return nil, err
	}
	n := new(big.Int).SetBytes(modulus)
	bits := n.BitLen()
	if bits < minRSABits || bits > maxRSABits || len(modulus) != (bits+7)/8 || n.Bit(0) == 0 {
		return nil, fmt.Errorf("the key's n has %d bits, is even, or has a zero in front", bits)
	}
	if e, err := members.text("e"); err != nil || e != exponent {
		return nil, errors.New("the key's e is not 65537")
	}
	return &Key{&rsa.PublicKey{N: n, E: 65537}}, nil
}
