package histories_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

const (
	storeTimeout = 500 * time.Millisecond
	groups       = 6 // of clients that share a session
	together     = 4 // clients of a group
	think        = 8 * time.Millisecond
	mostAsked    = 150 // operations on one session, so that the checker gets through
	mostUnknown  = 5   // of these with an unknown outcome, after which the session is only read
	cookieName   = "__Host-session"
)

// The values of a session.
const (
	ownerKey session.Key[string] = "owner" // whose it is: nobody must see another one's
	valueKey session.Key[int]    = "value"
	countKey session.Key[int]    = "count"
)

// load is a run of many clients.
type load struct {
	t        *testing.T
	managers []*session.Manager
	handlers []http.Handler
	start    time.Time
	end      time.Time

	mu        sync.Mutex
	histories []*history
}

// history is that of one session.
type history struct {
	owner, cookie, id string

	mu         sync.Mutex
	operations []porcupine.Operation
	asked      int // except reads that told nothing
	unknown    int
	over       bool // somebody was told so
}

// newLoad makes an application with a process for each of the stores.
func newLoad(t *testing.T, stores []session.Store) *load {
	l := &load{t: t, start: time.Now()}
	for _, store := range stores {
		manager, err := session.New(store, session.Config{StoreTimeout: storeTimeout, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		l.managers = append(l.managers, manager)
		l.handlers = append(l.handlers, manager.Middleware(http.HandlerFunc(serve)))
	}
	return l
}

// question is what a request asks the handler, and what that saw.
type question struct {
	input
	owner        string // of a session that a login begins
	seen         string // whose session it is
	value, count int
	id           string
}

type questionKey struct{}

func serve(_ http.ResponseWriter, r *http.Request) {
	s, q := session.FromContext(r.Context()), r.Context().Value(questionKey{}).(*question)
	q.seen, _ = ownerKey.Get(s)
	switch q.kind {
	case get:
		q.value, _ = valueKey.Get(s)
		q.count, _ = countKey.Get(s)
	case set:
		valueKey.Set(s, q.input.value)
	case update:
		countKey.Update(s, func(n int) int { return n + 1 })
	case login:
		if s.Login("ada") == nil {
			ownerKey.Set(s, q.owner)
			q.id = s.ID()
		}
	case destroy:
		_ = s.Destroy()
	}
}

// ask makes a request at one of the processes, and returns its status and the cookie that it sets.
func (l *load) ask(process int, cookie string, q *question) (status int, set *http.Cookie) {
	r := httptest.NewRequestWithContext(context.WithValue(context.Background(), questionKey{}, q), http.MethodPost, "https://localhost/", nil)
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
	}
	w := httptest.NewRecorder()
	l.handlers[process].ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		set = c
	}
	return w.Code, set
}

// run has all clients ask until the time is over.
func (l *load) run(lasts time.Duration) {
	l.end = time.Now().Add(lasts)
	var wait sync.WaitGroup
	for i := range groups {
		g := &group{load: l, name: fmt.Sprintf("group %d", i)}
		for j := range together {
			dice := rand.New(rand.NewPCG(rand.Uint64(), uint64(j)))
			wait.Go(func() { g.client(j, dice) })
		}
	}
	wait.Wait()
}

// group is clients that share a session, one after another.
type group struct {
	load *load
	name string

	mu      sync.Mutex
	begun   int
	current *history
}

// client asks until the time is over.
func (g *group) client(number int, dice *rand.Rand) {
	for time.Now().Before(g.load.end) {
		time.Sleep(time.Duration(dice.Int64N(int64(think))))
		process := dice.IntN(len(g.load.handlers))
		if h := g.open(process); h != nil {
			g.operate(h, number, process, dice)
		}
	}
}

// open returns the session that the group has, and begins one if need be; nil if that fails.
func (g *group) open(process int) *history {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != nil && !g.current.isOver() {
		return g.current
	}
	q := g.nextLogin()
	status, cookie := g.load.ask(process, "", q)
	g.current = g.load.begin(q, status, cookie)
	return g.current
}

// nextLogin returns a question for a session of the group. It is called with the lock held.
func (g *group) nextLogin() *question {
	g.begun++
	return &question{input: input{kind: login}, owner: fmt.Sprintf("%s, session %d", g.name, g.begun)}
}

// begin returns the history of the session that a login has begun, or nil.
func (l *load) begin(q *question, status int, cookie *http.Cookie) *history {
	if status != http.StatusOK || cookie == nil {
		return nil
	}
	h := &history{owner: q.owner, cookie: cookie.Value, id: q.id}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.histories = append(l.histories, h)
	return h
}

func (h *history) isOver() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over || h.asked >= mostAsked
}

