package session_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

const day = 24 * time.Hour

// aCookieStore can't list.
var aCookieStore, _ = session.NewCookieStore(secretOne)

func TestConfig_EveryFaultAlone(t *testing.T) {
	type config = session.Config
	for _, c := range []struct {
		fault string // "" if there is none
		cfg   config
	}{
		{"", config{}},
		{"SameSite None needs Secure", config{SameSite: http.SameSiteNoneMode, Secure: session.Off}},
		{"", config{SameSite: http.SameSiteNoneMode}},
		{"SameSite is none of", config{SameSite: 9}},
		{"SameSite is none of", config{SameSite: -1}},
		{"Secure must be On or Off", config{Secure: 2}},
		{"HttpOnly must be On or Off", config{HttpOnly: 2}},
		{"Partitioned needs Secure", config{Partitioned: true, Secure: session.Off}},
		{"a __Host- cookie can't have a Domain", config{Name: "__Host-s", Domain: "example.com"}},
		{"a __Host- cookie can't have a Domain", config{Name: "__hOST-s", Domain: "example.com"}}, // browsers ignore case
		{"a __Host- cookie must have the Path /", config{Name: "__Host-s", Path: "/app"}},
		{"", config{Name: "__Host-s", Path: "/"}},
		{"the cookie's name __Host-s needs Secure", config{Name: "__Host-s", Secure: session.Off}},
		{"the cookie's name __Secure-s needs Secure", config{Name: "__Secure-s", Secure: session.Off}},
		{"the cookie's name __SECURE-s needs Secure", config{Name: "__SECURE-s", Secure: session.Off}},
		{"", config{Name: "__Secure-s", Domain: "example.com", Path: "/app"}},
		{"the cookie's name __Http-s needs HttpOnly", config{Name: "__Http-s", HttpOnly: session.Off}},
		{"the cookie's name __Http-s needs Secure", config{Name: "__Http-s", Secure: session.Off}},
		{"the cookie's name __Host-Http-s needs HttpOnly", config{Name: "__Host-Http-s", HttpOnly: session.Off}},
		{"", config{Name: "__Host-Http-s"}},
		{"", config{Name: "x__Host-s", Domain: "example.com", Secure: session.Off}},
		{`Name "a b" is no valid cookie name`, config{Name: "a b"}},
		{`Name "a=b" is no valid cookie name`, config{Name: "a=b"}},
		{`Name "a;b" is no valid cookie name`, config{Name: "a;b"}},
		{`Name "sé" is no valid cookie name`, config{Name: "sé"}},
		{"Name is longer than 256 bytes", config{Name: strings.Repeat("n", 257)}},
		{"", config{Name: strings.Repeat("n", 256)}},
		{`Domain "exa mple.com" is no valid`, config{Domain: "exa mple.com"}},
		{`Domain "example.com;x" is no valid`, config{Domain: "example.com;x"}},
		{"", config{Domain: ".example.com"}},
		{`Path "app" is no valid cookie path`, config{Path: "app"}},
		{`Path "/a;b" is no valid cookie path`, config{Path: "/a;b"}},
		{`Path "/a\nb" is no valid cookie path`, config{Path: "/a\nb"}},
		{"Domain or Path is longer than 1024", config{Path: "/" + strings.Repeat("p", 1024)}},
		{"", config{Path: "/" + strings.Repeat("p", 1023)}},
		{"Lifetime is negative", config{Lifetime: -1}},
		{"Lifetime is over 400 days", config{Lifetime: 400*day + 1}},
		{"", config{Lifetime: 400 * day}},
		{"IdleTimeout 2h0m0s is longer than Lifetime 1h0m0s", config{IdleTimeout: 2 * time.Hour, Lifetime: time.Hour}},
		{"IdleTimeout 25h0m0s is longer than Lifetime 24h0m0s", config{IdleTimeout: 25 * time.Hour}},
		{"", config{IdleTimeout: time.Hour, Lifetime: time.Hour}},
		{"", config{IdleTimeout: -1}},
		{"", config{Lifetime: time.Minute}}, // no idle timeout was asked for, so none is too long
		{"StoreTimeout is negative", config{StoreTimeout: -1}},
		{"MaxPerUser is negative", config{MaxPerUser: -1}},
	} {
		_, err := session.New(session.NewMemoryStore(), c.cfg)
		if c.fault == "" {
			assert.NoError(t, err, "%+v", c.cfg)
			continue
		}
		assert.ErrorContains(t, err, "session: invalid configuration: "+c.fault)
	}
	_, err := session.New(aCookieStore, session.Config{MaxPerUser: 1})
	require.ErrorContains(t, err, "MaxPerUser needs a store that can list")
}

