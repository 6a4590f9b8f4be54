package simulation_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// truth is what may become of sessions. It is told of each write, in the order in which the database makes them, and
// knows a session by a value that its first request puts into it, its birth: Regenerate keeps that, and Login begins another
// one. All that is set has a name of its own, which can be found in the record, so that a look at it tells what was made,
// and how often. All of it is guarded by the world's lock.
type truth struct {
	world    *world
	sessions map[string]*lineage // by birth
	byID     map[string]*lineage // by each ID that they have had, or are to go on under
	dead     map[string]bool     // IDs that have had a tombstone
	refused  map[string]bool     // names of what clients were told is not made
}

// lineage is a session under all its IDs.
type lineage struct {
	birth   string
	state   lineState
	id      string // that it has, or is to go on under
	user    string
	last    *session.Record // as it was stored last
	seen    map[string]time.Time
	created time.Time
	moved   time.Time // to another ID
	endedBy string    // the visit
	revoked bool
	between bool      // it ended while it had no ID: what it was, only a process knew
	effects []*effect // what was asked of it
	parent  *lineage  // the session that its Login ended
	split   bool      // by a failover that lost a part
}

type lineState uint8

const (
	alive lineState = iota
	limbo           // the old ID has ended, and the new one is still to begin
	ended
)

// limboLife is how long a session may be on its way to another ID: whoever was to create that has given up by then.
const limboLife = 45 * time.Second

func newTruth(w *world) *truth {
	return &truth{world: w, sessions: map[string]*lineage{}, byID: map[string]*lineage{}, dead: map[string]bool{}, refused: map[string]bool{}}
}

// stored is told of a write.
func (t *truth) stored(before, next *session.Record, by string, v *visit) {
	if next.Ended {
		t.buried(before, next, by, v)
		return
	}
	name, birth := t.world.short(next.ID, by), contentOf(next).one("birth")
	if t.dead[next.ID] || before != nil && before.Ended {
		t.world.violate("resurrected", "%s brings back %s, which has ended", by, name)
		return
	}
	l := t.sessions[birth]
	switch {
	case birth == "":
		t.world.violate("stranger", "%s stores %s without its first value", by, name)
	case l == nil && before == nil:
		t.born(next, birth, by, v)
	case l == nil:
		t.world.violate("stranger", "%s makes another session of %s", by, name)
	case before == nil && (l.id != next.ID || l.state != limbo && !t.forgotten(l)):
		if l.split = l.split || v.shaken(); !l.split {
			t.world.violate("two IDs", "%s stores session %s as %s, which is %v as %s", by, birth, name, l.state, t.world.short(l.id, by))
		}
	case before != nil && (l.state != alive || l.id != next.ID):
		if l.split = l.split || v.shaken(); !l.split {
			t.world.violate("two IDs", "%s changes session %s as %s, which is %v as %s", by, birth, name, l.state, t.world.short(l.id, by))
		}
	default:
		t.changed(l, next, by)
	}
}

// forgotten reports whether the database may have forgotten a session, which is over: whoever stores it once more is late.
func (t *truth) forgotten(l *lineage) bool {
	return l.state == alive && !t.world.db.now().Before(l.last.KeepUntil())
}

func (s lineState) String() string { return [...]string{"alive", "under way", "ended"}[s] }

// born is told of a new session.
func (t *truth) born(next *session.Record, birth, by string, v *visit) {
	content := contentOf(next)
	l := &lineage{birth: birth, id: next.ID, user: next.User, last: next, seen: map[string]time.Time{}, created: time.Now(), effects: slices.Clone(v.effects[birth])}
	t.sessions[birth], t.byID[next.ID] = l, l
	if from := t.sessions[content.one("from")]; from != nil {
		if from.endedBy == v.name {
			l.parent = from
		}
		if t.open(from) && !v.shaken() {
			t.world.violate("both open", "%s begins session %s by a Login on %s, which is %v", by, birth, from.birth, from.state)
		}
		if kept := from.last; from.endedBy == v.name && !from.revoked && !from.between && kept != nil && from.lives(time.Now().Add(mostSkew)) && !v.emptied(from.birth, birth) {
			t.checkKept(contentOf(kept), content, birth, by)
		}
	}
	for _, name := range content.names() {
		l.seen[name] = time.Now()
	}
}

