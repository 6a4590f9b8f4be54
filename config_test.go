package session

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

// listing can list a user's sessions, and unlisting can't. Nobody calls them.
type (
	listing   struct{ UserStore }
	unlisting struct{ Store }
)

// configured returns the configuration with its defaults.
func configured(t *testing.T, cfg Config) Config {
	t.Helper()
	config, err := cfg.withDefaults(listing{})
	require.NoError(t, err)
	return config
}

func TestConfig_EveryFaultAlone(t *testing.T) {
	for _, c := range []struct {
		fault string // "" if there is none
		cfg   Config
	}{
		{"", Config{}},
		{"SameSite None needs Secure", Config{SameSite: http.SameSiteNoneMode, Secure: Off}},
		{"", Config{SameSite: http.SameSiteNoneMode}},
		{"SameSite is none of", Config{SameSite: 9}},
		{"SameSite is none of", Config{SameSite: -1}},
		{"Secure must be On or Off", Config{Secure: 2}},
		{"HttpOnly must be On or Off", Config{HttpOnly: 2}},
		{"Partitioned needs Secure", Config{Partitioned: true, Secure: Off}},
		{"a __Host- cookie can't have a Domain", Config{Name: "__Host-s", Domain: "example.com"}},
		{"a __Host- cookie can't have a Domain", Config{Name: "__hOST-s", Domain: "example.com"}}, // browsers ignore case
		{"a __Host- cookie must have the Path /", Config{Name: "__Host-s", Path: "/app"}},
		{"", Config{Name: "__Host-s", Path: "/"}},
		{"the cookie's name __Host-s needs Secure", Config{Name: "__Host-s", Secure: Off}},
		{"the cookie's name __Secure-s needs Secure", Config{Name: "__Secure-s", Secure: Off}},
		{"the cookie's name __SECURE-s needs Secure", Config{Name: "__SECURE-s", Secure: Off}},
		{"", Config{Name: "__Secure-s", Domain: "example.com", Path: "/app"}},
		{"the cookie's name __Http-s needs HttpOnly", Config{Name: "__Http-s", HttpOnly: Off}},
		{"the cookie's name __Http-s needs Secure", Config{Name: "__Http-s", Secure: Off}},
		{"the cookie's name __Host-Http-s needs HttpOnly", Config{Name: "__Host-Http-s", HttpOnly: Off}},
		{"", Config{Name: "__Host-Http-s"}},
		{"", Config{Name: "x__Host-s", Domain: "example.com", Secure: Off}},
		{`Name "a b" is no valid cookie name`, Config{Name: "a b"}},
		{`Name "a=b" is no valid cookie name`, Config{Name: "a=b"}},
		{`Name "a;b" is no valid cookie name`, Config{Name: "a;b"}},
		{`Name "sé" is no valid cookie name`, Config{Name: "sé"}},
		{"Name is longer than 256 bytes", Config{Name: strings.Repeat("n", 257), Realm: "r"}},
		{"", Config{Name: strings.Repeat("n", 256)}},
		{"Realm is longer than 256 bytes", Config{Realm: strings.Repeat("r", 257)}},
		{"", Config{Realm: strings.Repeat("r", 256)}},
		{"Realm is longer than 256 bytes, or not valid UTF-8", Config{Realm: "shop\xff"}},
		{"", Config{Realm: "магазин; \n\x00"}}, // it stands in no header
		{`Domain "exa mple.com" is no valid`, Config{Domain: "exa mple.com"}},
		{`Domain "example.com;x" is no valid`, Config{Domain: "example.com;x"}},
		{"", Config{Domain: ".example.com"}},
		{`Path "app" is no valid cookie path`, Config{Path: "app"}},
		{`Path "/a;b" is no valid cookie path`, Config{Path: "/a;b"}},
		{`Path "/a\nb" is no valid cookie path`, Config{Path: "/a\nb"}},
		{"Domain or Path is longer than 1024", Config{Path: "/" + strings.Repeat("p", 1024)}},
		{"", Config{Path: "/" + strings.Repeat("p", 1023)}},
		{"Lifetime is negative", Config{Lifetime: -1}},
		{"Lifetime is over 400 days", Config{Lifetime: 400*day + 1}},
		{"", Config{Lifetime: 400 * day}},
		{"IdleTimeout 2h0m0s is longer than Lifetime 1h0m0s", Config{IdleTimeout: 2 * time.Hour, Lifetime: time.Hour}},
		{"IdleTimeout 25h0m0s is longer than Lifetime 24h0m0s", Config{IdleTimeout: 25 * time.Hour}},
		{"", Config{IdleTimeout: time.Hour, Lifetime: time.Hour}},
		{"", Config{IdleTimeout: -1}},
		{"", Config{Lifetime: time.Minute}}, // no idle timeout was asked for, so none is too long
		{"MaxSize is negative", Config{MaxSize: -1}},
		{"", Config{MaxSize: 1}},
		{"StoreTimeout is negative", Config{StoreTimeout: -1}},
		{"StoreTimeout is over 30 seconds", Config{StoreTimeout: 30*time.Second + 1}},
		{"", Config{StoreTimeout: 30 * time.Second}},
		{"MaxPerUser is negative", Config{MaxPerUser: -1}},
		{"", Config{MaxPerUser: 1}},
	} {
		_, err := c.cfg.withDefaults(listing{})
		if c.fault == "" {
			assert.NoError(t, err, "%+v", c.cfg)
			continue
		}
		assert.ErrorContains(t, err, "session: invalid configuration: "+c.fault)
	}
	_, err := Config{MaxPerUser: 1}.withDefaults(unlisting{})
	require.ErrorContains(t, err, "MaxPerUser needs a store that can list")
	_, err = Config{}.withDefaults(unlisting{})
	require.NoError(t, err)
}

