package simulation_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/doorman-go/session"
)

// visit is one request of a browser, and what its handler did.
type visit struct {
	world   *world
	name    string
	node    *node
	over    chan struct{} // closed when the node dies
	manager *session.Manager
	sent    string // the cookie that it came with
	sentID  string

	s *session.Session
	w http.ResponseWriter

	// Guarded by world.mu.
	begun       time.Time
	loaded      *session.Record // that the cookie opened in the database; nil for none
	loadedAt    time.Time       // zero if it was not loaded
	live        bool            // it could be used then, by the clock of the node
	late        bool            // it is a tombstone, and the browser was given another cookie or none
	births      []string        // the sessions that it has had
	effects     map[string][]*effect
	pending     []*effect       // not known to be stored yet
	claims      map[string]bool // sessions that have ended when it is acknowledged
	spared      string          // the session that a call under way is to except
	loggedIn    bool
	moves       bool // it has asked for another ID, or none
	revokes     bool
	written     bool
	begins      int // how many sessions it has begun
	lateWrite   bool
	failedSaves int
	finishedAt  time.Time
}

// effect is one thing that a handler asked for.
type effect struct {
	name, place  string
	kind         kind
	visit        *visit
	birth        string
	was          string   // the session that a Login has taken it over from
	took         []string // flashes, or what was there to remove
	acknowledged bool
	failedAt     int  // the first Save that has failed with it; zero if there was none
	unsure       bool // a Save has failed after it may have stored it: what it says later is not about that
}

// removes reports whether the effect empties a place.
func (e *effect) removes(place string) bool {
	return e.kind == opClear || e.kind == opDelete && e.place == place
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// dead reports whether the request's process has died. What it does then is nothing.
func (v *visit) dead() bool {
	select {
	case <-v.over:
		return true
	default:
		return false
	}
}

// noteLoaded is told what the request's cookie opens. It is called with the world's lock held.
func (v *visit) noteLoaded(n *node, token session.Token, a answer) {
	if !v.loadedAt.IsZero() || a.err != nil && a.record == nil && !isNotFound(a.err) || v.sent == "" || token.Value() != v.sent {
		return
	}
	now := n.nowLocked()
	v.loaded, v.loadedAt, v.sentID = a.record, a.at, token.ID()
	v.live = a.record != nil && !a.record.Ended && now.Before(a.record.ExpiresAt())
	v.late = a.record != nil && a.record.Ended && now.Before(a.record.Deadline) && (!a.record.Revoked || a.record.Successor != "")
}

// checkSent checks what a process asks the database for, by its own clock. It is called with the lock held.
func (w *world) checkSent(n *node, swaps []session.Swap) {
	for _, s := range swaps {
		if s.Old == nil || s.Old.Ended || s.New.Ended || w.calls["sent "+s.New.Revision] > 0 {
			continue
		}
		w.calls["sent "+s.New.Revision]++
		if now := n.nowLocked(); !now.Before(s.Old.ExpiresAt()) {
			w.violate("expired", "%s changes %s, which ran out at %v, at %v", n.name, w.describe(s.Old), s.Old.ExpiresAt(), now)
		}
	}
}

// checkView checks that the handler sees the session that its cookie opens, and no other.
func (v *visit) checkView() {
	id := v.s.ID()
	if v.s.Err() != nil || v.dead() {
		return
	}
	birth, _ := birthKey.Get(v.s)
	w := v.world
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case v.sent == "" && id == "":
	case v.loadedAt.IsZero():
		w.violate("view", "%s sees session %s without having asked for it", v.name, w.short(id, v.name))
	case v.live && id == "":
		w.violate("signed out", "%s does not see its session, which is %s", v.name, w.describe(v.loaded))
	case v.live && id != v.loaded.ID || !v.live && id != "":
		w.violate("opened", "%s sees session %s where its cookie opens %s", v.name, w.short(id, v.name), w.describe(v.loaded))
	}
	if birth != "" {
		v.births = append(v.births, birth)
	}
}

