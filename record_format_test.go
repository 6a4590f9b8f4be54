package session

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fullRecord has everything that a record can hold.
func fullRecord() *Record {
	at := time.Date(2031, 5, 6, 7, 8, 9, 123456000, time.UTC)
	return &Record{
		ID: "the-id", Revision: "rev-3", Realm: "shop", User: "ada", Note: "a laptop",
		CreatedAt: at, AuthenticatedAt: at.Add(time.Microsecond), IssuedAt: at.Add(time.Minute), RegeneratedAt: at.Add(time.Hour),
		LastUsedAt: at.Add(2 * time.Hour), Deadline: at.Add(24 * time.Hour), IdleTimeout: 90 * time.Minute, Persistent: true,
		Values: NewValues(map[string]json.RawMessage{
			"": json.RawMessage(`""`), "a\x00b": json.RawMessage(`[1,2]`), "日本": json.RawMessage("null"),
		}),
		Flashes: []StoredFlash{{ID: "f1", Category: "info", Message: "saved"}, {ID: "f2", Message: ""}},
		Latest:  NewRevisions(PastRevision{"rev-2", at.Add(time.Hour)}, PastRevision{"rev-3", at.Add(2 * time.Hour)}),
	}
}

func tombstone() *Record {
	at := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	return &Record{ID: "the-id", Revision: "rev-4", Realm: "shop", User: "ada", IssuedAt: at, Deadline: at.Add(time.Minute),
		Ended: true, Revoked: true, Successor: "next-id", Latest: NewRevisions(PastRevision{"rev-4", at})}
}

// boundRecord is of a session that is bound to a device.
func boundRecord() *Record {
	r := fullRecord()
	r.Binding = Binding{Secret: []byte("\xff\x00 secret"), Key: []byte("0 key"), ProvedAt: r.CreatedAt.Add(3 * time.Second)}
	return r
}

func marshalled(t testing.TB, r *Record) []byte {
	t.Helper()
	b, err := r.MarshalBinary()
	require.NoError(t, err)
	return b
}

func unmarshalled(t testing.TB, b []byte) *Record {
	t.Helper()
	r := new(Record)
	require.NoError(t, r.UnmarshalBinary(b))
	return r
}

// An adopted session has one more text, as long as its cookie has not arrived.
func TestRecordFormat_AClaimIsTheHeadsLastText(t *testing.T) {
	r := tombstone()
	without := marshalled(t, r)
	r.Claim = "the-claim"
	b := marshalled(t, r)
	require.Equal(t, r, unmarshalled(t, b))
	require.Len(t, b, len(without)+len("\tthe-claim"))
	head, err := unmarshalHead(b)
	require.NoError(t, err)
	require.Equal(t, "the-claim", head.Claim)
	at := bytes.Index(b, []byte("\tthe-claim"))
	for _, cut := range [][]byte{b[:at+3], b[:at]} {
		_, err = unmarshalHead(cut)
		require.ErrorContains(t, err, faultCut)
	}
	empty := slices.Concat(b[:at], []byte{0}, b[at+len("\tthe-claim"):])
	require.ErrorIs(t, new(Record).UnmarshalBinary(empty), errUnreadable, "one spelling")
}

// The bytes of version 1 never change: they are in somebody's store.
func TestRecordFormat_GoldenBytes(t *testing.T) {
	for name, r := range map[string]*Record{
		"live": fullRecord(), "tombstone": tombstone(), "empty": {ID: "x"}, "tagged": {ID: "x", Tag: "sid"}, "bound": boundRecord(),
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "record", name+".hex"))
		require.NoError(t, err)
		golden, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		require.NoError(t, err)
		require.Equal(t, golden, marshalled(t, r), "%s: %x", name, marshalled(t, r))
		require.Equal(t, r, unmarshalled(t, golden), name)
	}
}