func TestConfig_NilStores(t *testing.T) {
	for _, store := range []Store{nil, (*listing)(nil), (*unlisting)(nil)} {
		_, err := Config{}.withDefaults(store)
		require.EqualError(t, err, "session: invalid configuration: the store is nil", "%T", store)
	}
}

func TestConfig_OneErrorNamesEveryFault(t *testing.T) {
	_, err := Config{
		Name: "__Host-s", Realm: "\xff", Domain: "exa mple", Path: "app", Secure: Off, HttpOnly: 7, SameSite: http.SameSiteNoneMode,
		Partitioned: true, Lifetime: -1, MaxSize: -1, StoreTimeout: -1, MaxPerUser: -1,
	}.withDefaults(nil)
	for _, fault := range []string{
		"the store is nil", "HttpOnly must be", "SameSite None needs Secure", "Partitioned needs Secure", "Lifetime is negative",
		"MaxSize is negative", "StoreTimeout is negative", "Realm is longer", "MaxPerUser is negative", "Domain \"exa mple\"",
		"Path \"app\"", "can't have a Domain", "must have the Path", "name __Host-s needs Secure",
	} {
		assert.ErrorContains(t, err, fault)
	}
	_, err = Config{
		Name: "é", Path: "/a", Domain: strings.Repeat("a", 1025), SameSite: 8, MaxPerUser: 2, Lifetime: 500 * day, StoreTimeout: time.Minute,
	}.withDefaults(unlisting{})
	for _, fault := range []string{
		"Name \"é\"", "longer than 1024", "SameSite is none", "needs a store that can list", "over 400 days", "over 30 seconds",
	} {
		assert.ErrorContains(t, err, fault)
	}
}

func TestConfig_Defaults(t *testing.T) {
	c := configured(t, Config{})
	require.Equal(t, "__Host-session", c.Name)
	require.Equal(t, "__Host-session", c.Realm)
	require.Equal(t, "; Path=/; HttpOnly; Secure; SameSite=Lax", c.attributes())
	require.Equal(t, time.Hour, c.IdleTimeout)
	require.Equal(t, 24*time.Hour, c.Lifetime)
	require.Equal(t, 64<<10, c.MaxSize)
	require.Equal(t, time.Second, c.StoreTimeout)
	require.WithinDuration(t, time.Now(), c.Clock(), time.Minute)
	require.Zero(t, c.Clock().Nanosecond()%1000, "stores keep microseconds")
	require.False(t, c.Persistent)
}

func TestConfig_WhatIsSetStays(t *testing.T) {
	clock := time.Unix(1e9, 0)
	c := configured(t, Config{
		Name: "n", Realm: "shop", Path: "/app", SameSite: http.SameSiteStrictMode, IdleTimeout: time.Minute, Lifetime: time.Hour, MaxSize: 100,
		StoreTimeout: time.Minute / 2, Clock: func() time.Time { return clock },
	})
	require.Equal(t, []any{"n", "shop", "/app", http.SameSiteStrictMode}, []any{c.Name, c.Realm, c.Path, c.SameSite})
	require.Equal(t, []any{time.Minute, time.Hour, 100, time.Minute / 2}, []any{c.IdleTimeout, c.Lifetime, c.MaxSize, c.StoreTimeout})
	require.Equal(t, clock, c.Clock())
}

func TestConfig_RealmIsTheCookiesNameUnlessSet(t *testing.T) {
	require.Equal(t, "admin", configured(t, Config{Name: "admin"}).Realm)
	require.Equal(t, "__Secure-session", configured(t, Config{Path: "/app"}).Realm)
	require.Equal(t, "shop", configured(t, Config{Name: "admin", Realm: "shop"}).Realm)
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
		require.Equal(t, c.want, configured(t, Config{IdleTimeout: c.idle, Lifetime: c.lifetime}).IdleTimeout, "%+v", c)
	}
}

