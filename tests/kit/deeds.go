package kit

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
)

// Day is how long a session lasts where nothing else was said.
const Day = 24 * time.Hour

// Counter is the value that tests count in.
const Counter session.Key[int] = "counter"

// Logout logs out, where it is allowed and where it is not.
func Logout(s *session.Session) { _ = s.Destroy() }

// Regenerate gives the session a new ID, where it is allowed and where it is not.
func Regenerate(s *session.Session) { _ = s.Regenerate() }

// LoginAda signs ada in, where it is allowed and where it is not.
func LoginAda(s *session.Session) { _ = s.Login("ada") }

// CountUp adds one to Counter.
func CountUp(s *session.Session) { Counter.Update(s, func(n int) int { return n + 1 }) }

// Endings are the ways in which a session's ID ends by its own browser.
var Endings = map[string]func(*session.Session) error{
	"Destroy":    (*session.Session).Destroy,
	"Login":      func(s *session.Session) error { return s.Login("grace") },
	"Regenerate": (*session.Session).Regenerate,
}

// WriteOK is a handler that answers.
func WriteOK(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// Begun makes a handler whose response has started before it changes the session.
func Begun(do func(*session.Session)) Handler {
	return func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		_, _ = io.WriteString(w, "begun")
		do(s)
	}
}

// CostConfig has a touch due after a minute.
var CostConfig = session.Config{IdleTimeout: 20 * time.Minute}

// EachTimed runs a test with a server store and with one in the cookie.
func EachTimed(t *testing.T, cfg session.Config, test func(*testing.T, *Browser)) {
	for name, store := range ValueStores(t) {
		t.Run(name, func(t *testing.T) { test(t, New(t, cfg, store).Browser()) })
	}
}

// SwappedStore answers every question with the same record, once it has one.
type SwappedStore struct {
	*session.MemoryStore
	Record *session.Record
}

// Load implements session.Store.
func (s *SwappedStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if s.Record != nil {
		return s.Record, nil
	}
	return s.MemoryStore.Load(ctx, token)
}

// Leaks returns in which form the text holds the secret, or "".
func Leaks(text, secret string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(secret)
	for form, s := range map[string]string{
		"itself": secret, "hexadecimal": hex.EncodeToString([]byte(secret)), "decimal": strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		"Go bytes": strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}"), "base64": base64.StdEncoding.EncodeToString([]byte(secret)),
		"its bytes": string(raw), "its bytes in hexadecimal": hex.EncodeToString(raw),
	} {
		if s != "" && strings.Contains(strings.ToLower(text), strings.ToLower(s)) {
			return form
		}
	}
	return ""
}