// checkKept checks that a Login has kept what was there when the old session ended.
func (t *truth) checkKept(old, kept content, birth, by string) {
	if was, is := old[keptKey], kept[keptKey]; len(is) < len(was) || !slices.Equal(is[:len(was)], was) {
		t.world.violate("lost", "%s begins session %s with %v kept of %v", by, birth, is, was)
	}
}

// changed is told of a session's next state, which may have another ID.
func (t *truth) changed(l *lineage, next *session.Record, by string) {
	was := l.last
	switch {
	case was.ID == next.ID && was.User != next.User:
		t.world.violate("user", "%s gives %s another user", by, t.world.short(next.ID, by))
	case !was.CreatedAt.Equal(next.CreatedAt), !was.AuthenticatedAt.Equal(next.AuthenticatedAt), !was.IssuedAt.Equal(next.IssuedAt):
		t.world.violate("times", "%s changes when session %s began", by, l.birth)
	case !was.Deadline.Equal(next.Deadline) && !l.asked(opLifetime):
		t.world.violate("times", "%s changes the deadline of session %s", by, l.birth)
	case next.LastUsedAt.Before(was.LastUsedAt):
		t.world.violate("times", "%s moves the last use of session %s back", by, l.birth)
	}
	t.compare(l, contentOf(was), contentOf(next), by)
	l.state, l.id, l.user, l.last = alive, next.ID, next.User, next
	t.byID[next.ID] = l
}

// buried is told of a tombstone.
func (t *truth) buried(before, tombstone *session.Record, by string, v *visit) {
	t.dead[tombstone.ID] = true
	l := t.byID[tombstone.ID]
	if l == nil || l.id != tombstone.ID || l.state == ended {
		return
	}
	if before != nil && !before.Ended {
		l.last = before
	}
	l.between = l.state == limbo
	l.state, l.endedBy, l.revoked, l.moved = ended, v.name, tombstone.Revoked, time.Now()
	if tombstone.Successor != "" {
		l.state, l.id = limbo, tombstone.Successor
		t.byID[tombstone.Successor] = l
	}
	if l.state == ended && tombstone.Revoked && v.sparing(l) && !v.shaken() {
		t.world.violate("spared", "%s ends session %s, which it was to except", by, l.birth)
	}
}

// open reports whether a session is open, or may yet be.
func (t *truth) open(l *lineage) bool {
	now := t.world.db.now()
	switch l.state {
	case limbo:
		return time.Since(l.moved) < limboLife && l.lives(now)
	case alive:
		r := t.world.db.get(l.id)
		return r != nil && !r.Ended && l.lives(now)
	}
	return false
}

// lives reports whether a session is within its limits, by a clock.
func (l *lineage) lives(now time.Time) bool { return now.Before(l.last.ExpiresAt()) }

// compare compares two states of a session: all that comes is new, and all that goes was overwritten or removed.
func (t *truth) compare(l *lineage, was, is content, by string) {
	for _, name := range is.names() {
		if !slices.Contains(was.names(), name) {
			if _, again := l.seen[name]; again {
				t.world.violate("made twice", "%s makes %s again in session %s", by, name, l.birth)
			}
			l.seen[name] = time.Now()
			if t.refused[name] {
				t.world.violate("refused", "%s makes %s in session %s, which the client was told is not", by, name, l.birth)
			}
		} else if _, known := l.seen[name]; !known { // a failover had lost it
			l.seen[name] = time.Now()
		}
	}
	for _, place := range slices.Sorted(maps.Keys(was)) {
		t.comparePlace(l, place, was[place], is[place], by)
	}
}

