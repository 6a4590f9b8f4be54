package guarantees_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

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

func (b *below) note(ability string) { b.used[ability] = b.Header().Clone() }

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
		newPages(t).Pages(setting(func(w http.ResponseWriter, _ *http.Request) {
			require.Equal(t, mask&1 > 0, can[http.Flusher](w), mask)
			require.Equal(t, mask&2 > 0, can[http.Hijacker](w), mask)
			require.Equal(t, mask&4 > 0, can[http.Pusher](w), mask)
			require.True(t, can[io.ReaderFrom](w), mask)
			require.True(t, can[io.StringWriter](w), mask)
			require.True(t, can[interface{ FlushError() error }](w))
			require.True(t, can[interface{ Unwrap() http.ResponseWriter }](w))
		})).ServeHTTP(wrapping(mask, used), kit.Fresh("/"))
		require.Empty(t, used)
	}
}

func TestGuarantee08_NothingGoesRoundTheCommit(t *testing.T) {
	for mask := range 32 {
		for _, use := range waysToRespond {
			used := map[string]http.Header{}
			w := wrapping(mask, used)
			newPages(t).Pages(setting(func(w http.ResponseWriter, _ *http.Request) {
				if err := use.call(w); err != nil {
					require.ErrorIs(t, err, errors.ErrUnsupported, use.name)
				}
			})).ServeHTTP(w, kit.Fresh("/"))
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
		newPages(t).Pages(setting(func(w http.ResponseWriter, _ *http.Request) { _ = use.call(w) })).ServeHTTP(w, kit.Fresh("/"))
		require.Equal(t, strings.ToUpper(recorder.Body.String()), recorder.Body.String(), use.name)
	}
}

func TestGuarantee08_FlushWhereTheServerCannot(t *testing.T) {
	w := plain{httptest.NewRecorder()}
	app := newPages(t)
	app.Pages(setting(func(w http.ResponseWriter, r *http.Request) {
		err := http.NewResponseController(w).Flush()
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorIs(t, err, http.ErrNotSupported, "as http.ResponseController documents")
		session.FromContext(r.Context()).Set("later", 1) // nothing was spent
	})).ServeHTTP(w, kit.Fresh("/"))
	requireSessionCookie(t, w.Header())
	require.Zero(t, app.Count(session.EventLateWrite))
}

// flushErrorOnly can flush as http.ResponseController knows it, and not as http.Flusher.
type flushErrorOnly struct {
	http.ResponseWriter
	err error
}

func (f flushErrorOnly) FlushError() error { return f.err }

func TestGuarantee08_FlushErrorIsPassedOn(t *testing.T) {
	w := flushErrorOnly{httptest.NewRecorder(), io.ErrClosedPipe}
	newPages(t).Pages(setting(func(w http.ResponseWriter, _ *http.Request) {
		require.False(t, can[http.Flusher](w))
		require.ErrorIs(t, http.NewResponseController(w).Flush(), io.ErrClosedPipe)
	})).ServeHTTP(w, kit.Fresh("/"))
	requireSessionCookie(t, w.Header())
}
