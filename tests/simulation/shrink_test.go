package simulation_test

import (
	"maps"
	"slices"
	"testing"
)

// shrink leaves out of a failing run what it fails the same way without: requests, operations, faults and events. It
// returns what is left of it.
func shrink(t *testing.T, seed uint64, failed result) result {
	skip, left := map[string]bool{}, failed
	for size := len(left.used) / 2; size > 0; size /= 2 {
		for again := true; again; {
			again = false
			for part := range slices.Chunk(left.used, size) {
				if less, ok := without(t, seed, skip, part, failed.kind()); ok {
					left, again = less, size == 1
					for _, name := range part {
						skip[name] = true
					}
				}
			}
		}
	}
	return left
}

// without runs a world without some part more, and reports whether it still fails the same way.
func without(t *testing.T, seed uint64, skip map[string]bool, part []string, kind string) (result, bool) {
	less := maps.Clone(skip)
	for _, name := range part {
		less[name] = true
	}
	r := run(t, seed, less)
	return r, r.kind() == kind
}
