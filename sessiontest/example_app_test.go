package sessiontest_test

import (
	"fmt"
	"net/http"

	"github.com/doorman-go/session"
)

// The application under test in the examples, and in docs/testing.md.

const cart session.Key[[]string] = "cart"

func account(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	if s.User() == "" {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	items, _ := cart.Get(s)
	fmt.Fprintf(w, "%s has %d items", s.User(), len(items))
}

func add(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	cart.Update(s, func(items []string) []string { return append(items, r.FormValue("item")) })
	s.Flash("info", "added")
}

func login(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	if r.FormValue("password") != "correct horse" {
		http.Error(w, "wrong password", http.StatusUnauthorized)
		return
	}
	if err := s.Login(r.FormValue("user"), string(cart)); err != nil {
		http.Error(w, "please try again", http.StatusServiceUnavailable)
	}
}

func logout(w http.ResponseWriter, r *http.Request) {
	if err := session.FromContext(r.Context()).Destroy(); err != nil {
		http.Error(w, "please try again", http.StatusServiceUnavailable)
	}
}

func app(sessions *session.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /account", account)
	mux.HandleFunc("POST /cart", add)
	mux.HandleFunc("POST /login", login)
	mux.HandleFunc("POST /logout", logout)
	return sessions.Middleware(mux)
}
