package session

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"
	"unicode/utf8"
)

// This file has the binary form of a record, which docs/record-format.md describes byte by byte. The head comes first:
// all that a list of a user's sessions shows. So a store can read only the head. The values come last.

const (
	formatVersion = 1       // the newest version that can be read, and the one that is written
	maxHeadText   = 4 << 10 // bytes of a text in the head; the Manager's own limits are below that
)

// The flags. Each time has a flag that says that the time is not zero, in the order of Record.times.
const (
	flagPersistent uint16 = 1 << iota
	flagEnded
	flagRevoked
	flagFirstTime

	flagClaim   = flagFirstTime << timesOfRecord // the claim, a text, follows the idle timeout
	flagBinding = flagClaim << 1                 // the binding, two texts, follows the claim
	flagTagged  = flagBinding << 1               // the tag, a text, follows the head's other texts
	flagsKnown  = flagTagged<<1 - 1
)

const (
	timesOfRecord = 7
	minMicro      = -62135596800000000 // the zero time.Time, in microseconds since 1970
	maxMicro      = 253402300799999999 // the end of the year 9999, which is as far as JSON goes
)

// times returns the record's times in the order in which they are written.
func (r *Record) times() [timesOfRecord]*time.Time {
	return [...]*time.Time{&r.CreatedAt, &r.IssuedAt, &r.LastUsedAt, &r.Deadline, &r.AuthenticatedAt, &r.RegeneratedAt, &r.Binding.ProvedAt}
}

// headTexts returns the texts after the flags, in the order in which they are written.
func (r *Record) headTexts() [5]*string {
	return [...]*string{&r.ID, &r.Realm, &r.User, &r.Note, &r.Successor}
}

func (r *Record) flags() (flags uint16) {
	set := func(flag uint16, on bool) {
		if on {
			flags |= flag
		}
	}
	set(flagPersistent, r.Persistent)
	set(flagEnded, r.Ended)
	set(flagRevoked, r.Revoked)
	set(flagTagged, r.Tag != "")
	for i, t := range r.times() {
		set(flagFirstTime<<i, t.UnixMicro() != minMicro)
	}
	set(flagClaim, r.Claim != "")
	set(flagBinding, r.Binding.written())
	return flags
}

// written reports whether the binding is written, after the idle timeout.
func (b *Binding) written() bool { return len(b.Secret) > 0 || len(b.Key) > 0 }

// idleMicros rounds up, because zero means "for any time".
func (r *Record) idleMicros() uint64 {
	return uint64((r.IdleTimeout + time.Microsecond - 1) / time.Microsecond)
}

// timeOrigin is the time from which a record's times are counted. The first time is counted from 1970, and all others
// from the first one.
type timeOrigin struct {
	micro int64
	known bool
}

// offset returns t as it is written.
func (o *timeOrigin) offset(t time.Time) int64 {
	micro := t.UnixMicro()
	offset := micro - o.micro
	o.note(micro)
	return offset
}

func (o *timeOrigin) note(micro int64) {
	if !o.known {
		o.micro, o.known = micro, true
	}
}

// MarshalBinary returns the record in its compact form (docs/record-format.md). In it times have the precision of a
// microsecond. Version and Stale are left out. It returns an error for a record that could not be read again.
func (r *Record) MarshalBinary() ([]byte, error) { return r.AppendBinary(make([]byte, 0, r.size())) }

