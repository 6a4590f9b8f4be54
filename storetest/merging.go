package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about requests of one session that change it at once. Each is a request that loaded the session before
// the other one's Save.

func keyMerge(x *trial) {
	h := x.create(x.record("", "stays", "0", "replaced", "0", "goes", "0"))
	x.save(h, x.change(h, set("a", "1"), set("replaced", "1")))
	x.save(h, x.change(h, set("b", "2")))
	x.save(h, x.change(h, remove("goes"), remove("never there")))
	h = x.save(h, x.change(h, set("c", "3")))
	x.holds(h.record, "the session after four requests that loaded it at once",
		"stays", "0", "replaced", "1", "a", "1", "b", "2", "c", "3")
	h = x.save(h, x.change(h, remove("a"), set("b", "4")))
	x.holds(h.record, "the session after one more", "stays", "0", "replaced", "1", "b", "4", "c", "3")
}

func clearing(x *trial) {
	r := x.record("user "+text(), "a", "1", "kept", "1")
	put(&r.Flashes, "0001", `{}`)
	r.Note = "stays"
	h := x.create(r)
	x.save(h, x.change(h, set("b", "2")))
	after := x.save(h, x.change(h, clearBut("kept"), set("c", "3"))).record
	x.holds(after, "the session after it was cleared", "kept", "1", "c", "3")
	if len(after.Flashes) > 0 {
		x.Error("flashes are there after the session was cleared")
	}
	if after.User != r.User || after.Note != r.Note || !after.Deadline.Equal(r.Deadline) {
		x.Error("clearing changed more than values and flashes")
	}
}

func flashMerge(x *trial) {
	h := x.create(x.record("", "a", "1"))
	x.save(h, x.change(h, flash("0001", `"one"`)))
	h2 := x.save(h, x.change(h, flash("0002", `"two"`)))
	want := map[string]string{"0001": `"one"`, "0002": `"two"`}
	x.flashes(h2.record, "after two requests that added one each", want)
	x.save(h, x.change(h, flash("0003", `"three"`)))
	h3 := x.save(h2, x.change(h2, takeFlash("0001"), takeFlash("0002")))
	x.flashes(h3.record, "after a request took the two it saw", map[string]string{"0003": `"three"`})
	x.holds(h3.record, "the values", "a", "1")
}

func (x *trial) flashes(r *session.Record, what string, want map[string]string) {
	x.Helper()
	expected := &session.Record{}
	for id, raw := range want {
		put(&expected.Flashes, id, raw)
	}
	for _, diff := range different("flash", r.Flashes, expected.Flashes) {
		x.Errorf("%s: %s", what, diff)
	}
}

func attributeMerge(x *trial) {
	h := x.create(x.full())
	want := copyOf(h.record)
	want.Note, want.Persistent, want.Idle, want.Deadline = "tablet", false, 9*time.Minute, x.now.Add(9*time.Hour)
	want.Used = x.now
	x.save(h, x.change(h, attributes(func(r *session.Record) {
		r.Note, r.Persistent, r.Idle, r.Deadline = want.Note, want.Persistent, want.Idle, want.Deadline
	})))
	put(&want.Values, "b", "2")
	late := x.save(h, x.change(h, set("b", "2")))
	x.same(late.record, want, "the session after a request that loaded it before its note and limits were set")
}

func updates(x *trial) {
	h := x.create(x.record("", "n", "1", "other", "1"))
	first := x.change(h, set("n", "2"), expect("n", "1"))
	x.save(h, first)
	_, err := x.try(h, x.change(h, set("n", "20"), expect("n", "1"), set("other", "20")))
	x.conflict(err, "a value that another request changed", "2")
	_, err = x.try(h, x.change(h, set("n", "20"), expect("n", "")))
	x.conflict(err, "a value where none was expected", "2")
	_, err = x.try(h, x.change(h, set("absent", "20"), expect("absent", "1")))
	x.conflict(err, "no value where one was expected", "")
	x.holds(x.load(h.token).record, "the session after conflicts", "n", "2", "other", "1")
	x.save(h, x.change(h, set("absent", "1"), expect("absent", "")))

	const workers, times = 20, 5
	x.each(workers, func(int) error {
		for range times {
			if err := x.increment(h.token); err != nil {
				return err
			}
		}
		return nil
	})
	want := strconv.Itoa(2 + workers*times)
	x.holds(x.load(h.token).record, "the session after "+want+" increments at once", "n", want, "other", "1", "absent", "1")
}

func (x *trial) conflict(err error, what, current string) {
	x.Helper()
	var conflict *session.ConflictError
	if !errors.As(err, &conflict) {
		x.Fatalf("%s: Save returned %v, and must return a *ConflictError", what, err)
	}
	if conflict.Current == nil || current != "" && string(conflict.Current.Values["n"]) != current {
		x.Errorf("%s: ConflictError.Current is not the session as it is stored", what)
	}
}

// increment does what Key.Update does.
func (x *trial) increment(token session.Token) error {
	r, err := x.store.Load(x.ctx, token)
	for err == nil {
		n, _ := strconv.Atoi(string(r.Values["n"]))
		h := held{token, r}
		_, err = x.try(h, x.change(h, set("n", strconv.Itoa(n+1)), expect("n", string(r.Values["n"]))))
		var conflict *session.ConflictError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &conflict) && conflict.Current != nil:
			r, err = conflict.Current, x.ctx.Err()
		}
	}
	return fmt.Errorf("an increment: %w", err)
}

func resent(x *trial) {
	r := x.record("", "n", "1")
	made := creation(r)
	h := held{tokenFor(r), r}
	x.again(h, made, "a new session")
	h = x.load(h.token)

	change := x.change(h, set("n", "2"), expect("n", "1"))
	x.again(h, change, "an Update")
	second := x.load(h.token)
	x.save(second, x.change(second, set("n", "3")))
	x.again(h, change, "an Update that another request's change followed")
	x.holds(x.load(h.token).record, "the session after an old change was sent again", "n", "3")

	h = x.load(h.token)
	moved := x.change(h, x.regenerate(), set("moved", "1"))
	x.again(h, moved, "Regenerate")
	if x.given(x.opens(tokenFor(moved.Record)), "Regenerate makes no session") {
		x.holds(x.load(tokenFor(moved.Record)).record, "the session after Regenerate was sent twice", "n", "3", "moved", "1")
	}
}

// again sends a change twice.
func (x *trial) again(h held, c *session.Change, what string) {
	x.Helper()
	for i := range 2 {
		if _, err := x.try(h, c); err != nil {
			x.Fatalf("%s, sent %d times: %v", what, i+1, err)
		}
	}
}
