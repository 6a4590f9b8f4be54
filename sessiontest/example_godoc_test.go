package sessiontest_test

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

func ExampleNewRequest() {
	r, s := sessiontest.NewRequest("POST", "/cart?item=milk", nil, sessiontest.Seed{
		User:   "ada",
		Values: sessiontest.Values{"cart": []string{"tea"}},
	})
	add(httptest.NewRecorder(), r)
	items, _ := cart.Get(s.Session)
	fmt.Println(s.User(), items, s.Flashes())
	// Output: ada [tea milk] [{info added}]
}

func ExampleTransaction() {
	t := new(testing.T) // the test's
	sessions, err := session.New(session.NewMemoryStore(), session.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	jar := sessiontest.NewJar()
	sessiontest.Transaction(t, sessions, jar, "/", func(s *session.Session) { _ = s.Login("ada") })
	w := jar.Serve(app(sessions), httptest.NewRequest("GET", "/account", nil))
	fmt.Println(w.Body)
	// Output: ada has 0 items
}

func ExampleClock() {
	clock := sessiontest.NewClock()
	began := clock.Now()
	clock.Advance(20 * time.Minute)
	fmt.Println(clock.Now().Sub(began))
	// Output: 20m0s
}
