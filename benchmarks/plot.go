package main

import (
	"bytes"
	"fmt"
	"html"
)

// The plot: bars of the time that a read takes, in groups, each group as parts of its slowest. It is drawn by hand, so
// that it needs nothing, and takes its colours from the reader's scheme.

type bar struct {
	name  string
	nanos figure
	kind  string // "ours", "peer" or "floor"
}

type group struct {
	title string
	bars  []bar
}

const plotStyle = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .group { font-weight: 600; }
  .note { fill: #59636e; font-size: 12px; }
  .value { font-variant-numeric: tabular-nums; }
  .ground { fill: #ffffff; }
  .track { fill: #eff2f5; }
  .ours { fill: #0b7d69; }
  .peer { fill: #a0a8b3; }
  .floor { fill: #d3d9e0; }
  .whisker { stroke: #1f2328; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .ground { fill: #0d1117; }
    .track { fill: #1a2029; }
    .ours { fill: #34c3a6; }
    .peer { fill: #6e7681; }
    .floor { fill: #3d444d; }
    .whisker { stroke: #e6edf3; }
  }`

const (
	plotWidth  = 860
	nameWidth  = 230
	trackWidth = 460
	barHeight  = 18
	barStep    = 26
)

func (r *report) groups() []group {
	cpu := func(op operation, v variant, names ...string) (bars []bar) {
		return r.bars(op, v, 1, names)
	}
	redis := func(op operation, v variant) []bar {
		return r.bars(op, v, redisGoroutines, []string{nameNear, nameRedis, nameOwn, nameSCSR, nameBoj, nameGet, nameGetSet})
	}
	idle := variant{idle: true}
	return []group{
		{"Cookie, read", cpu(opRead, variant{}, nameSealed, nameSigned, nameGorilla, nameSeal, nameHMAC)},
		{"Cookie, read + write", cpu(opWrite, variant{}, nameSealed, nameSigned, nameGorilla, nameSeal, nameHMAC)},
		{"Memory, read, idle timeout", cpu(opRead, idle, nameMemory, nameSCS)},
		{"Redis, read", redis(opRead, variant{})},
		{"Redis, read, idle timeout", redis(opRead, idle)},
		{"Redis, read + write", redis(opWrite, variant{})},
		{"Redis, login", redis(opLogin, variant{})},
	}
}

func (r *report) bars(op operation, v variant, goroutines int, names []string) (bars []bar) {
	for _, name := range names {
		if c := r.cells[key{name, op, v, goroutines}]; c != nil && len(c.nanos) > 0 {
			bars = append(bars, bar{name, summarise(c.nanos), kindOf(name)})
		}
	}
	return bars
}

func kindOf(name string) string {
	switch name {
	case nameSealed, nameSigned, nameMemory, nameRedis, nameOwn, nameNear:
		return "ours"
	case nameGorilla, nameSCS, nameSCSR, nameBoj:
		return "peer"
	}
	return "floor"
}

func (r *report) plot() []byte {
	var body bytes.Buffer
	y := 64
	for _, g := range r.groups() {
		if len(g.bars) > 0 {
			y = g.draw(&body, y)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" role="img" aria-labelledby="t d">`+"\n", plotWidth, y, plotWidth)
	fmt.Fprintln(&b, `<title id="t">Microseconds for each request</title>`)
	fmt.Fprintln(&b, `<desc id="d">Bars for this library's stores, other session libraries, and the least that could be done. The figures are in RESULTS.md.</desc>`)
	fmt.Fprintf(&b, "<style>%s\n</style>\n", plotStyle)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/>`+"\n", plotWidth, y)
	fmt.Fprintln(&b, `<text class="title" x="16" y="28">Microseconds for each request (shorter is better)</text>`)
	legend(&b)
	b.Write(body.Bytes())
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

func legend(b *bytes.Buffer) {
	x := 16
	for _, entry := range []struct{ kind, text string }{{"ours", "this library"}, {"peer", "other libraries"}, {"floor", "floor: no session at all"}} {
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="40" width="12" height="12" rx="2"/><text class="note" x="%d" y="50">%s</text>`+"\n", entry.kind, x, x+18, entry.text)
		x += 40 + 7*len(entry.text)
	}
	fmt.Fprintf(b, `<text class="note" x="%d" y="50">line: from the fastest pass to the slowest</text>`+"\n", x)
}

// draw puts the group at y, and returns where the next one goes.
func (g group) draw(b *bytes.Buffer, y int) int {
	longest := 0.0
	for _, bar := range g.bars {
		longest = max(longest, bar.nanos.high)
	}
	y += 20
	fmt.Fprintf(b, `<text class="group" x="16" y="%d">%s</text>`+"\n", y, html.EscapeString(g.title))
	y += 8
	scale := func(nanos float64) float64 { return nanos / longest * trackWidth }
	for _, bar := range g.bars {
		middle := y + barHeight/2
		fmt.Fprintf(b, `<text x="16" y="%d">%s</text>`, middle+5, html.EscapeString(bar.name))
		fmt.Fprintf(b, `<rect class="track" x="%d" y="%d" width="%d" height="%d" rx="3"/>`, nameWidth, y, trackWidth, barHeight)
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="3"/>`, bar.kind, nameWidth, y, max(scale(bar.nanos.median), 2), barHeight)
		fmt.Fprintf(b, `<line class="whisker" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, nameWidth+scale(bar.nanos.low), nameWidth+scale(bar.nanos.high), middle, middle)
		fmt.Fprintf(b, `<text class="value" x="%d" y="%d">%s µs</text>`+"\n", nameWidth+trackWidth+12, middle+5, micros(bar.nanos.median))
		y += barStep
	}
	return y + 4
}
