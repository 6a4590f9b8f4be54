package simulation_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// browser is one cookie jar, which several tabs share.
type browser struct {
	world  *world
	name   string
	cookie string // guarded by world.mu
}

// runTab makes the requests of one tab, one after the other.
func (b *browser) runTab(tab int) {
	p := b.world.params
	for i := range p.visits {
		name := fmt.Sprintf("%s.t%d.r%d", b.name, tab, i)
		d := b.world.dice("pause " + name)
		pause := time.Duration(d.Int64N(int64(p.pauses)))
		if d.Float64() < p.gaps {
			pause += time.Minute + time.Duration(d.Int64N(int64(20*time.Second)))
		}
		time.Sleep(pause)
		if b.world.has(name) {
			b.visit(name)
		}
	}
}

// response is what comes back: nothing if the connection was cut.
type response struct {
	status int
	cookie *http.Cookie // nil if the response sets none
}

// visit makes one request, and waits until it is answered, or until the tab's patience is over. Then its answer is a late
// one.
func (b *browser) visit(name string) {
	w, d := b.world, b.world.dice("visit "+name)
	n := w.nodes[d.IntN(len(w.nodes))]
	patience := 2*time.Second + time.Duration(d.Int64N(int64(4*time.Second)))
	hangUp := d.Float64() < w.params.hangUps
	if hangUp {
		patience = time.Duration(d.Int64N(int64(time.Second)))
	}
	v := &visit{world: w, name: name, node: n, effects: map[string][]*effect{}, claims: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), visitKey{}, v))
	w.mu.Lock()
	v.sent = b.cookie
	v.sentID = w.tokens[v.sent]
	w.counts.visits++
	w.noteLocked("%s: sent to %s with %s", name, n.name, w.short(v.sentID, "browser"))
	w.mu.Unlock()
	answered := make(chan struct{})
	w.group.Go(func() {
		defer cancel()
		defer close(answered)
		time.Sleep(drawDelay(d.Int64N, w.params.slow))
		r := n.serve(ctx, v)
		time.Sleep(drawDelay(d.Int64N, w.params.slow))
		if d.Float64() < w.params.lostAnswers && w.has("lose the response of "+name) {
			r = nil
		}
		if hangUp && ctx.Err() != nil {
			r = nil
		}
		b.receive(v, r)
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-answered:
	case <-timer.C:
		if hangUp {
			w.note("%s: the browser hangs up", name)
			cancel()
		}
	}
}

// serve has the process answer a request. It returns nil if the connection is cut.
func (n *node) serve(ctx context.Context, v *visit) *response {
	w := n.world
	w.mu.Lock()
	handler, over := n.handler, n.crashed
	v.manager = n.manager
	v.begun = time.Now()
	w.mu.Unlock()
	if over == nil {
		return nil
	}
	v.over = over
	r := (&http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/"}, Host: "localhost", Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if v.sent != "" {
		r.Header.Set("Cookie", cookieName+"="+v.sent)
	}
	rec := &recorder{header: http.Header{}}
	panicked := v.callHandler(handler, rec, r)
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.dead() {
		return nil
	}
	return v.finish(rec, panicked)
}

const cookieName = "__Host-session"

// callHandler has the middleware serve the request, inside something that answers in the place of a handler that panics.
func (v *visit) callHandler(handler http.Handler, rec *recorder, r *http.Request) (panicked bool) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case errPanic:
			panicked = true
			rec.WriteHeader(http.StatusInternalServerError)
		default:
			v.world.mu.Lock()
			v.world.violate("panic", "%s: %v", v.name, p)
			v.world.mu.Unlock()
		}
	}()
	handler.ServeHTTP(rec, r)
	rec.WriteHeader(http.StatusOK)
	return false
}

