package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

// The clauses about contexts that end, and about many goroutines.

func endedContext(x *trial) {
	h := x.create(x.record("user "+text(), "a", "1"))
	cancelled, cancel := context.WithCancel(x.ctx)
	cancel()
	late, cancelLate := context.WithDeadline(x.ctx, time.Unix(0, 0))
	defer cancelLate()
	for name, ctx := range map[string]context.Context{"cancelled": cancelled, "past its deadline": late} {
		for method, call := range x.calls(h) {
			err := call(ctx)
			if err == nil {
				x.Errorf("%s with a context that is %s did not return an error", method, name)
			}
			if errors.Is(err, session.ErrNotFound) {
				x.Errorf("%s with a context that is %s says ErrNotFound, which logs the user out: %v", method, name, err)
			}
		}
		x.holds(x.load(h.token).record, "the session after calls with a context that is "+name, "a", "1")
	}
}

// calls are all that can be done with a session, by name.
func (x *trial) calls(h held) map[string]func(context.Context) error {
	user, id := h.record.User, h.record.ID
	calls := map[string]func(context.Context) error{
		"Load":              func(ctx context.Context) error { _, err := x.store.Load(ctx, h.token); return err },
		"Save":              func(ctx context.Context) error { return x.saveIn(ctx, h, x.change(h, set("a", "2"))) },
		"Save of a new one": func(ctx context.Context) error { r := x.record(""); return x.saveIn(ctx, h, creation(r)) },
		"Regenerate":        func(ctx context.Context) error { return x.saveIn(ctx, h, x.change(h, x.regenerate())) },
	}
	if x.can(ends) {
		calls["Delete"] = func(ctx context.Context) error { return x.store.Delete(ctx, id, h.record.Deadline) }
	}
	if r, ok := x.store.(session.Revoker); ok && x.can(revokes) {
		calls["EndUserSession"] = func(ctx context.Context) error { return r.EndUserSession(ctx, user, id) }
		calls["EndUserSessions"] = func(ctx context.Context) error { _, err := r.EndUserSessions(ctx, user, nil); return err }
	}
	if u, ok := x.store.(session.UserStore); ok {
		calls["UserSessions"] = func(ctx context.Context) error { _, err := u.UserSessions(ctx, user); return err }
	}
	return calls
}

func (x *trial) saveIn(ctx context.Context, h held, c *session.Change) error {
	token := h.token
	if c.Create {
		token = tokenFor(c.Record)
	}
	_, err := x.store.Save(ctx, token, c)
	return err
}

// mostQuestions is how often a call may look at its context before the rest is taken to be alike.
const mostQuestions = 100

func endingContext(x *trial) {
	h := x.create(x.record("", "a", "0", "b", "0"))
	for n := 1; n <= mostQuestions; n++ {
		ctx, raw := x.tripping(n), strconv.Itoa(n)
		err := x.saveIn(ctx, h, x.change(h, set("a", raw), set("b", raw)))
		x.cut(err, "Save")
		h = x.load(h.token)
		a, b := string(h.record.Values["a"]), string(h.record.Values["b"])
		if a != b || err == nil && a != raw {
			x.Fatalf("Save of a and b, whose context ended at question %d, returned %v and left a = %s, b = %s", n, err, a, b)
		}
		if ctx.left.Load() > 0 {
			break // all questions have been asked
		}
	}
	if x.moves() && x.given(!x.adopts, "Load finds any id") {
		x.endingRegenerate()
	}
}

func (x *trial) endingRegenerate() {
	for n := 1; n <= mostQuestions; n++ {
		h := x.create(x.record("", "a", "0"))
		ctx, c := x.tripping(n), x.change(h, x.regenerate(), set("b", "1"))
		err := x.saveIn(ctx, h, c)
		x.cut(err, "Regenerate")
		before, after := x.opens(h.token), x.opens(tokenFor(c.Record))
		if before && after || err == nil && (before || !after) {
			x.Fatalf("Regenerate whose context ended at question %d returned %v; the old id opens: %v, the new: %v", n, err, before, after)
		}
		if after {
			x.holds(x.load(tokenFor(c.Record)).record, "the session under its new id", "a", "0", "b", "1")
		}
		if ctx.left.Load() > 0 {
			return
		}
	}
}

