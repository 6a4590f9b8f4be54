package storetest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about keeping a record and finding it again.

func roundTrip(x *trial) {
	timeless := x.record("")
	timeless.IdleTimeout, timeless.Deadline = 0, x.now.Add(400*24*time.Hour)
	for _, r := range []*session.Record{timeless, x.record("", "n", "1"), x.full()} {
		h := x.create(r)
		x.same(h.record, r, "the record differs from what was stored")
		next := x.change(h, set("n", "2", "m", "[]"), func(r *session.Record) { r.Note = "another note" })
		h = x.swap(h, next)
		x.same(h.record, next, "the record differs from what took its place")
		x.stays(h.token, next, "the record differs when it is loaded again")
	}
}

func tombstoneRoundTrip(x *trial) {
	for what, edit := range map[string]edit{
		"a tombstone": func(*session.Record) {},
		"a tombstone with a successor": func(r *session.Record) {
			r.Successor = text()
			r.Latest = session.NewRevisions(session.PastRevision{Revision: text(), At: x.now.Add(-time.Second)},
				session.PastRevision{Revision: r.Revision, At: x.now})
		},
		"a tombstone of what was ended from outside": func(r *session.Record) { r.Revoked = true },
		"a tombstone with values": func(r *session.Record) {
			r.Values = session.NewValues(rawValues([]string{"claim", `{"token":"of a session that was adopted"}`}))
		},
	} {
		h := x.create(x.full())
		tombstone := x.tombstoneOf(h.record)
		edit(tombstone)
		x.mustSwap(h.token, session.Swap{Old: h.record, New: tombstone})
		r, err := x.store.Load(x.ctx, h.token)
		if err != nil {
			x.Fatalf("Load of %s: %v", what, err)
		}
		if x.can(shares) {
			x.same(r, tombstone, what)
		} else if r.ID != tombstone.ID || !r.Ended || r.Revoked != tombstone.Revoked || r.Successor != tombstone.Successor ||
			!equalJSON(r.Values.Get("claim"), tombstone.Values.Get("claim")) {
			x.Errorf("%s is %+v, and was stored as %+v", what, r, tombstone) // a cookie's says until when there are cookies
		}
	}
}

func returnedToken(x *trial) {
	r := x.record("")
	given := tokenFor(r)
	token := x.mustSwap(given, session.Swap{New: r})
	if token.ID() != r.ID {
		x.Errorf("the token that Swap returned has the ID %q, and the session %q", token.ID(), r.ID)
	}
	h := x.load(token)
	if x.can(inCookie) {
		return
	}
	given = session.NewToken(r.ID, "of the next request").WithRealm(r.Realm)
	token = x.mustSwap(given, session.Swap{Old: h.record, New: x.change(h)})
	if token.ID() != r.ID || token.Value() != given.Value() || token.Realm() != given.Realm() {
		x.Error("Swap returned another token than it was given, though the session is not kept in it")
	}
	x.load(session.NewToken(r.ID, "")) // as calls outside a request do
}

func loadByID(x *trial) {
	h := x.create(x.record(""))
	byID := session.NewToken(h.record.ID, "").WithRealm(realm)
	r, err := x.store.Load(x.ctx, byID)
	if !errors.Is(err, errors.ErrUnsupported) {
		x.Errorf("Load by ID alone returned %v, %v, and the error must wrap errors.ErrUnsupported", r, err)
	}
	if !x.can(ends) {
		return
	}
	x.end(h)
	if r, err := x.store.Load(x.ctx, byID); x.assumeEnded(h.token) && (err != nil || !r.Ended) {
		x.Errorf("Load by ID alone of a session that has ended returned %v, %v, and must return the tombstone", r, err)
	}
}

func isolation(x *trial) {
	a, b := x.create(x.record("", "who", `"a"`)), x.create(x.record("", "who", `"b"`))
	a = x.swap(a, x.change(a, set("who", `"a2"`, "only", "1")))
	x.holds(x.load(b.token).record, "a session, after another was changed", "who", `"b"`)
	x.holds(x.load(a.token).record, "the changed session", "who", `"a2"`, "only", "1")
	x.end(b)
	x.holds(x.load(a.token).record, "a session, after another has ended", "who", `"a2"`, "only", "1")
}

