package session_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/doorman-go/session"
)

// A page that counts its visits, with the session in an encrypted cookie.
func Example() {
	secrets, err := session.SecretsFromEnv("SECRET_KEY") // openssl rand -hex 32
	if err != nil {
		log.Fatal(err)
	}
	store, err := session.NewCookieStore(secrets...) // or NewMemoryStore, or OpenRedisStore
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const visits session.Key[int] = "visits"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		visits.Update(s, func(n int) int { return n + 1 })
		n, _ := visits.Get(s)
		fmt.Fprintf(w, "visit %d", n)
	})
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Middleware(mux)))
}

// newManager is what the examples below have in common.
func newManager(cfg session.Config) *session.Manager {
	sessions, err := session.New(session.NewMemoryStore(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	return sessions
}

// serve sends one request, with the cookies of an earlier response if there is one.
func serve(h http.Handler, method, path string, earlier *http.Response) *http.Response {
	r := httptest.NewRequest(method, "http://localhost"+path, nil)
	if earlier != nil {
		for _, c := range earlier.Cookies() {
			r.AddCookie(c)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func ExampleSession_Login() {
	sessions := newManager(session.Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		// ... once the password is known to be right:
		if err := s.Login("ada", "locale"); err != nil { // a new ID; of what was there, only the locale is kept
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		s.Flash("success", "Welcome back.")
		http.Redirect(w, r, "/account", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /account", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		fmt.Println(s.User(), s.Flashes())
	})
	app := sessions.Middleware(mux)
	signedIn := serve(app, "POST", "/login", nil)
	serve(app, "GET", "/account", signedIn)
	// Output: ada [{success Welcome back.}]
}

func ExampleSession_Destroy() {
	sessions := newManager(session.Config{ClearSiteData: true})
	logout := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := session.FromContext(r.Context()).Destroy(); err != nil {
			return // the session could not be loaded, and the client gets the error handler's answer
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}))
	fmt.Println(serve(logout, "POST", "/logout", nil).Status)
	// Output: 303 See Other
}

func ExampleKey() {
	const cart session.Key[[]string] = "cart"
	s := new(session.Session) // a handler gets it from FromContext
	cart.Set(s, []string{"tea"})
	cart.Update(s, func(items []string) []string { return append(items, "milk") })
	items, ok := cart.Get(s)
	fmt.Println(items, ok)
	// Output: [tea milk] true
}

func ExampleNewContext() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello", session.FromContext(r.Context()).User())
	}
	s := new(session.Session)
	_ = s.Login("ada")
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	handler(w, r.WithContext(session.NewContext(r.Context(), s)))
	fmt.Print(w.Body)
	// Output: hello ada
}

// Only a session that could be loaded reaches a handler that charges a card.
func ExampleManager_Preload() {
	sessions := newManager(session.Config{})
	charge := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Println("charged") })
	app := sessions.Middleware(sessions.Preload(charge))
	serve(app, "POST", "/charge", nil)
	// Output: charged
}

// A password's version, kept in the database and in the session, ends all sessions when it changes.
func ExampleConfig_revalidate() {
	const version session.Key[int] = "password version"
	current := func(ctx context.Context, user string) (int, error) { return 2, nil } // asks the database
	sessions := newManager(session.Config{
		Revalidate: func(ctx context.Context, s *session.Session) error {
			if s.User() == "" {
				return nil
			}
			now, err := current(ctx, s.User())
			if err != nil {
				return err // the database is down: 503, and nobody is signed out
			}
			if then, _ := version.Get(s); then != now {
				return fmt.Errorf("the password was changed: %w", session.ErrSessionEnded)
			}
			return nil
		},
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		_ = s.Login("ada")
		version.Set(s, 1) // an old one
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Printf("user %q\n", session.FromContext(r.Context()).User())
	})
	app := sessions.Middleware(mux)
	serve(app, "GET", "/", serve(app, "GET", "/login", nil))
	// Output: user ""
}

// Before something sensitive, ask for the password again unless that was a moment ago.
// Sessions of the program as it was before, in a map by the value of its cookie, are taken over one by one.
func ExampleConfig_adopt() {
	old := map[string]string{"7f3a": "ada"} // the user by the old cookie's value
	sessions := newManager(session.Config{Adopt: func(r *http.Request) (*session.Adopted, error) {
		cookie, err := r.Cookie("sid")
		if err != nil {
			return nil, nil // a visitor
		}
		adopted := &session.Adopted{Token: cookie.Value, Cookies: []*http.Cookie{{Name: "sid", Path: "/"}}}
		user, ok := old[cookie.Value]
		if !ok {
			return adopted, session.ErrNotFound
		}
		adopted.User = user
		adopted.Values = map[string]any{"theme": "dark"}
		adopted.Forget = func(context.Context) error {
			delete(old, cookie.Value)
			return nil
		}
		return adopted, nil
	}})
	handler := sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(session.FromContext(r.Context()).User(), len(old))
	}))

	r := httptest.NewRequest("GET", "http://localhost/", nil)
	r.AddCookie(&http.Cookie{Name: "sid", Value: "7f3a"})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	for _, cookie := range w.Result().Cookies() {
		fmt.Println(cookie.Name, cookie.MaxAge < 0)
	}
	serve(handler, "GET", "/", w.Result()) // with the new cookie: the old session is forgotten
	fmt.Println(len(old))
	// Output:
	// ada 1
	// __Host-session false
	// sid true
	// ada 0
	// 0
}

