package guarantees_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tale = "abcdefghijklmnopqrstuvwxyz"

func serveTale(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "tale.txt", time.Unix(1e9, 0), strings.NewReader(tale))
}

func informing(statuses ...int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, status := range statuses {
			w.WriteHeader(status)
		}
		kit.WriteOK(w, r)
	}
}

func answering(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func TestGuarantee08_CookieBeforeTheFirstByte(t *testing.T) {
	for _, c := range []struct {
		name, method string
		h            http.HandlerFunc
		header       []string
		status       int
		body         string
	}{
		{"nothing written", "GET", func(http.ResponseWriter, *http.Request) {}, nil, 200, ""},
		{"Write", "GET", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }, nil, 200, "ok"},
		{"WriteString", "GET", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.(io.StringWriter).WriteString("ok") }, nil, 200, "ok"},
		{"Copy", "GET", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(strings.NewReader("okay"), 2))
		}, nil, 200, "ok"},
		{"Flush", "GET", func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); kit.WriteOK(w, r) }, nil, 200, "ok"},
		{"FlushError", "GET", func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			kit.WriteOK(w, r)
		}, nil, 200, "ok"},
		{"WriteHeader 201", "GET", answering(201), nil, 201, ""},
		{"100 first", "GET", informing(100), nil, 200, "ok"},
		{"102 first", "GET", informing(102), nil, 200, "ok"},
		{"103 first", "GET", informing(103), nil, 200, "ok"},
		{"all first", "GET", informing(100, 102, 103, 103), nil, 200, "ok"},
		{"HEAD", "HEAD", kit.WriteOK, nil, 200, ""},
		{"204", "GET", answering(204), nil, 204, ""},
		{"304", "GET", answering(304), nil, 304, ""},
		{"redirect", "GET", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/there", 303) }, nil, 303, "<a href=\"/there\">See Other</a>.\n\n"},
		{"redirect a POST", "POST", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/there", 303) }, nil, 303, ""},
		{"error page", "GET", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 418) }, nil, 418, "no\n"},
		{"content", "GET", serveTale, nil, 200, tale},
		{"content HEAD", "HEAD", serveTale, nil, 200, ""},
		{"range", "GET", serveTale, []string{"Range", "bytes=3-5"}, 206, "def"},
		{"range at the end", "GET", serveTale, []string{"Range", "bytes=-2"}, 206, "yz"},
		{"range too far", "GET", serveTale, []string{"Range", "bytes=99-"}, 416, "invalid range: failed to overlap\n"},
		{"not modified", "GET", serveTale, []string{"If-Modified-Since", time.Unix(1e9, 0).UTC().Format(http.TimeFormat)}, 304, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			overHTTP(t, func(t *testing.T, serve serveFunc) {
				site := serve(newPages(t).Pages(setting(c.h)))
				response, body := site.do(t.Context(), c.method, "/", c.header...)
				require.Equal(t, c.status, response.StatusCode)
				require.Equal(t, c.body, body)
				requireSessionCookie(t, response.Header)
				_, kept := site.get("/read")
				require.Equal(t, "[cart]", kept)
			})
		})
	}
}

func TestGuarantee08_InformationalResponsesCarryNoCookie(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		site := serve(newPages(t).Pages(setting(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			session.FromContext(r.Context()).Set("more", 1) // still in time
			kit.WriteOK(w, r)
		})))
		var hints []textproto.MIMEHeader
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			require.Equal(t, http.StatusEarlyHints, code)
			hints = append(hints, h)
			return nil
		}})
		response, body := site.do(ctx, "GET", "/")
		require.Equal(t, "ok", body)
		requireSessionCookie(t, response.Header)
		require.Len(t, hints, 1)
		require.NotEmpty(t, hints[0].Get("Link"))
		require.Empty(t, hints[0].Get("Set-Cookie"))
		_, kept := site.get("/read")
		require.Equal(t, "[cart more]", kept)
	})
}

func TestGuarantee08_ServerSentEvents(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		next := make(chan struct{})
		app := newPages(t)
		site := serve(app.Pages(func(w http.ResponseWriter, r *http.Request) {
			s := session.FromContext(r.Context())
			s.Set("before", 1)
			sendEvent(t, w, "first")
			<-next
			s.Set("during", 1)
			assert.NoError(t, s.Save(r.Context()))
			sendEvent(t, w, "second")
			<-next
			s.Set("last", 1) // saved when the handler returns
			assert.ErrorIs(t, s.Regenerate(), session.ErrResponseStarted)
			assert.ErrorIs(t, s.Login("ada"), session.ErrResponseStarted)
		}))
		response := site.begin(t.Context(), "GET", "/")
		requireSessionCookie(t, response.Header)
		lines := bufio.NewScanner(response.Body)
		requireEvent(t, lines, "first")
		next <- struct{}{}
		requireEvent(t, lines, "second") // saved before it was sent
		_, kept := site.get("/read")
		require.Equal(t, "[before during]", kept)
		next <- struct{}{}
		require.False(t, lines.Scan())
		_, kept = site.get("/read")
		require.Equal(t, "[before during last]", kept)
		require.Zero(t, app.Count(session.EventLateWrite))
	})
}

