package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	module     = "github.com/maravilla-realtime/realtime"
	switchPath = module + "/internal/mutant"
)

//go:embed switch.go.txt
var switchText []byte

// suite is the tests of a package, built with all mutants of a part.
type suite struct {
	binary, dir string
	args        []string
	digest      string // of the tests
	tests       []*test
}

// test is one that can be run by itself.
type test struct {
	of   *suite
	name string
	took time.Duration
	hits []byte // by id of the mutant

	costs time.Duration // among others in one process
	own   bool          // of the part's own package, which others use as well
}

// examine finds out what becomes of the mutants of a part.
func examine(ctx context.Context, o options, p part, mutants []*mutant, known *results) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	suites, err := buildSuites(ctx, o, p, dir)
	if err != nil {
		return err
	}
	digest := ""
	for _, s := range suites {
		digest += s.digest
	}
	var todo []*mutant
	for _, m := range mutants {
		if old, found := known.of(m, digest); found {
			m.result, m.by = old.Result, old.By
		} else if m.equivalent == "" && strings.Contains(m.key, o.kill) && m.sampled(o.sample) {
			todo = append(todo, m)
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %d mutants, %d to examine\n", p.name, len(mutants), len(todo))
	if o.report || len(todo) == 0 {
		return nil
	}
	var tests []*test
	for i, s := range suites {
		if err := s.measure(ctx, o, dir, len(mutants)); err != nil {
			return err
		}
		slices.SortStableFunc(s.tests, func(a, b *test) int { return int(a.took - b.took) })
		for _, t := range s.tests {
			t.costs = t.took - s.tests[0].took // of which most is to start the process
			t.own = i == 0 && len(suites) > 1
		}
		tests = append(tests, s.tests...)
	}
	return each(ctx, o.jobs, todo, func(m *mutant) error {
		if err := m.run(ctx, o, tests); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%-11s %s:%d %s %s\n", m.result, m.file, m.line, m.key[strings.IndexByte(m.key, ' ')+1:], m.by)
		return known.add(m, digest)
	})
}

// sampled reports whether a mutant is one of those that stand for n times as many.
func (m *mutant) sampled(n uint) bool {
	h := fnv.New32a()
	h.Write([]byte(m.key))
	return n <= 1 || h.Sum32()%uint32(n) == 0
}

// buildSuites builds the tests of a part with its mutants.
func buildSuites(ctx context.Context, o options, p part, dir string) ([]*suite, error) {
	replace := make(map[string]string)
	put := func(path string, text []byte) error {
		at := filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		replace[filepath.Join(o.root, path)] = at
		return os.WriteFile(at, text, 0o600)
	}
	if err := put("internal/mutant/mutant.go", switchText); err != nil {
		return nil, err
	}
	for path, text := range rewritten[p.name] {
		if err := put(path, text); err != nil {
			return nil, err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	at := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(at, overlay, 0o600); err != nil {
		return nil, err
	}
	var suites []*suite
	for i, tests := range p.tests {
		where, args, _ := strings.Cut(tests, " ")
		s := &suite{binary: filepath.Join(dir, fmt.Sprint("tests", i)), dir: filepath.Join(o.root, where), args: strings.Fields(args)}
		build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", at, "-o", s.binary, ".")
		build.Dir = s.dir
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w\n%s", where, err, out)
		}
		if s.digest, err = digest(s.dir); err != nil {
			return nil, err
		}
		suites = append(suites, s)
	}
	return suites, nil
}

// digest is a hash of the test files of a package.
func digest(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		h.Write(text)
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:16], nil
}

// measure runs each test alone, to learn how long it takes and which mutants it reaches.
// It leaves out tests that fail without a mutant or are slow on purpose.
func (s *suite) measure(ctx context.Context, o options, dir string, mutants int) error {
	list := exec.CommandContext(ctx, s.binary, "-test.list", ".")
	list.Dir = s.dir
	out, err := list.Output()
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(out)) {
		if regexp.MustCompile("^(Test|Example|Fuzz)").MatchString(name) {
			s.tests = append(s.tests, &test{of: s, name: name})
		}
	}
	err = each(ctx, o.jobs, s.tests, func(t *test) error {
		hits, err := os.CreateTemp(dir, "hits")
		if err != nil {
			return err
		}
		defer os.Remove(hits.Name())
		defer hits.Close()
		if err := hits.Truncate(int64(mutants + 1)); err != nil {
			return err
		}
		began := time.Now()
		failed, out := s.run(ctx, 10*time.Minute, []string{"MUTANT_HITS=" + hits.Name()}, t.name)
		t.took = time.Since(began)
		if failed {
			fmt.Fprintf(os.Stderr, "left out, as it fails without a mutant: %s\n%s\n", t.name, tail(out))
			return nil
		}
		t.hits, err = os.ReadFile(hits.Name())
		return err
	})
	s.tests = slices.DeleteFunc(s.tests, func(t *test) bool { return t.hits == nil })
	return err
}

