package session

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A change is one entry of a request's log: one thing that the request did to its session. It is applied to a draft
// when it is noted, and again to each newer record on which the log is replayed. An error is the application's fault:
// the result of an Update can't be stored.
type change interface {
	apply(d *draft) error
}

// The changes.
type (
	begin struct {
		token Token
		at    time.Time
	} // a session, if there is none
	set struct {
		key string
		raw json.RawMessage
	}
	update struct {
		key string
		f   updateFunc
	}
	remove     struct{ keys []string }
	clearAll   struct{}
	flash      struct{ stored StoredFlash }
	takeFlash  struct{ ids map[string]bool }
	setting    struct{ settings } // those that are not nil
	regenerate struct{ token Token }
	rename     struct {
		regenerate
		user string
	}
	login struct {
		token Token
		at    time.Time
		user  string
		keep  []string
		bind  []byte // the secret of a session that is offered to be bound to a device
	}
	destroy struct{}
)

// updateFunc returns the new value for an old one, which is nil if there is none.
type updateFunc func(json.RawMessage) (json.RawMessage, error)

// settings are what a request sets about the session itself, beside its values. They hold for this session, and for
// each one that the request begins later, up to a Destroy.
type settings struct {
	note, tag  *string
	persistent *bool
	limits     *limits
}

// limits are a session's own, as SetLifetime takes them. A limit of zero means the configuration's.
type limits struct{ idle, lifetime time.Duration }

// isLoss reports whether something that somebody set is lost if the change can't be made.
func isLoss(c change) bool {
	switch c.(type) {
	case adopt, begin, remove, clearAll, takeFlash, destroy:
		return false
	}
	return true
}

// setsContent reports whether the change puts something into the session. A session begins before the first that does.
func setsContent(c change) bool {
	switch c.(type) {
	case set, update, flash:
		return true
	}
	return false
}

// draft is a session with changes made to it: what a request sees, and what its commit stores.
type draft struct {
	config  *Config
	record  *Record // as it will be stored, but without its values; it has no ID if there is no session
	stored  Values  // the values before the edits
	edits   edits   // values that replace those, or remove them
	token   Token   // the token of the new ID, if there is one
	shared  bool    // the record is the base's, and own makes a copy before it is changed
	begun   bool    // one of the changes began the session
	adopted bool    // the session was taken over from the old library
	late    *Record // the tombstone of a session that ended elsewhere: what is set is refused
	settings
}

// newDraft returns a draft of base. Base is a live record, the tombstone of a session that ended elsewhere, or nil for
// none. The settings are those that the request made before. They hold for the sessions that begin in this draft.
func newDraft(config *Config, base *Record, set settings) draft {
	d := draft{config: config, settings: set, record: noRecord, shared: true}
	switch {
	case base == nil:
	case base.Ended:
		d.late = base
	default:
		d.record, d.stored = base, base.Values
	}
	return d
}

// noRecord is the record where there is no session. Nobody changes it.
var noRecord = &Record{}

// own returns the draft's record, which the caller may change. It copies a shared record first.
func (d *draft) own() *Record {
	if d.shared {
		r := *d.record
		r.Values, r.Flashes = Values{}, slices.Clip(r.Flashes) // so that an append leaves the base as it is
		d.record, d.shared = &r, false
	}
	return d.record
}

// trial returns a draft whose changes leave d as it is.
func (d *draft) trial() draft {
	t := *d
	t.shared, t.edits = true, slices.Clone(d.edits)
	return t
}

// replay applies the changes of a log. It runs the application's Updates.
func (d *draft) replay(log []change) error {
	for _, c := range log {
		if err := c.apply(d); err != nil {
			return err
		}
	}
	return nil
}

// exists reports whether there is a session, even one without content.
func (d *draft) exists() bool { return d.record.ID != "" }

// empty reports whether a session that begins here has nothing worth storing.
func (d *draft) empty() bool {
	if d.adopted || d.record.User != "" || len(d.record.Flashes) > 0 {
		return false
	}
	return !slices.ContainsFunc(d.edits, func(e edit) bool { return e.raw != nil })
}

// isNew reports whether the session began with one of the changes, and was not adopted from the old library.
func (d *draft) isNew() bool { return d.begun && !d.adopted }

// id returns the session's ID, or "" if there is no session worth storing.
func (d *draft) id() string {
	if d.begun && d.empty() {
		return ""
	}
	return d.record.ID
}

// get returns the value of key, or nil.
func (d *draft) get(key string) json.RawMessage {
	if i, ok := d.edits.find(key); ok {
		return d.edits[i].raw
	}
	return d.stored.Get(key)
}

// values returns all values, with the edits applied.
func (d *draft) values() Values { return d.stored.edit(d.edits) }

func (d *draft) edit(key string, raw json.RawMessage) { d.edits = d.edits.with(key, raw) }

// drop removes all content.
func (d *draft) drop() {
	d.stored, d.edits = Values{}, nil
	if len(d.record.Flashes) > 0 {
		d.own().Flashes = nil
	}
}

// start begins a session.
func (d *draft) start(token Token, user string, at time.Time) {
	c := d.config
	d.token, d.begun, d.adopted, d.late = token, true, false, nil
	d.record, d.shared = &Record{
		ID: token.ID(), Realm: c.Realm, User: user, CreatedAt: at, IssuedAt: at, LastUsedAt: at, Deadline: at.Add(c.Lifetime),
		IdleTimeout: c.IdleTimeout, Persistent: c.Persistent, Flashes: slices.Clip(d.record.Flashes),
	}, false
	d.settings.configure(d.record, c)
}

