package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one change of one place.
type mutant struct {
	id   int    // in its part, from 1
	key  string // names it, in all versions of the file that have the place
	part string
	file string // from the root of the module
	line int
	was  string // the lines, and what they would be
	is   string
	code string // hash of the function it is in

	equivalent string // why no test can tell, if that is so
	result     result
	by         string // the test that killed it
}

// source is a file that is being mutated.
type source struct {
	path string // from the root of the module
	text []byte
	fset *token.FileSet
	file *ast.File
	info *types.Info

	edits []edit
}

// edit is a change of a range of a file, which may contain others. Those of the
// same range are listed from the outside inwards.
type edit struct {
	from, to int
	// with returns the new text; inner renders a range within, with the edits there.
	with func(inner func(from, to int) string) string
}

// mutate finds the mutants of a part, and how its files are to be rewritten to have
// all of them.
func mutate(ctx context.Context, root string, p part) ([]*mutant, error) {
	sources, err := load(ctx, root, p)
	if err != nil {
		return nil, err
	}
	var found []*mutant
	for _, s := range sources {
		f := &finder{source: s, part: p.name, next: len(found) + 1, seen: make(map[string]int)}
		f.find()
		found = append(found, f.found...)
	}
	p.sources(sources)
	return found, nil
}

// rewritten are the files of parts with their mutants, by path.
var rewritten = make(map[string]map[string][]byte)

func (p part) sources(list []*source) {
	files := make(map[string][]byte)
	for _, s := range list {
		if len(s.edits) > 0 { // else the import would be unused
			files[s.path] = s.render()
		}
	}
	rewritten[p.name] = files
}

// load parses the files of a part, with the types in them.
func load(ctx context.Context, root string, p part) ([]*source, error) {
	dir := filepath.Join(root, p.dir)
	list, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	var sources []*source
	for _, name := range list.GoFiles {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
		if len(p.files) == 0 || slices.Contains(p.files, name) {
			sources = append(sources, &source{path: filepath.Join(p.dir, name), text: text, fset: fset, file: file})
		}
	}
	info, err := check(ctx, dir, fset, files)
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		s.info = info
	}
	return sources, nil
}

// check finds out the types of a package.
func check(ctx context.Context, dir string, fset *token.FileSet, files []*ast.File) (*types.Info, error) {
	exports, err := exported(ctx, dir)
	if err != nil {
		return nil, err
	}
	look := func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, errors.New("no export data of " + path)
		}
		return os.Open(exports[path])
	}
	info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", look)}
	_, err = conf.Check("mutated", fset, files, info)
	return info, err
}

// exported returns the files with the export data of what a package imports.
func exported(ctx context.Context, dir string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=ImportPath,Export", ".")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := in.Decode(&p); err == io.EOF {
			return files, nil
		} else if err != nil {
			return nil, err
		}
		files[p.ImportPath] = p.Export
	}
}

// render returns the file with all its mutants, each of which is switched off.
func (s *source) render() []byte {
	slices.SortStableFunc(s.edits, func(a, b edit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	text := s.part(0, len(s.text), s.edits)
	name := s.fset.Position(s.file.Name.End()).Offset
	return []byte(text[:name] + `; import mutant "` + switchPath + `"` + text[name:])
}

// part renders a range with the edits in it.
func (s *source) part(from, to int, edits []edit) string {
	var out strings.Builder
	for i := 0; i < len(edits); {
		e := edits[i]
		if e.from < from || e.to > to {
			i++
			continue
		}
		n := i + 1
		for n < len(edits) && edits[n].from < e.to {
			n++
		}
		out.Write(s.text[from:e.from])
		inside := edits[i+1 : n]
		out.WriteString(e.with(func(from, to int) string { return s.part(from, to, inside) }))
		from, i = e.to, n
	}
	out.Write(s.text[from:to])
	return out.String()
}

func (s *source) offset(p token.Pos) int { return s.fset.Position(p).Offset }

func (s *source) of(n ast.Node) string { return string(s.text[s.offset(n.Pos()):s.offset(n.End())]) }