func recordsStay(x *trial) {
	given := x.full()
	givenBefore := copyOf(given)
	h := x.create(given)
	loadedBefore := copyOf(h.record)
	x.advance(time.Second)
	next := x.change(h, set("cart", `[]`, "new", "1"), func(r *session.Record) { r.Note, r.Flashes = "another", nil })
	nextBefore := copyOf(next)
	h2 := x.swap(h, next)
	x.end(h2)
	x.same(given, givenBefore, "a record that was given to Swap, after another took its place")
	x.same(h.record, loadedBefore, "a record that was loaded, after another took its place")
	x.same(next, nextBefore, "the record that took its place, after a tombstone took that one's")
}

func unknownID(x *trial) {
	x.create(x.record("")) // the store is not empty
	for name, token := range map[string]session.Token{
		"an unknown ID": tokenFor(x.record("")), "an empty ID": session.NewToken("", "").WithRealm(realm),
	} {
		for range 2 { // the first Load has not made one
			if _, err := x.store.Load(x.ctx, token); x.can(inCookie) && errors.Is(err, errors.ErrUnsupported) {
				continue
			}
			x.missing(token, name)
		}
	}
}

var odd = []string{
	"", " ", ".", "..", "/", ":", "a:b", "a.b", "$a", "*", "%", "_", "?", "{x}", "[0]", "i", "u", "x", "o", "id", "user", "values",
	"\x00", "a\x00b", "\n", `"`, `'`, `\`, "__proto__", "'; DROP TABLE sessions; --", "ß", "ss", "日本", "🍵", "\u2028", "-1", "Key",
	"key", "key ",
}

func oddTexts(x *trial) {
	x.oddKeys()
	prefix, user := text(), strings.Repeat("u", 800)
	var sessions []held
	var stored []*session.Record
	for i, suffix := range odd {
		r := x.record(user+suffix, "n", fmt.Sprint(i))
		r.ID, r.Realm, r.Note = prefix+suffix, realm+suffix, suffix
		r.Flashes = []session.StoredFlash{{ID: "f" + suffix, Category: suffix, Message: suffix}}
		sessions, stored = append(sessions, x.create(r)), append(stored, r)
	}
	for i, h := range sessions {
		x.stays(h.token, stored[i], fmt.Sprintf("a record whose texts end in %q, after more were stored", odd[i]))
	}
}

// oddKeys gives each value a key that may mean something somewhere.
func (x *trial) oddKeys() {
	var pairs []string
	for i, key := range odd {
		raw, err := json.Marshal(map[string]any{"key": key, "n": json.Number(fmt.Sprintf("900719925474099%d", i%10))})
		if err != nil {
			x.Fatal(err)
		}
		pairs = append(pairs, key, string(raw))
	}
	pairs = append(pairs, "null", "null", "empty", `""`, "nothing", "{}", "escaped", `"\u0000\u003c\\"`, "small", "0.1")
	h := x.create(x.record("", pairs...))
	x.holds(h.record, "the record differs from what was stored", pairs...)
}

func largeRecord(x *trial) {
	raw := make([]byte, 48<<10)
	_, _ = rand.Read(raw) // nothing that can be packed
	r := x.record("", "large", `"`+base64.StdEncoding.EncodeToString(raw[:len(raw)-600])+`"`, "small", "1")
	token, err := x.store.Swap(x.ctx, tokenFor(r), session.Swap{New: r})
	if errors.Is(err, session.ErrCookieTooLarge) && x.can(inCookie) {
		x.Log("refused, as it must be: a cookie holds 4096 bytes")
		return
	}
	if err != nil {
		x.Fatalf("Swap: %v", err)
	}
	h := x.load(token)
	x.same(h.record, r, "the record differs from what was stored")
	next := x.change(h, set("small", "2"))
	x.same(x.swap(h, next).record, next, "the record differs from what took its place")
}
