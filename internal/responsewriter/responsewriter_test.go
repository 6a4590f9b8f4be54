package responsewriter_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/responsewriter"
)

var errCommit = errors.New("the commit failed")

// hooks sets a header where a session would set its cookie, and counts how often it was asked.
type hooks struct {
	responsewriter.Writer
	headerErr, hijackErr error
	headers, hijacks     int
	hijacksFailed        int
	headerSent           bool // what BeforeHijack was told
	answered             error
	during               func() // runs in BeforeHeader
}

func (h *hooks) BeforeHeader() error {
	h.headers++
	if h.during != nil {
		h.during()
	}
	if h.headerErr == nil {
		h.Below().Header().Set("X-Committed", "yes")
	}
	return h.headerErr
}

func (h *hooks) BeforeHijack(headerSent bool) error {
	h.hijacks++
	h.headerSent = headerSent
	return h.hijackErr
}

func (h *hooks) HijackFailed() { h.hijacksFailed++ }

func (h *hooks) AnswerFailure(w http.ResponseWriter, err error) {
	h.answered = err
	clear(w.Header())
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "failed")
}

// start returns hooks before the writer and what a handler gets.
func start(below http.ResponseWriter) (*hooks, http.ResponseWriter) {
	h := &hooks{}
	h.Init(below, h)
	return h, h.Wrap()
}

// The writers below each add one ability to what they wrap, and note the header at the time it is used.
type (
	below struct {
		http.ResponseWriter
		used map[string]http.Header
	}
	plain          struct{ http.ResponseWriter }
	withFlush      struct{ *below }
	withFlushError struct{ *below }
	withHijack     struct{ *below }
	withPush       struct{ *below }
	withReadFrom   struct{ *below }
	withString     struct{ *below }
)

func (b *below) Unwrap() http.ResponseWriter { return b.ResponseWriter }
func (b *below) note(ability string)         { b.used[ability] = b.Header().Clone() }

func (w withFlush) Flush()                 { w.note("Flush") }
func (w withFlushError) FlushError() error { w.note("FlushError"); return io.ErrClosedPipe }
func (w withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.note("Hijack")
	return nil, nil, nil
}
func (w withPush) Push(target string, _ *http.PushOptions) error {
	w.note("Push " + target)
	return io.ErrNoProgress
}
func (w withReadFrom) ReadFrom(src io.Reader) (int64, error) {
	w.note("ReadFrom")
	return io.Copy(plain{w}, src)
}
func (w withString) WriteString(s string) (int, error) {
	w.note("WriteString")
	return w.Write([]byte(s))
}

// abilities are what wrapping can add, by the bits of its mask.
var abilities = []func(*below) http.ResponseWriter{
	func(b *below) http.ResponseWriter { return withFlush{b} },
	func(b *below) http.ResponseWriter { return withHijack{b} },
	func(b *below) http.ResponseWriter { return withPush{b} },
	func(b *below) http.ResponseWriter { return withReadFrom{b} },
	func(b *below) http.ResponseWriter { return withString{b} },
	func(b *below) http.ResponseWriter { return withFlushError{b} },
}

// wrapping returns a writer with the abilities in mask, each at a step of its own down the chain of Unwrap.
func wrapping(mask int, used map[string]http.Header) http.ResponseWriter {
	var w http.ResponseWriter = plain{httptest.NewRecorder()}
	for i, add := range abilities {
		if mask>>i&1 == 1 {
			w = add(&below{w, used})
		}
	}
	return w
}

func can[T any](w http.ResponseWriter) bool { _, ok := w.(T); return ok }

// What a handler gets has Flusher, Hijacker and Pusher where the chain below has them, and always the rest.
func TestGuarantee08_EveryCombinationOfOptionalInterfaces(t *testing.T) {
	for mask := range 1 << len(abilities) {
		used := map[string]http.Header{}
		h, w := start(wrapping(mask, used))
		require.Equal(t, mask&1 > 0, can[http.Flusher](w), "%06b", mask)
		require.Equal(t, mask&2 > 0, can[http.Hijacker](w), "%06b", mask)
		require.Equal(t, mask&4 > 0, can[http.Pusher](w), "%06b", mask)
		require.True(t, can[interface{ FlushError() error }](w))
		require.True(t, can[io.ReaderFrom](w))
		require.True(t, can[io.StringWriter](w))
		require.True(t, can[interface{ Unwrap() http.ResponseWriter }](w))
		require.False(t, can[interface{ MarkStarted() }](w), "what the hooks use is none of the handler's")
		require.False(t, can[interface{ Begin() error }](w))
		require.Equal(t, h.Below(), w.(interface{ Unwrap() http.ResponseWriter }).Unwrap())
		require.Empty(t, used, "looking uses nothing")
		require.False(t, h.Started())
	}
}

