package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/stretchr/testify/require"
)

// A model of a session, told as simply as can be: what its requests change is a list of changes, made to what is stored
// when a commit reaches the store, and never twice. Programs of any bytes are run on it and on the real thing, with a
// store that loses replies and refuses requests, and with other requests in between; the two have to agree.

// content is what can be seen of a session.
type content struct {
	user    string
	values  map[string]int
	flashes []string
}

func (c content) clone() content {
	return content{c.user, maps.Clone(c.values), slices.Clone(c.flashes)}
}

func (c content) empty() bool { return c.user == "" && len(c.values)+len(c.flashes) == 0 }

func (c *content) set(key string, n int) {
	if c.values == nil {
		c.values = map[string]int{}
	}
	c.values[key] = n
}

func (c *content) flash(text string) { c.flashes = slices.Sorted(slices.Values(append(c.flashes, text))) }

// fate is what becomes of the next call that changes the store.
type fate int

const (
	done    fate = iota
	lost         // it is done, and only its reply is lost
	refused      // it is not done
)

// fateful is a store with a fate, until that is met.
type fateful struct {
	session.Store
	fate, met fate
	calls     int
	conflict  bool // the first call met another request's change
}

// face sets the fate of what comes next.
func (f *fateful) face(next fate) { f.fate, f.met, f.calls, f.conflict = next, done, 0, false }

func (f *fateful) meet(call func() error) error {
	if f.fate == refused {
		f.fate, f.met = done, refused
		return errDown
	}
	err := call()
	var conflict *session.ConflictError
	if f.calls++; f.calls == 1 {
		f.conflict = errors.As(err, &conflict)
	}
	if f.fate == lost && err == nil {
		f.fate, f.met = done, lost
		return errDown
	}
	return err
}

func (f *fateful) Save(ctx context.Context, token session.Token, c *session.Change) (saved session.Token, err error) {
	err = f.meet(func() (err error) { saved, err = f.Store.Save(ctx, token, c); return err })
	return saved, err
}

func (f *fateful) Delete(ctx context.Context, id string, until time.Time) error {
	return f.meet(func() error { return f.Store.Delete(ctx, id, until) })
}

// model is one browser and its session.
type model struct {
	t       testing.TB
	store   *fateful
	site    *site
	v       *visitor
	program []byte
	trace   []string

	stored  content
	latest  int // the id it is stored under; 0: there is none
	browser int // the id that the browser has
	ids     int
	texts   int
}

func runModel(t testing.TB, store session.Store, program []byte) {
	f := &fateful{Store: store}
	site := newSite(t, f, session.Config{IdleTimeout: -1})
	m := &model{t: t, store: f, site: site, v: site.visitor(), program: program}
	for len(m.program) > 0 {
		m.request()
	}
}

// next takes the next byte of the program.
func (m *model) next() byte {
	if len(m.program) == 0 {
		return 0
	}
	b := m.program[0]
	m.program = m.program[1:]
	return b
}

// text returns a text that comes after all others, as messages do in the order in which they were added.
func (m *model) text() string {
	m.texts++
	return fmt.Sprintf("text %03d", m.texts)
}

// batch is what one call of Save asks for.
type batch struct {
	changes      []func(*content)
	newID, fresh bool
	done         bool
}

// draft is a request.
type draft struct {
	*model
	s         *session.Session
	seen      content // what the request sees, as long as no other request was in between
	disturbed bool
	begun     bool   // there is a session that the request knows
	ends      bool   // and ends the one that was there
	cleared   bool   // it dropped all values
	unsaved   batch  // what it changed
	doubt     *batch // what the store was told, and has not answered
	since     batch  // and what was changed since
	changed   bool
	cookie    int // the id in the header; -1: none
	failed    bool
	onDelete  bool // the call that failed was one of Delete
}

// change notes a change.
func (d *draft) change(newID bool, f func(*content)) {
	f(&d.seen)
	d.unsaved.changes = append(d.unsaved.changes, f)
	d.since.changes = append(d.since.changes, f)
	d.unsaved.newID, d.since.newID = d.unsaved.newID || newID, d.since.newID || newID
	d.changed = true
}

func (m *model) request() {
	d := &draft{model: m, seen: m.stored.clone(), begun: m.latest != 0, cookie: -1}
	m.trace = append(m.trace, "\nrequest:")
	resp := m.v.do(func(s *session.Session) {
		d.s = s
		s.Has("a")
		for range int(m.next()) % 8 {
			d.step()
			d.compare()
		}
		d.note("end")
		m.store.face(d.fate())
	})
	d.commit()
	status := http.StatusOK
	if d.failed {
		status = http.StatusServiceUnavailable
		if d.ends && d.begun && !d.onDelete {
			m.end()
		}
	}
	require.Equal(m.t, status, resp.StatusCode, d)
	if d.cookie >= 0 {
		m.browser = d.cookie
	}
	m.site.clock.move(time.Second)
	m.check(d)
}

// check compares what the browser's cookie opens with what is stored.
func (m *model) check(d *draft) {
	if !d.failed {
		require.Equal(m.t, m.latest, m.browser, "%v: the browser has not the session's id", d)
	}
	if m.browser != m.latest || m.latest == 0 {
		require.True(m.t, m.v.signedOut(), d)
		m.v, m.browser, m.latest, m.stored = m.site.visitor(), 0, 0, content{}
		return
	}
	m.v.must(func(s *session.Session) { compare(m.t, s, m.stored, d) })
}

