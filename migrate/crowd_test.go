package migrate_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/migrate"
)

var crowd = flag.Int("crowd", 500, "how many sessions TestCrowd takes over")

// TestCrowd takes over the sessions of a service, with scs on one Redis and the new ones on another, and says how long
// that took: go test -run TestCrowd -v -crowd 50000.
func TestCrowd(t *testing.T) {
	server := redistest.Start(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	manager := newSCS(goredisstore.New(client))
	tokens := make([]string, *crowd)
	began := time.Now()
	inParallel(*crowd, func(i int) {
		ctx, err := manager.Load(context.Background(), "")
		assert.NoError(t, err)
		manager.Put(ctx, "user", fmt.Sprintf("user%d", i))
		manager.Put(ctx, "cart", []string{fmt.Sprintf("item%d", i)})
		tokens[i], _, err = manager.Commit(ctx)
		assert.NoError(t, err)
	})
	t.Logf("%d sessions were written by scs in %v", *crowd, time.Since(began).Round(time.Millisecond))
	require.Equal(t, fmt.Sprint(*crowd), server.MustDo("DBSIZE"))

	s := newSite(t, old{adopt: migrate.FromSCS(manager, keepAll), cookie: "session"})
	s.switched.Store(true)
	cookies := make([]*http.Cookie, *crowd)
	var lost atomic.Int64
	ask := func(i int, c *http.Cookie) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, requestWith(c))
		want := fmt.Sprintf("user%d has [item%d],", i, i)
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), want) {
			lost.Add(1)
		}
		return w
	}
	began = time.Now()
	inParallel(*crowd, func(i int) {
		w := ask(i, &http.Cookie{Name: "session", Value: tokens[i]})
		for _, c := range w.Result().Cookies() {
			if c.Name == newName {
				cookies[i] = c
			}
		}
	})
	t.Logf("all were taken over in %v", time.Since(began).Round(time.Millisecond))
	require.Zero(t, lost.Load(), "sessions were lost")
	require.Equal(t, *crowd, s.count(session.EventAdopted))

	began = time.Now()
	inParallel(*crowd, func(i int) {
		if assert.NotNil(t, cookies[i]) {
			ask(i, cookies[i])
		}
	})
	t.Logf("and used under the new cookies, and forgotten in the old store, in %v", time.Since(began).Round(time.Millisecond))
	assert.Zero(t, lost.Load(), "sessions were lost")
	assert.Equal(t, "0", server.MustDo("DBSIZE"), "old sessions are left")
}

// inParallel calls f for each number below n, sixteen at a time.
func inParallel(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
