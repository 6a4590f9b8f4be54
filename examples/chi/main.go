// Chi shows the session middleware under github.com/go-chi/chi: a page that counts a visitor's visits.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/doorman-go/session"
)

const visits session.Key[int] = "visits"

func routes(sessions *session.Manager) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Recoverer, http.NewCrossOriginProtection().Handler, sessions.Middleware)
	r.Get("/", count)
	r.Post("/forget", forget)
	r.Get("/healthz", func(http.ResponseWriter, *http.Request) {}) // does not use the session, so it costs nothing
	return r
}

// count uses Update, so that no visit is lost where several come at once.
func count(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	visits.Update(s, func(n int) int { return n + 1 })
	n, _ := visits.Get(s)
	_, _ = fmt.Fprintf(w, "Visits: %d\n", n)
}

func forget(w http.ResponseWriter, r *http.Request) {
	if err := session.FromContext(r.Context()).Destroy(); err != nil {
		return // the Manager's error handler answers
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func main() {
	addr := flag.String("addr", "localhost:8080", "address to serve on")
	flag.Parse()
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *addr, Handler: routes(sessions), ReadHeaderTimeout: 5 * time.Second}
	log.Println("serving", *addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
