package simulation_test

import (
	"math/rand/v2"
	"time"
)

const (
	storeTimeout = time.Second
	mostSkew     = 4900 * time.Millisecond // between two clocks: five seconds are promised
	mostLate     = 15 * time.Second        // how long after its caller gave up a message may still arrive
)

// params are what a world is like.
type params struct {
	nodes, browsers, tabs, visits, operations int

	atomic  bool // the database makes several swaps at once
	ends    bool // and can end a session in one step
	tells   bool // a conflict says what is stored
	lingers bool // what is past its time stays there

	idle, lifetime time.Duration
	maxPerUser     int
	users          int

	skew                      time.Duration // between two clocks
	crashes, steps, failovers int
	replicated                bool          // no write that was answered is lost in a failover
	span                      time.Duration // in which these happen
	slow                      time.Duration // most that a message takes, usually
	pauses                    time.Duration // most between two requests of a tab, usually
	gaps                      float64       // how often that is over a minute
	thinks                    time.Duration // most between two operations of a request
	hangUps                   float64       // how often a browser gives up

	lost, refused, unanswered, cut, late, twice, unreplicated, lostAnswers float64 // how many of the messages are

	weights [kindCount]int // of the operations
}

// pick returns one of the choices.
func pick[T any](d *rand.Rand, choices ...T) T { return choices[d.IntN(len(choices))] }

func drawParams(d *rand.Rand) params {
	p := params{
		nodes: 1 + d.IntN(3), browsers: 1 + d.IntN(2), tabs: 1 + d.IntN(3), visits: 3 + d.IntN(6), operations: 1 + d.IntN(5),
		atomic: d.IntN(2) == 0, ends: d.IntN(2) == 0, tells: d.IntN(2) == 0, lingers: d.IntN(2) == 0,
		idle: pick(d, -1, 20*time.Second, time.Hour), lifetime: pick(d, 40*time.Second, 3*time.Minute, 24*time.Hour),
		maxPerUser: pick(d, 0, 0, 0, 2), users: 1 + d.IntN(2),
		skew: pick(d, 0, mostSkew), span: 20 * time.Second,
		slow: pick(d, 2*time.Millisecond, 50*time.Millisecond, 400*time.Millisecond), pauses: pick(d, 20*time.Millisecond, time.Second, 4*time.Second),
		gaps: pick(d, 0, 0, 0.1), thinks: pick(d, 0, 5*time.Millisecond, 100*time.Millisecond), hangUps: pick(d, 0, 0, 0.1),
	}
	p.idle = min(p.idle, p.lifetime)
	p.drawFaults(d)
	for i := range p.weights {
		p.weights[i] = pick(d, 0, 1, 1, 2, 6)
	}
	p.weights[opUpdate]++ // so that there is one at least
	if d.IntN(4) == 0 {
		p.storm(d)
	}
	return p
}

// storm makes a world of one browser that asks for much at once, and is often not answered: commits go together, meet each
// other, and are in doubt.
func (p *params) storm(d *rand.Rand) {
	p.browsers, p.tabs, p.operations = 1, 4+d.IntN(5), 3
	p.pauses, p.slow, p.gaps = 20*time.Millisecond, pick(d, 2*time.Millisecond, 50*time.Millisecond), 0
	p.unanswered, p.cut, p.failovers, p.crashes = pick(d, 0, 0.05), pick(d, 0, 0.1, 0.3), 0, 0
	p.weights = [kindCount]int{opUpdate: 6, opSet: 2, opSetList: 1, opFlash: 1, opDelete: 1, opSave: 6}
	p.weights[pick(d, opDestroy, opRevokeUser, opRevoke, opRegenerate, opLogin)] = 1
	if d.IntN(3) == 0 { // what ends is often not replicated, and a failover brings it back
		p.failovers, p.replicated, p.unreplicated, p.span = 3, true, 0.3, 500*time.Millisecond
		p.weights[opLogin], p.weights[opDestroy], p.weights[opRevokeUser] = 1, 4, 1
	}
}

// drawFaults leaves a third of the worlds without faults.
func (p *params) drawFaults(d *rand.Rand) {
	if d.IntN(3) == 0 {
		return
	}
	rate := func() float64 { return pick(d, 0, 0, 0.02, 0.1, 0.25) }
	p.lost, p.refused, p.unanswered, p.cut, p.late, p.twice, p.lostAnswers = rate(), rate(), rate(), rate(), rate(), rate(), rate()
	p.crashes = pick(d, 0, 0, 1, 3)
	p.steps = pick(d, 0, 0, 2)
	p.failovers = pick(d, 0, 0, 0, 1, 2)
	p.replicated = d.IntN(2) == 0
	if p.failovers > 0 && p.replicated {
		p.unreplicated = rate()
	}
}

// faultless reports whether nothing can fail: then no request may.
func (p *params) faultless() bool {
	return p.lost+p.refused+p.unanswered+p.cut+p.late+p.twice+p.lostAnswers+p.unreplicated == 0 && p.crashes+p.failovers == 0 && p.hangUps == 0
}

// The operations of a handler.
type kind uint8

const (
	opRead kind = iota
	opSet
	opUpdate
	opSlowUpdate
	opSetList
	opDelete
	opClear
	opFlash
	opTake
	opNote
	opPersistent
	opLifetime
	opSave
	opWrite
	opRegenerate
	opLogin
	opRename
	opDestroy
	opRevoke
	opRevokeUser
	opRevokeOthers
	opSessions
	opPanic
	kindCount
)

var kindNames = [kindCount]string{
	"read", "set", "update", "slow update", "set list", "delete", "clear", "flash", "take flashes", "note", "persistent", "lifetime",
	"save", "write", "regenerate", "login", "rename", "destroy", "revoke", "revoke user", "revoke others", "sessions", "panic",
}

// draw returns a kind by the weights.
func (p *params) draw(d *rand.Rand) kind {
	sum := 0
	for _, weight := range p.weights {
		sum += weight
	}
	n := d.IntN(sum)
	for k, weight := range p.weights {
		if n -= weight; n < 0 {
			return kind(k)
		}
	}
	panic("the weights do not add up")
}
