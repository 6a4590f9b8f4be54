package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/sessiontest"
)

var errAway = errors.New("the store is away")

func TestAnonymousTrafficCostsNothing(t *testing.T) {
	store := sessiontest.NewStore()
	p := newSiteOn(t, store).visitor(t)
	for path, status := range map[string]int{
		"/": 200, "/login": 200, "/account": 303, "/account/sessions": 303, "/nowhere": 404, "/healthz": 200,
		"/static/style.css": 200, "/static/icon.svg": 200, "/static/": 404,
	} {
		a := p.get(path)
		assert.Equal(t, status, a.status, path)
		assert.Empty(t, a.header.Values("Set-Cookie"), path)
	}
	for _, path := range []string{"/logout", "/account/password", "/account/sessions/revoke", "/account/sessions/revoke-others"} {
		a := p.post(path)
		assert.Equal(t, http.StatusSeeOther, a.status, path)
		assert.Empty(t, a.header.Values("Set-Cookie"), path)
	}
	assert.Empty(t, store.Calls())
}

func TestStoreOutage(t *testing.T) {
	store := sessiontest.NewStore()
	s := newSiteOn(t, store)
	p := s.ada(t)
	store.Down(errAway)
	for _, path := range []string{"/", "/account", "/account/sessions", "/login"} {
		a := p.get(path)
		assert.Equal(t, http.StatusServiceUnavailable, a.status, path)
		assert.Contains(t, a.body, "We will be right back", path)
		assert.Empty(t, a.header.Values("Set-Cookie"), path)
	}
	store.Reset()
	a := p.get("/healthz")
	assert.Equal(t, http.StatusOK, a.status)
	assert.Equal(t, "ok\n", a.body)
	assert.Equal(t, http.StatusOK, p.get("/static/style.css").status)
	assert.Empty(t, store.Calls(), "neither touches the session")

	out := p.post("/logout")
	assert.Equal(t, http.StatusServiceUnavailable, out.status, "nobody is told to be signed out who is not")
	a = p.post("/account/password", "current", "analytical-engine", "new", "punched-cards")
	assert.Equal(t, http.StatusServiceUnavailable, a.status)

	store.Down(nil)
	assert.True(t, p.signedIn())
	assert.Equal(t, http.StatusSeeOther, s.visitor(t).login("ada", "analytical-engine").status, "the password is unchanged")
}

// Nothing that Redis holds, sent as the cookie, opens a session.
func TestRedisHoldsNothingToSendAsACookie(t *testing.T) {
	s := newSite(t, "redis")
	p := s.ada(t)
	p.post("/preferences", "locale", "de")
	old := s.visitor(t)
	old.post("/preferences", "locale", "fr") // and a session replaced by a login
	old.login("grace", "nanoseconds")

	texts := redisTexts(t, s.redis)
	require.NotEmpty(t, texts)
	for _, text := range texts {
		assert.NotContains(t, text, p.cookie())
		assert.NotContains(t, text, old.cookie())
	}
	tried := 0
	for _, text := range texts {
		for _, part := range append(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(`:"{}, `, r) }), text) {
			thief := s.visitor(t)
			if (&http.Cookie{Name: cookieName, Value: part}).Valid() != nil {
				continue
			}
			thief.takeCookie(part)
			assert.False(t, thief.signedIn(), part)
			tried++
		}
	}
	assert.Positive(t, tried)
	assert.True(t, p.signedIn())
}

// redisTexts returns all keys, fields and values.
func redisTexts(t *testing.T, url string) (texts []string) {
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(o)
	defer func() { assert.NoError(t, client.Close()) }()
	keys := client.Scan(t.Context(), 0, "*", 0).Iterator()
	for keys.Next(t.Context()) {
		key := keys.Val()
		texts = append(texts, key)
		kind, err := client.Type(t.Context(), key).Result()
		require.NoError(t, err)
		switch kind {
		case "hash":
			fields, err := client.HGetAll(t.Context(), key).Result()
			require.NoError(t, err)
			for field, value := range fields {
				texts = append(texts, field, value)
			}
		case "zset":
			members, err := client.ZRange(t.Context(), key, 0, -1).Result()
			require.NoError(t, err)
			texts = append(texts, members...)
		case "string":
			value, err := client.Get(t.Context(), key).Result()
			require.NoError(t, err)
			texts = append(texts, value)
		default:
			t.Fatalf("the test does not know how to read a %s", kind)
		}
	}
	require.NoError(t, keys.Err())
	return texts
}
