package storetest

import (
	"errors"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about ends: Delete, Regenerate, Login, and requests that were under way meanwhile.

func deleted(x *trial) {
	h := x.create(x.lasting("user "+text(), "a", "1"))
	x.delete(h)
	x.staysEnded(h, "a session that was deleted")
}

// staysEnded fails the clause unless a session has ended, Load knows it for nearly a minute, and the session stays gone
// for as long as it would have lasted: a store that can't take back what it gave out must not forget before.
func (x *trial) staysEnded(h held, what string) {
	x.Helper()
	x.ended(h.token, what)
	x.wait(59 * time.Second)
	x.ended(h.token, what+" 59 seconds ago")
	x.waitUntilDeadline(h)
	x.gone(h.token, what+", just before its deadline")
}

func deletedTwice(x *trial) {
	never := x.record("")
	h := x.create(x.record("", "a", "1"))
	for range 2 {
		for name, r := range map[string]*session.Record{"a session": h.record, "an unknown id": never, "an empty id": {}} {
			if err := x.store.Delete(x.ctx, r.ID, x.now.Add(time.Hour)); err != nil {
				x.Errorf("Delete of %s: %v", name, err)
			}
		}
	}
	x.notMade(tokenFor(never), "an id that never was, after Delete")
}

func notBroughtBack(x *trial) {
	for name, edits := range map[string][]edit{
		"a change": {set("a", "2")}, "an Update": {set("a", "2"), expect("a", "1")}, "a touch": nil,
		"a deletion": {remove("a")}, "a flash": {flash("0001", `{}`)}, "clearing": {clearBut(), set("a", "2")},
		"a new note": {attributes(func(r *session.Record) { r.Note = "n" })},
	} {
		h := x.create(x.record("", "a", "1"))
		x.delete(h)
		if !x.given(!x.opens(h.token), "Load finds a session that was deleted") {
			return
		}
		token, err := x.try(h, x.change(h, edits...))
		x.refused(err, name+" of a session that was deleted meanwhile: Save")
		x.gone(h.token, "a session that was deleted, after "+name)
		x.gone(token, "a session that was deleted, by the token Save returned for "+name)
	}
}

func endedReuse(x *trial) {
	h := x.create(x.record("", "a", "1"))
	x.delete(h)
	if !x.given(x.isEnded(h.token), "Delete leaves no tombstone") {
		return
	}
	again := x.record("")
	again.ID = h.record.ID
	token, _ := x.store.Save(x.ctx, tokenFor(again), creation(again)) // it may say that this worked: it was ended since
	x.gone(h.token, "an ended id, after Save of a new session under it")
	x.gone(token, "the token that Save returned for a new session under an ended id")
}

func regenerated(x *trial) {
	h := x.create(x.full())
	x.wait(time.Minute)
	want := copyOf(h.record)
	if x.can(shares) { // another request, meanwhile
		want = copyOf(x.save(h, x.change(h, set("late", "1"), remove("seen"), flash("0003", `{}`))).record)
	}
	c := x.change(h, x.regenerate(), set("new", "1"))
	moved := x.save(h, c)
	want.ID, want.Issued, want.Used = c.Record.ID, x.now, x.now
	put(&want.Values, "new", "1")
	x.same(moved.record, want, "the session under its new id")
	again := x.save(moved, x.change(moved, x.regenerate()))
	want.ID = again.record.ID
	x.same(again.record, want, "the session under its next id")
}

func regeneratedEnds(x *trial) {
	h := x.create(x.lasting("", "a", "1"))
	x.save(h, x.change(h, x.regenerate()))
	x.staysEnded(h, "the old id of a session that was regenerated")
}

func regeneratedEnded(x *trial) {
	h := x.create(x.record("", "a", "1"))
	x.delete(h)
	if !x.given(!x.opens(h.token), "Load finds a session that was deleted") {
		return
	}
	c := x.change(h, x.regenerate())
	token, err := x.try(h, c)
	x.refused(err, "Regenerate of a session that was deleted meanwhile: Save")
	x.notMade(tokenFor(c.Record), "the new id of a session that was deleted before it was regenerated")
	x.gone(token, "the token for it")
}

func lateChange(x *trial) {
	for what, next := range map[string]edit{"Regenerate": x.regenerate(), "Login": x.login("user " + text())} {
		h := x.create(x.record("", "a", "1"))
		moved := x.save(h, x.change(h, next, set("b", "1")))
		if !x.given(!x.opens(h.token), what+" leaves the old id open") {
			return
		}
		want := copyOf(moved.record)
		second := x.change(h, x.regenerate())
		for name, c := range map[string]*session.Change{
			"a change": x.change(h, set("a", "2")), "a touch": x.change(h), "a second Regenerate": second,
		} {
			_, err := x.try(h, c)
			x.refused(err, name+" under the id from before "+what+": Save")
		}
		x.gone(h.token, "the old id after late requests")
		x.notMade(tokenFor(second.Record), "the id of a second Regenerate")
		x.same(x.load(moved.token).record, want, "the session under its new id, after late requests under the old")
	}
}

func deletedMoved(x *trial) {
	h := x.create(x.record("", "a", "1"))
	second := x.save(h, x.change(h, x.regenerate()))
	third := x.save(second, x.change(second, x.regenerate()))
	if !x.given(x.isEnded(h.token), "Regenerate leaves no tombstone") || !x.deletes() {
		return
	}
	_, err := x.try(h, x.change(h, x.login("user "+text()))) // of another request, which must not hide where the session went on
	if !x.given(err == nil, "a login in place of a session that was regenerated fails") {
		return
	}
	x.delete(h)
	for name, held := range map[string]held{"the first": h, "the second": second, "the third": third} {
		x.gone(held.token, name+" id of a session that was regenerated twice and then deleted by its first id")
	}
}

func login(x *trial) {
	r := x.full()
	r.User = "user " + text()
	h := x.create(r)
	x.wait(time.Minute)
	late := x.save(h, x.change(h, set("kept", "1"), set("lost", "1")))
	if !x.can(shares) { // else it is another request's, meanwhile
		h = late
	}
	c := x.change(h, x.login("user "+text(), "kept", "never there"), set("new", "1"))
	after := x.save(h, c)
	want := copyOf(c.Record)
	want.Values = nil
	put(&want.Values, "kept", "1")
	put(&want.Values, "new", "1")
	x.same(after.record, want, "the session of a login that keeps one value")
}

func loginEnds(x *trial) {
	h := x.create(x.lasting("", "a", "1"))
	x.save(h, x.change(h, x.login("user "+text())))
	x.staysEnded(h, "the id from before a login")
}

func loginOverEnded(x *trial) {
	for name, end := range map[string]func(held){
		"deleted": x.delete, "expired": func(held) { x.wait(24 * time.Hour) }, "regenerated": func(h held) { x.save(h, x.change(h, x.regenerate())) },
	} {
		h := x.create(x.record("", "kept", "1"))
		end(h)
		if !x.can(ends) || !x.given(!x.opens(h.token), "Load finds a session that was "+name) {
			continue
		}
		c := x.change(h, x.login("user "+text(), "kept"), set("new", "1"))
		token, err := x.try(h, c)
		if err != nil {
			x.Fatalf("a login in place of a session that was %s meanwhile: %v", name, err)
		}
		after := x.load(token)
		if x.can(shares) {
			x.holds(after.record, "the session of a login in place of one that was "+name, "new", "1")
		}
		if after.record.User != c.Record.User {
			x.Errorf("the user is %q, and should be %q", after.record.User, c.Record.User)
		}
	}
	never := held{record: x.record("", "a", "1")}
	if _, err := x.try(never, x.change(never, x.login("user "+text()))); errors.Is(err, session.ErrNotFound) {
		x.Errorf("a login in place of a session that never was: %v", err)
	}
}

// deletes tells whether Delete works, which one clause judges and the others take for granted.
func (x *trial) deletes() bool {
	x.Helper()
	h := x.create(x.record(""))
	x.delete(h)
	return x.given(!x.opens(h.token), "Load finds a session that was deleted")
}

// moves tells whether Regenerate ends the old id, likewise.
func (x *trial) moves() bool {
	x.Helper()
	h := x.create(x.record(""))
	x.save(h, x.change(h, x.regenerate()))
	return x.given(!x.opens(h.token), "Regenerate leaves the old id open")
}
