package session_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/doorman-go/session"
)

// signIn returns a request of a browser that is signed in.
func signIn(sessions *session.Manager, user, path string) *http.Request {
	w := httptest.NewRecorder()
	sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = session.FromContext(r.Context()).Login(user)
	})).ServeHTTP(w, httptest.NewRequest("POST", "https://localhost/login", nil))
	r := httptest.NewRequest("GET", "https://localhost"+path, nil)
	for _, cookie := range w.Result().Cookies() {
		r.AddCookie(cookie)
	}
	return r
}

// A stream that ends with its session, wherever that is ended.
func ExampleSession_Watch() {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	if err != nil {
		panic(err)
	}
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		ctx := s.Watch(r.Context())
		_, _ = sessions.RevokeUser(context.Background(), s.User()) // an administrator, say, on another server
		<-ctx.Done()
		_, _ = fmt.Fprintln(w, context.Cause(ctx))
	})
	w := httptest.NewRecorder()
	sessions.Middleware(sessions.Passive(stream)).ServeHTTP(w, signIn(sessions, "ada", "/events"))
	fmt.Print(w.Body)
	// Output: session: ended: it was revoked
}

func ExampleManager_TimeLeft() {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{IdleTimeout: 20 * time.Minute, Clock: func() time.Time {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}})
	if err != nil {
		panic(err)
	}
	w := httptest.NewRecorder()
	sessions.Middleware(sessions.TimeLeft()).ServeHTTP(w, signIn(sessions, "ada", "/time-left"))
	fmt.Print(w.Body)
	// Output: {"signedIn":true,"secondsLeft":1200,"secondsAtMost":86400}
}

func ExampleManager_RequireRecent() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sessions, err := session.New(session.NewMemoryStore(), session.Config{Clock: func() time.Time { return now }})
	if err != nil {
		panic(err)
	}
	changeEmail := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fmt.Println("changed") })
	handler := sessions.Middleware(sessions.RequireRecent(5*time.Minute, "/login")(changeEmail))
	r := signIn(sessions, "ada", "/account/email")
	r.Header.Set("Accept", "text/html")
	handler.ServeHTTP(httptest.NewRecorder(), r)

	now = now.Add(10 * time.Minute)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output:
	// changed
	// 303 /login?next=%2Faccount%2Femail
}

// Back-channel logout: the identity provider's sid is the session's tag.
func ExampleManager_RevokeTag() {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	if err != nil {
		panic(err)
	}
	callback := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if err := s.Login("ada"); err != nil {
			return // the Manager's error handler answers
		}
		s.SetTag("sid-of-the-provider")
	})
	sessions.Middleware(callback).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "https://localhost/callback", nil))

	ended, err := sessions.RevokeTag(context.Background(), "sid-of-the-provider") // once the logout token is verified
	fmt.Println(ended, err)
	// Output: 1 <nil>
}

// How many are signed in, and as whom.
func ExampleManager_Each() {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	if err != nil {
		panic(err)
	}
	signIn(sessions, "ada", "/")
	signIn(sessions, "ada", "/")
	byUser := map[string]int{}
	for info, err := range sessions.Each(context.Background()) {
		if err != nil {
			panic(err)
		}
		byUser[info.User]++
	}
	fmt.Println(byUser)
	// Output: map[ada:2]
}

// Durations of the store's operations, in a log.
func ExampleConfig_observe() {
	_, err := session.New(session.NewMemoryStore(), session.Config{
		Observe: func(ctx context.Context, call session.StoreCall) func(error) {
			begun := time.Now()
			return func(err error) {
				slog.DebugContext(ctx, "session", "operation", call.Kind, "store", call.Store, "near", call.NearCache,
					"took", time.Since(begun), "error", err)
			}
		},
	})
	fmt.Println(err)
	// Output: <nil>
}
