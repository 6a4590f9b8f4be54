package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// What the other tests of the guarantees would not notice.

// serialStore does one change at a time, each in a tenth of a millisecond, as a Redis does.
type serialStore struct {
	*session.MemoryStore
	turn chan struct{}
}

func (s *serialStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return session.Token{}, ctx.Err()
	}
	defer func() { <-s.turn }()
	time.Sleep(100 * time.Microsecond) // on the bubble's clock
	return s.MemoryStore.Save(ctx, token, c)
}

// Without a queue each of 200 updates would meet all that come before it, and 20,000 attempts do not fit into the
// StoreTimeout; with one, each is made twice at most.
func TestGuarantee03_NoLostUpdates_InTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &serialStore{session.NewMemoryStore(), make(chan struct{}, 1)}
		parallelUpdates(newWorld(t, session.Config{StoreTimeout: time.Second}, store))
	})
}

// The client was told that nothing was saved, and nothing is, though the store is back before the handler returns.
func TestGuarantee05_AFailedCommitStaysFailed(t *testing.T) {
	w, store := brokenWorld(t, session.Config{})
	cookie := w.login("ada")
	resp := w.request(0, cookie, func(rw http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("new", 1)
		store.save = errDown
		_, err := io.WriteString(rw, "the handler's")
		require.ErrorIs(t, err, errDown)
		store.save = nil
		require.ErrorIs(t, s.Save(context.Background()), errDown)
	})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, []string{"cart"}, w.look(cookie).keys)
}

// stuckStore does not answer while it is stuck.
type stuckStore struct {
	*session.MemoryStore
	stuck atomic.Bool
}

func (s *stuckStore) wait(ctx context.Context) error {
	if !s.stuck.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *stuckStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.MemoryStore.Load(ctx, token)
}

func (s *stuckStore) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if err := s.wait(ctx); err != nil {
		return session.Token{}, err
	}
	return s.MemoryStore.Save(ctx, token, c)
}

func (s *stuckStore) Delete(ctx context.Context, id string, until time.Time) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, id, until)
}

// On the bubble's clock, so that a machine with other things to do makes no difference.
func TestGuarantee06_EachCallEndsInTime(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after func(*session.Session) // the store gets stuck
	}{
		{"load", nil, func(s *session.Session) { s.Keys() }},
		{"Set", func(s *session.Session) { s.Keys() }, func(s *session.Session) { s.Set("new", 1) }},
		{"Update", func(s *session.Session) { s.Keys() }, func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }},
		{"Regenerate", func(s *session.Session) { s.Keys() }, regenerate},
		{"Login", func(s *session.Session) { s.Keys() }, login},
		{"Destroy", func(s *session.Session) { s.Keys() }, logout},
		{"Save", func(s *session.Session) { s.Keys() }, func(s *session.Session) { s.Set("new", 1); _ = s.Save(context.Background()) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := &stuckStore{MemoryStore: session.NewMemoryStore()}
			w := newWorld(t, session.Config{StoreTimeout: time.Second}, store)
			cookie := w.login("ada")
			begun, calls := time.Now(), time.Duration(1)
			if c.name == "Save" {
				calls = 2 // the handler's own, and the one before the first byte
			}
			resp := w.request(0, cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				if c.before != nil {
					c.before(s)
				}
				store.stuck.Store(true)
				c.after(s)
			})
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, c.name)
			require.Equal(t, calls*time.Second, time.Since(begun), c.name)
			store.stuck.Store(false)
			require.Equal(t, []string{"cart"}, w.look(cookie).keys, "%s: nothing was harmed", c.name)
		})
	}
}

