package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
)

// wireRow is what a request of a kind sends to Redis and gets from it.
type wireRow struct {
	subject string
	op      operation
	values  int
	sent    float64 // bytes
	got     float64
}

const wireRequests = 500

// runWire counts bytes, by the server's own count. Written so often, a session of this library has as many latest revisions as
// it may.
func runWire(r *report, server *server) error {
	for _, s := range append(rawSubjects(server.addr), redisSubject(server.url()), scsRedisSubject(server.addr)) {
		if err := r.countWire(server, s, 0); err != nil {
			return err
		}
	}
	return r.countWire(server, redisSubject(server.url()), 297)
}

func (r *report) countWire(server *server, s subject, more int) error {
	a, err := s.build(variant{more: more})
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, op := range []operation{opRead, opWrite, opLogin} {
		if a.handler(op) != nil {
			r.wire = append(r.wire, server.countBytes(s.name, op, 3+more, a.visitor(op)))
		}
	}
	return nil
}

// countBytes makes requests that are one after another: each goes by itself. The first ones connect, and are not counted.
func (s *server) countBytes(name string, op operation, values int, c *client) wireRow {
	for range 10 {
		c.visit()
	}
	in, out := s.traffic()
	for range wireRequests {
		c.visit()
	}
	inAfter, outAfter := s.traffic()
	return wireRow{name, op, values, (inAfter - in) / wireRequests, (outAfter - out) / wireRequests}
}

// traffic returns the bytes that the server has received and sent. Its own question is about a byte for each request.
func (s *server) traffic() (in, out float64) {
	stats := s.admin.InfoMap(context.Background(), "stats")
	in, _ = strconv.ParseFloat(stats.Item("Stats", "total_net_input_bytes"), 64)
	out, _ = strconv.ParseFloat(stats.Item("Stats", "total_net_output_bytes"), 64)
	return in, out
}

func (r *report) wireTable(b *bytes.Buffer) {
	t := table{head: []string{"request", "values", "", "bytes to Redis", "bytes from Redis"}}
	for _, row := range r.wire {
		t.add(row.subject, count(row.values), string(row.op), fmt.Sprintf("%.0f", row.sent), fmt.Sprintf("%.0f", row.got))
	}
	t.write(b, "Bytes on the wire")
}
