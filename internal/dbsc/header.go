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

// Instructions are the parts of the answer to a registration that are needed here. The origin is left out: then it is
// the origin of the address that the browser has asked, also behind a proxy.
type Instructions struct {
	ID          string       `json:"session_identifier"`
	RefreshURL  string       `json:"refresh_url"`
	Scope       Scope        `json:"scope"`
	Credentials []Credential `json:"credentials"`
}

// Scope says for which addresses the browser renews: this origin.
type Scope struct {
	IncludeSite bool `json:"include_site"`
}

// Credential is the cookie that the browser renews.
type Credential struct {
	Type       string `json:"type"`
	Name       string `json:"name"`
	Attributes string `json:"attributes"`
}

// NewInstructions returns the JSON for a cookie with this name, and with these attributes, which are those of its
// Set-Cookie line.
func NewInstructions(id, refreshURL, cookie, attributes string) []byte {
	raw, err := json.Marshal(Instructions{
		ID: id, RefreshURL: refreshURL, Credentials: []Credential{{Type: "cookie", Name: cookie, Attributes: attributes}},
	})
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return raw
}

// End is the JSON that ends a registration.
const End = `{"continue":false}`
