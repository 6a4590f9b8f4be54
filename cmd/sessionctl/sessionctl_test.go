package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
)

// terminal runs commands against one store.
type terminal struct {
	*testing.T
	url   string
	input string
	now   func() time.Time
}

func (c *terminal) run(args ...string) (code int, out, errs string) {
	c.Helper()
	var stdout, stderr bytes.Buffer
	now := c.now
	if now == nil {
		now = time.Now
	}
	one := &command{in: strings.NewReader(c.input), out: &stdout, err: &stderr, env: os.Getenv, now: now}
	code = one.run(c.Context(), append([]string{"-store", c.url, "-realm", "shop"}, args...))
	return code, stdout.String(), stderr.String()
}

// does runs a command that succeeds, and returns what it prints.
func (c *terminal) does(args ...string) string {
	c.Helper()
	code, out, errs := c.run(args...)
	require.Equal(c, exitOK, code, "%s%s", out, errs)
	return out
}

// signIn begins a session of a user, and returns its ID and the browser that has it.
func signIn(t *testing.T, store session.Store, user string) (string, *sessiontest.Jar, *session.Manager) {
	t.Helper()
	sessions, err := session.New(store, session.Config{Realm: "shop"})
	require.NoError(t, err)
	jar, id := sessiontest.NewJar(), ""
	sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) {
		if user != "" {
			require.NoError(t, s.Login(user))
		}
		s.Set("cart", []string{"a-private-thing"})
		s.SetNote("phone")
		id = s.ID()
	})
	return id, jar, sessions
}

func startRedis(t *testing.T, args ...string) (*redistest.Server, *session.RedisStore) {
	server := redistest.Start(t, args...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	store, err := session.OpenRedisStore(ctx, server.URL(), session.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return server, store
}

func user(t *testing.T, sessions *session.Manager, jar *sessiontest.Jar) (name string) {
	t.Helper()
	h := sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { name = session.FromContext(r.Context()).User() }))
	jar.Serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	return name
}

func TestSessions_AreShownAndEnded(t *testing.T) {
	server, store := startRedis(t)
	c := &terminal{T: t, url: server.URL()}
	first, firstJar, sessions := signIn(t, store, "ada")
	second, secondJar, _ := signIn(t, store, "ada")
	_, grace, _ := signIn(t, store, "grace")
	_, _, _ = signIn(t, store, "")

	list := c.does("list", "ada")
	require.Contains(t, list, first)
	require.Contains(t, list, second)
	require.Contains(t, list, "phone")
	require.Len(t, strings.Split(strings.TrimSpace(list), "\n"), 3)
	require.Equal(t, "4 sessions, 3 of them signed in, of 2 users.\n", c.does("count"))
	require.Equal(t, "nobody has no session in the realm shop.\n", c.does("list", "nobody"))

	one := c.does("show", first)
	require.Regexp(t, `(?m)^user +ada$`, one)
	require.Regexp(t, `(?m)^value cart +19 bytes$`, one)
	require.NotContains(t, one, "a-private-thing", "values may be secrets")
	require.Regexp(t, `(?m)^state +live$`, one)

	require.Equal(t, "Ended 1 session.\n", c.does("revoke", "ada", first))
	require.Empty(t, user(t, sessions, firstJar))
	require.Equal(t, "ada", user(t, sessions, secondJar))
	require.Regexp(t, `(?m)^state +revoked$`, c.does("show", first))
	code, _, errs := c.run("revoke", "grace", second)
	require.Equal(t, exitFault, code, "it is ada's")
	require.Contains(t, errs, "not found")

	require.Equal(t, "Ended 1 session.\n", c.does("revoke", "ada"))
	require.Empty(t, user(t, sessions, secondJar))
	require.Equal(t, "grace", user(t, sessions, grace))
	require.Equal(t, "Ended 2 sessions.\n", c.does("-yes", "revoke-all"))
	require.Empty(t, user(t, sessions, grace))
	require.Equal(t, "0 sessions, 0 of them signed in, of 0 users.\n", c.does("count"))
	code, _, errs = c.run("show", "nothing")
	require.Equal(t, exitFault, code)
	require.Contains(t, errs, "there is no session nothing")
}

// What ends many is asked for first, and who is not there to answer means no.
func TestSessions_ManyAreEndedAfterAYes(t *testing.T) {
	server, store := startRedis(t)
	for range 2 {
		signIn(t, store, "ada")
	}
	for _, answer := range []string{"", "y\n", "no\n", "YES\n"} {
		c := &terminal{T: t, url: server.URL(), input: answer}
		for _, args := range [][]string{{"revoke", "ada"}, {"revoke-all"}} {
			code, _, errs := c.run(args...)
			require.Equal(t, exitFault, code)
			require.Contains(t, errs, "Type yes")
			require.Contains(t, errs, "nothing was ended")
		}
		require.Contains(t, c.does("count"), "2 sessions")
	}
	c := &terminal{T: t, url: server.URL(), input: "yes\n"}
	require.Equal(t, "Ended 2 sessions.\n", c.does("revoke", "ada"))
}

