package session

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

// fuzzSecret is nobody's.
var fuzzSecret = []byte("9c41f7e02b6d8a53c7e1f09a4d2b68357bfe1c90")

// fuzzSite is a Manager over a store, and the cookie of the only session in it.
type fuzzSite struct {
	handler http.Handler
	cookie  string
	seen    string // who the last request was
}

func newFuzzSite(f *testing.F, store Store) *fuzzSite {
	manager, err := New(store, Config{Name: "s", Secure: Off, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(f, err)
	site := &fuzzSite{}
	site.handler = manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := FromContext(r.Context())
		if r.URL.Path == "/login" {
			_ = s.Login("ada")
		}
		site.seen = s.User()
		w.WriteHeader(http.StatusOK)
	}))
	site.cookie = site.serve("/login", nil).Cookies()[0].Value
	return site
}

func (s *fuzzSite) serve(path string, lines []string) *http.Response {
	r := httptest.NewRequest("GET", path, nil)
	r.Header["Cookie"] = lines
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r)
	return rec.Result()
}

// FuzzCookieHeader: nothing but the cookie that was issued opens the session, whatever stands around it.
func FuzzCookieHeader(f *testing.F) {
	sealed, err := NewCookieStore(fuzzSecret)
	require.NoError(f, err)
	sites := []*fuzzSite{newFuzzSite(f, NewMemoryStore()), newFuzzSite(f, sealed)}
	for _, around := range []string{"s=@", "p=q; s=@; r=t", "s=x\ns=@", "%73=@", " s =@", "s=\"@\"", "s=@A", "=s=@", "s=@; s=@; s=@; s=@; s=@", "s=#; s=@", ";s=@\r\n", "s=\u00a0@"} {
		f.Add(around)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, site := range sites {
			// The cookie is made anew in each process, so the corpus can't hold it.
			lines := strings.Split(strings.NewReplacer("@", site.cookie, "#", sites[1-i].cookie).Replace(text), "\n")
			tokens, present, malformed := cookieTokens(make([]Token, 0, maxCandidates), http.Header{"Cookie": lines}, "s")
			require.LessOrEqual(t, len(tokens), maxCandidates)
			require.Equal(t, present, len(tokens)+malformed)
			issued := false
			for _, token := range tokens {
				require.Contains(t, strings.Join(lines, "\n"), "s="+token.cookieValue(), "accepted in another spelling")
				issued = issued || token.cookieValue() == site.cookie
			}
			resp := site.serve("/", lines)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Empty(t, resp.Cookies(), "reading sets no cookie")
			require.Equal(t, issued, site.seen == "ada")
		}
	})
}

// FuzzSealed: only what the store sealed is opened, and only in its own spelling.
func FuzzSealed(f *testing.F) {
	store, err := NewCookieStore(fuzzSecret)
	require.NoError(f, err)
	signed, err := NewSignedCookieStore(fuzzSecret)
	require.NoError(f, err)
	sealed, err := store.seal("s", sampleRecord())
	require.NoError(f, err)
	other, err := signed.seal("s", sampleRecord())
	require.NoError(f, err)
	for _, text := range []string{"@", "#", "@=", "@A", "@@", "", ".", "AAAA", "@\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value := strings.NewReplacer("@", sealed, "#", other).Replace(text)
		_, err := store.unseal(Token{cookie: "s", value: &value})
		require.Equal(t, value == sealed, err == nil)
		if err != nil {
			require.ErrorIs(t, err, ErrNotFound)
		}
		elsewhere, err := store.unseal(Token{cookie: "t", value: &value})
		require.Error(t, err, "%v", elsewhere)
	})
}

// FuzzContainer: what is inside a seal is read as it was written, or refused.
func FuzzContainer(f *testing.F) {
	f.Add(packRecord(sampleRecord()))
	f.Add(packRecord(&Record{ID: "x"}))
	f.Add([]byte{containerVersion, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		r, err := unpacked(b)
		require.Equal(t, before, b, "it was altered")
		if err != nil {
			require.Nil(t, r)
			require.ErrorIs(t, err, errContainer)
			return
		}
		require.NotEmpty(t, r.ID)
		require.GreaterOrEqual(t, r.Idle, time.Duration(0))
		back, err := unpacked(packRecord(r))
		require.NoError(t, err)
		require.Equal(t, r.Values, back.Values)
		require.Equal(t, r.Flashes, back.Flashes)
		require.Equal(t, []string{r.ID, r.User, r.Note}, []string{back.ID, back.User, back.Note})
		require.Equal(t, r.Idle, back.Idle)
		useRecord(r)
	})
}

