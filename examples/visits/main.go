package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/doorman-go/session"
)

const visits session.Key[int] = "visits"

func main() {
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		visits.Update(s, func(n int) int { return n + 1 })
		n, _ := visits.Get(s)
		fmt.Fprintf(w, "visit %d\n", n)
	})
	log.Print("Open http://localhost:8080 in Chrome or Firefox, and reload the page.")
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Middleware(mux)))
}
