package migrate_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/migrate"
)

// newExample returns a new program that takes over old sessions, and says who is signed in.
func newExample(adopt func(*http.Request) (*session.Adopted, error)) http.Handler {
	manager, err := session.New(session.NewMemoryStore(), session.Config{Name: "__Host-app", Adopt: adopt})
	if err != nil {
		log.Fatal(err)
	}
	return manager.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		fmt.Println(s.User(), s.Keys())
	}))
}

func ExampleFromSCS() {
	old := scs.New() // as it was, with the store that has the sessions
	app := newExample(migrate.FromSCS(old, func(values map[string]any, a *session.Adopted) error {
		a.User, _ = values["userID"].(string)
		delete(values, "userID")
		a.Values = values
		return nil
	}))

	// What the old program wrote, and gave to a browser:
	ctx, err := old.Load(context.Background(), "")
	if err != nil {
		log.Fatal(err)
	}
	old.Put(ctx, "userID", "ada")
	old.Put(ctx, "cart", "tea")
	token, _, err := old.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}

	r := httptest.NewRequest("GET", "https://example.com/", nil)
	r.AddCookie(&http.Cookie{Name: old.Cookie.Name, Value: token})
	app.ServeHTTP(httptest.NewRecorder(), r)
	// Output: ada [cart]
}

func ExampleFromGorilla() {
	old := sessions.NewCookieStore([]byte("the key that the old program has")) // and its Options
	app := newExample(migrate.FromGorilla(old, "session-name", func(values map[string]any, a *session.Adopted) error {
		a.User, _ = values["userID"].(string)
		a.Values["cart"] = values["cart"] // and no others
		return nil
	}))

	// What the old program wrote, and gave to a browser:
	r, w := httptest.NewRequest("GET", "https://example.com/", nil), httptest.NewRecorder()
	s, _ := old.Get(r, "session-name")
	s.Values["userID"], s.Values["cart"], s.Values["theme"] = "ada", "tea", "dark"
	if err := s.Save(r, w); err != nil {
		log.Fatal(err)
	}

	r = httptest.NewRequest("GET", "https://example.com/", nil)
	r.AddCookie(w.Result().Cookies()[0])
	app.ServeHTTP(httptest.NewRecorder(), r)
	// Output: ada [cart]
}
