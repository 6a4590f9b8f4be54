package session_test

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session"
	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a program may meet, and no guarantee is about.

func TestMiddleware_ManagersStacked(t *testing.T) {
	outer, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	inner, err := session.New(session.NewMemoryStore(), session.Config{Name: "__Host-admin"})
	require.NoError(t, err)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Same(t, session.FromContext(r.Context()), inner.Session(r.Context()))
		require.NotSame(t, outer.Session(r.Context()), inner.Session(r.Context()))
		outer.Session(r.Context()).Set("k", 1)
		inner.Session(r.Context()).Set("k", 2)
	})
	rec := httptest.NewRecorder()
	// The third one is the first again, and steps aside.
	outer.Middleware(inner.Middleware(outer.Middleware(h))).ServeHTTP(rec, fresh("/"))
	var names []string
	for _, c := range rec.Result().Cookies() {
		names = append(names, c.Name)
	}
	require.ElementsMatch(t, []string{"__Host-session", "__Host-admin"}, names)
}

func TestMiddleware_MissingIsSaid(t *testing.T) {
	m, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	ctx := context.Background()
	require.PanicsWithValue(t, "session: no session in the context; wrap the handler in Manager.Middleware, or use session.NewContext in a test", func() { session.FromContext(ctx) })
	require.PanicsWithValue(t, "session: no session of this Manager in the context; wrap the handler in Manager.Middleware", func() { m.Session(ctx) })
	_, ok := session.Lookup(ctx)
	require.False(t, ok)
	var zero session.Session
	require.Same(t, &zero, m.Session(session.NewContext(ctx, &zero)), "a test's session does for any Manager")
}

func TestMiddleware_WarnsOnceOfACookieThatBrowsersDrop(t *testing.T) {
	for _, c := range []struct {
		url, header string
		tls, warned bool
	}{
		{"http://example.test/", "", false, true}, {"http://example.test:8080/", "", false, true}, {"http://192.0.2.1/", "", false, true},
		{"http://localhost/", "", false, false}, {"http://app.localhost:8080/", "", false, false}, {"http://127.0.0.1:8080/", "", false, false},
		{"http://[::1]/", "", false, false}, {"http://[::1]:8080/", "", false, false},
		{"http://example.test/", "X-Forwarded-Proto", false, false}, {"http://example.test/", "Forwarded", false, false}, {"https://example.test/", "", true, false},
	} {
		s := newSite(t, session.NewMemoryStore(), session.Config{})
		for range 2 {
			r := httptest.NewRequest("GET", c.url, nil)
			if r.TLS = nil; c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if c.header != "" {
				r.Header.Set(c.header, "https")
			}
			set := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { session.FromContext(r.Context()).Set("k", 1) })
			s.handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), visitKey{}, set)))
		}
		require.Equal(t, map[bool]int{true: 1}[c.warned], strings.Count(s.log(), "browsers will drop it"), "%+v", c)
	}
}

// A client that hangs up during the load is no store error: nobody is told, and nothing is committed.
func TestLoad_AClientThatHangsUp(t *testing.T) {
	store := &stuckStore{MemoryStore: session.NewMemoryStore()}
	w := newWorld(t, session.Config{}, store)
	cookie := w.login("ada")
	w.takeEvents()
	store.stuck.Store(true)
	ctx, hangUp := context.WithCancel(context.Background())
	hangUp()
	resp := w.requestWith(ctx, 0, cookie, act(func(s *session.Session) { require.Error(t, s.Err()); s.Set("new", 1) }))
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, bodyOf(resp))
	require.Empty(t, w.takeEvents())
	require.Empty(t, w.log())
}

// A request's own deadline, if it is the earlier one, bounds the load.
func TestLoad_ARequestsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stuckStore{MemoryStore: session.NewMemoryStore()}
		w := newWorld(t, session.Config{}, store)
		cookie := w.login("ada")
		store.stuck.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := time.Now()
		require.Equal(t, http.StatusServiceUnavailable, w.requestWith(ctx, 0, cookie, act(func(*session.Session) {})).StatusCode)
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// The session is not good any more and could not be ended: the request fails, and the next one asks again.
func TestRevalidate_AnEndThatCannotBeDone(t *testing.T) {
	var verdict error
	w, store := brokenWorld(t, session.Config{Revalidate: func(context.Context, *session.Session) error { return verdict }})
	cookie := w.login("ada")
	verdict, store.delete = session.ErrSessionEnded, errDown
	resp := w.do(cookie, func(s *session.Session) { require.Empty(t, s.User()); require.ErrorIs(t, s.Login("grace"), errDown) })
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Cookies())
	store.delete = nil
	require.True(t, w.dead(cookie))
	verdict = nil
	require.True(t, w.dead(cookie))
}

