package promsession_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/promsession"
)

var loadFor = flag.Duration("promsession.for", 2*time.Second, "how long TestTwoProcesses makes requests")

// serverVariable makes this program one process of a site, with its sessions in the Redis of that URL.
const serverVariable = "PROMSESSION_TEST_REDIS"

func TestMain(m *testing.M) {
	if url := os.Getenv(serverVariable); url != "" {
		if err := serve(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve serves until the standard input ends.
func serve(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	store, err := session.OpenRedisStore(ctx, url, session.RedisOptions{})
	if err != nil {
		return err
	}
	collector := promsession.New(promsession.Options{})
	collector.WatchRedis("", store)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	config := session.Config{Secure: session.Off, IdleTimeout: -1, StoreTimeout: 10 * time.Second} // a busy machine fails nobody
	collector.Instrument(&config)
	sessions, err := session.New(store, config)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	handle := func(path string, do func(*session.Session) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := do(session.FromContext(r.Context())); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("/login", func(s *session.Session) error { return s.Login("ada") })
	handle("/read", func(s *session.Session) error { s.User(); return nil })
	handle("/write", func(s *session.Session) error {
		session.Key[int]("n").Update(s, func(n int) int { return n + 1 })
		return nil
	})
	handle("/logout", func(s *session.Session) error { return s.Destroy() })
	mux.HandleFunc("/untouched", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() { _ = http.Serve(listener, sessions.Middleware(mux)) }()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func startProcess(t *testing.T, redis string) (address string) {
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = append(os.Environ(), serverVariable+"="+redis), os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { require.NoError(t, in.Close()); require.NoError(t, cmd.Wait()) })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

// done is what a browser has done, by its own count.
type done struct{ logins, reads, writes, logouts, untouched int }

// browse goes round the pages of a signed-in user, on one process after the other, until the time is over.
func browse(t *testing.T, processes []string, end time.Time, pause time.Duration) (d done) {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar, Transport: &http.Transport{}}
	n := 0
	visit := func(path string, counted *int) {
		resp, err := client.Get("http://" + processes[n%len(processes)] + path)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %v %v", path, resp, err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		n++
		*counted++
		time.Sleep(pause)
	}
	for time.Now().Before(end) {
		visit("/login", &d.logins)
		for range 5 {
			visit("/read", &d.reads)
			visit("/untouched", &d.untouched)
			visit("/write", &d.writes)
		}
		visit("/logout", &d.logouts)
	}
	return d
}

// scraped returns the sum of a metric over the processes, of the lines that match.
func scraped(t *testing.T, processes []string, line string) (sum int) {
	matches := regexp.MustCompile(`(?m)^` + line + ` (\d+)$`)
	for _, process := range processes {
		resp, err := http.Get("http://" + process + "/metrics")
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		for _, found := range matches.FindAllSubmatch(text, -1) {
			n, err := strconv.Atoi(string(found[1]))
			require.NoError(t, err)
			sum += n
		}
	}
	return sum
}

// Two processes on one Redis, 200 requests a second: what they count equals what was done.
func TestTwoProcesses_CountWhatWasDone(t *testing.T) {
	redis := redistest.Start(t).URL()
	processes := []string{startProcess(t, redis), startProcess(t, redis)}
	const browsers = 16
	var all done
	var mu sync.Mutex
	var together sync.WaitGroup
	end := time.Now().Add(*loadFor)
	for range browsers {
		together.Go(func() {
			d := browse(t, processes, end, browsers*time.Second/200)
			mu.Lock()
			defer mu.Unlock()
			all.logins += d.logins
			all.reads += d.reads
			all.writes += d.writes
			all.logouts += d.logouts
			all.untouched += d.untouched
		})
	}
	together.Wait()
	t.Logf("%+v", all)

	event := func(kind string) int {
		return scraped(t, processes, `session_events_total\{kind="`+kind+`",reason=""\}`)
	}
	operation := func(kind, result string) int {
		return scraped(t, processes, `session_operation_duration_seconds_count\{kind="`+kind+`",result="`+result+`",store="RedisStore"\}`)
	}
	require.Equal(t, all.logins, event("logged in"))
	require.Equal(t, all.logouts, event("destroyed"))
	require.Equal(t, all.reads+all.writes+all.logouts, operation("load", "ok"), "a login comes without a cookie")
	require.Equal(t, all.logins+all.writes+all.logouts, operation("commit", "ok"))
	require.Zero(t, operation("load", "error")+operation("commit", "error")+operation("commit", "timeout"))
	require.Zero(t, scraped(t, processes, `session_operations_in_flight\{.*\}`))
}