// AppendBinary appends to b what MarshalBinary returns.
func (r *Record) AppendBinary(b []byte) ([]byte, error) {
	if err := r.checkFormat(); err != nil {
		return nil, err
	}
	b = append(b, formatVersion)
	b = appendText(b, r.Revision)
	b = binary.LittleEndian.AppendUint16(b, r.flags())
	b = binary.AppendUvarint(b, uint64(len(r.Latest.packed)))
	b = binary.AppendUvarint(b, uint64(len(r.Values.packed)))
	for _, text := range r.headTexts() {
		b = appendText(b, *text)
	}
	if r.Tag != "" {
		b = appendText(b, r.Tag)
	}
	var from timeOrigin
	for _, t := range r.times() {
		if t.UnixMicro() != minMicro {
			b = binary.AppendVarint(b, from.offset(*t))
		}
	}
	b = binary.AppendUvarint(b, r.idleMicros())
	if r.Claim != "" {
		b = appendText(b, r.Claim)
	}
	if r.Binding.written() {
		b = appendText(b, r.Binding.Secret)
		b = appendText(b, r.Binding.Key)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Flashes)))
	for _, flash := range r.Flashes {
		b = appendText(b, flash.ID)
		b = appendText(b, flash.Category)
		b = appendText(b, flash.Message)
	}
	b = append(b, r.Latest.packed...)
	return append(b, r.Values.packed...), nil
}

// size returns the length of what MarshalBinary would return.
func (r *Record) size() int { return r.sizeWith(r.Latest) }

// sizeWith is size for a record that has these latest revisions instead of its own.
func (r *Record) sizeWith(revisions Revisions) int {
	latest, values := len(revisions.packed), len(r.Values.packed)
	n := 1 + textSize(len(r.Revision)) + 2 + uvarintSize(uint64(latest)) + uvarintSize(uint64(values))
	for _, text := range r.headTexts() {
		n += textSize(len(*text))
	}
	if r.Tag != "" {
		n += textSize(len(r.Tag))
	}
	var from timeOrigin
	for _, t := range r.times() {
		if t.UnixMicro() != minMicro {
			n += varintSize(from.offset(*t))
		}
	}
	if r.Claim != "" {
		n += textSize(len(r.Claim))
	}
	if r.Binding.written() {
		n += textSize(len(r.Binding.Secret)) + textSize(len(r.Binding.Key))
	}
	n += uvarintSize(r.idleMicros()) + uvarintSize(uint64(len(r.Flashes)))
	for _, flash := range r.Flashes {
		n += textSize(len(flash.ID)) + textSize(len(flash.Category)) + textSize(len(flash.Message))
	}
	return n + latest + values
}

// packedRecord is a record's binary form, with the number of its revisions and values, so that unpack does not have to
// go through them.
type packedRecord struct {
	bytes          []byte
	latest, values int32
}

// packRecord packs a record for a store in this process.
func packRecord(r *Record) (packedRecord, error) {
	b, err := r.MarshalBinary()
	return packedRecord{b, int32(r.Latest.n), int32(r.Values.n)}, err
}

// unpack returns the record.
func (p packedRecord) unpack() *Record {
	parser := recordParser{b: p.bytes}
	r := new(Record)
	latest, values := parser.parts(r)
	r.Latest, r.Values = Revisions{latest, int(p.latest)}, Values{values, int(p.values)}
	return r
}

// isAt reports whether the packed record has r's revision.
func (p packedRecord) isAt(r *Record) bool {
	revision, _ := cutText(p.bytes[1:])
	return string(revision) == r.Revision
}

func appendText[T ~string | ~[]byte](b []byte, text T) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func textSize(length int) int { return uvarintSize(uint64(length)) + length }

