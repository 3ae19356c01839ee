package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// result is what became of a mutant.
type result string

const (
	killed     result = "killed"
	survived   result = "SURVIVED"
	timedOut   result = "timed out" // a test did not end, which it does without
	notCovered result = "NOT COVERED"
)

// record is a result as it is kept.
type record struct {
	Key    string `json:"key"`
	Code   string `json:"code"`  // hash of the mutant's function
	Tests  string `json:"tests"` // hash of the tests
	Result result `json:"result"`
	By     string `json:"by,omitempty"`
}

// results are those of this run and of earlier ones.
type results struct {
	mu   sync.Mutex
	file *os.File
	by   map[string]record // by key
}

func openResults(dir string) (*results, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "results.jsonl")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	r := &results{file: file, by: make(map[string]record)}
	for in := bufio.NewScanner(file); in.Scan(); {
		var rec record
		if json.Unmarshal(in.Bytes(), &rec) == nil { // the last line may have been cut off
			r.by[rec.Key] = rec
		}
	}
	return r, nil
}

// of returns what is known of a mutant: one that was killed stays so as long as its
// function is the same; one that survived is examined again when tests have changed.
func (r *results) of(m *mutant, tests string) (record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, found := r.by[m.key]
	dead := rec.Result == killed || rec.Result == timedOut
	return rec, found && rec.Code == m.code && (dead || rec.Tests == tests)
}

func (r *results) add(m *mutant, tests string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, err := json.Marshal(record{m.key, m.code, tests, m.result, m.by})
	if err != nil {
		return err
	}
	_, err = r.file.Write(append(line, '\n'))
	return err
}

func (r *results) close() { _ = r.file.Close() } // each line is written by itself

// equivalents are mutants that do what the original does.
type equivalents struct {
	why  map[string]string
	used map[string]bool
}

// readEquivalent reads lines of a mutant's description, and, indented below it, the
// reason.
func readEquivalent(path string) (*equivalents, error) {
	e := &equivalents{make(map[string]string), make(map[string]bool)}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	key := ""
	for line := range strings.SplitSeq(string(text), "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			e.why[key] = strings.TrimSpace(line)
		default:
			key = line
			e.why[key] = ""
		}
	}
	for key, why := range e.why {
		if why == "" {
			return nil, errors.New("no reason is given for " + key)
		}
	}
	return e, nil
}

func (e *equivalents) use(key string) string {
	e.used[key] = true
	return e.why[key]
}

func (e *equivalents) unused() (list []string) {
	for key := range e.why {
		if !e.used[key] {
			list = append(list, key)
		}
	}
	return list
}

// report prints the survivors and the table.
func report(w io.Writer, chosen []part, all []*mutant) {
	counts := make(map[string]map[result]int)
	for _, p := range chosen {
		counts[p.name] = make(map[result]int)
	}
	for _, m := range all {
		r := m.result
		if m.equivalent != "" {
			r = "equivalent"
		}
		counts[m.part][r]++
		if r == survived || r == notCovered {
			fmt.Fprintf(w, "%s:%d: %s\n\t%s\n%s%s\n", m.file, m.line, r, m.key, prefixed("-", m.was), prefixed("+", m.is))
		}
	}
	fmt.Fprintf(w, "%-10s %8s %9s %9s %12s %11s %9s %7s\n", "", "killed", "timed out", "survived", "not covered", "equivalent", "unknown", "killed")
	total := make(map[result]int)
	for _, p := range chosen {
		row(w, p.name, counts[p.name])
		for r, n := range counts[p.name] {
			total[r] += n
		}
	}
	row(w, "all", total)
}

func row(w io.Writer, name string, n map[result]int) {
	dead, alive := n[killed]+n[timedOut], n[survived]+n[notCovered]
	share := "-"
	if dead+alive > 0 {
		share = fmt.Sprintf("%.1f %%", 100*float64(dead)/float64(dead+alive))
	}
	fmt.Fprintf(w, "%-10s %8d %9d %9d %12d %11d %9d %7s\n", name, n[killed], n[timedOut], n[survived], n[notCovered], n["equivalent"], n[""], share)
}

func prefixed(prefix, lines string) string {
	var out strings.Builder
	for line := range strings.SplitSeq(lines, "\n") {
		out.WriteString("\t" + prefix + line + "\n")
	}
	return out.String()
}
