package model_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/doorman-go/session"
)

// content is what can be seen of a session.
type content struct {
	user, note string
	values     map[string]string
	flashes    []string
}

func (c content) clone() content {
	return content{c.user, c.note, maps.Clone(c.values), slices.Clone(c.flashes)}
}

func (c content) empty() bool { return c.user == "" && len(c.values)+len(c.flashes) == 0 }

func (c *content) set(key, value string) {
	if c.values == nil {
		c.values = map[string]string{}
	}
	c.values[key] = value
}

// contentOf returns what can be seen of a record.
func contentOf(r *session.Record) content {
	c := content{user: r.User, note: r.Note}
	for key, raw := range r.Values.All() {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			text = err.Error()
		}
		c.set(key, text)
	}
	for _, f := range r.Flashes {
		c.flashes = append(c.flashes, f.Message)
	}
	return c
}

// view is a session as a request sees it: what it loaded, with its changes made.
type view struct {
	content
	id    int     // 0: there is no session
	begun bool    // by one of the changes
	late  *record // the tombstone of a session that has ended elsewhere
	noted *string // holds for each session that begins among the changes, up to a Destroy
}

// stands reports whether there is a session that is worth storing.
func (v *view) stands() bool { return v.id != 0 && (!v.begun || !v.empty()) }

// change is one thing that a request does.
type change struct {
	make  func(*view)
	sets  bool // something is lost if it can't be made
	login bool
	ends  bool // it is a Destroy
}

func replay(base *record, noted *string, log []change) view {
	v := view{noted: noted}
	switch {
	case base == nil:
	case base.ended:
		v.late = base
	default:
		v.content, v.id = base.content.clone(), base.id
	}
	for _, c := range log {
		c.make(&v)
	}
	return v
}

// lastDestroy returns how many changes there are up to the last Destroy.
func lastDestroy(log []change) int {
	for i := len(log); i > 0; i-- {
		if log[i-1].ends {
			return i
		}
	}
	return 0
}

func isSet(c change) bool   { return c.sets }
func isLogin(c change) bool { return c.login }

func (v *view) start(id int, c content) {
	if v.noted != nil {
		c.note = *v.noted
	}
	v.content, v.id, v.begun, v.late = c, id, true, nil
}

func beginning(id int) change {
	return change{make: func(v *view) {
		if v.id == 0 && v.late == nil {
			v.start(id, v.content)
		}
	}}
}

func setting(key, value string) change {
	return change{sets: true, make: func(v *view) { v.set(key, value) }}
}

func updating(key, mark string) change {
	return change{sets: true, make: func(v *view) { v.set(key, v.values[key]+mark) }}
}

func deleting(key string) change {
	return change{make: func(v *view) { delete(v.values, key) }}
}

func clearing() change {
	return change{make: func(v *view) { v.values, v.flashes = nil, nil }}
}

func flashing(text string) change {
	return change{sets: true, make: func(v *view) { v.flashes = append(v.flashes, text) }}
}

func reading(texts []string) change {
	return change{make: func(v *view) {
		v.flashes = slices.DeleteFunc(v.flashes, func(text string) bool { return slices.Contains(texts, text) })
	}}
}

func noting(note string) change {
	return change{sets: true, make: func(v *view) {
		v.noted = &note
		if v.id != 0 {
			v.note = note
		}
	}}
}

func regenerating(id int) change {
	return change{sets: true, make: func(v *view) {
		if v.id != 0 {
			v.id = id
		}
	}}
}

func renaming(id int, user string) change {
	return change{sets: true, make: func(v *view) {
		if v.id != 0 {
			v.id, v.user = id, user
		}
	}}
}

func loggingIn(id int, user string, keep []string) change {
	return change{sets: true, login: true, make: func(v *view) {
		kept := content{user: user}
		for _, key := range keep {
			if value, ok := v.values[key]; ok {
				kept.set(key, value)
			}
		}
		v.start(id, kept)
	}}
}

func destroying() change {
	return change{ends: true, make: func(v *view) {
		late := v.late
		if late != nil && late.next != 0 {
			late = nil // the session that it went on as ends with it
		}
		*v = view{late: late}
	}}
}

// hasTwice reports whether one Update was made twice.
func hasTwice(value string) bool {
	marks := strings.Fields(value)
	slices.Sort(marks)
	return len(slices.Compact(marks)) < len(strings.Fields(value))
}