func sendEvent(t *testing.T, w http.ResponseWriter, data string) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, err := fmt.Fprintf(w, "data: %s\n\n", data)
	assert.NoError(t, err)
	assert.NoError(t, http.NewResponseController(w).Flush())
}

func requireEvent(t *testing.T, lines *bufio.Scanner, data string) {
	t.Helper()
	require.True(t, lines.Scan(), "an event should have come: %v", lines.Err())
	require.Equal(t, "data: "+data, lines.Text())
	require.True(t, lines.Scan())
}

func TestGuarantee08_ReverseProxyOfServerSentEvents(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		next := make(chan struct{})
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", "backend=1")
			w.Header().Set("Trailer", "X-Sum")
			sendEvent(t, w, "first")
			<-next
			sendEvent(t, w, "second")
			w.Header().Set("X-Sum", "2")
		}))
		defer backend.Close()
		target, err := url.Parse(backend.URL)
		require.NoError(t, err)
		proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
		site := serve(newPages(t).Pages(setting(proxy.ServeHTTP)))
		response := site.begin(t.Context(), "GET", "/")
		require.Len(t, response.Header.Values("Set-Cookie"), 2)
		lines := bufio.NewScanner(response.Body)
		requireEvent(t, lines, "first")
		close(next)
		requireEvent(t, lines, "second")
		require.False(t, lines.Scan())
		require.Equal(t, "2", response.Trailer.Get("X-Sum"))
		_, kept := site.get("/read")
		require.Equal(t, "[cart]", kept)
	})
}

func TestGuarantee08_ResponseController(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		site := serve(newPages(t).Pages(setting(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			assert.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			assert.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Minute)))
			assert.NoError(t, c.EnableFullDuplex())
			_, _, err := c.Hijack()
			if r.ProtoMajor == 2 {
				assert.ErrorIs(t, err, http.ErrNotSupported)
			} else {
				assert.ErrorContains(t, err, "cookie still to be sent")
			}
			_, pushes := w.(http.Pusher)
			assert.Equal(t, r.ProtoMajor == 2, pushes)
			_, hijacks := w.(http.Hijacker)
			assert.Equal(t, r.ProtoMajor == 1, hijacks)
			assert.NoError(t, c.Flush())
			kit.WriteOK(w, r)
		})))
		response, body := site.get("/")
		require.Equal(t, "ok", body)
		requireSessionCookie(t, response.Header)
	})
}

func TestGuarantee08_Push(t *testing.T) {
	below := &pusher{ResponseWriter: httptest.NewRecorder()}
	newPages(t).Pages(setting(func(w http.ResponseWriter, _ *http.Request) {
		require.NoError(t, w.(http.Pusher).Push("/style.css", nil))
		require.Empty(t, below.Header().Get("Set-Cookie"), "a push is not the response")
	})).ServeHTTP(below, httptest.NewRequest("GET", "https://localhost/", nil))
	require.Equal(t, "/style.css", below.pushed)
	requireSessionCookie(t, below.Header())
}

type pusher struct {
	http.ResponseWriter
	pushed string
}

func (p *pusher) Push(target string, _ *http.PushOptions) error { p.pushed = target; return nil }

func TestGuarantee08_FullDuplex(t *testing.T) {
	overHTTP(t, func(t *testing.T, serve serveFunc) {
		site := serve(newPages(t).Pages(setting(func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
			lines := bufio.NewScanner(r.Body)
			for lines.Scan() {
				_, _ = fmt.Fprintln(w, "echo", lines.Text())
				_ = http.NewResponseController(w).Flush()
			}
		})))
		body, sent := io.Pipe()
		go func() { _, _ = fmt.Fprintln(sent, "one") }()
		request, err := http.NewRequestWithContext(t.Context(), "POST", site.base+"/", body)
		require.NoError(t, err)
		response, err := site.Do(request)
		require.NoError(t, err)
		requireSessionCookie(t, response.Header)
		lines := bufio.NewScanner(response.Body)
		for _, word := range []string{"one", "two", "three"} {
			if word != "one" {
				_, err := fmt.Fprintln(sent, word)
				require.NoError(t, err)
			}
			require.True(t, lines.Scan())
			require.Equal(t, "echo "+word, lines.Text())
		}
		require.NoError(t, sent.Close())
		require.False(t, lines.Scan())
		require.NoError(t, response.Body.Close())
	})
}
