package main

import (
	"fmt"
	"io"
)

// The levels of findings.
const (
	good    = "ok"
	warning = "warning" // it works, but something can be lost
	fault   = "fault"
)

// finding is the result of one check.
type finding struct {
	Level  string
	Topic  string
	Text   string
	Action string `json:",omitempty"` // what to do
}

func (f finding) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%-8s %-12s %s\n", f.Level, f.Topic, f.Text)
	if err == nil && f.Action != "" {
		_, err = fmt.Fprintf(w, "%-8s %-12s %s\n", "", "  to do:", f.Action)
	}
	return err
}
