//go:build !noservers

package advisories_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"log"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// Django CVE-2015-3982: what stood under the empty key was everybody's session. A sealed cookie has no ID before it is
// opened, and may be sent to a server store.
func TestAdvisory_EmptyKey_OpensNothing(t *testing.T) {
	sealed := kit.ForeignCookies(kit.New(t, session.Config{}, session.NewMemoryStore()))[1]
	server := redistest.Start(t)
	store, client := kit.OpenRedis(t, server, session.RedisOptions{}), kit.RedisClient(t, server)
	app := kit.New(t, session.Config{}, store)
	ctx := context.Background()
	stored := client.Get(ctx, "session:"+app.Look(app.Login("ada")).ID).Val()
	require.NotEmpty(t, stored)
	require.NoError(t, client.Set(ctx, "session:", stored, 0).Err())
	_, err := store.Load(ctx, session.NewToken("", sealed))
	require.ErrorIs(t, err, session.ErrNotFound)
	require.True(t, app.Dead(sealed))

	swapped := &kit.SwappedStore{MemoryStore: session.NewMemoryStore()}
	app = kit.New(t, session.Config{}, swapped)
	cookie := app.Login("ada")
	nameless := *app.Live()[app.Look(cookie).ID]
	nameless.ID = ""
	swapped.Record = &nameless
	require.True(t, app.Dead(sealed), "a store that answers with a session without an ID")
	require.True(t, app.Dead(cookie))
}

// rack-session CVE-2026-39324: what could not be decrypted was given to a plain decoder. These would be sessions to one.
func TestAdvisory_NoFallbackWithoutTheKey(t *testing.T) {
	app := kit.New(t, session.Config{}, kit.Must(session.NewSignedCookieStore(kit.SecretTwo)))
	signed, _, _ := strings.Cut(app.Login("ada"), ".")
	whole := kit.Must(base64.URLEncoding.DecodeString(signed)) // date, content and MAC, between bars
	parts := bytes.SplitN(whole, []byte("|"), 3)
	container := kit.Must(base64.URLEncoding.DecodeString(string(parts[1])))
	record := session.Record{ID: "x", User: "ada", CreatedAt: app.Clock.Now(), LastUsedAt: app.Clock.Now(), Deadline: app.Clock.Now().Add(time.Hour)}
	for name, plain := range map[string][]byte{
		"JSON": kit.Must(json.Marshal(record)), "a container": container, "a container as text": parts[1],
		"no MAC": append(append(parts[0], '|'), append(parts[1], '|')...), "another secret's": whole,
	} {
		value := base64.URLEncoding.EncodeToString(plain)
		for kind, construct := range kit.CookieStores {
			store := kit.Must(construct(kit.SecretOne))
			_, err := store.Load(app.Context(), session.NewToken("", value).WithRealm(app.Name))
			require.ErrorIs(t, err, session.ErrNotFound, "%s: %s", kind, name)
			require.True(t, kit.New(t, session.Config{}, store).Dead(kit.Checked(app.Name, value)), "%s: %s", kind, name)
		}
	}
}

// go-redis CVE-2025-29923: fixed in 9.5.5, 9.6.3 and 9.7.3.
func TestAdvisory_OutOfOrderReplies_MinimumVersion(t *testing.T) {
	raw, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/redis/go-redis/v9").Output()
	require.NoError(t, err)
	require.Regexp(t, `^v9\.\d+\.\d+\n$`, string(raw))
	require.NotRegexp(t, `^v9\.([0-4]\.\d+|5\.[0-4]|6\.[0-2]|7\.[0-2])\n$`, string(raw))
}

// Spring Session CVE-2023-20866, with the loggers that a program has if it sets none up: they write to what was standard
// error when the program began.
func TestAdvisory_TokenOnStdout_DefaultLoggers(t *testing.T) {
	var printed bytes.Buffer
	before := log.Writer()
	log.SetOutput(&printed)
	defer log.SetOutput(before)
	app := kit.New(t, session.Config{Logger: slog.Default()}, session.NewMemoryStore())
	store := app.Store()
	request := func(cookie string, do func(*session.Session)) string {
		b := app.BrowserWith(cookie)
		b.Do(do)
		return b.Cookie
	}
	first := request("", kit.LoginAda)
	second := request(first, kit.Regenerate)
	request(first, func(s *session.Session) { s.Set("late", 1) })
	store.Break(kit.ErrDown, sessiontest.Load, sessiontest.Swap)
	request(second, kit.Regenerate)
	store.Break(kit.ErrDown, sessiontest.Swap)
	request(second, kit.Regenerate)
	require.Contains(t, printed.String(), "the store failed")
	for _, token := range []string{first, second} {
		require.Empty(t, kit.Leaks(printed.String(), token))
	}
}

func TestAdvisory_ExpiryNotEnforced_ATouchLoopDiesAtTheDeadline(t *testing.T) {
	kit.EachTimed(t, session.Config{IdleTimeout: 20 * time.Minute, Lifetime: 4 * time.Hour}, func(t *testing.T, v *kit.Browser) {
		v.SignIn("ada")
		first := v.View()
		for elapsed := time.Duration(0); elapsed < 4*time.Hour; elapsed += 7 * time.Minute {
			seen := v.View()
			require.Equal(t, first.Created, seen.Created)
			require.False(t, seen.ExpiresAt.After(first.Created.Add(4*time.Hour)), "a touch passes the deadline")
			require.Equal(t, "ada", seen.User)
			v.App.Clock.Advance(7 * time.Minute)
		}
		v.App.Happened()
		require.True(t, v.SignedOut())
		require.Equal(t, []string{"expired: absolute"}, v.App.Happened())
	})
}
