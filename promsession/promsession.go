// Package promsession counts what sessions do, for Prometheus: operations on the store and how long they take, what happens to
// sessions, and how a RedisStore uses its connections.
//
//	collector := promsession.New(promsession.Options{})
//	prometheus.MustRegister(collector)
//	config := session.Config{}
//	collector.Instrument(&config)
//	sessions, err := session.New(store, config)
//
// No metric has a label with a session's ID or a user's name.
package promsession

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorman-go/session"
)

// Options are the options of a Collector. The zero value is good.
type Options struct {
	// Namespace begins every metric's name, before an underscore. The default is "session".
	Namespace string

	// Labels are added to every metric. Set them if a process has several Managers, for example {"manager": "admin"}: two
	// Collectors without labels can't be registered together. The default is none.
	Labels prometheus.Labels

	// Buckets are the upper bounds of the durations, in seconds, growing. The default is DefaultBuckets.
	Buckets []float64
}

// DefaultBuckets returns bounds from 0.1 ms, which a store in memory takes, to 30 s, the longest StoreTimeout.
func DefaultBuckets() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
}

// Collector is a prometheus.Collector of one Manager. It is made by New and safe for use by several goroutines.
type Collector struct {
	operations *prometheus.HistogramVec
	underWay   *prometheus.GaugeVec
	nearCache  *prometheus.CounterVec
	events     *prometheus.CounterVec
	redis      []*redisCollector
	options    Options
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a Collector. It panics if Namespace or a label is not a valid name, as the functions of package prometheus do.
func New(opts Options) *Collector {
	if opts.Namespace == "" {
		opts.Namespace = "session"
	}
	if opts.Buckets == nil {
		opts.Buckets = DefaultBuckets()
	}
	describe := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: opts.Namespace, Name: name, Help: help, ConstLabels: opts.Labels}
	}
	duration := describe("operation_duration_seconds", "Duration of operations on the session store.")
	return &Collector{
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: duration.Namespace, Name: duration.Name, Help: duration.Help, ConstLabels: duration.ConstLabels, Buckets: opts.Buckets,
		}, []string{"kind", "store", "result"}),
		underWay: prometheus.NewGaugeVec(prometheus.GaugeOpts(
			describe("operations_in_flight", "Operations on the session store that are under way.")), []string{"kind", "store"}),
		nearCache: prometheus.NewCounterVec(prometheus.CounterOpts(
			describe("loads_total", "Loads of sessions, by who answered: the near cache or the store.")), []string{"answered_by"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts(
			describe("events_total", "What happened to sessions.")), []string{"kind", "reason"}),
		options: opts,
	}
}

// Instrument sets config's Observe and OnEvent. What they were before is called as well, after the Collector.
func (c *Collector) Instrument(config *session.Config) {
	observe, onEvent := config.Observe, config.OnEvent
	config.Observe = func(ctx context.Context, call session.StoreCall) func(error) {
		done, next := c.Observe(ctx, call), func(error) {}
		if observe != nil {
			if f := observe(ctx, call); f != nil {
				next = f
			}
		}
		return func(err error) { done(err); next(err) }
	}
	config.OnEvent = func(ctx context.Context, event session.Event) {
		c.OnEvent(ctx, event)
		if onEvent != nil {
			onEvent(ctx, event)
		}
	}
}

// The results of operations.
const (
	resultOK       = "ok"
	resultEnded    = "ended"    // the session had ended, which is no fault
	resultCanceled = "canceled" // the client hung up
	resultTimeout  = "timeout"  // StoreTimeout was over
	resultError    = "error"
)

func resultOf(err error) string {
	switch {
	case err == nil:
		return resultOK
	case errors.Is(err, session.ErrSessionEnded):
		return resultEnded
	case errors.Is(err, context.DeadlineExceeded):
		return resultTimeout
	case errors.Is(err, context.Canceled):
		return resultCanceled
	}
	return resultError
}

// Observe is a session.Config.Observe.
func (c *Collector) Observe(_ context.Context, call session.StoreCall) (done func(error)) {
	begun, underWay := time.Now(), c.underWay.WithLabelValues(call.Kind, call.Store)
	underWay.Inc()
	return func(err error) {
		underWay.Dec()
		c.operations.WithLabelValues(call.Kind, call.Store, resultOf(err)).Observe(time.Since(begun).Seconds())
		if call.Kind == session.CallLoad && err == nil {
			c.nearCache.WithLabelValues(answeredBy(call)).Inc()
		}
	}
}

func answeredBy(call session.StoreCall) string {
	if call.NearCache {
		return "near_cache"
	}
	return "store"
}

// OnEvent is a session.Config.OnEvent.
func (c *Collector) OnEvent(_ context.Context, event session.Event) {
	c.events.WithLabelValues(string(event.Kind), string(event.Reason)).Inc()
}

// WatchRedis adds the counts of a store: its batches and its connections. It is called before the Collector is registered. The name
// tells several stores apart; it may be empty for one.
func (c *Collector) WatchRedis(name string, store *session.RedisStore) {
	c.redis = append(slices.Clip(c.redis), newRedisCollector(c.options, name, store))
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, one := range c.all() {
		one.Describe(descs)
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	for _, one := range c.all() {
		one.Collect(metrics)
	}
}

func (c *Collector) all() []prometheus.Collector {
	all := []prometheus.Collector{c.operations, c.underWay, c.nearCache, c.events}
	for _, one := range c.redis {
		all = append(all, one)
	}
	return all
}
