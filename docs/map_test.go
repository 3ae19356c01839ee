package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
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
