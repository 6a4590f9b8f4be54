package session

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"
)

// ErrWeakSecret is wrapped by the errors about secrets that are missing, short or known.
var ErrWeakSecret = errors.New("session: weak secret")

const (
	minSecret    = 32 // bytes, the size of the keys derived from it
	minDifferent = 8  // different bytes among them
	howToSecret  = "make one with: openssl rand -hex 32"
)

// exampleSecrets stand, whole, in documentation and templates; examplePhrases are parts of such. Both are compared in
// lower case.
var (
	exampleSecrets = []string{
		"0123456789abcdef0123456789abcdef",
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"01234567890123456789012345678901",
		"12345678901234567890123456789012",
		"abcdefghijklmnopqrstuvwxyz123456",
		"abcdefghijklmnopqrstuvwxyz012345",
		"deadbeefdeadbeefdeadbeefdeadbeef",
		"the-key-has-to-be-32-bytes-long!",
		"passphrasewhichneedstobe32bytes!",
		"my32digitkey12345678901234567890",
		"thisis32bitlongpassphraseimusing",
		"a very very very very secret key",
		"32-byte-long-auth-key-32-byte-long-auth-key",
		"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", // Flask's documentation
	}
	examplePhrases = []string{
		"changeme", "change-me", "change_me", "change me", "changethis", "change-this", "change_this", "replace-me",
		"replace_me", "replace-this", "replace_this", "placeholder", "your-secret", "your_secret", "yoursecret",
		"your secret", "your-32", "your-super", "super-secret", "super_secret", "supersecret", "very-secret",
		"secret-key-here", "secret_key_here", "insecure-", "example-secret", "example_secret", "keyboard cat",
	}
)

// SecretsFromEnv reads secrets from the environment variable, newest first, separated by commas or white space. The
// first seals, and all open: to change secrets, put the new one in front, and drop the old one when its sessions have
// ended. The text is taken literally, nothing is decoded. A missing variable, or a secret that is short or a known
// example, is an error that wraps ErrWeakSecret and says how to make a good one; it never holds the secret.
func SecretsFromEnv(name string) ([][]byte, error) {
	text, ok := os.LookupEnv(name)
	if !ok {
		return nil, fmt.Errorf("%w: the environment variable %s is not set; %s", ErrWeakSecret, name, howToSecret)
	}
	secrets, err := parseSecrets(text)
	if err != nil {
		return nil, fmt.Errorf("%w (environment variable %s)", err, name)
	}
	return secrets, nil
}

func parseSecrets(text string) ([][]byte, error) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	secrets := make([][]byte, len(fields))
	for i, field := range fields {
		secrets[i] = []byte(field)
	}
	return secrets, checkSecrets(secrets)
}

// checkSecrets returns an error if there is no secret or one that could be guessed.
func checkSecrets(secrets [][]byte) error {
	if len(secrets) == 0 {
		return fmt.Errorf("%w: there is none; %s", ErrWeakSecret, howToSecret)
	}
	for i, secret := range secrets {
		if fault := secretFault(secret); fault != "" {
			return fmt.Errorf("%w: secret %d of %d %s; %s", ErrWeakSecret, i+1, len(secrets), fault, howToSecret)
		}
	}
	return nil
}

func secretFault(secret []byte) string {
	if len(secret) < minSecret {
		return fmt.Sprintf("has %d bytes, and needs %d", len(secret), minSecret)
	}
	different := map[byte]bool{}
	for _, b := range secret {
		different[b] = true
	}
	if len(different) < minDifferent {
		return fmt.Sprintf("has only %d different bytes", len(different))
	}
	lower := strings.ToLower(string(secret))
	known := func(phrase string) bool { return strings.Contains(lower, phrase) }
	if slices.Contains(exampleSecrets, lower) || slices.ContainsFunc(examplePhrases, known) {
		return "is, or looks like, an example from documentation"
	}
	return ""
}
