package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	command = regexp.MustCompile("(?:\\bcd (\\S+) && )?(?:\\bgo test|\\bci/(?:faults|cluster)\\.sh) [^\n`#)]*")
	pattern = regexp.MustCompile(`-run ('[^']*'|\S+)|-bench ('[^']*'|\S+)`)
	aTest   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
)

// Each alternative of a -run or -bench in a document is the name of a test there.
func TestCommandsNameTests(t *testing.T) {
	found := 0
	for _, d := range documents(t) {
		text, err := os.ReadFile(filepath.Join(root, d.path))
		if err != nil {
			t.Fatal(err)
		}
		ours := strings.ReplaceAll(string(text), "//go:generate go test", "") // that is of a host
		for _, m := range command.FindAllStringSubmatch(ours, -1) {
			dirs := []string{filepath.Join(root, m[1])}
			if strings.HasPrefix(m[0], "ci/faults.sh") {
				dirs[0] = filepath.Join(root, "internal/test/faulttest")
			} else if strings.HasPrefix(m[0], "ci/cluster.sh") {
				dirs[0] = filepath.Join(root, "internal/test/clusterfaults")
			} else if places := places(m[0]); places != nil {
				for i, place := range places {
					places[i] = filepath.Join(dirs[0], place)
				}
				dirs = places
			}
			names := testsIn(t, dirs)
			for _, name := range alternatives(m[0]) {
				found++
				if re := regexp.MustCompile(name); !slices.ContainsFunc(names, re.MatchString) {
					t.Errorf("%s: %s: no test %s", d.path, m[0], name)
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("the documents name %d tests only", found)
	}
}

// alternatives are the names that a command selects tests by.
func alternatives(command string) (names []string) {
	for _, m := range pattern.FindAllStringSubmatch(command, -1) {
		for name := range strings.SplitSeq(strings.Trim(m[1]+m[2], "'"), "|") {
			name, _, _ = strings.Cut(name, "/") // the rest selects parts of a test
			if name != "-" && name != "." {     // no test, and all of them
				names = append(names, name)
			}
		}
	}
	return names
}

// places are the packages that a command names, such as . and ./client.
func places(command string) []string {
	return slices.DeleteFunc(strings.Fields(pattern.ReplaceAllString(command, "")), func(word string) bool {
		return word != "." && !strings.HasPrefix(word, "./")
	})
}

func testsIn(t *testing.T, dirs []string) (names []string) {
	t.Helper()
	for _, dir := range dirs {
		dir, below := strings.CutSuffix(dir, "/...")
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && path != dir && !below:
				return fs.SkipDir
			case !strings.HasSuffix(path, "_test.go"):
				return nil
			}
			text, err := os.ReadFile(path)
			for _, m := range aTest.FindAllStringSubmatch(string(text), -1) {
				names = append(names, m[1])
			}
			return err
		})
		if err != nil {
			t.Errorf("%v", err)
		}
	}
	return names
}
