package field_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// A. Input that was judged by how an encoder spells its output.

const badText = "a\xff"

// spoken is a type that says of itself what JSON would alter.
type spoken struct{}

func (spoken) MarshalText() ([]byte, error) { return []byte(badText), nil }

// nested returns a value of so many levels.
func nested(levels int) any {
	var v any = 1
	for range levels {
		v = []any{v}
	}
	return v
}

func TestField01_WhatWouldBeAlteredIsRefused(t *testing.T) {
	odd := time.FixedZone("", 3600+17)
	for name, value := range map[string]any{
		"text": badText, "text in a list": []string{badText}, "a key of a map": map[string]int{badText: 1}, "a field": struct{ A any }{badText},
		"what MarshalText says": spoken{}, "10,001 levels": nested(10_001), "an offset in seconds": time.Date(2026, 1, 2, 3, 4, 5, 6, odd),
		"raw JSON": json.RawMessage(`"` + badText + `"`),
	} {
		t.Run(name, func(t *testing.T) {
			app := kit.New(t, session.Config{}, session.NewMemoryStore())
			cookie := app.Start()
			resp := app.Do(cookie, func(s *session.Session) { s.Set("the key", value) })
			requireStatus(t, http.StatusInternalServerError, resp, app)
			require.Contains(t, app.Log(), "the key")
			require.Equal(t, []string{"cart"}, app.Look(cookie).Keys)
		})
	}
}

// What is no value, but is stored all the same, is looked at likewise.
func TestField01_TextBesideValuesIsChecked(t *testing.T) {
	for name, do := range map[string]func(*session.Session){
		"key":            func(s *session.Session) { s.Set(badText, 1) },
		"key of Update":  func(s *session.Session) { session.Key[int](badText).Update(s, func(int) int { return 1 }) },
		"value of it":    func(s *session.Session) { session.Key[string]("k").Update(s, func(string) string { return badText }) },
		"flash":          func(s *session.Session) { s.Flash("info", badText) },
		"flash category": func(s *session.Session) { s.Flash(badText, "hello") },
		"note":           func(s *session.Session) { s.SetNote(badText) },
	} {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		cookie := app.Start()
		require.Equal(t, http.StatusInternalServerError, app.Do(cookie, do).StatusCode, name)
		require.Equal(t, []string{"cart"}, app.Look(cookie).Keys)
	}
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	app.Do(app.Login("ada"), func(s *session.Session) {
		require.ErrorContains(t, s.Login("ada\xff"), "not valid UTF-8")
		require.ErrorContains(t, s.RenameUser("ada\xff"), "not valid UTF-8")
	})
	_, err := app.Manager().RevokeUser(t.Context(), "ada\xff")
	require.ErrorContains(t, err, "not valid UTF-8")
	_, err = app.Manager().Sessions(t.Context(), "ada\xff")
	require.ErrorContains(t, err, "not valid UTF-8")
	require.ErrorContains(t, app.Manager().Revoke(t.Context(), "ada\xff", "id"), "not valid UTF-8")
	_, err = session.New(session.NewMemoryStore(), session.Config{Realm: "a\xff"})
	require.Error(t, err, "the realm is part of each record")
}

// What only looks like a fault of the encoder's is kept.
func TestField01_LegalTextIsKept(t *testing.T) {
	for _, value := range []string{"a\ufffd", `\ufffd`, "\u2028<&>", "\x00\x1f", strings.Repeat("é", 1000)} {
		app := kit.New(t, session.Config{}, session.NewMemoryStore())
		b := app.Browser()
		b.Must(func(s *session.Session) { s.Set("k", value) })
		require.Equal(t, value, kit.Read[string](b, "k"))
	}
	b := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	b.Must(func(s *session.Session) { s.Set("raw", json.RawMessage(`"a\ufffd"`)); s.Set("deep", nested(9_990)) })
	require.Equal(t, "a\ufffd", kit.Read[string](b, "raw"))
	b.Must(func(s *session.Session) {
		var deep any
		require.True(t, s.Get("deep", &deep), "what is stored can be read")
	})
}