// recorder is the response as the server sends it.
type recorder struct {
	mu     sync.Mutex
	header http.Header
	status int
	sent   []string // the Set-Cookie lines
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == 0 {
		r.status = status
		r.sent = append([]string(nil), r.header["Set-Cookie"]...)
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return len(b), nil
}

func (r *recorder) started() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// finish checks what the request was told, and returns what the browser gets. It is called with the world's lock held.
func (v *visit) finish(rec *recorder, panicked bool) *response {
	w := v.world
	v.finishedAt = time.Now()
	resp := &response{status: rec.status}
	if len(rec.sent) > 1 {
		w.violate("cookies", "%s sets %d cookies", v.name, len(rec.sent))
	}
	if len(rec.sent) == 1 {
		cookie, err := http.ParseSetCookie(rec.sent[0])
		if err != nil {
			w.violate("cookies", "%s sets %q: %v", v.name, rec.sent[0], err)
		}
		resp.cookie = cookie
	}
	w.noteLocked("%s: answered with %d%s", v.name, resp.status, w.cookieText(resp))
	switch {
	case panicked:
	case resp.status == http.StatusOK:
		w.counts.answered++
		if v.lateWrite {
			break
		}
		v.acknowledge("end")
	case resp.status == http.StatusConflict:
		w.counts.ended++
		v.checkRefused()
	default:
		w.counts.refused++
		if w.params.faultless() && w.params.slow == 2*time.Millisecond && w.params.weights[opSlowUpdate] == 0 {
			w.violate("failed", "%s is answered with %d, and nothing has failed", v.name, resp.status)
		}
	}
	v.checkCookie(resp)
	return resp
}

func (w *world) cookieText(r *response) string {
	switch {
	case r.cookie == nil:
		return ""
	case r.cookie.MaxAge < 0:
		return ", no cookie any more"
	}
	return ", cookie of " + w.short(w.tokens[r.cookie.Value], "cookie")
}

// checkRefused checks an answer that says that the session has ended: it has, and what was set is not stored.
func (v *visit) checkRefused() {
	w := v.world
	if v.shaken() || v.moves {
		return
	}
	about := v.failedSaves // those that were sent last; what was in doubt before may have been found to be made
	if slices.ContainsFunc(v.pending, func(e *effect) bool { return e.failedAt == 0 }) {
		about = 0
	}
	for _, e := range v.pending {
		l := w.truth.sessions[e.birth]
		if l == nil || e.unsure || e.failedAt != about {
			continue
		}
		if w.restored.Before(v.begun) && v.live && l.state == alive && l.id == v.loaded.ID && l.lives(time.Now().Add(mostSkew)) {
			w.violate("refused", "%s is told that its session %s has ended, which is open", v.name, l.birth)
		}
		if _, made := l.seen[e.name]; made && e.place != "" {
			w.violate("refused", "%s is told that %s is not stored, and it was", v.name, e.name)
		}
		w.truth.refused[e.name] = true
	}
}

// checkCookie checks that a late request, whose browser was given another cookie, gets none.
func (v *visit) checkCookie(r *response) {
	if v.late && r.cookie != nil && !v.moves {
		v.world.violate("late cookie", "%s loads a tombstone of %s, and sets a cookie", v.name, v.world.short(v.sentID, v.name))
	}
}

// receive is told of a response when it arrives.
func (b *browser) receive(v *visit, r *response) {
	w := b.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if r == nil || r.cookie == nil {
		return
	}
	next := r.cookie.Value
	if r.cookie.MaxAge < 0 {
		next = ""
	}
	b.checkPushed(v, next)
	b.cookie = next
	w.noteLocked("%s: has %s now", b.name, w.short(w.tokens[next], "browser"))
}

// checkPushed checks that a browser is not pushed off a newer session: one that took over from what this request came with.
func (b *browser) checkPushed(v *visit, next string) {
	w := b.world
	has := w.truth.byID[w.tokens[b.cookie]]
	had := w.truth.byID[v.sentID]
	if b.cookie == v.sent || b.cookie == next || v.sent == "" || has == nil || had == nil || v.loggedIn || v.shaken() {
		return
	}
	if v.loaded == nil && w.lostSince(had.since()) { // what it came with is lost
		return
	}
	if has.state != alive || has.id != w.tokens[b.cookie] || !w.truth.open(has) || !has.descends(had) {
		return
	}
	given := w.truth.byID[w.tokens[next]]
	afterwards := next == "" || given != nil && given != has && given.created.After(has.since())
	late := v.loadedAt.After(has.since()) && v.loadedAt.Before(has.since().Add(50*time.Second))
	if afterwards && (v.live || late) {
		w.violate("pushed off", "%s takes the cookie of session %s from the browser, which is open", v.name, has.birth)
	}
}

// descends reports whether a session is another one, or took over from it by Logins.
func (l *lineage) descends(from *lineage) bool {
	for ; l != nil; l = l.parent {
		if l == from {
			return true
		}
	}
	return false
}

// since returns when the session got the ID that it has.
func (l *lineage) since() time.Time {
	if l.moved.After(l.created) {
		return l.moved
	}
	return l.created
}
