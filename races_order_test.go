package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

// Requests in every order: what a browser sends, what the server has done when, and what arrives when.

// TestGuarantee02_AnyOrder has several requests of one browser in flight at once, on all processes, that land and arrive
// in any order, while their sessions end: an id that has ended once never opens anything again.
func TestGuarantee02_AnyOrder(t *testing.T) {
	for _, b := range append(memoryBackings(t), redisBackings(t)...) {
		for seed := range uint64(10) {
			t.Run(fmt.Sprint(b.name, "/", seed), func(t *testing.T) {
				c := &traffic{world: b.world(t, session.Config{}), rand: rand.New(rand.NewPCG(seed, 1))}
				c.open, c.ended = map[string]bool{}, map[string]bool{}
				c.run()
			})
		}
	}
}

// traffic is one browser's requests and responses on their ways.
type traffic struct {
	*world
	rand    *rand.Rand
	open    map[string]bool // the ids that opened something when last looked
	ended   map[string]bool // and those that did once, and do not any more
	browser browser
}

func (c *traffic) run() {
	c.browser = browser{name: c.name}
	c.browser.receive(c.do("", login))
	type sent struct {
		*flight
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
			if r.name == "Update" {
				at = "handler" // held at its save, it would hold the session's other Updates up too
			}
			f, _ := c.send(take(len(c.nodes)), c.browser.cookie, at, act(r.do))
			flights = append(flights, sent{f, r})
		case what < 7 && len(flights) > 0:
			i := take(len(flights))
			resp := flights[i].land()
			c.checkAnswer(flights[i].racer, resp)
			flights = append(flights[:i], flights[i+1:]...)
			arriving = append(arriving, resp)
		case what < 9 && len(arriving) > 0:
			i := take(len(arriving))
			c.browser.receive(arriving[i])
			arriving = append(arriving[:i], arriving[i+1:]...)
		case what == 9:
			c.happen(take(4))
		}
		c.lookForTheDead()
	}
	for _, f := range flights {
		f.land()
		c.lookForTheDead()
	}
	_, err := c.last().manager.RevokeUser(context.Background(), "ada")
	require.NoError(c.t, err)
	for _, r := range c.live() {
		require.NotEqual(c.t, "ada", r.User, "nothing is in flight any more, so a revocation reaches all there is")
	}
}

// checkAnswer: a request is answered as its handler meant, or with 409 and no cookie.
func (c *traffic) checkAnswer(r racer, resp *http.Response) {
	if resp.StatusCode == http.StatusConflict {
		require.True(c.t, r.sets, "%s has nothing to lose", r.name)
		require.Empty(c.t, resp.Cookies())
		return
	}
	require.Equal(c.t, http.StatusOK, resp.StatusCode, "%s", r.name)
}

// happen is what comes from elsewhere.
func (c *traffic) happen(what int) {
	switch what {
	case 0:
		_, err := c.last().manager.RevokeUser(context.Background(), "ada")
		require.NoError(c.t, err)
	case 1:
		c.clock.advance(10 * time.Minute) // a touch is due
	case 2:
		c.clock.advance(time.Hour) // and all that was not used is over
	case 3:
		c.browser.receive(c.request(0, c.browser.cookie, act(login)))
	}
}

// lookForTheDead requires that what has ended stays so.
func (c *traffic) lookForTheDead() {
	live := c.live()
	for id := range live {
		require.False(c.t, c.ended[id], "%s is back", id)
		c.open[id] = true
	}
	for id := range c.open {
		if live[id] == nil {
			delete(c.open, id)
			c.ended[id] = true
		}
	}
}

// A response that is on its way while another request changes the id arrives last: the browser stays where it is, for
// the response has no cookie. Of sealed cookies it does not hold, since a use of one may seal it again.
func TestGuarantee04_AnsweredBeforeArrivedAfter(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		_, sealed := w.nodes[0].store.store().(unlisted)
		for _, next := range []func(*session.Session){regenerate, login} {
			for _, r := range racers() {
				if r.name == "Regenerate" || r.name == "Login" || r.name == "Destroy" {
					continue // these were what changed the id, and first
				}
				b := browser{w.name, w.login("ada")}
				if r.touch {
					w.clock.advance(10 * time.Minute)
				}
				answered := w.do(b.cookie, r.do)
				b.receive(w.request(len(w.nodes)-1, b.cookie, act(next)))
				b.receive(answered)
				if sealed && len(answered.Cookies()) > 0 {
					require.True(w.t, w.dead(b.cookie), "documented: signed out, and not back in the session that ended")
					continue
				}
				require.Empty(w.t, answered.Cookies(), r.name)
				require.Equal(w.t, "ada", w.user(b.cookie), r.name)
			}
		}
	})
}

// What a response with a cookie does that arrives after the one with the new id is documented: the browser is signed out.
func TestGuarantee04_AnsweredBeforeArrivedAfter_AsDocumented(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		b := browser{w.name, w.login("ada")}
		answered := w.do(b.cookie, func(s *session.Session) { s.SetPersistent(true) })
		require.Len(w.t, answered.Cookies(), 1)
		b.receive(w.request(len(w.nodes)-1, b.cookie, act(regenerate)))
		b.receive(answered)
		require.True(w.t, w.dead(b.cookie))
	})
}

// What Save put into the header is not sent if the session ended since: the answer of 409 has no cookie.
func TestGuarantee02_EndedAfterASave(t *testing.T) {
	eachStore(t, session.Config{}, func(w *world) {
		for _, begin := range []func(*session.Session){regenerate, login} {
			resp := w.do(w.login("ada"), func(s *session.Session) {
				begin(s)
				require.NoError(w.t, s.Save(context.Background()))
				_, err := w.last().manager.RevokeUser(context.Background(), "ada")
				require.NoError(w.t, err)
				s.Set("new", 1)
			})
			require.Equal(w.t, http.StatusConflict, resp.StatusCode)
			require.Empty(w.t, resp.Cookies())
			require.Empty(w.t, w.live())
		}
	})
}