func TestRecordFormat_ComesBackWhole(t *testing.T) {
	change := func(f func(*Record)) *Record { r := fullRecord(); f(r); return r }
	for what, r := range map[string]*Record{
		"all of it":             fullRecord(),
		"a tombstone":           tombstone(),
		"an ID only":            {ID: "x"},
		"a tag":                 {ID: "x", Tag: "sid"},
		"bound to a device":     boundRecord(),
		"offered to bind":       change(func(r *Record) { r.Binding.Secret = []byte{0} }),
		"a key without secret":  change(func(r *Record) { r.Binding.Key = bytes.Repeat([]byte{0xff}, maxHeadText) }),
		"a proof without key":   change(func(r *Record) { r.Binding.ProvedAt = r.Deadline }),
		"no login":              change(func(r *Record) { r.AuthenticatedAt = time.Time{} }),
		"not persistent":        change(func(r *Record) { r.Persistent = false }),
		"no idle limit":         change(func(r *Record) { r.IdleTimeout = 0 }),
		"no values":             change(func(r *Record) { r.Values = Values{} }),
		"no flashes":            change(func(r *Record) { r.Flashes = nil }),
		"no revision":           change(func(r *Record) { r.Revision = ""; r.Latest = NewRevisions(PastRevision{"", r.IssuedAt}) }),
		"no time of a creation": change(func(r *Record) { r.CreatedAt = time.Time{} }),
		"created in 1970":       change(func(r *Record) { r.CreatedAt = time.UnixMicro(0).UTC() }),
		"before 1970":           change(func(r *Record) { r.CreatedAt = time.UnixMicro(-1e15 - 1).UTC() }),
		"used earlier":          change(func(r *Record) { r.LastUsedAt = r.CreatedAt.Add(-time.Second) }), // a clock that was put back
		"the first and the last": change(func(r *Record) {
			r.CreatedAt, r.Deadline = time.UnixMicro(minMicro+1).UTC(), time.UnixMicro(maxMicro).UTC()
		}),
		"a revision of no time": change(func(r *Record) { r.Latest = NewRevisions(PastRevision{"rev-2", time.Time{}}) }),
		"long texts":            change(func(r *Record) { r.Note, r.User = strings.Repeat("n", 300), strings.Repeat("u", maxHeadText) }),
		"400 days":              change(func(r *Record) { r.IdleTimeout = maxLifetime }),
		"many values": change(func(r *Record) {
			m := map[string]json.RawMessage{}
			for i := range 1000 {
				m[fmt.Sprint(i)] = json.RawMessage(fmt.Sprint(i))
			}
			r.Values = NewValues(m)
		}),
	} {
		b := marshalled(t, r)
		require.Equal(t, r, unmarshalled(t, b), what)
		require.Equal(t, len(b), r.size(), what)
	}
}

func TestRecordFormat_TimesAreUTCToTheMicrosecond(t *testing.T) {
	zone := time.FixedZone("NPT", 5*3600+45*60)
	r := &Record{ID: "x", CreatedAt: time.Date(2031, 5, 6, 7, 8, 9, 123456789, zone), IssuedAt: time.Date(1960, 1, 1, 0, 0, 0, 999, zone),
		LastUsedAt: time.Time{}.Add(time.Nanosecond), IdleTimeout: 1500 * time.Nanosecond}
	got := unmarshalled(t, marshalled(t, r))
	require.Equal(t, time.Date(2031, 5, 6, 1, 23, 9, 123456000, time.UTC), got.CreatedAt)
	require.Equal(t, time.Date(1959, 12, 31, 18, 15, 0, 0, time.UTC), got.IssuedAt)
	require.True(t, got.LastUsedAt.IsZero())
	require.Equal(t, 2*time.Microsecond, got.IdleTimeout, "never rounded to zero, which is for any time")
}

func TestRecordFormat_IsCompact(t *testing.T) {
	r := fullRecord()
	r.Values, r.Flashes, r.Latest, r.RegeneratedAt = Values{}, nil, Revisions{}, time.Time{}
	texts := len(r.ID + r.Revision + r.Realm + r.User + r.Note)
	require.LessOrEqual(t, len(marshalled(t, r)), texts+50)
}

func TestRecordFormat_LeavesOutWhatIsTheStoresOwn(t *testing.T) {
	r := fullRecord()
	r.Version, r.Stale = 7, true
	require.Equal(t, fullRecord(), unmarshalled(t, marshalled(t, r)))
	require.Equal(t, fullRecord(), fromJSON(t, toJSON(t, r)))
}

func TestRecordFormat_TheReadRecordKeepsNothingOfTheBytes(t *testing.T) {
	b := marshalled(t, fullRecord())
	got := unmarshalled(t, b)
	for i := range b {
		b[i] = 0xff
	}
	require.Equal(t, fullRecord(), got)
}

