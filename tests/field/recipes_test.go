package field_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

// The recipes of docs/security.md, word for word; TestRecipes sees to that.

// newGateway returns a proxy that keeps the session's cookie from the server behind it, and its own from the browser.
func newGateway(target *url.URL, cookieName string) http.Handler {
	rewrite := func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.SetXForwarded()
		cookies := r.In.Cookies()
		r.Out.Header.Del("Cookie")
		for _, c := range cookies {
			if c.Name != cookieName {
				r.Out.AddCookie(c)
			}
		}
	}
	modify := func(resp *http.Response) error {
		resp.Header["Set-Cookie"] = slices.DeleteFunc(resp.Header["Set-Cookie"], func(line string) bool {
			name, _, _ := strings.Cut(line, "=")
			return strings.TrimSpace(name) == cookieName
		})
		return nil
	}
	return &httputil.ReverseProxy{Rewrite: rewrite, ModifyResponse: modify}
}

var order = session.Key[string]("order")

// newReturnManagers returns one Manager for users, and one for the state of what leaves the site and comes back by a POST.
func newReturnManagers(store session.Store) (users, flows *session.Manager) {
	users, err := session.New(store, session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	flows, err = session.New(store, session.Config{
		Name: "__Host-flow", SameSite: http.SameSiteNoneMode, Lifetime: 10 * time.Minute, IdleTimeout: -1,
	})
	if err != nil {
		log.Fatal(err)
	}
	return users, flows
}

func returnPages(users, flows *session.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /pay", flows.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		order.Set(session.FromContext(r.Context()), "17")
		http.Redirect(w, r, "https://payments.example/", http.StatusSeeOther)
	})))
	// Another site's form: the users' Manager is not there, so the user's session can't be replaced.
	mux.Handle("POST /paid", flows.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wanted, ok := order.Get(session.FromContext(r.Context()))
		if !ok || r.PostFormValue("order") != wanted { // and the signature of the other site is verified here
			http.Error(w, "nothing was to be paid", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, "/done", http.StatusSeeOther)
	})))
	// A GET of this site again, to which both cookies come.
	mux.Handle("GET /done", flows.Middleware(users.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paid, ok := order.Pop(flows.Session(r.Context()))
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, "%s has paid order %s", users.Session(r.Context()).User(), paid)
	}))))
	return mux
}

// redisLogger passes the lines of go-redis itself, about connections that fail, to slog.
type redisLogger struct{ logger *slog.Logger }

func (l redisLogger) Printf(ctx context.Context, format string, args ...any) {
	l.logger.WarnContext(ctx, fmt.Sprintf(format, args...))
}

func useRedisLogger() { redis.SetLogger(redisLogger{slog.Default()}) }

func TestRecipes_RedisLogger(t *testing.T) {
	var text strings.Builder
	redisLogger{slog.New(slog.NewTextHandler(&text, nil))}.Printf(t.Context(), "pool: %d", 7)
	require.Contains(t, text.String(), `msg="pool: 7"`)
	require.NotNil(t, useRedisLogger)
}

// TestRecipes holds the documentation to code that is compiled and run.
func TestRecipes(t *testing.T) {
	doc, err := os.ReadFile("../../docs/security.md")
	require.NoError(t, err)
	code, err := os.ReadFile("recipes_test.go")
	require.NoError(t, err)
	blocks := strings.Split(string(doc), "```go\n")[1:]
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		recipe, _, closed := strings.Cut(block, "```")
		require.True(t, closed)
		require.True(t, strings.Contains(string(code), recipe), "not in recipes_test.go: %s", recipe)
	}
}