func uvarintSize(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

func varintSize(n int64) int { return uvarintSize(uint64(n)<<1 ^ uint64(n>>63)) }

// checkFormat returns an error that names the field if the record could not be read again after it is written.
func (r *Record) checkFormat() error {
	fault := cmp.Or(r.headFault(), r.timeFault(), r.Latest.fault(), r.flashFault(), r.Values.fault())
	if fault == "" {
		return nil
	}
	return errors.New("session: the record can't be marshalled: " + fault)
}

func (r *Record) headFault() string {
	names := [...]string{"ID", "Realm", "User", "Note", "Successor", "Claim", "Tag", "Revision"}
	for i, text := range [...]string{r.ID, r.Realm, r.User, r.Note, r.Successor, r.Claim, r.Tag, r.Revision} {
		switch {
		case len(text) > maxHeadText:
			return fmt.Sprintf("its %s is longer than %d bytes", names[i], maxHeadText)
		case !utf8.ValidString(text):
			return "its " + names[i] + " is not valid UTF-8"
		}
	}
	switch {
	case r.ID == "":
		return "its ID is empty"
	case max(len(r.Binding.Secret), len(r.Binding.Key)) > maxHeadText:
		return fmt.Sprintf("the Secret or the Key of its Binding is longer than %d bytes", maxHeadText)
	}
	return ""
}

func (r *Record) timeFault() string {
	names := [...]string{"CreatedAt", "IssuedAt", "LastUsedAt", "Deadline", "AuthenticatedAt", "RegeneratedAt", "ProvedAt"}
	for i, t := range r.times() {
		// The microseconds of a far year do not fit into an int64.
		if seconds := t.Unix(); seconds < minMicro/1_000_000 || seconds > maxMicro/1_000_000 {
			return "its " + names[i] + " is not within the years 1 to 9999"
		}
	}
	if r.IdleTimeout < 0 || r.IdleTimeout > maxLifetime {
		return "its IdleTimeout is negative, or over 400 days"
	}
	return ""
}

func validMicro(micro int64) bool { return minMicro <= micro && micro <= maxMicro }

func (r *Record) flashFault() string {
	for _, flash := range r.Flashes {
		if flash.ID == "" {
			return "the ID of one of its Flashes is empty"
		}
		for _, text := range [...]string{flash.ID, flash.Category, flash.Message} {
			if !utf8.ValidString(text) {
				return "its Flashes' text is not valid UTF-8"
			}
		}
	}
	return ""
}

// UnmarshalBinary reads what MarshalBinary of this release or an older one returned. Times are in UTC. The error wraps
// ErrNotFound if b is not a valid record. It does not if the format is newer: a newer release wrote that record, and it
// is not lost. After an error r is unchanged.
func (r *Record) UnmarshalBinary(b []byte) error {
	read, err := parseRecord(bytes.Clone(b))
	if err != nil {
		return err
	}
	*r = *read
	return nil
}

// parseRecord is UnmarshalBinary for bytes that the record may keep: nobody else changes b.
func parseRecord(b []byte) (*Record, error) {
	r := new(Record)
	if err := parseInto(r, b); err != nil {
		return nil, err
	}
	return r, nil
}

// parseInto is parseRecord for a record that is part of something else, and zero. After an error the record is worth
// nothing.
func parseInto(r *Record, b []byte) error {
	if err := checkVersion(b); err != nil {
		return err
	}
	p := recordParser{b: b}
	latest, values := p.parts(r)
	r.Latest = p.revisions(latest)
	r.Values = p.values(values)
	if p.fault != "" {
		return fmt.Errorf("%w: %s", errUnreadable, p.fault)
	}
	return nil
}

// parts reads the record except its revisions and values. It returns these as bytes.
func (p *recordParser) parts(r *Record) (latest, values []byte) {
	front := p.front()
	values = p.cutEnd(front.valuesSize)
	latest = p.cutEnd(front.latestSize)
	p.text = string(p.b)
	p.head(r, front)
	r.Flashes = p.flashes()
	p.check(p.at == len(p.b), "it is longer than its texts")
	return latest, values
}

// unmarshalHead reads only the head of a record: it leaves out the latest revisions, flashes and values, and b may end
// before them.
func unmarshalHead(b []byte) (*Record, error) {
	if err := checkVersion(b); err != nil {
		return nil, err
	}
	p := recordParser{b: b, text: string(b)}
	r := new(Record)
	p.head(r, p.front())
	if p.fault != "" {
		return nil, fmt.Errorf("%w: %s", errUnreadable, p.fault)
	}
	return r, nil
}

// checkVersion looks at the first byte.
func checkVersion(b []byte) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: %s", errUnreadable, faultCut)
	case b[0] == 0:
		return fmt.Errorf("%w: there is no format 0", errUnreadable)
	case b[0] > formatVersion:
		return fmt.Errorf("session: the record has format %d, and this release reads formats up to %d: a newer one wrote it",
			b[0], formatVersion)
	}
	return nil
}