// Django CVE-2015-3982: what stood under the empty key was everybody's session. A sealed cookie has no id before it is
// opened, and may be sent to a server store.
func TestAdvisory_EmptyKey_OpensNothing(t *testing.T) {
	sealed := foreignCookies(newWorld(t, session.Config{}, session.NewMemoryStore()))[1]
	server := redistest.Start(t)
	store, client := redisStore(t, server, session.RedisOptions{}), redisClient(t, server)
	w := newWorld(t, session.Config{}, store)
	ctx := context.Background()
	fields := client.HGetAll(ctx, "session:"+w.look(w.login("ada")).id).Val()
	fields["i"] = ""
	require.NoError(t, client.HSet(ctx, "session:", fields).Err())
	_, err := store.Load(ctx, session.NewToken("", sealed))
	require.ErrorIs(t, err, session.ErrNotFound)
	require.True(t, w.dead(sealed))

	swapped := &swappedStore{MemoryStore: session.NewMemoryStore()}
	w = newWorld(t, session.Config{}, swapped)
	cookie := w.login("ada")
	nameless := *w.live()[w.look(cookie).id]
	nameless.ID = ""
	swapped.record = &nameless
	require.True(t, w.dead(sealed), "a store that answers with a session of no id")
	require.True(t, w.dead(cookie))
}

// A Flush that can't be done is no first byte: what needs a cookie can still be had.
func TestGuarantee08_FlushWhereTheServerCannot_SpendsNothing(t *testing.T) {
	w := plain{httptest.NewRecorder()}
	newStreamApp(t).handle(setting(func(w http.ResponseWriter, r *http.Request) {
		require.ErrorIs(t, http.NewResponseController(w).Flush(), http.ErrNotSupported)
		require.NoError(t, session.FromContext(r.Context()).Login("ada", "cart"))
	})).ServeHTTP(w, fresh("/"))
	requireSessionCookie(t, w.Header())
}

// Redis would keep a key without a time to live for ever.
func TestGuarantee09_NoTTLIsForever(t *testing.T) {
	b := redisBackings(t)[0]
	over := func(s *session.Session) { s.SetLifetime(0, 30*time.Minute) }
	for name, do := range map[string]func(*world, string){
		"a lifetime that is over": func(w *world, cookie string) { w.clock.advance(30 * time.Minute); w.do(cookie, over) },
		"a write past the deadline": func(w *world, cookie string) {
			f := w.launch(0, cookie, "save", act(func(s *session.Session) { s.Set("new", 1) }))
			w.clock.advance(25 * time.Hour)
			f.land()
		},
		"a touch past the idle limit": func(w *world, cookie string) {
			w.clock.advance(10 * time.Minute)
			f := w.launch(0, cookie, "save", act(func(*session.Session) {}))
			w.clock.advance(time.Hour)
			f.land()
		},
		"a regeneration past the deadline": func(w *world, cookie string) {
			f := w.launch(0, cookie, "save", act(regenerate))
			w.clock.advance(25 * time.Hour)
			f.land()
		},
		"a use at the last moment": func(w *world, cookie string) {
			w.clock.advance(59 * time.Minute)
			w.do(cookie, func(s *session.Session) { s.SetLifetime(0, 59*time.Minute+time.Microsecond) })
		},
	} {
		w := b.world(t, session.Config{})
		do(w, w.login("ada"))
		keys, err := b.client.Keys(context.Background(), "*").Result()
		require.NoError(t, err)
		for _, key := range keys {
			require.NotEqual(t, time.Duration(-1), b.client.TTL(context.Background(), key).Val(), "%s leaves %s for ever", name, key)
		}
	}
}

// What a cookie store does not promise of guarantee 3, as documented: of two responses the last one wins, as a whole.
func TestGuarantee03_SealedAsDocumented(t *testing.T) {
	for _, list := range []session.RevocationList{nil, session.NewMemoryRevocations()} {
		sealed, err := session.NewCookieStore(worldSecret)
		require.NoError(t, err)
		if list != nil {
			sealed = sealed.WithRevocations(list)
		}
		w := newWorld(t, session.Config{}, sealed)
		b := browser{w.name, w.login("ada")}
		late, first := w.overtaken(b.cookie, func(s *session.Session) { s.Set("slow", 1) }, func(s *session.Session) { s.Set("quick", 1) })
		b.receive(first)
		require.Equal(t, []string{"cart", "quick"}, w.look(b.cookie).keys)
		b.receive(late)
		require.Equal(t, []string{"cart", "slow"}, w.look(b.cookie).keys)
	}
}