func compare(t testing.TB, s *session.Session, want content, d *draft) {
	require.Equal(t, want.user, s.User(), d)
	require.Equal(t, slices.Sorted(maps.Keys(want.values)), s.Keys(), d)
	for key, n := range want.values {
		got, _ := session.Key[int](key).Get(s)
		require.Equal(t, n, got, "%v: %s", d, key)
	}
}

func (d *draft) compare() {
	if !d.disturbed {
		compare(d.t, d.s, d.seen, d)
	}
}

func (d *draft) note(format string, args ...any) {
	d.trace = append(d.trace, fmt.Sprintf(format, args...))
}

// String tells what was done.
func (d *draft) String() string { return strings.Join(d.trace, "; ") }

func (d *draft) fate() fate {
	f := fate(d.next() % 6)
	if f > refused {
		f = done
	}
	d.note("[%d]", f)
	return f
}

// step makes the request do one thing.
func (d *draft) step() {
	d.site.clock.move(time.Millisecond)
	key := []string{"a", "b"}[d.next()%2]
	switch d.next() % 12 {
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
	case 6:
		d.readFlashes()
	case 7:
		d.endingOrNewID(key)
	case 8, 9, 10:
		d.note("save")
		d.store.face(d.fate())
		err := d.s.Save(context.Background())
		d.commit()
		require.Equal(d.t, d.failed, err != nil, "%v: %v", d, err)
	case 11:
		d.other()
	}
}

// begin notes that what comes is another session.
func (d *draft) begin() { d.unsaved.fresh, d.since.fresh, d.cleared = true, true, true }

func (d *draft) endingOrNewID(key string) {
	switch d.next() % 4 {
	case 0:
		d.note("clear")
		d.s.Clear()
		d.cleared = true
		d.change(false, func(c *content) { c.values, c.flashes = nil, nil })
	case 1:
		keep := []string{key, "n"}
		if d.disturbed { // another request may have counted
			keep = keep[:1]
		}
		d.note("login, keep %v", keep)
		require.NoError(d.t, d.s.Login("ada", keep...))
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
		require.NoError(d.t, d.s.Destroy())
		d.ends = d.ends || d.begun || d.doubt != nil
		d.begin()
		d.unsaved.newID, d.since.newID = false, false
		d.change(false, func(c *content) { *c = content{} })
	case 3:
		d.note("regenerate")
		require.NoError(d.t, d.s.Regenerate())
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
		d.change(false, func(c *content) {
			c.flashes = slices.DeleteFunc(c.flashes, func(text string) bool { return slices.Contains(texts, text) })
		})
		d.seen.flashes = nil
	}
}

// other is another request of the browser, from beginning to end. After a Clear in doubt there is none: it is made again,
// over what others set meanwhile.
func (d *draft) other() {
	if d.latest == 0 || d.browser != d.latest || d.doubt != nil && d.cleared {
		return
	}
	d.disturbed = true
	v := d.v.copied()
	switch d.next() % 4 {
	case 0:
		n := int(d.next())
		d.note("(other: set x %d)", n)
		v.must(func(s *session.Session) { s.Set("x", n) })
		d.stored.set("x", n)
	case 1:
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
	}
}

// commit is what the model makes of a commit that has met its fate.
func (d *draft) commit() {
	met, conflict := d.store.met, d.store.conflict
	d.store.face(done)
	d.failed, d.onDelete = false, false
	if d.doubt != nil && d.changed && conflict { // it was not done, and all is made anew
		d.doubt = nil
	}
	if d.doubt != nil && d.changed { // first of all that is made sure of
		if d.save(met); d.failed {
			return
		}
		d.unsaved, met = d.since, done
	}
	if d.ends && d.begun {
		if met != refused {
			d.end()
		}
		if d.failed, d.onDelete = met != done, met != done; d.failed {
			return
		}
		d.begun, d.ends = false, false
	}
	switch {
	case (!d.begun || d.unsaved.fresh) && d.seen.empty():
		if d.unsaved.fresh {
			d.cookie = 0
		}
		d.unsaved, d.since, d.changed = batch{}, batch{}, false
	case len(d.unsaved.changes) > 0:
		if d.doubt == nil {
			b := d.unsaved
			b.newID = b.newID || b.fresh || !d.begun
			d.doubt = &b
		}
		d.save(met)
		d.since, d.changed = batch{}, false
		if !d.failed {
			d.unsaved = batch{}
		}
	}
}

// save is what the model makes of a call of Save for what is in doubt.
func (d *draft) save(met fate) {
	d.failed = met != done
	if met != refused && !d.doubt.done {
		d.doubt.done = true
		for _, change := range d.doubt.changes {
			change(&d.stored)
		}
		if d.doubt.newID {
			d.ids++
			d.latest = d.ids
		}
	}
	if d.failed {
		return
	}
	if d.doubt.newID {
		d.cookie = d.latest
	}
	d.begun, d.doubt = true, nil
}

func (m *model) end() { m.stored, m.latest = content{}, 0 }

func TestModel(t *testing.T) {
	for seed := range uint64(3000) {
		runModel(t, session.NewMemoryStore(), randomProgram(seed, 60))
	}
}

func TestModel_Redis(t *testing.T) {
	client := redisClient(t, redistest.Start(t))
	for name, store := range map[string]session.Store{
		"one slot":      session.NewRedisStore(client, session.RedisOptions{}),
		"several slots": session.NewRedisStore(across{client}, session.RedisOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				runModel(t, store, randomProgram(seed, 60))
			}
		})
	}
}

func randomProgram(seed uint64, length int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	program := make([]byte, length)
	for i := range program {
		program[i] = byte(r.Uint32())
	}
	return program
}

func FuzzModel(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomProgram(seed, 40))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		runModel(t, session.NewMemoryStore(), program[:min(len(program), 400)])
	})
}
