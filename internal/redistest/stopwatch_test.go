package redistest_test

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorman-go/session/internal/redistest"
)

// Waiting is measured in full, on a clock that is never late.
func TestStopwatch_CountsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := redistest.NewStopwatch()
		time.Sleep(time.Minute)
		w.Restart()
		time.Sleep(time.Second)
		if got := w.Stop(); got != time.Second {
			t.Fatal(got)
		}
	})
}

// What keeps all goroutines from running is not.
func TestStopwatch_DoesNotCountStalls(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := redistest.NewStopwatch()
	begun := time.Now()
	var busy sync.WaitGroup
	for range 40 {
		busy.Go(func() {
			for until := time.Now().Add(10 * time.Millisecond); time.Now().Before(until); {
			}
		})
	}
	busy.Wait()
	wall := time.Since(begun)
	if got := w.Stop(); got > wall/2 {
		t.Fatalf("%v, of %v", got, wall)
	}
}
