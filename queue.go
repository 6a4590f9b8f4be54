package session

import (
	"context"
	"sync"
)

// queue lets one goroutine at a time do something for an id.
type queue struct {
	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	turn    chan struct{} // holds a value while it is somebody's turn
	waiting int
}

// wait returns when it is the caller's turn, until release is called; or an error when ctx ends first.
func (q *queue) wait(ctx context.Context, id string) (release func(), err error) {
	l := q.enter(id)
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; q.leave(id, l) }, nil
	case <-ctx.Done():
		q.leave(id, l)
		return nil, ctx.Err()
	}
}

func (q *queue) enter(id string) *line {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lines[id]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		if q.lines == nil {
			q.lines = make(map[string]*line)
		}
		q.lines[id] = l
	}
	l.waiting++
	return l
}

func (q *queue) leave(id string, l *line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		delete(q.lines, id)
	}
}
