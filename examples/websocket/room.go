package main

import "sync"

// room passes on what is said to all who are there. Whoever does not listen misses it.
type room struct {
	mu      sync.Mutex
	sockets map[chan<- string]bool
}

const unheard = 16 // messages that wait for a slow connection

func (r *room) join() chan string {
	messages := make(chan string, unheard)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sockets[messages] = true
	return messages
}

func (r *room) leave(messages chan<- string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sockets, messages)
}

func (r *room) say(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for messages := range r.sockets {
		select {
		case messages <- message:
		default:
		}
	}
}