func ExampleSession_AuthenticatedWithin() {
	sessions := newManager(session.Config{})
	app := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !session.FromContext(r.Context()).AuthenticatedWithin(5 * time.Minute) {
			http.Redirect(w, r, "/login?again=1", http.StatusSeeOther)
		}
	}))
	fmt.Println(serve(app, "GET", "/keys", nil).Header.Get("Location"))
	// Output: /login?again=1
}

// An audit log: one line an event, without anything that opens a session.
func ExampleEvent() {
	audit := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "session" {
				return slog.Attr{} // so that this example prints the same each time
			}
			return a
		},
	}))
	counts := map[session.EventKind]int{} // or a counter of a metrics library, labelled with kind and reason; guard it with a lock
	sessions := newManager(session.Config{
		OnEvent: func(ctx context.Context, e session.Event) {
			counts[e.Kind]++
			audit.InfoContext(ctx, string(e.Kind), "session", e.ID, "user", e.User, "reason", e.Reason)
		},
	})
	app := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = session.FromContext(r.Context()).Login("ada")
	}))
	serve(app, "POST", "/login", nil)
	fmt.Println(counts[session.EventLoggedIn])
	// Output:
	// level=INFO msg="logged in" user=ada reason=""
	// 1
}

func ExampleManager_Revoke() {
	sessions := newManager(session.Config{})
	err := sessions.Revoke(context.Background(), "ada", "somebody else's session")
	fmt.Println(errors.Is(err, session.ErrNotFound))
	// Output: true
}

// A sealed cookie can't be taken back; with a list of what has ended it is refused all the same.
func ExampleCookieStore_WithRevocations() {
	secret := []byte("Pb7wq2Nf0cT9xKz4RmVgYsE1uLhJ6oDa") // from SecretsFromEnv
	sealed, err := session.NewCookieStore(secret)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(sealed.WithRevocations(session.NewMemoryStore()), session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(_ http.ResponseWriter, r *http.Request) { _ = session.FromContext(r.Context()).Login("ada") })
	mux.HandleFunc("POST /logout", func(_ http.ResponseWriter, r *http.Request) { _ = session.FromContext(r.Context()).Destroy() })
	mux.HandleFunc("GET /", func(_ http.ResponseWriter, r *http.Request) {
		fmt.Printf("signed in: %q\n", session.FromContext(r.Context()).User())
	})
	app := sessions.Middleware(mux)
	copied := serve(app, "POST", "/login", nil)
	serve(app, "GET", "/", copied)
	serve(app, "POST", "/logout", copied)
	serve(app, "GET", "/", copied)
	// Output:
	// signed in: "ada"
	// signed in: ""
}

// Remember me: a session that outlives the browser, for 90 days, or 30 without a visit.
func ExampleSession_SetLifetime() {
	sessions := newManager(session.Config{})
	login := sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if err := s.Login("ada"); err != nil {
			return
		}
		s.SetPersistent(true)
		s.SetLifetime(30*24*time.Hour, 90*24*time.Hour)
	}))
	cookie := serve(login, "POST", "/login", nil).Cookies()[0]
	fmt.Println((time.Duration(cookie.MaxAge) * time.Second).Round(24 * time.Hour))
	// Output: 2160h0m0s
}

// A stream has sent its header long before the handler returns: what needs a cookie comes first, and what is set later is
// saved by Save, or when the handler returns.
func ExampleSession_Save() {
	sessions := newManager(session.Config{})
	stream := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		s.Set("stream", "begun") // the session's cookie goes out with the header
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			s.Set("seen", i)
			if err := s.Save(r.Context()); err != nil {
				return
			}
		}
	}))
	watched := serve(stream, "GET", "/events", nil)
	serve(sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(session.Key[int]("seen").Get(session.FromContext(r.Context())))
	})), "GET", "/", watched)
	// Output: 2 true
}

func ExampleOpenRedisStore() {
	store, err := session.OpenRedisStore(context.Background(), "redis://localhost:6379/0", session.RedisOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	sessions, err := session.New(store, session.Config{MaxPerUser: 10})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Middleware(http.NotFoundHandler())))
}
