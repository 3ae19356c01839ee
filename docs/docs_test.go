// Package docs_test holds the documents to what they speak of: links lead
// somewhere, examples that are named exist, and Go code can be read by Go.
package docs_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = ".."

// document is a Markdown file.
type document struct {
	path  string // from the root of the repository
	prose string // without blocks of code
	code  []block
}

type block struct {
	line     int
	language string
	text     string
}

// documents returns all of them.
func documents(t *testing.T) (docs []document) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "node_modules" || e.Name() == ".git"):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		docs = append(docs, read(path, string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) < 10 {
		t.Fatalf("found %d documents only", len(docs))
	}
	return docs
}

func read(path, text string) document {
	d := document{path: path}
	var prose, code strings.Builder
	var open *block
	for i, line := range strings.Split(text, "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{line: i + 1, language: strings.TrimSpace(language)}
		case fence:
			open.text = code.String()
			d.code = append(d.code, *open)
			code.Reset()
			open = nil
		case open != nil:
			code.WriteString(line + "\n")
		default:
			prose.WriteString(line + "\n")
		}
	}
	d.prose = prose.String()
	return d
}

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	inline = regexp.MustCompile("`[^`\n]*`")
)

func TestLinks(t *testing.T) {
	docs := documents(t)
	anchors := map[string][]string{}
	for _, d := range docs {
		anchors[d.path] = d.anchors()
	}
	for _, d := range docs {
		for _, m := range link.FindAllStringSubmatch(inline.ReplaceAllString(d.prose, "code"), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, _ := strings.Cut(m[1], "#")
			path := d.path
			if target != "" {
				path = filepath.Join(filepath.Dir(d.path), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: %s leads nowhere", d.path, m[1])
			} else if anchor != "" && !slices.Contains(anchors[path], anchor) {
				t.Errorf("%s: %s has no such heading", d.path, m[1])
			}
		}
	}
}

// anchors are what GitHub names the headings.
func (d document) anchors() (names []string) {
	for line := range strings.Lines(d.prose) {
		hashes, heading, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.Trim(hashes, "#") != "" {
			continue
		}
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, heading))
	}
	return names
}

var example = regexp.MustCompile("`(?:([a-z]+)\\.)?(Example\\w*)`")

// A document names an example of the root package, or of another one by
// pkg.ExampleName.
func TestNamedExamplesExist(t *testing.T) {
	found := 0
	for _, d := range documents(t) {
		for _, m := range example.FindAllStringSubmatch(d.prose, -1) {
			found++
			files, err := filepath.Glob(filepath.Join(root, m[1], "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(files, func(name string) bool {
				text, err := os.ReadFile(name)
				return err == nil && strings.Contains(string(text), "\nfunc "+m[2]+"() {")
			}) {
				t.Errorf("%s: there is no %s", d.path, m[0])
			}
		}
	}
	if found < 20 {
		t.Errorf("the documents name %d examples only", found)
	}
}

// Go code is a whole program, which compiles, or declarations, statements or
// fields, with … for what is left out.
func TestGoCode(t *testing.T) {
	for _, d := range documents(t) {
		for _, b := range d.code {
			if b.language != "go" {
				continue
			}
			t.Run(fmt.Sprintf("%s:%d", d.path, b.line), func(t *testing.T) {
				if strings.HasPrefix(b.text, "package ") {
					compile(t, b.text)
				} else if err := parse(strings.ReplaceAll(b.text, "…", "")); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// parse returns the error of the reading that gets furthest.
func parse(code string) (err error) {
	for _, around := range []string{"%s", "func _() {\n%s\n}", "var _ = T{\n%s\n}"} {
		if _, err = parser.ParseFile(token.NewFileSet(), "", "package p\n"+fmt.Sprintf(around, code), 0); err == nil {
			return nil
		}
	}
	return err
}

func compile(t *testing.T, program string) {
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	vet := exec.CommandContext(t.Context(), "go", "vet", file)
	vet.Dir = root
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
