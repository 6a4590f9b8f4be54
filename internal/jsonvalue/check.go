package jsonvalue

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxPath       = 4 * maxDepth // pointers count too
	visitsUnnoted = 1000         // a walk notes its places only after this: in small values, notes cost too much
)

// check looks at all text and all times that json.Marshal would write. It also looks for cycles, because json.Marshal
// does not survive all of them.
func check(v any) error {
	if done, err := checkPlain(v); done {
		return err
	}
	return new(walk).value(reflect.ValueOf(v), planOf(reflect.TypeOf(v)))
}

// checkPlain checks a value of the types that are in an any most often. For any other type, done is false.
func checkPlain(v any) (done bool, err error) {
	switch v := v.(type) {
	case nil, bool, int, int64, float64:
		return true, nil
	case string:
		if !utf8.ValidString(v) {
			return true, errHoldsBad
		}
		return true, nil
	}
	return false, nil
}

// walk goes through a value as json.Marshal does.
type walk struct {
	levels  int // how many arrays and objects are around this place
	path    int // the same, with pointers
	visits  int
	visited map[place]bool // true if the walk has left the place again
}

// place is the memory that a pointer, map or slice refers to.
type place struct {
	pointer uintptr
	length  int
	typ     reflect.Type
}

func (w *walk) value(v reflect.Value, p *plan) error {
	switch {
	case !p.needed:
		return nil
	case p.special != nil && v.CanInterface():
		return p.special(v)
	case !p.asked:
		return w.content(v, p)
	}
	if m := p.marshaler(v); m != nil {
		return w.marshaler(v, p, m)
	}
	return w.content(v, p)
}

// content walks through a value that json.Marshal writes by its kind.
func (w *walk) content(v reflect.Value, p *plan) error {
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return errHoldsBad
		}
		return nil
	case reflect.Interface:
		return w.held(v)
	case reflect.Pointer:
		return w.within(v, p, 0, (*walk).pointedTo)
	case reflect.Map:
		return w.within(v, p, 1, (*walk).entries)
	case reflect.Slice, reflect.Array:
		return w.within(v, p, 1, (*walk).elements)
	case reflect.Struct:
		return w.within(v, p, 1, (*walk).fields)
	}
	return nil
}

// within calls next with v. It skips v if the walk has left it already. If the walk is still inside v, v is a part of
// itself: a cycle.
func (w *walk) within(v reflect.Value, p *plan, levels int, next func(*walk, reflect.Value, *plan) error) error {
	at, noted := w.note(v)
	if left, before := w.visited[at]; noted && before {
		if left {
			return nil
		}
		return errCycle
	}
	if noted {
		w.visited[at] = false
	}
	w.levels += levels
	w.path++
	if w.levels > maxDepth || w.path > maxPath { // nobody can want so long a chain of pointers
		return errDepth
	}
	if err := next(w, v, p); err != nil {
		return err
	}
	w.levels -= levels
	w.path--
	if noted {
		w.visited[at] = true
	}
	return nil
}

// note returns v's place, and whether it must be noted.
func (w *walk) note(v reflect.Value) (at place, noted bool) {
	if w.visits++; w.visits <= visitsUnnoted {
		return place{}, false
	}
	at = place{typ: v.Type()}
	switch v.Kind() {
	case reflect.Slice:
		at.length = v.Len()
		fallthrough
	case reflect.Pointer, reflect.Map:
		at.pointer = v.Pointer()
	}
	if at.pointer == 0 {
		return place{}, false
	}
	if w.visited == nil {
		w.visited = make(map[place]bool)
	}
	return at, true
}

func (w *walk) held(v reflect.Value) error {
	if v.IsNil() {
		return nil
	}
	v = v.Elem()
	return w.value(v, planOf(v.Type()))
}

func (w *walk) pointedTo(v reflect.Value, p *plan) error {
	if v.IsNil() {
		return nil
	}
	return w.value(v.Elem(), p.element)
}

