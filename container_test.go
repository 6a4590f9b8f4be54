package session

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sampleRecord has everything that a container holds.
func sampleRecord() *Record {
	at := time.Date(2031, 5, 6, 7, 8, 9, 123456000, time.UTC)
	return &Record{
		ID: "the-id", User: "ada", Note: "a laptop", Created: at, Authenticated: at.Add(time.Microsecond), Issued: at.Add(time.Minute), Used: at.Add(time.Hour),
		Deadline: at.Add(24 * time.Hour), Idle: 90 * time.Minute, Persistent: true,
		Values:  map[string]json.RawMessage{"": json.RawMessage(`""`), "a\x00b": json.RawMessage(`[1,2]`), "日本": json.RawMessage("null")},
		Flashes: map[string]json.RawMessage{"1": json.RawMessage(`{"category":"c","message":"m"}`)},
	}
}

func TestContainer_ComesBackWhole(t *testing.T) {
	change := func(f func(*Record)) *Record { r := sampleRecord(); f(r); return r }
	for what, r := range map[string]*Record{
		"all of it":      sampleRecord(),
		"an id only":     {ID: "x", Created: time.UnixMicro(0).UTC(), Issued: time.UnixMicro(0).UTC(), Used: time.UnixMicro(0).UTC(), Deadline: time.UnixMicro(1).UTC()},
		"no login":       change(func(r *Record) { r.Authenticated = time.Time{} }),
		"not persistent": change(func(r *Record) { r.Persistent = false }),
		"no idle limit":  change(func(r *Record) { r.Idle = 0 }),
		"no values":      change(func(r *Record) { r.Values = nil }),
		"no flashes":     change(func(r *Record) { r.Flashes = nil }),
		"long texts":     change(func(r *Record) { r.Note, r.User = strings.Repeat("n", 300), strings.Repeat("u", 70_000) }),
		"before 1970":    change(func(r *Record) { r.Created = time.UnixMicro(-1e15 - 1).UTC() }),
		"used earlier":   change(func(r *Record) { r.Used = r.Created.Add(-time.Second) }), // a clock that was put back
		"many values": change(func(r *Record) {
			for i := range 1000 {
				r.Values[fmt.Sprint(i)] = json.RawMessage(fmt.Sprint(i))
			}
		}),
	} {
		back, err := unpacked(packRecord(r))
		require.NoError(t, err, what)
		require.Equal(t, r, back, what)
	}
}

// Each part is written in the order in which it is read.
func TestContainer_IsCompact(t *testing.T) {
	r := sampleRecord()
	r.Values, r.Flashes, r.Note, r.User = nil, nil, "", ""
	require.Less(t, len(packRecord(r)), 50)
}

func TestContainer_EveryCutIsRefused(t *testing.T) {
	whole := packRecord(sampleRecord())
	for n := range whole {
		_, err := unpacked(whole[:n])
		require.ErrorIs(t, err, errContainer, "%d bytes of %d", n, len(whole))
	}
	for _, tail := range []string{"\x00", "x", string(whole)} {
		_, err := unpacked(append(slices.Clone(whole), tail...))
		require.ErrorIs(t, err, errContainer, "%q follows", tail)
	}
}

// parts builds containers, right ones and others.
type parts struct{ b []byte }

func (p parts) byte(b ...byte) parts { return parts{append(slices.Clone(p.b), b...)} }
func (p parts) text(texts ...string) parts {
	for _, text := range texts {
		p.b = appendText(slices.Clone(p.b), text)
	}
	return p
}
func (p parts) numbers(numbers ...int64) parts {
	for _, n := range numbers {
		p.b = binary.AppendVarint(slices.Clone(p.b), n)
	}
	return p
}
func (p parts) count(n uint64) parts { return parts{binary.AppendUvarint(slices.Clone(p.b), n)} }

func TestContainer_ForeignOnesAreRefused(t *testing.T) {
	head := parts{}.byte(containerVersion, 0)
	named := head.text("id", "", "")
	timed := named.numbers(0, 0, 0, 1, 0)
	const far = int64(1) << 62
	for what, c := range map[string]struct {
		p  parts
		ok bool
	}{
		"well made":                 {timed.count(0).count(0), true},
		"with a value":              {timed.count(1).text("k", "1").count(0), true},
		"no bytes":                  {parts{}, false},
		"version 0":                 {parts{}.byte(0, 0).text("id", "", "").numbers(0, 0, 0, 1, 0).count(0).count(0), false},
		"version 2":                 {parts{}.byte(2, 0).text("id", "", "").numbers(0, 0, 0, 1, 0).count(0).count(0), false},
		"unknown flags":             {parts{}.byte(containerVersion, 4).text("id", "", "").numbers(0, 0, 0, 1, 0).count(0).count(0), false},
		"no id":                     {head.text("", "", "").numbers(0, 0, 0, 1, 0).count(0).count(0), false},
		"an id that is not UTF-8":   {head.text("\xff", "", "").numbers(0, 0, 0, 1, 0).count(0).count(0), false},
		"a user that is not UTF-8":  {head.text("id", "\xff", "").numbers(0, 0, 0, 1, 0).count(0).count(0), false},
		"a text longer than all":    {head.count(1 << 40), false},
		"a text of 2^64-1 bytes":    {head.count(1<<64 - 1), false},
		"a text just too long":      {timed.count(1).text("k").count(2).byte('1').count(0), false},
		"a varint without end":      {named.byte(bytes.Repeat([]byte{0xff}, 20)...), false},
		"a varint of 11 bytes":      {head.byte(bytes.Repeat([]byte{0x80}, 10)...).byte(1), false},
		"a time beyond Duration":    {named.numbers(0, 0, 0, far, 0).count(0).count(0), false},
		"a time before Duration":    {named.numbers(0, 0, -far, 1, 0).count(0).count(0), false},
		"an idle limit beyond":      {named.numbers(0, 0, 0, 1, far).count(0).count(0), false},
		"a negative idle limit":     {named.numbers(0, 0, 0, 1, -1).count(0).count(0), false},
		"more values than bytes":    {timed.count(1 << 60).count(0), false},
		"a value fewer than said":   {timed.count(2).text("k", "1").count(0), false},
		"a value more than said":    {timed.count(1).text("k", "1", "l", "2").count(0), false},
		"a key twice":               {timed.count(2).text("k", "1", "k", "2").count(0), false},
		"a key that is not UTF-8":   {timed.count(1).text("\xff", "1").count(0), false},
		"something after it":        {timed.count(0).count(0).byte(0), false},
		"an extreme time of create": {named.numbers(1<<63-1, 0, 0, 1, 0).count(0).count(0), true},
	} {
		r, err := unpacked(c.p.b)
		if c.ok {
			require.NoError(t, err, what)
			continue
		}
		require.ErrorIs(t, err, errContainer, what)
		require.Nil(t, r, what)
	}
}

// A value read from a container does not reach into the next one when something is appended to it.
func TestContainer_ValuesDoNotOverlap(t *testing.T) {
	r := sampleRecord()
	back, err := unpacked(packRecord(r))
	require.NoError(t, err)
	for key := range back.Values {
		_ = append(back.Values[key], "xxxxxxxx"...)
	}
	require.True(t, maps.EqualFunc(r.Values, back.Values, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }))
}

// unpacked is unpackRecord with a record of its own.
func unpacked(b []byte) (*Record, error) {
	r := new(Record)
	if err := unpackRecord(b, r); err != nil {
		return nil, err
	}
	return r, nil
}