// configure puts the settings into a record.
func (s settings) configure(r *Record, c *Config) {
	if s.note != nil {
		r.Note = *s.note
	}
	if s.tag != nil {
		r.Tag = *s.tag
	}
	if s.persistent != nil {
		r.Persistent = *s.persistent
	}
	if s.limits != nil {
		lifetime := cmp.Or(s.limits.lifetime, c.Lifetime)
		r.IdleTimeout, r.Deadline = idleOrDefault(s.limits.idle, c.IdleTimeout, lifetime), r.CreatedAt.Add(lifetime)
	}
}

// with returns the settings, where those of later replace those of s.
func (s settings) with(later settings) settings {
	return settings{cmp.Or(later.note, s.note), cmp.Or(later.tag, s.tag), cmp.Or(later.persistent, s.persistent), cmp.Or(later.limits, s.limits)}
}

func (c begin) apply(d *draft) error {
	if !d.exists() && d.late == nil {
		d.start(c.token, "", c.at)
	}
	return nil
}

func (c set) apply(d *draft) error {
	d.edit(c.key, c.raw)
	return nil
}

func (c update) apply(d *draft) error {
	raw, err := c.f(d.get(c.key))
	if err != nil {
		return fmt.Errorf("%w: %w", errUpdate, err)
	}
	d.edit(c.key, raw)
	return nil
}

func (c remove) apply(d *draft) error {
	for _, key := range c.keys {
		d.edit(key, nil)
	}
	return nil
}

func (clearAll) apply(d *draft) error {
	d.drop()
	return nil
}

func (c flash) apply(d *draft) error {
	r := d.own()
	r.Flashes = append(r.Flashes, c.stored)
	return nil
}

func (c takeFlash) apply(d *draft) error {
	var left []StoredFlash
	for _, f := range d.record.Flashes {
		if !c.ids[f.ID] {
			left = append(left, f)
		}
	}
	d.own().Flashes = left
	return nil
}

func (c setting) apply(d *draft) error {
	d.settings = d.settings.with(c.settings)
	if d.exists() {
		c.settings.configure(d.own(), d.config)
	}
	return nil
}

func (c regenerate) apply(d *draft) error {
	if !d.exists() {
		return nil
	}
	d.token, d.own().ID = c.token, c.token.ID()
	return nil
}

func (c rename) apply(d *draft) error {
	if d.exists() {
		d.own().User = c.user
	}
	return c.regenerate.apply(d)
}

func (c login) apply(d *draft) error {
	kept := make(edits, 0, len(c.keep)+1)
	for _, key := range c.keep {
		if raw := d.get(key); raw != nil {
			kept = kept.with(key, raw)
		}
	}
	d.drop()
	d.edits = kept
	d.start(c.token, c.user, c.at)
	r := d.own()
	r.AuthenticatedAt, r.Binding.Secret = c.at, c.bind
	return nil
}

// apply keeps the tombstone of a session that another request has ended without a successor: that request has given the
// browser another session or none, and this one must not change that. Otherwise there is no session any more.
func (destroy) apply(d *draft) error {
	late := d.late
	if late != nil && late.Successor != "" {
		late = nil
	}
	*d = newDraft(d.config, late, settings{})
	return nil
}

// next returns the record of the draft, to be stored in place of old, which is nil for a new session.
func (d *draft) next(old *Record, now time.Time) *Record {
	r := *d.record
	r.Revision, r.Values, r.Version, r.Stale = "", d.values(), nil, false
	if old == nil || r.ID != old.ID || r.IdleTimeout != old.IdleTimeout || !r.Deadline.Equal(old.Deadline) || useDue(&r, now) {
		noteUse(&r, now)
	}
	return &r
}

// checkSize returns an error that wraps ErrTooLarge if r is too large. A record that is too large is
// still accepted if its content is no larger than that of old.
func (c *Config) checkSize(r, old *Record) error {
	size := r.sizeWith(Revisions{}) // how busy the session was must not decide what fits
	if size <= c.MaxSize || old != nil && contentSize(r) <= contentSize(old) {
		return nil
	}
	return fmt.Errorf("%w: it would take %d bytes, and may take %d; %s", ErrTooLarge, size, c.MaxSize, largest(r))
}

// contentSize returns how many bytes the application keeps in r.
func contentSize(r *Record) int {
	n := len(r.Note) + len(r.Tag)
	for key, raw := range r.Values.All() {
		n += len(key) + len(raw)
	}
	for _, f := range r.Flashes {
		n += len(f.Category) + len(f.Message)
	}
	return n
}

// largest names the keys with the largest values.
func largest(r *Record) string {
	const named = 3
	type item struct {
		name string
		size int
	}
	var items []item
	for key, raw := range r.Values.All() {
		items = append(items, item{fmt.Sprintf("%q", key), len(raw)})
	}
	flashes := 0
	for _, f := range r.Flashes {
		flashes += len(f.Category) + len(f.Message)
	}
	if flashes > 0 {
		items = append(items, item{fmt.Sprintf("%d flashes", len(r.Flashes)), flashes})
	}
	if len(items) == 0 {
		return "it has no values"
	}
	slices.SortStableFunc(items, func(a, b item) int { return b.size - a.size })
	text := "the largest are"
	for _, i := range items[:min(len(items), named)] {
		text += fmt.Sprintf(" %s (%d bytes)", i.name, i.size)
	}
	return text
}