func (w *walk) elements(v reflect.Value, p *plan) error {
	for i := range v.Len() {
		if err := w.value(v.Index(i), p.element); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entries(v reflect.Value, p *plan) error {
	if v.Type() == anyMap && v.CanInterface() {
		return w.anyEntries(v.Interface().(map[string]any))
	}
	if !keyWorks(v.Type().Key()) {
		return unsupported(v.Type())
	}
	for i := v.MapRange(); i.Next(); {
		if err := checkKey(i.Key()); err != nil {
			return err
		}
		if err := w.value(i.Value(), p.element); err != nil {
			return err
		}
	}
	return nil
}

// anyEntries is entries without reflection, which would take twice as long.
func (w *walk) anyEntries(m map[string]any) error {
	for key, v := range m {
		if !utf8.ValidString(key) {
			return errHoldsBad
		}
		done, err := checkPlain(v)
		if !done {
			err = w.value(reflect.ValueOf(v), planOf(reflect.TypeOf(v)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) fields(v reflect.Value, p *plan) error {
	for _, f := range p.fields {
		if err := w.field(v.Field(f.index), f); err != nil {
			return err
		}
	}
	return nil
}

// field walks through a field. The fields of an embedded struct count as those of the struct around it.
func (w *walk) field(v reflect.Value, f field) error {
	switch {
	case !f.embedded:
		return w.value(v, f.plan)
	case v.Kind() == reflect.Pointer:
		return w.within(v, f.plan, 0, (*walk).embedded)
	}
	return w.fields(v, f.plan)
}

// embedded walks through the fields of a struct that is embedded by its pointer.
func (w *walk) embedded(v reflect.Value, p *plan) error {
	if v.IsNil() {
		return nil
	}
	return w.fields(v.Elem(), p.element)
}

// checkKey checks a key as it is, and as its MarshalText writes it. The releases of Go differ in which of these they
// write.
func checkKey(k reflect.Value) error {
	if k.Kind() == reflect.Interface && !k.IsNil() {
		k = k.Elem()
	}
	p := planOf(k.Type())
	switch {
	case k.Kind() == reflect.String && !utf8.ValidString(k.String()):
		return errHoldsBad
	case p.special != nil:
		return p.special(k)
	case !p.marshalsText || k.Kind() == reflect.Pointer && k.IsNil():
		return nil
	}
	return checkMarshalText(k.Type(), k.Interface().(encoding.TextMarshaler))
}

// marshaler checks the JSON or text that a type's own method writes.
func (w *walk) marshaler(v reflect.Value, p *plan, m any) error {
	for _, f := range p.times { // the method may be that of an embedded time
		if err := w.value(v.Field(f.index), f.plan); err != nil {
			return err
		}
	}
	if m, ok := m.(json.Marshaler); ok {
		return checkMarshalJSON(v.Type(), m)
	}
	return checkMarshalText(v.Type(), m.(encoding.TextMarshaler))
}

func checkMarshalJSON(t reflect.Type, m json.Marshaler) error {
	raw, err := m.MarshalJSON()
	switch {
	case err != nil:
		return fmt.Errorf("MarshalJSON of %v: %w", t, err)
	case !utf8.Valid(raw):
		return errHoldsBad
	case tooDeep(raw):
		return errDepth
	case !json.Valid(raw):
		return fmt.Errorf("MarshalJSON of %v returns what is not JSON", t)
	}
	return nil
}

func checkMarshalText(t reflect.Type, m encoding.TextMarshaler) error {
	text, err := m.MarshalText()
	if err != nil {
		return fmt.Errorf("MarshalText of %v: %w", t, err)
	}
	if !utf8.Valid(text) {
		return errHoldsBad
	}
	return nil
}

var (
	anyMap        = reflect.TypeFor[map[string]any]()
	timeType      = reflect.TypeFor[time.Time]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

	// specials are types that are checked without asking their methods.
	specials = map[reflect.Type]func(reflect.Value) error{
		timeType:                           checkTime,
		reflect.TypeFor[json.RawMessage](): checkRaw,
		reflect.TypeFor[json.Number]():     checkNumber,
	}
)

func checkTime(v reflect.Value) error {
	const day = 24 * 60 * 60
	t := v.Interface().(time.Time)
	if year := t.Year(); year < 0 || year > 9999 {
		return errTimeYear
	}
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -day || offset >= day {
		return errTimeZone
	}
	return nil
}

func checkRaw(v reflect.Value) error {
	raw := v.Bytes()
	switch {
	case v.IsNil():
		return nil
	case !utf8.Valid(raw):
		return errHoldsBad
	case tooDeep(raw):
		return errDepth
	case !json.Valid(raw):
		return errRaw
	}
	return nil
}

// checkNumber accepts the numbers that json.Marshal accepts. It writes an empty one as 0.
func checkNumber(v reflect.Value) error {
	text := v.String()
	isNumber := text != "" && strings.Trim(text, "+-.0123456789eE") == "" && json.Valid([]byte(text))
	if text != "" && !isNumber {
		return errNumber
	}
	return nil
}

// plan says which parts of a type's values must be checked.
type plan struct {
	needed  bool
	asked   bool // the type, or a pointer to it, has one of the methods below
	special func(reflect.Value) error
	element *plan   // the plan for the elements of a pointer, list or map
	fields  []field // the fields of a struct that are written and must be checked
	times   []field // the embedded times of a struct

	marshalsJSON, pointerMarshalsJSON, marshalsText, pointerMarshalsText bool
}

type field struct {
	index    int
	embedded bool // a struct, or a pointer to one, whose fields count as those of the struct around it
	plan     *plan
}

// marshaler returns the object whose MarshalJSON or MarshalText json.Marshal would call for v, or nil if it writes v by
// its kind.
func (p *plan) marshaler(v reflect.Value) any {
	if !v.CanInterface() || v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface { // its element is asked
		return nil
	}
	switch {
	case p.pointerMarshalsJSON && v.CanAddr():
		return v.Addr().Interface()
	case p.marshalsJSON:
		return v.Interface()
	case p.pointerMarshalsText && v.CanAddr():
		return v.Addr().Interface()
	case p.marshalsText:
		return v.Interface()
	}
	return nil
}

var plans sync.Map // of reflect.Type: *plan

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	made := planner{}
	p := made.plan(t)
	for t, p := range made { // only now, because they refer to each other
		plans.LoadOrStore(t, p)
	}
	return p
}

// planner makes the plans of a type and of the types in it.
type planner map[reflect.Type]*plan

func (made planner) plan(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	if p, ok := made[t]; ok {
		return p
	}
	p := &plan{special: specials[t]}
	made[t] = p
	pointer := reflect.PointerTo(t)
	p.marshalsJSON, p.pointerMarshalsJSON = t.Implements(jsonMarshaler), pointer.Implements(jsonMarshaler)
	p.marshalsText, p.pointerMarshalsText = t.Implements(textMarshaler), pointer.Implements(textMarshaler)
	p.asked = p.marshalsJSON || p.pointerMarshalsJSON || p.marshalsText || p.pointerMarshalsText
	p.needed = true // for types that contain themselves: their values can be cycles
	p.needed = made.contentNeeded(t, p) || p.asked || p.special != nil
	return p
}

// contentNeeded reports whether a value of the type can have a part that must be checked. It does not count its
// methods.
func (made planner) contentNeeded(t reflect.Type, p *plan) bool {
	switch t.Kind() {
	case reflect.String, reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		p.element = made.plan(t.Elem())
		return p.element.needed
	case reflect.Map:
		p.element = made.plan(t.Elem())
		return p.element.needed || !keyWorks(t.Key()) || made.plan(t.Key()).needed
	case reflect.Struct:
		made.addFields(t, p)
		return len(p.fields) > 0
	}
	return false
}

// keyWorks reports whether json.Marshal accepts a map with such keys.
func keyWorks(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return t.Implements(textMarshaler)
}

func (made planner) addFields(t reflect.Type, p *plan) {
	for i := range t.NumField() {
		f := t.Field(i)
		target := f.Type
		if f.Anonymous && target.Kind() == reflect.Pointer {
			target = target.Elem()
		}
		isStruct := f.Anonymous && target.Kind() == reflect.Struct
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() && !isStruct {
			continue
		}
		fieldPlan := made.plan(f.Type)
		if isStruct && target == timeType {
			p.times = append(p.times, field{index: i, plan: fieldPlan})
		}
		if fieldPlan.needed {
			name, _, _ := strings.Cut(tag, ",")
			p.fields = append(p.fields, field{index: i, embedded: isStruct && name == "", plan: fieldPlan})
		}
	}
}
