package redisclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/internal/redistest"
)

// patient is a Client that waits for a server that stands still.
func patient(t *testing.T, server *redistest.Server) *Client {
	return opened(t, server.URL()+"?read_timeout=1m&pool_size=20", Settings{})
}

// together runs f so many times at once, all of which have begun when a server that stood still goes on.
func together(server *redistest.Server, times int, f func(i int)) {
	server.Pause()
	var began, ended sync.WaitGroup
	began.Add(times)
	for i := range times {
		ended.Go(func() { began.Done(); f(i) })
	}
	began.Wait()
	server.Resume()
	ended.Wait()
}

var readsProcessed = regexp.MustCompile(`total_reads_processed:(\d+)`)

// reads returns how often the server has read from a connection.
func reads(t *testing.T, server *redistest.Server) int {
	n, err := strconv.Atoi(readsProcessed.FindStringSubmatch(server.MustDo("INFO", "stats"))[1])
	require.NoError(t, err)
	return n
}

func TestBatch_WhatIsAskedAtOnceSharesRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	opening := patient(t, server)
	for name, c := range map[string]*Client{"opened": opening, "given": made(t, opening.Redis(), 0)} {
		swapped(t, c, first(name, "0", "a"))
		const times = 100
		before := reads(t, server)
		together(server, times, func(i int) {
			if i%2 == 0 {
				require.Equal(t, "a", got(t, c, name))
			} else {
				swapped(t, c, first(fmt.Sprint(name, i), "1", "b"))
			}
		})
		require.Less(t, reads(t, server)-before, times/2, name)
	}
}

// What was asked at once, and what was asked alone, is counted.
func TestBatch_Stats(t *testing.T) {
	server := redistest.Start(t)
	c := made(t, patient(t, server).Redis(), 0)
	swapped(t, c, first("a", "0", "a"))
	before := c.Stats()
	require.EqualValues(t, 1, before.Alone)
	const times = 100
	together(server, times, func(int) { require.Equal(t, "a", got(t, c, "a")) })
	after := c.Stats()
	require.EqualValues(t, times, after.Batched+after.Alone-before.Alone)
	require.Positive(t, after.Batches)
	require.Less(t, after.Batches, after.Batched)
	require.Zero(t, after.Waiting)
	require.Zero(t, made(t, across{c.Redis()}, 0).Stats())
}

func TestBatch_NoGoroutinesWhenIdle(t *testing.T) {
	server := redistest.Start(t)
	c := patient(t, server)
	together(server, 50, func(int) { got(t, c, "none") })
	require.Eventually(t, func() bool {
		c.batches.mu.Lock()
		defer c.batches.mu.Unlock()
		return c.batches.senders == 0
	}, 5*time.Second, time.Millisecond)
}

// A command that is alone waits for nobody, and its retries are the client's.
func TestBatch_ALoneCommandGoesByItself(t *testing.T) {
	c := made(t, newWire(t, redistest.Start(t)).client, 0)
	c.batches.yield = func() { t.Error("a sender was started") }
	swapped(t, c, first("a", "1", "a"))
	require.Equal(t, "a", got(t, c, "a"))
}

func TestBatch_ScriptFlush(t *testing.T) {
	server := redistest.Start(t)
	c := patient(t, server)
	server.MustDo("SCRIPT", "FLUSH")
	together(server, 20, func(i int) { swapped(t, c, first(fmt.Sprint(i), "1", "a")) })
	for i := range 20 {
		require.Equal(t, "a", got(t, c, fmt.Sprint(i)))
	}
}

// queue returns a queued command.
func queue(ctx context.Context, args ...any) *queued {
	return &queued{ctx: ctx, cmd: redis.NewCmd(ctx, args...), done: make(chan struct{}, 1)}
}

// What was given up while it waited for its batch is not sent, and holds up none of the others.
func TestBatch_SendsOnlyWhatIsStillWanted(t *testing.T) {
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	ended, end := context.WithCancel(t.Context())
	end()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	givenUp, over, tooLate, wanted := queue(t.Context(), "SET", "up", "1"), queue(ended, "SET", "over", "1"),
		queue(late, "SET", "late", "1"), queue(t.Context(), "SET", "wanted", "1")
	givenUp.state.Store(stateGivenUp)
	newBatcher(client).execBatch([]*queued{givenUp, over, tooLate, wanted})
	require.ErrorIs(t, over.cmd.Err(), context.Canceled)
	require.ErrorIs(t, tooLate.cmd.Err(), context.DeadlineExceeded)
	require.NoError(t, wanted.cmd.Err())
	<-wanted.done
	require.Empty(t, givenUp.done, "nobody waits for it")
	require.Equal(t, "0", server.MustDo("EXISTS", "up", "over", "late"))
	require.Equal(t, "1", server.MustDo("EXISTS", "wanted"))
}

// A batch whose connection fails is not sent again as it is: each caller decides for itself.
func TestBatch_IsSentOnce(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	require.NoError(t, client.Ping(t.Context()).Err())
	proxy.Once(redistest.LoseReply, "INCR")
	one := queue(t.Context(), "INCR", "n")
	newBatcher(client).execBatch([]*queued{one})
	require.Error(t, one.cmd.Err())
	require.Equal(t, "1", server.MustDo("GET", "n"))
}

