package session_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

func quiet() *log.Logger      { return log.New(io.Discard, "", 0) }
func quietSlog() *slog.Logger { return slog.New(slog.DiscardHandler) }
func fresh(path string) *http.Request {
	return httptest.NewRequest("GET", "https://localhost"+path, nil)
}

// failingStore is a memory store whose writes can be made to fail.
type failingStore struct {
	*session.MemoryStore
	down  atomic.Bool
	saves atomic.Int64
}

func (f *failingStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if f.down.Load() {
		return session.Token{}, errDown
	}
	f.saves.Add(1)
	return f.MemoryStore.Save(ctx, token, c)
}

func (f *failingStore) Delete(ctx context.Context, id string, until time.Time) error {
	if f.down.Load() {
		return errDown
	}
	return f.MemoryStore.Delete(ctx, id, until)
}

// The writers below each add one ability to what they wrap, and note the header at the time it is used.
type (
	below struct {
		http.ResponseWriter
		used map[string]http.Header
	}
	plain        struct{ http.ResponseWriter }
	withFlush    struct{ *below }
	withHijack   struct{ *below }
	withPush     struct{ *below }
	withReadFrom struct{ *below }
	withString   struct{ *below }
)

func (b *below) Unwrap() http.ResponseWriter { return b.ResponseWriter }
func (b *below) note(ability string)         { b.used[ability] = b.Header().Clone() }

func (w withFlush) Flush() { w.note("Flush") }
func (w withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.note("Hijack")
	return nil, nil, nil
}
func (w withPush) Push(string, *http.PushOptions) error { w.note("Push"); return nil }
func (w withReadFrom) ReadFrom(src io.Reader) (int64, error) {
	w.note("ReadFrom")
	return io.Copy(plain{w}, src)
}
func (w withString) WriteString(s string) (int, error) {
	w.note("WriteString")
	return w.Write([]byte(s))
}

// wrapping returns a writer with the abilities in mask, each at a step of its own down the chain of Unwrap.
func wrapping(mask int, used map[string]http.Header) http.ResponseWriter {
	var w http.ResponseWriter = plain{httptest.NewRecorder()}
	for i, add := range []func(*below) http.ResponseWriter{
		func(b *below) http.ResponseWriter { return withFlush{b} },
		func(b *below) http.ResponseWriter { return withHijack{b} },
		func(b *below) http.ResponseWriter { return withPush{b} },
		func(b *below) http.ResponseWriter { return withReadFrom{b} },
		func(b *below) http.ResponseWriter { return withString{b} },
	} {
		if mask>>i&1 == 1 {
			w = add(&below{w, used})
		}
	}
	return w
}

func can[T any](w http.ResponseWriter) bool { _, ok := w.(T); return ok }

func TestGuarantee08_EveryCombinationOfAbilities(t *testing.T) {
	for mask := range 32 {
		used := map[string]http.Header{}
		newStreamApp(t).handle(setting(func(w http.ResponseWriter, _ *http.Request) {
			require.Equal(t, mask&1 > 0, can[http.Flusher](w), mask)
			require.Equal(t, mask&2 > 0, can[http.Hijacker](w), mask)
			require.Equal(t, mask&4 > 0, can[http.Pusher](w), mask)
			require.Equal(t, mask&8 > 0, can[io.ReaderFrom](w), mask)
			require.Equal(t, mask&16 > 0, can[io.StringWriter](w), mask)
			require.True(t, can[interface{ FlushError() error }](w))
			require.True(t, can[interface{ Unwrap() http.ResponseWriter }](w))
		})).ServeHTTP(wrapping(mask, used), fresh("/"))
		require.Empty(t, used)
	}
}

// waysToRespond is one call of each way to begin a response, where the writer has it.
var waysToRespond = []struct {
	name string
	call func(http.ResponseWriter) error
}{
	{"Write", func(w http.ResponseWriter) error { _, err := w.Write([]byte("leak")); return err }},
	{"WriteHeader", func(w http.ResponseWriter) error { w.WriteHeader(201); return nil }},
	{"Flush", flush},
	{"FlushError", func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }},
	{"ReadFrom", readFrom},
	{"Copy", func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader("leak")); return err }},
	{"WriteString", func(w http.ResponseWriter) error { _, err := io.WriteString(w, "leak"); return err }},
	{"return", func(http.ResponseWriter) error { return nil }},
}

func flush(w http.ResponseWriter) error {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}

func readFrom(w http.ResponseWriter) error {
	f, ok := w.(io.ReaderFrom)
	if !ok {
		return nil
	}
	_, err := f.ReadFrom(strings.NewReader("leak"))
	return err
}

