package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about stores that list a user's sessions, and about those that end them without a list.

func (x *trial) userStore() session.UserStore { return x.store.(session.UserStore) }
func (x *trial) userEnder() session.UserEnder { return x.store.(session.UserEnder) }

// leftOutOfLists is what a list may do without: what is as large as an application makes it.
var leftOutOfLists = []string{"Values", "Flashes", "Latest"}

// listsExactly fails the clause unless these are the records that are listed.
func (x *trial) listsExactly(realm, user, what string, records ...*session.Record) {
	x.Helper()
	listed, err := x.userStore().UserSessions(x.ctx, realm, user)
	if err != nil {
		x.Fatalf("UserSessions: %v", err)
	}
	want := make(map[string]*session.Record)
	for _, r := range records {
		want[r.ID] = r
	}
	for _, r := range listed {
		if want[r.ID] == nil {
			x.Errorf("%s: UserSessions lists %s of user %q in realm %q once too often", what, r.ID, r.User, r.Realm)
			continue
		}
		x.same(r, want[r.ID], what+": UserSessions lists another record than is stored", leftOutOfLists...)
		delete(want, r.ID)
	}
	if len(want) > 0 {
		x.Errorf("%s: UserSessions leaves out %v", what, slices.Collect(maps.Keys(want)))
	}
}

func listing(x *trial) {
	user := "user " + text()
	x.listsExactly(realm, user, "a user who has never signed in")
	first := x.create(x.record(user, "a", "1"))
	x.listsExactly(realm, user, "a user with one session", first.record)
	r := x.full()
	r.User = user
	second := x.create(r)
	x.listsExactly(realm, user, "a user with two sessions", first.record, r)
	x.advance(time.Minute)
	first = x.swap(first, x.change(first, func(r *session.Record) { r.Note = "phone" }))
	x.listsExactly(realm, user, "a user one of whose sessions was changed", first.record, second.record)
}

func listingNobodyElse(x *trial) {
	id := text()
	type owner struct{ realm, user string }
	owners := []owner{
		{realm, "ada" + id}, {realm, "Ada" + id}, {realm, "ada" + id + " "}, {realm, "ada" + id[:9]}, {realm, "ada" + id + "\x00"},
		{realm, "%" + id}, {realm, "*" + id}, {realm, "?da" + id}, {realm, "_da" + id},
		{realm + ":a", id}, {realm, "a:" + id}, {realm, ":a:" + id}, {realm + ":", "a:" + id}, {realm + "a", ":" + id},
		{realm + "\x00a", id}, {realm, "a\x00" + id}, {realm + "\x00", "a\x00" + id}, {"", realm + "ada" + id}, {realm + "ada", id},
		{strings.ToUpper(realm), "ada" + id}, {realm + " ", "ada" + id}, {"", "ada" + id},
	}
	stored := make(map[owner]*session.Record)
	for _, o := range owners {
		r := x.record(o.user)
		r.Realm = o.realm
		x.create(r)
		stored[o] = r
	}
	x.create(x.record(""))
	for _, o := range owners {
		x.listsExactly(o.realm, o.user, fmt.Sprintf("user %q in realm %q", o.user, o.realm), stored[o])
	}
	x.listsExactly(realm, "nobody "+id, "an unknown user")
	x.listsExactly("another "+realm, "ada"+id, "a user in an unknown realm")
}

func listingEnded(x *trial) {
	user := "user " + text()
	short := x.record(user)
	short.IdleTimeout = 20 * time.Minute
	x.create(short)
	x.advance(20*time.Minute + time.Second)
	ended, moving, live := x.create(x.record(user)), x.create(x.record(user)), x.create(x.record(user))
	tombstone := x.tombstoneOf(ended.record)
	x.mustSwap(ended.token, session.Swap{Old: ended.record, New: tombstone})
	if !x.assumeEnded(ended.token) {
		return
	}
	token, swaps := x.moved(moving)
	x.mustSwap(token, swaps...)
	records := []*session.Record{short, tombstone, swaps[0].New, swaps[1].New, live.record}
	if x.can(endsAtOnce) {
		last := x.create(x.record(user))
		records = append(records, x.tombstoneOf(last.record))
		x.mustEnd(records[len(records)-1])
	}
	x.advance(almostAMinute - 2*time.Second)
	x.listsExactly(realm, user, "a user with live, expired and ended sessions", records...)
}

func listedAsLongAsKept(x *trial) {
	user := "user " + text()
	brief := func() *session.Record {
		r := x.record(user)
		r.IdleTimeout = 20 * time.Minute
		return r
	}
	used, lengthened := x.create(brief()), x.create(brief())
	lengthened = x.swap(lengthened, x.change(lengthened, func(r *session.Record) { r.IdleTimeout = 20 * time.Hour }))
	for range 4 {
		x.advance(19 * time.Minute)
		used = x.swap(used, x.change(used))
		x.listsExactly(realm, user, "a user whose sessions are used or have longer limits", used.record, lengthened.record)
	}
}