func TestConfig_NilStores(t *testing.T) {
	for _, store := range []session.Store{nil, (*session.MemoryStore)(nil), (*session.CookieStore)(nil), (*session.RedisStore)(nil)} {
		_, err := session.New(store, session.Config{})
		require.EqualError(t, err, "session: invalid configuration: the store is nil", "%T", store)
	}
}

func TestConfig_OneErrorNamesEveryFault(t *testing.T) {
	_, err := session.New(nil, session.Config{
		Name: "__Host-s", Domain: "exa mple", Path: "app", Secure: session.Off, HttpOnly: 7, SameSite: http.SameSiteNoneMode, Partitioned: true,
		Lifetime: -1, StoreTimeout: -1, MaxPerUser: -1,
	})
	require.Error(t, err)
	faults := strings.Split(strings.TrimPrefix(err.Error(), "session: invalid configuration: "), "; ")
	for _, fault := range []string{
		"the store is nil", "HttpOnly must be", "SameSite None needs Secure", "Partitioned needs Secure", "Lifetime is negative",
		"StoreTimeout is negative", "MaxPerUser is negative", "Domain \"exa mple\"", "Path \"app\"", "can't have a Domain",
		"must have the Path", "name __Host-s needs Secure",
	} {
		assert.Contains(t, strings.Join(faults, "\n"), fault)
	}
	_, err = session.New(aCookieStore, session.Config{Name: "é", Path: "/a", Domain: strings.Repeat("a", 1025), SameSite: 8, MaxPerUser: 2, Lifetime: 500 * day})
	for _, fault := range []string{"Name \"é\"", "longer than 1024", "SameSite is none", "needs a store that can list", "over 400 days"} {
		assert.ErrorContains(t, err, fault)
	}
}

// created returns the change and the Set-Cookie line with which a session with this configuration begins.
func created(t *testing.T, cfg session.Config) (*countingStore, string) {
	t.Helper()
	store := &countingStore{Store: session.NewMemoryStore()}
	manager, err := session.New(store, cfg)
	require.NoError(t, err)
	w := serveOnce(manager, func(s *session.Session) { s.Set("k", 1) })
	require.Len(t, w["Set-Cookie"], 1)
	return store, w["Set-Cookie"][0]
}

func TestConfig_Defaults(t *testing.T) {
	store, line := created(t, session.Config{})
	r := store.change.Record
	require.Regexp(t, `^__Host-session=[\w-]{48}; Path=/; HttpOnly; Secure; SameSite=Lax$`, line)
	require.Equal(t, time.Hour, r.Idle)
	require.Equal(t, 24*time.Hour, r.Deadline.Sub(r.Created))
	require.WithinDuration(t, time.Now(), r.Created, time.Minute)
	require.False(t, r.Persistent)
	require.InDelta(t, time.Second, store.timeout, float64(500*time.Millisecond))
}

func TestConfig_IdleTimeout(t *testing.T) {
	for _, c := range []struct{ idle, lifetime, want time.Duration }{
		{0, 0, time.Hour},
		{0, 10 * time.Minute, 10 * time.Minute},
		{0, 48 * time.Hour, time.Hour},
		{-1, 0, 0},
		{2 * time.Hour, 0, 2 * time.Hour},
		{time.Minute, time.Minute, time.Minute},
	} {
		store, _ := created(t, session.Config{IdleTimeout: c.idle, Lifetime: c.lifetime})
		require.Equal(t, c.want, store.change.Record.Idle, "%+v", c)
	}
}

