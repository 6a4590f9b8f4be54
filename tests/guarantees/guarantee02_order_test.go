package guarantees_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// TestGuarantee02_AnyOrder has several requests of one browser in flight at once, on all processes, that land and arrive
// in any order, while their sessions end: an ID that has ended once never opens anything again.
func TestGuarantee02_AnyOrder(t *testing.T) {
	for _, b := range kit.Backings(t) {
		for seed := range uint64(10) {
			t.Run(fmt.Sprint(b.Name, "/", seed), func(t *testing.T) {
				c := &traffic{App: b.New(t, session.Config{}), rand: rand.New(rand.NewPCG(seed, 1))}
				c.open, c.ended = map[string]bool{}, map[string]bool{}
				c.run()
			})
		}
	}
}

// traffic is one browser's requests and responses on their ways.
type traffic struct {
	*kit.App
	rand    *rand.Rand
	open    map[string]bool // the IDs that opened something when last looked
	ended   map[string]bool // and those that did once, and do not any more
	browser *kit.Browser
}

func (c *traffic) run() {
	c.browser = c.Browser()
	c.browser.Receive(c.Do("", kit.LoginAda))
	type sent struct {
		*kit.Flight
		racer
	}
	var flights []sent
	var arriving []*http.Response
	take := func(n int) int { return c.rand.IntN(n) }
	for range 60 {
		switch what := take(10); {
		case what < 4 && len(flights) < 5:
			r := racers()[take(len(racers()))]
			at := r.at[take(len(r.at))]
			if !r.alone() {
				at = "handler"
			}
			f, _ := c.Send(take(len(c.Nodes)), c.browser.Cookie, at, kit.Act(r.do))
			flights = append(flights, sent{f, r})
		case what < 7 && len(flights) > 0:
			i := take(len(flights))
			resp := flights[i].Land()
			c.checkAnswer(flights[i].racer, resp)
			flights = append(flights[:i], flights[i+1:]...)
			arriving = append(arriving, resp)
		case what < 9 && len(arriving) > 0:
			i := take(len(arriving))
			c.browser.Receive(arriving[i])
			arriving = append(arriving[:i], arriving[i+1:]...)
		case what == 9:
			c.happen(take(4))
		}
		c.lookForTheDead()
	}
	for _, f := range flights {
		f.Land()
		c.lookForTheDead()
	}
	c.RevokeUser("ada")
	for _, r := range c.Live() {
		require.NotEqual(c.T, "ada", r.User, "nothing is in flight any more, so a revocation reaches all there is")
	}
}

// checkAnswer: a request is answered as its handler meant, or with 409 and no cookie.
func (c *traffic) checkAnswer(r racer, resp *http.Response) {
	if resp.StatusCode == http.StatusConflict {
		require.True(c.T, r.sets, "%s has nothing to lose", r.name)
		require.Empty(c.T, resp.Cookies())
		return
	}
	require.Equal(c.T, http.StatusOK, resp.StatusCode, "%s", r.name)
}

// happen is what comes from elsewhere.
func (c *traffic) happen(what int) {
	switch what {
	case 0:
		c.RevokeUser("ada")
	case 1:
		c.Clock.Advance(10 * time.Minute) // a touch is due
	case 2:
		c.Clock.Advance(time.Hour) // and all that was not used is over
	case 3:
		c.browser.Receive(c.Request(0, c.browser.Cookie, kit.Act(kit.LoginAda)))
	}
}

// lookForTheDead requires that what has ended stays so.
func (c *traffic) lookForTheDead() {
	live := c.Live()
	for id := range live {
		require.False(c.T, c.ended[id], "%s is back", id)
		c.open[id] = true
	}
	for id := range c.open {
		if live[id] == nil {
			delete(c.open, id)
			c.ended[id] = true
		}
	}
}

