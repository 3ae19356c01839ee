package docs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var rootFile = regexp.MustCompile(`(?m)(?:^|[ ,;(])((?:\w+\*?)+\.go)\b`)

// The map in CONTRIBUTING.md names each package below internal, and nothing that is not
// there.
func TestMap(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## Where things are")
	places, _, found := strings.Cut(rest, "\n## ")
	if !found {
		t.Fatal("CONTRIBUTING.md has no map")
	}
	for _, p := range folders(t) {
		if named := regexp.MustCompile(`\b` + filepath.Base(p) + `\b`); !named.MatchString(places) {
			t.Errorf("the map in CONTRIBUTING.md does not name %s: say there what it is for", p)
		}
	}
	table, list, _ := strings.Cut(places, "Data flows one way")
	for row := range strings.Lines(table) {
		if strings.HasPrefix(row, "|") {
			checkRow(t, row)
		}
	}
	for _, m := range rootFile.FindAllStringSubmatch(list, -1) {
		if files, err := filepath.Glob(filepath.Join(root, m[1])); err != nil || len(files) == 0 {
			t.Errorf("the map in CONTRIBUTING.md names %s, which is not in the root", m[1])
		}
	}
}

// folders returns the folders below internal, and those in them, except for testdata and
// what the tools consist of.
func folders(t *testing.T) (all []string) {
	t.Helper()
	for _, depth := range []string{"*", "*/*", "*/*/*"} {
		found, err := filepath.Glob(filepath.Join(root, "internal", depth))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			if f, err := os.Stat(p); err != nil {
				t.Fatal(err)
			} else if f.IsDir() && !strings.Contains(p, "testdata") && !strings.Contains(p, "/tools/") {
				all = append(all, p)
			}
		}
	}
	return all
}

var place = regexp.MustCompile("`([\\w/.]+)`")

// checkRow looks for the files and folders that a row of the table names: from the root, or
// beside the one before it.
func checkRow(t *testing.T, row string) {
	t.Helper()
	beside := ""
	for _, m := range place.FindAllStringSubmatch(row, -1) {
		if !strings.ContainsAny(m[1], "/.") {
			continue // a name in the code
		}
		found, err := os.Stat(filepath.Join(root, m[1]))
		if err == nil && found.IsDir() {
			beside = m[1]
		} else if err == nil {
			beside = filepath.Dir(m[1])
		} else if _, err := os.Stat(filepath.Join(root, beside, m[1])); err != nil {
			t.Errorf("the table in CONTRIBUTING.md names %s, which is not there: %s", m[1], row)
		}
	}
}

// Each folder below internal imports only those that CONTRIBUTING.md names before it. Its
// tests, and what only tests use, may import what they like.
func TestOneWay(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, row := range regexp.MustCompile(`(?m)^    (?:small parts|the way|beside it) +(.*)$`).FindAllStringSubmatch(string(text), -1) {
		order = append(order, strings.Fields(row[1])...)
	}
	folders, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		at := slices.Index(order, f.Name())
		if at < 0 {
			t.Errorf("CONTRIBUTING.md does not say what internal/%s may import", f.Name())
			continue
		}
		if f.Name() == "test" || f.Name() == "tools" {
			continue
		}
		for file, imported := range importsBelow(t, f.Name()) {
			for _, other := range imported {
				if i := slices.Index(order, other); i > at {
					t.Errorf("%s imports internal/%s, which is after internal/%s in CONTRIBUTING.md", file, other, f.Name())
				}
			}
		}
	}
}

// importsBelow returns, for each file below a folder of internal that is no test, the
// folders of internal that it imports.
func importsBelow(t *testing.T, folder string) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	err := filepath.WalkDir(filepath.Join(root, "internal", folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if _, rest, ours := strings.Cut(name, "maravilla-realtime/realtime/internal/"); ours {
				first, _, _ := strings.Cut(rest, "/")
				found[path] = append(found[path], first)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