// note adds an effect. It is called with the lock held.
func (v *visit) note(e *effect) {
	e.visit = v
	v.effects[e.birth] = append(v.effects[e.birth], e)
	if l := v.world.truth.sessions[e.birth]; l != nil {
		l.effects = append(l.effects, e)
	}
	v.pending = append(v.pending, e)
}

// forget takes off what is pending that does not stay.
func (v *visit) forget(over func(*effect) bool) { v.pending = slices.DeleteFunc(v.pending, over) }

// acknowledge is told that the client, or the handler, was told that all is stored. It is called with the lock held.
func (v *visit) acknowledge(what string) {
	if !v.shaken() {
		for birth := range v.claims {
			v.checkEnded(birth, what)
		}
		for _, e := range v.pending {
			v.checkMade(e, what)
		}
	}
	for _, e := range v.pending {
		e.acknowledged = true
	}
	clear(v.claims)
	v.pending = nil
}

// shaken reports whether a failover has lost writes since the request began.
func (v *visit) shaken() bool {
	return v.world.lostSince(v.begun)
}

// checkEnded checks that a session has ended.
func (v *visit) checkEnded(birth, what string) {
	w := v.world
	if l := w.truth.sessions[birth]; l != nil && w.truth.open(l) && !l.split {
		w.violate("not ended", "%s (%s) is told that session %s has ended, which is %v as %s", v.name, what, birth, l.state, w.short(l.id, v.name))
	}
}

// checkMade checks that an effect has been stored.
func (v *visit) checkMade(e *effect, what string) {
	w, l := v.world, v.world.truth.sessions[e.birth]
	switch {
	case l != nil && l.split:
		return
	case e.kind == opDelete || e.kind == opTake || e.kind == opClear:
		v.checkRemoved(l, e, what)
		return
	case e.kind == opLifetime:
		return
	case l == nil:
		w.violate("lost", "%s (%s) is told that %s is stored in session %s, which never was", v.name, what, e.name, e.birth)
		return
	}
	if _, made := l.seen[e.name]; made || v.gone(e) {
		return
	}
	for _, other := range l.effects {
		if other.visit != v && (other.overwrites(e) || other.removes(e.place)) && !other.over(v.begun) {
			return
		}
	}
	w.violate("lost", "%s (%s) is told that %s is stored at %s of session %s, and it was not", v.name, what, e.name, e.place, e.birth)
}

// gone reports whether an effect that was in doubt at a Login had been made before, in a session that somebody else then ended.
func (v *visit) gone(e *effect) bool {
	old := v.world.truth.sessions[e.was]
	if old == nil || old.endedBy == v.name && !old.between {
		return false
	}
	_, made := old.seen[e.name]
	return made
}

// over reports whether the effect's request was over at a time.
func (e *effect) over(at time.Time) bool {
	return !e.visit.finishedAt.IsZero() && e.visit.finishedAt.Before(at)
}

// overwrites reports whether the effect puts something in the place of another one's.
func (e *effect) overwrites(other *effect) bool {
	return e.place == other.place && (e.kind == opSet || e.kind == opSetList || e.kind == opNote)
}

func (v *visit) checkRemoved(l *lineage, e *effect, what string) {
	if l == nil || l.state == ended || l.moved.After(v.begun) || !l.lives(time.Now().Add(mostSkew)) { // what is removed from a session that has ended is over with it
		return
	}
	names := contentOf(l.last).names()
	for _, name := range e.took {
		if slices.Contains(names, name) {
			v.world.violate("not removed", "%s (%s) is told that %s is gone from session %s, which still has it", v.name, what, name, l.birth)
		}
	}
}

// emptied reports whether this visit has removed what its Login would keep, from the old session or from the new one.
func (v *visit) emptied(births ...string) bool {
	return slices.ContainsFunc(births, func(birth string) bool {
		return slices.ContainsFunc(v.effects[birth], func(e *effect) bool { return e.removes(keptKey) })
	})
}

// sparing reports whether a call of this visit that is under way is to except the session.
func (v *visit) sparing(l *lineage) bool { return v.spared != "" && v.spared == l.birth }

func decodeNames(raw json.RawMessage) (names []string) {
	if json.Unmarshal(raw, &names) == nil {
		return names
	}
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		panic(err)
	}
	return []string{name}
}