func TestWrap_TakesNoMemory(t *testing.T) {
	for mask := range 8 {
		h := &hooks{}
		w := wrapping(mask, nil)
		var wrapped http.ResponseWriter
		require.Zero(t, testing.AllocsPerRun(100, func() {
			h.Init(w, h)
			wrapped = h.Wrap()
		}), "%03b", mask)
		require.NotNil(t, wrapped)
	}
}

// A Writer may wrap another's: two stacked middlewares.
func TestWrap_OnceMore(t *testing.T) {
	for mask := range 8 {
		outer, w := start(wrapping(mask, map[string]http.Header{}))
		inner, w := start(w)
		require.Equal(t, mask&1 > 0, can[http.Flusher](w))
		require.Equal(t, mask&2 > 0, can[http.Hijacker](w))
		require.Equal(t, mask&4 > 0, can[http.Pusher](w))
		_, err := io.WriteString(w, "ok")
		require.NoError(t, err)
		require.Equal(t, []int{1, 1}, []int{outer.headers, inner.headers})
	}
}

// A chain that ends in nothing is a chain all the same.
func TestWrap_UnwrapOfNil(t *testing.T) {
	_, w := start(withFlush{&below{}})
	require.True(t, can[http.Flusher](w))
	require.False(t, can[http.Hijacker](w))
}

// waysToRespond is one call of each way to begin a response, where the writer has it.
var waysToRespond = []struct {
	name string
	call func(http.ResponseWriter) error
}{
	{"Write", func(w http.ResponseWriter) error { _, err := w.Write([]byte("leak")); return err }},
	{"Write nothing", func(w http.ResponseWriter) error { _, err := w.Write(nil); return err }},
	{"WriteHeader", func(w http.ResponseWriter) error { w.WriteHeader(http.StatusCreated); return nil }},
	{"WriteHeader 101", func(w http.ResponseWriter) error { w.WriteHeader(http.StatusSwitchingProtocols); return nil }},
	{"Flush", flush},
	{"FlushError", func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }},
	{"ReadFrom", func(w http.ResponseWriter) error {
		_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("leak"))
		return err
	}},
	{"Copy", func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader("leak")); return err }},
	{"Copy without WriteTo", func(w http.ResponseWriter) error {
		_, err := io.Copy(w, io.LimitReader(strings.NewReader("leak"), 4))
		return err
	}},
	{"WriteString", func(w http.ResponseWriter) error { _, err := io.WriteString(w, "leak"); return err }},
}

func flush(w http.ResponseWriter) error {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}

func TestGuarantee08_NothingGoesRoundTheCommit(t *testing.T) {
	for mask := range 1 << len(abilities) {
		for _, use := range waysToRespond {
			used := map[string]http.Header{}
			h, w := start(wrapping(mask, used))
			if err := use.call(w); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				require.ErrorIs(t, err, http.ErrNotSupported, use.name)
			}
			require.NoError(t, h.Begin(), "the handler returns")
			require.Equal(t, "yes", h.Below().Header().Get("X-Committed"))
			for ability, header := range used {
				require.NotEmpty(t, header.Get("X-Committed"), "%s with %06b reached %s before the commit", use.name, mask, ability)
			}
		}
	}
}

func TestGuarantee08_TheHooksAreAskedOnce(t *testing.T) {
	for _, first := range waysToRespond {
		h, w := start(wrapping(0b11111, map[string]http.Header{}))
		require.False(t, h.Started())
		require.NoError(t, first.call(w))
		require.True(t, h.Started(), first.name)
		for _, use := range waysToRespond {
			_ = use.call(w)
		}
		require.NoError(t, h.Begin())
		require.Equal(t, 1, h.headers, first.name)
		require.NoError(t, h.Failure())
	}
}

// What a hook calls while it stands before the header may write, once the hook has marked the response as started.
func TestMarkStarted_InTheHook(t *testing.T) {
	recorder := httptest.NewRecorder()
	h, w := start(recorder)
	h.during = func() {
		require.False(t, h.Started())
		h.MarkStarted()
		require.True(t, h.Started())
		_, err := io.WriteString(w, "told ")
		require.NoError(t, err)
	}
	_, err := io.WriteString(w, "ok")
	require.NoError(t, err)
	require.Equal(t, "told ok", recorder.Body.String())
	require.Equal(t, 1, h.headers)
}

