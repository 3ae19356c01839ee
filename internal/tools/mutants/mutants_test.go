package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = `package sample

import "errors"

func Count(list []string, most int) (n int, err error) {
	for i := 0; i < len(list); i++ {
		if list[i] == "" || n >= most {
			continue
		}
		n = n + 1
	}
	if n == 0 {
		return 0, errors.New("none" + "such")
	}
	return n, nil
}

func Has(list []string, s string) bool {
	defer println()
	switch {
	case s == "":
		return false
	}
	for _, x := range list {
		if x == s {
			return true
		}
	}
	panic("no")
}
`

// Each place has its mutants, named so that they are found again, and what is
// built has all of them and is Go.
func TestMutate(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module sample\n\ngo 1.26\n", "sample.go": sample, "names.go": "package sample\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := mutate(t.Context(), dir, part{name: "sample", dir: "."})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for i, m := range found {
		if m.id != i+1 {
			t.Errorf("mutant %d has id %d", i+1, m.id)
		}
		keys = append(keys, strings.TrimPrefix(m.key, "sample.go "))
	}
	want := []string{
		"Count: leave out: continue", "Count: leave out: n = n + 1", `Count: leave out: return 0, errors.New("none" + "such")`,
		"Count: negate: i < len(list)", "Count: < to <=: i < len(list)",
		`Count: negate: list[i] == "" || n >= most`, `Count: leave out of ||: list[i] == ""`, "Count: leave out of ||: n >= most",
		"Count: >= to >: n >= most", "Count: + to -: n + 1", "Count: negate: n == 0", `Count: swallow: errors.New("none" + "such")`,
		"Has: leave out: defer println()", "Has: leave out: return false", "Has: leave out: return true",
		`Has: negate: s == ""`, "Has: negate: false", "Has: negate: x == s", "Has: negate: true",
	}
	slices.Sort(keys)
	slices.Sort(want)
	if !slices.Equal(keys, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(keys, "\n"), strings.Join(want, "\n"))
	}
	if text, rewrites := rewritten["sample"]["names.go"]; rewrites {
		t.Errorf("a file without mutants is rewritten, and imports what it does not use:\n%s", text)
	}
	text := rewritten["sample"]["sample.go"]
	if _, err := parser.ParseFile(token.NewFileSet(), "sample.go", text, 0); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	for _, must := range []string{
		`import mutant "` + switchPath + `"`, "n = mutant.Pick(", "{ continue }", "if !mutant.On(", "mutant.Err(",
	} {
		if !strings.Contains(string(text), must) {
			t.Errorf("%q is not in\n%s", must, text)
		}
	}
}

// Results are kept: a killed mutant stays killed while the function is the same, and a
// survivor is examined again when the tests have changed.
func TestResults(t *testing.T) {
	dir := t.TempDir()
	open := func() *results {
		r, err := openResults(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.close)
		return r
	}
	dead := &mutant{key: "dead", code: "1", result: killed, by: "Test"}
	alive := &mutant{key: "alive", code: "1", result: survived}
	for _, m := range []*mutant{dead, alive} {
		if err := open().add(m, "tests"); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		m           mutant
		tests       string
		found, want bool
	}{
		{m: *dead, tests: "others", want: true}, {m: *alive, tests: "tests", want: true}, {m: *alive, tests: "others"},
		{m: mutant{key: "dead", code: "2"}, tests: "tests"}, {m: mutant{key: "unknown", code: "1"}, tests: "tests"},
	} {
		if rec, found := open().of(&c.m, c.tests); found != c.want || found && rec.Result != c.m.result {
			t.Errorf("%s, code %s, %s: %+v, %v", c.m.key, c.m.code, c.tests, rec, found)
		}
	}
}

func TestEquivalent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "equivalent.txt")
	write := func(text string) (*equivalents, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return readEquivalent(file)
	}
	if _, err := write("a.go f: leave out: x\n\tit does nothing\na.go f: negate: y\n"); err == nil {
		t.Error("one without a reason is accepted")
	}
	e, err := write("# about it\n\na.go f: leave out: x\n\tit does nothing\n")
	if err != nil {
		t.Fatal(err)
	}
	if why := e.use("a.go f: negate: y"); why != "" || len(e.unused()) != 1 {
		t.Errorf("%q, unused: %q", why, e.unused())
	}
	if why := e.use("a.go f: leave out: x"); why != "it does nothing" || len(e.unused()) != 0 {
		t.Errorf("%q, unused: %q", why, e.unused())
	}
}

// A sample is about as large as it says, and the same in each run.
func TestSampled(t *testing.T) {
	n := 0
	for i := range 1000 {
		m := &mutant{key: fmt.Sprintf("file.go f%d: negate: x < %d", i%7, i)}
		if !m.sampled(1) {
			t.Errorf("%s is not in a sample of all", m.key)
		}
		if m.sampled(10) {
			n++
		}
		if again := *m; again.sampled(10) != m.sampled(10) {
			t.Errorf("%s is in the sample, or not, by chance", m.key)
		}
	}
	if n < 60 || n > 140 {
		t.Errorf("a tenth of 1000 mutants is %d", n)
	}
}
