package dbsc

import (
	"encoding/json"
	"strings"
)

// The headers.
const (
	HeaderRegistration = "Secure-Session-Registration"
	HeaderChallenge    = "Secure-Session-Challenge"
	HeaderResponse     = "Secure-Session-Response"
	HeaderID           = "Sec-Secure-Session-Id"
)

// ReadText returns the value of a header that occurs once. In the draft it is a string in quotes (RFC 9651, section
// 3.3.3), and its parameters are ignored. Chromium sends it without quotes.
func ReadText(lines []string) (text string, ok bool) {
	if len(lines) != 1 {
		return "", false
	}
	line := strings.Trim(lines[0], " ")
	quoted, ok := strings.CutPrefix(line, `"`)
	if !ok {
		return line, line != ""
	}
	text, rest, ok := cutQuoted(quoted)
	rest = strings.TrimLeft(rest, " ")
	return text, ok && text != "" && (rest == "" || rest[0] == ';')
}

// cutQuoted reads up to the closing quote.
func cutQuoted(quoted string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(quoted); i++ {
		switch c := quoted[i]; {
		case c == '"':
			return b.String(), quoted[i+1:], true
		case c == '\\':
			if i++; i == len(quoted) || quoted[i] != '"' && quoted[i] != '\\' {
				return "", "", false
			}
			b.WriteByte(quoted[i])
		case c < ' ' || c > '~':
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quote writes a text of printable ASCII as a string of a header.
func quote(text string) string { return `"` + escapes.Replace(text) + `"` }

// Offer returns the value of HeaderRegistration that offers a browser to register a key at path.
func Offer(path, challenge string) string {
	return "(ES256 RS256);path=" + quote(path) + ";challenge=" + quote(challenge)
}

// Challenge returns the value of HeaderChallenge for the registration with this identifier.
func Challenge(challenge, id string) string { return quote(challenge) + ";id=" + quote(id) }

// NewInstructions returns the answer to a registration, as JSON. The browser is to renew a cookie with this name, and
// with these attributes, which are those of its Set-Cookie line. The origin is left out of the scope: then it is the
// origin of the address that the browser has asked, also behind a proxy.
func NewInstructions(id, refreshURL, cookie, attributes string) []byte {
	type members map[string]any
	raw, err := json.Marshal(members{
		"session_identifier": id,
		"refresh_url":        refreshURL,
		"scope":              members{"include_site": false},
		"credentials":        []members{{"type": "cookie", "name": cookie, "attributes": attributes}},
	})
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return raw
}

// End is the JSON that ends a registration.
const End = `{"continue":false}`