// A newer release wrote it. It is a failed load, and must not be taken for a session that is gone.
func TestRecordFormat_ANewerVersionIsNotNotFound(t *testing.T) {
	for _, version := range []byte{formatVersion + 1, 255} {
		b := marshalled(t, fullRecord())
		b[0] = version
		r := &Record{ID: "before"}
		err := r.UnmarshalBinary(b)
		require.ErrorContains(t, err, fmt.Sprintf("format %d", version))
		require.NotErrorIs(t, err, ErrNotFound)
		require.Equal(t, &Record{ID: "before"}, r)
		_, err = unmarshalHead(b)
		require.ErrorContains(t, err, "a newer one wrote it")
		require.NotErrorIs(t, err, ErrNotFound)
		_, err = unmarshalHead(b[:1])
		require.NotErrorIs(t, err, ErrNotFound)
	}
}

// Whatever the version, the revision stands behind the first byte, with its length in front.
func TestRecordFormat_TheRevisionStandsSecond(t *testing.T) {
	require.Equal(t, "\x01\x05rev-3", string(marshalled(t, fullRecord())[:7]))
}

func TestRecordFormat_EveryCutIsRefused(t *testing.T) {
	for _, r := range []*Record{fullRecord(), tombstone(), boundRecord(), {ID: "x"}} {
		whole := marshalled(t, r)
		for n := range whole {
			require.ErrorIs(t, new(Record).UnmarshalBinary(whole[:n]), errUnreadable, "%d bytes of %d", n, len(whole))
		}
		for _, tail := range []string{"\x00", "x", string(whole)} {
			require.ErrorIs(t, new(Record).UnmarshalBinary(append(slices.Clone(whole), tail...)), errUnreadable, "%q follows", tail)
		}
	}
}

// A list reads the first bytes only: as soon as they hold the head, it is read as it is, and until then the error says so.
func TestRecordFormat_HeadOfAPrefix(t *testing.T) {
	for _, r := range []*Record{fullRecord(), tombstone(), boundRecord(), {ID: "x"}} {
		head := *r
		head.Values, head.Flashes, head.Latest = Values{}, nil, Revisions{}
		whole := marshalled(t, r)
		complete := len(marshalled(t, &head)) - 1 // without the count of flashes
		complete += uvarintSize(uint64(len(r.Values.packed))) + uvarintSize(uint64(len(r.Latest.packed))) - 2
		for n := range len(whole) + 1 {
			got, err := unmarshalHead(whole[:n])
			if n < complete {
				require.ErrorContains(t, err, faultCut, "%d bytes of %d", n, complete)
				require.ErrorIs(t, err, errUnreadable)
				require.Nil(t, got)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, &head, got)
		}
	}
}

