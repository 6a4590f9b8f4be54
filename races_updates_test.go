package session_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

func TestGuarantee03_NoLostUpdates(t *testing.T) {
	for _, b := range memoryBackings(t) {
		if !b.sealed { // of sealed cookies the last response wins: documented
			keepAll(t, b)
		}
	}
}

// keepAll checks that concurrent requests of one session lose nothing of each other's.
func keepAll(t *testing.T, b backing) {
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"200 writers of different keys", parallelKeys},
		{"200 updates of one key", parallelUpdates},
		{"200 flashes", parallelFlashes},
		{"a set and a delete of different keys", setAndDelete},
		{"a deleted key does not come back", deletedStays},
		{"a read does not undo a write", readUndoesNothing},
		{"an update across a regeneration under way", updateWithRegenerate},
		{"an update across a login that keeps its value", updateWithLogin},
		{"a write sent twice", sentTwice},
		{"a change sent again after another's", sentAgainLater},
		{"a double-clicked sign-in", doubleLogin},
		{"a double-clicked regeneration", doubleRegenerate},
		{"a logout during a regeneration", logoutEndsSuccessor},
		{"a logout during a login over a regeneration", loginKeepsTheTrail},
		{"a stranger with the id from before a regeneration", strangersOldID},
	} {
		t.Run(b.name+"/"+c.name, func(t *testing.T) { c.test(b.world(t, session.Config{})) })
	}
}

const many = 200

// together makes many requests with one cookie, on all nodes, that have all loaded before the first one commits.
func (w *world) together(cookie string, do func(i int, s *session.Session)) {
	var loaded, done sync.WaitGroup
	loaded.Add(many)
	for i := range many {
		done.Go(func() {
			resp := w.request(i%len(w.nodes), cookie, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Has("loads it")
				loaded.Done()
				loaded.Wait()
				do(i, s)
			})
			if resp.StatusCode != http.StatusOK || len(resp.Cookies()) > 0 {
				w.t.Errorf("request %d: %s %v", i, resp.Status, resp.Header)
			}
		})
	}
	done.Wait()
}

func parallelKeys(w *world) {
	cookie := w.login("ada")
	w.together(cookie, func(i int, s *session.Session) { s.Set(fmt.Sprint("key", i), i) })
	require.Len(w.t, w.look(cookie).keys, many+1) // and the cart
}

func parallelUpdates(w *world) {
	cookie := w.login("ada")
	w.together(cookie, func(_ int, s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) })
	require.Equal(w.t, many, value[int](w, cookie, "counter"))
}

func parallelFlashes(w *world) {
	cookie := w.start()
	w.together(cookie, func(i int, s *session.Session) { s.Flash("info", fmt.Sprint(i)) })
	texts := map[string]bool{}
	w.do(cookie, func(s *session.Session) {
		for _, f := range s.Flashes() {
			texts[f.Message] = true
		}
	})
	require.Len(w.t, texts, many)
}

// overtaken launches slow, makes quick's request meanwhile on the other process, and lets slow go on.
func (w *world) overtaken(cookie string, slow, quick func(*session.Session)) (late, first *http.Response) {
	f := w.launch(0, cookie, "handler", act(slow))
	first = w.request(len(w.nodes)-1, cookie, act(quick))
	return f.land(), first
}

func setAndDelete(w *world) {
	cookie := w.login("ada")
	w.overtaken(cookie, func(s *session.Session) { s.Set("new", 1) }, func(s *session.Session) { s.Delete("cart") })
	require.Equal(w.t, []string{"new"}, w.look(cookie).keys)
	w.overtaken(cookie, func(s *session.Session) { s.Delete("new") }, func(s *session.Session) { s.Set("other", 1) })
	require.Equal(w.t, []string{"other"}, w.look(cookie).keys)
}