// operate makes one operation on a session, and writes down what it was told.
func (g *group) operate(h *history, client, process int, dice *rand.Rand) {
	q := &question{input: input{kind: h.draw(dice), value: 1 + dice.IntN(1<<30)}}
	if q.kind == login {
		g.mu.Lock()
		q.owner = g.nextLogin().owner
		g.mu.Unlock()
	}
	call := time.Since(g.load.start).Nanoseconds()
	out, next := g.load.tell(h, process, q)
	end := time.Since(g.load.start).Nanoseconds()
	if out.unknown {
		end = never
	}
	h.write(porcupine.Operation{ClientId: client, Input: q.input, Call: call, Output: out, Return: end})
	if next != nil {
		g.offer(next)
	}
}

// write writes down what a client was told.
func (h *history) write(o porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in, out := o.Input.(input), o.Output.(output)
	h.over = h.over || out.ended || in.kind >= login // also if that is not certain
	if out.unknown && in.kind == get {
		return
	}
	h.asked++
	if out.unknown {
		h.unknown++
	}
	h.operations = append(h.operations, o)
}

// offer gives the group the session that a Login has begun, unless it has another one.
func (g *group) offer(h *history) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil || g.current.owner != h.owner {
		g.current = h
	}
}

// draw returns a kind of operation. Few end the session. Each operation with an unknown outcome may double the checker's
// work.
func (h *history) draw(dice *rand.Rand) kind {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unknown >= mostUnknown {
		return get
	}
	switch n := dice.IntN(100); {
	case n < 35:
		return get
	case n < 60:
		return set
	case n < 97:
		return update
	case n < 98:
		return login
	case n < 99:
		return destroy
	}
	return revoke
}

// tell makes an operation, and returns what was told, and the session that a Login has begun.
func (l *load) tell(h *history, process int, q *question) (out output, next *history) {
	if q.kind == revoke {
		err := l.managers[process].Revoke(context.Background(), "ada", h.id)
		ended := errors.Is(err, session.ErrNotFound)
		return output{unknown: err != nil && !ended, ended: ended}, nil
	}
	status, cookie := l.ask(process, h.cookie, q)
	if q.seen != "" && q.seen != h.owner {
		l.t.Errorf("the cookie of %s opens the session of %s", h.owner, q.seen)
	}
	switch {
	case status == http.StatusConflict:
		return output{ended: true, refused: true}, nil
	case status == http.StatusServiceUnavailable:
		return output{unknown: true}, nil
	case status != http.StatusOK:
		l.t.Errorf("%v is answered with %d", q.kind, status)
		return output{unknown: true}, nil
	case q.kind == login:
		next = l.begin(q, status, cookie)
	case q.kind == set || q.kind == update: // a visitor's, whose session was revoked, begins another one
		return output{ended: q.seen == ""}, nil
	}
	return output{ended: q.kind == get && q.seen == "", value: q.value, count: q.count}, next
}

// judge checks all histories, and tells how much there was.
func (l *load) judge() {
	operations, unknown, longest, refused := 0, 0, 0, 0
	for _, h := range l.histories {
		operations += len(h.operations)
		longest = max(longest, len(h.operations))
		for _, o := range h.operations {
			switch out := o.Output.(output); {
			case out.unknown:
				unknown++
			case out.ended:
				refused++
			}
		}
		result, info := check(h.operations)
		if result != porcupine.Ok {
			l.t.Errorf("the history of %s is not linearizable, as far as the checker got (%s):\n%s\nA picture of it: %s", h.owner, result, h, l.draw(info))
		}
	}
	l.t.Logf("%d sessions with %d operations, the longest %d; %d with an unknown outcome, %d told that the session has ended",
		len(l.histories), operations, longest, unknown, refused)
	require.NotZero(l.t, operations)
}

// draw writes the checker's picture of a history into a file that stays.
func (l *load) draw(info porcupine.LinearizationInfo) string {
	dir, err := os.MkdirTemp("", "history")
	require.NoError(l.t, err)
	path := filepath.Join(dir, "history.html")
	require.NoError(l.t, porcupine.VisualizePath(model, info, path))
	return path
}

// String lists the operations in the order of their questions.
func (h *history) String() string {
	var b strings.Builder
	for _, o := range slices.SortedFunc(slices.Values(h.operations), func(a, b porcupine.Operation) int { return int(a.Call - b.Call) }) {
		end := fmt.Sprintf("%.3f", float64(o.Return)/1e6)
		if o.Return == never {
			end = "-"
		}
		fmt.Fprintf(&b, "%12.3f to %12s ms: %s\n", float64(o.Call)/1e6, end, describe(o.Input.(input), o.Output.(output)))
	}
	return b.String()
}
