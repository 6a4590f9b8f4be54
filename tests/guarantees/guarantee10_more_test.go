package guarantees_test

import (
	"github.com/doorman-go/session/sessiontest"

	"github.com/doorman-go/session"

	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// forger is somebody's store whose tokens can't stand in a cookie.
type forger struct{ session.Store }

func (forger) Swap(_ context.Context, _ session.Token, swaps ...session.Swap) (session.Token, error) {
	return session.NewToken(swaps[0].New.ID, `a; Domain=evil.test "x"`), nil
}

func TestGuarantee10_ATokenThatCannotStandInACookie(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		resp := kit.New(t, session.Config{Persistent: persistent}, forger{session.NewMemoryStore()}).Browser().
			Do(func(s *session.Session) { s.Set("n", 1) })
		require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		require.Empty(t, resp.Header["Set-Cookie"])
	}
}

// Who stands outside may change the headers of one response, and only those.
func TestGuarantee10_HeadersAreOfOneResponse(t *testing.T) {
	manager, err := session.New(session.NewMemoryStore(), session.Config{})
	require.NoError(t, err)
	handler := manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("n", 1)
	}))
	for range 2 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "https://example.test/", nil))
		require.Equal(t, []string{"Cookie"}, w.Header()["Vary"])
		require.Equal(t, []string{"no-store"}, w.Header()["Cache-Control"])
		w.Header()["Vary"][0], w.Header()["Cache-Control"][0] = "Accept", "public"
	}
}

func TestGuarantee10_ExactlyTheBytesABrowserTakes(t *testing.T) {
	// With a realm of its own the name is no part of the sealed text, so it makes up what is wanted of the length.
	text := almostFull(t)
	probe := kit.New(t, session.Config{Name: "n", Realm: "one"}, kit.Sealed(t, kit.SecretOne)).Browser()
	probe.Must(func(s *session.Session) { s.Set("cart", text) })
	length := len(probe.Cookie)
	require.Greater(t, length, 4096-256)
	require.Less(t, length, 4096)
	for _, total := range []int{4095, 4096, 4097, 4098} {
		name := strings.Repeat("n", total-length)
		v := kit.New(t, session.Config{Name: name, Realm: "one"}, kit.Sealed(t, kit.SecretOne)).Browser()
		var saved, refused error
		v.App.Store().Intercept(func(_ context.Context, _ sessiontest.Op, call func() error) error {
			refused = call()
			return refused
		})
		resp := v.Do(func(s *session.Session) { s.Set("cart", text); saved = s.Save(t.Context()) })
		if total > 4096 {
			require.ErrorIs(t, saved, session.ErrCookieTooLarge, "%d", total)
			require.ErrorIs(t, refused, session.ErrCookieTooLarge, "the store itself says so, before anything is ended")
			require.Equal(t, http.StatusInternalServerError, resp.StatusCode, "%d", total)
			require.Empty(t, resp.Cookies())
			continue
		}
		require.NoError(t, saved, "%d", total)
		require.Equal(t, total, len(name)+len(v.Cookie))
		require.Equal(t, text, kit.Read[string](v, "cart"))
	}
}

// wide is somebody's store that keeps the session in the cookie, and has not heard of the limit.
type wide struct{ session.Store }

func (wide) Swap(_ context.Context, _ session.Token, swaps ...session.Swap) (session.Token, error) {
	r := swaps[0].New
	return session.NewToken(r.ID, strings.Repeat("w", int(r.Values.Get("k")[0]-'0')+4000)), nil
}

func TestGuarantee10_TooLargeByAnotherStore(t *testing.T) {
	// With the name and the checksum it is 4096 bytes for the digit 4.
	name := strings.Repeat("n", 4096-4004-len(".1234"))
	for digit, status := range map[int]int{3: http.StatusOK, 4: http.StatusOK, 5: http.StatusInternalServerError, 6: http.StatusInternalServerError} {
		resp := kit.New(t, session.Config{Name: name}, wide{session.NewMemoryStore()}).Browser().Do(func(s *session.Session) { s.Set("k", digit) })
		require.Equal(t, status, resp.StatusCode, "%d", digit)
		require.Equal(t, status == http.StatusOK, len(resp.Cookies()) == 1)
	}
}

func TestGuarantee10_TooLargeLeavesNothing(t *testing.T) {
	for kind, construct := range kit.CookieStores {
		store, _ := construct(kit.SecretOne)
		var told error
		app := kit.New(t, session.Config{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			told = err
			http.Error(w, "the error page", http.StatusInternalServerError)
		}}, store)
		v := app.Browser()
		v.SignIn("ada")
		before := v.Cookie
		resp := v.Visit(func(w http.ResponseWriter, r *http.Request) {
			session.FromContext(r.Context()).Set("k", strings.Repeat("x", 5<<10))
			w.Header().Set("X-Handler", "was here")
			w.Header().Set("Trailer", "X-Trailer")
			http.SetCookie(w, &http.Cookie{Name: "handlers", Value: "own"})
			w.WriteHeader(http.StatusCreated)
			n, err := w.Write([]byte("the handler's page"))
			require.Zero(t, n)
			require.ErrorIs(t, err, session.ErrCookieTooLarge)
			w.Header().Set("X-Trailer", "was here")
		})
		require.ErrorIs(t, told, session.ErrCookieTooLarge, kind)
		require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		require.Equal(t, "the error page\n", kit.Body(resp))
		require.Empty(t, resp.Header["X-Handler"])
		require.Empty(t, resp.Trailer)
		require.Empty(t, resp.Cookies())
		require.Equal(t, before, v.Cookie)
		require.False(t, v.SignedOut(), "what was there is there still")
	}
}

func TestGuarantee10_RoomForValues(t *testing.T) {
	v := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne)).Browser()
	v.Must(func(s *session.Session) { s.Set("k", strings.Repeat("x", 2850)) })
	require.Len(t, kit.Read[string](v, "k"), 2850, "about 2.9 KB, as documented")
}

func TestGuarantee10_OneCookie(t *testing.T) {
	w := httptest.NewRecorder()
	newPages(t).Pages(setting(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		http.SetCookie(w, &http.Cookie{Name: "other", Value: "1"})
		http.SetCookie(w, &http.Cookie{Name: "__Host-session", Value: "forged"})
		require.NoError(t, s.Save(r.Context()))
		require.NoError(t, s.Regenerate())
		require.NoError(t, s.Save(r.Context()))
		require.NoError(t, s.Login("ada"))
		kit.WriteOK(w, r)
	})).ServeHTTP(w, kit.Fresh("/"))
	names := []string{}
	for _, c := range w.Result().Cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	require.Equal(t, []string{"__Host-session", "other"}, names)
}

func TestGuarantee10_NoStoreUnlessStricter(t *testing.T) {
	for _, c := range []struct{ own, sent string }{
		{"", "no-store"},
		{"public, max-age=60", "no-store"},
		{"private", "no-store"},
		{"no-store, private", "no-store, private"},
	} {
		w := httptest.NewRecorder()
		newPages(t).Pages(setting(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", c.own) })).ServeHTTP(w, kit.Fresh("/"))
		require.Equal(t, c.sent, w.Header().Get("Cache-Control"))
	}
}