const (
	faultCut    = "it is cut short"
	faultNumber = "a number is too large, or not as short as it can be"
	faultLength = "a text is too long"
	faultUTF8   = "a text is not valid UTF-8"
	faultTime   = "a time is out of range"
)

// recordParser reads b from the front. Its methods do not return a fault: it keeps the first fault, and after that it
// reads only empty values.
type recordParser struct {
	b     []byte
	at    int
	text  string // b as a string, so that texts are parts of it and need no memory of their own
	from  timeOrigin
	fault string
}

// check notes the fault unless ok.
func (p *recordParser) check(ok bool, fault string) {
	if !ok && p.fault == "" {
		p.fault = fault
	}
}

// recordFront is the part of the record before the head's texts.
type recordFront struct {
	revision   textSpan
	flags      uint16
	latestSize uint64
	valuesSize uint64
}

func (p *recordParser) front() (f recordFront) {
	p.at = 1 // after the version
	f.revision = p.span(maxHeadText)
	f.flags = binary.LittleEndian.Uint16(p.fixed(2))
	f.latestSize = p.number()
	f.valuesSize = p.number()
	p.check(f.flags&^flagsKnown == 0, "it has flags that its format does not")
	return f
}

// cutEnd takes size bytes off the end of b.
func (p *recordParser) cutEnd(size uint64) []byte {
	p.check(size <= uint64(len(p.b)-p.at), faultCut)
	if p.fault != "" || size == 0 {
		return nil
	}
	start := len(p.b) - int(size)
	end := p.b[start:len(p.b):len(p.b)]
	p.b = p.b[:start]
	return end
}

// head reads the head into r: all that a list needs of a record.
func (p *recordParser) head(r *Record, f recordFront) {
	r.Revision = p.textAt(f.revision)
	for _, text := range r.headTexts() {
		*text = p.textAt(p.span(maxHeadText))
	}
	p.check(r.ID != "", "it has no ID")
	if f.flags&flagTagged != 0 {
		r.Tag = p.textAt(p.span(maxHeadText))
		p.check(r.Tag != "", "its tag is empty")
	}
	for i, t := range r.times() {
		if f.flags&(flagFirstTime<<i) != 0 {
			*t = p.time()
			p.check(!t.IsZero(), faultTime)
		}
	}
	r.Persistent, r.Ended, r.Revoked = f.flags&flagPersistent != 0, f.flags&flagEnded != 0, f.flags&flagRevoked != 0
	idle := p.number()
	p.check(idle <= uint64(maxLifetime.Microseconds()), "its idle timeout is out of range")
	r.IdleTimeout = time.Duration(idle) * time.Microsecond
	if f.flags&flagClaim != 0 {
		r.Claim = p.textAt(p.span(maxHeadText))
		p.check(r.Claim != "", "its claim is empty")
	}
	if f.flags&flagBinding != 0 {
		r.Binding.Secret, r.Binding.Key = p.bytes(), p.bytes()
		p.check(r.Binding.written(), "its binding is empty, but its flags have one")
	}
}

func (p *recordParser) flashes() []StoredFlash {
	const least = 4 // bytes of a flash: three lengths, and at least one byte of the ID
	n := p.number()
	p.check(n <= uint64((len(p.b)-p.at)/least), faultCut) // so that no memory is allocated for what can't follow
	if p.fault != "" || n == 0 {
		return nil
	}
	flashes := make([]StoredFlash, n)
	for i := range flashes {
		most := len(p.b)
		flashes[i] = StoredFlash{ID: p.textAt(p.span(most)), Category: p.textAt(p.span(most)), Message: p.textAt(p.span(most))}
		p.check(flashes[i].ID != "", "a flash message has no ID")
	}
	return flashes
}

