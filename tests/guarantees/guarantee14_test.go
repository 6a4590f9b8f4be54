//go:build !noservers

package guarantees_test

import (
	"github.com/doorman-go/session"

	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee14_AtRest_RedisHoldsNoToken(t *testing.T) {
	b := kit.RedisBackings(t)[0]
	app := b.New(t, session.Config{})
	tokens := []string{app.Start(), app.Login("ada")}
	replaced := app.BrowserWith(app.Login("ada"))
	tokens = append(tokens, replaced.Cookie)
	replaced.Receive(app.Do(replaced.Cookie, kit.Regenerate))
	tokens = append(tokens, replaced.Cookie)
	dump := kit.DumpRedis(t, b.Client)
	require.NotEmpty(t, dump)
	for _, text := range dump {
		for _, token := range tokens {
			require.NotContains(t, text, token)
			require.NotContains(t, text, token[:24], "nor a part of it")
		}
		for _, word := range append(strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ' ' || r == '@' }), text) {
			require.True(t, app.Dead(strings.Map(printable, word)), "%q opens a session", word)
		}
	}
}

func printable(r rune) rune {
	if r <= ' ' || r > '~' || r == ';' {
		return -1
	}
	return r
}

func TestGuarantee14_AtRest_TokensAreNotPrinted(t *testing.T) {
	const secret = "do-not-print-me"
	token := session.NewToken("the-handle", secret)
	record := &session.Record{ID: "the-handle"}
	holder := struct {
		Token  session.Token
		Ptr    *session.Token
		Swap   *session.Swap
		hidden session.Token
	}{token, &token, &session.Swap{New: record}, token}
	var printed strings.Builder
	for _, v := range []any{token, &token, holder, &holder, []session.Token{token}, map[string]session.Token{"t": token}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
		text, err := json.Marshal(v)
		require.NoError(t, err)
		printed.Write(text)
		for _, h := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
			slog.New(h).Info("a line", "token", v)
		}
	}
	printed.WriteString(fmt.Errorf("wrapped: %w: %v", errors.New("an error"), token).Error())
	require.Contains(t, printed.String(), "the-handle")
	require.NotContains(t, printed.String(), secret)
	require.NotContains(t, printed.String(), fmt.Sprintf("%x", secret))
}

// What the library says of a session on its own, in logs, events and errors, has no token in it either.
func TestGuarantee14_AtRest_NothingSaidHasAToken(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	store := app.Store()
	cookie := app.Login("ada")
	var said strings.Builder
	say := func(s *session.Session) {
		fmt.Fprintf(&said, "%v %+v %#v %s %q\n", s, s, s, s, s.Err())
		s.Set("new", 1)
	}
	app.Do(cookie, say)
	store.Break(kit.ErrDown, sessiontest.Swap)
	app.Do(cookie, say)
	store.Break(kit.ErrDown, sessiontest.Load)
	app.Do(cookie, say)
	store.Mend()
	app.Do(cookie, func(s *session.Session) { say(s); kit.Logout(s) })
	app.Do(cookie, say)
	app.Do(strings.ToLower(cookie), say)
	store.Replace(session.NewMemoryStore()) // which does not know it
	app.Do(cookie, say)
	for _, e := range app.Events() {
		fmt.Fprintf(&said, "%+v %#v\n", e, e)
	}
	said.WriteString(app.Log())
	require.Contains(t, said.String(), "store error")
	require.NotContains(t, said.String(), cookie)
	require.NotContains(t, said.String(), strings.ToLower(cookie))
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
		"memory": session.NewMemoryStore(), "sealed": kit.Sealed(t, kit.SecretOne),
	} {
		t.Run(name, func(t *testing.T) {
			grab := &grabbing{Store: store}
			v := kit.New(t, session.Config{}, grab).Browser()
			v.Must(func(s *session.Session) { s.Set("k", private) })
			v.Must(func(s *session.Session) {
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
						require.Empty(t, kit.Leaks(text, secret), "%s by %s: %s", what, how, text)
						if what == "session" || what == "map" { // fmt asks no unexported field for its methods
							require.Empty(t, kit.Leaks(text, private), "%s by %s: %s", what, how, text)
						}
					}
				}
			})
		})
	}
}

// fmt follows one pointer in an unexported field, for verbs that do not fit.
func TestGuarantee14_ContextsTellNoCookie(t *testing.T) {
	m, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	type job struct {
		ctx  context.Context
		name string
	}
	texts := map[string]string{}
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		require.NoError(t, s.Login("ada"))
		require.NoError(t, s.Save(r.Context())) // from now on the request has the line of the cookie
		derived, cancel := context.WithCancel(r.Context())
		defer cancel()
		for what, v := range map[string]any{
			"context": r.Context(), "request": r, "job": job{r.Context(), "x"}, "pointer to a job": &job{r.Context(), "x"},
			"derived": job{derived, "x"}, "value": job{context.WithValue(r.Context(), job{}, 1), "x"},
		} {
			for how, text := range told(v) {
				texts[what+" by "+how] = text
			}
		}
	})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Len(t, w.Result().Cookies(), 1)
	for how, text := range texts {
		require.Empty(t, kit.Leaks(text, w.Result().Cookies()[0].Value), "%s: %s", how, text)
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
	kit.New(t, session.Config{}, session.NewMemoryStore()).Browser().Must(func(s *session.Session) {
		require.Equal(t, "session", fmt.Sprint(s), "printing loads nothing")
		s.Set("k", 1)
		require.Equal(t, "session "+s.ID(), fmt.Sprintf("%+v", s))
		require.Equal(t, "session "+s.ID(), s.LogValue().String())
	})
}

// telling fails with an error that holds all it was given.
type telling struct{ session.Store }

func (s telling) Swap(_ context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	return session.Token{}, fmt.Errorf("can't swap %v %+v %#v as %q", token, token, token, swaps[0].New.ID)
}

func TestGuarantee14_ErrorsEventsAndLogsTellNoToken(t *testing.T) {
	memory := session.NewMemoryStore()
	whole := kit.New(t, session.Config{}, memory)
	var said []string
	broken := kit.New(t, session.Config{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		said = append(said, fmt.Sprintf("%v %+v %#v", err, err, err))
		w.WriteHeader(http.StatusServiceUnavailable)
	}}, telling{memory})
	v := whole.Browser()
	v.SignIn("ada")
	failing := broken.BrowserWith(v.Cookie)
	for _, fail := range []func(*session.Session){
		func(s *session.Session) { s.Set("k", 1) },
		func(s *session.Session) { _ = s.Regenerate() },
		func(s *session.Session) { _ = s.Login("grace") },
		func(s *session.Session) { _ = s.Destroy() },
	} {
		require.Equal(t, http.StatusServiceUnavailable, failing.Do(fail).StatusCode)
	}
	require.Len(t, said, 4)
	events := broken.Events()
	require.Len(t, events, 4)
	all := strings.Join(said, "\n") + broken.Log() + fmt.Sprintf("%v %+v %#v", events, events, events)
	require.Contains(t, all, "can't swap")
	require.Empty(t, kit.Leaks(all, v.Cookie))
}

func TestGuarantee14_WhatAStoreKeepsOpensNothing(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	store := v.App.Store()
	v.SignIn("ada")
	kept, err := json.Marshal(store.LastSwaps())
	require.NoError(t, err)
	require.Empty(t, kit.Leaks(string(kept), v.Cookie))
	replay := v.Copy()
	replay.Cookie = store.LastRecord().ID
	require.True(t, replay.SignedOut())
}