// A cookie that is sealed again after a change of secrets is the same session, and still ends when it would have ended.
func TestGuarantee13_ResealingExtendsNothing(t *testing.T) {
	v := newSite(t, cookieStore(t, secretOne), session.Config{IdleTimeout: -1}).visitor()
	v.signIn("ada")
	before, seen := v.cookie, v.view()
	v.site.clock.move(23 * time.Hour)
	v = v.on(cookieStore(t, secretTwo, secretOne))
	require.Equal(t, seen, v.view(), "opened by the old secret")
	require.NotEqual(t, before, v.cookie)
	require.Equal(t, seen, v.view(), "opened by the new one")
	v.site.clock.move(time.Hour - time.Microsecond)
	require.False(t, v.signedOut())
	v.site.clock.move(time.Microsecond)
	require.True(t, v.signedOut())
}

// rack-session CVE-2026-39324: what could not be decrypted was given to a plain decoder. These would be sessions to one.
func TestAdvisory_NoFallbackWithoutTheKey(t *testing.T) {
	w := newWorld(t, session.Config{}, must(session.NewSignedCookieStore(secretTwo)))
	signed, _, _ := strings.Cut(w.login("ada"), ".")
	whole := must(base64.URLEncoding.DecodeString(signed)) // date, content and MAC, between bars
	parts := bytes.SplitN(whole, []byte("|"), 3)
	container := must(base64.URLEncoding.DecodeString(string(parts[1])))
	record := session.Record{ID: "x", User: "ada", Created: w.clock.Now(), Used: w.clock.Now(), Deadline: w.clock.Now().Add(time.Hour)}
	for name, plain := range map[string][]byte{
		"JSON": must(json.Marshal(record)), "a container": container, "a container as text": parts[1],
		"no MAC": append(append(parts[0], '|'), append(parts[1], '|')...), "another secret's": whole,
	} {
		value := base64.URLEncoding.EncodeToString(plain)
		for kind, construct := range kinds {
			store := must(construct(secretOne))
			_, err := store.Load(w.seen.ctx, session.NewToken("", value))
			require.ErrorIs(t, err, session.ErrNotFound, "%s: %s", kind, name)
			require.True(t, newWorld(t, session.Config{}, store).dead(checked(w.name, value)), "%s: %s", kind, name)
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
	store := &brokenStore{MemoryStore: session.NewMemoryStore()}
	manager, err := session.New(store, session.Config{})
	require.NoError(t, err)
	request := func(cookie string, do func(*session.Session)) string {
		b := surfer{cookie: cookie, h: manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			do(session.FromContext(r.Context()))
		}))}
		b.get("/")
		return b.cookie
	}
	first := request("", login)
	second := request(first, regenerate)
	request(first, func(s *session.Session) { s.Set("late", 1) })
	store.load, store.save = errDown, errDown
	request(second, regenerate)
	store.load = nil
	request(second, regenerate)
	require.Contains(t, printed.String(), "the store failed")
	for _, token := range []string{first, second} {
		require.Empty(t, leaks(printed.String(), token))
	}
}

// What OnEvent changes in the session is saved after the commit that it is told of.
func TestGuarantee07_ChangedByOnEvent(t *testing.T) {
	manager, err := session.New(session.NewMemoryStore(), session.Config{OnEvent: func(ctx context.Context, e session.Event) {
		if e.Kind == session.EventLoggedIn {
			session.FromContext(ctx).Set("welcomed", true)
		}
	}})
	require.NoError(t, err)
	for _, write := range []bool{false, true} {
		b := browser{name: "__Host-session"}
		visit := func(do func(*session.Session)) {
			r := httptest.NewRequest("GET", "https://example.test/", nil)
			r.Header.Set("Cookie", b.name+"="+b.cookie)
			w := httptest.NewRecorder()
			manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				do(session.FromContext(r.Context()))
				if write {
					_, _ = io.WriteString(w, "the handler's")
				}
			})).ServeHTTP(w, r)
			b.receive(w.Result())
		}
		visit(login)
		visit(func(s *session.Session) { require.True(t, s.Has("welcomed")) })
	}
}
