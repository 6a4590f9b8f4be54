package main

import (
	"syscall"
	"time"
)

// pause sleeps exactly so long. time.Sleep would make a millisecond of half a one, since the runtime waits for events by
// the millisecond.
func pause(d time.Duration) {
	if d > 0 {
		spec := syscall.NsecToTimespec(d.Nanoseconds())
		_ = syscall.Nanosleep(&spec, nil) // a signal may end it early, which is rare
	}
}
