package redisclient

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// subscription listens to a channel of the server. Whenever the connection is lost, it opens another one.
type subscription struct {
	client  redis.UniversalClient
	channel string
	beat    time.Duration // after this silence the server is asked; after two the connection counts as dead

	began   func()               // the server has confirmed the subscription: from now on it sends each message
	message func(*redis.Message) // a message has come
	lost    func(error)          // the connection is lost, or could not be opened
}

const (
	minPause     = 10 * time.Millisecond // before the next connection
	maxPause     = time.Second
	refusedPause = 30 * time.Second // where the user lacks a right
)

// open returns a connection on which the server has confirmed the subscription.
func (s *subscription) open(ctx context.Context) (*redis.PubSub, error) {
	attempt, cancel := context.WithTimeout(ctx, 2*s.beat)
	defer cancel()
	connection := s.client.Subscribe(attempt) // without a channel, so that it does not connect yet
	err := connection.Subscribe(attempt, s.channel)
	if err == nil {
		_, err = connection.Receive(attempt)
	}
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	s.began()
	return connection, nil
}

// keep listens until ctx ends, or until the client is closed. It begins with an open connection, or opens one if that
// is nil.
func (s *subscription) keep(ctx context.Context, connection *redis.PubSub) {
	for pause := minPause; ; {
		begun := time.Now()
		err := s.listen(ctx, connection)
		s.lost(err)
		connection = nil
		switch {
		case ctx.Err() != nil, errors.Is(err, redis.ErrClosed):
			return
		case isForbidden(err):
			pause = refusedPause
		case time.Since(begun) > s.beat:
			pause = minPause
		default:
			pause = min(2*pause, maxPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// listen takes messages until the connection fails, or ctx ends.
func (s *subscription) listen(ctx context.Context, connection *redis.PubSub) (err error) {
	if connection == nil {
		if connection, err = s.open(ctx); err != nil {
			return err
		}
	}
	defer func() { _ = connection.Close() }()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })() // ends a read that is under way
	for asked := false; ; {
		message, err := connection.ReceiveTimeout(ctx, s.beat)
		switch {
		case err == nil:
			asked = false
		case !isTimeout(err) || asked || connection.Ping(ctx) != nil:
			return err
		default:
			asked = true
		}
		switch message := message.(type) {
		case *redis.Message:
			s.message(message)
		case *redis.Subscription:
			s.began() // the client has connected again by itself
		}
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// Subscribe calls tell with each message on the channel. Each time the subscription begins, it calls tell with "",
// because messages may have been missed before. It returns at once, even if the server can't be reached, and subscribes
// again whenever the connection is lost. After stop it may call tell once more.
func (c *Client) Subscribe(channel string, tell func(message string)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	warned := false
	s := &subscription{
		client: c.redis, channel: channel, beat: 5 * time.Second,
		began:   func() { tell("") },
		message: func(m *redis.Message) { tell(m.Payload) },
		lost: func(err error) {
			if isForbidden(err) && !warned {
				warned = true
				slog.Warn("session: the Redis user may not subscribe, so that the end of a watched session is found up to 30 seconds later; "+
					"see the rights that RedisStore lists", "error", err)
			}
		},
	}
	go s.keep(ctx, nil)
	return cancel
}
