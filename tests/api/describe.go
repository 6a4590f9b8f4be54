package main

import (
	"fmt"
	"go/types"
	"slices"
	"strings"
)

// describeObject returns the lines of one exported name, methods and fields among them. Names of parameters are left out:
// they may change.
func describeObject(object types.Object) []string {
	switch o := object.(type) {
	case *types.Const:
		return []string{fmt.Sprintf("const %s %s = %s", o.Name(), typeText(o.Type()), o.Val().ExactString())}
	case *types.Var:
		return []string{fmt.Sprintf("var %s %s", o.Name(), typeText(o.Type()))}
	case *types.Func:
		return []string{"func " + o.Name() + signatureText(o.Signature())}
	case *types.TypeName:
		return describeType(o)
	}
	return nil
}

func describeType(o *types.TypeName) []string {
	if alias, ok := o.Type().(*types.Alias); ok {
		return []string{fmt.Sprintf("type %s = %s", o.Name(), typeText(alias.Rhs()))}
	}
	named := o.Type().(*types.Named)
	head := "type " + o.Name() + parametersText(named.TypeParams())
	switch u := named.Underlying().(type) {
	case *types.Interface:
		return []string{head + " " + interfaceText(u)} // its methods are in the line
	case *types.Struct:
		return slices.Concat([]string{head + " struct"}, comparableText(head, named), fields(head, u), methods(named))
	default:
		return append([]string{head + " " + typeText(u)}, methods(named)...)
	}
}

// comparableText has a line for a struct that == takes, which a further field can change.
func comparableText(head string, t types.Type) []string {
	if !types.Comparable(t) {
		return nil
	}
	return []string{head + " struct, comparable"}
}

func fields(head string, s *types.Struct) (lines []string) {
	for field := range s.Fields() {
		if !field.Exported() {
			continue
		}
		name := field.Name()
		if field.Embedded() {
			name = "embedded"
		}
		lines = append(lines, fmt.Sprintf("%s struct, %s %s", head, name, typeText(field.Type())))
	}
	return lines
}

// methods returns a line for each exported method, those of embedded fields too, with the receiver that it takes.
func methods(named *types.Named) (lines []string) {
	values := types.NewMethodSet(named)
	for m := range types.NewMethodSet(types.NewPointer(named)).Methods() {
		f, ok := m.Obj().(*types.Func)
		if !ok || !f.Exported() {
			continue
		}
		receiver := "*" + named.Obj().Name()
		if values.Lookup(f.Pkg(), f.Name()) != nil {
			receiver = named.Obj().Name()
		}
		lines = append(lines, fmt.Sprintf("method (%s) %s%s", receiver, f.Name(), signatureText(f.Signature())))
	}
	return lines
}

func interfaceText(t *types.Interface) string {
	var parts []string
	for m := range t.Methods() {
		if !m.Exported() {
			parts = append(parts, "unexported methods")
			continue
		}
		parts = append(parts, m.Name()+signatureText(m.Signature()))
	}
	for i := range t.NumEmbeddeds() {
		if e := t.EmbeddedType(i); !types.IsInterface(e) {
			parts = append(parts, typeText(e)) // of a constraint; an embedded interface's methods are among those above
		}
	}
	slices.Sort(parts)
	return "interface { " + strings.Join(slices.Compact(parts), "; ") + " }"
}

func parametersText(list *types.TypeParamList) string {
	if list.Len() == 0 {
		return ""
	}
	var parts []string
	for p := range list.TypeParams() {
		parts = append(parts, p.Obj().Name()+" "+typeText(p.Constraint()))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func signatureText(s *types.Signature) string {
	return parametersText(s.TypeParams()) + strings.TrimPrefix(typeText(s), "func")
}

func typeText(t types.Type) string { return types.TypeString(nameless(t), short) }

// short returns a package's path, without what all of ours begin with.
func short(pkg *types.Package) string {
	return strings.TrimPrefix(pkg.Path(), "github.com/doorman-go/")
}

// nameless returns a type without the names of its functions' parameters.
func nameless(t types.Type) types.Type {
	switch t := t.(type) {
	case *types.Signature:
		return types.NewSignatureType(nil, nil, nil, namelessTuple(t.Params()), namelessTuple(t.Results()), t.Variadic())
	case *types.Pointer:
		return types.NewPointer(nameless(t.Elem()))
	case *types.Slice:
		return types.NewSlice(nameless(t.Elem()))
	case *types.Array:
		return types.NewArray(nameless(t.Elem()), t.Len())
	case *types.Map:
		return types.NewMap(nameless(t.Key()), nameless(t.Elem()))
	case *types.Chan:
		return types.NewChan(t.Dir(), nameless(t.Elem()))
	}
	return t
}

func namelessTuple(tuple *types.Tuple) *types.Tuple {
	var vars []*types.Var
	for v := range tuple.Variables() {
		vars = append(vars, types.NewVar(v.Pos(), v.Pkg(), "", nameless(v.Type())))
	}
	return types.NewTuple(vars...)
}
