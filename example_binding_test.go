package session_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/doorman-go/session"
)

// requireBound calls next if the browser has proved the device of the session, or if the password was given a moment ago:
// not every browser can bind. It stands behind the check that somebody is signed in.
func requireBound(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if !s.DeviceBound() && !s.AuthenticatedWithin(5*time.Minute) {
			http.Redirect(w, r, "/login?again=1", http.StatusSeeOther)
			return
		}
		next(w, r)
	}
}

// With BindDevice a copied cookie is worth nothing after some minutes, in browsers that can bind a session to their device.
// What matters most may demand that.
func ExampleSession_DeviceBound() {
	sessions := newManager(session.Config{BindDevice: 10 * time.Minute})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /payments", requireBound(func(http.ResponseWriter, *http.Request) {
		fmt.Println("paid")
	}))
	_ = sessions.Middleware(mux) // around the router as a whole: browsers call it below Config.BindPath

	// Tests of such handlers make up a session that is bound, or one that is not.
	pay := func(record *session.Record) {
		ctx := session.NewContext(context.Background(), session.Detached(record))
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/payments", nil))
		fmt.Printf("%d %q\n", w.Code, w.Header().Get("Location"))
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	bound := session.Binding{Key: []byte("a browser's")}
	pay(&session.Record{ID: "1", User: "ada", AuthenticatedAt: yesterday, Binding: bound})
	pay(&session.Record{ID: "2", User: "ada", AuthenticatedAt: yesterday})
	pay(&session.Record{ID: "3", User: "ada", AuthenticatedAt: time.Now()})
	// Output:
	// paid
	// 200 ""
	// 303 "/login?again=1"
	// paid
	// 200 ""
}
