package storetest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// A store of one's own keeps records under compare-and-swap: who comes second meets a conflict. Its test is one call of
// storetest.Run; see TestMapStore.
func Example() {
	ctx, store, token := context.Background(), NewMapStore(), session.NewToken("id", "")
	first := &session.Record{ID: "id", Revision: "1", Deadline: time.Now().Add(time.Hour)}
	second := &session.Record{ID: "id", Revision: "2", Deadline: first.Deadline}
	third := &session.Record{ID: "id", Revision: "3", Deadline: first.Deadline}

	for _, swap := range []session.Swap{{New: first}, {Old: first, New: second}, {Old: first, New: third}} {
		_, err := store.Swap(ctx, token, swap)
		fmt.Println(err)
	}
	r, err := store.Load(ctx, token)
	fmt.Println(r.Revision, err, len(storetest.Clauses()) > 0)
	// Output:
	// <nil>
	// <nil>
	// session: id was changed by another request
	// 2 <nil> true
}
