package redisclient

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	subscriptionBeat = 5 * time.Second // after this silence the server is asked; after two it counts as dead
)

// Subscribe calls tell with each message on the channel. Each time the subscription begins, it calls tell with "",
// because messages may have been missed before. It returns at once, even if the server can't be reached, and subscribes
// again whenever the connection is lost. After stop it may call tell once more.
func (c *Client) Subscribe(channel string, tell func(message string)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go c.keepListening(ctx, channel, tell)
	return cancel
}

func (c *Client) keepListening(ctx context.Context, channel string, tell func(string)) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		begun := time.Now()
		err := c.listen(ctx, channel, tell)
		switch {
		case ctx.Err() != nil, errors.Is(err, redis.ErrClosed):
			return
		case isForbidden(err):
			slog.Warn("session: the Redis user may not subscribe, so that the end of a watched session is found up to 30 seconds later; "+
				"see the rights that RedisStore lists", "error", err)
			return
		case time.Since(begun) > subscriptionBeat:
			pause = minPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// listen takes messages until the connection fails or ctx ends.
func (c *Client) listen(ctx context.Context, channel string, tell func(string)) error {
	subscription := c.redis.Subscribe(ctx) // without a channel, so that it does not connect yet
	defer func() { _ = subscription.Close() }()
	unblock := context.AfterFunc(ctx, func() { _ = subscription.Close() })
	defer unblock()
	if err := subscription.Subscribe(ctx, channel); err != nil {
		return err
	}
	for asked := false; ctx.Err() == nil; {
		message, err := subscription.ReceiveTimeout(ctx, subscriptionBeat)
		switch {
		case err == nil:
			asked = false
		case !isTimeout(err) || asked || subscription.Ping(ctx) != nil:
			return err
		default:
			asked = true
		}
		switch message := message.(type) {
		case *redis.Message:
			tell(message.Payload)
		case *redis.Subscription:
			tell("")
		}
	}
	return nil
}
