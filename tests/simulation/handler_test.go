package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/doorman-go/session"
)

// The keys. What stands under a key that ends in a digit is names: one, or a list.
const (
	birthKey session.Key[string] = "birth" // the session's name
	fromKey  session.Key[string] = "from"  // that of the session that its Login has ended

	keptKey = "count0" // is changed by Update only, and kept by Login
)

var errPanic = errors.New("the handler's panic")

func isNotFound(err error) bool { return errors.Is(err, session.ErrNotFound) }

// handle is the handler of all requests.
func handle(w http.ResponseWriter, r *http.Request) {
	v := visitOf(r.Context())
	v.w, v.s = w, session.FromContext(r.Context())
	v.timed("load", storeTimeout, v.checkView)
	if v.s.Err() != nil {
		return
	}
	p := v.world.params
	for i := range p.operations {
		name := fmt.Sprintf("%s:%d", v.name, i)
		d := v.world.dice("operation " + name)
		if think := p.thinks; think > 0 && d.IntN(3) == 0 {
			time.Sleep(time.Duration(d.Int64N(int64(think))))
		}
		v.separate(d)
		if v.dead() {
			return
		}
		k := p.draw(d)
		if v.world.has(name) {
			v.operate(r.Context(), name, k, d)
		}
	}
	v.separate(v.world.dice("end of " + v.name))
}

// separate lets some nanoseconds pass, another number in each request: those that a commit has made together would go on at
// one instant, and which of them is the first at the next commit must not be chance.
func (v *visit) separate(d *rand.Rand) { time.Sleep(time.Duration(1 + d.IntN(10_000))) }

// timed checks that something ends within its time.
func (v *visit) timed(what string, limit time.Duration, do func()) {
	begun := time.Now()
	do()
	if took := time.Since(begun); took > limit+10*time.Millisecond {
		v.world.mu.Lock()
		defer v.world.mu.Unlock()
		v.world.violate("slow", "%s: %s takes %v", v.name, what, took)
	}
}

// operate makes one operation.
func (v *visit) operate(ctx context.Context, name string, k kind, d *rand.Rand) {
	v.world.mu.Lock()
	v.world.counts.operations++
	v.world.mu.Unlock()
	key, list := fmt.Sprintf("value%d", d.IntN(2)), fmt.Sprintf("list%d", d.IntN(2))
	user := fmt.Sprintf("u%d", d.IntN(v.world.params.users))
	e := &effect{name: name, kind: k}
	switch k {
	case opRead:
		_, _ = session.Key[[]string](keptKey).Get(v.s)
	case opSet:
		v.change(e, key, func() { v.s.Set(key, name) })
	case opSetList:
		v.change(e, list, func() { v.s.Set(list, []string{name}) })
	case opUpdate, opSlowUpdate:
		v.update(e, pick(d, keptKey, "count1", list), d)
	case opFlash:
		v.change(e, "flash", func() { v.s.Flash("", name) })
	case opNote:
		if v.birth() != "" {
			v.change(e, "note", func() { v.s.SetNote(name) })
		}
	case opDelete, opClear, opTake:
		v.remove(e, pick(d, key, list))
	case opPersistent:
		v.s.SetPersistent(d.IntN(2) == 0)
	case opLifetime:
		v.lengthen(e, d)
	case opSave:
		v.save(ctx, d)
	case opWrite:
		v.write()
	case opSessions:
		v.sessions(ctx, user)
	case opPanic:
		v.tell("%s", k)
		panic(errPanic)
	default:
		v.operateOnSession(ctx, e, user, d)
	}
}

// operateOnSession makes an operation on the session itself.
func (v *visit) operateOnSession(ctx context.Context, e *effect, user string, d *rand.Rand) {
	switch e.kind {
	case opRegenerate, opRename:
		v.regenerate(e.kind, user)
	case opLogin:
		v.login(user)
	case opDestroy:
		v.destroy()
	case opRevoke:
		v.revoke(ctx, user, d)
	case opRevokeUser:
		v.revokeUser(ctx, user, "")
	case opRevokeOthers:
		if id, own := v.s.ID(), v.s.User(); id != "" && own != "" {
			v.revokeUser(ctx, own, id)
		}
	}
}

func (k kind) String() string { return kindNames[k] }

// tell adds to the trace what the handler does.
func (v *visit) tell(format string, args ...any) {
	if !v.dead() {
		v.world.note("%s: "+format, append([]any{v.name}, args...)...)
	}
}

// birth returns the session's name, or "".
func (v *visit) birth() string {
	birth, _ := birthKey.Get(v.s)
	return birth
}

// begin gives a session its name where one begins.
func (v *visit) begin() string {
	if birth := v.birth(); birth != "" {
		return birth
	}
	if v.s.ID() != "" {
		return ""
	}
	v.world.mu.Lock()
	v.begins++
	birth := fmt.Sprintf("%s-s%d", v.name, v.begins)
	v.births = append(v.births, birth)
	v.world.mu.Unlock()
	birthKey.Set(v.s, birth)
	return birth
}

