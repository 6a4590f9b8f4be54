package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// Most mutations change the bodies of functions only. These are planted: one build has all of them, each as a copy of its
// function under another name, and the function itself calls the copy while its number is in the environment. So each package
// of tests is built once, and not once for each mutation.

const activeVariable = "MUTATION" // of the environment: the number of the mutation that is made

// garden is files with planted mutations.
type garden struct {
	files map[string]*plantedFile // by their names below the root
}

// plantedFile is a file with copies of its functions.
type plantedFile struct {
	text       string
	declared   []ast.Decl
	set        *token.FileSet
	pkg        string
	insertions map[int]string // what comes into the text, by the places
	copies     []string       // what comes behind it
}

func newGarden() *garden { return &garden{map[string]*plantedFile{}} }

// plant adds a mutation, and reports whether it can: whether nothing but bodies of functions is another one in the changed text.
func (g *garden) plant(m mutation, original, changed string) bool {
	file := g.files[m.file]
	if file == nil {
		file = newPlantedFile(original)
	}
	other := newPlantedFile(changed)
	if file == nil || other == nil || len(file.declared) != len(other.declared) {
		return false
	}
	var differ []int
	for i := range file.declared {
		if file.textOf(file.declared[i]) == other.textOf(other.declared[i]) {
			continue
		}
		if !samePlace(file, other, i) {
			return false
		}
		differ = append(differ, i)
	}
	for _, i := range differ {
		file.add(m.number, file.declared[i].(*ast.FuncDecl), other, other.declared[i].(*ast.FuncDecl))
	}
	if len(differ) > 0 {
		g.files[m.file] = file
	}
	return len(differ) > 0
}

// newPlantedFile returns nil if the text can't be parsed.
func newPlantedFile(text string) *plantedFile {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, "", text, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	return &plantedFile{text: text, declared: parsed.Decls, set: set, pkg: parsed.Name.Name, insertions: map[int]string{}}
}

func (f *plantedFile) place(p token.Pos) int { return f.set.Position(p).Offset }

func (f *plantedFile) textOf(n ast.Node) string { return f.text[f.place(n.Pos()):f.place(n.End())] }

// samePlace reports whether the two declarations are one function with two bodies, whose copy can be called.
func samePlace(file, other *plantedFile, i int) bool {
	a, isFunction := file.declared[i].(*ast.FuncDecl)
	b, isToo := other.declared[i].(*ast.FuncDecl)
	if !isFunction || !isToo || a.Body == nil || b.Body == nil || a.Type.TypeParams != nil || !hasNames(a) {
		return false
	}
	return file.text[file.place(a.Pos()):file.place(a.Body.Lbrace)] == other.text[other.place(b.Pos()):other.place(b.Body.Lbrace)]
}

// hasNames reports whether all parameters have names, so that they can be handed on.
func hasNames(f *ast.FuncDecl) bool {
	fields := slices.Clone(f.Type.Params.List)
	if f.Recv != nil {
		fields = append(fields, f.Recv.List...)
	}
	for _, field := range fields {
		if len(field.Names) == 0 || slices.ContainsFunc(field.Names, func(name *ast.Ident) bool { return name.Name == "_" }) {
			return false
		}
	}
	return true
}

// add has a function call its changed copy.
func (f *plantedFile) add(number int, function *ast.FuncDecl, other *plantedFile, changed *ast.FuncDecl) {
	name := fmt.Sprintf("mutation%d_%s", number, function.Name.Name)
	call := name + "(" + strings.Join(arguments(function), ", ") + ")"
	if function.Recv != nil {
		call = function.Recv.List[0].Names[0].Name + "." + call
	}
	if function.Type.Results != nil {
		call = "return " + call
	} else {
		call += "; return"
	}
	f.insertions[f.place(function.Body.Lbrace)+1] += fmt.Sprintf(" if activeMutation == %d { %s };", number, call)
	f.copies = append(f.copies, other.text[other.place(changed.Pos()):other.place(changed.Name.Pos())]+name+
		other.text[other.place(changed.Name.End()):other.place(changed.End())])
}

// arguments returns a function's parameters as it hands them on.
func arguments(f *ast.FuncDecl) (names []string) {
	for _, field := range f.Type.Params.List {
		_, variadic := field.Type.(*ast.Ellipsis)
		for _, name := range field.Names {
			if variadic {
				names = append(names, name.Name+"...")
			} else {
				names = append(names, name.Name)
			}
		}
	}
	return names
}

// texts returns what the compiler is to read in place of the files, by their names below the root, and what it reads besides.
func (g *garden) texts() map[string]string {
	all := map[string]string{}
	for name, file := range g.files {
		all[name] = file.planted()
		all[filepath.Join(filepath.Dir(name), "active_mutation.go")] = "package " + file.pkg + "\n\n" +
			"import (\n\t\"os\"\n\t\"strconv\"\n)\n\n" +
			"var activeMutation, _ = strconv.Atoi(os.Getenv(\"" + activeVariable + "\"))\n"
	}
	return all
}

func (f *plantedFile) planted() string {
	places := make([]int, 0, len(f.insertions))
	for place := range f.insertions {
		places = append(places, place)
	}
	slices.Sort(places)
	var b strings.Builder
	last := 0
	for _, place := range places {
		b.WriteString(f.text[last:place] + f.insertions[place])
		last = place
	}
	b.WriteString(f.text[last:])
	for _, text := range f.copies {
		b.WriteString("\n" + text + "\n")
	}
	return b.String()
}
