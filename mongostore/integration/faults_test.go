package integration_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
)

// load is what clients do while the server is killed, and what they were told.
type load struct {
	app             *kit.App
	cookie          string
	leavers         []string // cookies of users who sign out before the kill
	counted, failed atomic.Int64
	kept            sync.Map // keys that were set, as the answer said
}

const (
	clients   = 8
	perClient = 60
)

// run has one client make its requests. It calls half in the middle, and waits there until the server was killed.
func (l *load) run(i int, half func()) {
	if resp := l.app.Request(i%2, l.leavers[i], kit.Act(kit.Logout)); resp.StatusCode != http.StatusOK {
		l.app.T.Errorf("a logout was answered with %s", resp.Status)
	}
	for k := range perClient {
		if k == perClient/2 {
			half()
		}
		key := fmt.Sprintf("key%d.%d", i, k)
		resp := l.app.Request((i+k)%2, l.cookie, kit.Act(func(s *session.Session) { kit.CountUp(s); s.Set(key, true) }))
		switch resp.StatusCode {
		case http.StatusOK:
			l.counted.Add(1)
			l.kept.Store(key, true)
		case http.StatusServiceUnavailable:
			l.failed.Add(1)
		default:
			l.app.T.Errorf("a request was answered with %s", resp.Status)
		}
	}
}

// check looks into what the server has after all that.
func (l *load) check() {
	t := l.app.T
	keys := l.app.Look(l.cookie).Keys
	l.kept.Range(func(key, _ any) bool { require.Contains(t, keys, key); return true })
	n := int64(kit.Value[int](l.app, l.cookie, "counter"))
	require.GreaterOrEqual(t, n, l.counted.Load())
	require.LessOrEqual(t, n, l.counted.Load()+l.failed.Load(), "nothing counts twice")
	require.Len(t, keys, int(n)+2, "a change is made whole: there is one key for each count, and the cart and the counter")
	for _, leaver := range l.leavers {
		require.True(t, l.app.Dead(leaver))
	}
	require.Empty(t, l.app.Listed("grace"))
}

// The server is killed under load, and started again on what it had written. What was answered well is there, once; what
// had ended stays so.
func TestFault_KilledUnderLoad(t *testing.T) {
	own := startServer(t)
	collection := newCollection(t, connect(t, own.address))
	cfg := session.Config{StoreTimeout: time.Second, Logger: kit.QuietSlog()}
	l := &load{app: kit.New(t, cfg, newIndexedStore(t, collection), newStore(t, on(connect(t, own.address), collection)))}
	l.cookie = l.app.Login("ada")
	for range clients {
		l.leavers = append(l.leavers, l.app.Login("grace"))
	}
	var halfway, working sync.WaitGroup
	halfway.Add(clients)
	killed := make(chan struct{})
	for i := range clients {
		working.Go(func() {
			l.run(i, func() {
				halfway.Done()
				if i < clients/2 { // the others are in the middle of their requests when it is killed
					<-killed
				}
			})
		})
	}
	halfway.Wait()
	own.kill()
	close(killed)
	require.Eventually(t, func() bool { return l.failed.Load() >= clients }, 30*time.Second, time.Millisecond, "it was under load")
	require.NoError(t, own.start())
	working.Wait()
	b := l.app.BrowserWith(l.cookie)
	require.Eventually(t, func() bool { return b.Copy().Do(func(s *session.Session) { s.User() }).StatusCode == http.StatusOK },
		10*time.Second, 10*time.Millisecond, "service should be back")
	l.check()
	t.Logf("%d requests were answered well, %d failed", l.counted.Load(), l.failed.Load())
}

// faultyApp is an application whose only way to the server is a proxy that can do harm.
type faultyApp struct {
	*kit.App
	proxy *redistest.Proxy
}

func newFaultyApp(t *testing.T, timeout time.Duration) faultyApp {
	t.Helper()
	address := sharedServer(t).address
	proxy := redistest.ProxyTo(t, address)
	client := connect(t, proxy.Addr, options.Client().SetConnectTimeout(2*time.Second))
	collection := newCollection(t, connect(t, address))
	cfg := session.Config{StoreTimeout: timeout, Logger: kit.QuietSlog()}
	return faultyApp{kit.New(t, cfg, newIndexedStore(t, on(client, collection)), newStore(t, collection)), proxy}
}

// answerFaults are what happens to the answer to one change. The server has made it.
var answerFaults = map[string]redistest.Fault{"lost": redistest.LoseReply, "cut in the middle": redistest.Reset}

// The connection is cut before or in the middle of the answer to a change. It counts once, whatever the client is told, and
// also when it asks again.
func TestFault_AnAnswerIsLost(t *testing.T) {
	for name, fault := range answerFaults {
		t.Run(name, func(t *testing.T) {
			app := newFaultyApp(t, 10*time.Second)
			cookie := app.Login("ada")
			for i := range 5 {
				app.proxy.Once(fault, "update\x00")
				resp := app.Do(cookie, kit.CountUp)
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
				require.Equal(t, i+1, kit.Value[int](app.App, cookie, "counter"), "it was made, once")
			}
		})
	}
}

