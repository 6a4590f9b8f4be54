package redisclient

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// impatient is a context whose time was over for who waited for a reply, and whose own timer has not come to it yet.
type impatient struct{ context.Context }

func (impatient) Await(<-chan struct{}) error { return context.DeadlineExceeded }

// A command that was given up is its batch's. It is not sent once more by itself meanwhile.
func TestBatch_WhatWasGivenUpIsNotSentAgain(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	hook := &countingHook{}
	client.AddHook(hook)
	b := newBatcher(client)
	b.underWay.Add(1)       // another command is on its way
	b.senders = mostSenders // and all senders are busy
	cmd := redis.NewStringCmd(t.Context(), "get", "a")
	require.ErrorIs(t, b.process(impatient{t.Context()}, cmd), context.DeadlineExceeded)
	require.Zero(t, hook.sent)
}

// countingHook counts the commands that go by themselves, in a server's place.
type countingHook struct{ sent int }

func (h *countingHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *countingHook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error {
		h.sent++
		return nil
	}
}

func (h *countingHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