// A touch that fails loses nothing of the user's: it is told of, and the response is the handler's.
func TestTouch_AFailureIsToldAndTheAnswerIsTheHandlers(t *testing.T) {
	w, store := brokenWorld(t, session.Config{})
	cookie := w.login("ada")
	w.clock.advance(10 * time.Minute)
	w.takeEvents()
	store.save = errDown
	resp := w.do(cookie, func(*session.Session) {})
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "the handler's", bodyOf(resp))
	events := w.takeEvents()
	require.Len(t, events, 1)
	require.Equal(t, session.EventStoreError, events[0].Kind)
	require.Contains(t, w.log(), "the store failed")
}

// An Update that is made again on a newer value, and makes something that can't be stored of it.
func TestUpdate_OfANewerValueThatFails(t *testing.T) {
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	cookie := w.login("ada")
	inverse := func(s *session.Session) {
		session.Key[float64]("n").Update(s, func(v float64) float64 { return math.Log(1 - v) })
	}
	late, _ := w.overtaken(cookie, inverse, func(s *session.Session) { s.Set("n", 1.0) })
	require.Equal(t, http.StatusInternalServerError, late.StatusCode, "the store is not to blame")
	require.Equal(t, 1.0, value[float64](w, cookie, "n"))
	for _, e := range w.takeEvents() {
		require.NotEqual(t, session.EventStoreError, e.Kind)
	}
}

// The other changes of a request stay what they are when its Updates are made again.
func TestUpdate_BesideASet(t *testing.T) {
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	cookie := w.login("ada")
	up := func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) }
	w.overtaken(cookie, func(s *session.Session) { up(s); s.Set("new", 1); s.Delete("cart") }, up)
	require.Equal(t, 2, value[int](w, cookie, "counter"))
	require.Equal(t, []string{"counter", "new"}, w.look(cookie).keys)
}

// quarrelling is a store where somebody else is always quicker.
type quarrelling struct{ *session.MemoryStore }

func (q quarrelling) Save(ctx context.Context, token session.Token, c *session.Change) (session.Token, error) {
	if len(c.Expect) == 0 {
		return q.MemoryStore.Save(ctx, token, c)
	}
	time.Sleep(time.Millisecond) // on the bubble's clock
	return session.Token{}, &session.ConflictError{Current: c.Base}
}

func TestUpdate_GivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, session.Config{StoreTimeout: time.Second}, quarrelling{session.NewMemoryStore()})
		cookie := w.login("ada")
		begun := time.Now()
		var all sync.WaitGroup
		for range 3 { // one tries, and the others wait for their turn
			all.Go(func() {
				resp := w.do(cookie, func(s *session.Session) { counter.Update(s, func(i int) int { return i + 1 }) })
				assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			})
		}
		all.Wait()
		require.Less(t, time.Since(begun), time.Second+10*time.Millisecond) // the store takes its time
	})
}

// A sealed cookie carries the values, so that a connection can't be taken over with a value still to be sent.
func TestGuarantee08_HijackWithASealedValueToSend(t *testing.T) {
	manager, err := session.New(cookieStore(t, secretOne), session.Config{Logger: quietSlog()})
	require.NoError(t, err)
	app := &streamApp{Manager: manager}
	site := newStreamSite(t, app.handle(setting(func(w http.ResponseWriter, _ *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		require.ErrorContains(t, err, "cookie still to be sent")
		write(w, nil)
	})), 1)
	site.get("/seed")
	response, body := site.get("/")
	require.Equal(t, "ok", body)
	requireSessionCookie(t, response.Header)
	_, kept := site.get("/read")
	require.Equal(t, "[cart seed]", kept)
}

// The list is asked about a new session too: it must be issued after its user's sessions were ended.
func TestGuarantee05_ALoginWithAListThatCannotBeReached(t *testing.T) {
	list := &brokenList{session.NewMemoryRevocations(), errDown}
	w := newWorld(t, session.Config{}, cookieStore(t, worldSecret).WithRevocations(list))
	resp := w.do("", login)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, resp.Cookies())
}

