package session_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A backing makes the stores of one race: as many as there are processes.
type backing struct {
	name   string
	sealed bool // in the cookie, with a revocation list
	stores func() []session.Store
	flush  func(*world)
	client *redis.Client // for a look at what is stored
}

// world makes a world on stores that hold nothing yet.
func (b backing) world(t testing.TB, cfg session.Config) *world {
	w := newWorld(t, cfg, b.stores()...)
	if b.client != nil {
		b.flush(w)
	}
	return w
}

// memoryBackings are a MemoryStore under one Manager and under two, and sealed cookies.
func memoryBackings(t *testing.T) []backing {
	flush := func(w *world) {
		empty := session.NewMemoryStore()
		for _, n := range w.nodes {
			n.store.swap(empty)
		}
	}
	one := func() []session.Store { return []session.Store{session.NewMemoryStore()} }
	two := func() []session.Store { m := session.NewMemoryStore(); return []session.Store{m, m} }
	sealed := func() []session.Store {
		c, err := session.NewCookieStore(worldSecret)
		require.NoError(t, err)
		c = c.WithRevocations(session.NewMemoryRevocations())
		return []session.Store{c, c}
	}
	return []backing{
		{name: "memory", stores: one, flush: flush},
		{name: "memory, two managers", stores: two, flush: flush},
		{name: "sealed with a list", sealed: true, stores: sealed},
	}
}

// An ender ends the session that a request in flight has loaded.
type ender struct {
	name string
	run  func(w *world, cookie string) *http.Response // nil: no browser's doing
	next bool                                         // a session of the same user goes on under a new id
}

func byBrowser(do func(*session.Session)) func(*world, string) *http.Response {
	return func(w *world, cookie string) *http.Response {
		return w.request(len(w.nodes)-1, cookie, act(do))
	}
}

func byServer(do func(w *world, id string) error) func(*world, string) *http.Response {
	return func(w *world, cookie string) *http.Response {
		require.NoError(w.t, do(w, w.look(cookie).id))
		return nil
	}
}

// last is the Manager of the process that the request in flight is not at, if there are two.
func (w *world) last() *node { return w.nodes[len(w.nodes)-1] }

var (
	logout     = func(s *session.Session) { _ = s.Destroy() }
	regenerate = func(s *session.Session) { _ = s.Regenerate() }
	login      = func(s *session.Session) { _ = s.Login("ada") }
)

func enders(b backing) []ender {
	all := []ender{
		{"logout", byBrowser(logout), false},
		{"regenerate", byBrowser(regenerate), true},
		{"login", byBrowser(login), true},
		{"revocation", byServer(func(w *world, id string) error { return w.last().manager.Revoke(context.Background(), "ada", id) }), false},
		{"revocation of the user", byServer(func(w *world, _ string) error {
			_, err := w.last().manager.RevokeUser(context.Background(), "ada")
			return err
		}), false},
		{"deletion", byServer(func(w *world, id string) error {
			return w.last().store.Delete(w.seen.ctx, id, w.clock.Now().Add(24*time.Hour))
		}), false},
		{"absolute expiry", byServer(func(w *world, _ string) error { w.clock.advance(25 * time.Hour); return nil }), false},
	}
	if !b.sealed { // nothing to flush, and a request that came in time is a use of the session
		all = append(all,
			ender{"idle expiry", byServer(func(w *world, _ string) error { w.clock.advance(time.Hour); return nil }), false},
			ender{"FLUSHALL", byServer(func(w *world, _ string) error { b.flush(w); return nil }), false})
	}
	return all
}

// A racer is a request in flight meanwhile.
type racer struct {
	name  string
	do    func(*session.Session)
	sets  bool // something would be lost: 409
	at    []string
	touch bool // by its time, the use is to be noted
}

const counter = session.Key[int]("counter")