func TestConfig_DefaultNameFollowsThePrefixRules(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  session.Config
	}{
		{"__Host-session", session.Config{}},
		{"__Host-session", session.Config{Path: "/"}},
		{"__Secure-session", session.Config{Path: "/app"}},
		{"__Secure-session", session.Config{Domain: "example.com"}},
		{"session", session.Config{Secure: session.Off}},
		{"session", session.Config{Secure: session.Off, Domain: "example.com", Path: "/app"}},
		{"mine", session.Config{Name: "mine", Domain: "example.com"}},
	} {
		_, line := created(t, c.cfg)
		require.Equal(t, c.name, line[:strings.Index(line, "=")], "%+v", c.cfg)
	}
}

func TestConfig_DomainWithADot(t *testing.T) {
	_, line := created(t, session.Config{Domain: ".example.com"})
	require.Contains(t, line, "; Domain=example.com;")
}

func TestConfig_SameSiteDefaultModeIsLax(t *testing.T) {
	_, line := created(t, session.Config{SameSite: http.SameSiteDefaultMode})
	require.Contains(t, line, "; SameSite=Lax")
}

// The lines were written from RFC 6265bis, not by the code they are compared with.
func TestAdvisory_OptionsIgnored_GoldenSetCookie(t *testing.T) {
	raw, err := os.ReadFile("testdata/set-cookie.txt")
	require.NoError(t, err)
	_, text, _ := strings.Cut(string(raw), "\n\n") // what the file says of itself
	seen := map[string]bool{}
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(block, "\n")
		require.False(t, seen[lines[0]], "%s is there twice", lines[0])
		seen[lines[0]] = true
		checkGolden(t, lines[0], lines[1:])
	}
	require.Len(t, seen, 2*2*2*2*4*2)
}

func checkGolden(t *testing.T, options string, want []string) {
	cfg := parseOptions(t, options)
	if strings.HasPrefix(want[0], "refused: ") {
		_, err := session.New(session.NewMemoryStore(), cfg)
		for _, line := range want {
			require.ErrorContains(t, err, strings.TrimPrefix(line, "refused: "), options)
		}
		return
	}
	persistent := cfg
	persistent.Persistent = true
	require.Len(t, want, 3, options)
	require.Equal(t, want[:1], setCookieLines(t, cfg)[:1], options)
	require.Equal(t, want[1:], setCookieLines(t, persistent), options)
	require.Equal(t, want[2:], setCookieLines(t, cfg)[1:], "deletion, %s", options)
}

// setCookieLines returns the line that sets a cookie and the one that deletes it.
func setCookieLines(t *testing.T, cfg session.Config) []string {
	store := session.NewMemoryStore()
	cfg.Clock = newManualClock().Now
	manager, err := session.New(store, cfg)
	require.NoError(t, err)
	set := serveOnce(manager, func(s *session.Session) { s.Set("k", 1) })["Set-Cookie"]
	require.Len(t, set, 1)
	cookie, err := http.ParseSetCookie(set[0])
	require.NoError(t, err)
	deleted := serveOnce(manager, func(s *session.Session) { require.NoError(t, s.Destroy()) }, cookie)["Set-Cookie"]
	require.Len(t, deleted, 1)
	return []string{strings.Replace(set[0], cookie.Value, "T", 1), deleted[0]}
}

// serveOnce makes a request with these cookies and returns the header of the answer.
func serveOnce(manager *session.Manager, what func(*session.Session), cookies ...*http.Cookie) http.Header {
	s := &site{handler: manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { what(session.FromContext(r.Context())) }))}
	var lines []string
	for _, c := range cookies {
		lines = append(lines, c.Name+"="+c.Value)
	}
	return s.serve(nil, lines...).Header
}

func parseOptions(t *testing.T, options string) (cfg session.Config) {
	for option := range strings.FieldsSeq(strings.Trim(options, "[]")) {
		switch name, value, _ := strings.Cut(option, "="); name {
		case "defaults":
		case "Domain":
			cfg.Domain = value
		case "Path":
			cfg.Path = value
		case "Secure":
			cfg.Secure = session.Off
		case "HttpOnly":
			cfg.HttpOnly = session.Off
		case "SameSite":
			cfg.SameSite = map[string]http.SameSite{"Lax": http.SameSiteLaxMode, "Strict": http.SameSiteStrictMode, "None": http.SameSiteNoneMode}[value]
		case "Partitioned":
			cfg.Partitioned = true
		default:
			t.Fatalf("%s: what is %s?", options, name)
		}
	}
	return cfg
}