// run runs tests in one process, which may take only so long and so much memory.
func (s *suite) run(ctx context.Context, limit time.Duration, env []string, names ...string) (failed bool, out []byte) {
	const kilobytes = 6 << 20 // of addresses
	args := []string{"-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, kilobytes), s.binary,
		"-test.run", "^(" + strings.Join(names, "|") + ")$", "-test.failfast", "-test.timeout", limit.String()}
	args = append(args, s.args...)
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return err != nil, out
}

func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }

// first is how long the tests take that a mutant meets before all others.
const first = 2 * time.Second

// run runs the tests that reach a mutant.
func (m *mutant) run(ctx context.Context, o options, tests []*test) error {
	var quick, rest []*test
	var sum time.Duration
	for _, t := range tests {
		if t.hits[m.id] == 0 {
			continue
		}
		switch sum += t.costs; {
		case sum <= first:
			quick = append(quick, t)
		case sum <= o.most || t.own:
			rest = append(rest, t)
		}
	}
	if len(quick)+len(rest) == 0 {
		m.result = notCovered
		return nil
	}
	for _, list := range [][]*test{quick, rest} {
		for len(list) > 0 {
			n := 1 // of the same binary
			for n < len(list) && list[n].of == list[0].of {
				n++
			}
			if m.dies(ctx, o, list[:n]) || ctx.Err() != nil {
				return ctx.Err()
			}
			list = list[n:]
		}
	}
	m.result = survived
	return nil
}

var (
	failure = regexp.MustCompile(`--- FAIL: (\S+)|panic: .* \[recovered|^panic: (.*)`)
	late    = []byte("panic: test timed out")
)

// dies runs tests of one suite.
func (m *mutant) dies(ctx context.Context, o options, tests []*test) bool {
	limit := o.limit
	var names []string
	for _, t := range tests {
		names = append(names, t.name)
		limit += 10 * t.took
	}
	failed, out := tests[0].of.run(ctx, limit, []string{fmt.Sprint("MUTANT=", m.id)}, names...)
	if !failed {
		return false
	}
	m.result, m.by = killed, names[0]
	if bytes.Contains(out, late) || !bytes.Contains(out, []byte("FAIL")) && !bytes.Contains(out, []byte("panic")) && !bytes.Contains(out, []byte("fatal")) {
		m.result = timedOut
	}
	if found := failure.FindSubmatch(out); found != nil && len(found[1]) > 0 {
		m.by = string(found[1])
	}
	return true
}

// each calls f for all items, so many at once, until one fails.
func each[T any](ctx context.Context, jobs int, items []T, f func(T) error) error {
	var mu sync.Mutex
	var failed error
	var workers sync.WaitGroup
	next := func() (item T, more bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(items) == 0 || failed != nil || ctx.Err() != nil {
			return item, false
		}
		item, items = items[0], items[1:]
		return item, true
	}
	for range jobs {
		workers.Go(func() {
			for item, more := next(); more; item, more = next() {
				if err := f(item); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return failed
}