func TestRecordFormat_HeadThatMakesNoSense(t *testing.T) {
	for what, b := range map[string][]byte{
		"no such format":  {0, 0, 0, 0, 0},
		"unknown flags":   {1, 0, 0xff, 0xff, 0, 0},
		"a text too long": binary.AppendUvarint([]byte{1, 0, 0, 0, 0, 0}, maxHeadText+1),
		"no ID":           {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		_, err := unmarshalHead(b)
		require.ErrorIs(t, err, errUnreadable, what)
		require.NotContains(t, err.Error(), faultCut, what)
	}
}

// parts builds records, right ones and others.
type parts struct{ b []byte }

func (p parts) byte(b ...byte) parts { return parts{append(slices.Clone(p.b), b...)} }
func (p parts) text(texts ...string) parts {
	p.b = slices.Clone(p.b)
	for _, text := range texts {
		p.b = appendText(p.b, text)
	}
	return p
}
func (p parts) offsets(numbers ...int64) parts {
	p.b = slices.Clone(p.b)
	for _, n := range numbers {
		p.b = binary.AppendVarint(p.b, n)
	}
	return p
}
func (p parts) count(numbers ...uint64) parts {
	p.b = slices.Clone(p.b)
	for _, n := range numbers {
		p.b = binary.AppendUvarint(p.b, n)
	}
	return p
}

func (p parts) time(micro int64) parts {
	return parts{binary.LittleEndian.AppendUint64(slices.Clone(p.b), uint64(micro))}
}

func TestRecordFormat_WhatMakesNoSenseIsRefused(t *testing.T) {
	created := byte(flagFirstTime)
	start := parts{}.byte(1).text("r").byte(created, 0).count(0, 0)
	named := start.text("id", "", "", "", "")
	timed := named.offsets(0).count(0)
	withRevisions := func(size int) parts {
		return parts{}.byte(1).text("r").byte(created, 0).count(uint64(size), 0).text("id", "", "", "", "").offsets(0).count(0, 0)
	}
	withValues := func(size int) parts {
		return parts{}.byte(1).text("r").byte(created, 0).count(0, uint64(size)).text("id", "", "", "", "").offsets(0).count(0, 0)
	}
	bound := parts{}.byte(1).text("r").byte(byte(flagFirstTime), byte(flagBinding>>8)).count(0, 0).text("id", "", "", "", "").offsets(0).count(0)
	const far = int64(1) << 62
	for what, c := range map[string]struct {
		p  parts
		ok bool
	}{
		"well made":                  {timed.count(0), true},
		"with a value":               {withValues(4).text("k", "1"), true},
		"no bytes":                   {parts{}, false},
		"version 0":                  {parts{}.byte(0).text("r").byte(created, 0).count(0, 0).text("id", "", "", "", "").offsets(0).count(0, 0), false},
		"unknown flags":              {parts{}.byte(1).text("r").byte(created, 0x80).count(0, 0).text("id", "", "", "", "").offsets(0).count(0, 0), false},
		"no ID":                      {start.text("", "", "", "", "").offsets(0).count(0, 0), false},
		"a revision of no UTF-8":     {parts{}.byte(1).text("\xff").byte(created, 0).count(0, 0).text("id", "", "", "", "").offsets(0).count(0, 0), false},
		"an ID of no UTF-8":          {start.text("\xff", "", "", "", "").offsets(0).count(0, 0), false},
		"a successor of no UTF-8":    {start.text("id", "", "", "", "\xff").offsets(0).count(0, 0), false},
		"a note too long":            {start.text("id", "", "", strings.Repeat("n", maxHeadText+1), "").offsets(0).count(0, 0), false},
		"a text longer than all":     {start.count(1 << 40), false},
		"a text of 2^64-1 bytes":     {start.count(1<<64 - 1), false},
		"a length spelled longer":    {start.byte(0x82, 0).byte('i', 'd').text("", "", "", "").offsets(0).count(0, 0), false},
		"a number without end":       {named.byte(bytes.Repeat([]byte{0xff}, 20)...), false},
		"a number of 11 bytes":       {named.byte(bytes.Repeat([]byte{0x80}, 10)...).byte(1), false},
		"a number of ten bytes":      {named.byte(bytes.Repeat([]byte{0xff}, 9)...).byte(2).count(0, 0), false},
		"a time too late":            {named.offsets(maxMicro+1).count(0, 0), false},
		"the last time":              {named.offsets(maxMicro).count(0, 0), true},
		"a time too early":           {named.offsets(minMicro-1).count(0, 0), false},
		"the zero time, flagged":     {named.offsets(minMicro).count(0, 0), false},
		"the first time":             {named.offsets(minMicro+1).count(0, 0), true},
		"a time far off":             {named.offsets(far).count(0, 0), false},
		"a time far before":          {named.offsets(-far).count(0, 0), false},
		"400 days":                   {named.offsets(0).count(uint64(maxLifetime.Microseconds()), 0), true},
		"an idle limit beyond":       {named.offsets(0).count(uint64(maxLifetime.Microseconds())+1, 0), false},
		"an idle limit far beyond":   {named.offsets(0).count(1<<63, 0), false},
		"a revision before":          {withRevisions(10).text("q").time(0), true},
		"its own revision":           {withRevisions(10).text("r").time(0), true},
		"more revisions than bytes":  {withRevisions(1 << 40).text("q").time(0), false},
		"revisions that are shorter": {withRevisions(11).text("q").time(0), false},
		"revisions that are longer":  {withRevisions(9).text("q").time(0), false},
		"half a revision's time":     {withRevisions(6).text("q").byte(0, 0, 0, 0), false},
		"a revision of no UTF-8 too": {withRevisions(10).text("\xff").time(0), false},
		"a revision too late":        {withRevisions(10).text("q").time(maxMicro + 1), false},
		"a revision too early":       {withRevisions(10).text("q").time(minMicro - 1), false},
		"a binding":                  {bound.text("\xff", "key").count(0), true},
		"a secret only":              {bound.text("s", "").count(0), true},
		"a binding of nothing":       {bound.text("", "").count(0), false},
		"half a binding":             {bound.text("s"), false},
		"a key longer than all":      {bound.text("s").count(1 << 40), false},
		"a secret too long":          {bound.text(strings.Repeat("s", maxHeadText+1), "").count(0), false},
		"a flash":                    {timed.count(1).text("f", "", ""), true},
		"a flash without ID":         {timed.count(1).text("", "c", "m"), false},
		"a flash of no UTF-8":        {timed.count(1).text("f", "", "\xff"), false},
		"more flashes than bytes":    {timed.count(1<<60).text("f", "", ""), false},
		"a flash fewer than said":    {timed.count(2).text("f", "", ""), false},
		"more values than bytes":     {withValues(1<<40).text("k", "1"), false},
		"values that are shorter":    {withValues(5).text("k", "1"), false},
		"values that are longer":     {withValues(3).text("k", "1"), false},
		"half a value":               {withValues(3).text("k").byte(1), false},
		"a key without value":        {withValues(2).text("k"), false},
		"an empty value":             {withValues(3).text("k", ""), false},
		"two values":                 {withValues(8).text("k", "1", "l", "2"), true},
		"a key twice":                {withValues(8).text("k", "1", "k", "2"), false},
		"keys out of order":          {withValues(8).text("l", "1", "k", "2"), false},
		"a key of no UTF-8":          {withValues(4).text("\xff", "1"), false},
		"a value of no UTF-8":        {withValues(6).text("k", "\"\xff\""), false},
		"a value longer than all":    {withValues(4).text("k").byte(0x7f, '1'), false},
		"something after it":         {timed.count(0).byte(0), false},
	} {
		r := &Record{ID: "before"}
		err := r.UnmarshalBinary(c.p.b)
		if c.ok {
			require.NoError(t, err, what)
			require.Equal(t, c.p.b, marshalled(t, r), what)
			continue
		}
		require.ErrorIs(t, err, errUnreadable, what)
		require.Equal(t, &Record{ID: "before"}, r, "%s: left alone", what)
	}
}

func TestRecordFormat_WhatCouldNotBeReadIsNotWritten(t *testing.T) {
	long := strings.Repeat("x", maxHeadText+1)
	late := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for field, set := range map[string]func(*Record){
		"its ID is empty":                           func(r *Record) { r.ID = "" },
		"its ID is not valid UTF-8":                 func(r *Record) { r.ID = "\xff" },
		"its Revision is longer":                    func(r *Record) { r.Revision = long },
		"its Realm is not valid UTF-8":              func(r *Record) { r.Realm = "\xff" },
		"its User is longer":                        func(r *Record) { r.User = long },
		"its Note is not valid UTF-8":               func(r *Record) { r.Note = "\xff" },
		"its Successor is longer":                   func(r *Record) { r.Successor = long },
		"its Claim is longer":                       func(r *Record) { r.Claim = long },
		"its CreatedAt is not within":               func(r *Record) { r.CreatedAt = late },
		"its IssuedAt is not within":                func(r *Record) { r.IssuedAt = time.Time{}.Add(-1) },
		"its LastUsedAt is not within":              func(r *Record) { r.LastUsedAt = late },
		"its Deadline is not within":                func(r *Record) { r.Deadline = time.Unix(1<<55, 0) },
		"its AuthenticatedAt is not within":         func(r *Record) { r.AuthenticatedAt = late },
		"its RegeneratedAt is not within":           func(r *Record) { r.RegeneratedAt = late },
		"its ProvedAt is not within":                func(r *Record) { r.Binding.ProvedAt = late },
		"the Secret or the Key of its Binding":      func(r *Record) { r.Binding.Key = []byte(long) },
		"its IdleTimeout is negative":               func(r *Record) { r.IdleTimeout = -1 },
		"or over 400 days":                          func(r *Record) { r.IdleTimeout = maxLifetime + 1 },
		"one of its Latest revisions is too long":   func(r *Record) { r.Latest = NewRevisions(PastRevision{long, r.IssuedAt}) },
		"or not valid UTF-8":                        func(r *Record) { r.Latest = NewRevisions(PastRevision{"\xff", r.IssuedAt}) },
		"the time of one of its Latest revisions":   func(r *Record) { r.Latest = NewRevisions(PastRevision{"r", late}) },
		"the ID of one of its Flashes is empty":     func(r *Record) { r.Flashes[0].ID = "" },
		"its Flashes' text is not valid UTF-8":      func(r *Record) { r.Flashes[0].Message = "\xff" },
		`the key "\xff" is not valid UTF-8`:         func(r *Record) { r.Values = NewValues(map[string]json.RawMessage{"\xff": []byte("1")}) },
		`the value of key "k" is not valid UTF-8`:   func(r *Record) { r.Values = NewValues(map[string]json.RawMessage{"k": []byte("\"\xff\"")}) },
		"session: the record can't be marshalled: ": func(r *Record) { r.ID = "" },
	} {
		r := fullRecord()
		set(r)
		b, err := r.MarshalBinary()
		require.ErrorContains(t, err, field)
		require.Nil(t, b)
	}
}

func anyText(rnd *rand.Rand, most int) string {
	const letters = "abcxyz\x00\"\\<é日🍵\u2028\ufffd"
	runes := []rune(letters)
	text := make([]rune, rnd.IntN(most))
	for i := range text {
		text[i] = runes[rnd.IntN(len(runes))]
	}
	return string(text)
}

func randomTime(rnd *rand.Rand) time.Time {
	switch rnd.IntN(4) {
	case 0:
		return time.Time{}
	case 1:
		return time.UnixMicro(minMicro + 1 + rnd.Int64N(maxMicro-minMicro-24*3600*1e6)).UTC() // any zone's day is before the year 10000
	}
	return time.UnixMicro(1.7e15 + rnd.Int64N(1e12)).UTC()
}

func randomRecord(rnd *rand.Rand) *Record {
	flip := func() bool { return rnd.IntN(2) == 0 }
	r := &Record{
		ID: "i" + anyText(rnd, 40), Revision: anyText(rnd, 24), Realm: anyText(rnd, 9), User: anyText(rnd, 200),
		Note: anyText(rnd, 20), Successor: anyText(rnd, 3), Claim: anyText(rnd, 3), CreatedAt: randomTime(rnd), AuthenticatedAt: randomTime(rnd),
		IssuedAt: randomTime(rnd), RegeneratedAt: randomTime(rnd), LastUsedAt: randomTime(rnd), Deadline: randomTime(rnd),
		IdleTimeout: time.Duration(rnd.Int64N(maxLifetime.Microseconds())) * time.Microsecond, Persistent: flip(), Ended: flip(), Revoked: flip(),
		Values: NewValues(randomValues(rnd)),
	}
	if flip() {
		r.Binding = Binding{Secret: []byte("\xff" + anyText(rnd, 40)), ProvedAt: randomTime(rnd)}
	}
	if flip() {
		r.Binding.Key = []byte("\xff" + anyText(rnd, 100))
	}
	for range rnd.IntN(4) {
		r.Flashes = append(r.Flashes, StoredFlash{"f" + anyText(rnd, 5), anyText(rnd, 9), anyText(rnd, 300)})
	}
	for range rnd.IntN(maxLatest) {
		past := PastRevision{anyText(rnd, 24), randomTime(rnd)}
		if past.Revision == "" || flip() {
			past.Revision = r.Revision
		}
		r.Latest = r.Latest.add(past)
	}
	return r
}

func randomValues(rnd *rand.Rand) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for range rnd.IntN(8) {
		raw, _ := json.Marshal(map[string]any{anyText(rnd, 4): []any{anyText(rnd, 300), rnd.Int64(), nil, flipped(rnd)}})
		m[anyText(rnd, 6)] = raw
	}
	return m
}

