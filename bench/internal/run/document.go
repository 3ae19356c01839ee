package run

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// document puts results into performance.md, between two marks, and into
// performance.svg.
func document(dir string, files []string) error {
	results, err := read(files)
	if err != nil {
		return err
	}
	page := filepath.Join(dir, "performance.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	const begin, end = "<!-- measured -->\n", "<!-- /measured -->"
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return errors.New(page + " has no place for results")
	}
	if err := os.WriteFile(filepath.Join(dir, "performance.svg"), plot(results), 0o644); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(head+begin+results.table()+end+tail), 0o644)
}

// results are the measurements of one or more runs.
type results []Result

func read(files []string) (list results, err error) {
	for run, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var r Result
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			r.Round += 1000 * run // rounds of two runs are not compared
			list = append(list, r)
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// figure selects a measurement.
type figure struct {
	test     string
	n, burst int // 0: any
	value    func(Result) float64
}

func cpu(r Result) float64 { return r.CPU }

func (f *figure) of(r Result, target string) bool {
	return r.Target == target && r.Test == f.test && (f.n == 0 || f.n == r.N) && f.burst == r.Burst
}

// median returns the median of a figure of a target; 0 if there is none.
func (rs results) median(f figure, target string) float64 {
	var list []float64
	for _, r := range rs {
		if f.of(r, target) {
			list = append(list, f.value(r))
		}
	}
	return middle(list)
}

// ratio returns the median of the ratios of a figure to that of the floor in the same
// round; 0 if there is none.
func (rs results) ratio(f figure, target string) float64 {
	var list []float64
	for _, r := range rs {
		if !f.of(r, target) {
			continue
		}
		for _, floor := range rs {
			ref := r.Ref
			if f.burst > 1 {
				ref += "-batch"
			}
			if floor.Round == r.Round && floor.N == r.N && f.of(floor, ref) && f.value(floor) > 0 {
				list = append(list, f.value(r)/f.value(floor))
			}
		}
	}
	return middle(list)
}

func middle(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// targets lists what was measured beside the floors, the library first.
func (rs results) targets() []string {
	names := make(map[string]bool)
	for _, r := range rs {
		if !strings.HasPrefix(r.Target, "raw-") {
			names[r.Target] = true
		}
	}
	list := slices.Sorted(maps.Keys(names))
	slices.SortStableFunc(list, func(a, b string) int {
		return strings.Compare(fmt.Sprint(!strings.HasPrefix(a, "ours-")), fmt.Sprint(!strings.HasPrefix(b, "ours-")))
	})
	return list
}

// table returns a row for each target.
func (rs results) table() string {
	ratio := func(f figure) func(string) string {
		return func(target string) string { return short(rs.ratio(f, target)) }
	}
	median := func(test string, value func(Result) float64) func(string) string {
		return func(target string) string { return short(rs.median(figure{test, 0, 0, value}, target)) }
	}
	columns := []struct {
		title string
		cell  func(target string) string
	}{
		{"one at a time, 1,000", ratio(figure{"fan", 1000, 1, cpu})},
		{"5,000", ratio(figure{"fan", 5000, 1, cpu})},
		{"bursts of 64, 1,000", ratio(figure{"fan", 1000, 64, cpu})},
		{"5,000", ratio(figure{"fan", 5000, 64, cpu})},
		{"a channel each", ratio(figure{"many", 0, 0, cpu})},
		{"nobody follows", median("many", func(r Result) float64 { return r.Nobody })},
		{"connect", ratio(figure{"conn", 0, 0, cpu})},
		{"idle KiB", median(memory, func(r Result) float64 { return r.Resident })},
		{"kernel KiB", median(memory, func(r Result) float64 { return r.Kernel })},
		{"goroutines", rs.goroutines},
		{"idle CPU", median(beat, func(r Result) float64 { return r.Beat })},
	}
	var b strings.Builder
	b.WriteString("\n|")
	for _, c := range columns {
		b.WriteString(" | " + c.title)
	}
	b.WriteString(" |\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, target := range rs.targets() {
		b.WriteString("| " + target)
		for _, c := range columns {
			b.WriteString(" | " + c.cell(target))
		}
		b.WriteString(" |\n")
	}
	quiet, busy := rs.load()
	fmt.Fprintf(&b, "\nMedians. Rounds: %d. Load of the machine: %g to %g. The floor took, in µs: %s.\n\n",
		rs.rounds(), quiet, busy, strings.Join(rs.floors(), ", "))
	return b.String()
}

// goroutines returns how many a connection has, which may be none.
func (rs results) goroutines(target string) string {
	n := rs.median(figure{memory, 0, 0, func(r Result) float64 { return r.Goroutines }}, target)
	if n == notGo || rs.median(figure{memory, 0, 0, func(r Result) float64 { return r.Resident }}, target) == 0 {
		return short(0) // there are none, or it is not measured
	}
	return fmt.Sprintf("%.0f", n)
}

// load returns the least and the most that the machine had to do.
func (rs results) load() (least, most float64) {
	least = math.Inf(1)
	for _, r := range rs {
		load, _ := strconv.ParseFloat(r.Load, 64) // 0 where it is not known
		least, most = min(least, load), max(most, load)
	}
	return least, most
}

func (rs results) rounds() int {
	rounds := make(map[int]bool)
	for _, r := range rs {
		rounds[r.Round] = true
	}
	return len(rounds)
}

// floors says what the floor took in the columns that are ratios to it.
func (rs results) floors() (list []string) {
	for _, f := range []struct {
		what, target string
		figure
	}{
		{"one at a time", "raw-sse", figure{"fan", 1000, 1, cpu}},
		{"in bursts", "raw-sse-batch", figure{"fan", 1000, 64, cpu}},
		{"a channel each", "raw-sse", figure{"many", 0, 0, cpu}},
		{"connect", "raw-sse", figure{"conn", 0, 0, cpu}},
	} {
		list = append(list, f.what+" "+short(rs.median(f.figure, f.target)))
	}
	return list
}

func short(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v < 10:
		return fmt.Sprintf("%.2g", v)
	}
	return fmt.Sprintf("%.0f", v)
}