// revisions checks the packed revisions, so that they can be read without checks later.
func (p *recordParser) revisions(packed []byte) Revisions {
	if len(packed) == 0 {
		return Revisions{}
	}
	r := Revisions{packed: packed}
	own := recordParser{b: packed}
	for own.at < len(own.b) && own.fault == "" {
		own.check(utf8.Valid(own.bytesAt(own.span(maxHeadText))), faultUTF8)
		own.check(validMicro(unpackMicro(own.fixed(timeSize))), faultTime)
		r.n++
	}
	p.check(own.fault == "", own.fault)
	return r
}

// values checks the packed values, so that they can be read without checks later.
func (p *recordParser) values(packed []byte) Values {
	if len(packed) == 0 {
		return Values{}
	}
	v := Values{packed: packed}
	own := recordParser{b: packed}
	var last []byte
	for own.at < len(own.b) && own.fault == "" {
		key, raw := own.bytesAt(own.span(len(packed))), own.bytesAt(own.span(len(packed)))
		own.check(v.n == 0 || bytes.Compare(last, key) < 0, "its keys are not in order, or one is there twice")
		own.check(len(raw) > 0, "a value is empty")
		own.check(utf8.Valid(key) && utf8.Valid(raw), faultUTF8)
		last = key
		v.n++
	}
	p.check(own.fault == "", own.fault)
	return v
}

// fixed reads size bytes. After a fault they are zero.
func (p *recordParser) fixed(size int) []byte {
	p.check(size <= len(p.b)-p.at, faultCut)
	if p.fault != "" {
		return make([]byte, size)
	}
	p.at += size
	return p.b[p.at-size : p.at]
}

func (p *recordParser) number() uint64 {
	if p.fault != "" {
		return 0
	}
	if p.at < len(p.b) && p.b[p.at] < 0x80 { // most are so small
		p.at++
		return uint64(p.b[p.at-1])
	}
	v, n := binary.Uvarint(p.b[p.at:])
	p.check(n != 0, faultCut)
	p.check(n == uvarintSize(v), faultNumber)
	if p.fault != "" {
		return 0
	}
	p.at += n
	return v
}

func (p *recordParser) time() time.Time {
	zigzag := p.number()
	offset := int64(zigzag>>1) ^ -int64(zigzag&1)
	micro := p.from.micro + offset // an overflow is out of range too
	p.check(validMicro(micro), faultTime)
	if p.fault != "" {
		return time.Time{}
	}
	p.from.note(micro)
	return time.UnixMicro(micro).UTC()
}

// textSpan is the place of a text in the parser's bytes.
type textSpan struct{ from, to int }

// span reads a text's length, and skips the text.
func (p *recordParser) span(most int) textSpan {
	n := p.number()
	p.check(n <= uint64(most), faultLength)
	p.check(n <= uint64(len(p.b)-p.at), faultCut)
	if p.fault != "" {
		return textSpan{}
	}
	s := textSpan{p.at, p.at + int(n)}
	p.at = s.to
	return s
}

func (p *recordParser) textAt(s textSpan) string {
	if p.fault != "" {
		return ""
	}
	text := p.text[s.from:s.to]
	p.check(utf8.ValidString(text), faultUTF8)
	return text
}

// bytes reads bytes that need not be UTF-8. It returns nil if there are none.
func (p *recordParser) bytes() []byte {
	s := p.span(maxHeadText)
	if s.from == s.to {
		return nil
	}
	return slices.Clip(p.bytesAt(s))
}

func (p *recordParser) bytesAt(s textSpan) []byte { return p.b[s.from:s.to] }