func TestGuarantee08_NothingGoesRoundTheCommit(t *testing.T) {
	for mask := range 32 {
		for _, use := range waysToRespond {
			used := map[string]http.Header{}
			w := wrapping(mask, used)
			newStreamApp(t).handle(setting(func(w http.ResponseWriter, _ *http.Request) {
				if err := use.call(w); err != nil {
					require.ErrorIs(t, err, errors.ErrUnsupported, use.name)
				}
			})).ServeHTTP(w, fresh("/"))
			requireSessionCookie(t, w.Header())
			for ability, header := range used {
				require.NotEmpty(t, header.Get("Set-Cookie"), "%s with %05b reached %s before the commit", use.name, mask, ability)
			}
		}
	}
}

// shouting is a writer as compressing middlewares are: bytes that do not go through its Write are wrong.
type shouting struct{ http.ResponseWriter }

func (s shouting) Unwrap() http.ResponseWriter { return s.ResponseWriter }
func (s shouting) Write(p []byte) (int, error) {
	return s.ResponseWriter.Write([]byte(strings.ToUpper(string(p))))
}

func TestGuarantee08_NothingGoesRoundAWriterBelow(t *testing.T) {
	for _, use := range waysToRespond {
		if use.name == "WriteHeader" || use.name == "return" {
			continue
		}
		recorder := httptest.NewRecorder()
		w := shouting{withReadFrom{&below{recorder, map[string]http.Header{}}}}
		newStreamApp(t).handle(setting(func(w http.ResponseWriter, _ *http.Request) { _ = use.call(w) })).ServeHTTP(w, fresh("/"))
		require.Equal(t, strings.ToUpper(recorder.Body.String()), recorder.Body.String(), use.name)
	}
}

func TestGuarantee08_FlushWhereTheServerCannot(t *testing.T) {
	w := plain{httptest.NewRecorder()}
	app := newStreamApp(t)
	app.handle(setting(func(w http.ResponseWriter, r *http.Request) {
		err := http.NewResponseController(w).Flush()
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorIs(t, err, http.ErrNotSupported, "as http.ResponseController documents")
		session.FromContext(r.Context()).Set("later", 1) // nothing was spent
	})).ServeHTTP(w, fresh("/"))
	requireSessionCookie(t, w.Header())
	require.Zero(t, app.count(session.EventLateWrite))
}

// flushErrorOnly can flush as http.ResponseController knows it, and not as http.Flusher.
type flushErrorOnly struct {
	http.ResponseWriter
	err error
}

func (f flushErrorOnly) FlushError() error { return f.err }

func TestGuarantee08_FlushErrorIsPassedOn(t *testing.T) {
	w := flushErrorOnly{httptest.NewRecorder(), io.ErrClosedPipe}
	newStreamApp(t).handle(setting(func(w http.ResponseWriter, _ *http.Request) {
		require.False(t, can[http.Flusher](w))
		require.ErrorIs(t, http.NewResponseController(w).Flush(), io.ErrClosedPipe)
	})).ServeHTTP(w, fresh("/"))
	requireSessionCookie(t, w.Header())
}

func TestGuarantee05_FailedCommitLetsNothingThrough(t *testing.T) {
	for _, use := range waysToRespond {
		t.Run(use.name, func(t *testing.T) {
			overHTTP(t, func(t *testing.T, serve serveFunc) {
				app := newStreamApp(t)
				app.store.down.Store(true)
				site := serve(app.handle(setting(func(w http.ResponseWriter, _ *http.Request) { leak(t, w, use.call) })))
				response, body := site.get("/")
				require.Equal(t, 503, response.StatusCode)
				require.Equal(t, "Service Unavailable\n", body)
				require.Empty(t, response.Trailer)
				for name := range response.Header {
					require.Contains(t, []string{"Cache-Control", "Content-Length", "Content-Type", "Date", "Vary", "X-Content-Type-Options"}, name)
				}
				require.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
			})
		})
	}
}

// leak begins a response in one way and then tries every other, with headers and trailers set at all times.
func leak(t *testing.T, w http.ResponseWriter, begin func(http.ResponseWriter) error) {
	early := w.Header()
	mark := func(h http.Header) {
		h.Set("X-Leak", "1")
		h.Add("Set-Cookie", "leak=1")
		h.Set(http.TrailerPrefix+"X-Late", "1")
		h.Set("X-Sum", "1")
		h.Set("Content-Type", "text/leak")
		h.Set("Content-Encoding", "leak")
		h.Set("Etag", `"leak"`)
	}
	early.Set("Trailer", "X-Sum")
	mark(early)
	if err := begin(w); err != nil {
		assert.ErrorIs(t, err, errDown)
	}
	mark(early)
	mark(w.Header())
	if w.Header().Get("Trailer") != "" {
		return // the commit comes when the handler has returned
	}
	for _, use := range waysToRespond {
		if err := use.call(w); !errors.Is(err, errors.ErrUnsupported) && err != nil {
			assert.ErrorIs(t, err, errDown)
		}
	}
	w.WriteHeader(http.StatusEarlyHints)
}

