package session_test

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/doorman-go/session"
)

// The code of the README, word for word, beside its first program, which is examples/visits, and its test of a handler,
// which is in package sessiontest. TestReadme_Snippets sees to that.

func login(w http.ResponseWriter, r *http.Request) { // after you have checked the password
	s := session.FromContext(r.Context())
	if err := s.Login(r.FormValue("user"), "cart"); err != nil { // drops all values except "cart"
		http.Error(w, "Please try again.", http.StatusServiceUnavailable)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func logout(w http.ResponseWriter, r *http.Request) {
	if err := session.FromContext(r.Context()).Destroy(); err != nil {
		http.Error(w, "Please try again.", http.StatusServiceUnavailable)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// Sessions in Redis, as the README has it.
func Example_redis() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := session.OpenRedisStore(ctx, os.Getenv("REDIS_URL"), session.RedisOptions{})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, session.Config{Realm: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Middleware(http.DefaultServeMux)))
}

// Sessions in an encrypted cookie, as the README has it.
func Example_cookie() {
	secrets, err := session.SecretsFromEnv("SECRET_KEY") // make one with: openssl rand -hex 32
	if err != nil {
		log.Fatal(err)
	}
	store, err := session.NewCookieStore(secrets...)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Middleware(http.DefaultServeMux)))
}
