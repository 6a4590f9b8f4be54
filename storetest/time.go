package storetest

import (
	"time"

	"github.com/doorman-go/session"
)

// The clauses about time. All of it is by session.Now, and moved there.

func idleExpiry(x *trial) {
	r := x.record("", "a", "1")
	r.Idle = 20 * time.Minute
	h := x.create(r)
	x.wait(r.Idle - time.Millisecond)
	x.load(h.token)
	x.wait(time.Millisecond)
	x.gone(h.token, "a session that was not used for its idle time")
	x.notEnded(h, "a session that expired")
}

// notEnded fails the clause if Load says that a session was ended.
func (x *trial) notEnded(h held, what string) {
	x.Helper()
	if x.isEnded(h.token) {
		x.Errorf("%s: Load says that it was ended", what)
	}
}

func deadlineExpiry(x *trial) {
	h := x.create(x.lasting("", "a", "1"))
	x.waitUntilDeadline(h)
	h = x.save(h, x.change(h, set("a", "2")))
	x.wait(time.Millisecond)
	x.gone(h.token, "a session at its deadline, used until then")
	x.notEnded(h, "a session that expired")
	x.wait(1000 * time.Hour)
	x.gone(h.token, "a session long after its deadline")
}

func expiredChange(x *trial) {
	for name, wait := range map[string]time.Duration{"its idle time": time.Hour, "its deadline": 24 * time.Hour} {
		h := x.create(x.record("", "a", "1"))
		x.wait(wait)
		if !x.given(!x.opens(h.token), "Load finds a session that has expired") {
			return
		}
		moved := x.change(h, x.regenerate())
		for what, c := range map[string]*session.Change{
			"a change": x.change(h, set("a", "2")), "a touch": x.change(h), "Regenerate": moved,
		} {
			_, err := x.try(h, c)
			x.refused(err, what+" of a session past "+name+": Save")
			x.gone(h.token, what+" of a session past "+name)
		}
		x.notMade(tokenFor(moved.Record), "Regenerate of a session past "+name)
	}
}

func touch(x *trial) {
	h := x.create(x.full())
	earlier := h
	x.wait(3 * time.Minute)
	want := copyOf(h.record)
	if x.can(shares) { // another request, meanwhile
		h = x.save(h, x.change(h, set("cart", `["milk"]`), remove("seen"), flash("0003", `{}`)))
		want = copyOf(h.record)
		x.wait(time.Second)
	}
	h = x.save(held{h.token, earlier.record}, x.change(earlier))
	if !x.can(shares) { // the last response wins, and this is the only one
		want = copyOf(earlier.record)
	}
	want.Used = x.now
	x.same(h.record, want, "the session after a touch by a request that had loaded it earlier")
	if !x.can(shares) {
		return
	}
	late := x.change(h)
	late.Record.Used = x.now.Add(-2 * time.Minute)
	h = x.save(h, late)
	x.same(h.record, want, "the session after a touch that came late: the last use must not move back")
}
