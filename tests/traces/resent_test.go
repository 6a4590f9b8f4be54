package traces_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// resend has the first call of one kind made twice, as a database's client does when an answer is lost; what comes between
// is another process's.
func resend(store *kit.Store, op sessiontest.Op, between func()) {
	var once sync.Once
	store.Intercept(func(_ context.Context, asked sessiontest.Op, call func() error) error {
		err := call()
		if asked == op {
			once.Do(func() {
				between()
				err = call()
			})
		}
		return err
	})
}

// A write that the client sends again, after another process has written, counts once: its revision is among the latest.
func TestResent_AWriteCountsOnce(t *testing.T) {
	each(t, backings(), session.Config{}, func(t *testing.T, app *kit.App, _ backing) {
		cookie := app.Login("ada")
		resend(app.Store(), sessiontest.Swap, func() { app.Request(1, cookie, countUp) })
		require.Equal(t, http.StatusOK, app.Request(0, cookie, countUp).StatusCode)
		require.Equal(t, 2, counted(app, cookie))
	})
}

// An End that is sent again meets its own tombstone, and what it replaced is not known any more. A Login then keeps what it
// met just before; a Regenerate fails as the store's failure, and is never told that its session has ended.
func TestResent_AnEndKeepsWhatIsKnown(t *testing.T) {
	change := func(app *kit.App, cookie string, do func(*session.Session)) (*http.Response, *kit.Browser) {
		b := app.BrowserWith(cookie)
		resp := app.Request(0, cookie, kit.Act(func(s *session.Session) {
			s.Has("loads it")
			app.Request(1, cookie, countUp) // so that there is a conflict
			do(s)
		}))
		b.Receive(resp)
		return resp, b
	}
	for _, b := range backings() {
		if !b.ends {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			store := b.open(t)
			app := kit.New(t, session.Config{}, store, store)
			cookie := app.Login("ada")
			resend(app.Store(), sessiontest.End, func() {})
			resp, browser := change(app, cookie, func(s *session.Session) { _ = s.Login("ada", "cart") })
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, []string{"cart"}, app.Look(browser.Cookie).Keys)

			cookie = app.Login("ada")
			resend(app.Store(), sessiontest.End, func() {})
			resp, _ = change(app, cookie, kit.Regenerate)
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.Empty(t, resp.Cookies())
		})
	}
}

// One swap that takes more than half of everybody's time does not make them all go by themselves: they go on together.
func TestGroup_GoesAheadOfASlowSwap(t *testing.T) {
	for _, slow := range []time.Duration{groupTimeout * 55 / 100, groupTimeout * 9 / 10} {
		inGroup(t, func(t *testing.T, g *group) {
			g.onSwap(map[int]kit.Hook{1: after(slow)})
			g.beginMany("many", 100)
			g.requests.Wait()
			require.Equal(t, 100, g.with(http.StatusOK))
			require.Equal(t, 100, counted(g.App, g.cookie))
			require.LessOrEqual(t, g.Store().Count(sessiontest.Swap), 10)
		})
	}
}