// What Save put into the header is not sent if the session ended since: the answer of 409 has no cookie.
func TestGuarantee02_EndedAfterASave(t *testing.T) {
	kit.EachStore(t, session.Config{}, func(app *kit.App) {
		for _, begin := range []func(*session.Session){kit.Regenerate, kit.LoginAda} {
			resp := app.Do(app.Login("ada"), func(s *session.Session) {
				begin(s)
				require.NoError(app.T, s.Save(context.Background()))
				app.RevokeUser("ada")
				s.Set("new", 1)
			})
			require.Equal(app.T, http.StatusConflict, resp.StatusCode)
			require.Empty(app.T, resp.Cookies())
			require.Empty(app.T, app.Live())
		}
	})
}

// askedList calls meanwhile after it has answered about a session.
type askedList struct {
	*session.MemoryStore
	meanwhile atomic.Pointer[func()]
}

// Load implements session.Store.
func (l *askedList) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	r, err := l.MemoryStore.Load(ctx, token)
	if f := l.meanwhile.Swap(nil); f != nil {
		(*f)()
	}
	return r, err
}

// A revocation that comes after the commit's look at the list ends the session under its new id too.
func TestGuarantee02_RevokedWhileARegenerateIsSaved(t *testing.T) {
	list := &askedList{MemoryStore: session.NewMemoryStore()}
	app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne).WithRevocations(list))
	b := app.BrowserWith(app.Login("ada"))
	app.Clock.Advance(time.Minute)
	b.Receive(app.Do(b.Cookie, func(s *session.Session) {
		kit.Regenerate(s)
		revoke := func() { app.RevokeUser("ada") }
		list.meanwhile.Store(&revoke)
	}))
	require.Nil(t, list.meanwhile.Load())
	require.True(t, app.Dead(b.Cookie))
}

// brief shows sessions as if they ended in half an hour, as a decorator may.
type brief struct{ *session.CookieStore }

func (b brief) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	r, err := b.CookieStore.Load(ctx, token)
	if err != nil || r.Ended {
		return r, err
	}
	shown := *r
	shown.Deadline = session.Now(ctx).Add(30 * time.Minute)
	return &shown, nil
}

// An ID stays on the list as long as the cookie is good, whatever deadline a decorator of the store shows.
func TestGuarantee02_SealedAndShownWithAnotherDeadline(t *testing.T) {
	app := kit.New(t, session.Config{IdleTimeout: -1}, brief{kit.SealedWithList(t)})
	cookie := app.Login("ada")
	require.Equal(t, http.StatusOK, app.Do(cookie, kit.Logout).StatusCode)
	app.Clock.Advance(23 * time.Hour)
	for range 3 { // others who sign out sweep the list
		require.Equal(t, http.StatusOK, app.Do(app.Login("grace"), kit.Logout).StatusCode)
	}
	require.True(t, app.Dead(cookie))
}

// An ID stays on the list as long as any cookie of it is good, also where SetLifetime has brought the deadline forward.
func TestGuarantee02_SealedWithSeveralDeadlines(t *testing.T) {
	for name, end := range map[string]func(*session.Session) error{
		"Destroy":    (*session.Session).Destroy,
		"Regenerate": (*session.Session).Regenerate,
		"Login":      func(s *session.Session) error { return s.Login("ada") },
		"a note, and Destroy": func(s *session.Session) error {
			s.SetNote("phone")
			return errors.Join(s.Save(context.Background()), s.Destroy())
		},
		"an hour more, and Destroy": func(s *session.Session) error {
			s.SetLifetime(-1, 2*time.Hour)
			return errors.Join(s.Save(context.Background()), s.Destroy())
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := kit.New(t, session.Config{IdleTimeout: -1}, kit.SealedWithList(t)).Browser()
			v.SignIn("ada")
			copied := v.Copy() // good for a day
			v.Must(func(s *session.Session) { s.SetLifetime(-1, time.Hour) })
			v.Must(func(s *session.Session) { require.NoError(t, end(s)) })
			require.True(t, copied.SignedOut())
			v.App.Clock.Advance(23 * time.Hour)
			for range 3 { // others who sign out sweep the list
				other := v.App.Browser()
				other.SignIn("grace")
				other.Must(func(s *session.Session) { require.NoError(t, s.Destroy()) })
			}
			require.True(t, copied.SignedOut())
		})
	}
}
