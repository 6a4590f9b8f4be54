package session

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// batcher sends what several requests ask of Redis at the same time together: a system call to write and one to read for
// all of them, on both sides, are most of what a command costs. It is go-redis's autopipelining, which is experimental
// there, and is used on a client of our own only, whose Close ends it.
//
// A command that is given up by its caller may be done later all the same, as one may whose reply is lost.
type batcher struct {
	client   redis.UniversalClient
	pipeline *redis.AutoPipeliner
	underWay atomic.Int64
}

// batchesAtOnce is how many batches may be under way. One fills batches best; a second one keeps requests going while a
// connection hangs.
const batchesAtOnce = 2

func newBatcher(client redis.UniversalClient) (*batcher, error) {
	pipeline, err := client.AsyncAutoPipelineWithOptions(&redis.AutoPipelineOptions{
		MaxConcurrentBatches: batchesAtOnce,
		Unordered:            true, // each caller waits for its reply before it asks for more
	})
	if err != nil {
		return nil, err
	}
	return &batcher{client: client, pipeline: pipeline}, nil
}

// process does one command. One that is alone goes by itself: a batch would make it wait for other goroutines. When ctx
// ends first, the command must not be looked at any more.
func (b *batcher) process(ctx context.Context, cmd redis.Cmder) error {
	defer b.underWay.Add(-1)
	if b.underWay.Add(1) == 1 {
		return b.client.Process(ctx, cmd)
	}
	return b.pipeline.Submit(ctx, cmd).WaitContext(ctx)
}