func racers() []racer {
	both := []string{"handler", "save"}
	return []racer{
		{"reader", func(*session.Session) {}, false, both[:1], false},
		{"toucher", func(*session.Session) {}, false, both, true},
		{"Set", func(s *session.Session) { s.Set("new", 1) }, true, both, false},
		{"Update", func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }, true, both, false},
		{"Flash", func(s *session.Session) { s.Flash("info", "saved") }, true, both, false},
		{"SetNote", func(s *session.Session) { s.SetNote("phone") }, true, both, false},
		{"Regenerate", regenerate, true, both, false},
		{"Login", login, false, both, false},
		{"Destroy", logout, false, []string{"handler", "delete"}, false},
		{"Delete", func(s *session.Session) { s.Delete("cart") }, false, both, false},
		{"Pop", func(s *session.Session) { session.Key[string]("cart").Pop(s) }, false, both, false},
		{"Clear", func(s *session.Session) { s.Clear() }, false, both, false},
		{"Flashes", func(s *session.Session) { s.Flashes() }, false, both, false},
	}
}

func TestGuarantee02_NoResurrection(t *testing.T) {
	for _, b := range memoryBackings(t) {
		raceAll(t, b)
	}
}

// raceAll races every request against every end of its session.
func raceAll(t *testing.T, b backing) {
	for _, e := range enders(b) {
		for _, r := range racers() {
			for _, at := range r.at {
				if r.name == "Login" && at == "save" && strings.HasSuffix(e.name, "expiry") {
					continue // the new session's own time would have passed
				}
				t.Run(fmt.Sprintf("%s/%s/%s held at its %s", b.name, e.name, r.name, at), func(t *testing.T) {
					race(b.world(t, session.Config{}), b, e, r, at)
				})
			}
		}
	}
}

func race(w *world, b backing, e ender, r racer, at string) {
	old := w.login("ada")
	if r.touch {
		w.clock.advance(10 * time.Minute)
	}
	f := w.launch(0, old, at, act(r.do))
	ended := e.run(w, old)
	late := f.land()

	checkLate(w, r, late)
	after := browser{w.name, old}
	if ended != nil {
		after.receive(ended)
	}
	kept := after.cookie
	after.receive(late)
	checkBrowser(w, e, r, kept, after.cookie)
	require.True(w.t, w.dead(old), "the old cookie must open nothing")
	require.Len(w.t, w.live(), liveAfter(b, e, r), "sessions left")
	other := browser{w.name, old}
	if other.receive(late); ended != nil {
		other.receive(ended)
	}
	require.Equal(w.t, lateFirst(b, e, r), w.user(other.cookie) == "ada", "arriving in the other order")
	if ended != nil && len(late.Cookies()) == 0 {
		require.Equal(w.t, kept, other.cookie)
	}
}

// lateFirst tells whether the browser is signed in if the response that was overtaken arrives first.
func lateFirst(b backing, e ender, r racer) bool {
	switch e.name {
	case "logout": // the cookie is gone, also a new login's: it fails to the safe side
		return false
	case "regenerate":
		return r.name != "Destroy" || b.sealed // what was signed out is, whatever cookie comes last; but a list knows no successors
	case "login": // it is a session of its own
		return true
	}
	return r.name == "Login"
}

// checkLate checks the response of the request that was overtaken.
func checkLate(w *world, r racer, late *http.Response) {
	status, cookies, body := http.StatusOK, 0, "the handler's"
	if r.sets {
		status, body = http.StatusConflict, "Conflict\n"
	}
	if r.name == "Login" || r.name == "Destroy" { // what the user asked for last
		cookies = 1
	}
	require.Equal(w.t, status, late.StatusCode)
	require.Equal(w.t, body, bodyOf(late))
	require.Len(w.t, late.Cookies(), cookies, "%v", late.Header)
}

// checkBrowser checks what the browser holds when the late response has come too.
func checkBrowser(w *world, e ender, r racer, kept, now string) {
	switch r.name {
	case "Login":
		require.Equal(w.t, look{w.look(now).id, "ada", nil}, w.look(now), "always a new session, and empty")
		require.NotEqual(w.t, kept, now)
	case "Destroy":
		require.Empty(w.t, now)
	default:
		require.Equal(w.t, kept, now, "a late response must not move the browser")
		if e.next {
			require.Equal(w.t, "ada", w.user(now))
		}
		if e.name == "regenerate" {
			require.Equal(w.t, []string{"cart"}, w.look(now).keys, "with its values, and no others")
		}
	}
}

// liveAfter returns how many sessions are to be left.
func liveAfter(b backing, e ender, r racer) (n int) {
	if e.next {
		n++
	}
	if r.name == "Login" {
		n++
	}
	if r.name == "Destroy" && e.name == "regenerate" && !b.sealed { // a list does not know successors
		n--
	}
	return n
}
