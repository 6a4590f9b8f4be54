package promsession

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
)

// redisCollector reads the counts of a RedisStore when it is asked.
type redisCollector struct {
	store   *session.RedisStore
	metrics []redisMetric
}

type redisMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(session.RedisStats, *redis.PoolStats) float64
}

func newRedisCollector(opts Options, name string, store *session.RedisStore) *redisCollector {
	labels := prometheus.Labels{}
	maps.Copy(labels, opts.Labels)
	if name != "" {
		labels["redis"] = name
	}
	c := &redisCollector{store: store}
	add := func(name, help string, kind prometheus.ValueType, read func(session.RedisStats, *redis.PoolStats) float64) {
		desc := prometheus.NewDesc(prometheus.BuildFQName(opts.Namespace, "redis", name), help, nil, labels)
		c.metrics = append(c.metrics, redisMetric{desc, kind, read})
	}
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	add("commands_alone_total", "Commands that went to Redis by themselves.", counter,
		func(s session.RedisStats, _ *redis.PoolStats) float64 { return float64(s.Alone) })
	add("commands_batched_total", "Commands that went to Redis in batches.", counter,
		func(s session.RedisStats, _ *redis.PoolStats) float64 { return float64(s.Batched) })
	add("batches_total", "Batches of commands sent to Redis.", counter,
		func(s session.RedisStats, _ *redis.PoolStats) float64 { return float64(s.Batches) })
	add("commands_waiting", "Commands that wait for a batch.", gauge,
		func(s session.RedisStats, _ *redis.PoolStats) float64 { return float64(s.Waiting) })
	add("pool_hits_total", "Connections that were taken from the pool.", counter,
		func(_ session.RedisStats, p *redis.PoolStats) float64 { return float64(p.Hits) })
	add("pool_misses_total", "Connections that had to be made.", counter,
		func(_ session.RedisStats, p *redis.PoolStats) float64 { return float64(p.Misses) })
	add("pool_timeouts_total", "Waits for a connection that were given up.", counter,
		func(_ session.RedisStats, p *redis.PoolStats) float64 { return float64(p.Timeouts) })
	add("pool_stale_connections_total", "Connections that were closed as stale.", counter,
		func(_ session.RedisStats, p *redis.PoolStats) float64 { return float64(p.StaleConns) })
	add("pool_connections", "Connections in the pool.", gauge,
		func(_ session.RedisStats, p *redis.PoolStats) float64 { return float64(p.TotalConns) })
	add("pool_idle_connections", "Connections in the pool that are not in use.", gauge,
		func(_ session.RedisStats, p *redis.PoolStats) float64 { return float64(p.IdleConns) })
	return c
}

// Describe implements prometheus.Collector.
func (c *redisCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *redisCollector) Collect(metrics chan<- prometheus.Metric) {
	stats, pool := c.store.Stats(), &redis.PoolStats{}
	if p, ok := c.store.Client().(interface{ PoolStats() *redis.PoolStats }); ok {
		pool = p.PoolStats()
	}
	for _, m := range c.metrics {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(stats, pool))
	}
}
