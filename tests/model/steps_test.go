package model_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

const user = "ada"

// step makes the request do one thing.
func (d *draft) step() {
	d.app.Clock.Advance(250 * time.Millisecond) // so that nobody has to wait with a second Regenerate
	key := []string{"a", "b"}[d.next()%2]
	switch d.next() % 16 {
	case 0, 1:
		value := fmt.Sprint(d.next())
		d.tell("set %s %s", key, value)
		d.s.Set(key, value)
		d.begin()
		d.note(setting(key, value))
	case 2:
		d.tell("delete %s", key)
		d.s.Delete(key)
		d.note(deleting(key))
	case 3, 4:
		d.texts++
		mark := fmt.Sprintf("%d ", d.texts)
		d.tell("update %s", mark)
		session.Key[string](key).Update(d.s, func(old string) string { return old + mark })
		d.begin()
		d.note(updating(key, mark))
	case 5:
		d.texts++
		text := fmt.Sprint(d.texts)
		d.tell("flash %s", text)
		d.s.Flash("info", text)
		d.begin()
		d.note(flashing(text))
	case 6:
		d.readFlashes()
	case 7, 8:
		d.newIDOrEnd(key)
	case 9, 10, 11:
		d.save1()
	case 12, 13:
		d.other()
	case 14:
		d.flushOrPanic()
	case 15:
		d.noteOrWait()
	}
}

func (d *draft) save1() {
	d.tell("save")
	d.face()
	err := d.s.Save(context.Background())
	d.requireError(d.save(), err)
}

// requireError checks that the error is of the kind expected.
func (d *draft) requireError(want, err error) {
	var failed *session.StoreError
	switch {
	case want == nil:
		require.NoError(d.t, err, d)
	case errors.Is(want, errEnded):
		require.ErrorIs(d.t, err, session.ErrSessionEnded, d)
	case errors.Is(want, errStarted):
		require.ErrorIs(d.t, err, session.ErrResponseStarted, d)
	default:
		require.ErrorAs(d.t, err, &failed, d)
	}
}

func (d *draft) flushOrPanic() {
	switch {
	case d.store.alone || d.nested:
	case d.next()%4 == 0:
		d.tell("panic")
		panic(errPanic)
	case !d.started:
		d.tell("flush")
		d.face()
		err := http.NewResponseController(d.w).Flush()
		d.start()
		d.requireError(d.failure, err)
	}
}

func (d *draft) noteOrWait() {
	if d.next()%2 == 0 {
		note := fmt.Sprint("note ", d.next())
		d.tell("%s", note)
		d.s.SetNote(note)
		d.note(noting(note))
		return
	}
	if d.doubt != nil || d.nested || d.paused { // a request is shorter than a tombstone's life
		return
	}
	d.tell("wait")
	d.paused = true
	d.app.Clock.Advance(35 * time.Second)
}

func (d *draft) newIDOrEnd(key string) {
	v := d.view()
	switch d.next() % 6 {
	case 0:
		d.tell("clear")
		d.s.Clear()
		d.note(clearing())
	case 1, 2:
		keep := []string{key, "b"}
		d.tell("login, keep %v", keep)
		err := d.s.Login(user, keep...)
		if d.requireError(d.ifStarted(), err); err == nil {
			d.note(loggingIn(d.newID(), user, keep))
		}
	case 3:
		d.tell("destroy")
		err := d.s.Destroy()
		if d.base == nil {
			require.NoError(d.t, err, d)
		} else {
			d.requireError(d.ifStarted(), err)
		}
		d.note(destroying())
	case 4:
		d.tell("regenerate")
		err := d.s.Regenerate()
		switch {
		case v.late != nil:
			require.ErrorIs(d.t, err, session.ErrSessionEnded, d)
		case d.started:
			require.ErrorIs(d.t, err, session.ErrResponseStarted, d)
		case v.id != 0:
			d.note(regenerating(d.newID()))
		}
	case 5:
		d.tell("rename")
		err := d.s.RenameUser("grace")
		switch {
		case v.late != nil:
			require.ErrorIs(d.t, err, session.ErrSessionEnded, d)
		case v.user == "" || d.started:
			require.Error(d.t, err, d)
		default:
			require.NoError(d.t, err, d)
			d.note(renaming(d.newID(), "grace"))
		}
	}
}

func (d *draft) ifStarted() error {
	if d.started {
		return errStarted
	}
	return nil
}

func (d *draft) readFlashes() {
	var texts []string
	for _, f := range d.s.Flashes() {
		texts = append(texts, f.Message)
	}
	d.tell("flashes: %v", texts)
	require.Equal(d.t, append([]string(nil), d.view().flashes...), texts, d)
	if len(texts) > 0 {
		d.note(reading(texts))
	}
}

// other is what happens meanwhile: another request of the browser, which gets that one's cookie, or a revocation.
func (d *draft) other() {
	if d.store.alone || d.nested {
		return
	}
	d.store.fate, *d.fate = fate{}, fate{}
	switch d.next() % 6 {
	case 0:
		d.tell("(revoke %s)", user)
		want := d.store.revokeUser(user)
		n, err := d.app.Manager().RevokeUser(context.Background(), user)
		require.NoError(d.t, err, d)
		require.Equal(d.t, want, n, d)
	case 1:
		d.revokeOne()
	default:
		d.tell("(other:")
		d.model.request(true)
		d.tell("other's end)")
	}
}

// revokeOne ends the session that the request began with.
func (d *draft) revokeOne() {
	if d.base == nil || d.base.ended || d.base.user == "" {
		return
	}
	d.tell("(revoke one of %s)", d.base.user)
	var stands *record
	for stands = d.store.records[d.base.id]; stands != nil && stands.ended && stands.next != 0; {
		following := d.store.records[stands.next]
		if following == nil {
			break
		}
		stands = following
	}
	err := d.app.Manager().Revoke(context.Background(), d.base.user, d.real[d.base.id])
	if stands == nil || stands.ended && stands.next == 0 || stands.user != d.base.user {
		require.ErrorIs(d.t, err, session.ErrNotFound, d)
		return
	}
	require.NoError(d.t, err, d)
	_, _, _ = d.store.endSession(stands.id, record{content: content{user: stands.user}, revoked: true})
}

// revokeUser ends all that is kept of a user, and returns how many sessions were live.
func (s *store) revokeUser(user string) (ended int) {
	var ids []int
	for id, r := range s.records {
		if over := r.ended && (r.next == 0 || !s.now().Before(r.until)); r.user == user && !over {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		if _, replaced, _ := s.endSession(id, record{content: content{user: user}, revoked: true}); replaced != nil {
			ended++
		}
	}
	return ended
}

// face decides what becomes of the next commit.
func (d *draft) face() {
	f := fate{kind: fateKind(d.next() % 6), after: int(d.next() % 6 / 3)}
	if f.kind > refused || d.store.alone || d.nested {
		f = fate{}
	}
	d.tell("[%v]", f)
	d.store.fate, *d.fate = f, f
}
