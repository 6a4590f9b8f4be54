package binding_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
)

// A request with a proof asks the store for no more than one of a session that is not bound. A renewal loads once and
// writes once; the question for a challenge writes nothing.
func TestBindingCost_CallsOfTheStore(t *testing.T) {
	eachStore(t, func(t *testing.T, app *kit.App) {
		d := newDevice(t, app).signIn("ada")
		app.Clock.Advance(grace)
		calls := func(do func()) [2]int {
			app.Store().ForgetCalls()
			do()
			require.Equal(t, app.Store().Count(sessiontest.Load)+app.Store().Count(sessiontest.Swap), app.Store().Count())
			return [2]int{app.Store().Count(sessiontest.Load), app.Store().Count(sessiontest.Swap)}
		}
		require.Equal(t, [2]int{0, 0}, calls(func() { d.send(d.request("GET", "/"), func(http.ResponseWriter, *http.Request, *session.Session) {}) }))
		require.Equal(t, [2]int{1, 0}, calls(func() { require.Equal(t, owned, d.bareLook()) }))
		require.Equal(t, [2]int{1, 1}, calls(func() {
			d.send(d.request("POST", "/"), kit.Act(func(s *session.Session) { s.Set("cart", "tea") }))
		}))
		require.Equal(t, [2]int{1, 0}, calls(func() { d.send(d.renewalRequest(""), nil) }))
		require.Equal(t, [2]int{1, 1}, calls(func() { d.renew() }))
		app.Clock.Advance(proofLife)
		require.Equal(t, [2]int{1, 1}, calls(func() { d.renew() }), "its use is noted in the same write")
		app.Clock.Advance(proofLife)
		thief := d.copy()
		require.Equal(t, [2]int{1, 0}, calls(func() { require.Equal(t, seen{}, thief.bareLook()) }))
	})
}

// discard is a ResponseWriter that costs nothing itself.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// readRequest returns a function that makes one read with the device's cookies.
func readRequest(tb testing.TB, manager *session.Manager, user string, cookies map[string]cookie) func() {
	handler := manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if session.FromContext(r.Context()).User() != user {
			tb.Error("not signed in")
		}
		_, _ = w.Write(nil)
	}))
	r := httptest.NewRequest("GET", site+"/", nil)
	for name, c := range cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: c.value})
	}
	w := &discard{http.Header{}}
	return func() {
		clear(w.header)
		handler.ServeHTTP(w, r)
	}
}

// costApps are a session that is bound and one that is not, of one store.
func costApps(tb testing.TB, store session.Store) map[string]func() {
	reads := map[string]func(){}
	for name, cfg := range map[string]session.Config{"unbound": {}, "bound": config} {
		app := kit.New(tb, cfg, store)
		d := newDevice(tb, app)
		resp := d.send(d.request("POST", "/"), kit.Act(kit.LoginAda))
		if name == "bound" {
			require.Equal(tb, http.StatusOK, d.takeOffer(resp).StatusCode)
		}
		app.Clock.Advance(grace)
		reads[name] = readRequest(tb, app.Manager(), "ada", d.cookies)
	}
	return reads
}

// maxMore is how many allocations more a request with a proof may make: the MAC's.
const maxMore = 9

func TestBindingCost_Allocations(t *testing.T) {
	for name, store := range kit.ValueStores(t) {
		if name == "redis" {
			continue // its clients allocate as they please
		}
		reads := costApps(t, store)
		unbound, bound := testing.AllocsPerRun(200, reads["unbound"]), testing.AllocsPerRun(200, reads["bound"])
		t.Logf("%s: %v allocations unbound, %v bound", name, unbound, bound)
		require.LessOrEqual(t, bound-unbound, float64(maxMore), name)
	}
}

func BenchmarkBinding(b *testing.B) {
	for name, store := range kit.ValueStores(b) {
		for kind, read := range costApps(b, store) {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					read()
				}
			})
		}
	}
}