// A writer that sends its header at the end, as http.TimeoutHandler's does, would take one that a handler went on to set.
func TestGuarantee05_FailedCommitUnderABufferingWriter(t *testing.T) {
	app := newStreamApp(t)
	app.store.down.Store(true)
	h := http.TimeoutHandler(app.handle(setting(func(w http.ResponseWriter, _ *http.Request) {
		leak(t, w, func(w http.ResponseWriter) error { _, err := w.Write([]byte("leak")); return err })
	})), time.Minute, "")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, fresh("/"))
	require.Equal(t, 503, w.Code)
	require.Equal(t, "Service Unavailable\n", w.Body.String())
	require.Empty(t, w.Result().Cookies())
	for _, name := range []string{"X-Leak", "X-Sum", http.TrailerPrefix + "X-Late", "Content-Encoding", "Etag"} {
		require.Empty(t, w.Header().Get(name), name)
	}
}

func TestGuarantee05_AnswerByError(t *testing.T) {
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		status int
	}{
		{"encode", func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("f", func() {}) }, 500},
		{"invalid UTF-8", func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("f", "\xff") }, 500},
		{"lifetime", func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).SetLifetime(2, 1) }, 500},
	} {
		w := httptest.NewRecorder()
		newStreamApp(t).handle(setting(c.h)).ServeHTTP(w, fresh("/"))
		require.Equal(t, c.status, w.Code, c.name)
		require.Empty(t, w.Result().Cookies(), c.name)
	}
}

func TestGuarantee05_HeadersFromOutsideStay(t *testing.T) {
	app := newStreamApp(t)
	app.store.down.Store(true)
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "7")
	w.Header().Add("Set-Cookie", "outer=1")
	w.Header().Set("Vary", "Accept-Encoding")
	app.handle(setting(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "changed")
		w.Header().Add("Set-Cookie", "inner=1")
		write(w, r)
	})).ServeHTTP(w, fresh("/"))
	require.Equal(t, "7", w.Header().Get("X-Request-Id"))
	require.Equal(t, []string{"outer=1"}, w.Header().Values("Set-Cookie"))
	require.Equal(t, []string{"Accept-Encoding", "Cookie"}, w.Header().Values("Vary"))
}

func TestGuarantee05_ErrorHandlerWritesTheAnswer(t *testing.T) {
	var met error
	store := &failingStore{MemoryStore: session.NewMemoryStore()}
	store.down.Store(true)
	manager, err := session.New(store, session.Config{Logger: quietSlog(), ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
		met = err
		w.Header().Set("Trailer", "X-Why")
		w.WriteHeader(507)
		_, _ = io.WriteString(w, "later")
		w.Header().Set("X-Why", "store")
	}})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	manager.Middleware(setting(write)).ServeHTTP(w, fresh("/"))
	require.Equal(t, 507, w.Code)
	require.Equal(t, "later", w.Body.String())
	require.Equal(t, "store", w.Result().Trailer.Get("X-Why"))
	require.ErrorIs(t, met, errDown)
	var failed *session.StoreError
	require.ErrorAs(t, met, &failed)
	require.Equal(t, "save", failed.Op)
}

func TestGuarantee10_OneCookie(t *testing.T) {
	w := httptest.NewRecorder()
	newStreamApp(t).handle(setting(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		http.SetCookie(w, &http.Cookie{Name: "other", Value: "1"})
		http.SetCookie(w, &http.Cookie{Name: "__Host-session", Value: "forged"})
		require.NoError(t, s.Save(r.Context()))
		require.NoError(t, s.Regenerate())
		require.NoError(t, s.Save(r.Context()))
		require.NoError(t, s.Login("ada"))
		write(w, r)
	})).ServeHTTP(w, fresh("/"))
	names := []string{}
	for _, c := range w.Result().Cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	require.Equal(t, []string{"__Host-session", "other"}, names)
}

func TestGuarantee10_NoStoreUnlessStricter(t *testing.T) {
	for _, c := range []struct{ own, sent string }{
		{"", "no-store"},
		{"public, max-age=60", "no-store"},
		{"private", "no-store"},
		{"no-store, private", "no-store, private"},
	} {
		w := httptest.NewRecorder()
		newStreamApp(t).handle(setting(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", c.own) })).ServeHTTP(w, fresh("/"))
		require.Equal(t, c.sent, w.Header().Get("Cache-Control"))
	}
}
