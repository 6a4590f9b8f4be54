package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// Over real sockets: net/http servers in this process, wrk in another.

const socketConnections = 16

// site is a subject behind a port.
type site struct {
	name        string
	idle        bool
	url, cookie string
	server      *http.Server
	rates       []float64 // requests per second, a figure for each pass
}

func serve(s subject, v variant, op operation) (*site, error) {
	a, err := s.build(v)
	if err != nil || a.handler(op) == nil {
		return nil, err
	}
	visitor := a.visitor(op)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: visitor.handler, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	return &site{name: s.name, idle: v.idle, url: "http://" + l.Addr().String() + "/", cookie: visitor.cookie(), server: server}, nil
}

var requestsPerSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
var wrkErrors = regexp.MustCompile(`Non-2xx|Socket errors`)

// load runs wrk once.
func (s *site) load(each time.Duration) error {
	seconds := strconv.Itoa(int(max(each.Seconds(), 1)))
	command := exec.Command("wrk", "-t", "1", "-c", strconv.Itoa(socketConnections), "-d", seconds+"s", "-H", "Cookie: "+s.cookie, s.url)
	out, err := command.CombinedOutput()
	found := requestsPerSecond.FindSubmatch(out)
	if err != nil {
		return fmt.Errorf("wrk on %s: %w: %s", s.name, err, out)
	}
	if found == nil || wrkErrors.Match(out) {
		return fmt.Errorf("wrk on %s: %s", s.name, out)
	}
	rate, err := strconv.ParseFloat(string(found[1]), 64)
	s.rates = append(s.rates, rate)
	return err
}

// sockets measures reads of one session in passes.
func sockets(subjects []subject, passes int, each time.Duration) ([]*site, error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return nil, fmt.Errorf("the measurement over sockets needs wrk: %w", err)
	}
	var sites []*site
	for _, s := range subjects {
		for _, v := range []variant{{}, {idle: true}} {
			site, err := serve(s, v, opRead)
			if err != nil {
				return nil, err
			}
			if site != nil {
				defer func() { _ = site.server.Close() }()
				sites = append(sites, site)
			}
		}
	}
	for pass := range passes {
		fmt.Fprintf(os.Stderr, "  pass %d of %d\n", pass+1, passes)
		for i := range sites {
			if err := sites[(i+pass)%len(sites)].load(each); err != nil {
				return nil, err
			}
		}
	}
	return sites, nil
}