func flipped(rnd *rand.Rand) bool { return rnd.IntN(2) == 0 }

func toJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return raw
}

func fromJSON(t testing.TB, raw []byte) *Record {
	t.Helper()
	r := new(Record)
	require.NoError(t, json.Unmarshal(raw, r), "%s", raw)
	return r
}

func TestRecordFormat_RandomRecordsComeBackFromBothForms(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		r := randomRecord(rnd)
		b := marshalled(t, r)
		require.Equal(t, len(b), r.size())
		appended, err := r.AppendBinary([]byte("before"))
		require.NoError(t, err)
		require.Equal(t, append([]byte("before"), b...), appended)
		require.Equal(t, r, unmarshalled(t, b))
		require.Equal(t, r, fromJSON(t, toJSON(t, r)))
		require.Equal(t, b, marshalled(t, fromJSON(t, toJSON(t, unmarshalled(t, b)))))
	}
}

// What a record costs to read depends on its bytes and not on how many values it has.
func TestRecordFormat_ReadingAllocatesNothingForEachValue(t *testing.T) {
	allocs := func(values int) (whole, head float64) {
		m := map[string]json.RawMessage{}
		for i := range values {
			m[fmt.Sprint("key ", i)] = json.RawMessage(`"value"`)
		}
		r := fullRecord()
		r.Values = NewValues(m)
		b := marshalled(t, r)
		whole = testing.AllocsPerRun(100, func() { _ = new(Record).UnmarshalBinary(b) })
		head = testing.AllocsPerRun(100, func() { _, _ = unmarshalHead(b[:min(len(b), 200)]) })
		return whole, head
	}
	few, head := allocs(1)
	many, _ := allocs(1000)
	require.Equal(t, few, many)
	require.LessOrEqual(t, few, 5.0) // the record, its texts, revisions, flashes and values
	require.LessOrEqual(t, head, 2.0)
}