// A handler that saves, is told that the answer was lost, and saves again: the change counts once, and the answer is good.
func TestFault_AnAnswerIsLostAndTheHandlerSavesAgain(t *testing.T) {
	for name, fault := range answerFaults {
		t.Run(name, func(t *testing.T) {
			app := newFaultyApp(t, 10*time.Second)
			cookie := app.Login("ada")
			resp := app.Request(0, cookie, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				kit.CountUp(s)
				app.proxy.Once(fault, "update\x00")
				if err := s.Save(r.Context()); err == nil {
					t.Error("the answer was not lost")
				}
				if err := s.Save(r.Context()); err != nil {
					t.Error(err)
				}
				kit.WriteOK(w, r)
			})
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, 1, kit.Value[int](app.App, cookie, "counter"))
		})
	}
}

// The answer to an end is lost: the session has ended, and asking again does no harm.
func TestFault_TheAnswerToAnEndIsLost(t *testing.T) {
	for name, fault := range answerFaults {
		t.Run(name, func(t *testing.T) {
			app := newFaultyApp(t, 10*time.Second)
			cookie := app.Login("ada")
			app.proxy.Once(fault, "findAndModify\x00")
			resp := app.Do(cookie, kit.Logout)
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.True(t, app.Dead(cookie))
			require.Equal(t, http.StatusOK, app.Do(cookie, kit.Logout).StatusCode)
			require.Empty(t, app.Live())
			require.Empty(t, app.Listed("ada"))
		})
	}
}

// A new ID takes two changes. If the answer to the first is lost, nothing is open. If that to the second is lost, one session
// is, which nobody was sent, and which is the user's to end.
func TestFault_TheAnswerToHalfOfANewIDIsLost(t *testing.T) {
	for name, fault := range answerFaults {
		for what, do := range map[string]func(*session.Session){"regenerate": kit.Regenerate, "login": kit.LoginAda} {
			for left, text := range []string{"\bupsert\x00\x00", "\bupsert\x00\x01"} { // of the tombstone, of the new session
				t.Run(fmt.Sprintf("%s/%s/%d", name, what, left+1), func(t *testing.T) {
					app := newFaultyApp(t, 10*time.Second)
					old := app.Login("ada")
					app.proxy.Once(fault, text)
					resp := app.Do(old, do)
					require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
					require.Empty(t, resp.Cookies())
					require.True(t, app.Dead(old))
					require.Len(t, app.Live(), left)
					require.Len(t, app.Listed("ada"), left, "what is open is listed")
					app.RevokeUser("ada")
					require.Empty(t, app.Live())
				})
			}
		}
	}
}

// The server hangs: who uses a session is answered within StoreTimeout for each call, others at once; and when it is back,
// so is the service.
func TestFault_Hang(t *testing.T) {
	const timeout, grace = 500 * time.Millisecond, 500 * time.Millisecond
	app := newFaultyApp(t, timeout)
	cookie := app.Login("ada")
	app.proxy.Set(redistest.Hang)
	for name, do := range map[string]func(*session.Session){"read": func(s *session.Session) { s.User() }, "write": kit.CountUp} {
		watch := redistest.NewStopwatch()
		require.Equal(t, http.StatusServiceUnavailable, app.Do(cookie, do).StatusCode, name)
		require.Less(t, watch.Stop(), timeout+grace, name)
	}
	resp := app.Request(0, cookie, func(w http.ResponseWriter, r *http.Request, _ *session.Session) { kit.WriteOK(w, r) })
	require.Equal(t, http.StatusOK, resp.StatusCode, "a route that does not use the session")
	app.proxy.Set(redistest.Pass)
	require.Eventually(t, func() bool { return app.Do(cookie, kit.CountUp).StatusCode == http.StatusOK }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, kit.Value[int](app.App, cookie, "counter"))
}

// The server is there for the load and hangs at the commit: the answer comes in time, and is the error's.
func TestFault_HangAtTheCommit(t *testing.T) {
	const timeout, grace = 500 * time.Millisecond, 500 * time.Millisecond
	app := newFaultyApp(t, timeout)
	cookie := app.Login("ada")
	var watch *redistest.Stopwatch
	resp := app.Do(cookie, func(s *session.Session) {
		kit.CountUp(s)
		app.proxy.Set(redistest.Hang)
		watch = redistest.NewStopwatch()
	})
	require.Less(t, watch.Stop(), timeout+grace)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotContains(t, kit.Body(resp), "the handler's")
	app.proxy.Set(redistest.Pass)
}

// A document that was written by something else is a failed load: neither "not found" nor somebody's session.
func TestFault_DocumentsThatMakeNoSense(t *testing.T) {
	collection := newCollection(t, connect(t, sharedServer(t).address))
	store := newStore(t, collection)
	other := &session.Record{ID: "other", Revision: "1", User: "ada", Deadline: time.Now().Add(time.Hour)}
	data := must(other.MarshalBinary())
	id := bson.Binary{Data: []byte("id")}
	for name, field := range map[string]any{
		"no record": nil, "a text": "record", "no record's bytes": bson.Binary{Data: []byte{255, 1, 2}},
		"another session's": bson.Binary{Data: data},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := collection.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: id}},
				bson.D{{Key: "_id", Value: id}, {Key: "record", Value: field}}, options.Replace().SetUpsert(true))
			require.NoError(t, err)
			r, err := store.Load(t.Context(), session.NewToken("id", ""))
			require.Error(t, err)
			require.NotErrorIs(t, err, session.ErrNotFound)
			require.Nil(t, r)
		})
	}
}