// change makes a change, and notes it.
func (v *visit) change(e *effect, place string, do func()) {
	e.birth, e.place = v.begin(), place
	v.tell("%v %s of session %s: %s", e.kind, place, e.birth, e.name)
	v.world.mu.Lock()
	if e.kind == opSet || e.kind == opSetList || e.kind == opNote {
		v.forget(func(other *effect) bool { return other.place == place })
	}
	v.note(e)
	v.world.mu.Unlock()
	do()
}

// update adds a name to a list. A slow one takes its time each time that it is made.
func (v *visit) update(e *effect, key string, d *rand.Rand) {
	takes := time.Duration(0)
	if e.kind == opSlowUpdate {
		takes = time.Duration(d.Int64N(int64(storeTimeout / 5)))
		e.kind = opUpdate
	}
	v.change(e, key, func() {
		session.Key[[]string](key).Update(v.s, func(names []string) []string {
			time.Sleep(takes)
			return append(slices.Clone(names), e.name)
		})
	})
}

// remove removes what is at a place, or everything.
func (v *visit) remove(e *effect, place string) {
	if e.birth = v.birth(); e.birth == "" {
		return
	}
	v.tell("%v %s of session %s", e.kind, place, e.birth)
	e.place = place
	switch e.kind {
	case opDelete:
		e.took = v.names(place)
		v.expect(e, func(other *effect) bool { return other.place == place })
		v.s.Delete(place)
	case opClear:
		from, _ := fromKey.Get(v.s)
		v.expect(e, func(other *effect) bool { return other.place != "note" })
		v.s.Clear()
		birthKey.Set(v.s, e.birth)
		if from != "" {
			fromKey.Set(v.s, from)
		}
	case opTake: // what it takes is known afterwards, and noted before anything is sent
		e.place = "flash"
		for _, f := range v.s.Flashes() {
			e.took = append(e.took, f.Message)
		}
		v.expect(e, func(other *effect) bool { return slices.Contains(e.took, other.name) })
	}
}

// expect notes a removal, and that what is gone by it need not be stored.
func (v *visit) expect(e *effect, gone func(*effect) bool) {
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	v.forget(gone)
	v.note(e)
}

func (v *visit) names(key string) []string {
	if names, ok := session.Key[any](key).Get(v.s); ok {
		switch names := names.(type) {
		case string:
			return []string{names}
		case []any:
			var all []string
			for _, name := range names {
				all = append(all, name.(string))
			}
			return all
		}
	}
	return nil
}

func (v *visit) lengthen(e *effect, d *rand.Rand) {
	if e.birth = v.birth(); e.birth == "" {
		return
	}
	e.place = "lifetime"
	v.tell("lifetime of session %s", e.birth)
	v.expect(e, func(*effect) bool { return false })
	v.s.SetLifetime(pick(d, 0, 10*time.Second, -1), pick(d, 0, 30*time.Second, 48*time.Hour))
}

// save saves, and mostly tries again where that fails: what is in doubt is then found out within one request.
func (v *visit) save(ctx context.Context, d *rand.Rand) {
	for range 3 {
		if err := v.saveOnce(ctx); err == nil || v.dead() || d.IntN(4) == 0 {
			return
		}
		time.Sleep(time.Duration(d.Int64N(int64(storeTimeout / 2))))
	}
}

func (v *visit) saveOnce(ctx context.Context) (err error) {
	v.timed("save", 3*storeTimeout, func() { err = v.s.Save(ctx) })
	v.tell("save: %v", err)
	if v.dead() {
		return err
	}
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	switch {
	case err == nil:
		v.acknowledge("save")
	case errors.Is(err, session.ErrSessionEnded): // it may have ended right after all was stored
		v.pending = nil
	default:
		var failed *session.StoreError
		v.failedSaves++
		for _, e := range v.pending {
			e.unsure = e.unsure || !errors.As(err, &failed) || failed.Op != session.OpSwap
			if e.failedAt == 0 {
				e.failedAt = v.failedSaves
			}
		}
	}
	return err
}

// write begins the response.
func (v *visit) write() {
	v.timed("write", 3*storeTimeout, func() { _, _ = v.w.Write([]byte("hello")) })
	if v.dead() {
		return
	}
	status := http.StatusOK
	if rec, ok := unwrap(v.w).(*recorder); ok {
		status = rec.started()
	}
	v.tell("write: %d", status)
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	if status == http.StatusOK && !v.written {
		v.acknowledge("write")
	}
	v.written = true
}

// unwrap returns the server's own writer.
func unwrap(w http.ResponseWriter) http.ResponseWriter {
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = inner.Unwrap()
	}
}