// A count in a few bytes must not make a reader ask for gigabytes.
func TestRecordFormat_ReadingAllocatesNoMoreThanTheBytesAreWorth(t *testing.T) {
	for _, p := range []parts{
		parts{}.byte(1).text("r").byte(0, 0).count(0).text("id", "", "", "", "").count(0, 1<<30),
		parts{}.byte(1).text("r").byte(0, 0).count(0).text("id", "", "", "", "").count(0, 0, 1<<30),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.ErrorIs(t, new(Record).UnmarshalBinary(p.b), errUnreadable)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	}
}

func TestValues_ZeroWorks(t *testing.T) {
	var v Values
	require.Nil(t, v.Get("k"))
	require.Zero(t, v.Len())
	require.True(t, v.IsZero())
	for range v.All() {
		t.Fatal("there is none")
	}
	require.Equal(t, v, v.edit(nil))
	require.Equal(t, v, v.edit(edits{{"k", nil}}))
	require.Equal(t, v, NewValues(nil))
	require.Equal(t, "{}", string(toJSON(t, v)))
}

func TestValues_AreReadInOrder(t *testing.T) {
	v := NewValues(map[string]json.RawMessage{"b": []byte("2"), "": []byte("0"), "a": []byte("1"), "none": nil, "ba": []byte("3")})
	require.Equal(t, 4, v.Len())
	var keys []string
	for key, raw := range v.All() {
		keys = append(keys, key)
		require.Equal(t, raw, v.Get(key))
	}
	require.Equal(t, []string{"", "a", "b", "ba"}, keys)
	for _, key := range []string{"none", "aa", "c", "B", "\x00"} {
		require.Nil(t, v.Get(key), key)
	}
	for range v.All() {
		break
	}
}