func TestJSON_IsOneValueALine(t *testing.T) {
	server, store := startRedis(t)
	c := &terminal{T: t, url: server.URL()}
	id, _, _ := signIn(t, store, "ada")
	signIn(t, store, "ada")

	var infos []session.Info
	for line := range strings.Lines(c.does("-json", "list", "ada")) {
		var info session.Info
		require.NoError(t, json.Unmarshal([]byte(line), &info))
		infos = append(infos, info)
	}
	require.Len(t, infos, 2)
	require.Equal(t, "ada", infos[0].User)
	var one shown
	require.NoError(t, json.Unmarshal([]byte(c.does("-json", "show", id)), &one))
	require.Equal(t, map[string]int{"cart": 19}, one.Values)
	require.JSONEq(t, `{"Sessions":2,"SignedIn":2,"Users":1}`, c.does("-json", "count"))
	require.JSONEq(t, `{"ended":2}`, c.does("-json", "-yes", "revoke", "ada"))
	for line := range strings.Lines(c.does("-json", "doctor")) {
		var f finding
		require.NoError(t, json.Unmarshal([]byte(line), &f))
		require.NotEmpty(t, f.Topic)
	}
}

// Realms and prefixes keep applications apart.
func TestSessions_OfAnotherRealmAreLeftAlone(t *testing.T) {
	server, store := startRedis(t)
	signIn(t, store, "ada")
	var out, errs bytes.Buffer
	one := &command{in: strings.NewReader(""), out: &out, err: &errs, env: os.Getenv, now: time.Now}
	require.Equal(t, exitOK, one.run(t.Context(), []string{"-store", server.URL(), "-realm", "blog", "-yes", "revoke-all"}), errs.String())
	require.Equal(t, "Ended 0 sessions.\n", out.String())
	require.Contains(t, errs.String(), "Sessions in encrypted cookies can't be ended from here")
	c := &terminal{T: t, url: server.URL()}
	require.Contains(t, c.does("count"), "1 session,")
	require.Contains(t, c.does("-prefix", "other:", "count"), "0 sessions")
}

func TestUsage(t *testing.T) {
	c := &terminal{T: t, url: "redis://localhost:1/0"}
	require.Contains(t, c.does("help"), "revoke-all")
	require.Contains(t, c.does(), "Commands:")
	for text, args := range map[string][]string{
		"there is no command": {"drop"}, "write: sessionctl list USER": {"list"}, "write: sessionctl revoke USER [ID]": {"revoke", "a", "b", "c"},
		"flag provided but not defined": {"-nope", "count"}, "write: sessionctl secret": {"secret", "check"},
		"no store has URLs like": {"-store", "ftp://ada:hush@x/", "count"}, "say which store": {"-store", "", "count"},
	} {
		code, out, errs := c.run(args...)
		require.Equal(t, exitUsage, code, args)
		require.Contains(t, errs, text)
		require.NotContains(t, errs, "hush")
		require.Empty(t, out)
	}
}

func TestSecret_IsMadeAndChecked(t *testing.T) {
	c := &terminal{T: t}
	first, second := strings.TrimSpace(c.does("secret")), strings.TrimSpace(c.does("secret"))
	require.NotEqual(t, first, second)
	t.Setenv("MADE", first)
	_, err := session.SecretsFromEnv("MADE")
	require.NoError(t, err, "the library takes it")

	for name, change := range map[string]struct {
		old, new string
		code     int
		says     string
	}{
		"the new one behind":        {first, first + "," + second, exitOK, "open each other's cookies"},
		"the new one in front":      {first + "," + second, second + "," + first, exitOK, "open each other's cookies"},
		"the old one dropped":       {second + "," + first, second, exitOK, "the secret at place 2 is dropped"},
		"the new one put in front":  {first, second + "," + first, exitFault, "unknown to instances with the old ones"},
		"replaced":                  {first, second, exitFault, "the old first secret is gone"},
		"a weak one":                {first, "secret", exitFault, "NEW"},
		"none":                      {first, "", exitFault, "NEW"},
		"the same in another order": {first + "," + second, first + "\n" + second, exitOK, "open each other's cookies"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OLD", change.old)
			t.Setenv("NEW", change.new)
			c := &terminal{T: t}
			code, out, errs := c.run("secret", "check", "OLD", "NEW")
			require.Equal(t, change.code, code, out+errs)
			require.Contains(t, out+errs, change.says)
			require.NotContains(t, out+errs, first)
			require.NotContains(t, out+errs, second)
		})
	}
}

func TestRough(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 s": -time.Second, "5 s": 5 * time.Second, "7 min": 7*time.Minute + time.Second, "2 h 3 min": 2*time.Hour + 3*time.Minute, "3 d 4 h": 76 * time.Hour,
	} {
		require.Equal(t, want, rough(d))
	}
}
