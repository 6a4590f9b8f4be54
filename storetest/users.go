package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about stores that revoke and list.

func (x *trial) users() session.UserStore { return x.store.(session.UserStore) }
func (x *trial) revoker() session.Revoker { return x.store.(session.Revoker) }
func (x *trial) member(user string) held {
	return x.create(x.lasting(user, "of", fmt.Sprintf("%q", user)))
}
func (x *trial) members(user string) []held {
	return []held{x.member(user), x.member(user), x.member(user)}
}

func listing(x *trial) {
	ada, grace := "user:{ada} "+text(), "user:{ada} *"+text()
	own := x.members(ada)
	x.create(x.record(grace))
	x.create(x.record(""))
	short := x.record(ada)
	short.Idle = time.Minute
	own = append(own, x.create(short), x.create(func() *session.Record { r := x.full(); r.User = ada; return r }()))
	own = append(own, x.save(own[1], x.change(own[1], x.regenerate())))
	own[2] = x.save(own[2], x.change(own[2], attributes(func(r *session.Record) {
		r.Note, r.Deadline = "phone", x.now.Add(48*time.Hour)
	})))
	x.delete(own[0])
	x.wait(2 * time.Minute)

	want := map[string]*session.Record{}
	for _, h := range own {
		if x.opens(h.token) {
			want[h.record.ID] = h.record
		}
	}
	records, err := x.users().UserSessions(x.ctx, ada)
	if err != nil {
		x.Fatalf("UserSessions: %v", err)
	}
	for _, r := range records {
		if want[r.ID] == nil {
			x.Errorf("UserSessions lists %s of user %q, which is none of the user's live sessions", r.ID, r.User)
			continue
		}
		if diff := differentAttributes(r, want[r.ID]); len(diff) > 0 {
			x.Errorf("UserSessions lists a session that differs from the one stored:\n\t%s", strings.Join(diff, "\n\t"))
		}
		delete(want, r.ID)
	}
	if len(want) > 0 {
		x.Errorf("UserSessions leaves out %v", slices.Collect(maps.Keys(want)))
	}
	if none, err := x.users().UserSessions(x.ctx, "user "+text()); err != nil || len(none) > 0 {
		x.Errorf("UserSessions of an unknown user returned %v, %v", none, err)
	}
}

func revokeOne(x *trial) {
	ada, grace := "user "+text(), "user "+text()
	own, other, nobody := x.member(ada), x.member(grace), x.create(x.record(""))
	second := x.member(ada)
	for name, id := range map[string]string{"another user's": other.record.ID, "nobody's": nobody.record.ID, "an unknown": text()} {
		err := x.revoker().EndUserSession(x.ctx, ada, id)
		if x.can(shares) || err != nil { // a sealed cookie's user can't be looked up
			x.refused(err, "EndUserSession of "+name+" session")
		}
	}
	x.load(other.token)
	x.load(nobody.token)
	if err := x.revoker().EndUserSession(x.ctx, ada, own.record.ID); err != nil {
		x.Fatalf("EndUserSession: %v", err)
	}
	_, err := x.try(own, x.change(own, set("of", "1")))
	x.refused(err, "a change of a session that was revoked meanwhile: Save")
	x.load(second.token)
	x.staysEnded(own, "a session that was revoked")
}

func revokeAll(x *trial) {
	ada, grace := "user:{ada} "+text(), "user:{ada} *"+text()
	own, other, nobody := x.members(ada), x.member(grace), x.create(x.record(""))
	kept := own[1]
	n, err := x.revoker().EndUserSessions(x.ctx, ada, []string{kept.record.ID, text()})
	if err != nil {
		x.Fatalf("EndUserSessions: %v", err)
	}
	if x.can(shares) && n != 2 {
		x.Errorf("EndUserSessions ended two sessions, and says that it ended %d", n)
	}
	for _, h := range []held{own[0], own[2]} {
		x.ended(h.token, "a session whose user's sessions were revoked")
		_, err := x.try(h, x.change(h, set("of", "1")))
		x.refused(err, "a change of a session that was revoked meanwhile: Save")
	}
	for _, h := range []held{kept, other, nobody, x.member(ada)} { // the last by a login just after
		x.load(h.token)
	}
	if _, err := x.revoker().EndUserSessions(x.ctx, ada, nil); err != nil {
		x.Fatalf("EndUserSessions: %v", err)
	}
	x.ended(kept.token, "a session that was excepted from one revocation and not from the next")
	x.load(other.token)
	x.waitUntilDeadline(other)
	for _, h := range []held{own[0], kept} {
		x.gone(h.token, "a session whose user's sessions were revoked, just before its deadline")
	}
	x.load(other.token)
	if n, err := x.revoker().EndUserSessions(x.ctx, "user "+text(), nil); err != nil || n != 0 {
		x.Errorf("EndUserSessions of an unknown user returned %d, %v", n, err)
	}
}

func revokeMoving(x *trial) {
	ada := "user " + text()
	h := x.member(ada)
	moved := x.save(h, x.change(h, x.regenerate()))
	if !x.given(x.isEnded(h.token), "Regenerate leaves no tombstone") {
		return
	}
	if err := x.revoker().EndUserSession(x.ctx, ada, h.record.ID); err != nil && !errors.Is(err, session.ErrNotFound) {
		x.Errorf("EndUserSession by an old id: %v", err)
	}
	x.gone(moved.token, "a session that was revoked by the id it had just before")

	for round := range 20 {
		h := x.member(ada)
		c := x.change(h, x.regenerate())
		x.each(2, func(i int) (err error) {
			if i == round%2 { // either may be the first to run
				_, err = x.revoker().EndUserSessions(x.ctx, ada, nil)
				return err
			}
			if _, err = x.try(h, c); errors.Is(err, session.ErrNotFound) {
				return nil
			}
			return err
		})
		x.gone(h.token, "the old id of a session that was regenerated while its user's sessions were revoked")
		x.notMade(tokenFor(c.Record), "the new id of a session that was regenerated while its user's sessions were revoked")
	}
}

func maximum(x *trial) {
	ada := "user " + text()
	limited := func() held {
		x.wait(time.Second)
		r := x.record(ada)
		c := creation(r)
		c.MaxPerUser = 2
		token, err := x.store.Save(x.ctx, tokenFor(r), c)
		if err != nil {
			x.Fatalf("Save of a login: %v", err)
		}
		return x.load(token)
	}
	other := x.member("user " + text())
	first, second := limited(), limited()
	x.load(first.token)
	third := limited()
	x.ended(first.token, "the oldest of three sessions of a user who may have two")
	x.load(second.token)
	if x.moves() {
		third = x.save(third, x.change(third, x.regenerate())) // is no login
	}
	x.load(second.token)
	fourth := limited()
	x.ended(second.token, "the older of two sessions of a user who may have two, after another login")
	for _, h := range []held{third, fourth, other} {
		x.load(h.token)
	}
}
