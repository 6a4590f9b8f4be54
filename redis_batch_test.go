package session

import (
	"context"
	"testing"

	"github.com/doorman-go/session/internal/redistest"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// What was given up while it waited for its batch is not sent, and holds up none of the others.
func TestBatch_SendsOnlyWhatIsStillWanted(t *testing.T) {
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	given, giveUp := context.WithCancel(t.Context())
	giveUp()
	up, wanted := redis.NewStatusCmd(given, "SET", "up", "1"), redis.NewStatusCmd(t.Context(), "SET", "wanted", "1")
	b := &batcher{client: client}
	b.exec([]*batched{{ctx: given, cmd: up}, {ctx: t.Context(), cmd: wanted}})
	require.ErrorIs(t, up.Err(), context.Canceled)
	require.NoError(t, wanted.Err())
	require.Equal(t, "0", server.MustDo("EXISTS", "up"))
	require.Equal(t, "1", server.MustDo("EXISTS", "wanted"))
}
