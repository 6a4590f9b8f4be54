package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// The table in the README lies between these lines.
const (
	readmeBegin = "<!-- from here to the end of the table: written by make bench -->\n"
	readmeEnd   = "<!-- end of the table -->\n"
)

// readmeTable compares with other libraries only, in a few lines.
func (r *report) readmeTable() []byte {
	one := func(a, b string, op operation, v variant) string { return r.timeRatio(a, b, op, v, 1) }
	many := func(a, b string, op operation, v variant) string { return r.timeRatio(a, b, op, v, redisGoroutines) }
	plain, idle := variant{}, variant{idle: true}
	t := table{head: []string{"", "beside", "ratio"}}
	t.add("memory, read; with idle timeout", "scs memstore",
		one(nameMemory, nameSCS, opRead, plain)+"; "+one(nameMemory, nameSCS, opRead, idle))
	t.add("sealed cookie, read; read and write", "gorilla/sessions, gob",
		one(nameSealed, nameGorilla, opRead, plain)+"; "+one(nameSealed, nameGorilla, opWrite, plain))
	t.add("Redis, read, 16 goroutines; with idle timeout", "scs goredisstore",
		many(nameRedis, nameSCSR, opRead, plain)+"; "+many(nameRedis, nameSCSR, opRead, idle))
	t.add("Redis, read and write; login", "scs goredisstore",
		many(nameRedis, nameSCSR, opWrite, plain)+"; "+many(nameRedis, nameSCSR, opLogin, plain))
	t.add("Redis, own client, read; read and write", "scs goredisstore",
		many(nameOwn, nameSCSR, opRead, plain)+"; "+many(nameOwn, nameSCSR, opWrite, plain))
	t.add("Redis with near cache, read", "scs goredisstore", many(nameNear, nameSCSR, opRead, plain))
	var b bytes.Buffer
	t.write(&b, "")
	all, missed := r.targets(), 0
	for _, target := range all {
		if !target.met() {
			missed++
		}
	}
	fmt.Fprintf(&b, "The project set itself %d targets for this run, and met %d.\n", len(all), len(all)-missed)
	return b.Bytes()
}

// timeRatio compares two subjects' times.
func (r *report) timeRatio(a, b string, op operation, v variant, goroutines int) string {
	x, y := r.cells.get(key{a, op, v, goroutines}), r.cells.get(key{b, op, v, goroutines})
	return fmt.Sprintf("%.2f", ratio(x.nanos, y.nanos).median)
}

// writeReadme puts the table into the README at path.
func (r *report) writeReadme(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), readmeBegin)
	_, after, ends := strings.Cut(rest, readmeEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for the table", path)
	}
	next := before + readmeBegin + "\n" + string(r.readmeTable()) + "\n" + readmeEnd + after
	return os.WriteFile(path, []byte(next), 0o644)
}
