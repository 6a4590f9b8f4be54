package integration_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
)

const timeout = 2 * time.Second // Config.StoreTimeout

// site is an application on an engine of several Redis servers.
type site struct {
	testing.TB
	*session.Manager
	store *session.RedisStore
	h     http.Handler
}

// newSite opens the nodes as the parameters of the URL tell: addr for a cluster's, master_name for sentinels.
func newSite(t testing.TB, nodes []*redistest.Server, parameters string, opts session.RedisOptions, cfg session.Config) *site {
	address := nodes[0].URL()
	for _, node := range nodes[1:] {
		parameters += "&addr=" + node.Addr
	}
	store, err := session.OpenRedisStore(t.Context(), address+"?"+strings.TrimPrefix(parameters, "&"), opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return newSiteOn(t, store, cfg)
}

// newSiteOn is newSite with a store of the test's.
func newSiteOn(t testing.TB, store *session.RedisStore, cfg session.Config) *site {
	cfg.Logger = slog.New(slog.DiscardHandler)
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = timeout
	}
	manager, err := session.New(store, cfg)
	require.NoError(t, err)
	s := &site{TB: t, Manager: manager, store: store}
	s.h = manager.Middleware(http.HandlerFunc(s.serve))
	return s
}

// serve obeys the path: /login/user, /set/key, /count, /regenerate, /logout; and tells the user and the keys.
func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	current := session.FromContext(r.Context())
	command, argument, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var err error
	switch command {
	case "login":
		err = current.Login(argument, "kept")
	case "set":
		current.Set(argument, 1)
	case "count":
		session.Key[int]("count").Update(current, func(n int) int { return n + 1 })
	case "regenerate":
		err = current.Regenerate()
	case "logout":
		err = current.Destroy()
	}
	count, _ := session.Key[int]("count").Get(current)
	if err == nil {
		_, _ = fmt.Fprintf(w, "%s%v%d", current.User(), current.Keys(), count)
	}
}

// client is a browser.
type client struct {
	*site
	cookie string
}

func (s *site) client() *client { return &client{site: s} }

// ask sends a request, keeps the cookie that comes back, and returns status and body.
func (c *client) ask(path string) (int, string) {
	r := httptest.NewRequestWithContext(context.Background(), "GET", "https://localhost"+path, nil)
	if c.cookie != "" {
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: c.cookie})
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	for _, cookie := range w.Result().Cookies() {
		c.cookie = cookie.Value
	}
	body, _ := io.ReadAll(w.Body)
	return w.Code, string(body)
}

// must asks for an answer of 200.
func (c *client) must(path string) string {
	c.Helper()
	status, body := c.ask(path)
	require.Equal(c, 200, status, path)
	return body
}

// insist asks until the answer is 200, as a user does who is told to try again. It fails the test if that takes too long
// or if the user is told anything but that.
func (c *client) insist(path string, patience time.Duration) (body string, outage time.Duration, err error) {
	begun := time.Now()
	for {
		status, body := c.ask(path)
		switch {
		case status == 200:
			return body, time.Since(begun), nil
		case status != 503:
			return "", 0, fmt.Errorf("%s was answered with %d", path, status)
		case time.Since(begun) > patience:
			return "", 0, fmt.Errorf("%s was not answered for %v", path, patience)
		}
		time.Sleep(20 * time.Millisecond) // the pace of the user
	}
}
