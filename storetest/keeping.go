package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about keeping a session and finding it again.

func roundTrip(x *trial) {
	for _, r := range []*session.Record{x.record(""), x.record("", "n", "1"), x.full()} {
		h := x.create(r)
		x.same(h.record, r, "the session differs from what was saved")
		x.same(x.load(h.token).record, r, "the session differs when it is loaded again")
	}
}

// full returns a record with something in each field.
func (x *trial) full() *session.Record {
	r := x.record("user "+text(), "cart", `["tea",{"n":9007199254740993}]`, "seen", "true", "name", `"Ada"`)
	r.Note, r.Persistent, r.Idle = "Ada's phone", true, 7*time.Minute
	r.Created, r.Authenticated = x.now.Add(-3*time.Hour), x.now.Add(-2*time.Hour-time.Microsecond)
	r.Used, r.Deadline = x.now.Add(-time.Minute-time.Microsecond), x.now.Add(5*time.Hour+time.Microsecond)
	put(&r.Flashes, "0001", `{"category":"info","message":"hello"}`)
	put(&r.Flashes, "0002", `{"category":"info","message":"again"}`)
	return r
}

func returnedToken(x *trial) {
	r := x.record("")
	given := tokenFor(r)
	token, err := x.store.Save(x.ctx, given, creation(r))
	if err != nil {
		x.Fatalf("Save: %v", err)
	}
	if token.ID() != r.ID {
		x.Errorf("the token that Save returned has the ID %q, and the session %q", token.ID(), r.ID)
	}
	if x.can(shares) && token.Value() != given.Value() {
		x.Error("Save returned another token than it was given, though the session is not kept in it")
	}
	if !x.opens(given) && x.can(shares) {
		x.Error("the token given to Save does not open the session")
	}
}

func isolation(x *trial) {
	a, b := x.create(x.record("", "who", `"a"`)), x.create(x.record("", "who", `"b"`))
	a = x.save(a, x.change(a, set("who", `"a2"`), set("only", "1")))
	x.holds(x.load(b.token).record, "a session was changed by a change of another", "who", `"b"`)
	x.holds(x.load(a.token).record, "the changed session", "who", `"a2"`, "only", "1")
	after := x.save(b, x.change(b, x.login("user "+text())))
	x.delete(b)
	x.holds(x.load(a.token).record, "a session after another was deleted", "who", `"a2"`, "only", "1")
	x.load(after.token) // a login is another session than the one before it
}

func loadedStays(x *trial) {
	h := x.create(x.full())
	before := copyOf(h.record)
	x.wait(time.Second)
	x.save(h, x.change(h, set("cart", `[]`), remove("seen"), set("new", "1"), flash("0003", `{}`), takeFlash("0001"),
		attributes(func(r *session.Record) { r.Note = "another" })))
	x.same(h.record, before, "a record that a request had loaded was changed by a later Save")
}

func unknown(x *trial) {
	x.create(x.record("")) // the store is not empty
	for name, token := range map[string]session.Token{
		"an unknown id": tokenFor(x.record("")), "an empty id": session.NewToken("", ""), "no token": {},
	} {
		for range 2 { // the first Load has not made one
			r, err := x.store.Load(x.ctx, token)
			if err == nil {
				x.Fatalf("%s: Load returned the session %s, and must not find it", name, r.ID)
			}
			x.refused(err, name+": Load")
		}
		if x.isEnded(token) {
			x.Errorf("%s: Load says that the session has ended, and it never was", name)
		}
	}
}

func mustExist(x *trial) {
	r := x.record("", "a", "1")
	never := held{tokenFor(r), r}
	for name, c := range map[string]*session.Change{
		"a change": x.change(never, set("b", "2")), "a touch": x.change(never), "a deletion": x.change(never, remove("a")),
		"a new note": x.change(never, attributes(func(r *session.Record) { r.Note = "n" })),
		"Regenerate": x.change(never, x.regenerate()),
	} {
		token, err := x.try(never, c)
		x.refused(err, name+" of a session that does not exist: Save")
		x.notMade(tokenFor(c.Record), name+" of a session that does not exist")
		x.notMade(token, name+" of a session that does not exist")
	}
	x.notMade(never.token, "changes of a session that does not exist")
}

func mustNotExist(x *trial) {
	h := x.create(x.record("", "mine", "1"))
	other := x.create(x.record("", "other", "1"))
	thief := x.record("", "theirs", "1")
	thief.ID = h.record.ID
	moving := x.change(other, x.regenerate())
	moving.Record.ID = h.record.ID
	for name, c := range map[string]*session.Change{"a new session": creation(thief), "Regenerate": moving} {
		_, err := x.try(other, c)
		if err == nil {
			x.Errorf("%s with an id that is taken: Save accepted it", name)
		}
		if errors.Is(err, session.ErrNotFound) {
			x.Errorf("%s with an id that is taken: the error is ErrNotFound, which says that a session has ended: %v", name, err)
		}
		x.holds(x.load(h.token).record, name+" with an id that is taken: the session there", "mine", "1")
	}
	if x.opens(other.token) { // a store that can't do both in one step may have ended it first
		x.holds(x.load(other.token).record, "the session that was not replaced", "other", "1")
	}
}

var odd = []string{
	"", " ", ".", "..", "/", ":", "a:b", "a.b", "$a", "*", "%", "{x}", "[0]", "i", "u", "x", "o", "id", "user", "values",
	"\x00", "a\x00b", "\n", `"`, `'`, `\`, "__proto__", "'; DROP TABLE sessions; --", "ß", "日本", "🍵", "\u2028", "-1", "Key", "key",
}

func oddKeys(x *trial) {
	r := x.record(`o'neil <{x}:*%> "` + text() + "\" ☃")
	r.Note = "line one\nline two \x00 'quoted' 🍵"
	for i, key := range odd {
		raw, err := json.Marshal(map[string]any{"key": key, "n": json.Number(fmt.Sprintf("900719925474099%d", i%10))})
		if err != nil {
			x.Fatal(err)
		}
		put(&r.Values, key, string(raw))
		if !x.can(shares) { // in a cookie, where there is little room
			put(&r.Values, key, fmt.Sprint(i))
		}
	}
	for key, raw := range map[string]string{"null": "null", "empty": `""`, "nothing": "{}", "escaped": `"\u0000\u003c\\"`, "small": "0.1"} {
		put(&r.Values, key, raw)
	}
	h := x.create(r)
	x.same(h.record, r, "the session differs from what was saved")
	for _, key := range odd[:12] {
		h = x.save(h, x.change(h, remove(key)))
		delete(r.Values, key)
	}
	x.same(h.record, r, "the session after the removal of keys")
}

func largeValue(x *trial) {
	large := `"` + strings.Repeat("0123456789abcdef", session.MaxValueSize/16-1) + `"`
	r := x.record("", "large", large, "small", "1")
	token, err := x.store.Save(x.ctx, tokenFor(r), creation(r))
	if errors.Is(err, session.ErrCookieTooLarge) && !x.can(shares) {
		x.Log("refused, as it must be: a cookie holds 4096 bytes")
		return
	}
	if err != nil {
		x.Fatalf("Save: %v", err)
	}
	h := x.load(token)
	h = x.save(h, x.change(h, set("small", "2")))
	if got := h.record.Values["large"]; !bytes.Equal(got, []byte(large)) {
		x.Errorf("a value of %d bytes came back as %d bytes", len(large), len(got))
	}
}
