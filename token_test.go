package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// leaks returns in which form the text holds the secret, or "".
func leaks(text, secret string) string {
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

// told returns v in every way that a program might put it into a log.
func told(v any) map[string]string {
	all := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%p", "%T", "%10.3v", "%!"} {
		all[verb] = fmt.Sprintf(verb, v)
	}
	raw, err := json.Marshal(v)
	all["JSON"] = fmt.Sprint(string(raw), err)
	var text, object bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	slog.New(slog.NewJSONHandler(&object, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	all["slog text"], all["slog JSON"] = text.String(), object.String()
	all["error"] = fmt.Errorf("it failed: %w: %v", errors.New("x"), v).Error()
	return all
}

type tokenHolder struct {
	Public  session.Token
	private session.Token
	pointer *session.Token
	list    []session.Token
	byName  map[string]session.Token
	anyhow  any
	s       *session.Session
	S       *session.Session `json:"-"` // json has no business with a Session: it has no exported fields
}

// grabbing keeps the tokens that a store is shown.
type grabbing struct {
	session.Store
	mu    sync.Mutex
	token session.Token
}

func (g *grabbing) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	g.mu.Lock()
	g.token = token
	g.mu.Unlock()
	return g.Store.Load(ctx, token)
}

func TestGuarantee14_TokensAreNotTold(t *testing.T) {
	const private = "a value that is private"
	for name, store := range map[string]session.Store{
		"memory": session.NewMemoryStore(), "sealed": cookieStore(t, secretOne),
	} {
		t.Run(name, func(t *testing.T) {
			grab := &grabbing{Store: store}
			v := newSite(t, grab, session.Config{}).visitor()
			v.must(func(s *session.Session) { s.Set("k", private) })
			v.must(func(s *session.Session) {
				require.NotEmpty(t, s.ID())
				s.Set("now", private)
				secret := grab.token.Value()
				require.Greater(t, len(secret), 40)
				h := tokenHolder{grab.token, grab.token, &grab.token, []session.Token{grab.token}, map[string]session.Token{"k": grab.token}, grab.token, s, s}
				for what, v := range map[string]any{
					"token": grab.token, "pointer to a token": &grab.token, "session": s, "holder": h, "pointer to a holder": &h,
					"slice": []any{grab.token, s, h}, "map": map[string]any{"t": grab.token, "s": s},
				} {
					for how, text := range told(v) {
						require.Empty(t, leaks(text, secret), "%s by %s: %s", what, how, text)
						if what == "session" || what == "map" { // fmt asks no unexported field for its methods
							require.Empty(t, leaks(text, private), "%s by %s: %s", what, how, text)
						}
					}
				}
			})
		})
	}
}

func TestGuarantee14_PrintsAsItsHandle(t *testing.T) {
	token := session.NewToken("the-id", "the-secret-value")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, "the-id", fmt.Sprintf(verb, token), verb)
	}
	raw, err := json.Marshal(map[string]any{"t": token})
	require.NoError(t, err)
	require.JSONEq(t, `{"t":"the-id"}`, string(raw))
	require.Equal(t, "the-id", token.LogValue().String())
	require.Equal(t, "the-id", token.String())
	require.Equal(t, "the-secret-value", token.Value())
	require.Empty(t, session.Token{}.Value())
	require.Equal(t, "session", fmt.Sprint(new(session.Session)))
	newSite(t, session.NewMemoryStore(), session.Config{}).visitor().must(func(s *session.Session) {
		require.Equal(t, "session", fmt.Sprint(s), "printing loads nothing")
		s.Set("k", 1)
		require.Equal(t, "session "+s.ID(), fmt.Sprintf("%+v", s))
		require.Equal(t, "session "+s.ID(), s.LogValue().String())
	})
}

// telling fails with an error that holds all it was given.
type telling struct{ session.Store }

func (s telling) Save(_ context.Context, token session.Token, c *session.Change) (session.Token, error) {
	return session.Token{}, fmt.Errorf("can't save %v %+v %#v as %q", token, token, token, c.Record.ID)
}

func (s telling) Delete(_ context.Context, id string, _ time.Time) error {
	return fmt.Errorf("can't delete %q", id)
}

