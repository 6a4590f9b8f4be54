//go:build noservers

package kit

import (
	"testing"

	"github.com/doorman-go/session"
)

// What runs over every kind of store leaves Redis out. A test of Redis itself is not built: it calls what only redis.go has.
func redisBackings(testing.TB) []Backing { return nil }

func addRedis(testing.TB, map[string]session.Store) {}
