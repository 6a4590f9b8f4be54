package responsewriter_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// overHTTP runs a test against net/http's servers of HTTP/1.1 and HTTP/2, with a handler behind a Writer.
func overHTTP(t *testing.T, test func(t *testing.T, get func(context.Context, http.HandlerFunc) *http.Response)) {
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP%d", major), func(t *testing.T) {
			test(t, func(ctx context.Context, handler http.HandlerFunc) *http.Response {
				return getOver(ctx, t, major, handler)
			})
		})
	}
}

func getOver(ctx context.Context, t *testing.T, major int, handler http.HandlerFunc) *http.Response {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, w := start(w)
		handler(w, r)
		assert.NoError(t, h.Begin())
		assert.LessOrEqual(t, h.headers, 1)
	}))
	server.EnableHTTP2 = major == 2
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	response, err := server.Client().Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, major, response.ProtoMajor)
	return response
}

func requireBody(t *testing.T, want string, response *http.Response) {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, want, string(body))
}

func TestServer_OptionalInterfaces(t *testing.T) {
	overHTTP(t, func(t *testing.T, get func(context.Context, http.HandlerFunc) *http.Response) {
		response := get(t.Context(), func(w http.ResponseWriter, r *http.Request) {
			assert.True(t, can[http.Flusher](w))
			assert.Equal(t, r.ProtoMajor == 1, can[http.Hijacker](w))
			assert.Equal(t, r.ProtoMajor == 2, can[http.Pusher](w))
			controller := http.NewResponseController(w)
			assert.NoError(t, controller.SetReadDeadline(time.Now().Add(time.Minute)))
			assert.NoError(t, controller.SetWriteDeadline(time.Now().Add(time.Minute)))
			assert.NoError(t, controller.EnableFullDuplex())
			if r.ProtoMajor == 2 {
				_, _, err := controller.Hijack()
				assert.ErrorIs(t, err, http.ErrNotSupported)
			}
			assert.NoError(t, controller.Flush())
			_, _ = io.WriteString(w, "ok")
		})
		requireBody(t, "ok", response)
		require.Equal(t, "yes", response.Header.Get("X-Committed"))
	})
}

func TestServer_InformationalResponsesComeFirst(t *testing.T) {
	overHTTP(t, func(t *testing.T, get func(context.Context, http.HandlerFunc) *http.Response) {
		var hints []textproto.MIMEHeader
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			hints = append(hints, h)
			return nil
		}})
		response := get(ctx, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "ok")
		})
		requireBody(t, "ok", response)
		require.Equal(t, "yes", response.Header.Get("X-Committed"))
		require.Len(t, hints, 1)
		require.NotEmpty(t, hints[0].Get("Link"))
		require.Empty(t, hints[0].Get("X-Committed"))
	})
}

func TestServer_StreamsAsItIsFlushed(t *testing.T) {
	overHTTP(t, func(t *testing.T, get func(context.Context, http.HandlerFunc) *http.Response) {
		next := make(chan struct{})
		response := get(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			for _, line := range []string{"first\n", "second\n"} {
				_, err := io.WriteString(w, line)
				assert.NoError(t, err)
				w.(http.Flusher).Flush()
				<-next
			}
		})
		require.Equal(t, "yes", response.Header.Get("X-Committed"))
		lines := bufio.NewScanner(response.Body)
		for _, want := range []string{"first", "second"} {
			require.True(t, lines.Scan())
			require.Equal(t, want, lines.Text())
			next <- struct{}{}
		}
		require.False(t, lines.Scan())
	})
}

func TestServer_SendsFiles(t *testing.T) {
	text := strings.Repeat("tale ", 100_000)
	name := filepath.Join(t.TempDir(), "tale.txt")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	overHTTP(t, func(t *testing.T, get func(context.Context, http.HandlerFunc) *http.Response) {
		response := get(t.Context(), func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
		require.Equal(t, "yes", response.Header.Get("X-Committed"))
		require.EqualValues(t, len(text), response.ContentLength)
		requireBody(t, text, response)
	})
}

func TestServer_HijackedConnection(t *testing.T) {
	response := getOver(t.Context(), t, 1, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		assert.NoError(t, buf.Flush())
		_, err = io.WriteString(w, "late")
		assert.ErrorIs(t, err, http.ErrHijacked)
	})
	requireBody(t, "ok", response)
}
