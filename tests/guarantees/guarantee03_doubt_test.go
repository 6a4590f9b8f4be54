//go:build !noservers

package guarantees_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee03_SaveTriedAgainByTheCommit(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*session.Session) error
		want   func(*kit.Browser)
	}{
		"Update": {func(s *session.Session) error {
			session.Key[int]("n").Update(s, func(n int) int { return n + 1 })
			return nil
		}, func(v *kit.Browser) { require.Equal(t, 1, kit.Read[int](v, "n")) }},
		"Login": {func(s *session.Session) error { return s.Login("ada") }, func(v *kit.Browser) {
			require.Equal(t, "ada", v.View().User)
		}},
		"Regenerate": {(*session.Session).Regenerate, func(v *kit.Browser) { require.False(t, v.SignedOut()) }},
	} {
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
			store := v.App.Store()
			v.Must(func(s *session.Session) { s.Set("n", 0) })
			v.Must(func(s *session.Session) {
				require.NoError(t, c.change(s))
				store.Lose()
				require.Error(t, s.Save(t.Context()))
			})
			c.want(v)
		})
	}
}

// What a Save did, and only its reply was lost, is done once also where the request goes on to change something else.
func TestGuarantee03_ChangedAfterAReplyWasLost(t *testing.T) {
	n := session.Key[int]("n")
	count := func(s *session.Session) error { n.Update(s, func(n int) int { return n + 1 }); return nil }
	loginAs := func(user string) func(*session.Session) error {
		return func(s *session.Session) error { return s.Login(user, "n") }
	}
	set := func(s *session.Session) error { n.Set(s, 5); return nil }
	flash := func(s *session.Session) error { s.Flash("error", "try again"); return nil }
	server := redistest.Start(t)
	client := kit.RedisClient(t, server)
	for _, c := range []struct {
		name        string
		first, then func(*session.Session) error
		n           int                          // counted, where there was 1 before
		user        string                       // signed in, and the only session that is left
		others      func(*session.Session) error // another request in between; nil: none
		new         bool                         // there was no session before
	}{
		{"an Update, and another value", count, flash, 2, "ada", nil, false},
		{"an Update, and another one", count, count, 3, "ada", nil, false},
		{"an Update, and its value", count, func(s *session.Session) error { n.Set(s, 9); return nil }, 9, "ada", nil, false},
		{"an Update, and a logout", count, (*session.Session).Destroy, 0, "", nil, false},
		{"an Update, and a login", count, loginAs("grace"), 2, "grace", nil, false},
		{"an Update, a login and an Update", count, func(s *session.Session) error { return errors.Join(loginAs("grace")(s), count(s)) }, 3, "grace", nil, false},
		{"a login, and a value", loginAs("grace"), flash, 1, "grace", nil, false},
		{"a login, and an Update", loginAs("grace"), count, 2, "grace", nil, false},
		{"a login, and another one", loginAs("grace"), loginAs("linus"), 1, "linus", nil, false},
		{"a login, and a new ID", loginAs("grace"), (*session.Session).Regenerate, 1, "grace", nil, false},
		{"a login, and a logout", loginAs("grace"), (*session.Session).Destroy, 0, "", nil, false},
		{"a new ID, and an Update", (*session.Session).Regenerate, count, 2, "ada", nil, false},
		{"a new ID, and another one", (*session.Session).Regenerate, (*session.Session).Regenerate, 1, "ada", nil, false},
		{"a logout with a value, and a value", func(s *session.Session) error { err := s.Destroy(); n.Set(s, 5); return err }, flash, 5, "", nil, false},
		{"an Update, and a value, and another request's Update", count, flash, 3, "ada", count, false},
		{"an Update, and another one, and another request's", count, count, 4, "ada", count, false},
		{"a first login, and a logout", loginAs("ada"), (*session.Session).Destroy, 0, "", nil, true},
		{"a first login, and a value", loginAs("ada"), func(s *session.Session) error { n.Set(s, 7); return nil }, 7, "ada", nil, true},
		{"a first value, and its end", set, func(s *session.Session) error { n.Delete(s); return nil }, 0, "", nil, true},
		{"a first value, and the end of all", set, func(s *session.Session) error { s.Clear(); return nil }, 0, "", nil, true},
		{"a first value, and a logout", set, (*session.Session).Destroy, 0, "", nil, true},
	} {
		for name, inner := range map[string]session.Store{
			"memory": session.NewMemoryStore(), "one by one": kit.OneByOne(session.NewMemoryStore()), "redis": kit.RedisOn(t, client, session.RedisOptions{}),
			"redis, several slots": kit.RedisOn(t, kit.Across{UniversalClient: client}, session.RedisOptions{}),
		} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				server.MustDo("FLUSHALL")
				app := kit.New(t, session.Config{}, inner)
				store, b := app.Store(), app.Browser()
				if !c.new {
					b.Receive(app.Do("", func(s *session.Session) { kit.LoginAda(s); n.Set(s, 1) }))
				}
				resp := app.Do(b.Cookie, func(s *session.Session) {
					require.NoError(t, c.first(s))
					store.Lose()
					require.Error(t, s.Save(t.Context()))
					if c.others != nil {
						app.Do(b.Cookie, func(s *session.Session) { require.NoError(t, c.others(s)) })
					}
					require.NoError(t, c.then(s))
				})
				require.Equal(t, http.StatusOK, resp.StatusCode, app.Log())
				b.Receive(resp)
				require.Equal(t, c.n, kit.Value[int](app, b.Cookie, "n"))
				require.Equal(t, c.user, app.User(b.Cookie))
				for _, user := range []string{"ada", "grace", "linus"} {
					left := 0
					if user == c.user {
						left = 1
					}
					require.Len(t, app.Listed(user), left, user)
				}
			})
		}
	}
}

