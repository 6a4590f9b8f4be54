package guarantees_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee13_SealedAndSignedAreNotInterchangeable(t *testing.T) {
	for from, construct := range kit.CookieStores {
		for to, other := range kit.CookieStores {
			issuing, _ := construct(kit.SecretOne)
			reading, _ := other(kit.SecretOne)
			v := kit.New(t, session.Config{}, issuing).Browser()
			v.SignIn("ada")
			moved := v.On(reading)
			require.Equal(t, from != to, moved.SignedOut(), "a %s cookie, a %s store", from, to)
			if from != to {
				require.Equal(t, []string{"rejected: bad seal"}, moved.App.Happened(), "not even the signature is the other's")
			}
		}
	}
}

func TestGuarantee13_Secrets_Rotation(t *testing.T) {
	for _, open := range []func(...[]byte) (*session.CookieStore, error){session.NewCookieStore, session.NewSignedCookieStore} {
		world := func(secrets ...[]byte) *kit.App {
			store, err := open(secrets...)
			require.NoError(t, err)
			return kit.New(t, session.Config{}, store)
		}
		old, both, newer := world(kit.SecretOne), world(kit.SecretTwo, kit.SecretOne), world(kit.SecretTwo)
		cookie := old.Login("ada")
		require.True(t, newer.Dead(cookie))
		b := both.BrowserWith(cookie)
		b.Receive(both.Do(cookie, func(s *session.Session) { require.Equal(t, "ada", s.User()) }))
		require.NotEqual(t, cookie, b.Cookie, "sealed again, with the new secret")
		require.Equal(t, "ada", newer.User(b.Cookie))
		require.True(t, old.Dead(b.Cookie))
		require.Empty(t, both.Do(b.Cookie, func(s *session.Session) { s.User() }).Cookies(), "and once only")
	}
}

func TestGuarantee13_Secrets_WeakOnesAreRefused(t *testing.T) {
	for _, secrets := range [][][]byte{
		nil, {nil}, {[]byte("")}, {kit.SecretOne[:31]}, {kit.SecretOne, kit.SecretOne[:31]}, {[]byte(strings.Repeat("x", 64))},
		{[]byte("0123456789abcdef0123456789abcdef")}, {[]byte("please-changeme-please-changeme-please")},
	} {
		for _, open := range []func(...[]byte) (*session.CookieStore, error){session.NewCookieStore, session.NewSignedCookieStore} {
			_, err := open(secrets...)
			require.ErrorIs(t, err, session.ErrWeakSecret, "%q", secrets)
		}
	}
}

// A cookie that is sealed again after a change of secrets is the same session, and still ends when it would have ended.
func TestGuarantee13_ResealingExtendsNothing(t *testing.T) {
	v := kit.New(t, session.Config{IdleTimeout: -1}, kit.Sealed(t, kit.SecretOne)).Browser()
	v.SignIn("ada")
	before, seen := v.Cookie, v.View()
	v.App.Clock.Advance(23 * time.Hour)
	v = v.On(kit.Sealed(t, kit.SecretTwo, kit.SecretOne))
	require.Equal(t, seen, v.View(), "opened by the old secret")
	require.NotEqual(t, before, v.Cookie)
	require.Equal(t, seen, v.View(), "opened by the new one")
	v.App.Clock.Advance(time.Hour - time.Microsecond)
	require.False(t, v.SignedOut())
	v.App.Clock.Advance(time.Microsecond)
	require.True(t, v.SignedOut())
}

func TestSecrets_AreCopied(t *testing.T) {
	secret := bytes.Clone(kit.SecretOne)
	s := kit.New(t, session.Config{}, kit.Sealed(t, secret))
	clear(secret)
	v := s.Browser()
	v.SignIn("ada")
	again := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne)).Browser()
	again.Cookie = v.Cookie
	require.False(t, again.SignedOut())
}

func TestGuarantee13_WhatTheClientCanRead(t *testing.T) {
	const private = "rosebud-rosebud-rosebud"
	readable := map[string]bool{}
	for kind, construct := range kit.CookieStores {
		v := kit.New(t, session.Config{}, kit.Must(construct(kit.SecretOne))).Browser()
		v.Must(func(s *session.Session) { s.Set("k", private) })
		readable[kind] = shows(v.Cookie, private)
	}
	require.Equal(t, map[string]bool{"sealed": false, "signed": true}, readable)
}

// shows reports whether value, or a part of it that is base64, holds the text.
func shows(value, text string) bool {
	if strings.Contains(value, text) {
		return true
	}
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == '.' || r == '|' }) {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(part, "="))
		if err == nil && len(raw) > 0 && shows(string(raw), text) {
			return true
		}
	}
	return false
}
