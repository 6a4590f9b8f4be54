package session

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"
)

// ErrWeakSecret is wrapped by errors about secrets that are missing, short, known or easy to guess.
var ErrWeakSecret = errors.New("session: weak secret")

const (
	minSecret    = 32 // bytes, the size of the keys derived from it
	minDifferent = 8  // different bytes among them
	minSurprises = 17 // bytes among them that do not follow from earlier ones; "openssl rand -hex 16" prints that many
	howToSecret  = "make one with: openssl rand -hex 32"
)

// exampleSecrets are whole secrets from documentation and templates. examplePhrases are parts of such secrets. Both are
// compared in lower case.
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
		"zaq12wsx", "quick brown fox", "quickbrownfox", "14159265",
	}
)

// SecretsFromEnv reads secrets from an environment variable, in which commas or white space separate them. The first
// one encrypts, and all decrypt. The text is the secret itself: nothing is decoded.
//
// The error wraps ErrWeakSecret if the variable is missing, or if a secret is too short, stands in documentation, or
// looks typed by a person. It says how to make a good secret, and never contains the secret.
//
// To replace the secret A by B, set A,B in all instances, then B,A in all, then only B when the sessions that A
// encrypted have ended. An instance that does not know B can't open a cookie that was encrypted with B, and signs that
// user out.
//
// Services that share a secret accept each other's cookies, unless their Config.Realm differs. Set it in each of them.
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

// checkSecrets returns an error if there is no secret, if one could be guessed, or if two of them are a pair of keys
// instead of secrets.
func checkSecrets(secrets [][]byte) error {
	if len(secrets) == 0 {
		return fmt.Errorf("%w: there is none; %s", ErrWeakSecret, howToSecret)
	}
	for i, secret := range secrets {
		if fault := secretFault(secret); fault != "" {
			return fmt.Errorf("%w: secret %d of %d %s; %s", ErrWeakSecret, i+1, len(secrets), fault, howToSecret)
		}
	}
	if len(secrets) > 1 && isHashAndBlockKey(secrets[0], secrets[1]) {
		return fmt.Errorf("%w: 64 and 32 raw bytes look like a hash key and block key for gorilla's NewCookieStore. Here "+
			"the block key would be a second secret that opens cookies; give one secret, from which all keys are derived. "+
			"If the two are a new secret and an old one, make the new one of another length; %s", ErrWeakSecret, howToSecret)
	}
	return nil
}

// isHashAndBlockKey reports whether the secrets look like securecookie.GenerateRandomKey(64) and (32). It accepts
// printable text of these lengths: that may be a new secret from "openssl rand -hex 32" and an old one from "openssl
// rand -hex 16".
func isHashAndBlockKey(hash, block []byte) bool {
	isRaw := func(b []byte) bool {
		return slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c > '~' })
	}
	return len(hash) == 64 && len(block) == 32 && isRaw(hash) && isRaw(block)
}

func secretFault(secret []byte) string {
	if len(secret) < minSecret {
		return fmt.Sprintf("has %d bytes, and needs %d", len(secret), minSecret)
	}
	if different := slices.Compact(slices.Sorted(slices.Values(secret))); len(different) < minDifferent {
		return fmt.Sprintf("has only %d different bytes", len(different))
	}
	lower := lowerASCII(secret)
	known := func(phrase string) bool { return strings.Contains(lower, phrase) }
	if slices.Contains(exampleSecrets, lower) || slices.ContainsFunc(examplePhrases, known) {
		return "is, or looks like, an example from documentation"
	}
	if period := findPeriod(lower); period < minSecret {
		return fmt.Sprintf("is %d bytes repeated", period)
	}
	if !hasSurprises(secret, lower) {
		return "looks like typed by a person: words, repetitions, sequences or neighbouring keys"
	}
	return ""
}

// lowerASCII returns the secret in lower case. It leaves all bytes that are not ASCII as they are, unlike
// strings.ToLower, which replaces invalid UTF-8.
func lowerASCII(secret []byte) string {
	lower := slices.Clone(secret)
	for i, b := range lower {
		if b >= 'A' && b <= 'Z' {
			lower[i] = b - 'A' + 'a'
		}
	}
	return string(lower)
}

// findPeriod returns the length of the shortest part that is repeated at least twice to make up text. The last
// repetition may be cut short. Without such a part, it returns the length of text.
func findPeriod(text string) int {
	for period := 1; period <= len(text)/2; period++ {
		if text[period:] == text[:len(text)-period] {
			return period
		}
	}
	return len(text)
}

// hasSurprises reports whether the secret has enough bytes that do not follow from earlier ones. A random secret has
// enough of them at its start, so only a small part of it is read.
func hasSurprises(secret []byte, lower string) bool {
	surprises := 0
	hasWords := strings.Trim(lower, "0123456789abcdef") != "" // text of hexadecimal digits only has no words
	for i := range secret {
		read := lower[:i+1]
		if hasWords && endsWordPart(secret[:i+1], read) || endsRepetition(read) || endsSequence(read) {
			continue
		}
		if surprises++; surprises == minSurprises {
			return true
		}
	}
	return false
}

// endsWordPart reports whether the last byte separates words, or often follows the byte before it in words. A capital
// after a small letter begins another word.
func endsWordPart(secret []byte, lower string) bool {
	last := len(secret) - 1
	switch secret[last] {
	case ' ', '-', '_', '.', ':', '/':
		return true
	}
	if last == 0 || isLower(secret[last-1]) && !isLower(secret[last]) {
		return false
	}
	return strings.Contains(commonPairs, " "+lower[last-1:]+" ")
}

// endsRepetition reports whether the text has its last three bytes in an earlier place too.
func endsRepetition(text string) bool {
	last := len(text) - 1
	return last >= 3 && strings.Contains(text[:last], text[last-2:])
}

// endsSequence reports whether the last byte continues a sequence. Up to four sequences may alternate, as in 1q2w3e4r
// and 1qaz2wsx3edc.
func endsSequence(text string) bool {
	last := len(text) - 1
	for stride := 1; stride <= 4 && 2*stride <= last; stride++ {
		if isSequence(text[last-2*stride], text[last-stride], text[last]) {
			return true
		}
	}
	return false
}

func isLower(b byte) bool { return b >= 'a' && b <= 'z' }

// isSequence reports whether a, b and c are the same, go up or down by one, or lie on the keyboard in a row or a column.
func isSequence(a, b, c byte) bool {
	if step := int(b) - int(a); step == int(c)-int(b) && step >= -1 && step <= 1 {
		return true
	}
	x, y, z := keyPlaces[a], keyPlaces[b], keyPlaces[c]
	step := y - x
	if x == 0 || y == 0 || z == 0 || step != z-y {
		return false
	}
	return step == 1 || step == -1 || step == keyRow || step == -keyRow
}

// commonPairs are the hundred most frequent pairs of letters in English words, with a space on both sides of each.
const commonPairs = " th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou " +
	"io le ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il " +
	"tr ly nc et ut ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi "

// keyRow is the difference between two keys of one column in keyPlaces.
const keyRow = 100

// keyPlaces tells where a character's key is; zero stands for none.
var keyPlaces = func() (places [256]int) {
	for row, keys := range []string{"1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./"} {
		for column := range len(keys) {
			places[keys[column]] = (row+1)*keyRow + column
		}
	}
	for column, shifted := range []byte("!@#$%^&*()_+") {
		places[shifted] = keyRow + column
	}
	return places
}()
