// Package histories_test puts a load of many clients on a real database while faults happen, writes down what each was
// asked and told, and has a checker look for an order of all that, in which each operation is made at once and between its
// question and its answer: that the sessions are linearizable. What a client was told nothing certain about may have been
// made then, later or never.
package histories_test

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// The operations on a session: one cookie's, from its first answer to its end by Login, Destroy or Revoke.
type kind uint8

const (
	get    kind = iota
	set         // a value of its own
	update      // adds one to a counter
	login       // ends it: another session begins
	destroy
	revoke
	meetEnd // not asked for: what a change that was refused has seen
	kindCount
)

var kindNames = [kindCount]string{"get", "set", "update", "login", "destroy", "revoke", "meet the end"}

func (k kind) String() string { return kindNames[k] }

// input is what was asked.
type input struct {
	kind  kind
	value int // for set
}

// output is what was told.
type output struct {
	unknown bool // a failure: it may have been made, or be made yet
	ended   bool // there is no such session
	refused bool // any more: it ended while the request was under way
	value   int  // for get
	count   int
}

// state is a session as it would be if one thing happened after the other.
type state struct {
	ended        bool
	value, count int
}

// step reports whether an operation that was told so may happen in a state, and what comes of it.
func (s state) step(in input, out output) (bool, state) {
	if out.unknown && s.ended {
		return true, s
	}
	if in.kind == get {
		return out.ended == s.ended && (s.ended || out.value == s.value && out.count == s.count), s
	}
	if in.kind != login && in.kind != destroy && out.ended != s.ended { // a Login and a Destroy are right where it has ended, too
		return false, s
	}
	if s.ended {
		return true, s
	}
	switch in.kind {
	case set:
		s.value = in.value
	case update:
		s.count++
	default:
		s.ended = true
	}
	return true, s
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) {
		ok, next := s.(state).step(in.(input), out.(output))
		return ok, next
	},
	DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
	DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
}

func describe(in input, out output) string {
	text := in.kind.String()
	if in.kind == set {
		text = fmt.Sprintf("set %d", in.value)
	}
	switch {
	case out.unknown:
		return text + ": not known"
	case out.ended:
		return text + ": ended"
	case in.kind == get:
		return fmt.Sprintf("get: %d, counted %d", out.value, out.count)
	}
	return text + ": ok"
}

// never is when an operation ends whose outcome is not known: it may be made at any time.
const never = math.MaxInt64

// check returns what the checker says of a session's history.
func check(history []porcupine.Operation) (porcupine.CheckResult, porcupine.LinearizationInfo) {
	return porcupine.CheckOperationsVerbose(model, splitRefused(history), time.Minute)
}

// splitRefused makes two operations of each change that was refused because the session had ended meanwhile: one that has met the
// end, and one that may have been made before. A database's client sends a swap once more where the answer was cut off, and
// then meets the tombstone of a session that had the change. Others may have seen it.
func splitRefused(history []porcupine.Operation) []porcupine.Operation {
	split := slices.Clone(history)
	for i, o := range history {
		in, out := o.Input.(input), o.Output.(output)
		if !out.refused || in.kind != set && in.kind != update {
			continue
		}
		split[i].Input = input{kind: meetEnd}
		o.Output, o.Return = output{unknown: true}, never
		split = append(split, o)
	}
	return split
}
