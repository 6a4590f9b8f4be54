package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/doorman-go/session"
)

// endings are what the page is told of how its session ended.
var endings = []struct {
	cause error
	name  string
}{
	{session.ErrRevoked, "revoked"},
	{session.ErrExpired, "expired"},
	{session.ErrRegenerated, "regenerated"},
	{session.ErrSessionEnded, "over"}, // which the others are too
}

// heartbeat is after how long something is written on a quiet stream, so that proxies keep it and a client that is gone is
// noticed.
const heartbeat = 20 * time.Second

// events is a stream of server-sent events that says when the session has ended: "you were signed out elsewhere" appears by
// itself. To watch is no use of the session.
func (a *app) events(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	if s.User() == "" {
		w.WriteHeader(http.StatusNoContent) // which keeps the browser from asking again
		return
	}
	watching := s.Watch(r.Context())
	stream := http.NewResponseController(w)
	_ = stream.SetWriteDeadline(time.Time{}) // the server's is for pages
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	write := func(text string) bool {
		_, err := fmt.Fprint(w, text)
		return err == nil && stream.Flush() == nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	open := write(": watching\n\n")
	a.streams.Add(1)
	for open {
		select {
		case <-watching.Done():
			if name := endingOf(context.Cause(watching)); name != "" {
				write("event: ended\ndata: " + name + "\n\n")
			}
			return
		case <-a.closing:
			return // the browser connects again, to whoever serves then
		case <-beat.C:
			open = write(": still here\n\n")
		}
	}
}

// endingOf returns "" if it was the connection that ended, and not the session.
func endingOf(cause error) string {
	for _, end := range endings {
		if errors.Is(cause, end.cause) {
			return end.name
		}
	}
	return ""
}