func TestConfig_DefaultNameFollowsThePrefixRules(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"__Host-session", Config{}},
		{"__Host-session", Config{Path: "/"}},
		{"__Secure-session", Config{Path: "/app"}},
		{"__Secure-session", Config{Domain: "example.com"}},
		{"session", Config{Secure: Off}},
		{"session", Config{Secure: Off, Domain: "example.com", Path: "/app"}},
		{"mine", Config{Name: "mine", Domain: "example.com"}},
	} {
		require.Equal(t, c.name, configured(t, c.cfg).Name, "%+v", c.cfg)
	}
}

func TestConfig_DomainWithADot(t *testing.T) {
	config := configured(t, Config{Domain: ".example.com"})
	require.Contains(t, config.attributes(), "; Domain=example.com;")
}

func TestConfig_SameSiteDefaultModeIsLax(t *testing.T) {
	config := configured(t, Config{SameSite: http.SameSiteDefaultMode})
	require.Contains(t, config.attributes(), "; SameSite=Lax")
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
		_, err := cfg.withDefaults(listing{})
		for _, line := range want {
			require.ErrorContains(t, err, strings.TrimPrefix(line, "refused: "), options)
		}
		return
	}
	config, now := configured(t, cfg), time.Unix(1e9, 0)
	require.Equal(t, want, []string{
		config.Name + "=T" + config.attributes(),
		config.cookie("T", now, now.Add(config.Lifetime)).String(),
		config.cookie("", now, time.Time{}).String(),
	}, options)
	require.Equal(t, want[0], config.cookie("T", now, time.Time{}).String(), options)
}

func parseOptions(t *testing.T, options string) (cfg Config) {
	for option := range strings.FieldsSeq(strings.Trim(options, "[]")) {
		switch name, value, _ := strings.Cut(option, "="); name {
		case "defaults":
		case "Domain":
			cfg.Domain = value
		case "Path":
			cfg.Path = value
		case "Secure":
			cfg.Secure = Off
		case "HttpOnly":
			cfg.HttpOnly = Off
		case "SameSite":
			cfg.SameSite = map[string]http.SameSite{
				"Lax": http.SameSiteLaxMode, "Strict": http.SameSiteStrictMode, "None": http.SameSiteNoneMode,
			}[value]
		case "Partitioned":
			cfg.Partitioned = true
		default:
			t.Fatalf("%s: what is %s?", options, name)
		}
	}
	return cfg
}

func TestSwitch_Texts(t *testing.T) {
	for text, want := range map[string]Switch{"on": On, "true": On, "off": Off, "false": Off} {
		s := 1 - want
		require.NoError(t, s.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, s, text)
	}
	for _, text := range []string{"", "On", "OFF", "yes", "1", "0", " on", "on\n", "null"} {
		s := Off
		require.ErrorContains(t, s.UnmarshalText([]byte(text)), "must be on, off, true or false", "%q", text)
		require.Equal(t, Off, s, "it stays as it was")
	}
}

func TestSwitch_JSON(t *testing.T) {
	type options struct{ Secure, HttpOnly Switch }
	for raw, want := range map[string]options{
		`{}`:                                    {Off, Off},
		`{"Secure": null, "HttpOnly": true}`:    {Off, On},
		`{"Secure": "on", "HttpOnly": "off"}`:   {On, Off},
		`{"Secure": true, "HttpOnly": "false"}`: {On, Off},
		`{"Secure": "true", "HttpOnly": false}`: {On, Off},
		`{"Secure": "\u006fn"}`:                 {On, Off},
	} {
		got := options{Off, Off}
		require.NoError(t, json.Unmarshal([]byte(raw), &got), raw)
		require.Equal(t, want, got, raw)
	}
	for _, raw := range []string{`{"Secure": 0}`, `{"Secure": 1}`, `{"Secure": ""}`, `{"Secure": "yes"}`, `{"Secure": []}`, `{"Secure": {}}`} {
		require.ErrorContains(t, json.Unmarshal([]byte(raw), new(options)), "on, off, true or false", raw)
	}
}

func TestSwitch_ComesBack(t *testing.T) {
	for _, s := range []Switch{On, Off} {
		raw, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, `"`+s.String()+`"`, string(raw))
		back := 1 - s
		require.NoError(t, json.Unmarshal(raw, &back))
		require.Equal(t, s, back)
	}
	require.Equal(t, "on off Switch(2)", fmt.Sprint(On, Off, Switch(2)))
	_, err := json.Marshal(Switch(2))
	require.ErrorContains(t, err, "Switch(2) is neither On nor Off")
}
