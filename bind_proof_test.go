package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/dbsc"
)

// A challenge is newer than the proof before it, also where the clock stands still between two microseconds.
func TestRenewalChallenge_IsNewerThanTheLastProof(t *testing.T) {
	proved := time.UnixMicro(1_800_000_000_000_000).UTC()
	config := &Config{BindDevice: 10 * time.Minute}
	for _, ahead := range []time.Duration{-time.Hour, -1, 0, 1, 999, 1000, 1001, time.Hour} {
		known := &Binding{Secret: dbsc.NewSecret(), ProvedAt: proved}
		now := proved.Add(ahead)
		at, _, ok := dbsc.ReadStamp(known.Secret, dbsc.Renewal, renewalChallenge(known, now, nil))
		require.True(t, ok)
		require.NoError(t, config.checkAge(at, now), "%v", ahead)
		require.True(t, at.After(proved), "%v", ahead)
	}
}
