//go:build !noservers

package guarantees_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

func TestGuarantee02_NoResurrection_Redis(t *testing.T) {
	for _, b := range kit.ServerBackings(t) {
		raceAll(t, b)
	}
}

// A client that is no *redis.Client takes the way of a cluster: the old and the new ID are written one after the other.
func TestGuarantee02_NoResurrection_RedisAcross(t *testing.T) {
	server := redistest.Start(t)
	client := kit.Across{UniversalClient: kit.RedisClient(t, server)}
	stores := func() []session.Store {
		return []session.Store{kit.RedisOn(t, client, session.RedisOptions{})}
	}
	raceAll(t, kit.Backing{Name: "redis, several slots", Stores: stores, Flush: func(app *kit.App) {
		require.NoError(app.T, client.FlushAll(context.Background()).Err())
	}})
}

func TestGuarantee02_NoResurrection(t *testing.T) {
	for _, b := range kit.MemoryBackings(t) {
		raceAll(t, b)
	}
}

// raceAll races every request against every end of its session.
func raceAll(t *testing.T, b kit.Backing) {
	for _, e := range enders(b) {
		for _, r := range racers() {
			for _, at := range r.at {
				if at == "swap" && strings.HasSuffix(e.name, "expiry") {
					continue // no call of a store takes as long as that
				}
				t.Run(fmt.Sprintf("%s/%s/%s held at its %s", b.Name, e.name, r.name, at), func(t *testing.T) {
					race(b.New(t, session.Config{}), b, e, r, at)
				})
			}
		}
	}
}

func race(app *kit.App, b kit.Backing, e ender, r racer, at string) {
	old := app.Login("ada")
	id := app.Look(old).ID
	if r.touch {
		app.Clock.Advance(10 * time.Minute)
	}
	f := app.Launch(0, old, at, kit.Act(r.do))
	ended := e.run(app, old, id)
	late := f.Land()

	checkLate(app, e, r, late)
	after := app.BrowserWith(old)
	if ended != nil {
		after.Receive(ended)
	}
	kept := after.Cookie
	after.Receive(late)
	checkBrowser(app, e, r, kept, after.Cookie)
	require.True(app.T, app.Dead(old), "the old cookie must open nothing")
	require.Len(app.T, app.Live(), liveAfter(e, r), "sessions left")
	other := app.BrowserWith(old)
	if other.Receive(late); ended != nil {
		other.Receive(ended)
	}
	require.Equal(app.T, lateFirst(e, r), app.User(other.Cookie) == "ada", "arriving in the other order")
	if ended != nil && len(late.Cookies()) == 0 {
		require.Equal(app.T, kept, other.Cookie)
	}
}

// isTakenFurther reports whether a logout that comes after it has something left to do: the session went on under a new ID,
// or nobody has told the browser that it is over.
func (e ender) isTakenFurther() bool {
	return e.name == "regenerate" || e.name == "FLUSHALL" || strings.HasSuffix(e.name, "expiry")
}

// lateFirst reports whether the browser is signed in if the response that was overtaken arrives first.
func lateFirst(e ender, r racer) bool {
	switch e.name {
	case "logout": // the cookie is gone, also a new login's: it fails to the safe side
		return false
	case "regenerate":
		return r.name != "Destroy" && r.name != "Login" // what was signed out, or signed in anew, is over, whatever cookie comes last
	case "login": // it is a session of its own
		return true
	}
	return r.name == "Login"
}

// checkLate checks the response of the request that was overtaken.
func checkLate(app *kit.App, e ender, r racer, late *http.Response) {
	status, cookies, body := http.StatusOK, 0, "the handler's"
	if r.sets {
		status, body = http.StatusConflict, "Conflict\n"
	}
	if r.name == "Login" || r.name == "Destroy" && e.isTakenFurther() { // what the user asked for last
		cookies = 1
	}
	require.Equal(app.T, status, late.StatusCode)
	require.Equal(app.T, body, kit.Body(late))
	require.Len(app.T, late.Cookies(), cookies, "%v", late.Header)
}

// checkBrowser checks what the browser holds when the late response has come too.
func checkBrowser(app *kit.App, e ender, r racer, kept, now string) {
	switch r.name {
	case "Login":
		require.Equal(app.T, kit.Look{ID: app.Look(now).ID, User: "ada", Keys: nil}, app.Look(now), "always a new session, and empty")
		require.NotEqual(app.T, kept, now)
	case "Destroy":
		if e.isTakenFurther() {
			require.Empty(app.T, now)
			return
		}
		require.Equal(app.T, kept, now, "the session ended before, and the browser was told")
	default:
		require.Equal(app.T, kept, now, "a late response must not move the browser")
		if e.next {
			require.Equal(app.T, "ada", app.User(now))
		}
		if e.name == "regenerate" {
			require.Equal(app.T, []string{"cart"}, app.Look(now).Keys, "with its values, and no others")
		}
	}
}

// liveAfter returns how many sessions are to be left.
func liveAfter(e ender, r racer) (n int) {
	if e.next {
		n++
	}
	if r.name == "Login" {
		n++
	}
	if (r.name == "Destroy" || r.name == "Login") && e.name == "regenerate" { // they end the session under its new ID too
		n--
	}
	return n
}