func deletedStays(w *world) {
	for _, late := range []func(*session.Session){
		func(s *session.Session) { s.Set("new", 1) },
		func(s *session.Session) { s.Flash("info", "new") },
		func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) },
		func(s *session.Session) { s.SetNote("phone") },
	} {
		cookie := w.login("ada")
		w.overtaken(cookie, late, func(s *session.Session) { s.Delete("cart") })
		require.NotContains(w.t, w.look(cookie).keys, "cart")
	}
	cookie := w.login("ada")
	late, _ := w.overtaken(cookie, regenerate, func(s *session.Session) { s.Delete("cart") })
	b := browser{w.name, cookie}
	b.receive(late)
	require.NotEqual(w.t, cookie, b.cookie)
	require.Empty(w.t, w.look(b.cookie).keys, "nor with a new id")
}

func readUndoesNothing(w *world) {
	cookie := w.login("ada")
	w.clock.advance(10 * time.Minute) // a touch is due
	w.overtaken(cookie, func(*session.Session) {}, func(s *session.Session) { s.Set("cart", "coffee") })
	require.Equal(w.t, "coffee", value[string](w, cookie, "cart"))
}

// updateWithLogin: an Update before or after the login that keeps its value is made again as well.
func updateWithLogin(w *world) {
	increment := func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }
	login := func(s *session.Session) { _ = s.Login("ada", "counter") }
	for _, do := range []func(*session.Session){
		func(s *session.Session) { increment(s); login(s) },
		func(s *session.Session) { login(s); increment(s) },
	} {
		cookie := w.start()
		w.do(cookie, increment)
		late, _ := w.overtaken(cookie, do, increment)
		b := browser{w.name, cookie}
		b.receive(late)
		require.Equal(w.t, "ada", w.user(b.cookie))
		require.Equal(w.t, 3, value[int](w, b.cookie, "counter"))
	}
}

// updateWithRegenerate: an Update in the request that regenerates meets another's change, and is made again.
func updateWithRegenerate(w *world) {
	cookie := w.login("ada")
	increment := func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }
	late, _ := w.overtaken(cookie, func(s *session.Session) { increment(s); _ = s.Regenerate() }, increment)
	b := browser{w.name, cookie}
	b.receive(late)
	require.NotEqual(w.t, cookie, b.cookie)
	require.Equal(w.t, 2, value[int](w, b.cookie, "counter"))
}

// sentTwice: the reply to each change is lost, and the client sends it again.
func sentTwice(w *world) {
	for _, n := range w.nodes {
		n.store.twice = true
	}
	b := browser{name: w.name}
	for i, do := range []func(*session.Session){
		func(s *session.Session) { s.Set("cart", "tea") },
		func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) },
		func(s *session.Session) { s.Flash("info", "once") },
		regenerate,
		func(s *session.Session) { _ = s.Login("ada", "cart", "counter"); s.Flash("info", "once") },
		func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }); _ = s.Regenerate() },
	} {
		resp := w.do(b.cookie, do)
		require.Equal(w.t, http.StatusOK, resp.StatusCode, "change %d", i)
		b.receive(resp)
	}
	require.Equal(w.t, 2, value[int](w, b.cookie, "counter"))
	require.Len(w.t, w.live(), 1)
	flashes := []session.Flash{}
	w.do(b.cookie, func(s *session.Session) { flashes = s.Flashes() })
	require.Equal(w.t, []session.Flash{{Category: "info", Message: "once"}}, flashes)
}

// sentAgainLater: between a change and its second copy another request's change was made, or the session ended.
func sentAgainLater(w *world) {
	cookie := w.login("ada")
	replay := w.recorded(func() { w.do(cookie, func(s *session.Session) { counter.Set(s, 1); s.Delete("cart") }) })
	w.do(cookie, func(s *session.Session) { counter.Set(s, 2); s.Set("cart", "coffee") })
	require.NoError(w.t, replay())
	require.Equal(w.t, 2, value[int](w, cookie, "counter"))
	require.Equal(w.t, "coffee", value[string](w, cookie, "cart"))

	w.do(cookie, logout)
	require.ErrorIs(w.t, replay(), session.ErrNotFound)
	require.Empty(w.t, w.live())

	replay = w.recorded(func() { cookie = w.login("ada") })
	w.do(cookie, logout)
	_ = replay() // made once already: what it says does not matter, nobody is waiting
	require.Empty(w.t, w.live(), "a creation sent again after the logout")
}