// What is appended to a value does not reach into the next one.
func TestValues_DoNotOverlap(t *testing.T) {
	v := unmarshalled(t, marshalled(t, fullRecord())).Values
	for _, raw := range v.All() {
		_ = append(raw, "xxxxxxxx"...)
	}
	_ = v.edit(edits{{"a", []byte("1")}, {"z", []byte("1")}})
	require.Equal(t, fullRecord().Values, v)
}

func TestValues_EditIsWhatAMapWouldDo(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var v Values
	want := map[string]json.RawMessage{}
	for range 500 {
		edits := map[string]json.RawMessage{}
		for range rnd.IntN(5) {
			key := anyText(rnd, 4)
			if edits[key] = nil; flipped(rnd) {
				edits[key] = json.RawMessage(fmt.Sprintf("%0*d", 1+rnd.IntN(200), 1))
			}
		}
		before := NewValues(want)
		next := v.edit(editsOf(edits))
		require.Equal(t, before, v, "it is not altered")
		for key, raw := range edits {
			if want[key] = raw; raw == nil {
				delete(want, key)
			}
		}
		v = next
		require.Equal(t, NewValues(want), v)
		require.Equal(t, len(want), v.Len())
		for key, raw := range want {
			require.Equal(t, raw, v.Get(key))
		}
		require.LessOrEqual(t, cap(v.packed), len(v.packed), "no memory is kept for what was deleted")
	}
}

