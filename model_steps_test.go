package session_test

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/doorman-go/session"
	"github.com/stretchr/testify/require"
)

// What the requests of the model's programs do, each to the session and to the model of it.

// step makes the request do one thing.
func (d *draft) step() {
	d.site.clock.move(time.Millisecond)
	key := []string{"a", "b"}[d.next()%2]
	switch d.next() % 14 {
	case 0, 1:
		n := int(d.next())
		d.note("set %s %d", key, n)
		d.s.Set(key, n)
		d.change(false, func(c *content) { c.set(key, n) })
	case 2:
		d.note("delete %s", key)
		d.s.Delete(key)
		d.change(false, func(c *content) { delete(c.values, key) })
	case 3, 4:
		d.note("update")
		session.Key[int]("n").Update(d.s, func(n int) int { return n + 1 })
		d.change(false, func(c *content) { c.set("n", c.values["n"]+1) })
	case 5:
		text := d.text()
		d.note("flash %s", text)
		d.s.Flash("info", text)
		d.change(false, func(c *content) { c.flash(text) })
		d.own = append(d.own, text)
	case 6:
		d.readFlashes()
	case 7:
		d.endingOrNewID(key)
	case 8, 9, 10:
		d.note("save")
		if d.dead {
			require.Error(d.t, d.s.Save(context.Background()), d)
			return
		}
		d.store.face(d.fate())
		err := d.s.Save(context.Background())
		d.commit()
		require.Equal(d.t, d.failed, err != nil, "%v: %v", d, err)
	case 11, 12:
		d.other()
	case 13:
		d.flushOrPanic()
	}
}

func (d *draft) flushOrPanic() {
	if d.alone {
		return
	}
	if d.next()%4 == 0 {
		d.note("panic")
		panic(errPanic)
	}
	if d.started {
		return
	}
	d.note("flush")
	d.store.face(d.fate())
	err := http.NewResponseController(d.w).Flush()
	d.late = true
	d.start()
	require.Equal(d.t, d.failed, err != nil, "%v: %v", d, err)
}

func (d *draft) endingOrNewID(key string) {
	switch d.next() % 4 {
	case 0:
		d.note("clear")
		d.s.Clear()
		d.emptied = true
		d.change(false, func(c *content) { c.values, c.flashes = nil, nil })
	case 1:
		keep := []string{key, "n"}
		if d.disturbed { // another request may have counted
			keep = keep[:1]
		}
		d.note("login, keep %v", keep)
		if err := d.s.Login("ada", keep...); d.started {
			require.ErrorIs(d.t, err, session.ErrResponseStarted, d)
			return
		}
		kept := slices.DeleteFunc(keep, func(key string) bool { _, ok := d.seen.values[key]; return !ok })
		d.begin()
		d.change(true, func(c *content) {
			old := c.values
			*c = content{user: "ada"}
			for _, key := range kept {
				if n, ok := old[key]; ok {
					c.set(key, n)
				}
			}
		})
	case 2:
		d.note("destroy")
		if err := d.s.Destroy(); d.started && !d.lapsed {
			require.ErrorIs(d.t, err, session.ErrResponseStarted, d)
		}
		if d.lapsed {
			d.unsaved, d.since, d.changed = batch{}, batch{}, false
			return
		}
		d.ends = d.ends || d.begun || d.doubt != nil
		d.begin()
		d.unsaved.newID, d.since.newID = false, false
		d.change(false, func(c *content) { *c = content{} })
	case 3:
		d.note("regenerate")
		if err := d.s.Regenerate(); d.started || d.lapsed {
			require.Error(d.t, err, d)
			return
		}
		d.change(d.begun, func(*content) {})
	}
}

func (d *draft) readFlashes() {
	var texts []string
	for _, f := range d.s.Flashes() {
		texts = append(texts, f.Message)
	}
	d.note("flashes: %v", texts)
	if !d.disturbed {
		require.Equal(d.t, append([]string(nil), d.seen.flashes...), texts, d)
	}
	if len(texts) > 0 {
		d.tookBack(texts)
		d.change(false, func(c *content) {
			c.flashes = slices.DeleteFunc(c.flashes, func(text string) bool { return slices.Contains(texts, text) })
		})
		d.seen.flashes = nil
	}
}

// other is another request of the browser, from beginning to end.
func (d *draft) other() {
	if d.alone || d.latest == 0 || d.browser != d.latest {
		return
	}
	d.disturbed = true
	v := d.v.copied()
	switch d.next() % 6 {
	case 0:
		key, n := []string{"a", "x"}[d.next()%2], int(d.next())
		d.note("(other: set %s %d)", key, n)
		v.must(func(s *session.Session) { s.Set(key, n) })
		d.stored.set(key, n)
	case 1:
		if d.doubt != nil && d.emptied { // an Update after a Clear begins from nothing, also where the Clear was done before
			return
		}
		d.note("(other: update)")
		v.must(func(s *session.Session) { session.Key[int]("n").Update(s, func(n int) int { return n + 1 }) })
		d.stored.set("n", d.stored.values["n"]+1)
	case 2:
		text := d.text()
		d.note("(other: flash %s)", text)
		v.must(func(s *session.Session) { s.Flash("info", text) })
		d.stored.flash(text)
	case 3:
		d.note("(other: flashes)")
		v.must(func(s *session.Session) {
			var texts []string
			for _, f := range s.Flashes() {
				texts = append(texts, f.Message)
			}
			require.Equal(d.t, append([]string(nil), d.stored.flashes...), texts, d)
		})
		d.stored.flashes = nil
	case 4:
		d.note("(other: destroy)")
		v.must(func(s *session.Session) { require.NoError(d.t, s.Destroy()) })
		d.gone = true
		d.end()
	case 5:
		d.note("(other: regenerate)")
		v.must(func(s *session.Session) { require.NoError(d.t, s.Regenerate()) })
		d.gone, d.heir = true, v
		d.ids++
		d.latest = d.ids
	}
}

func (d *draft) fate() fate {
	f := fate(d.next() % 6)
	if f > refused || d.gone || d.alone {
		f = done
	}
	d.note("[%d]", f)
	return f
}