// recorded returns the one change that do makes, to be sent again.
func (w *world) recorded(do func()) (again func() error) {
	store := w.nodes[0].store
	r := &recorder{UserStore: store.store()}
	store.swap(r)
	do()
	store.swap(r.UserStore)
	require.NotNil(w.t, r.change)
	return func() error {
		_, err := r.UserStore.Save(r.ctx, r.token, r.change)
		return err
	}
}

type recorder struct {
	session.UserStore
	ctx    context.Context
	token  session.Token
	change *session.Change
}

func (r *recorder) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	r.ctx, r.token, r.change = context.WithoutCancel(ctx), token, c
	return r.UserStore.Save(ctx, token, c)
}

func doubleLogin(w *world) {
	cookie := w.start()
	late, first := w.overtaken(cookie, login, login)
	for _, order := range [][]*http.Response{{first, late}, {late, first}} {
		b := browser{w.name, cookie}
		b.receive(order...)
		require.Equal(w.t, "ada", w.user(b.cookie), "signed in, whichever response comes last")
	}
	require.True(w.t, w.dead(cookie))
}

func doubleRegenerate(w *world) {
	cookie := w.login("ada")
	late, first := w.overtaken(cookie, regenerate, regenerate)
	require.Equal(w.t, http.StatusConflict, late.StatusCode)
	for _, order := range [][]*http.Response{{first, late}, {late, first}} {
		b := browser{w.name, cookie}
		b.receive(order...)
		require.Equal(w.t, "ada", w.user(b.cookie))
	}
	require.Len(w.t, w.live(), 1)
}

func logoutEndsSuccessor(w *world) {
	for name, c := range map[string]struct {
		logout func(*session.Session)
		user   string // signed in afterwards
		left   int    // sessions
	}{
		"alone":        {logout, "", 0},
		"with a flash": {func(s *session.Session) { logout(s); s.Flash("info", "signed out") }, "", 1},
		"with a login": {func(s *session.Session) { logout(s); _ = s.Login("grace", "cart") }, "grace", 1},
	} {
		cookie := w.login("ada")
		late, first := w.overtaken(cookie, c.logout, regenerate)
		require.Equal(w.t, http.StatusOK, late.StatusCode, name)
		b := browser{w.name, cookie}
		b.receive(first)
		next := b.cookie
		require.True(w.t, w.dead(next), "%s: signed out means signed out", name)
		b.receive(late)
		require.Equal(w.t, c.left == 0, b.cookie == "", name)
		require.Equal(w.t, c.user, w.user(b.cookie), name)
		require.Len(w.t, w.live(), c.left, name)
		w.do(b.cookie, logout)
	}
}

// strangersOldID: by the id that a session had, nobody but its user can end it, or learn that there is one.
func strangersOldID(w *world) {
	b := browser{w.name, w.login("ada")}
	old := w.look(b.cookie).id
	b.receive(w.do(b.cookie, regenerate))
	require.ErrorIs(w.t, w.last().manager.Revoke(context.Background(), "mallory", old), session.ErrNotFound)
	require.Equal(w.t, "ada", w.user(b.cookie))
	require.NoError(w.t, w.last().manager.Revoke(context.Background(), "ada", old))
	require.True(w.t, w.dead(b.cookie))
}

// loginKeepsTheTrail: a login over a session that was just regenerated does not hide where that went on from a logout.
func loginKeepsTheTrail(w *world) {
	cookie := w.login("ada")
	out := w.launch(0, cookie, "delete", act(logout))
	late, first := w.overtaken(cookie, func(s *session.Session) { _ = s.Login("grace") }, regenerate)
	require.Equal(w.t, http.StatusOK, out.land().StatusCode)
	b := browser{w.name, cookie}
	b.receive(first)
	require.True(w.t, w.dead(b.cookie))
	b.receive(late)
	require.Equal(w.t, "grace", w.user(b.cookie))
	require.Len(w.t, w.live(), 1)
}