func TestGuarantee14_ErrorsEventsAndLogsTellNoToken(t *testing.T) {
	memory := session.NewMemoryStore()
	whole := newSite(t, memory, session.Config{})
	var said []string
	broken := newSite(t, telling{memory}, session.Config{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		said = append(said, fmt.Sprintf("%v %+v %#v", err, err, err))
		w.WriteHeader(http.StatusServiceUnavailable)
	}})
	v := whole.visitor()
	v.signIn("ada")
	failing := &visitor{broken, v.cookie}
	for _, fail := range []func(*session.Session){
		func(s *session.Session) { s.Set("k", 1) },
		func(s *session.Session) { _ = s.Regenerate() },
		func(s *session.Session) { _ = s.Login("grace") },
		func(s *session.Session) { _ = s.Destroy() },
	} {
		require.Equal(t, http.StatusServiceUnavailable, failing.do(fail).StatusCode)
	}
	require.Len(t, said, 4)
	require.Len(t, broken.events, 4)
	all := strings.Join(said, "\n") + broken.log() + fmt.Sprintf("%v %+v %#v", broken.events, broken.events, broken.events)
	require.Contains(t, all, "can't save")
	require.Empty(t, leaks(all, v.cookie))
}

func TestGuarantee14_WhatAStoreKeepsOpensNothing(t *testing.T) {
	store := &countingStore{Store: session.NewMemoryStore()}
	v := newSite(t, store, session.Config{}).visitor()
	v.signIn("ada")
	kept, err := json.Marshal(store.change)
	require.NoError(t, err)
	require.Empty(t, leaks(string(kept), v.cookie))
	replay := v.copied()
	replay.cookie = store.change.Record.ID
	require.True(t, replay.signedOut())
}

func TestGuarantee11_ServerTokensHaveOneSpelling(t *testing.T) {
	store := &countingStore{Store: session.NewMemoryStore()}
	site := newSite(t, store, session.Config{})
	v := site.visitor()
	v.signIn("ada")
	require.Regexp(t, `^[A-Za-z0-9_-]{48}$`, v.cookie)
	store.loads.Store(0)
	for _, spelling := range []string{
		v.cookie + "=", v.cookie + "==", v.cookie + "====", v.cookie + "A", v.cookie[:47], "\r" + v.cookie, v.cookie[:20] + "\n" + v.cookie[20:],
		strings.ToUpper(v.cookie), strings.ToLower(v.cookie), " " + v.cookie, v.cookie + ".", v.cookie + ".AAAA", `"` + v.cookie + `"`,
		strings.NewReplacer("-", "+", "_", "/").Replace(v.cookie) + "+", v.cookie + v.cookie, "%" + hex.EncodeToString([]byte(v.cookie[:1])) + v.cookie[1:],
		v.cookie[:47] + "\x00", v.cookie[:46] + "é",
	} {
		require.True(t, (&visitor{site, spelling}).signedOut(), "%q", spelling)
	}
	require.Zero(t, store.loads.Load(), "garbage is told before the store is asked")
	require.False(t, v.signedOut())
}

// Where the last byte is zero, a token with a line end in it and without its last character reads the same but for its length.
func TestGuarantee11_ATokenOneCharacterShort(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	for range 10_000 {
		v.signIn("ada")
		if raw := must(base64.RawURLEncoding.DecodeString(v.cookie)); raw[35] == 0 {
			short := v.copied()
			short.cookie = v.cookie[:20] + "\n" + v.cookie[20:47]
			require.True(t, short.signedOut())
			require.False(t, v.signedOut())
			return
		}
	}
	t.Fatal("no token ends so")
}

func TestGuarantee11_CheckBytes(t *testing.T) {
	store := &countingStore{Store: session.NewMemoryStore()}
	site := newSite(t, store, session.Config{})
	v := site.visitor()
	v.signIn("ada")
	raw, err := base64.RawURLEncoding.DecodeString(v.cookie)
	require.NoError(t, err)
	require.Len(t, raw, 36)
	store.loads.Store(0)
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		require.True(t, (&visitor{site, base64.RawURLEncoding.EncodeToString(raw)}).signedOut(), "bit %d", bit)
		raw[bit/8] ^= 1 << (bit % 8)
	}
	require.Zero(t, store.loads.Load())
}

func TestAdvisory_SharedNamespace_NameIsPartOfTheToken(t *testing.T) {
	store := &countingStore{Store: session.NewMemoryStore()}
	one, two := newSite(t, store, session.Config{Name: "one"}), newSite(t, store, session.Config{Name: "two"})
	v := one.visitor()
	v.signIn("ada")
	store.loads.Store(0)
	require.True(t, (&visitor{two, v.cookie}).signedOut())
	require.Zero(t, store.loads.Load())
	require.False(t, v.signedOut())
}

func TestGuarantee01_TokensAreRandom(t *testing.T) {
	seen := map[string]bool{}
	site := newSite(t, session.NewMemoryStore(), session.Config{})
	for range 500 {
		v := site.visitor()
		v.must(func(s *session.Session) { s.Set("k", 1); seen[s.ID()] = true })
		seen[v.cookie] = true
	}
	require.Len(t, seen, 1000, "ids and tokens, all different")
}
