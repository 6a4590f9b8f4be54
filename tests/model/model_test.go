// Package model_test has a model of a session, told as simply as can be: what its requests change is a list of changes, made
// to what is stored when a commit reaches the store, and never twice. Programs of any bytes are run on it and on the real
// thing, with a store that loses answers and refuses requests, and with other requests and revocations in between; the two
// have to agree, in what each request sees and is answered, and in what is stored.
package model_test

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

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
)

// model is one browser and its sessions.
type model struct {
	t       testing.TB
	store   *store
	fate    *fate // the real store's
	app     *kit.App
	v       *kit.Browser
	program []byte
	trace   []string

	browser int            // the ID that the browser has; 0: none
	ids     int            // how many there were
	real    map[int]string // and what they are really
	texts   int
}

func newModel(t testing.TB, k kind, inner session.Store, program []byte) *model {
	f := &fate{}
	app := kit.New(t, session.Config{IdleTimeout: -1}, k.open(inner, f))
	s := &store{kind: k, records: map[int]*record{}, now: app.Clock.Now}
	return &model{t: t, store: s, fate: f, app: app, v: app.Browser(), program: program, real: map[int]string{}}
}

func (m *model) run() {
	for len(m.program) > 0 {
		m.request(false)
		m.pass()
		m.checkStored()
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

func (m *model) newID() int {
	m.ids++
	return m.ids
}

func (m *model) tell(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

// String tells what was done.
func (m *model) String() string { return strings.Join(m.trace, "; ") }

func (m *model) request(nested bool) {
	d := &draft{model: m, nested: nested}
	if !nested {
		m.tell("\nrequest:")
	}
	d.load()
	if resp := d.visit(); resp != nil {
		d.answered(resp)
	} else {
		d.endNow() // a panic: only a logout is done, and the browser has no answer, or one without an end
	}
	require.Equal(m.t, m.browser == 0, m.v.Cookie == "", "%v: %q", d, m.v.Cookie)
}

// pass lets time go by. A browser whose cookie opens nothing gets another one, or is a visitor's.
func (m *model) pass() {
	m.app.Clock.Advance(time.Second)
	if m.next()%4 == 0 {
		m.tell("a minute")
		m.app.Clock.Advance(2 * time.Minute)
		maps.DeleteFunc(m.store.records, func(_ int, r *record) bool { return r.ended })
	}
	if r := m.store.records[m.browser]; (r == nil || r.ended) && m.next()%2 == 0 {
		m.v, m.browser = m.app.Browser(), 0
	}
}

var errPanic = errors.New("the handler's panic")

// visit makes the request, and returns nil if it ended in a panic.
func (d *draft) visit() (resp *http.Response) {
	defer func() {
		if p := recover(); p != nil {
			require.Equal(d.t, errPanic, p, d)
		}
	}()
	return d.v.Visit(func(w http.ResponseWriter, r *http.Request) {
		d.w, d.s = w, session.FromContext(r.Context())
		d.compare()
		steps := int(d.next()) % 8
		if d.nested {
			steps = 1 + steps%2
		}
		for range steps {
			d.step()
			d.compare()
		}
		d.tell("end")
		d.face()
	})
}

// compare compares what the request sees with what it should.
func (d *draft) compare() {
	v := d.view()
	require.Equal(d.t, v.stands(), d.s.ID() != "", d)
	if v.stands() {
		if d.real[v.id] == "" {
			d.real[v.id] = d.s.ID()
		}
		require.Equal(d.t, d.real[v.id], d.s.ID(), d)
	}
	seen := content{user: d.s.User(), note: d.s.Note()}
	for _, key := range d.s.Keys() {
		value, _ := session.Key[string](key).Get(d.s)
		seen.set(key, value)
	}
	seen.flashes = v.flashes // which reading would take
	d.requireEqual(v.content, seen)
}

func (m *model) requireEqual(want, got content) {
	require.Equal(m.t, want.user, got.user, m)
	require.Equal(m.t, want.note, got.note, m)
	require.Equal(m.t, fmt.Sprint(want.values), fmt.Sprint(got.values), m)
	require.Equal(m.t, fmt.Sprint(want.flashes), fmt.Sprint(got.flashes), m)
	for _, value := range got.values {
		require.False(m.t, hasTwice(value), m)
	}
}

// checkStored compares what is stored with what should be.
func (m *model) checkStored() {
	if m.store.alone {
		return // each cookie that was ever sent holds a session
	}
	live := m.app.Live()
	for id, r := range m.store.records {
		if r.ended {
			continue
		}
		if m.real[id] == "" { // it was empty whenever the request looked, and is stored since that was in doubt
			m.real[id] = m.newcomer(live)
		}
		require.Contains(m.t, live, m.real[id], m)
		m.requireEqual(r.content, contentOf(live[m.real[id]]))
		delete(live, m.real[id])
	}
	require.Empty(m.t, live, m)
}

// newcomer returns the ID of a session that no request has seen yet.
func (m *model) newcomer(live map[string]*session.Record) string {
	known := slices.Collect(maps.Values(m.real))
	for id := range live {
		if !slices.Contains(known, id) {
			return id
		}
	}
	return ""
}

var kinds = map[string]kind{
	"all or none": {}, "one by one": {oneByOne: true}, "without End": {endless: true},
	"one by one, without End": {oneByOne: true, endless: true},
}

func TestModel(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(2000) {
				newModel(t, k, session.NewMemoryStore(), randomProgram(seed, 80)).run()
			}
		})
	}
}

func TestModel_Redis(t *testing.T) {
	client := kit.RedisClient(t, redistest.Start(t))
	for name, k := range kinds {
		inner := kit.RedisOn(t, client, session.RedisOptions{})
		if k.oneByOne {
			inner = kit.RedisOn(t, kit.Across{UniversalClient: client}, session.RedisOptions{})
		}
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				newModel(t, k, inner, randomProgram(seed, 80)).run()
				require.NoError(t, client.FlushAll(context.Background()).Err())
			}
		})
	}
}

// A sealed session is as the last response left it, so that this model fits only where the browser has each of them.
func TestModel_Sealed(t *testing.T) {
	for name, inner := range map[string]session.Store{
		"without a list": kit.Sealed(t, kit.SecretOne),
		"with a list":    kit.SealedWithList(t),
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(1000) {
				newModel(t, kind{alone: true}, inner, randomProgram(seed, 80)).run()
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
		f.Add(byte(seed), randomProgram(seed, 60))
	}
	names := slices.Sorted(maps.Keys(kinds))
	f.Fuzz(func(t *testing.T, which byte, program []byte) {
		k := kinds[names[int(which)%len(names)]]
		newModel(t, k, session.NewMemoryStore(), program[:min(len(program), 400)]).run()
	})
}