// A hook that panics has not answered: a recoverer's page asks again.
func TestBegin_AfterAPanicInTheHook(t *testing.T) {
	recorder := httptest.NewRecorder()
	h, w := start(recorder)
	h.during = func() { panic("in an update") }
	require.Panics(t, func() { _, _ = w.Write(nil) })
	require.False(t, h.Started())
	h.during = nil
	w.WriteHeader(http.StatusInternalServerError)
	require.Equal(t, http.StatusInternalServerError, recorder.Code)
	require.Equal(t, "yes", recorder.Header().Get("X-Committed"))
}

func TestGuarantee08_InformationalStatusesSpendNothing(t *testing.T) {
	for status := 100; status < 200; status++ {
		statuses := &noting{ResponseWriter: httptest.NewRecorder()}
		h, w := start(statuses)
		w.WriteHeader(status)
		require.Equal(t, status == http.StatusSwitchingProtocols, h.Started(), status)
		w.WriteHeader(http.StatusNoContent)
		require.Equal(t, []int{status, http.StatusNoContent}, statuses.statuses)
		require.Equal(t, 1, h.headers)
	}
}

// noting keeps the statuses that it gets.
type noting struct {
	http.ResponseWriter
	statuses []int
}

func (n *noting) WriteHeader(status int) { n.statuses = append(n.statuses, status) }

func TestGuarantee08_WhatIsNoStatusPanicsBeforeAnythingIsSaved(t *testing.T) {
	for _, status := range []int{-1, 0, 1, 99, 1000} {
		h, w := start(httptest.NewRecorder())
		require.Panics(t, func() { w.WriteHeader(status) }, status)
		require.Zero(t, h.headers)
		require.False(t, h.Started())
	}
	for _, status := range []int{200, 299, 600, 999} {
		h, w := start(httptest.NewRecorder())
		w.WriteHeader(status)
		require.Equal(t, 1, h.headers)
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
		recorder := httptest.NewRecorder()
		used := map[string]http.Header{}
		_, w := start(shouting{withString{&below{withReadFrom{&below{recorder, used}}, used}}})
		require.NoError(t, use.call(w), use.name)
		require.Equal(t, strings.ToUpper(recorder.Body.String()), recorder.Body.String(), use.name)
		require.Empty(t, used, use.name)
	}
}

// What the next writer has itself is used: of net/http's own, ReadFrom sends a file without copying it.
func TestReadFrom_UsesTheNextWriters(t *testing.T) {
	used := map[string]http.Header{}
	_, w := start(withReadFrom{&below{httptest.NewRecorder(), used}})
	n, err := io.Copy(w, io.LimitReader(strings.NewReader("okay"), 2))
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Contains(t, used, "ReadFrom")

	_, w = start(withString{&below{httptest.NewRecorder(), used}})
	written, err := io.WriteString(w, "ok")
	require.NoError(t, err)
	require.Equal(t, 2, written)
	require.Contains(t, used, "WriteString")
}

func TestGuarantee08_FlushWhereTheServerCannot(t *testing.T) {
	recorder := httptest.NewRecorder()
	h, w := start(plain{recorder})
	require.False(t, can[http.Flusher](w))
	require.Equal(t, http.ErrNotSupported, http.NewResponseController(w).Flush(), "as http.ResponseController documents")
	require.Zero(t, h.headers, "nothing was spent")
	require.False(t, h.Started())
}

func TestGuarantee08_FlushErrorIsPassedOn(t *testing.T) {
	h, w := start(withFlushError{&below{plain{httptest.NewRecorder()}, map[string]http.Header{}}})
	require.False(t, can[http.Flusher](w))
	require.Equal(t, io.ErrClosedPipe, http.NewResponseController(w).Flush())
	require.True(t, h.Started())
}

func TestPush_UsesTheWritersBelowAndStartsNothing(t *testing.T) {
	for mask := 4; mask < 8; mask++ { // beside Flusher and Hijacker, or without
		used := map[string]http.Header{}
		h, w := start(wrapping(mask, used))
		require.Equal(t, io.ErrNoProgress, w.(http.Pusher).Push("/style.css", nil))
		require.Contains(t, used, "Push /style.css")
		require.False(t, h.Started())
	}

	first := &below{ResponseWriter: withPush{&below{}}}
	_, w := start(first)
	first.ResponseWriter = httptest.NewRecorder() // there was a Pusher when it was asked for
	require.Equal(t, http.ErrNotSupported, w.(http.Pusher).Push("/style.css", nil))
}