// listedAtOnce lists while sessions are being stored: a store that finds an index entry without its record must not take
// the entry for a leftover.
func listedAtOnce(x *trial) {
	const creators, each = 8, 10
	user := "user " + text()
	var creating sync.WaitGroup
	creating.Add(creators)
	created := make(chan struct{})
	go func() { creating.Wait(); close(created) }()
	x.each(creators+1, func(i int) error {
		if i == creators {
			return x.listUntil(created, user)
		}
		defer creating.Done()
		var own []string
		for range each {
			r := x.record(user)
			if _, err := x.store.Swap(x.ctx, tokenFor(r), session.Swap{New: r}); err != nil {
				return err
			}
			own = append(own, r.ID)
			if err := x.listsAll(user, own); err != nil {
				return err
			}
		}
		return nil
	})
}

// listUntil lists a user's sessions again and again.
func (x *trial) listUntil(stop <-chan struct{}, user string) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := x.userStore().UserSessions(x.ctx, realm, user); err != nil {
			return err
		}
	}
}

func (x *trial) listsAll(user string, ids []string) error {
	records, err := x.userStore().UserSessions(x.ctx, realm, user)
	if err != nil {
		return err
	}
	listed := make(map[string]bool)
	for _, r := range records {
		listed[r.ID] = true
	}
	for _, id := range ids {
		if !listed[id] {
			return fmt.Errorf("UserSessions leaves out %s, which Swap had stored before", id)
		}
	}
	return nil
}

// member is a session that only an end shuts before its deadline.
func (x *trial) member(user string) held {
	r := x.record(user, "a", "1")
	r.IdleTimeout = 0
	return x.create(r)
}

// shut fails the clause unless a session has ended for who loads it, and for who has loaded it before.
func (x *trial) shut(h held, what string) {
	x.Helper()
	if r, err := x.store.Load(x.ctx, h.token); err == nil && !r.Ended {
		x.Errorf("%s: Load returned the session", what)
	} else if err != nil && !errors.Is(err, session.ErrNotFound) {
		x.Errorf("%s: Load: %v", what, err)
	}
	if err := x.trySwap(h.token, h.record, x.change(h, set("a", "2"))); !isConflict(err) {
		x.Errorf("%s: the error of Swap is %v, and must be a *ConflictError", what, err)
	}
}

func endUser(x *trial) {
	ada, grace := "user "+text(), "user "+text()
	first, kept, other, nobody := x.member(ada), x.member(ada), x.member(grace), x.create(x.record(""))
	if err := x.userEnder().EndUser(x.ctx, realm, ada, []string{kept.record.ID, text()}); err != nil {
		x.Fatalf("EndUser: %v", err)
	}
	x.shut(first, "a session of a user whose sessions were ended")
	later := x.loginLater(ada)
	for _, h := range []held{kept, other, nobody, later} {
		x.stays(h.token, h.record, "a session that was not ended")
	}
	if err := x.userEnder().EndUser(x.ctx, realm, ada, []string{later.record.ID}); err != nil {
		x.Fatalf("EndUser: %v", err)
	}
	x.shut(kept, "a session that was excepted from one end and not from the next")
	x.shut(first, "a session that was ended before the next end")
	x.load(later.token)
	x.advance(first.record.Deadline.Sub(x.now) - time.Millisecond)
	x.shut(first, "a session of a user whose sessions were ended, just before its deadline")
	x.load(other.token)
}

// loginLater stores a new session of a user whose sessions were ended. It may have to be issued later than that.
func (x *trial) loginLater(user string) held {
	x.Helper()
	r := x.record(user, "a", "1")
	token, err := x.store.Swap(x.ctx, tokenFor(r), session.Swap{New: r})
	var conflict *session.ConflictError
	if errors.As(err, &conflict) && conflict.NotBefore.After(r.IssuedAt) {
		r = x.record(user, "a", "1")
		r.IssuedAt = conflict.NotBefore.Truncate(time.Microsecond).Add(time.Microsecond)
		token, err = x.store.Swap(x.ctx, tokenFor(r), session.Swap{New: r})
	}
	if err != nil {
		x.Fatalf("Swap for a new session of a user whose sessions were ended: %v", err)
	}
	return x.load(token)
}

func endUserSession(x *trial) {
	ada, grace := "user "+text(), "user "+text()
	own, second, other, nobody := x.member(ada), x.member(ada), x.member(grace), x.create(x.record(""))
	for _, h := range []held{own, other, nobody} {
		// That another user's session is another user's, the store may not be able to know.
		err := x.userEnder().EndUserSession(x.ctx, realm, ada, h.record.ID)
		if err != nil && (h.record == own.record || !errors.Is(err, session.ErrNotFound)) {
			x.Fatalf("EndUserSession: %v", err)
		}
	}
	x.shut(own, "a session that was ended")
	for _, h := range []held{second, other, nobody} {
		x.stays(h.token, h.record, "a session that was not ended")
	}
	x.advance(own.record.Deadline.Sub(x.now) - time.Millisecond)
	x.shut(own, "a session that was ended, just before its deadline")
}
