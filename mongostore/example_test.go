package mongostore_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/mongostore"
)

// The store does not ask the server anything until a session is used, so that a page without one needs no server.
func Example() {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://localhost:27017"))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	store, err := mongostore.New(client.Database("app").Collection("sessions"), mongostore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	h := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %q", session.FromContext(r.Context()).User())
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "https://example.test/", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 200 hello ""
}

// An application makes the indexes when it starts. Several may do so at once.
func ExampleStore_CreateIndexes() {
	client, err := mongo.Connect(options.Client().ApplyURI(os.Getenv("MONGODB_URI")))
	if err != nil {
		log.Fatal(err)
	}
	store, err := mongostore.New(client.Database("app").Collection("sessions"), mongostore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.CreateIndexes(context.Background()); err != nil { // creates what is missing
		log.Fatal(err)
	}
	sessions, err := session.New(store, session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Middleware(http.DefaultServeMux)))
}
