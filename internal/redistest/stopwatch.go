package redistest

import (
	"sync"
	"time"
)

// A Stopwatch measures how long something takes, without the time for which this process could not run. On a busy
// machine timers are late, and that says nothing about the code that is measured. A goroutine of the Stopwatch sleeps
// meanwhile, for a moment at a time. If it wakes up late, that delay is not counted. If the measured code waits too
// long, the whole wait counts, because the goroutine wakes up in time.
type Stopwatch struct {
	stop chan struct{}

	mu    sync.Mutex
	begun time.Time
	due   time.Time // when the goroutine should wake up
	lost  time.Duration
}

const (
	nap       = 5 * time.Millisecond
	tolerable = 5 * time.Millisecond // a timer may be this late on any machine
)

// NewStopwatch starts a Stopwatch. It must be stopped.
func NewStopwatch() *Stopwatch {
	w := &Stopwatch{stop: make(chan struct{})}
	w.Restart()
	go w.doze()
	return w
}

func (w *Stopwatch) doze() {
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(nap):
			w.note()
		}
	}
}

// note adds the delay of the goroutine, and sets its next time.
func (w *Stopwatch) note() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.lost += w.late(now)
	w.due = now.Add(nap)
}

func (w *Stopwatch) late(now time.Time) time.Duration {
	if late := now.Sub(w.due); late > tolerable {
		return late
	}
	return 0
}

// Restart begins again.
func (w *Stopwatch) Restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun, w.lost = time.Now(), 0
	w.due = w.begun.Add(nap)
}

// Elapsed returns the time since the beginning.
func (w *Stopwatch) Elapsed() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	return now.Sub(w.begun) - w.lost - w.late(now)
}

// Stop ends it, and returns Elapsed.
func (w *Stopwatch) Stop() time.Duration {
	elapsed := w.Elapsed()
	close(w.stop)
	return elapsed
}
