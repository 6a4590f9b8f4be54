// Gorillamux shows the session middleware under github.com/gorilla/mux: a basket that is filled by POST.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/doorman-go/session"
)

const basket session.Key[[]string] = "basket"

func routes(sessions *session.Manager) http.Handler {
	r := mux.NewRouter()
	r.Use(http.NewCrossOriginProtection().Handler, sessions.Middleware)
	r.HandleFunc("/basket", show).Methods(http.MethodGet)
	r.HandleFunc("/basket/{item}", put).Methods(http.MethodPost)
	r.HandleFunc("/checkout", checkOut).Methods(http.MethodPost)
	return r
}

func show(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	for _, flash := range s.Flashes() {
		_, _ = fmt.Fprintln(w, flash.Message)
	}
	items, _ := basket.Get(s)
	_, _ = fmt.Fprintf(w, "%d in the basket: %s\n", len(items), strings.Join(items, ", "))
}

// put may run again with a newer basket if another request was faster, so what it adds depends on its argument only.
func put(w http.ResponseWriter, r *http.Request) {
	item := mux.Vars(r)["item"]
	basket.Update(session.FromContext(r.Context()), func(items []string) []string {
		return append(slices.Clip(items), item)
	})
	http.Redirect(w, r, "/basket", http.StatusSeeOther)
}

func checkOut(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	if items, ok := basket.Pop(s); ok { // a shop would note the order in its database too, where that happens once
		s.Flash("success", fmt.Sprintf("Bought: %s", strings.Join(items, ", ")))
	}
	http.Redirect(w, r, "/basket", http.StatusSeeOther)
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