func (t *truth) comparePlace(l *lineage, place string, was, is []string, by string) {
	if len(is) >= len(was) && slices.Equal(is[:len(was)], was) {
		return
	}
	gone := slices.DeleteFunc(slices.Clone(was), func(name string) bool { return slices.Contains(is, name) })
	switch {
	case place == "flash" && !slices.ContainsFunc(gone, func(name string) bool { return !l.taken(name) }):
		return
	case l.removed(place), len(is) > 0 && l.overwrites(place, is[0]) && !slices.Contains(was, is[0]):
		return
	}
	t.world.violate("lost", "%s loses %v at %s of session %s, which has %v then", by, gone, place, l.birth, is)
}

// asked reports whether an operation of this kind was asked for.
func (l *lineage) asked(k kind) bool {
	return slices.ContainsFunc(l.effects, func(e *effect) bool { return e.kind == k })
}

// removed reports whether somebody may be removing what is at a place: who was told that it is done has done so before.
func (l *lineage) removed(place string) bool {
	return slices.ContainsFunc(l.effects, func(e *effect) bool { return e.removes(place) && !e.acknowledged })
}

// taken reports whether somebody may be taking this flash.
func (l *lineage) taken(name string) bool {
	return slices.ContainsFunc(l.effects, func(e *effect) bool {
		return !e.acknowledged && (e.kind == opTake && slices.Contains(e.took, name) || e.kind == opClear)
	})
}

func (l *lineage) overwrites(place, name string) bool {
	return slices.ContainsFunc(l.effects, func(e *effect) bool { return e.name == name && e.place == place && e.kind != opUpdate })
}

// restored is told what a failover has lost: what it has made no longer holds.
func (t *truth) restored(lost map[string]bool, since time.Time) {
	shaken := map[*lineage]bool{}
	for id := range lost {
		delete(t.dead, id)
		if r := t.world.db.rows[id]; r != nil && r.Ended {
			t.dead[id] = true
		}
		if l := t.byID[id]; l != nil {
			shaken[l] = true
		}
	}
	for l := range shaken {
		t.restore(l, since)
	}
}

// restore has a session be what the database says.
func (t *truth) restore(l *lineage, since time.Time) {
	var found []*session.Record
	successor, seen := "", false
	for id, of := range t.byID {
		r := t.world.db.rows[id]
		switch {
		case of != l || r == nil:
		case !r.Ended:
			found = append(found, r)
		default:
			seen = true
			if next := r.Successor; next != "" && t.world.db.rows[next] == nil {
				successor = next
			}
		}
	}
	maps.DeleteFunc(l.seen, func(_ string, at time.Time) bool { return !at.Before(since) })
	for _, e := range l.effects {
		e.acknowledged = false // it may have been lost, and be made again
	}
	switch {
	case len(found) > 0:
		l.state, l.id, l.last, l.user, l.split = alive, found[0].ID, found[0], found[0].User, len(found) > 1
		for _, name := range contentOf(l.last).names() {
			l.seen[name] = since
		}
	case successor != "":
		l.state, l.id = limbo, successor
	case seen:
		l.state = ended
	default: // it was never stored
		l.state = ended
		delete(t.sessions, l.birth)
	}
}

// content is what requests have put into a session: names by their places.
type content map[string][]string

func contentOf(r *session.Record) content {
	c := content{}
	for key, raw := range r.Values.All() {
		c[key] = decodeNames(raw)
	}
	for _, f := range r.Flashes {
		c["flash"] = append(c["flash"], f.Message)
	}
	if r.Note != "" {
		c["note"] = []string{r.Note}
	}
	return c
}

func (c content) one(place string) string {
	if names := c[place]; len(names) > 0 {
		return names[0]
	}
	return ""
}

// names returns all names but those of the sessions themselves.
func (c content) names() (all []string) {
	for place, names := range c {
		if place != "birth" && place != "from" {
			all = append(all, names...)
		}
	}
	return all
}

func (c content) String() string {
	var parts []string
	for _, place := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s=%s", place, strings.Join(c[place], ",")))
	}
	return "{" + strings.Join(parts, " ") + "}"
}
