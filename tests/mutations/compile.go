package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// compiler checks the types of packages with some files changed, which takes far less time than to build them.
type compiler struct {
	root     string
	files    *token.FileSet
	packages map[string]*parsedPackage // by their folders
}

type parsedPackage struct {
	path   string
	files  map[string]*ast.File // by their names
	others types.Importer
}

func newCompiler(root string) *compiler {
	return &compiler{root, token.NewFileSet(), map[string]*parsedPackage{}}
}

// compile returns why packages do not compile with other texts for some of their files, or with more files.
func (c *compiler) compile(ctx context.Context, texts map[string]string) error {
	byDir := map[string]map[string]string{}
	for name, text := range texts {
		dir, file := filepath.Split(filepath.Join(c.root, name))
		if byDir[dir] == nil {
			byDir[dir] = map[string]string{}
		}
		byDir[dir][file] = text
	}
	for dir, files := range byDir {
		if err := c.compilePackage(ctx, dir, files); err != nil {
			return fmt.Errorf("it does not compile: %w", err)
		}
	}
	return nil
}

func (c *compiler) compilePackage(ctx context.Context, dir string, texts map[string]string) error {
	p, err := c.load(ctx, dir)
	if err != nil {
		return err
	}
	files := maps.Clone(p.files)
	for name, text := range texts {
		if files[name], err = parser.ParseFile(c.files, name, text, parser.SkipObjectResolution); err != nil {
			return err
		}
	}
	config := types.Config{Importer: p.others}
	_, err = config.Check(p.path, c.files, slices.Collect(maps.Values(files)), nil)
	return err
}

// load reads a package, and where the compiler keeps what it exports to others.
func (c *compiler) load(ctx context.Context, dir string) (*parsedPackage, error) {
	if p := c.packages[dir]; p != nil {
		return p, nil
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=ImportPath,GoFiles,Export", ".")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	p := &parsedPackage{files: map[string]*ast.File{}}
	exports := map[string]string{}
	var listed struct {
		ImportPath, Export string
		GoFiles            []string
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		listed.GoFiles, listed.Export = nil, ""
		if err := decoder.Decode(&listed); err != nil {
			return nil, err
		}
		exports[listed.ImportPath] = listed.Export
	}
	p.path = listed.ImportPath // the last one: dependencies come first
	for _, name := range listed.GoFiles {
		if p.files[name], err = parser.ParseFile(c.files, filepath.Join(dir, name), nil, parser.SkipObjectResolution); err != nil {
			return nil, err
		}
	}
	p.others = importer.ForCompiler(c.files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	c.packages[dir] = p
	return p, nil
}
