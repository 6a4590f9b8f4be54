package dbsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/doorman-go/session/internal/jsonvalue"
)

// MaxToken is how many bytes a token may have. A token with an RSA key of 4096 bits and its signature has some 2,300.
const MaxToken = 4 << 10

const mediaType = "dbsc+jwt"

// ReadRegistration reads a registration token. It returns the challenge that the token answers, and the key that is in
// the token and has signed it.
func ReadRegistration(text string) (challenge string, key *Key, err error) {
	t, err := parse(text)
	if err != nil {
		return "", nil, err
	}
	jwk, ok := t.header["jwk"]
	if !ok {
		return "", nil, errors.New("the token has no key")
	}
	if key, err = readJWK(jwk); err != nil {
		return "", nil, err
	}
	challenge, err = t.verified(key)
	return challenge, key, err
}

// ReadProof checks a token that proves a key. KeyOf gets the challenge that the token answers, and returns the key that
// must have signed it. A token that has a key in it is refused: the draft allows that only at registration.
func ReadProof(text string, keyOf func(challenge string) (*Key, error)) error {
	t, err := parse(text)
	if err != nil {
		return err
	}
	if _, ok := t.header["jwk"]; ok {
		return errors.New("the token has a key in it")
	}
	challenge, err := t.payload.text("jti")
	if err != nil {
		return err
	}
	key, err := keyOf(challenge)
	if err != nil {
		return err
	}
	_, err = t.verified(key)
	return err
}

// token is a JWT in its compact form (RFC 7515, section 3.1). Only its form was checked, and not its signature.
type token struct {
	header, payload object
	signed          string // the first two parts, with the dot between them
	signature       []byte
}

func parse(text string) (*token, error) {
	if len(text) > MaxToken {
		return nil, fmt.Errorf("the token has %d bytes", len(text))
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("the token has %d parts", len(parts))
	}
	t := &token{signed: parts[0] + "." + parts[1]}
	for i, part := range []*object{&t.header, &t.payload} {
		raw, err := decode(parts[i])
		if err != nil {
			return nil, err
		}
		if *part, err = readObject(raw); err != nil {
			return nil, err
		}
	}
	if _, ok := t.header["crit"]; ok { // it names extensions that must be understood (RFC 7515, section 4.1.11)
		return nil, errors.New("the token has critical extensions")
	}
	if kind, err := t.header.text("typ"); err != nil || kind != mediaType {
		return nil, errors.New("the token's typ is not " + mediaType)
	}
	var err error
	t.signature, err = decode(parts[2])
	return t, err
}

// verified returns the challenge if the token is signed by key.
func (t *token) verified(key *Key) (challenge string, err error) {
	algorithm, err := t.header.text("alg")
	if err != nil {
		return "", err
	}
	if !key.verify(algorithm, t.signed, t.signature) {
		return "", errors.New("the token is not signed by the key")
	}
	return t.payload.text("jti")
}

// decode reads base64url without padding. It accepts only one spelling.
func decode(text string) ([]byte, error) {
	raw, err := base64url.DecodeString(text)
	if err != nil || base64url.EncodedLen(len(raw)) != len(text) { // the decoder skips line ends
		return nil, errors.New("a part of the token is not base64url")
	}
	return raw, nil
}

// object has the members of a JSON object, by their exact names. A struct would not do: json.Unmarshal ignores the case
// of names, and takes the last of two equal ones.
type object map[string]json.RawMessage

func readObject(raw []byte) (object, error) { return jsonvalue.DecodeObject(raw) }

// text returns a member that is a string.
func (o object) text(name string) (text string, err error) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' {
		return "", fmt.Errorf("%s is missing, or not a string", name)
	}
	err = json.Unmarshal(raw, &text)
	return text, err
}

// bytes returns a member that is base64url.
func (o object) bytes(name string) ([]byte, error) {
	text, err := o.text(name)
	if err != nil {
		return nil, err
	}
	return decode(text)
}
