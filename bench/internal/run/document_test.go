package run

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The page has medians of the ratios within each round, and the rest of it stays.
func TestDocument(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var lines strings.Builder
	enc := json.NewEncoder(&lines)
	for round, floor := range []float64{1, 10, 2} {
		for _, n := range []int{100, 1000} {
			for _, r := range []Result{
				{Target: "raw-sse", CPU: floor}, {Target: "ours-sse", CPU: floor * float64(round+2)},
				{Target: "raw-sse-batch", Burst: 64, CPU: floor / 10}, {Target: "ours-sse", Burst: 64, CPU: floor},
			} {
				r.Round, r.Ref, r.Test, r.N, r.Burst, r.Load = round, "raw-sse", "fan", n, max(r.Burst, 1), strconv.Itoa(round)
				if err := enc.Encode(r); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, r := range []Result{
		{Target: "ours-sse", Test: "mem", Resident: 3, Kernel: 5}, {Target: "ours-sse", Test: "beat", Beat: .4},
	} {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	page := file("performance.md", "# Head\n<!-- measured -->\nold\n<!-- /measured -->\ntail\n")
	if err := document(dir, []string{file("results", lines.String())}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Head\n<!-- measured -->\n", "| ours-sse | 3 | – | 10 | – | – | – | – | 3 | 5 | 0 | 0.4 |\n", "Rounds: 3. Load of the machine: 0 to 2. ", "one at a time 2,", "<!-- /measured -->\ntail\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "old") {
		t.Error("the old results are still there")
	}
	svg, err := os.ReadFile(filepath.Join(dir, "performance.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(svg), "<polyline"); n != 2 {
		t.Errorf("%d lines are drawn", n)
	}
	if err := document(dir, []string{file("bad", "{")}); err == nil {
		t.Error("a file that is cut off is taken")
	}
}
