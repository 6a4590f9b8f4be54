package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

// This file has the operations that begin, move and end sessions.

func (v *visit) regenerate(k kind, user string) {
	birth := v.birth()
	var err error
	if k == opRename {
		err = v.s.RenameUser(user)
	} else {
		err = v.s.Regenerate()
	}
	v.tell("%v session %s: %v", k, birth, err)
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	v.moves = v.moves || err == nil
}

func (v *visit) login(user string) {
	from := v.birth()
	if err := v.s.Login(user, keptKey); err != nil {
		v.tell("login: %v", err)
		return
	}
	v.world.mu.Lock()
	v.begins++
	birth := fmt.Sprintf("%s-s%d", v.name, v.begins)
	v.claimAll()
	v.loggedIn, v.moves = true, true
	v.births = append(v.births, birth)
	v.forget(func(e *effect) bool { return e.place != keptKey && e.kind != opNote })
	for _, e := range v.pending { // they go into the new session
		e.was, e.birth = e.birth, birth
		v.effects[birth] = append(v.effects[birth], e)
	}
	v.world.mu.Unlock()
	birthKey.Set(v.s, birth)
	if from != "" {
		fromKey.Set(v.s, from)
	}
	v.tell("login of %s as session %s in place of %q", user, birth, from)
}

// claimAll notes that all sessions that the request has had are to end, and what the one that it came with goes on as. It is
// called with the lock held.
func (v *visit) claimAll() {
	for _, birth := range v.births {
		v.claims[birth] = true
	}
	if r := v.loaded; r != nil && r.Ended && r.Successor != "" && v.node.nowLocked().Before(r.Deadline) {
		if l := v.world.truth.byID[r.ID]; l != nil {
			v.claims[l.birth] = true
		}
	}
}

func (v *visit) destroy() {
	birth := v.birth()
	err := v.s.Destroy()
	v.tell("destroy of session %s: %v", birth, err)
	if err != nil && !errors.Is(err, session.ErrResponseStarted) {
		return
	}
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	v.claimAll()
	v.moves, v.pending = true, nil
}

func (v *visit) revokeUser(ctx context.Context, user, except string) {
	w := v.world
	w.mu.Lock()
	begun := time.Now()
	var covered []*lineage
	for _, l := range w.truth.sessions {
		if l.user == user && w.truth.open(l) && (except == "" || !v.has(l)) {
			covered = append(covered, l)
		}
	}
	if except != "" && !v.revokes {
		v.spared = w.truth.birthOf(except)
	}
	v.revokes = true
	w.mu.Unlock()
	var excepted []string
	if except != "" {
		excepted = []string{except}
	}
	var err error
	var n int
	v.timed("revoke user", 10*storeTimeout, func() { n, err = v.manager.RevokeUser(ctx, user, excepted...) })
	v.tell("revoke %s except %d: %d, %v", user, len(excepted), n, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	v.spared = ""
	if err != nil || v.dead() || w.lostSince(begun) {
		return
	}
	slices.SortFunc(covered, func(a, b *lineage) int { return strings.Compare(a.birth, b.birth) })
	for _, l := range covered {
		if w.truth.open(l) && !l.split {
			w.violate("revoked", "%s has revoked %s, whose session %s is %v as %s", v.name, user, l.birth, l.state, w.short(l.id, v.name))
		}
	}
}

// has reports whether the request has had a session, or has a cookie that leads to it.
func (v *visit) has(l *lineage) bool {
	return slices.Contains(v.births, l.birth) || v.world.truth.byID[v.sentID] == l
}

// birthOf returns the session that has an ID in the database, or "".
func (t *truth) birthOf(id string) string {
	if l := t.byID[id]; l != nil && l.state == alive && l.id == id {
		return l.birth
	}
	return ""
}

func (v *visit) revoke(ctx context.Context, user string, d *rand.Rand) {
	infos, err := v.manager.Sessions(ctx, user)
	if err != nil || len(infos) == 0 || v.dead() {
		return
	}
	id := infos[d.IntN(len(infos))].ID
	w := v.world
	w.mu.Lock()
	begun, l := time.Now(), w.truth.byID[id]
	v.revokes = true
	was := l != nil && l.user == user && w.truth.open(l)
	w.mu.Unlock()
	v.timed("revoke", 10*storeTimeout, func() { err = v.manager.Revoke(ctx, user, id) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if !v.dead() {
		w.noteLocked("%s: revoke %s: %v", v.name, w.short(id, v.name), err)
	}
	if err != nil && !isNotFound(err) || v.dead() || w.lostSince(begun) {
		return
	}
	if was && l.user == user && w.truth.open(l) && !l.split {
		w.violate("revoked", "%s has revoked session %s (%v), which is %v as %s", v.name, l.birth, err, l.state, w.short(l.id, v.name))
	}
}

// sessions lists, and checks that all that is open all the time is on the list, and nothing that had ended before.
func (v *visit) sessions(ctx context.Context, user string) {
	w := v.world
	w.mu.Lock()
	begun := time.Now()
	open, dead := map[string]*lineage{}, map[string]bool{}
	for _, l := range w.truth.sessions {
		if l.user == user && l.state == alive && w.truth.open(l) {
			open[l.id] = l
		}
	}
	for id := range w.truth.dead {
		dead[id] = true
	}
	w.mu.Unlock()
	infos, err := v.manager.Sessions(ctx, user)
	v.tell("sessions of %s: %d, %v", user, len(infos), err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || v.dead() || w.lostSince(begun) || !w.restored.Before(begun) { // an ending that was not answered may be undone
		return
	}
	for _, info := range infos {
		if dead[info.ID] {
			w.violate("list", "%s is shown %s, which has ended", v.name, w.short(info.ID, v.name))
		}
		delete(open, info.ID)
	}
	for id, l := range open {
		if l.state == alive && l.id == id && l.lives(time.Now().Add(mostSkew)) {
			w.violate("list", "%s is not shown %s, which is open", v.name, w.short(id, v.name))
		}
	}
}

// checkEnd checks what is left at the end: no user has too many sessions.
func (w *world) checkEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.params.maxPerUser == 0 || !w.params.faultless() || w.params.slow > 2*time.Millisecond || w.params.skew > 0 {
		return
	}
	open := map[string]int{}
	for _, l := range w.truth.sessions {
		if l.user != "" && w.truth.open(l) {
			open[l.user]++
		}
	}
	for user, n := range open {
		if n > w.params.maxPerUser {
			w.violate("too many", "%s has %d sessions", user, n)
		}
	}
}