func TestGuarantee08_Hijack(t *testing.T) {
	for _, headerSent := range []bool{false, true} {
		used := map[string]http.Header{}
		h, w := start(withHijack{&below{httptest.NewRecorder(), used}})
		if headerSent {
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
		h.hijackErr = errCommit
		_, _, err := http.NewResponseController(w).Hijack()
		require.Equal(t, errCommit, err)
		require.Empty(t, used, "the connection is still the server's")
		require.Equal(t, headerSent, h.Started())
		require.NoError(t, h.Failure(), "the response is still the handler's")

		h.hijackErr = nil
		_, _, err = http.NewResponseController(w).Hijack()
		require.NoError(t, err)
		require.Equal(t, headerSent, h.headerSent)
		require.Equal(t, 2, h.hijacks)
		require.Contains(t, used, "Hijack")
		require.True(t, h.Started())
		require.NoError(t, h.Begin())
		require.Equal(t, headerSent, h.headers == 1, "after it there is no header to come before")
		require.Equal(t, !headerSent, h.hijacksFailed == 1)
	}
}

// refusing can't give its connection away.
type refusing struct{ http.ResponseWriter }

func (refusing) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, io.ErrClosedPipe }

func TestGuarantee08_HijackThatFailsStartsNothing(t *testing.T) {
	recorder := httptest.NewRecorder()
	h, w := start(refusing{recorder})
	_, _, err := http.NewResponseController(w).Hijack()
	require.Equal(t, io.ErrClosedPipe, err)
	require.False(t, h.Started())
	require.Equal(t, 1, h.hijacksFailed)
	_, err = io.WriteString(w, "no upgrade")
	require.NoError(t, err)
	require.Equal(t, "yes", recorder.Header().Get("X-Committed"))
}

func TestGuarantee05_FailedCommitLetsNothingThrough(t *testing.T) {
	for _, first := range waysToRespond {
		used := map[string]http.Header{}
		recorder := httptest.NewRecorder()
		h, w := start(withHijack{&below{withPush{&below{recorder, used}}, used}})
		h.headerErr = errCommit
		w.Header().Set("X-Leak", "1")
		if err := first.call(w); err != nil {
			require.Equal(t, errCommit, err, first.name)
		}
		for _, use := range waysToRespond {
			if err := use.call(w); err != nil {
				require.Equal(t, errCommit, err, use.name)
			}
		}
		w.Header().Set("X-Late", "1")
		require.Equal(t, "1", w.Header().Get("X-Late"), "a handler reads what it wrote")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(0)
		_, _, err := w.(http.Hijacker).Hijack()
		require.Equal(t, errCommit, err)

		require.Equal(t, errCommit, h.Begin())
		require.Equal(t, errCommit, h.Failure())
		require.Equal(t, errCommit, h.answered)
		require.True(t, h.Started())
		require.Equal(t, 1, h.headers)
		require.Zero(t, h.hijacks)
		require.Empty(t, used)
		require.Equal(t, http.StatusServiceUnavailable, recorder.Code)
		require.Equal(t, "failed", recorder.Body.String(), first.name)
		require.Empty(t, recorder.Header(), "%v", recorder.Header())
	}
}

// That nothing was written is no way round either.
func TestGuarantee05_FailedCommitAtTheHandlersReturn(t *testing.T) {
	recorder := httptest.NewRecorder()
	h, _ := start(recorder)
	h.headerErr = errCommit
	require.Equal(t, errCommit, h.Begin())
	require.Equal(t, "failed", recorder.Body.String())
}

// Goroutines that outlive their handler ask whether a cookie can still be sent.
func TestStarted_FromSeveralGoroutines(t *testing.T) {
	h, w := start(httptest.NewRecorder())
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for !h.Started() {
			}
		})
	}
	w.WriteHeader(http.StatusOK)
	wait.Wait()
}

func BenchmarkWrap(b *testing.B) {
	for name, w := range map[string]http.ResponseWriter{"recorder": httptest.NewRecorder(), "chain of 3": wrapping(0b111, nil)} {
		b.Run(name, func(b *testing.B) {
			h := &hooks{}
			b.ReportAllocs()
			for b.Loop() {
				h.Init(w, h)
				h.Wrap()
			}
		})
	}
}