// What is changed after a Save that failed is another change, flashes that were only read included.
func TestGuarantee03_ChangedAfterASaveThatFailed(t *testing.T) {
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	store := v.App.Store()
	v.Must(func(s *session.Session) { s.Flash("info", "hello") })
	v.Must(func(s *session.Session) {
		s.Set("n", 1)
		store.Lose()
		require.Error(t, s.Save(t.Context()))
		require.Len(t, s.Flashes(), 1)
	})
	v.Must(func(s *session.Session) { require.Empty(t, s.Flashes()) })
	require.Equal(t, 1, kit.Read[int](v, "n"))
}

// A Save that failed is tried again first, and what has become of the session meanwhile is met as ever.
func TestGuarantee03_ChangedAfterASaveThatWasNotDone(t *testing.T) {
	n := session.Key[int]("n")
	count := func(s *session.Session) { n.Update(s, func(n int) int { return n + 1 }) }
	for name, c := range map[string]struct {
		meanwhile func(*kit.Store, *kit.Browser)
		status    int
		n         int // where there was 1 before
	}{
		"nothing":              {func(*kit.Store, *kit.Browser) {}, http.StatusOK, 3},
		"an Update":            {func(_ *kit.Store, v *kit.Browser) { v.Must(count) }, http.StatusOK, 4},
		"a logout":             {func(_ *kit.Store, v *kit.Browser) { v.Must(func(s *session.Session) { _ = s.Destroy() }) }, http.StatusServiceUnavailable, 0}, // it is not known what became of the change,
		"the store stays away": {func(b *kit.Store, _ *kit.Browser) { b.Break(kit.ErrDown, sessiontest.Swap) }, http.StatusServiceUnavailable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
			store := v.App.Store()
			v.Must(func(s *session.Session) { n.Set(s, 1) })
			resp := v.Do(func(s *session.Session) {
				count(s)
				store.Break(kit.ErrDown, sessiontest.Swap)
				require.ErrorIs(t, s.Save(t.Context()), kit.ErrDown)
				store.Mend()
				c.meanwhile(store, v.Copy())
				count(s)
			})
			store.Mend()
			require.Equal(t, c.status, resp.StatusCode)
			require.Equal(t, c.n, kit.Read[int](v, "n"))
		})
	}
}

// As long as it is not known what a Save did, nothing else is done.
func TestGuarantee03_StillInDoubt(t *testing.T) {
	n := session.Key[int]("n")
	count := func(s *session.Session) { n.Update(s, func(n int) int { return n + 1 }) }
	v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
	store := v.App.Store()
	v.Must(func(s *session.Session) { n.Set(s, 1) })
	resp := v.Do(func(s *session.Session) {
		count(s)
		store.Lose()
		require.Error(t, s.Save(t.Context()))
		count(s)
		store.Refuse()
	})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, 2, kit.Read[int](v, "n"))
}

// A message is read once, also where a Save added it and only its reply was lost.
func TestGuarantee03_MessageWhoseReplyWasLost(t *testing.T) {
	none, set := func(*session.Session) {}, func(s *session.Session) { s.Set("n", 1) }
	readIt := func(s *session.Session) { require.Len(t, s.Flashes(), 1) }
	for name, c := range map[string]struct {
		before, with func(*session.Session)
		then         func(*kit.Browser, *session.Session)
		left         int
	}{
		"the first of a session": {none, none, func(_ *kit.Browser, s *session.Session) { readIt(s) }, 0},
		"read by its request":    {set, none, func(_ *kit.Browser, s *session.Session) { readIt(s) }, 0},
		"read by another request": {set, none, func(v *kit.Browser, s *session.Session) {
			v.Copy().Must(readIt)
			set(s)
		}, 0},
		"read by none":           {set, none, func(_ *kit.Browser, s *session.Session) { set(s) }, 1},
		"of a logout":            {set, func(s *session.Session) { _ = s.Destroy() }, func(_ *kit.Browser, s *session.Session) { set(s) }, 1},
		"where all else goes":    {set, (*session.Session).Clear, func(_ *kit.Browser, s *session.Session) { set(s) }, 1},
		"where all goes with it": {set, none, func(_ *kit.Browser, s *session.Session) { s.Clear() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
			store := v.App.Store()
			v.Must(c.before)
			v.Must(func(s *session.Session) {
				c.with(s)
				s.Flash("info", "hello")
				store.Lose()
				require.Error(t, s.Save(t.Context()))
				c.then(v, s)
			})
			v.Must(func(s *session.Session) { require.Len(t, s.Flashes(), c.left) })
		})
	}
}

// What a Save did is not done again over what other requests did since.
func TestGuarantee03_NotAgainOverOthers(t *testing.T) {
	for name, first := range map[string]func(*session.Session){
		"Clear":   func(s *session.Session) { s.Clear() },
		"Set":     func(s *session.Session) { s.Set("x", "first") },
		"Delete":  func(s *session.Session) { s.Delete("x") },
		"SetNote": func(s *session.Session) { s.SetNote("first") },
	} {
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{}, session.NewMemoryStore()).Browser()
			store := v.App.Store()
			v.SignIn("ada")
			v.Must(func(s *session.Session) {
				first(s)
				store.Lose()
				require.Error(t, s.Save(t.Context()))
				v.Copy().Must(func(s *session.Session) { s.Set("x", "second"); s.SetNote("second") })
				s.Set("n", 1)
			})
			v.Must(func(s *session.Session) {
				x, _ := session.Key[string]("x").Get(s)
				require.Equal(t, "second", x)
				require.Equal(t, "second", v.App.Listed("ada")[0].Note)
				require.True(t, s.Has("n"))
			})
		})
	}
}
