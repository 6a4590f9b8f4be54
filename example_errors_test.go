package session_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

// Pages of your own for what can't be loaded or saved: a store that is down, and a session that ended meanwhile.
func ExampleConfig_errorHandler() {
	store := sessiontest.NewStore()
	sessions, err := session.New(store, session.Config{
		Logger: slog.New(slog.DiscardHandler),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			var down *session.StoreError
			w.Header().Set("Cache-Control", "no-store")
			switch {
			case errors.As(err, &down):
				w.Header().Set("Retry-After", "5")
				http.Error(w, "We can't look up who you are. Please try again.", http.StatusServiceUnavailable)
			case errors.Is(err, session.ErrSessionEnded):
				http.Error(w, "You were signed out meanwhile. Please sign in again.", http.StatusConflict)
			default:
				http.Error(w, "Something went wrong.", http.StatusInternalServerError)
			}
		},
	})
	if err != nil {
		panic(err)
	}
	site := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("cart", "tea")
		fmt.Fprint(w, "added") // which nobody sees if it can't be saved
	}))
	store.Down(errors.New("connection refused"))
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("POST", "http://localhost/cart", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output: 503 We can't look up who you are. Please try again.
}
