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

func (c *content) flash(text string) {
	c.flashes = slices.Sorted(slices.Values(append(c.flashes, text)))
}

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
	alone   bool // no faults, no other requests, and each request has its whole response
	trace   []string

	stored  content
	latest  int // the id it is stored under; 0: there is none
	browser int // the id that the browser has
	ids     int
	texts   int
}

func newModel(t testing.TB, store session.Store, program []byte) *model {
	f := &fateful{Store: store}
	site := newSite(t, f, session.Config{IdleTimeout: -1})
	return &model{t: t, store: f, site: site, v: site.visitor(), program: program}
}

func (m *model) run() {
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

func (m *model) request() {
	d := &draft{model: m, seen: m.stored.clone(), begun: m.latest != 0, cookie: -1}
	m.trace = append(m.trace, "\nrequest:")
	resp := d.visit()
	if resp == nil {
		d.abandoned()
	} else {
		d.answered(resp)
	}
	m.site.clock.move(time.Second)
	m.check(d)
}

var errPanic = errors.New("the handler's panic")

// visit makes the request, and returns nil if it ended in a panic.
func (d *draft) visit() (resp *http.Response) {
	defer func() {
		if p := recover(); p != nil {
			require.Equal(d.t, errPanic, p, d)
		}
	}()
	return d.v.visit(func(w http.ResponseWriter, r *http.Request) {
		d.w, d.s = w, session.FromContext(r.Context())
		d.s.Has("a")
		for range int(d.next()) % 8 {
			d.step()
			d.compare()
		}
		d.note("end")
		if !d.dead { // there is nothing to come but a logout
			d.store.face(d.fate())
		}
	})
}

// check compares what the browser's cookie opens with what is stored.
func (m *model) check(d *draft) {
	if !d.failed && !d.late && !d.gone {
		require.Equal(m.t, m.latest, m.browser, "%v: the browser has not the session's id", d)
	}
	require.Equal(m.t, m.browser == 0, m.v.cookie == "", "%v: %q", d, m.v.cookie)
	if m.browser != m.latest || m.latest == 0 {
		require.True(m.t, m.v.signedOut(), d)
		m.v, m.browser, m.latest, m.stored = m.site.visitor(), 0, 0, content{}
		return
	}
	m.v.must(func(s *session.Session) {
		if d.adopt {
			m.stored.values = nil
			for _, key := range s.Keys() {
				n, _ := session.Key[int](key).Get(s)
				m.stored.set(key, n)
			}
		}
		compare(m.t, s, m.stored, d)
	})
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

func TestModel(t *testing.T) {
	for seed := range uint64(3000) {
		newModel(t, session.NewMemoryStore(), randomProgram(seed, 60)).run()
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
				newModel(t, store, randomProgram(seed, 60)).run()
			}
		})
	}
}

// A sealed session is as the last response left it, so that this model fits only where the browser has each of them.
func TestModel_Sealed(t *testing.T) {
	for name, store := range map[string]session.Store{
		"alone":       cookieStore(t, secretOne),
		"with a list": cookieStore(t, secretOne).WithRevocations(session.NewMemoryRevocations()),
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(1000) {
				m := newModel(t, store, randomProgram(seed, 60))
				m.alone = true
				m.run()
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
		newModel(t, session.NewMemoryStore(), program[:min(len(program), 400)]).run()
	})
}
