//go:build !noservers

package operation_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// Ten thousand watched sessions: what one takes of memory and goroutines, and how long it takes from a revocation in one
// process to the end of the watch in another one.
func BenchmarkWatch_TenThousand(b *testing.B) {
	server := redistest.Start(b)
	here := kit.OpenRedis(b, server, session.RedisOptions{})
	there := kit.OpenRedis(b, server, session.RedisOptions{})
	manager := kit.Must(session.New(here, watched(session.Config{})))
	app := kit.New(b, session.Config{}, there)
	const many = 10_000
	cookies := make([]string, many)
	for i := range cookies {
		cookies[i] = app.Login("ada")
	}
	sessions := make([]*session.Session, many)
	for i, cookie := range cookies {
		sessions[i] = sessionOf(manager, app.Name, cookie)
		sessions[i].User()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	bytes, goroutines := heap(), runtime.NumGoroutine()
	contexts := make([]context.Context, many)
	before := looks.Load()
	for i, s := range sessions {
		contexts[i] = s.Watch(ctx)
	}
	require.Eventually(b, func() bool { return looks.Load()-before >= many }, time.Minute, time.Millisecond)
	bytes, goroutines = heap()-bytes, runtime.NumGoroutine()-goroutines
	runtime.KeepAlive(sessions)

	var times []time.Duration
	infos := app.Listed("ada")
	byID := make(map[string]context.Context, many)
	for i, s := range sessions {
		byID[s.ID()] = contexts[i]
	}
	for b.Loop() {
		id := infos[len(times)].ID
		begun := time.Now()
		require.NoError(b, app.Manager().Revoke(app.Context(), "ada", id))
		<-byID[id].Done()
		times = append(times, time.Since(begun))
	}
	b.ReportMetric(float64(bytes)/many, "B/watch")
	b.ReportMetric(float64(goroutines), "goroutines")
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// sessionOf returns the session that a request with this cookie has, after the request.
func sessionOf(manager *session.Manager, name, cookie string) (s *session.Session) {
	r := kit.Fresh("/")
	r.AddCookie(&http.Cookie{Name: name, Value: cookie})
	manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s = session.FromContext(r.Context()) })).
		ServeHTTP(httptest.NewRecorder(), r)
	return s
}