func TestRevocations_AnEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	list := session.NewMemoryRevocations()
	_, err := list.Status(ctx, "ada", "id", time.Now())
	for _, err := range []error{err, list.EndSession(ctx, "ada", "id", time.Now()), list.EndUser(ctx, "ada", time.Now(), nil, time.Now())} {
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestSave_WithoutAManagerAndWithAnEndedContext(t *testing.T) {
	var zero session.Session
	zero.Set("k", 1)
	require.NoError(t, zero.Save(context.Background()))
	zero.Set("bad", func() {})
	require.ErrorContains(t, zero.Save(context.Background()), `"bad"`)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	store := &countingStore{Store: session.NewMemoryStore()}
	newSite(t, store, session.Config{}).visitor().must(func(s *session.Session) {
		s.Set("k", 1)
		require.ErrorIs(t, s.Save(ctx), context.Canceled)
		require.Zero(t, store.saves.Load(), "it was not begun")
	})
	require.EqualValues(t, 1, store.saves.Load())
}

func TestUsers_AStoreThatCannotRevoke(t *testing.T) {
	m, err := session.New(&countingStore{Store: session.NewMemoryStore()}, session.Config{})
	require.NoError(t, err)
	require.ErrorIs(t, m.Revoke(context.Background(), "ada", "id"), errors.ErrUnsupported)
}

// What is left of a value that another program wrote is refused as a whole.
func TestGuarantee12_AValueFollowedByOther(t *testing.T) {
	w := newWorld(t, session.Config{}, session.NewMemoryStore())
	cookie := w.login("ada")
	record := *w.live()[w.look(cookie).id]
	record.Values = map[string]json.RawMessage{"cart": json.RawMessage(`"tea" "coffee"`)}
	w.nodes[0].store.swap(&swappedStore{MemoryStore: session.NewMemoryStore(), record: &record})
	w.do(cookie, func(s *session.Session) {
		v := any("as it was")
		require.False(t, s.Get("cart", &v))
		require.Equal(t, "as it was", v)
		require.ErrorContains(t, s.Err(), "followed by other data")
	})
}

func TestKey_Delete(t *testing.T) {
	v := newSite(t, session.NewMemoryStore(), session.Config{}).visitor()
	v.must(func(s *session.Session) { counter.Set(s, 7); s.Set("other", 1) })
	v.must(func(s *session.Session) { counter.Delete(s) })
	require.Equal(t, []string{"other"}, sortedKeys(v))
}

func TestMemoryStore_LenCountsTombstonesUntilTheyAreSwept(t *testing.T) {
	store := session.NewMemoryStore()
	v := newSite(t, store, session.Config{}).visitor()
	v.signIn("ada")
	require.Equal(t, 1, store.Len())
	v.must(regenerate)
	require.Equal(t, 2, store.Len())
	v.site.clock.move(2 * time.Minute)
	for range 3 {
		v.must(func(s *session.Session) { s.Set("k", 1) })
	}
	require.Equal(t, 1, store.Len())
}

// A Session that is printed while it loads, or by what it calls, says that it is one and does not wait for itself.
func TestSession_PrintedWhileItLoads(t *testing.T) {
	var printed string
	store := &printing{Store: session.NewMemoryStore()}
	v := newSite(t, store, session.Config{}).visitor()
	v.signIn("ada")
	store.print = func(ctx context.Context) { printed = session.FromContext(ctx).LogValue().String() }
	v.must(func(s *session.Session) { s.Keys() })
	require.Equal(t, "session", printed)
}

type printing struct {
	session.Store
	print func(context.Context)
}

func (p *printing) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	p.print(ctx)
	return p.Store.Load(ctx, token)
}

// The errors say in words what happened, for a log.
func TestErrors_InWords(t *testing.T) {
	now := time.Now()
	require.EqualError(t, (&session.Record{ID: "x", Used: now, Deadline: now}).Live(now), "session: not found: past its absolute limit")
	require.EqualError(t, (&session.Record{ID: "x", Used: now, Idle: 1, Deadline: now.Add(2)}).Live(now.Add(1)), "session: not found: past its idle limit")
	require.EqualError(t, &session.ConflictError{}, "session: a value was changed by another request")
	require.Empty(t, session.NewToken("id", "value").Cookie(), "no Manager made it")
}

// After a release was taken back, a cookie may hold what only the later one reads: it is nobody's, and told of as that.
func TestGuarantee13_ASealedContainerOfALaterVersion(t *testing.T) {
	key := func(purpose string) []byte {
		return must(hkdf.Key(sha256.New, worldSecret, nil, "session sealed v1 "+purpose, 32))
	}
	codec := securecookie.New(key("hash"), key("block")).SetSerializer(securecookie.NopEncoder{}).MaxAge(0)
	later, err := codec.Encode("__Host-session", []byte("\x7f and what is not known yet"))
	require.NoError(t, err)
	w := newWorld(t, session.Config{}, cookieStore(t, worldSecret))
	require.True(t, w.dead(checked(w.name, later)))
	events := w.takeEvents()
	require.Len(t, events, 1)
	require.Equal(t, "unreadable", events[0].Reason)
	require.Contains(t, w.log(), "can't be read")
}
