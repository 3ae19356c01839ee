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
	packages, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if named := regexp.MustCompile(`\b` + p.Name() + `\b`); p.IsDir() && !named.MatchString(places) {
			t.Errorf("the map in CONTRIBUTING.md does not name internal/%s: say there what it is for", p.Name())
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