// Nobody waits longer than the own deadline says, and those who have more time get what they asked for.
func TestBatch_EachWaitsForItsOwnTime(t *testing.T) {
	server := redistest.Start(t)
	c := patient(t, server)
	swapped(t, c, first("a", "1", "a"))
	server.Pause()
	var hasty, calm sync.WaitGroup
	for range 20 {
		hasty.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			begun := time.Now()
			_, err := c.Get(ctx, prefix+"a")
			require.Error(t, err)
			require.Less(t, time.Since(begun), 5*time.Second)
		})
		calm.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := c.Get(ctx, prefix+"a")
			require.NoError(t, err)
		})
	}
	hasty.Wait()
	server.Resume()
	calm.Wait()
}

// What is given up is not done later.
func TestBatch_GivenUpForGood(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	c := opened(t, proxy.URL(), Settings{})
	proxy.Set(redistest.Hang)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := c.Swap(ctx, first(fmt.Sprint(i), "1", "a"))
			require.Error(t, err)
		})
	}
	all.Wait()
	proxy.Set(redistest.Pass)
	for range 20 { // what a client sends again, it sends within a second
		require.Empty(t, server.MustDo("KEYS", prefix+"[0-9]*"))
		time.Sleep(50 * time.Millisecond)
	}
}

// A URL may leave all waiting to the contexts: a batch does not wait for longer than what is in it.
func TestBatch_NoTimeoutsButTheContexts(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Start(t))
	c := opened(t, proxy.URL()+"?read_timeout=0&write_timeout=0", Settings{})
	load := func(within time.Duration) (failed int32) {
		var count atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				if _, err := c.Get(ctx, prefix+"none"); !errors.Is(err, ErrMissing) {
					count.Add(1)
				}
			})
		}
		all.Wait()
		return count.Load()
	}
	require.Zero(t, load(time.Minute))
	proxy.Set(redistest.Hang)
	require.EqualValues(t, 50, load(200*time.Millisecond))
	proxy.Set(redistest.Pass)
	require.Eventually(t, func() bool { return load(time.Second) == 0 }, 5*time.Second, time.Millisecond)
}

// A server that has become a replica says so to each command, in a batch too, and the client then looks for another.
func TestBatch_ReadOnly(t *testing.T) {
	before, after := redistest.Start(t), redistest.Start(t)
	moving := redistest.ProxyTo(t, before.Addr)
	c := opened(t, moving.URL(), Settings{})
	var names atomic.Int64
	write := func() (failed int32) {
		var count atomic.Int32
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				if i%10 != 0 { // most batches begin with a read, by which the client judges them
					_, _ = c.Get(t.Context(), prefix+"none")
				} else if _, err := c.Swap(t.Context(), first(fmt.Sprint(names.Add(1)), "1", "a")); err != nil {
					count.Add(1)
				}
			})
		}
		all.Wait()
		return count.Load()
	}
	require.Zero(t, write())
	host, port, err := net.SplitHostPort(after.Addr)
	require.NoError(t, err)
	before.MustDo("REPLICAOF", host, port)
	moving.MoveTo(after.Addr)
	require.Less(t, write(), int32(5), "few meet nothing but old connections")
	require.Eventually(t, func() bool { return write() == 0 }, 5*time.Second, time.Millisecond)
}

// Filling a batch must not make anybody wait for goroutines that are busy.
func TestBatch_DoesNotYieldAfterALongYield(t *testing.T) {
	b := &batcher{}
	yields := 0
	b.yield = func() { yields++ }
	b.fillBatch()
	b.fillBatch()
	require.Equal(t, 2, yields)
	b.yield = func() {
		yields++
		for begun := time.Now(); time.Since(begun) <= 2*longYield; {
			runtime.Gosched()
		}
	}
	b.fillBatch()
	require.Equal(t, 3, yields)
	b.fillBatch()
	require.Equal(t, 3, yields)
	b.quiet.Store(time.Now().UnixNano()) // the while has passed
	b.fillBatch()
	require.Equal(t, 4, yields)
}

// hooked is a client's hook that calls before with each pipeline.
type hooked struct {
	redis.Hook
	before func()
}

func (h hooked) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h hooked) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h hooked) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.before()
		return next(ctx, cmds)
	}
}

// A hook of the application's client may panic. Nothing else does, and each command goes alone then.
func TestBatch_AHookThatPanics(t *testing.T) {
	server := redistest.Start(t)
	client := patient(t, server).Redis()
	c := made(t, client, 0)
	swapped(t, c, first("a", "0", "a"))
	var panics atomic.Int64
	client.AddHook(hooked{before: func() {
		panics.Add(1)
		panic("hook")
	}})
	together(server, 50, func(int) { require.Equal(t, "a", got(t, c, "a")) })
	require.Positive(t, panics.Load())
	require.Zero(t, c.Stats().Waiting)
}
