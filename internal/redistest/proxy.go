package redistest

import (
	"bytes"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fault is what a Proxy does to the traffic.
type Fault int

// The faults.
const (
	Pass      Fault = iota // nothing
	Refuse                 // reset each connection
	Hang                   // accept connections, and never pass anything on
	Delay                  // pass each reply on after the Proxy's delay
	Reset                  // reset the connection in the middle of a reply, after its first byte
	LoseReply              // let the server act, drop its reply, and cut the connection
	Mute                   // let the server act, and pass on nothing that it sends
	Unheard                // pass on replies, but no notice that a key in a client's cache is invalid
)

// invalidation is the message that tells a connection that keys in its cache are invalid.
var invalidation = regexp.MustCompile(`\*3\r\n\$7\r\nmessage\r\n\$20\r\n__redis__:invalidate\r\n\*\d+\r\n(?:\$\d+\r\n[^\r]*\r\n)+`)

// Proxy is a proxy between a client and a server that can make faults. It counts connections and requests.
type Proxy struct {
	Addr string

	listener net.Listener

	mu     sync.Mutex
	target string
	fault  Fault
	delay  time.Duration
	match  []byte // only a request that has these bytes meets the fault; nil for any
	times  int    // how many more times the fault happens; negative for always
	conns  map[net.Conn]struct{}

	accepted, requests atomic.Int64
	group              sync.WaitGroup
}

// NewProxy returns a proxy for the server. It passes everything on until Set is called.
func NewProxy(tb testing.TB, s *Server) *Proxy { return ProxyTo(tb, s.Addr) }

// ProxyTo is NewProxy for any address on the loopback interface.
func ProxyTo(tb testing.TB, addr string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: addr, listener: l, conns: map[net.Conn]struct{}{}, times: -1}
	p.group.Go(p.serve)
	tb.Cleanup(func() {
		_ = l.Close()
		p.Cut()
		p.group.Wait()
	})
	return p
}

// MoveTo sends new connections to another address, as a service's address does after a failover.
func (p *Proxy) MoveTo(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

func (p *Proxy) to() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

// URL returns the redis:// URL of the proxy.
func (p *Proxy) URL() string { return "redis://" + p.Addr + "/0" }

// Set makes the proxy make this fault from now on, for all requests.
func (p *Proxy) Set(f Fault) { p.set(f, 0, "", -1) }

// SetDelay makes replies late.
func (p *Proxy) SetDelay(d time.Duration) { p.set(Delay, d, "", -1) }

// Once makes the proxy make this fault only for the next request that has the text.
func (p *Proxy) Once(f Fault, text string) { p.set(f, 0, text, 1) }

func (p *Proxy) set(f Fault, d time.Duration, text string, times int) {
	p.mu.Lock()
	p.fault, p.delay, p.match, p.times = f, d, []byte(text), times
	p.mu.Unlock()
	if f == Refuse {
		p.Cut()
	}
}

// Cut resets all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Accepted returns how many connections were made, and Requests how many writes a client made: one for each round trip.
func (p *Proxy) Accepted() int64 { return p.accepted.Load() }

// Requests is described at Accepted.
func (p *Proxy) Requests() int64 { return p.requests.Load() }

// Open returns how many connections are open.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.group.Go(func() { p.handle(client) })
	}
}

// now returns the fault for a request, and counts it.
func (p *Proxy) now(request []byte) (Fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.times == 0 || !bytes.Contains(request, p.match) {
		return Pass, 0
	}
	if p.times > 0 && p.fault != Pass {
		p.times--
	}
	return p.fault, p.delay
}

func (p *Proxy) keep(c net.Conn) func() {
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
		_ = c.Close()
	}
}

func (p *Proxy) handle(client net.Conn) {
	defer p.keep(client)()
	if p.is(Refuse) {
		reset(client)
		return
	}
	server, err := net.Dial("tcp", p.to())
	if err != nil {
		reset(client)
		return
	}
	defer func() { _ = server.Close() }()

	type order struct {
		fault Fault
		delay time.Duration
	}
	var latest atomic.Value // the order for the replies that come now
	latest.Store(order{})
	replies := make(chan struct{})
	go func() {
		defer close(replies)
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				_ = client.Close()
				return
			}
			if p.is(Mute) {
				continue
			}
			o := latest.Load().(order)
			switch o.fault {
			case Delay:
				time.Sleep(o.delay)
			case Reset:
				_, _ = client.Write(buf[:1])
				reset(client)
				return
			case LoseReply:
				reset(client)
				return
			}
			passed := buf[:n]
			if p.is(Unheard) {
				passed = invalidation.ReplaceAll(passed, nil)
			}
			if _, err := client.Write(passed); err != nil {
				_ = server.Close()
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		p.requests.Add(1)
		f, d := p.now(buf[:n])
		latest.Store(order{f, d})
		if f == Refuse {
			reset(client)
			break
		}
		if f == Hang {
			continue
		}
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = server.Close()
	<-replies
}

// is reports whether this fault is set, for any request.
func (p *Proxy) is(f Fault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault == f && p.times != 0
}

// reset closes a connection with RST, so that the other side sees an error and not an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
