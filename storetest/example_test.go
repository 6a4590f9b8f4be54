package storetest_test

import (
	"fmt"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// A store of one's own is used like those of the package. Its test is one call of storetest.Run; see TestMapStore.
func Example() {
	sessions, err := session.New(NewMapStore(), session.Config{})
	fmt.Println(sessions != nil, err, len(storetest.Clauses()) > 0)
	// Output: true <nil> true
}
