package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var rootFile = regexp.MustCompile(`(?m)(?:^|[ ,;(])((?:\w+\*?)+\.go)\b`)

// The map in CONTRIBUTING.md names each package below internal, and no file of the root
// that is not there.
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
	_, list, _ := strings.Cut(places, "Data flows one way")
	for _, m := range rootFile.FindAllStringSubmatch(list, -1) {
		if files, err := filepath.Glob(filepath.Join(root, m[1])); err != nil || len(files) == 0 {
			t.Errorf("the map in CONTRIBUTING.md names %s, which is not in the root", m[1])
		}
	}
}