func TestValues_JSON(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, ` null `: true, `{"a":1,"b":{"a":[1, 2.50]},"":null}`: true, ` {"é":"\ufffd"} `: true,
		``: false, `[]`: false, `"a"`: false, `7`: false, `{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false, `{"a":1`: false,
		`{"a":1}{}`: false, `{"a"}`: false, `{"a":x}`: false, "{\"\xff\":1}": false, "{\"a\":\"\xff\"}": false, `nul`: false,
	} {
		v := NewValues(map[string]json.RawMessage{"before": []byte("1")})
		before := v
		err := v.UnmarshalJSON([]byte(text))
		if !ok {
			require.ErrorIs(t, err, errNoValues, text)
			require.Equal(t, before, v, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, v.Len() == 0, v.IsZero())
		again := Values{}
		require.NoError(t, json.Unmarshal(toJSON(t, v), &again))
		require.JSONEq(t, string(toJSON(t, v)), string(toJSON(t, again)))
	}
	v := Values{}
	require.NoError(t, json.Unmarshal([]byte(`{"n":12345678901234567890.50, "null":null}`), &v))
	require.Equal(t, `12345678901234567890.50`, string(v.Get("n")), "as it was spelled")
	require.Equal(t, "null", string(v.Get("null")), "a null is a value")
	for _, bad := range []map[string]json.RawMessage{{"\xff": []byte("1")}, {"k": []byte("\"\xff\"")}} {
		_, err := json.Marshal(NewValues(bad))
		require.ErrorContains(t, err, "not valid UTF-8")
	}
}

// FuzzRecord: what is read is written as the same bytes; what makes no sense is refused, and nothing panics.
func FuzzRecord(f *testing.F) {
	for _, r := range []*Record{fullRecord(), tombstone(), boundRecord(), {ID: "x"}} {
		f.Add(marshalled(f, r))
	}
	f.Add([]byte{formatVersion, 0})
	f.Add([]byte{formatVersion + 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		var r Record
		err := r.UnmarshalBinary(b)
		require.Equal(t, before, b, "it was altered")
		head, headErr := unmarshalHead(b)
		if len(b) > 0 && b[0] > formatVersion {
			require.Error(t, err)
			require.NotErrorIs(t, err, ErrNotFound)
			return
		}
		if err != nil {
			require.ErrorIs(t, err, errUnreadable)
			require.Equal(t, Record{}, r)
			return
		}
		require.Equal(t, b, marshalled(t, &r))
		require.Equal(t, len(b), r.size())
		require.NoError(t, headErr)
		require.Equal(t, []any{r.ID, r.Revision, r.User, r.Deadline, r.IdleTimeout}, []any{head.ID, head.Revision, head.User, head.Deadline, head.IdleTimeout})
		keys := 0
		for key, raw := range r.Values.All() {
			require.Equal(t, raw, r.Values.Get(key))
			keys++
		}
		require.Equal(t, keys, r.Values.Len())
		r.ExpiresAt()
		r.KeepUntil()
	})
}

func BenchmarkRecord(b *testing.B) {
	for _, values := range []int{3, 300} {
		m := map[string]json.RawMessage{}
		for i := range values {
			m[fmt.Sprint("key ", i)] = json.RawMessage(`"a value of some length"`)
		}
		r := fullRecord()
		r.Values = NewValues(m)
		packed := marshalled(b, r)
		b.Run(fmt.Sprint(values, "/unmarshal"), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_ = new(Record).UnmarshalBinary(packed)
			}
		})
		b.Run(fmt.Sprint(values, "/marshal"), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_, _ = r.MarshalBinary()
			}
		})
		b.Run(fmt.Sprint(values, "/edit"), func(b *testing.B) {
			b.ReportAllocs()
			edits := edits{{"key 1", []byte("7")}}
			for range b.N {
				_ = r.Values.edit(edits)
			}
		})
		b.Run(fmt.Sprint(values, "/get"), func(b *testing.B) {
			for range b.N {
				_ = r.Values.Get("key 2")
			}
		})
		b.Run(fmt.Sprint(values, "/head"), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_, _ = unmarshalHead(packed)
			}
		})
	}
}