// useRecord does with a stored session what a request does with it.
func useRecord(r *Record) {
	_ = r.Live(r.Created)
	s := Detached(r)
	for _, key := range s.Keys() {
		var value any
		s.Get(key, &value)
		Key[int](key).Update(s, func(n int) int { return n + 1 })
	}
	s.Flashes()
	s.ExpiresAt()
	_ = s.state.plan()
}

// FuzzRedisRecord: a hash in Redis, fields and values in turn with NUL between them, is a session of the id that was
// asked for, or none.
func FuzzRedisRecord(f *testing.F) {
	good := []string{"i", "id", "t", "1000", "m", packLimits(sampleRecord()), "u", "ada", "n", "note", "o", "op 1", ":k", `"v"`, "!1", "{}"}
	f.Add(strings.Join(good, "\x00"))
	f.Add(strings.Join(append(good, "x", "1"), "\x00"))
	f.Add(strings.Join(good[2:], "\x00"))
	f.Add("i\x00id\x00t\x001\x00m\x001 1 1 1 - 1\x00\x00empty\x00:\x00\x00!\x00x\x00foreign\x001")
	f.Fuzz(func(t *testing.T, text string) {
		fields := map[string]string{}
		for words := strings.Split(text, "\x00"); len(words) > 1; words = words[2:] {
			fields[words[0]] = words[1]
		}
		r, err := readRecord("id", fields)
		if err != nil {
			require.ErrorIs(t, err, ErrNotFound)
			require.Nil(t, r)
			return
		}
		require.Equal(t, "id", r.ID)
		require.NotContains(t, fields, fieldEnded)
		require.True(t, r.Idle >= 0 && r.Idle <= maxLifetime, "%v", r.Idle)
		idle, err := strconv.ParseInt(strings.Split(fields[fieldLimits], " ")[2], 10, 64)
		require.NoError(t, err)
		require.Equal(t, idle, r.Idle.Microseconds(), "a number that overflowed")
		again := &Record{ID: "id"}
		require.True(t, readLimits(again, packLimits(r)))
		require.Equal(t, []any{r.Deadline, r.Idle, r.Persistent, r.Created, r.Authenticated, r.Issued},
			[]any{again.Deadline, again.Idle, again.Persistent, again.Created, again.Authenticated, again.Issued})
		for key, raw := range r.Values {
			require.Equal(t, json.RawMessage(fields[valuePrefix+key]), raw)
		}
		useRecord(r)
	})
}

// FuzzSecrets: what is taken is strong and literally in the text, and no error repeats it.
func FuzzSecrets(f *testing.F) {
	for _, text := range []string{"", ",", string(fuzzSecret), string(fuzzSecret) + ", " + string(fuzzSecret), "changeme", strings.Repeat("x", 40), "\x00\xff" + string(fuzzSecret)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		secrets, err := parseSecrets(text)
		if err != nil {
			require.ErrorIs(t, err, ErrWeakSecret)
			require.ErrorContains(t, err, howToSecret)
			for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
				require.False(t, len(field) > 16 && strings.Contains(err.Error(), field), "%q tells %q", err, field)
			}
			return
		}
		require.NotEmpty(t, secrets)
		for _, secret := range secrets {
			require.GreaterOrEqual(t, len(secret), minSecret)
			require.Contains(t, text, string(secret))
			require.NotContains(t, string(secret), ",")
			require.Equal(t, string(secret), strings.TrimSpace(string(secret)))
		}
		_, err = NewCookieStore(secrets...)
		require.NoError(t, err)
	})
}

// FuzzDecode: what is read without the decoder is what the decoder reads, and an error leaves the destination alone.
func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		"0", "-0", "7", "-7", "007", "+7", " 7", "7 ", "7.0", "7e2", "1_0", "0x10", "9223372036854775807", "-9223372036854775808",
		"9223372036854775808", "null", " null\n", "true", "", "-", `""`, `"`, `"tea"`, `"te\u0061"`, `"a"b"`, `"a\"`, "\"a\tb\"", "\"\x7f\"", "\"\xff\"", `"日本"`, `"a" `,
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		sameAsDecoder(t, raw, int64(42))
		sameAsDecoder(t, raw, 42)
		sameAsDecoder(t, raw, "before")
	})
}

func sameAsDecoder[T comparable](t *testing.T, raw string, before T) {
	want, got := before, before
	wrong := json.Unmarshal([]byte(raw), &want)
	if strings.Trim(raw, " \t\r\n") == "null" { // which the decoder leaves alone, and decode makes zero
		var zero T
		want = zero
	}
	if wrong != nil {
		want = before
	}
	err := decode("k", json.RawMessage(raw), &got)
	require.Equal(t, wrong == nil, err == nil, "%q: %v, and the decoder says %v", raw, err, wrong)
	require.Equal(t, want, got, "%q", raw)
}