// cut fails the clause if a call whose context ended says that the session has.
func (x *trial) cut(err error, what string) {
	x.Helper()
	if errors.Is(err, session.ErrNotFound) {
		x.Fatalf("%s with a context that ends says ErrNotFound, which logs the user out: %v", what, err)
	}
}

func goroutines(x *trial) {
	h := x.create(x.record("", "stays", "0"))
	own := make([]held, 100)
	x.each(len(own), func(i int) error {
		r, err := x.store.Load(x.ctx, h.token)
		own[i] = held{h.token, r}
		return err
	})
	x.each(len(own), func(i int) error { // all have loaded the session by now
		_, err := x.try(own[i], x.change(own[i], set(fmt.Sprint("key ", i), "1"), flash(fmt.Sprintf("%04d", i), "1")))
		return err
	})
	want := &session.Record{}
	put(&want.Values, "stays", "0")
	for i := range 100 {
		put(&want.Values, fmt.Sprint("key ", i), "1")
		put(&want.Flashes, fmt.Sprintf("%04d", i), "1")
	}
	if diff := differentValues(x.load(h.token).record, want); len(diff) > 0 {
		x.Errorf("after 100 requests at once, of 100 keys and 100 flashes %d are wrong; the first: %s", len(diff), diff[0])
	}
}

func manySessions(x *trial) {
	x.each(100, func(i int) error {
		r := x.record("", "n", strconv.Itoa(i))
		token, err := x.store.Save(x.ctx, tokenFor(r), creation(r))
		if err != nil {
			return fmt.Errorf("session %d: Save: %w", i, err)
		}
		h := held{token, r}
		if h.token, err = x.try(h, x.change(h, set("m", strconv.Itoa(i)))); err != nil {
			return fmt.Errorf("session %d: a second Save: %w", i, err)
		}
		got, err := x.store.Load(x.ctx, h.token)
		if err != nil {
			return fmt.Errorf("session %d: Load: %w", i, err)
		}
		want := copyOf(r)
		put(&want.Values, "m", strconv.Itoa(i))
		if diff := differentValues(got, want); got.ID != r.ID || len(diff) > 0 {
			return fmt.Errorf("session %d is %s: %v", i, got.ID, diff)
		}
		return nil
	})
}

func racingRegenerations(x *trial) {
	if !x.moves() {
		return
	}
	for range 10 {
		h := x.create(x.record("", "a", "1"))
		changes := make([]*session.Change, 10)
		for i := range changes {
			changes[i] = x.change(h, x.regenerate())
		}
		var won atomic.Int32
		x.each(len(changes), func(i int) error {
			_, err := x.try(h, changes[i])
			if err == nil {
				won.Add(1)
				return nil
			}
			if !errors.Is(err, session.ErrNotFound) {
				return fmt.Errorf("a regeneration that came second: the error is %w, and must wrap ErrNotFound", err)
			}
			return nil
		})
		open := 0
		for _, c := range changes {
			if x.opens(tokenFor(c.Record)) {
				open++
			}
		}
		if won.Load() != 1 || open != 1 && !x.adopts {
			x.Fatalf("of %d regenerations at once, Save accepted %d, and %d ids open; it must be one", len(changes), won.Load(), open)
		}
	}
}

func racingEnd(x *trial) {
	if !x.deletes() {
		return
	}
	for range 10 {
		h := x.create(x.record("", "a", "1"))
		var over, failed atomic.Bool
		x.each(20, func(i int) error {
			if i == 10 {
				err := x.store.Delete(x.ctx, h.record.ID, h.record.Deadline)
				over.Store(err == nil)
				failed.Store(err != nil)
				return err
			}
			for !failed.Load() {
				after := over.Load()
				_, err := x.try(h, x.change(h, set(strconv.Itoa(i), "1")))
				switch {
				case err == nil && after:
					return errors.New("a change that began after Delete had returned was accepted")
				case errors.Is(err, session.ErrNotFound):
					return nil
				case err != nil:
					return err
				}
			}
			return nil
		})
		x.gone(h.token, "a session deleted while 19 requests changed it")
	}
}
